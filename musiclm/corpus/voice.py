"""A melody hummed or whistled: what people bring when they have a tune in their head (MusicLM, appendix C).

    take    the lead as a voice sings it: in its own octave, every note a little early or late
    sing    mono float32 at 24 kHz

The pitch is one curve: it glides from note to note, wavers (vibrato), misses each note by a little and drifts
by up to half a semitone in all. A hum is a row of partials through a closed mouth, a whistle almost one sine;
both come with breath. The curves are drawn 200 times a second, the sound follows them sample by sample.
"""

import zlib
from dataclasses import dataclass, replace

import numpy as np

from musiclm.corpus.piece import Note, Piece, Track
from musiclm.corpus.synthesis import CEILING, LOUDNESS, SAMPLE_RATE, num_samples

STEP = 120  # samples between two points of a curve: 200 a second
LEGATO = 0.15  # seconds of rest that a voice sings through
SWING = 0.5  # semitones that a voice is off at most


@dataclass(frozen=True)
class Voice:
    lowest: float  # where the middle of a melody may lie, MIDI pitch
    highest: float
    vibrato: float  # semitones at most
    partials: int
    breath: float  # amplitude of the noise at most, where that of the voice is 1


VOICES = {
    "hum": Voice(48.0, 65.0, vibrato=0.4, partials=10, breath=0.06),  # a man's to a woman's
    "whistle": Voice(78.0, 90.0, vibrato=0.25, partials=3, breath=0.12),
}


def take(piece: Piece, voice: str) -> Piece:
    """Nothing but the lead of `piece`, moved by octaves to where the voice lies, not quite in time.

    Raises:
        ValueError: no such voice.
    """
    if voice not in VOICES:
        raise ValueError(f"unknown voice {voice!r}; known are: {', '.join(VOICES)}")
    rng = _random(piece, voice, 0)
    lead = next(track for track in piece.tracks if track.role == "lead")
    pitches = [note.pitch for note in lead.notes]
    middle = rng.uniform(VOICES[voice].lowest, VOICES[voice].highest)
    octave = 12 * round((middle - (min(pitches) + max(pitches)) / 2) / 12)

    late = np.clip(rng.normal(0, 0.02, len(pitches)), -0.04, 0.04) * piece.attributes.tempo / 60  # beats
    starts = np.maximum.accumulate([max(note.start, 0.0) for note in lead.notes] + np.abs(late))
    notes = tuple(
        Note(float(start), note.duration, note.pitch + octave, note.velocity)
        for start, note in zip(starts, lead.notes, strict=True)
    )
    labels = replace(piece.attributes, lead=voice, accompaniment=(), bass="", drums=False)
    return replace(piece, attributes=labels, tracks=(Track("lead", voice, 0, notes),))


def sing(taken: Piece) -> np.ndarray:
    """The sound of what `take` returned: float32 [L] at 24 kHz, L = `num_samples(taken)`."""
    voice = VOICES[taken.attributes.lead]
    rng = _random(taken, taken.attributes.lead, 1)
    pitch, loudness = _curves(taken, voice, rng)
    hertz = 440 * 2 ** ((pitch - 69) / 12)

    samples = num_samples(taken)
    clock = np.arange(samples, dtype=np.float64) / STEP
    points = np.arange(len(pitch))
    phase = 2 * np.pi * np.cumsum(np.interp(clock, points, hertz)) / SAMPLE_RATE
    sound = np.zeros(samples)
    # sin(k x) = 2 cos(x) sin((k - 1) x) - sin((k - 2) x)
    below, sine, double = np.zeros(samples), np.sin(phase), 2 * np.cos(phase)
    for gain in _partials(hertz, taken.attributes.lead, voice.partials, rng):
        sound += np.interp(clock, points, gain * loudness) * sine
        below, sine = sine, double * sine - below
    breath = voice.breath * rng.uniform(0.2, 1.0)
    sound += np.interp(clock, points, breath * (0.1 + loudness)) * _breath(samples, rng)
    return _level(sound)


