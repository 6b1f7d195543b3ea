"""A plan: a piece in bars, as a musician writes it down, and the file of it.

    bpm: 96
    meter: 4/4
    key: A minor
    drums: true
    sections:
    - {name: A, chords: Am | F | C | G}
    - {name: B, chords: Dm | Am | F G | Am}

What stands at the top holds for every section that does not say otherwise. The sections are played in order,
and again from the first as long as the music lasts.
"""

import math
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from musiclm.bundle.plain import read_yaml
from musiclm.files import shown, write_whole
from musiclm.score.controls import PACES, Controls
from musiclm.score.notation import Bar, read_bars, read_key, read_meter, write_bars, write_key
from musiclm.score.score import Beat, Chord, From, Key, NoChord, Score

MOST_SECTIONS = 1_000
USUAL_BPM, USUAL_METER = 110.0, 4  # where a plan says nothing, and bars need some length
VALUES = ("bpm", "meter", "key", "drums")  # of a section, or of the whole plan
SECTION = ("name", "chords", "bars", *VALUES)


@dataclass(frozen=True)
class Section:
    """Some bars of a plan.

    Args:
        bars: the chords of each; of empty ones they are not known.
        bpm, meter: which give a bar its length.
        key: it is in; None where that is left open.
        drums: whether they play; None where that is left open.
        name: in the file.
    """

    bars: tuple[Bar, ...]
    bpm: float = USUAL_BPM
    meter: int = USUAL_METER
    key: Key | None = None
    drums: bool | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if not self.bars:
            raise ValueError("expected sections of one bar or more, got an empty one")
        Controls(self.bpm, self.meter, chords=self.bars)  # which checks them

    @property
    def bar_seconds(self) -> float:
        """How long a bar is."""
        return 60.0 / self.bpm * self.meter


@dataclass(frozen=True)
class Plan:
    """A piece in bars; `score` gives it its place in time."""

    sections: tuple[Section, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.sections) <= MOST_SECTIONS:
            raise ValueError(f"expected 1 to {MOST_SECTIONS} sections of a plan, got {len(self.sections)}")

    @property
    def seconds(self) -> float:
        """How long it is, played once."""
        return sum(len(section.bars) * section.bar_seconds for section in self.sections)

    def score(self, seconds: float, *, first: float = 0.0) -> Score:
        """The score of so many seconds of the plan, whose first downbeat is at `first`.

        What is before `first` is led up to it by the first bar, so that music that begins before a downbeat
        knows where it is in the bar.

        Args:
            seconds: from 0 on.
            first: of a downbeat, in seconds.
        """
        beats: list[Beat] = []
        keys: list[From[Key]] = []
        chords: list[From[Chord | NoChord]] = []
        plays: list[From[bool]] = []
        lead = self.sections[0]
        at = first
        while at > 0:
            at -= lead.bar_seconds
        lead_in = [replace(lead, bars=lead.bars[:1])] * round((first - at) / lead.bar_seconds)
        for section in _endless(lead_in, self.sections):
            if at >= seconds:
                beats.append(Beat(at, 0, section.meter))  # where the last bar ends
                break
            keys.append(From(at, section.key))
            plays.append(From(at, section.drums))
            beat_seconds = 60.0 / section.bpm
            for bar in section.bars:
                beats += [Beat(at + n * beat_seconds, n, section.meter) for n in range(section.meter)]
                for place, chord in enumerate(bar):  # to the beat, as "C G" in three: two beats and one
                    chords.append(From(at + round(place * section.meter / len(bar)) * beat_seconds, chord))
                if not bar:
                    chords.append(From(at, None))
                at += section.bar_seconds
                if at >= seconds:
                    break
        return Score(seconds, tuple(beats), tuple(keys), tuple(chords), tuple(plays))

    def under(self, controls: Controls) -> "Plan":
        """The plan with a user's values in the place of its own."""
        values = {name: value for name in VALUES if (value := getattr(controls, name)) is not None}
        if controls.chords is not None:
            return Plan((replace(self.sections[0], bars=controls.chords, **values),))
        return Plan(tuple(replace(section, **values) for section in self.sections))


