"""From a piece's notes to sound: mono float32 at 24 kHz, played by a General MIDI soundfont.

    stems   each track alone, by tinysoundfont with a repaired General MIDI soundfont (soundfont.py)
    mix     every stem brought to its role's loudness, so that a lead is heard whatever plays it
    room    a short decaying noise as impulse response, its length and wetness drawn from the piece's seed
    level   one loudness for all pieces, peaks held under a ceiling

The same piece gives the same samples. A stem starts a note at the sample nearest to its label.

Why tinysoundfont: it applies the soundfont's envelopes, filters, tuning and velocities. symusic 0.5.8 plays
all velocities alike, cuts every note off without its release and is out of tune by up to 27 semitones on the
same file. Why `--no-deps` to install it: it declares pyaudio, used for live playing only, which needs a
system library.
"""

from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from musiclm.corpus.piece import Piece, Track
from musiclm.corpus.soundfont import repaired_soundfont, soundfont_path

if TYPE_CHECKING:
    from tinysoundfont import Synth

SAMPLE_RATE = 24_000  # Hz
RING = 1.0  # seconds after the last beat in which the notes die away
LOUDNESS = -18.0  # dBFS, RMS of a whole piece
CEILING = 10 ** (-1 / 20)  # peak, -1 dBFS
MAX_VOICES = 256

# Cymbals live above 12 kHz: played at 24 kHz directly, they fold back into the audible band
# (the spectrum of a closed hi-hat is then off by -3 dB of its energy; melodic instruments by -35 dB or less).
DRUM_OVERSAMPLING = 2

# dB against the lead, K-weighted and counted while the track plays
ROLE_LEVEL = {"lead": 0.0, "counter": -5.0, "chords": -7.0, "pad": -10.0, "bass": -5.0, "drums": -4.0}
LEVEL_SPREAD = 1.5  # dB either way, drawn per track: no two mixes are alike
ROLE_ROOM = {"lead": 1.0, "counter": 1.0, "chords": 0.9, "pad": 1.0, "bass": 0.15, "drums": 0.5}


def synthesize(piece: Piece) -> np.ndarray:
    """The sound of `piece`: float32 [L] at 24 kHz, L = `num_samples(piece)`, peak at most -1 dBFS.

    Raises:
        FileNotFoundError: the synthesizer or the soundfont is not installed.
    """
    rng = np.random.default_rng([piece.seed, 0x50_0D])  # its own stream, apart from the composer's
    dry = np.zeros(num_samples(piece), np.float32)
    send = np.zeros_like(dry)

    for track, stem in zip(piece.tracks, _stems(piece), strict=True):
        spread = rng.uniform(-LEVEL_SPREAD, LEVEL_SPREAD)
        loudness = _loudness(stem)
        if loudness is None:
            continue
        stem *= np.float32(10 ** ((ROLE_LEVEL[track.role] + spread - loudness) / 20))
        dry += stem
        send += np.float32(ROLE_ROOM[track.role]) * stem

    wetness = 10 ** (rng.uniform(-20, -11) / 20)
    room = _room(rng)
    mix = dry + np.float32(wetness) * _convolve(send, room)[: len(dry)]
    return _level(_fade(_high_pass(mix)))


def num_samples(piece: Piece) -> int:
    """Length of the piece's audio in samples: its beats, and a second for the last notes to ring."""
    return round((piece.seconds + RING) * SAMPLE_RATE)


def check_installed() -> None:
    """Raise FileNotFoundError, saying what to install, if the synthesizer or the soundfont is missing."""
    if find_spec("tinysoundfont") is None:
        raise FileNotFoundError(
            "expected the synthesizer tinysoundfont: pip install --no-deps tinysoundfont==0.3.7"
        )
    soundfont_path()


def _stems(piece: Piece) -> list[np.ndarray]:
    """Each track alone, [L] float32, in the soundfont's own levels."""
    # New synthesizers for every piece: nothing of the previous one can reach into this one.
    melodic = _synthesizer(SAMPLE_RATE)
    drums = _synthesizer(SAMPLE_RATE * DRUM_OVERSAMPLING) if any(t.is_drum for t in piece.tracks) else None
    stems = []
    for track in piece.tracks:
        if track.is_drum:
            assert drums is not None
            fast = _play(drums, track, piece, DRUM_OVERSAMPLING)
            stems.append(_decimate(fast, DRUM_OVERSAMPLING))
        else:
            stems.append(_play(melodic, track, piece, 1))
    return stems


