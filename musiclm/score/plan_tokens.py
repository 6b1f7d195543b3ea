"""A plan as one row of tokens, for the planner: tempo, meter, mode, tonic, drums, then two chords a bar.

    bpm | meter | mode | tonic | drums | bar 1, first half | bar 1, second half | bar 2 ... | end

Chords are counted from the tonic, so that what is learned in one key holds in all. A half bar that goes on
with the chord before it says so. What a plan leaves open has tokens of its own.
"""

import math
from collections.abc import Sequence

from musiclm.score.codes import CHORD_QUALITIES
from musiclm.score.notation import Bar
from musiclm.score.plan import Plan, Section
from musiclm.score.score import MODES, MOST_BEATS, NO_CHORD, Chord, Key, NoChord

SLOWEST_BIN, BIN = 40.0, 1.02  # bpm, and from one bin to the next: half of what a listener takes as the same
TEMPI = round(math.log(240.0 / SLOWEST_BIN) / math.log(BIN)) + 1
CHORDS = 12 * len(CHORD_QUALITIES)
# Where the tokens of each kind begin
FIRST = {"bpm": 0}
for _kind, _before, _count in (
    ("meter", "bpm", TEMPI),
    ("mode", "meter", MOST_BEATS + 1),
    ("tonic", "mode", len(MODES) + 1),
    ("drums", "tonic", 12),
    ("chord", "drums", 3),
):
    FIRST[_kind] = FIRST[_before] + _count
NONE, UNKNOWN, HOLD, END = (FIRST["chord"] + CHORDS + n for n in range(4))
START = END + 1
VOCABULARY = START + 1
HEADER = ("bpm", "meter", "mode", "tonic", "drums")
MOST_BARS = 64  # of a plan that is drawn; longer ones are learned by their beginnings


def tokens_of(plan: Plan) -> list[int]:
    """The tokens of a plan, its first section's values standing for all."""
    first = plan.sections[0]
    key = first.key
    tonic = key.tonic if key else 0
    tokens = [
        FIRST["bpm"] + bin_of(first.bpm),
        FIRST["meter"] + first.meter,
        FIRST["mode"] + (MODES.index(key.mode) if key else len(MODES)),
        FIRST["tonic"] + tonic,
        FIRST["drums"] + (2 if first.drums is None else int(first.drums)),
    ]
    before: Chord | NoChord | str | None = ""
    for bar in [bar for section in plan.sections for bar in section.bars][:MOST_BARS]:
        for chord in _halves(bar):
            tokens.append(HOLD if chord == before else _token_of(chord, tonic))
            before = chord
    return [*tokens, END]


def plan_of_tokens(tokens: Sequence[int], *, phrase: int = 4) -> Plan:
    """The plan of tokens, its bars in sections of `phrase` bars, named by what is played in them."""
    bpm, meter, mode, tonic, drums = (
        token - FIRST[kind] for kind, token in zip(HEADER, tokens[: len(HEADER)], strict=True)
    )
    key = Key(tonic, MODES[mode]) if mode < len(MODES) else None
    chords: list[Chord | NoChord | None] = []
    for token in tokens[len(HEADER) :]:
        if token == END:
            break
        chords.append((chords[-1] if chords else None) if token == HOLD else _chord_of(token, tonic))
    halves = list(zip(chords[::2], chords[1::2], strict=False)) or [(None, None)]
    bars = [_bar_of(first, second) for first, second in halves]
    phrases = [tuple(bars[start : start + phrase]) for start in range(0, len(bars), phrase)]
    letters = {each: chr(ord("A") + n % 26) for n, each in enumerate(dict.fromkeys(phrases))}
    return Plan(
        tuple(
            Section(each, bpm_of(bpm), meter, key, None if drums == 2 else bool(drums), letters[each])
            for each in phrases
        )
    )


def bin_of(bpm: float) -> int:
    """The bin of a tempo."""
    return min(max(round(math.log(bpm / SLOWEST_BIN) / math.log(BIN)), 0), TEMPI - 1)


def bpm_of(bin: int) -> float:
    """The tempo of a bin, a whole number of bpm."""
    return float(round(SLOWEST_BIN * BIN**bin))


def _halves(bar: Bar) -> tuple[Chord | NoChord | None, Chord | NoChord | None]:
    """The chords that a bar's halves begin with; None where they are not known."""
    return (bar[0], bar[len(bar) // 2]) if bar else (None, None)


def _bar_of(first: Chord | NoChord | None, second: Chord | NoChord | None) -> Bar:
    known = [chord for chord in (first, second) if chord is not None]
    return tuple(dict.fromkeys(known)) if len(known) == 2 else tuple(known)


def _token_of(chord: Chord | NoChord | None, tonic: int) -> int:
    if chord is None:
        return UNKNOWN
    if chord == NO_CHORD:
        return NONE
    degree = (chord.root - tonic) % 12
    return FIRST["chord"] + degree * len(CHORD_QUALITIES) + CHORD_QUALITIES.index(chord.quality)


def _chord_of(token: int, tonic: int) -> Chord | NoChord | None:
    if token in (NONE, UNKNOWN):
        return NO_CHORD if token == NONE else None
    degree, quality = divmod(token - FIRST["chord"], len(CHORD_QUALITIES))
    return Chord((degree + tonic) % 12, CHORD_QUALITIES[quality])
