"""What a piece of the reference corpus is: notes on tracks, and the exact labels they were composed from.

The composer makes a `Piece` from a seed, the synthesis renders it to audio, the captions describe it.
Time inside a piece is counted in quarter-note beats; `Piece.seconds_at` turns beats into seconds.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Note:
    start: float  # beats from the beginning of the piece
    duration: float  # beats
    pitch: int  # MIDI note number; on a drum track, the General MIDI percussion key
    velocity: int  # 1 … 127


def velocity_within(value: float, least: int = 1) -> int:
    """A velocity that notes may have; NumPy's clip of one number takes ten times as long."""
    return int(min(max(value, least), 127))


@dataclass(frozen=True)
class Track:
    role: str  # "lead", "chords", "bass", "pad", "counter", "drums"
    instrument: str  # plain English, as captions name it: "violin", "acoustic guitar", "drums"
    program: int  # General MIDI program, 0 … 127 (0 for drums)
    notes: tuple[Note, ...]

    @property
    def is_drum(self) -> bool:
        return self.role == "drums"


@dataclass(frozen=True)
class Chord:
    start: float  # beats
    root: int  # pitch class, 0 = C
    quality: str  # "major", "minor", "dominant7", "diminished", …


@dataclass(frozen=True)
class Attributes:
    """The labels of a piece: exact, because the piece was composed from them."""

    genre: str  # "techno", "waltz", "rock", "jazz", "ambient", "folk", …
    mood: str  # "calm", "happy", "sad", "energetic", …
    tonic: int  # pitch class of the key, 0 = C
    mode: str  # "major" or "minor"
    tempo: float  # beats per minute, 60 … 180
    lead: str  # instrument of the melody
    accompaniment: tuple[str, ...]  # instruments besides lead, bass and drums
    bass: str  # instrument of the bass, "" where there is none
    drums: bool
    tune: str  # title of the songbook tune the melody comes from, "" for an invented melody


@dataclass(frozen=True)
class Piece:
    id: str
    seed: int
    attributes: Attributes
    tracks: tuple[Track, ...]
    chords: tuple[Chord, ...]
    beats: float  # length of the piece
    beats_per_bar: int

    @property
    def seconds(self) -> float:
        return self.seconds_at(self.beats)

    def seconds_at(self, beat: float) -> float:
        """Seconds from the beginning of the piece to `beat` (the tempo is constant)."""
        return beat * 60.0 / self.attributes.tempo