def _synthesizer(sample_rate: int) -> "Synth":
    check_installed()
    from tinysoundfont import Synth

    synth = Synth(samplerate=sample_rate)
    synth.sfload(repaired_soundfont(), max_voices=MAX_VOICES)
    return synth


def _play(synth: "Synth", track: Track, piece: Piece, oversampling: int) -> np.ndarray:
    """One track alone, [L · oversampling] float32."""
    rate = SAMPLE_RATE * oversampling
    sound = np.zeros((num_samples(piece) * oversampling, 2), np.float32)
    synth.program_select(0, 0, 128 if track.is_drum else 0, track.program, track.is_drum)

    events = []  # (sample, velocity or 0 for the end of a note, pitch); ends sort first
    for note in track.notes:
        start = round(piece.seconds_at(note.start) * rate)
        end = round(piece.seconds_at(note.start + note.duration) * rate)
        events.append((start, note.velocity, note.pitch))
        events.append((max(end, start + 1), 0, note.pitch))

    position = 0
    for sample, velocity, pitch in sorted(events):
        sample = min(sample, len(sound))
        if sample > position:
            synth.generate_simple(sample - position, sound[position:sample].data.cast("B"))
            position = sample
        if velocity:
            synth.noteon(0, pitch, velocity)
        else:
            synth.noteoff(0, pitch)
    if position < len(sound):
        synth.generate_simple(len(sound) - position, sound[position:].data.cast("B"))

    synth.sounds_off(0)
    synth.generate_simple(rate // 10)  # voices need a moment to fall silent: the next track starts clean
    return (sound[:, 0] + sound[:, 1]) * np.float32(0.5)


def _loudness(stem: np.ndarray, frame: int = 4096) -> float | None:
    """K-weighted level in dB of a stem while it plays; None if it is silent.

    Every second frame is looked at. Frames more than 20 dB under the loud ones are pauses and do not count
    (the idea of ITU-R BS.1770's gate, on the stem's own scale).
    """
    count = len(stem) // (2 * frame)
    if count == 0:
        frames = np.pad(stem, (0, max(0, frame - len(stem))))[None, :frame]
    else:
        frames = stem[: count * 2 * frame].reshape(count, 2 * frame)[:, :frame]
    spectrum = np.fft.rfft(frames * np.hanning(frame).astype(np.float32), axis=1)
    power = (np.abs(spectrum) ** 2 * _k_weighting(frame)).sum(axis=1) / (frame * frame * 3 / 16)
    loud = np.quantile(power, 0.95)
    if loud < 1e-12:
        return None
    return float(10 * np.log10(power[power >= loud / 100].mean()))


@cache
def _k_weighting(frame: int) -> np.ndarray:
    """Power weights [frame // 2 + 1] close to BS.1770's: low cut at 40 Hz, +4 dB above 1.5 kHz."""
    frequency = np.fft.rfftfreq(frame, 1 / SAMPLE_RATE)
    low_cut = (frequency / 40) ** 4 / (1 + (frequency / 40) ** 4)
    shelf = (1 + 10**0.4 * (frequency / 1500) ** 2) / (1 + (frequency / 1500) ** 2)
    return low_cut * shelf


def _room(rng: np.random.Generator) -> np.ndarray:
    """Impulse response of a room, float32, energy 1: noise that dies away, highs first."""
    decay = rng.uniform(0.4, 1.4)  # seconds to -60 dB
    predelay = int(rng.uniform(0.006, 0.025) * SAMPLE_RATE)
    length = int(decay * SAMPLE_RATE)
    seconds = np.arange(length) / SAMPLE_RATE

    noise = np.fft.rfft(rng.standard_normal(length))
    frequency = np.fft.rfftfreq(length, 1 / SAMPLE_RATE)
    # No rumble in the room, and no DC: rooms are built of the band from 150 Hz to 3 or 5 kHz.
    noise *= (frequency / 150) ** 2 / (1 + (frequency / 150) ** 2)
    noise /= 1 + (frequency / rng.uniform(3000, 5000)) ** 2
    impulse = np.fft.irfft(noise, length) * 10 ** (-3 * seconds / decay)
    impulse /= np.sqrt((impulse**2).sum())
    return np.concatenate([np.zeros(predelay), impulse]).astype(np.float32)


def _convolve(sound: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Full linear convolution in float32, by blocks: [L] and [K] to [L + K - 1]."""
    size = 1 << (2 * len(kernel) - 1).bit_length()  # transform; at least half of it is new sound
    block = size - len(kernel) + 1
    count = -(-len(sound) // block)
    blocks = np.zeros((count, block), np.float32)
    blocks.reshape(-1)[: len(sound)] = sound
    parts = np.fft.irfft(np.fft.rfft(blocks, size) * np.fft.rfft(kernel, size), size)
    result = np.zeros(count * block + size, np.float32)
    for index, part in enumerate(parts):
        result[index * block : index * block + size] += part
    return result[: len(sound) + len(kernel) - 1]


@cache
def _half_band(factor: int) -> np.ndarray:
    taps = np.arange(-64, 65)
    kernel = np.sinc(taps * 0.94 / factor) * np.kaiser(129, 8.0)
    return (kernel / kernel.sum()).astype(np.float32)


def _decimate(sound: np.ndarray, factor: int) -> np.ndarray:
    """[L · factor] to [L], low-passed below the new Nyquist frequency, without delay."""
    kernel = _half_band(factor)
    delay = len(kernel) // 2
    return _convolve(sound, kernel)[delay : delay + len(sound) : factor]


def _high_pass(sound: np.ndarray, corner: float = 20.0) -> np.ndarray:
    """Take out what lies under `corner` Hz: what is left of the samples' DC, and thumps."""
    step = 1 << 14  # a length of small factors, which the transform likes
    size = -(-(len(sound) + SAMPLE_RATE // 2) // step) * step  # half a second apart from wrapping round
    frequency = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    gain = ((frequency / corner) ** 4 / (1 + (frequency / corner) ** 4)).astype(np.float32)
    return np.fft.irfft(np.fft.rfft(sound, size) * gain, size)[: len(sound)].astype(np.float32)


def _fade(sound: np.ndarray) -> np.ndarray:
    """Down to nothing over the ring, so that no release is cut off."""
    length = min(int(RING * SAMPLE_RATE), len(sound))
    sound[len(sound) - length :] *= np.cos(np.linspace(0, np.pi / 2, length, dtype=np.float32)) ** 2
    return sound


def _level(sound: np.ndarray) -> np.ndarray:
    """Bring to the common loudness, and hold peaks under the ceiling."""
    rms = float(np.sqrt((sound.astype(np.float64) ** 2).mean()))
    if rms < 1e-9:
        return np.zeros_like(sound)
    return _limit(sound * np.float32(10 ** (LOUDNESS / 20) / rms))


def _limit(sound: np.ndarray, block: int = 120) -> np.ndarray:
    """Turn down, smoothly, where peaks would pass the ceiling.

    A gain is due at every border of a block of 5 ms, the lowest that either neighbour needs; lines between
    them stay at or under what each block needs.
    """
    count = -(-len(sound) // block)
    padded = np.zeros(count * block, np.float32)
    padded[: len(sound)] = np.abs(sound)
    need = np.minimum(1.0, CEILING / np.maximum(padded.reshape(count, block).max(axis=1), 1e-9))
    # 25 ms on either side: the gain moves too slowly to be heard as distortion.
    wide = np.pad(need, 5, mode="edge")
    need = np.lib.stride_tricks.sliding_window_view(wide, 11).min(axis=1)
    borders = np.minimum(np.append(need, need[-1]), np.insert(need, 0, need[0]))
    gain = np.interp(np.arange(len(sound)), np.arange(count + 1) * block, borders)
    return (sound * gain).astype(np.float32)
