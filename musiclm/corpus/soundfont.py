"""The General MIDI soundfont TimGM6mb (6 MB, carried by pretty_midi's wheel), repaired in memory.

It plays well, but some of its instruments have faults that labels and losses would suffer from. Each was
found by playing every instrument of the corpus over its range, and is mended in the file's bytes:

    gaps    keys that no sample covers and so are silent (saxophone 64, whistle 79 to 101, …)
    DC      samples off centre (all of the saxophone's), which thump as notes begin and end
    tuning  samples up to a semitone off (accordion, whistle, choir, …)

Format: SoundFont 2.04, sections 5 to 8. Only fixed-size records are changed in place, so that the file keeps
its length and order.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

NAME = "TimGM6mb.sf2"

# Operators of a zone's generators (SoundFont 2.04, section 8.1.2)
INSTRUMENT, KEY_RANGE, SAMPLE, SAMPLE_MODES, ROOT_KEY = 41, 43, 53, 54, 58
LOOP = 1  # the sample mode that loops until the note ends and through its release
BAG = np.dtype([("generator", "<u2"), ("modulator", "<u2")])
GENERATOR = np.dtype([("operator", "<u2"), ("amount", "<i2")])
PRESET = np.dtype(
    [("name", "S20"), ("preset", "<u2"), ("bank", "<u2"), ("bag", "<u2"), ("unused", "<u4", (3,))]
)
NAMED_BAG = np.dtype([("name", "S20"), ("bag", "<u2")])
HEADER = np.dtype(
    [
        ("name", "S20"),
        ("start", "<u4"),
        ("end", "<u4"),
        ("loop_start", "<u4"),
        ("loop_end", "<u4"),
        ("rate", "<u4"),
        ("key", "u1"),
        ("correction", "i1"),
        ("link", "<u2"),
        ("kind", "<u2"),
    ]
)

# Cents to add to a sample's own correction: its loop of whole samples is that much too long.
RETUNE = {
    "Accordion Gb2": 15,
    "Accordion Bb2": 18,
    "Accordion D4": 43,
    "Accordion Gb4": 53,
    "Accordion Bb4": 67,
    "Accordion D5": 67,
    "Harmonica A3": 29,
    "Harmonica C4": 36,
    "Saw Wave C6": 77,
}
# Keys at which samples really sound as recorded, where their zones say otherwise.
ROOT = {"whistle": 79}


@cache
def repaired_soundfont() -> bytes:
    """The soundfont's bytes, mended.

    Raises:
        FileNotFoundError: pretty_midi is not installed.
    """
    data = bytearray(soundfont_path().read_bytes())
    chunks = _chunks(data)
    _fill_gaps(chunks)
    _center(chunks)
    _retune(chunks)
    return bytes(data)


def soundfont_path() -> Path:
    """Where the soundfont is (found without importing pretty_midi)."""
    package = find_spec("pretty_midi")
    path = Path(package.origin).parent / NAME if package is not None and package.origin else None
    if path is None or not path.is_file():
        raise FileNotFoundError(
            f"expected the soundfont {NAME} of pretty_midi: pip install 'musiclm[corpus]'"
        )
    return path


def _chunks(data: bytearray) -> dict[str, np.ndarray]:
    """Views into `data` by the chunks' four letters: writing to them changes the file."""
    types = {
        "smpl": np.dtype("<i2"),
        "phdr": PRESET,
        "pbag": BAG,
        "pgen": GENERATOR,
        "inst": NAMED_BAG,
        "ibag": BAG,
        "igen": GENERATOR,
        "shdr": HEADER,
    }
    found: dict[str, np.ndarray] = {}
    position = 0
    while position + 8 <= len(data):
        name = data[position : position + 4].decode("latin-1")
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        if name in ("RIFF", "LIST"):
            position += 12  # into the list, past its type
            continue
        if name in types:
            count = length // types[name].itemsize
            found[name] = np.frombuffer(data, types[name], count, position + 8)
        position += 8 + length + length % 2
    assert set(found) == set(types), f"{NAME} lacks {set(types) - set(found)}"
    return found


