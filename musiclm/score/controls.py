"""What a user asks of a piece as values: tempo, meter, key, chords, drums; from arguments, or from words.

`controls_in` reads the values that a prompt names ("at 150 bpm", "in A minor", "waltz", "slow", "without
drums"). It takes only what is said plainly: whatever else the words imply is the planner's to guess.
"""

import math
import re
from dataclasses import dataclass, fields, replace

from musiclm.score.notation import Bar, read_bars, read_key, read_meter
from musiclm.score.score import MODES, MOST_BEATS, Key

SLOWEST, FASTEST = 40.0, 240.0  # bpm
# What words of tempo mean, in bpm. Between the bounds of "slow" and "fast" lies what people call moderate.
PACES = {"slow": (SLOWEST, 88.0), "moderate": (90.0, 120.0), "fast": (124.0, FASTEST)}
_NUMBER = r"(?<![\d.,/])(\d{2,3}(?:\.\d+)?)(?![\d/])"
_RANGE = rf"(?:{_NUMBER}\s*(?:-|–|to|and|or)\s*)?{_NUMBER}"  # two tempos, of which neither is the one
_BPM = re.compile(
    rf"{_RANGE}[\s-]*(?:bpm\b|beats per minute\b|beats a minute\b)"
    rf"|\b(?:tempo|bpm)\s?(?:of|is|:|=)?\s+{_RANGE}(?!\s*%)(?!\.\d)",
    re.IGNORECASE,
)
_KEY = re.compile(
    r"\b([A-G])\s*-?\s?(#|♯|b|♭|sharp|flat)?\s?-?\s?(major|minor|maj|min)\b"
    r"(?!\s+(?:chords?|triads?|thirds?|sixths?|sevenths?)\b)",
    re.IGNORECASE,
)
_SYMBOL = re.compile(r"\b(?:[Ii]n|[Kk]ey of|[Kk]ey:?) ([A-G])(#|♯|b|♭)?(m)\b(?!['’])")  # "in F#m"
# "a minor" names a key where one may begin, and where no noun follows that the article would be of.
_BEGINS = re.compile(r"(?:^|[.,;:!?(]|\bin|\bkey of|\bkey)\s*$", re.IGNORECASE)
_ENDS = (
    r"\s*(?:$|[.,;:!?)/]|(?:and|or|to|at|with|without|in|on|over|for|by|but|then|no|played|driven|backed)\b)"
)
_KEY_ENDS = re.compile(_ENDS, re.IGNORECASE)
_MODE_NOUNS = r"[\s-]+(?:keys?|mode|scale|mood|tonality|harmon(?:y|ies)|chords|melod(?:y|ies)|tunes?|theme)\b"
_MODE = re.compile(rf"\b(major|minor)\b(?={_ENDS}|{_MODE_NOUNS})", re.IGNORECASE)
_METER = re.compile(r"(?<![\d/])(\d{1,2})/[248](?![\d/])(?!\s+(?:of|through|into)\b)")
_METER_WORDS = {
    3: r"\b(waltz(?:es)?|triple (?:time|meter|metre)"
    r"|three[- ](?:four|quarter)[- ](?:time|meter|metre)|in three[- ]four)\b",
    4: r"\b(common time|four[- ](?:four|quarter)[- ](?:time|meter|metre)|in four[- ]four|duple time)\b",
}
_PACE_WORDS = {
    "slow": r"slow(?:ly)?|slow-paced|unhurried|leisurely|down[- ]?tempo|without hurry|adagio|largo|lento",
    "moderate": r"mid[- ]?tempo|moderate(?:ly)?|medium[- ](?:tempo|paced?)|walking[- ]pace|andante|moderato",
    "fast": r"fast|fast-paced|up[- ]?tempo|quick(?:ly)?|rapid(?:ly)?|brisk(?:ly)?|breakneck|allegro|presto|"
    r"vivace|at high speed",
}
# "not a very fast tune", but "not sad but fast": a denial reaches over two words to what it denies.
_NOT = re.compile(
    r"\b(?:(?:not|never|hardly|neither|nor|nothing|\w+n['’]t)\s+(?:(?!but\b|and\b|just\b|only\b)\w+\s+){0,2}"
    r"|(?:no|less|without|anything but)\s+(?:(?:a|any|too|very|really|so)\s+){0,2})$",
    re.IGNORECASE,
)
_PLAYED = (
    r"(?:drums?|drum ?kit|drum ?beats?|drumm(?:er|ing)|percussion|percussive|percussionist"
    r"|kick drums?|snares?|hi-?hats?)"
)
_DRUMS = rf"(?:{_PLAYED}|beats?)"
_NO_DRUMS = re.compile(
    rf"\b(?:no|without|minus|sans|free of|leave out|leaves out|skip|omit|lose)\s+(?:any\s+|a\s+|the\s+)?"
    rf"(?:(?!but\b|and\b)\w+\s+)?{_DRUMS}\b(?!-)"
    rf"|\b(?:nobody|no one|not|never|\w+n['’]t)\s+(?:(?!but\b|and\b|just\b|only\b|too\b|many\b)\w+\s+){{0,2}}"
    rf"{_PLAYED}\b|\b(?:drum|beat|percussion)-?less\b|\b(?:drum|percussion)s?[- ]free\b",
    re.IGNORECASE,
)
_WITH_DRUMS = re.compile(rf"\b{_PLAYED}\b", re.IGNORECASE)


