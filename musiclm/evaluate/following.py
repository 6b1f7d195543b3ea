"""Does the music follow the tune that is hummed? `musiclm evaluate following`.

Guides are hums and whistles of songbook tunes that no training has heard. Each is followed under a prompt of
its own, and the chroma of what comes out is compared with the guide's, moment by moment
(`musiclm/metrics/chroma.py`); MusicGen reports 0.44 on its own data. Music in one style is alike by chance,
so that each result is compared with the other guides as well. The corpus's own arrangements of these tunes,
against a hum of the same, reach 0.82, and 0.51 above others.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from torch import Tensor

from musiclm.audio import Audio
from musiclm.corpus.piece import Piece, Track
from musiclm.corpus.render import MAX_HOURS, pieces
from musiclm.evaluate.adherence import PROMPTS
from musiclm.files import only_writer_to
from musiclm.generation.pipeline import MusicLM
from musiclm.machine.device import Device, choose_device
from musiclm.metrics import chroma
from musiclm.metrics.retrieval import others_mean
from musiclm.progress import progress

COSINE_BAR = 0.6
MARGIN_BAR = 0.2  # above other guides
SHORTEST, LONGEST = 4.0, 25.0  # seconds of a guide: the lowest octave's spectra need three
MOST_OF_A_TUNE = 3  # guides, each in another key and tempo


@dataclass(frozen=True)
class Guide:
    """A tune to follow: who makes it, of which song, and its sound."""

    version: str
    tune: str
    audio: Audio


@only_writer_to("out")
def following(
    bundle: str = "default",
    num: int = 24,
    seconds: float = 12.0,
    seed: int = 0,
    out: Path | None = None,
    device: Device = "auto",
) -> None:
    """Print how well generated music follows held-out tunes, hummed and whistled; exit code 1 if not.

    Args:
        bundle: the model to judge.
        num: guides.
        seconds: of each, and of what follows it.
        seed: of the first piece; the n-th takes seed + n.
        out: a folder to keep guides and music in.
        device: cpu, cuda, cuda:1 or mps; auto takes the first GPU, or else the CPU.

    Raises:
        ValueError: fewer than two guides, or of a length that cannot be compared.
    """
    choose_device(device)  # which makes no guides for one that is not there
    guides = held_out_guides(num, seconds)
    texts, music = follow(MusicLM.from_pretrained(bundle, device=device), guides, seconds, seed=seed)
    if out is not None:
        for index, (guide, made, text) in enumerate(zip(guides, music, texts, strict=True)):
            guide.audio.save(out / f"{index:02d}-guide.wav", {"title": f"{guide.tune}, {guide.version}"})
            made.save(out / f"{index:02d}.wav", {"title": text})
    cosines = cosines_with_guides([guide.audio for guide in guides], music)  # [guides, pieces]
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


def follow(
    model: MusicLM, guides: Sequence[Guide], seconds: float, *, seed: int = 0
) -> tuple[list[str], list[Audio]]:
    """A prompt for each guide, and what the model makes of both; the n-th takes seed + n."""
    prompts = yaml.safe_load(PROMPTS.read_text(encoding="utf-8"))["varied"]
    texts = [prompts[index % len(prompts)] for index in range(len(guides))]
    pairs = list(enumerate(zip(guides, texts, strict=True)))
    music = [
        model.generate(text, seconds=seconds, seed=seed + index, melody=guide.audio)
        for index, (guide, text) in progress(pairs, total=len(pairs), description="generate")
    ]
    return texts, music


def held_out_guides(num: int, seconds: float) -> list[Guide]:
    """Held-out songbook tunes of the corpus of seed 0, hummed and whistled in turn, from their first note on.

    Raises:
        ValueError: none are asked for, or too little of each.
    """
    from musiclm.corpus import voice
    from musiclm.corpus.synthesis import SAMPLE_RATE
    from musiclm.corpus.table import is_held_out
    from musiclm.corpus.variations import rearrange

    if num < 2 or not SHORTEST <= seconds <= LONGEST:
        raise ValueError(
            f"expected 2 guides or more of {SHORTEST:g} to {LONGEST:g} s, got num {num} of {seconds:g} s"
        )
    guides: list[Guide] = []
    times: Counter[str] = Counter()
    for piece in pieces(MAX_HOURS, seed=0):
        tune, beats = piece.attributes.tune, [note.start for note in _lead(piece).notes]
        start = piece.seconds_at(min(beats))
        if not is_held_out(tune) or times[tune] == MOST_OF_A_TUNE or piece.seconds < start + seconds:
            continue
        version = tuple(voice.VOICES)[len(guides) % len(voice.VOICES)]
        sound = voice.sing(voice.take(rearrange(piece, alone=True), version))
        first = round(start * SAMPLE_RATE)
        part = torch.from_numpy(sound[first : first + round(seconds * SAMPLE_RATE)])[None]
        guides.append(Guide(version, tune, Audio(part, SAMPLE_RATE)))
        times[tune] += 1
        if len(guides) == num:
            break
    return guides


def _lead(piece: Piece) -> Track:
    return next(track for track in piece.tracks if track.role == "lead")


def cosines_with_guides(guides: Sequence[Audio], music: Sequence[Audio]) -> Tensor:
    """Mean chroma cosine [guides, pieces] of each guide, where it sounds, with each piece."""
    heard, made = (
        [audio.resample(chroma.SAMPLE_RATE).waveform[0] for audio in sounds] for sounds in (guides, music)
    )
    return chroma.chroma_cosines(heard, made)


def summary(cosines: Tensor) -> dict[str, float]:
    """Mean cosine of guides with what followed them, and how far it lies above that with other pieces."""
    own = cosines.diagonal().mean()
    return {"cosine": float(own), "margin": float(own - others_mean(cosines).mean())}
