"""The instruments of the corpus: General MIDI programs, ranges and what each one is used for."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Instrument:
    name: str  # plain English, as captions use it
    program: int  # General MIDI program, 0 … 127
    lowest: int  # MIDI pitches it can play
    highest: int
    roles: frozenset[str]  # among "lead", "chords", "pad", "counter", "bass"
    lead_low: int = 60  # comfortable register of a melody
    lead_high: int = 84
    sustains: bool = True  # holds a note as long as wanted (bowed, blown, electronic)
    strums: bool = False  # chords are struck string by string
    shortest: float = 0.11  # seconds: faster notes blur


def _table(*instruments: Instrument) -> dict[str, Instrument]:
    return {instrument.name: instrument for instrument in instruments}


def _roles(roles: str) -> frozenset[str]:
    return frozenset(roles.split())


INSTRUMENTS: dict[str, Instrument] = _table(
    Instrument("violin", 40, 55, 100, _roles("lead counter"), 64, 86),
    Instrument("flute", 73, 60, 96, _roles("lead counter"), 67, 88),
    Instrument("piano", 0, 24, 105, _roles("lead chords"), 64, 86, sustains=False),
    Instrument("acoustic guitar", 25, 40, 86, _roles("lead chords"), 57, 79, sustains=False, strums=True),
    Instrument("electric guitar", 27, 40, 88, _roles("lead chords"), 57, 80, sustains=False, strums=True),
    Instrument("distorted guitar", 30, 40, 88, _roles("lead chords"), 57, 79, strums=True),
    Instrument("saxophone", 65, 49, 81, _roles("lead counter"), 57, 77),
    Instrument("trumpet", 56, 54, 84, _roles("lead counter"), 60, 80),
    Instrument("clarinet", 71, 50, 91, _roles("lead counter"), 58, 81),
    Instrument("cello", 42, 36, 76, _roles("lead counter"), 48, 69),
    Instrument("synth lead", 81, 36, 96, _roles("lead counter"), 60, 82),
    Instrument("organ", 16, 36, 96, _roles("lead chords pad"), 62, 84),
    Instrument("vibraphone", 11, 53, 89, _roles("lead chords counter"), 65, 86, sustains=False),
    Instrument("harmonica", 22, 60, 89, _roles("lead counter"), 64, 84),
    Instrument("accordion", 21, 48, 90, _roles("lead chords pad"), 62, 83),
    Instrument("whistle", 78, 67, 98, _roles("lead"), 72, 91),
    Instrument("oboe", 68, 58, 91, _roles("lead counter"), 62, 83),
    Instrument("music box", 10, 60, 98, _roles("lead counter"), 72, 93, sustains=False),
    Instrument("harp", 46, 30, 100, _roles("lead chords"), 64, 86, sustains=False),
    Instrument("marimba", 12, 45, 96, _roles("lead chords counter"), 60, 83, sustains=False),
    Instrument("electric piano", 4, 28, 100, _roles("chords"), sustains=False),
    Instrument("harpsichord", 6, 36, 89, _roles("chords"), sustains=False),
    Instrument("strings", 48, 36, 96, _roles("chords pad")),
    Instrument("choir", 52, 43, 84, _roles("chords pad")),
    Instrument("synth pad", 89, 36, 96, _roles("chords pad")),
    Instrument("synth", 90, 36, 96, _roles("chords")),
    Instrument("double bass", 32, 28, 60, _roles("bass"), sustains=False),
    Instrument("electric bass", 33, 28, 60, _roles("bass"), sustains=False),
    Instrument("synth bass", 38, 24, 60, _roles("bass")),
    Instrument("tuba", 58, 28, 58, _roles("bass")),
)

LEADS = tuple(name for name, made in INSTRUMENTS.items() if "lead" in made.roles)
CHORD_INSTRUMENTS = tuple(name for name, made in INSTRUMENTS.items() if "chords" in made.roles)
PADS = tuple(name for name, made in INSTRUMENTS.items() if "pad" in made.roles)
COUNTERS = tuple(name for name, made in INSTRUMENTS.items() if "counter" in made.roles)
BASSES = tuple(name for name, made in INSTRUMENTS.items() if "bass" in made.roles)

DRUMS = "drums"

# General MIDI percussion keys by the names the drum patterns use.
PERCUSSION: dict[str, int] = {
    "kick": 36,
    "stick": 37,
    "snare": 38,
    "clap": 39,
    "hat": 42,
    "pedal": 44,
    "open": 46,
    "crash": 49,
    "ride": 51,
    "bell": 53,
    "tambourine": 54,
    "cowbell": 56,
    "bongo": 60,
    "low bongo": 61,
    "conga": 63,
    "low conga": 64,
    "shaker": 70,
    "clave": 75,
    "low tom": 41,
    "mid tom": 45,
    "high tom": 48,
}
