"""What makes a genre and a mood: metre, harmony, instruments and habits, as tables.

Harmony is written in Roman numerals (see theory.py), one bar per "|", chords inside a bar sharing it
equally. The rhythmic patterns of each genre stand in patterns.py under the same name.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Genre:
    name: str
    metres: tuple[int, ...]  # quarter notes in a bar it may have
    major: tuple[str, ...]  # progressions of four bars
    minor: tuple[str, ...]
    chords: tuple[str, ...]  # usual accompaniment instruments
    pads: tuple[str, ...]
    basses: tuple[str, ...]
    leads: tuple[str, ...]  # usual lead instruments; all others happen too
    moods: dict[str, float]  # how much likelier than 1 a mood is
    drums: float  # probability
    bass: float  # probability
    tempo: float  # usual tempo, beats per minute
    cadences: dict[str, str]  # two bars that close a phrase: "half" and "full" in "major" and "minor"
    swing: float = 0.5  # where the second eighth of a beat falls
    seventh_ending: bool = False  # whether the last chord keeps its seventh
    pad: float = 0.3  # probability of a pad
    counter: float = 0.2  # probability of a second melodic voice


@dataclass(frozen=True)
class Mood:
    name: str
    major: float  # probability of a major key
    density: float  # notes per second the melody strives for
    register: int  # semitones the melody moves up or down
    loudness: int  # MIDI velocity the lead is centred on
    legato: float  # share of a note's length that sounds
    tempo: float  # tempo it is likeliest at
    busy: float  # 0 sparse … 1 busy accompaniment and drums
    syncopation: float  # 0 … 1
    leap: float = 1.0  # how freely the melody leaps
    spread: float = field(default=20.0)  # difference between loud and soft notes of a phrase


MOODS: dict[str, Mood] = {
    mood.name: mood
    for mood in (
        Mood("calm", 0.75, 1.1, -1, 82, 0.98, 74, 0.1, 0.05, leap=0.6, spread=10),
        Mood("happy", 0.95, 2.4, 2, 98, 0.86, 125, 0.6, 0.25),
        Mood("sad", 0.08, 1.2, -2, 84, 0.98, 72, 0.2, 0.05, leap=0.8),
        Mood("energetic", 0.55, 3.2, 2, 112, 0.82, 145, 1.0, 0.45, leap=1.2),
        Mood("mysterious", 0.12, 1.5, -2, 84, 0.92, 90, 0.3, 0.25, leap=1.5, spread=24),
        Mood("romantic", 0.65, 1.5, 1, 92, 1.0, 84, 0.35, 0.1, leap=1.3, spread=26),
        Mood("dark", 0.03, 1.7, -5, 96, 0.95, 100, 0.5, 0.2, leap=0.8),
        Mood("playful", 0.88, 2.8, 4, 96, 0.5, 120, 0.6, 0.35, leap=1.5),
        Mood("dreamy", 0.7, 1.2, 3, 80, 1.0, 82, 0.2, 0.15, leap=1.1, spread=14),
        Mood("heroic", 0.72, 1.9, 1, 114, 0.92, 115, 0.8, 0.1, leap=1.6),
    )
}


def _cadences(major_half: str, major_full: str, minor_half: str, minor_full: str) -> dict[str, str]:
    return {
        "half major": major_half,
        "full major": major_full,
        "half minor": minor_half,
        "full minor": minor_full,
    }


_CLASSIC = _cadences("ii | V", "IV V7 | I", "iv | V", "iv V7 | i")
_PLAIN = _cadences("IV | V", "V | I", "bVI | V", "V | i")

GENRES: dict[str, Genre] = {
    genre.name: genre
    for genre in (
        Genre(
            "techno",
            (4,),
            ("I | I | vi | IV", "I | V | vi | IV", "vi | IV | I | V", "I | I | IV | IV"),
            ("i | i | bVI | bVII", "i | bVI | bIII | bVII", "i | i | iv | bVI", "i | bVII | bVI | bVII"),
            ("synth", "synth", "organ", "piano", "synth pad"),
            ("synth pad", "strings"),
            ("synth bass",),
            ("synth lead", "organ", "piano", "distorted guitar", "vibraphone"),
            {"energetic": 3, "dark": 2, "mysterious": 1.5, "happy": 1.5, "sad": 0.3, "romantic": 0.3},
            0.85,
            0.9,
            130,
            _cadences("IV | V", "IV V | I", "bVI | bVII", "bVII | i"),
            pad=0.4,
            counter=0.1,
        ),
        Genre(
            "waltz",
            (3,),
            ("I | I | V7 | V7", "I | vi | ii | V7", "I | IV | I | V7", "I | V7 | vi | iii"),
            ("i | i | iv | V7", "i | iv | V7 | i", "i | bVI | iv | V7", "i | bVII | bIII | V7"),
            ("piano", "accordion", "strings", "harp", "acoustic guitar"),
            ("strings",),
            ("double bass", "tuba"),
            ("violin", "accordion", "clarinet", "flute", "piano", "cello", "music box"),
            {"romantic": 3, "playful": 1.5, "happy": 1.5, "energetic": 0.5},
            0.4,
            0.75,
            125,
            _cadences("ii | V7", "V7 | I", "iv | V7", "V7 | i"),
        ),
        Genre(
            "rock",
            (4, 4, 4, 4, 3),
            ("I | IV | I | V", "I | bVII | IV | I", "I | V | vi | IV", "I | IV | V | IV"),
            ("i | bVI | bIII | bVII", "i | bVII | bVI | bVII", "i | bIII | bVII | iv", "i | i | iv | bVII"),
            ("electric guitar", "distorted guitar", "organ", "piano", "acoustic guitar"),
            ("organ", "strings"),
            ("electric bass",),
            ("distorted guitar", "electric guitar", "organ", "saxophone", "harmonica"),
            {"energetic": 3, "heroic": 2, "dark": 1.5, "happy": 1.5, "dreamy": 0.4},
            0.85,
            0.9,
            128,
            _cadences("IV | V", "IV V | I", "bVI | V", "bVI bVII | i"),
            pad=0.15,
            counter=0.1,
        ),
        Genre(
            "jazz",
            (4, 4, 4, 3),
            (
                "Imaj7 | vi7 | ii7 | V7",
                "iii7 | VI7 | ii7 | V7",
                "Imaj7 | IV7 | iii7 | VI7",
                "ii7 | V7 | Imaj7 | VI7",
            ),
            (
                "i7 | iv7 | iim7b5 | V7",
                "i7 | bVImaj7 | iim7b5 | V7",
                "iv7 | bVII7 | bIIImaj7 | bVImaj7",
                "i6 | iim7b5 V7 | i6 | iim7b5 V7",
            ),
            ("piano", "piano", "electric guitar", "vibraphone", "electric piano"),
            ("strings", "organ"),
            ("double bass",),
            ("saxophone", "trumpet", "clarinet", "vibraphone", "piano", "flute", "electric guitar"),
            {"romantic": 1.5, "playful": 1.5, "mysterious": 1.5, "heroic": 0.4},
            0.7,
            0.95,
            135,
            _cadences("ii7 | V7", "ii7 V7 | Imaj7", "iim7b5 | V7", "iim7b5 V7 | i7"),
            swing=0.64,
            seventh_ending=True,
            pad=0.1,
        ),
        Genre(
            "ambient",
            (4, 4, 4, 3),
            ("Imaj7 | Imaj7 | IVmaj7 | IVmaj7", "I | Isus2 | IV | Isus2", "IVmaj7 | I | vi7 | I"),
            ("i | i | bVImaj7 | bVImaj7", "i7 | iv7 | i7 | bVImaj7", "i | bVII | iv | bVI"),
            ("synth pad", "strings", "choir", "electric piano", "piano", "harp"),
            ("synth pad", "strings", "choir"),
            ("synth bass",),
            ("flute", "piano", "synth lead", "vibraphone", "cello", "music box", "electric guitar"),
            {"calm": 3, "dreamy": 3, "mysterious": 2.5, "sad": 1.5, "energetic": 0.2, "playful": 0.3},
            0.12,
            0.4,
            80,
            _cadences("IVmaj7 | Vsus4", "IV | I", "bVImaj7 | bVII", "iv | i"),
            pad=0.75,
            counter=0.1,
        ),
        Genre(
            "folk",
            (4, 4, 3),
            ("I | IV | I | V", "I | V | IV | I", "I | vi | IV | V", "I | I | IV | V"),
            ("i | bVII | i | bVII", "i | bIII | bVII | i", "i | iv | bVII | i", "i | bVII | bVI | bVII"),
            ("acoustic guitar", "acoustic guitar", "accordion", "harp", "piano"),
            ("accordion", "strings"),
            ("double bass",),
            ("whistle", "violin", "harmonica", "accordion", "acoustic guitar", "flute"),
            {"happy": 2, "calm": 1.5, "sad": 1.5, "playful": 1.5, "dark": 0.5},
            0.4,
            0.6,
            112,
            _cadences("IV | V", "V | I", "bVI | bVII", "bVII | i"),
        ),
        Genre(
            "classical",
            (4, 4, 3),
            ("I | V7 | V7 | I", "I | ii | V7 | I", "I | IV | I | V7", "I | vi | IV | V"),
            ("i | V7 | i | V7", "i | iv | V7 | i", "i | bVI | iv | V", "i | iidim | V7 | i"),
            ("piano", "strings", "harpsichord", "harp", "piano"),
            ("strings",),
            ("double bass",),
            ("violin", "flute", "cello", "oboe", "clarinet", "piano", "trumpet"),
            {"romantic": 2, "heroic": 1.5, "sad": 1.3, "playful": 1.3, "calm": 1.3},
            0.2,
            0.6,
            108,
            _CLASSIC,
            pad=0.2,
            counter=0.35,
        ),
        Genre(
            "reggae",
            (4,),
            ("I | IV | I | V", "I | V | vi | IV", "I | ii | I | ii", "I | I | IV | V"),
            ("i | iv | i | iv", "i | bVII | i | bVII", "i | i | iv | v", "i | bVI | bVII | i"),
            ("electric guitar", "organ", "piano", "electric guitar"),
            ("organ",),
            ("electric bass", "synth bass"),
            ("trumpet", "saxophone", "organ", "harmonica", "flute"),
            {"happy": 2, "calm": 1.5, "playful": 1.5, "heroic": 0.4, "dark": 0.6},
            0.85,
            0.95,
            92,
            _cadences("IV | V", "IV V | I", "iv | v", "iv v | i"),
            counter=0.25,
        ),
        Genre(
            "bossa nova",
            (4,),
            (
                "Imaj7 | Imaj7 | ii7 | V7",
                "Imaj7 | vi7 | ii7 | V7",
                "IVmaj7 | iv6 | iii7 | VI7",
                "Imaj7 | II7 | ii7 | V7",
            ),
            ("i7 | iv7 | bVII7 | bIIImaj7", "i7 | i7 | iim7b5 | V7", "i6 | bVImaj7 | iim7b5 | V7"),
            ("acoustic guitar", "acoustic guitar", "electric piano", "piano"),
            ("strings",),
            ("double bass", "electric bass"),
            ("flute", "saxophone", "acoustic guitar", "vibraphone", "piano", "clarinet"),
            {"romantic": 2.5, "calm": 1.5, "happy": 1.5, "dark": 0.4, "heroic": 0.3},
            0.75,
            0.9,
            125,
            _cadences("ii7 | V7", "ii7 V7 | Imaj7", "iim7b5 | V7", "iim7b5 V7 | i7"),
            seventh_ending=True,
        ),
        Genre(
            "blues",
            (4,),
            ("I7 | I7 | IV7 | I7", "I7 | IV7 | I7 | V7", "IV7 | IV7 | I7 | I7", "I7 | IV7 | I7 | I7"),
            ("i7 | iv7 | i7 | V7", "i7 | i7 | iv7 | i7", "iv7 | iv7 | i7 | V7"),
            ("piano", "electric guitar", "organ", "acoustic guitar"),
            ("organ",),
            ("electric bass", "double bass"),
            ("harmonica", "electric guitar", "saxophone", "distorted guitar", "piano"),
            {"sad": 1.8, "energetic": 1.3, "playful": 1.3, "dreamy": 0.4},
            0.7,
            0.9,
            100,
            _cadences("IV7 | V7", "V7 IV7 | I7", "iv7 | V7", "V7 iv7 | i7"),
            swing=0.66,
            seventh_ending=True,
            pad=0.1,
        ),
        Genre(
            "hip hop",
            (4,),
            ("Imaj7 | vi7 | IVmaj7 | V", "ii7 | V7 | Imaj7 | vi7", "IVmaj7 | iii7 | ii7 | I"),
            ("i7 | bVImaj7 | iv7 | v7", "i | bVI | iv | V", "i7 | i7 | bVImaj7 | bVII"),
            ("electric piano", "piano", "synth", "strings"),
            ("synth pad", "strings"),
            ("synth bass", "electric bass"),
            ("piano", "vibraphone", "saxophone", "flute", "synth lead", "music box"),
            {"calm": 1.5, "dark": 2, "mysterious": 1.5, "sad": 1.3, "heroic": 0.6},
            0.9,
            0.9,
            88,
            _PLAIN,
            swing=0.56,
        ),
    )
}