def _zones(chunks: dict[str, np.ndarray], instrument: int) -> list[np.ndarray]:
    """The generators of each zone of an instrument that plays a sample."""
    bags, generators = chunks["ibag"]["generator"], chunks["igen"]
    first, last = chunks["inst"]["bag"][instrument : instrument + 2]
    zones = [generators[bags[zone] : bags[zone + 1]] for zone in range(first, last)]
    return [zone for zone in zones if SAMPLE in zone["operator"]]


def _melodic_instruments(chunks: dict[str, np.ndarray]) -> list[int]:
    """Instruments that presets of bank 0 refer to: not the drum kits, whose gaps are meant."""
    presets, bags, generators = chunks["phdr"], chunks["pbag"]["generator"], chunks["pgen"]
    found = set()
    for index in np.flatnonzero(presets["bank"][:-1] == 0):
        for zone in range(presets["bag"][index], presets["bag"][index + 1]):
            of_zone = generators[bags[zone] : bags[zone + 1]]
            found.update(of_zone["amount"][of_zone["operator"] == INSTRUMENT].tolist())
    return sorted(found)


def _fill_gaps(chunks: dict[str, np.ndarray]) -> None:
    """Let the zone under a gap between two zones play the gap's keys too."""
    for instrument in _melodic_instruments(chunks):
        ranges = []  # views of the generators that hold (lowest key, highest key)
        for zone in _zones(chunks, instrument):
            if (of_zone := zone[zone["operator"] == KEY_RANGE]).size:
                assert of_zone.size == 1
                at = np.flatnonzero(zone["operator"] == KEY_RANGE)[0]
                ranges.append(zone["amount"][at : at + 1].view("u1"))
        covered = np.zeros(128, bool)
        for low, high in ranges:
            covered[low : high + 1] = True
        for keys in ranges:
            end = int(keys[1])
            following = np.flatnonzero(covered[end + 1 :])
            if following.size and following[0] > 0:
                keys[1] = end + following[0]


def _center(chunks: dict[str, np.ndarray]) -> None:
    """Take the mean of its loop out of every looped sample, as it sounds on for as long as the note does.

    The samples start at zero and drift off within some 40 ms; so does what is taken away, or notes would
    begin with a step.
    """
    looped = set()
    for instrument in _melodic_instruments(chunks):
        for zone in _zones(chunks, instrument):
            if (zone["amount"][zone["operator"] == SAMPLE_MODES] == LOOP).any():
                looped.add(int(zone["amount"][zone["operator"] == SAMPLE][0]))

    for header in chunks["shdr"][sorted(looped)]:
        sound = chunks["smpl"][header["start"] : header["end"]]
        loop = chunks["smpl"][header["loop_start"] : header["loop_end"]]
        if loop.size == 0:
            continue
        offset = np.full(sound.size, loop.mean())
        drift = min(int(header["loop_start"] - header["start"]), round(0.04 * header["rate"]))
        offset[:drift] *= 0.5 - 0.5 * np.cos(np.pi * np.arange(drift) / drift)
        sound[:] = np.clip(np.round(sound - offset), -32768, 32767)


def _retune(chunks: dict[str, np.ndarray]) -> None:
    """Bring the samples of `RETUNE` and `ROOT` into tune."""
    for header in chunks["shdr"][:-1]:
        header["correction"] += RETUNE.get(header["name"].decode("latin-1"), 0)
    for instrument in _melodic_instruments(chunks):
        for zone in _zones(chunks, instrument):
            sample = zone["amount"][zone["operator"] == SAMPLE][0]
            name = chunks["shdr"]["name"][sample].decode("latin-1")
            if name in ROOT:
                zone["amount"][zone["operator"] == ROOT_KEY] = ROOT[name]
