"""A listening test as a folder: `musiclm evaluate listening`, a page that compares systems two clips at a
time.

As MusicLM's raters did (sec. 5.1): two clips of a caption, which one fits it better, on a scale of five. The
page needs no server and asks for nothing from elsewhere; a listener saves the answers as a file, which
`musiclm evaluate listening-results` reads. Which clip is whose stands in a key beside the folder, and not in
it.
"""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from itertools import combinations
from pathlib import Path
from string import Template

from musiclm.audio import Audio
from musiclm.data.left_out import counted
from musiclm.data.sources import Recording
from musiclm.evaluate.found import Found
from musiclm.evaluate.results import write_results
from musiclm.files import only_writer_to, shown, write_whole
from musiclm.metrics.drift import loudness
from musiclm.progress import progress

TEMPLATE = Path(__file__).with_name("listening.html")
QUESTION = "Which clip fits the description better?"
FORMAT = 1  # of the page's results
LOUDNESS = -23.0  # LUFS that every clip is brought to (EBU R 128): what is louder is liked better
PEAK = 0.98  # of full scale: a clip that would go beyond is made softer than the others
CLIPS = "clips"


@dataclass(frozen=True)
class Trial:
    """Two clips that a listener compares, by the names of their files."""

    trial: str
    caption: str
    a: str
    b: str


@only_writer_to("out")
def listening(
    systems: list[Path],
    *,
    out: Path = Path("listening"),
    num: int = 30,
    question: str = QUESTION,
    seed: int = 0,
    strict: bool = False,
) -> None:
    """Make a page on which people compare the clips of systems, and a key that says which clip is whose.

    Args:
        systems: two or more folders with clips of the same names, one system each; captions in a text file
            beside a clip (`song.wav`, `song.txt`), in one of the folders at least.
        out: the folder for index.html and its clips, to be opened or put on the web; the key becomes
            OUT.key.json beside it, and stays with you.
        num: pairs that a listener hears, as evenly spread over the systems as can be; 0 takes all there are.
        question: that is asked about each pair.
        seed: of which pairs there are, in which order and on which sides.
        strict: exit with 2 if any file is left out.

    Raises:
        FileNotFoundError: nothing at one of the paths.
        ValueError: fewer than two folders, folders of the same name, or no clip that all of them have.
    """
    names = _names(systems)
    if num < 0:
        raise ValueError(f"expected num of 0 or more, got {num}")
    found = {name: Found.at([path], strict=strict) for name, path in zip(names, systems, strict=True)}
    clips = {name: {each.id: each for each in own.recordings} for name, own in found.items()}
    shared = sorted(set.intersection(*(set(own) for own in clips.values())))
    if not shared:
        raise ValueError(
            f"expected clips of the same name in {' and '.join(map(shown, systems))}, found none in all"
        )
    for name, own in clips.items():
        for id in sorted(set(own) - set(shared)):
            found[name].report.leave_out(own[id].path, "no clip of its name in each of the other folders")
    captions = {id: _caption([own[id] for own in clips.values()]) for id in shared}

    (out / CLIPS).mkdir(exist_ok=True)
    key, usable = _write_clips(out / CLIPS, clips, shared, found, seed)
    for account in found.values():
        account.close([each for each in account.recordings if each.id in usable])
    trials = choose_trials({id: key[id] for id in usable}, captions, num=num, seed=seed)
    test = hashlib.sha256(json.dumps([asdict(trial) for trial in trials]).encode()).hexdigest()[:16]
    write_whole(out / "index.html", page(trials, test, question).encode())
    file = out.with_name(f"{out.name}.key.json")
    owners = {clip: {"system": name, "item": id} for id in usable for name, clip in key[id].items()}
    content = {"test": test, "seed": seed, "question": question, "systems": names, "clips": owners}
    write_results(file, "evaluate listening", content)
    print(f"{len(trials)} pairs of {len(usable)} items by {len(names)} systems: {shown(out / 'index.html')}")
    print(f"the key, to be kept apart from it: {shown(file)}")


def choose_trials(
    key: Mapping[str, Mapping[str, str]], captions: Mapping[str, str], *, num: int, seed: int
) -> list[Trial]:
    """Pairs of clips in random order and on random sides, as many of every two systems as can be.

    Args:
        key: the clip of each system, by item.
        captions: of the items.
        num: of trials; 0 takes all.
        seed: of all that is random.
    """
    draw = random.Random(seed)
    systems = sorted({name for own in key.values() for name in own})
    queues = []
    for one, other in combinations(systems, 2):
        items = sorted(key)
        draw.shuffle(items)
        queues.append([(item, one, other) for item in items])
    draw.shuffle(queues)
    every = [pair for turn in zip(*queues, strict=True) for pair in turn]  # each two systems in turn
    chosen = every[: num or len(every)]
    draw.shuffle(chosen)
    # Each system stands as often on either side, but for one, and nobody can tell where.
    sides = [place % 2 == 0 for place in range(len(chosen))]
    draw.shuffle(sides)
    trials = []
    for place, ((item, one, other), swapped) in enumerate(zip(chosen, sides, strict=True)):
        a, b = (other, one) if swapped else (one, other)
        trials.append(Trial(f"{place + 1:03d}", captions[item], key[item][a], key[item][b]))
    return trials


def page(trials: Sequence[Trial], test: str, question: str = QUESTION) -> str:
    """The page, whole: nothing in it says whose a clip is."""
    content = {"format": FORMAT, "test": test, "trials": [asdict(trial) for trial in trials]}
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        question=escape(question),
        count=counted(len(trials), "pair"),
        content=json.dumps(content, ensure_ascii=False).replace("<", "\\u003c"),
    )


def _names(systems: Sequence[Path]) -> list[str]:
    """What the systems are called: the names of their folders."""
    if len(systems) < 2:
        raise ValueError(f"expected two folders of clips or more to compare, got {len(systems)}")
    names = [path.resolve().name for path in systems]
    if len(set(names)) < len(names):
        raise ValueError(f"expected folders of different names, which the systems are called by; got {names}")
    return names


def _caption(recordings: Sequence[Recording]) -> str:
    return next((each.captions[0] for each in recordings if each.captions), "")


def _write_clips(
    folder: Path,
    clips: Mapping[str, Mapping[str, Recording]],
    shared: Sequence[str],
    found: Mapping[str, Found],
    seed: int,
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Write every clip under a name that says nothing: the names by item and system, and the whole items."""
    key: dict[str, dict[str, str]] = {}
    for id in progress(shared, total=len(shared), description="clips"):
        own = {}
        for name, recordings in clips.items():
            file = hashlib.sha256(f"{seed} {name} {id}".encode()).hexdigest()[:12] + ".wav"
            try:
                equally_loud(Audio.load(recordings[id].path)).save(folder / file)
            except (ValueError, OSError) as error:
                found[name].report.leave_out(recordings[id].path, error)
                break
            own[name] = file
        if len(own) == len(clips):
            key[id] = own
    return key, list(key)


def equally_loud(audio: Audio) -> Audio:
    """The sound at `LOUDNESS`, or softer where it would go beyond full scale.

    Raises:
        ValueError: it is silent.
    """
    peak = float(audio.waveform.abs().max())
    if peak < 1e-4:
        raise ValueError("it is silent: nobody can compare it")
    own = loudness(audio.mono().waveform[0], audio.sample_rate)
    gain = min(10 ** ((LOUDNESS - own) / 20), PEAK / peak)
    return Audio(audio.waveform * gain, audio.sample_rate)