def _endless(first: Sequence[Section], sections: Sequence[Section]) -> Iterator[Section]:
    yield from first
    while True:
        yield from sections


def plan_of(controls: Controls) -> Plan:
    """The plan of values alone: bars of their tempo, or a usual one of their pace; their chords, if any."""
    bpm = USUAL_BPM if controls.pace is None else round(math.sqrt(math.prod(PACES[controls.pace])))
    return Plan((Section(((),), bpm),)).under(controls)


def read_plan(path: Path) -> Plan:
    """The plan in a YAML file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no plan.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected a plan as a YAML file, found nothing at {path}")
    try:
        return _plan_of_words(read_yaml(path))
    except ValueError as error:
        raise ValueError(f"expected a plan in {shown(path)}: {error}") from None


def write_plan(plan: Plan, path: Path) -> None:
    """Write a plan as `read_plan` reads it."""
    write_whole(path, as_text(plan).encode())


def as_text(plan: Plan) -> str:
    """A plan as YAML: what all sections have in common stands at the top."""
    written = [_words_of(section) for section in plan.sections]
    common = {
        name: written[0][name] for name in VALUES if name in written[0]
        and all(each.get(name) == written[0][name] for each in written)
    }  # fmt: skip
    sections = [{name: value for name, value in each.items() if name not in common} for each in written]
    return yaml.safe_dump({**common, "sections": sections}, sort_keys=False, allow_unicode=True, width=10**6)


def _words_of(section: Section) -> dict[str, Any]:
    words: dict[str, Any] = {"name": section.name} if section.name else {}
    words |= {"bpm": round(section.bpm, 2), "meter": f"{section.meter}/4"}
    if section.key is not None:
        words["key"] = write_key(section.key)
    if section.drums is not None:
        words["drums"] = section.drums
    if any(section.bars):
        words["chords"] = write_bars(section.bars, section.key)
    else:
        words["bars"] = len(section.bars)
    return words


def _plan_of_words(words: Any) -> Plan:
    words = {"sections": words} if isinstance(words, list) else words
    if not isinstance(words, dict) or not isinstance(words.get("sections", [{}]), list):
        raise ValueError("expected a tempo, a meter, a key and a list of sections")
    _check_names(words, ("sections", "chords", "bars", *VALUES))
    common = {name: value for name, value in words.items() if name != "sections"}
    return Plan(tuple(_section_of(common, each) for each in words.get("sections", [{}])))


def _section_of(common: Mapping[str, Any], words: Any) -> Section:
    if not isinstance(words, dict):
        raise ValueError(f"expected sections such as {{chords: Am | F | C | G}}, got {reprlib.repr(words)}")
    _check_names(words, SECTION)
    words = {**common, **words}
    drums, bpm, bars = words.get("drums"), words.get("bpm", USUAL_BPM), words.get("bars", 1)
    if drums is not None and not isinstance(drums, bool):
        raise ValueError(f"expected drums to be true or false, got {reprlib.repr(drums)}")
    if not isinstance(bpm, int | float) or isinstance(bpm, bool) or abs(bpm) > 10**6:
        raise ValueError(f"expected bpm to be a number, got {reprlib.repr(bpm)}")
    if not isinstance(bars, int) or isinstance(bars, bool) or not 1 <= bars <= 10_000:
        raise ValueError(f"expected a number of bars, got {reprlib.repr(bars)}")
    return Section(
        read_bars(str(words["chords"])) if "chords" in words else ((),) * bars,
        float(bpm),
        read_meter(words.get("meter", USUAL_METER)),
        read_key(str(words["key"])) if words.get("key") is not None else None,
        drums,
        "" if words.get("name") is None else str(words["name"]),
    )


def _check_names(words: Mapping[str, Any], known: Sequence[str]) -> None:
    if unknown := [str(name) for name in words if name not in known]:
        raise ValueError(f"expected {', '.join(known)}, got {unknown[0]!r}")