def _curves(piece: Piece, voice: Voice, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pitch (MIDI, with fractions) and loudness (0 … 1) at 200 points a second."""
    points = num_samples(piece) // STEP + 2
    rate = SAMPLE_RATE / STEP
    seconds = np.arange(points) / rate
    notes = piece.tracks[0].notes
    pitch = np.full(points, float(notes[0].pitch))
    loudness = np.zeros(points)
    age = np.zeros(points)  # seconds since the note began
    for index, note in enumerate(notes):
        begin, end = piece.seconds_at(note.start), piece.seconds_at(note.start + note.duration)
        following = piece.seconds_at(notes[index + 1].start) if index + 1 < len(notes) else np.inf
        if following - end < LEGATO:
            end = following
        first, last = round(begin * rate), min(round(end * rate), points)
        if first >= points:
            break
        pitch[first:] = note.pitch + float(np.clip(rng.normal(0, 0.12), -0.25, 0.25))
        age[first:] = seconds[first:] - begin
        swell = 1 - rng.uniform(0.0, 0.4) * np.linspace(0, 1, max(last - first, 1)) ** 2
        loudness[first:last] = swell[: last - first] * rng.uniform(0.75, 1.0)
        loudness[first : first + round(0.03 * rate)] *= rng.uniform(0.2, 0.8)  # each note is begun anew

    pitch = _smooth(pitch, rng.uniform(0.06, 0.16))  # the glide
    turns = rng.uniform(4.5, 6.5) * seconds + rng.uniform()  # of the vibrato
    depth = rng.uniform(0.05, voice.vibrato) * np.clip(age / 0.3 - 0.3, 0, 1)  # sets in late
    pitch += depth * np.sin(2 * np.pi * turns)
    drift = _smooth(np.cumsum(rng.standard_normal(points)), 1.0)
    drift -= drift.mean()
    pitch += rng.uniform(0.1, SWING - 0.15) * drift / max(np.abs(drift).max(), 1e-9)
    pitch += rng.uniform(-0.15, 0.15)
    shiver = _smooth(rng.standard_normal(points), 0.05)
    return pitch + 0.2 * shiver, _smooth(loudness, 0.06) * (1 + 0.5 * shiver)


def _partials(hertz: np.ndarray, name: str, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Amplitude of each partial at every point of the curve."""
    if name == "whistle":
        return [np.full(len(hertz), gain) for gain in (1.0, rng.uniform(0.01, 0.06), rng.uniform(0.0, 0.02))]
    slope, nose = rng.uniform(1.0, 1.8), rng.uniform(900, 1300)
    gains = []
    for number in range(1, count + 1):
        f = number * hertz
        # A closed mouth: one resonance near 250 Hz, little above it but what the nose lets through.
        gains.append((1 + (f / 280) ** 2) ** -slope + 0.03 * np.exp(-(((f - nose) / 250) ** 2)))
    return gains


def _breath(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of air, [samples], between 0.3 and 6 kHz, of variance 1."""
    length = min(samples, 8 * SAMPLE_RATE)  # repeated every 8 seconds, which noise does not show
    spectrum = np.fft.rfft(rng.standard_normal(length))
    f = np.fft.rfftfreq(length, 1 / SAMPLE_RATE)
    spectrum *= (f / 300) ** 2 / (1 + (f / 300) ** 2) / (1 + (f / rng.uniform(1500, 5000)) ** 2)
    noise = np.fft.irfft(spectrum, length)
    return np.resize(noise / noise.std(), samples)


def _smooth(curve: np.ndarray, seconds: float) -> np.ndarray:
    """The curve, averaged by a raised cosine of this width."""
    kernel = np.hanning(2 * round(seconds * SAMPLE_RATE / STEP / 2) + 3)
    half = len(kernel) // 2
    return np.convolve(np.pad(curve, half, mode="edge"), kernel / kernel.sum(), mode="valid")


def _level(sound: np.ndarray) -> np.ndarray:
    """At the loudness of a piece, peaks under the ceiling."""
    gain = 10 ** (LOUDNESS / 20) / max(float(np.sqrt((sound**2).mean())), 1e-9)
    return (sound * min(gain, CEILING / max(np.abs(sound).max(), 1e-9))).astype(np.float32)


def _random(piece: Piece, voice: str, use: int) -> np.random.Generator:
    return np.random.default_rng([piece.seed, zlib.crc32(voice.encode()), use])
