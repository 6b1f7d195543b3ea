"""Does the music follow the prompt? `musiclm evaluate adherence`, which `make check-default` runs.

Three lines, each with its bar: MuLan's similarity of a clip to its own prompt against the other prompts' (the
paper's MCC, sec. 5.1, as a ranking), onset strength with drums against without, tempo of fast against slow.
"""

import sys
from pathlib import Path

import torch
import yaml
from torch import Tensor

from musiclm.audio import Audio
from musiclm.files import only_writer_to
from musiclm.generation.pipeline import MusicLM
from musiclm.machine.device import Device
from musiclm.metrics.auc import auc
from musiclm.metrics.retrieval import others_mean
from musiclm.metrics.rhythm import onset_strength, pulse_rate
from musiclm.progress import progress

PROMPTS = Path(__file__).with_name("prompts.yaml")
OWN_PROMPT_BAR = 0.8  # share of clips closer to their own prompt than to the mean of the others
# Chance that a clip which should have more of something has more than one that should not; 0.5 is none.
# The measures themselves reach 0.97 on the reference corpus for drums (40 pieces of each), and 0.81 for tempo
# (135 bpm or more against 85 or less, 40 of each).
DRUMS_BAR = 0.75
TEMPO_BAR = 0.65


@only_writer_to("out")
def adherence(
    bundle: str = "default",
    seconds: float = 10.0,
    seed: int = 0,
    out: Path | None = None,
    device: Device = "auto",
) -> None:
    """Generate clips for the prompts and measure whether they follow them; exit code 1 if not.

    Args:
        bundle: the model to judge.
        seconds: length of each clip.
        seed: of the first clip; the n-th clip takes seed + n.
        out: a folder to keep the clips in.
        device: cpu, cuda, cuda:1 or mps; auto takes the first GPU, or else the CPU.
    """
    prompts = yaml.safe_load(PROMPTS.read_text(encoding="utf-8"))
    model = MusicLM.from_pretrained(bundle, device=device)
    texts = [
        *prompts["varied"],
        *(text for name in ("drums", "fast") for pair in prompts[name] for text in pair),
    ]
    clips = {
        text: model.generate(text, seconds=seconds, seed=seed + index)
        for index, text in enumerate(progress(texts, total=len(texts), description="generate"))
    }
    if out is not None:
        for index, text in enumerate(texts):
            clips[text].save(out / f"{index:02d}.wav", {"title": text})

    similarity = prompt_similarity(model, prompts["varied"], [clips[text] for text in prompts["varied"]])
    own = similarity.diagonal()
    others = others_mean(similarity)
    print(f"{'own':>6} {'others':>6}  prompt")
    for text, mine, rest in zip(prompts["varied"], own.tolist(), others.tolist(), strict=True):
        print(f"{mine:6.3f} {rest:6.3f}  {text}")

    lines = [
        ("own prompt above the mean of the others", (own > others).float().mean().item(), OWN_PROMPT_BAR)
    ]
    for name, measure, bar in (("drums", onset_strength, DRUMS_BAR), ("fast", pulse_rate, TEMPO_BAR)):
        have, lack = (
            [measure(clip.waveform[0], clip.sample_rate) for clip in side]
            for side in zip(*((clips[more], clips[less]) for more, less in prompts[name]), strict=True)
        )
        print(f"\n{'with':>7} {'without':>7}  {measure.__name__}, {name}")
        for pair, more, less in zip(prompts[name], have, lack, strict=True):
            print(f"{more:7.2f} {less:7.2f}  {pair[0]} / {pair[1]}")
        lines.append((f"{measure.__name__}: {name} above not", auc(have, lack), bar))

    print()
    for words, figure, bar in lines:
        print(f"{'ok  ' if figure >= bar else 'SHORT'} {figure:.2f} (bar {bar:.2f})  {words}")
    if any(figure < bar for _, figure, bar in lines):
        sys.exit(1)


@torch.inference_mode()
def prompt_similarity(model: MusicLM, prompts: list[str], clips: list[Audio]) -> Tensor:
    """Cosine of every clip's embedding with every prompt's: [clips, prompts]."""
    audio = torch.cat(
        [model.joint_embedding.embed_audio(clip.waveform[None].to(model.device)) for clip in clips]
    )  # [clips, D]
    return (audio @ model.joint_embedding.embed_text(prompts).T).cpu()
