"""Does the music follow the tune that is hummed? `musiclm evaluate following`.

Guides are hums and whistles of songbook tunes that no training has heard. Each is followed under a prompt of
its own, and the chroma of what comes out is compared with the guide's, moment by moment: MusicGen's measure
for its melody model (Copet et al., 2306.05284, sec. 3.4), which reports 0.44 on its own data. There drums and
bass are separated and left out; here what lies below the register of melodies is. Music in one style is alike
by chance, so that each result is compared with the other guides as well. The corpus's own arrangements of
these tunes, against a hum of the same, reach 0.82, and 0.51 above others.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from musiclm.audio import Audio
from musiclm.evaluate.adherence import PROMPTS
from musiclm.pipeline import MusicLM
from musiclm.progress import progress

COSINE_BAR = 0.6
MARGIN_BAR = 0.2  # above other guides
HOP_LENGTH = 512  # samples at 22,050 Hz: 43 moments a second
CHROMA_RATE = 22_050  # Hz, librosa's
LOWEST, OCTAVES = 261.6, 4  # Hz: of a piece, what sounds from middle C on
SHORTEST = 4.0  # seconds of a guide: the lowest octave's spectra need three
QUIET = -35.0  # dB below the loudest moment of a guide: there, nothing is to be followed


@dataclass(frozen=True)
class Guide:
    """A tune to follow: who makes it, of which song, and its sound."""

    version: str
    tune: str
    audio: Audio


def following(
    melodies: Path = Path("melodies"),
    bundle: str = "default",
    num: int = 24,
    seconds: float = 12.0,
    seed: int = 0,
    out: Path | None = None,
) -> None:
    """Print how well generated music follows held-out tunes, hummed and whistled; exit code 1 if not.

    Args:
        melodies: a folder made by `musiclm corpus melodies`; its held-out songbook tunes are used.
        bundle: the model to judge.
        num: guides.
        seconds: of each, and of what follows it.
        seed: of the first piece; the n-th takes seed + n.
        out: a folder to keep guides and music in.

    Raises:
        FileNotFoundError: no melodies there.
        ValueError: too few held-out tunes among them, or too little of each.
    """
    guides = held_out_guides(melodies, num, seconds)
    model = MusicLM.from_pretrained(bundle)
    prompts = yaml.safe_load(PROMPTS.read_text(encoding="utf-8"))["varied"]
    texts = [prompts[index % len(prompts)] for index in range(num)]
    music = [
        model.generate(text, seconds=seconds, seed=seed + index, melody=guide.audio)
        for index, (guide, text) in enumerate(
            progress(list(zip(guides, texts, strict=True)), total=num, description="generate")
        )
    ]
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for index, (guide, made, text) in enumerate(zip(guides, music, texts, strict=True)):
            guide.audio.save(out / f"{index:02d}-guide.wav", {"title": f"{guide.tune}, {guide.version}"})
            made.save(out / f"{index:02d}.wav", {"title": text})
    cosines = chroma_cosines([guide.audio for guide in guides], music)  # [guides, pieces]
    own, others = cosines.diagonal(), others_mean(cosines)
    print(f"{'own':>6} {'others':>6}  {'guide':<40} prompt")
    for guide, text, mine, rest in zip(guides, texts, own.tolist(), others.tolist(), strict=True):
        print(f"{mine:6.3f} {rest:6.3f}  {guide.tune[:30] + ', ' + guide.version:<40} {text}")
    figures = summary(cosines)
    print()
    lines = [
        ("chroma cosine with the guide", figures["cosine"], COSINE_BAR),
        ("above other guides", figures["margin"], MARGIN_BAR),
    ]
    for name, value, bar in lines:
        print(f"{'ok' if value >= bar else 'SHORT':<6}{name}: {value:.3f} (bar {bar:.2f})")
    if any(value < bar for _, value, bar in lines):
        sys.exit(1)


def held_out_guides(melodies: Path, num: int, seconds: float) -> list[Guide]:
    """Hums and whistles of held-out songbook tunes, of as many different tunes as there are.

    Raises:
        FileNotFoundError, ValueError: no melodies there, or too few.
    """
    if seconds < SHORTEST:
        raise ValueError(f"expected guides of {SHORTEST:g} s or more, got {seconds:g}")
    rows = [row for row in _rows(melodies) if row["seconds"] >= row["starts"][0] + seconds]
    by_tune: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_tune.setdefault(row["tune"], []).append(row)
    # One of each tune, then a second of each, ...
    order = sorted(
        (place, tune, row["id"], row) for tune, same in by_tune.items() for place, row in enumerate(same)
    )
    if len(order) < num:
        raise ValueError(
            f"expected {num} hums and whistles of held-out songbook tunes of {seconds:g} s in {melodies}, "
            f"got {len(order)}: render more hours of melodies, or ask for a smaller num"
        )
    guides = []
    for _, tune, _, row in order[:num]:
        audio = Audio.load_mono(melodies / row["lead"], 24_000)
        first = round(row["starts"][0] * audio.sample_rate)
        part = audio.waveform[:, first : first + round(seconds * audio.sample_rate)]
        guides.append(Guide(row["version"], tune, Audio(part, audio.sample_rate)))
    return guides


def _rows(melodies: Path) -> Iterator[dict[str, Any]]:
    """Of the table: held-out songbook tunes as a voice makes them, hums and whistles in turn."""
    import pyarrow.parquet

    from musiclm.corpus.melodies import TABLE_NAME
    from musiclm.corpus.table import is_held_out
    from musiclm.corpus.voice import VOICES

    path = melodies / TABLE_NAME
    if not path.is_file():
        raise FileNotFoundError(f"expected a folder of `musiclm corpus melodies`, found no {path}")
    pieces: dict[str, dict[str, dict[str, Any]]] = {}
    for row in pyarrow.parquet.read_table(path).to_pylist():
        if row["version"] in VOICES and is_held_out(row["tune"]):
            pieces.setdefault(row["piece"], {})[row["version"]] = row
    for index, versions in enumerate(pieces.values()):
        yield versions[tuple(VOICES)[index % len(VOICES)]]


def chroma_cosines(guides: Sequence[Audio], music: Sequence[Audio]) -> Tensor:
    """Mean cosine [guides, pieces] between the chroma of each guide, where it sounds, and of each piece."""
    chromas = [chroma(audio) for audio in guides]
    sounding = [loud_moments(audio) for audio in guides]
    made = [chroma(audio, fmin=LOWEST, n_octaves=OCTAVES) for audio in music]
    rows = []
    for own, heard in zip(chromas, sounding, strict=True):
        row = []
        for other in made:
            moments = min(own.shape[1], other.shape[1], len(heard))
            cosine = torch.nn.functional.cosine_similarity(own[:, :moments], other[:, :moments], dim=0)
            row.append(cosine[heard[:moments]].mean())
        rows.append(torch.stack(row))
    return torch.stack(rows)


def chroma(audio: Audio, *, fmin: float | None = None, n_octaves: int = 7) -> Tensor:
    """How strong each of the 12 pitch classes is at each moment, [12, moments]; from `fmin` Hz (C1) up."""
    import librosa

    samples = audio.resample(CHROMA_RATE).waveform[0].numpy()
    strengths = librosa.feature.chroma_cqt(
        y=samples, sr=CHROMA_RATE, hop_length=HOP_LENGTH, fmin=fmin, n_octaves=n_octaves
    )
    return torch.from_numpy(strengths)


def loud_moments(audio: Audio) -> Tensor:
    """Whether anything sounds at each moment, [moments]."""
    import librosa

    samples = audio.resample(CHROMA_RATE).waveform[0].numpy()
    level = librosa.feature.rms(y=samples, hop_length=HOP_LENGTH)[0]
    return torch.from_numpy(level > level.max() * 10 ** (QUIET / 20))


def others_mean(cosines: Tensor) -> Tensor:
    """Of each guide's row [guides, pieces], the mean over the pieces that followed another one."""
    return (cosines.sum(dim=1) - cosines.diagonal()) / (len(cosines) - 1)


def summary(cosines: Tensor) -> dict[str, float]:
    """Mean cosine of guides with what followed them, and how far it lies above that with other pieces."""
    own = cosines.diagonal().mean()
    return {"cosine": float(own), "margin": float(own - others_mean(cosines).mean())}