@dataclass(frozen=True)
class Controls:
    """Values that a piece is to have; None where anything is right.

    Args:
        bpm: beats per minute.
        meter: beats in a bar.
        key: tonic and mode.
        chords: bars of them, played again from the first when they are over.
        drums: whether they play.
        mode: major or minor, where the tonic may be any.
        pace: slow, moderate or fast, where the tempo may be any such.

    Raises:
        ValueError: no music has such values.
    """

    bpm: float | None = None
    meter: int | None = None
    key: Key | None = None
    chords: tuple[Bar, ...] | None = None
    drums: bool | None = None
    mode: str | None = None
    pace: str | None = None

    def __post_init__(self) -> None:
        if self.bpm is not None and not (math.isfinite(self.bpm) and SLOWEST <= self.bpm <= FASTEST):
            raise ValueError(f"expected a tempo of {SLOWEST:g} to {FASTEST:g} bpm, got {self.bpm:g}")
        if self.meter is not None and not 2 <= self.meter <= MOST_BEATS:
            raise ValueError(f"expected bars of 2 to {MOST_BEATS} beats, got {self.meter}")
        if self.mode is not None and self.mode not in MODES:
            raise ValueError(f"expected the mode major or minor, got {self.mode!r}")
        if self.pace is not None and self.pace not in PACES:
            raise ValueError(f"expected a pace of {', '.join(PACES)}, got {self.pace!r}")
        most = max((len(bar) for bar in self.chords or ()), default=1)
        if most > (self.meter or MOST_BEATS):
            raise ValueError(
                f"expected at most a chord a beat, got {most} in a bar of {self.meter or MOST_BEATS}"
            )

    @classmethod
    def of(
        cls,
        *,
        bpm: float | None = None,
        meter: str | None = None,
        key: str | None = None,
        chords: str | None = None,
        drums: bool | None = None,
    ) -> "Controls":
        """The values that a user has typed: a meter as "3/4", a key as "F# minor", chords as "Am F C G".

        Raises:
            ValueError: one cannot be read.
        """
        return cls(
            bpm,
            None if meter is None else read_meter(meter),
            None if key is None else read_key(key),
            None if chords is None else read_bars(chords),
            drums,
        )

    @property
    def any(self) -> bool:
        """Whether anything is asked."""
        return any(getattr(self, each.name) is not None for each in fields(self))

    def over(self, other: "Controls") -> "Controls":
        """These values, and the other ones where these say nothing."""
        own = {name: value for name, value in vars(self).items() if value is not None}
        if "key" in own:  # which says the mode as well
            other = replace(other, mode=None)
        if "bpm" in own:
            other = replace(other, pace=None)
        return replace(other, **own)


def controls_in(text: str) -> Controls:
    """The values that a prompt names. What cannot be, as 900 bpm, is read as nothing, and so are two."""
    bpm, key = _bpm(text), _key(text)
    modes = {found[1].lower() for found in _said(_MODE, text)}
    paces = {
        pace
        for pace, words in _PACE_WORDS.items()
        if any(_said(re.compile(rf"(?<![\w-])(?:{words})(?![\w-])", re.IGNORECASE), text))
    }
    drums = False if _NO_DRUMS.search(text) else True if _WITH_DRUMS.search(text) else None
    return Controls(
        bpm=bpm,
        meter=_meter(text),
        key=key,
        drums=drums,
        mode=modes.pop() if key is None and len(modes) == 1 else None,
        pace=paces.pop() if bpm is None and len(paces) == 1 else None,
    )


def _bpm(text: str) -> float | None:
    said = {float(number) for found in _said(_BPM, text) for number in found.groups() if number}
    said = {bpm for bpm in said if SLOWEST <= bpm <= FASTEST}
    return said.pop() if len(said) == 1 else None


def _key(text: str) -> Key | None:
    said = {
        read_key("".join(part or "" for part in found.groups()))
        for found in (*_said(_KEY, text), *_said(_SYMBOL, text))
        if not _is_article(text, found)
    }
    return said.pop() if len(said) == 1 else None


def _is_article(text: str, found: re.Match[str]) -> bool:
    """Whether the A of "a minor" is no key's: "a minor tune", "A major hit"."""
    if found[1] not in "aA" or found[2]:
        return False
    before, after = text[: found.start()], text[found.end() :]
    if found[1] == "A" and not re.search(r"(?:^|[.!?])\s*$", before):
        return bool(re.match(_MODE_NOUNS, after, re.IGNORECASE))
    return not (_BEGINS.search(before) and _KEY_ENDS.match(after))


def _meter(text: str) -> int | None:
    said = {int(found[1]) for found in _said(_METER, text)}
    said |= {
        beats for beats, words in _METER_WORDS.items() if any(_said(re.compile(words, re.IGNORECASE), text))
    }
    said = {beats for beats in said if 2 <= beats <= MOST_BEATS}
    return said.pop() if len(said) == 1 else None


def _said(words: re.Pattern[str], text: str) -> list[re.Match[str]]:
    """Where a text says something, and does not deny it."""
    return [found for found in words.finditer(text) if not _NOT.search(text[: found.start()])]
