"""`musiclm evaluate fad`, which is part of `musiclm evaluate quality` now: the name goes with version 0.3."""

import sys
from pathlib import Path

import torch

from musiclm.evaluate.embedders import embedders
from musiclm.evaluate.found import Found
from musiclm.machine.device import Device, choose_device
from musiclm.metrics.frechet import frechet_distance


def fad(
    generated: list[Path],
    reference: Path = Path("corpus"),
    bundle: str = "default",
    strict: bool = False,
    device: Device = "auto",
) -> None:
    """Print the Fréchet distance between the embeddings of generated and of real music.

    Args:
        generated: audio files, or folders of them.
        reference: a folder of real music.
        bundle: whose MuLan embeds both: a shipped bundle's name, a folder, or a Hugging Face id.
        strict: exit with 2 if any file is left out.
        device: cpu, cuda, cuda:1 or mps; auto takes the first GPU, or else the CPU.
    """
    place = choose_device(device)
    found = [Found.at(paths, strict=strict) for paths in (generated, [reference])]  # both, before long work
    print(
        "musiclm evaluate quality says this and more: how far to trust it, and what real music has",
        file=sys.stderr,
    )
    (embedder,) = embedders(bundle, place)
    first, second = (torch.cat(list(embedder.embed(each).values())) for each in found)
    print(f"FAD {frechet_distance(first, second):.4f}   ({len(first)} and {len(second)} windows)")
