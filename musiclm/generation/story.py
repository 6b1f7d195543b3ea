"""A story as users write it: a YAML file, or times and texts on the command line.

seconds: 45          # optional, as are seed, blend and out
story:
  - {at: 0:00, text: a calm violin melody, key: A minor}
  - {at: 0:15, text: fast techno with drums, bpm: 128, chords: Am F C G}
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from musiclm.score.controls import Controls

EXAMPLE = '- {at: 0:15, text: "fast techno"}'


VALUES = ("bpm", "meter", "key", "chords", "drums")  # that a section may have


@dataclass(frozen=True)
class Story:
    """Sections, (second, text) each, with their values, and what a file says beside them."""

    sections: list[tuple[float, str]]
    controls: tuple[Controls, ...]
    seconds: float | None = None
    seed: int | None = None
    blend: float | None = None
    out: Path | None = None


def read_story(path: Path) -> Story:
    """The story in a YAML file: a list of sections, or a mapping with the list under `story`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no story.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected a story as a YAML file, found nothing at {path}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"expected a story as YAML in {path}, but it cannot be read: {error}") from None
    words = content if isinstance(content, dict) else {"story": content}
    known = {"story", "seconds", "seed", "blend", "out"}
    if unknown := sorted(set(map(str, words)) - known):
        raise ValueError(f"expected {', '.join(sorted(known))} in {path}, got {', '.join(unknown)}")
    sections = words.get("story")
    if not isinstance(sections, list) or not sections:
        raise ValueError(f"expected a list of sections such as {EXAMPLE} in {path}, got {sections!r}")
    for section in sections:
        if not isinstance(section, dict) or not {"at", "text"} <= set(section) <= {"at", "text", *VALUES}:
            raise ValueError(
                f"expected sections such as {EXAMPLE}, with {', '.join(VALUES)} if wanted, in {path}, got "
                f"{section!r}"
            )
    seed = words.get("seed")
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
        raise ValueError(f"expected a seed that is a whole number in {path}, got {seed!r}")
    return Story(
        [(read_time(section["at"]), section["text"]) for section in sections],
        tuple(_controls_of(section, path) for section in sections),
        seconds=_number_of(words, "seconds"),
        seed=seed,
        blend=_number_of(words, "blend"),
        out=Path(str(words["out"])) if words.get("out") else None,
    )


def story_of(at: Sequence[tuple[str, str]]) -> Story:
    """The story of times and texts.

    Raises:
        ValueError: a time is none.
    """
    return Story([(read_time(time), text) for time, text in at], (Controls(),) * len(at))


def read_time(time: Any) -> float:
    """Seconds of "1:15", "0:07.5", "75" or 75; YAML itself reads 1:15 as 75.

    Raises:
        ValueError: it is none.
    """
    if isinstance(time, int | float) and not isinstance(time, bool) and math.isfinite(time):
        return float(time)
    found = re.fullmatch(r"(?:(\d+):(?=[0-5]?\d(?!\d)))?(\d+(?:\.\d+)?)", str(time).strip())
    if found is None:
        raise ValueError(f"expected a time such as 0:15 or 75, got {time!r}")
    return 60 * float(found[1] or 0) + float(found[2])


def _controls_of(section: dict[str, Any], path: Path) -> Controls:
    """The values that a section has beside its text."""
    bpm, drums = section.get("bpm"), section.get("drums")
    if bpm is not None and (isinstance(bpm, bool) or not isinstance(bpm, int | float)):
        raise ValueError(f"expected bpm to be a number in {path}, got {bpm!r}")
    if drums is not None and not isinstance(drums, bool):
        raise ValueError(f"expected drums to be yes or no in {path}, got {drums!r}")
    texts = {name: str(section[name]) for name in ("meter", "key", "chords") if section.get(name) is not None}
    return Controls.of(bpm=bpm, drums=drums, **texts)


def _number_of(words: dict[str, Any], name: str) -> float | None:
    """A length of time under a name, None where there is none."""
    value = words.get(name)
    return None if value is None else read_time(value)
