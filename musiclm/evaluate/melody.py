"""What a melody embedding knows: `musiclm evaluate melody`.

Each window of held-out melodies is looked for among all of them as the whole band plays them, by the same
tune in other sound: the lead alone at another tempo, another instrument as well, hummed, whistled, or before
another piece's band, in another key and metre. Chance is one in the number of windows.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from musiclm.bundle import Bundle, load_component
from musiclm.data.melody_windows import QUERIES, MelodyQueries, MelodyVersions
from musiclm.files import write_whole
from musiclm.machine.device import Device, choose_device, device_of
from musiclm.metrics.retrieval import retrieval
from musiclm.progress import progress
from musiclm.tokenizers.melody import WINDOW_SECONDS, MelodyEmbedding

RECALL_BAR = 0.8  # recall@1 among 200 windows with timbre and tempo changed
BARRED = ("instrument", "hum", "whistle")
LABELS = {
    "tempo": "the lead alone, another tempo",
    "instrument": "another instrument and tempo",
    "hum": "hummed, another tempo",
    "whistle": "whistled, another tempo",
    "accompaniment": "before a stranger's band",
}


def melody(
    melodies: Path = Path("melodies"),
    bundle: str = "default",
    melody: Path | None = None,
    windows: int = 200,
    out: Path = Path("melody.json"),
    device: Device = "auto",
) -> None:
    """Print how well a tune finds itself in the full mix, by what was changed, and write it as JSON.

    Args:
        melodies: a folder made by `musiclm corpus melodies`; its held-out melodies are used.
        bundle: whose melody embedding is measured: a shipped bundle's name, a folder, or a Hugging Face id.
        melody: a single part in its place, such as `runs/melody/part`.
        windows: to tell apart, as many as there are of different music.
        out: the file of the report.
        device: cpu, cuda, cuda:1 or mps; auto takes the first GPU, or else the CPU.

    Raises:
        FileNotFoundError: nothing at one of the paths.
        ValueError: fewer than two windows.
    """
    if windows < 2:
        raise ValueError(f"expected 2 windows or more to tell apart, got {windows}")
    place = choose_device(device)
    part: MelodyEmbedding = (
        Bundle.find(bundle).load("melody_embedding") if melody is None else load_component(melody)
    )
    data = MelodyVersions(melodies, WINDOW_SECONDS, sample_rate=part.sample_rate)
    queries = MelodyQueries(data.windows("valid"), windows)
    if len(queries) < 2:
        raise ValueError(
            f"expected two windows of different music in {melodies}, got {len(queries)}: render more"
        )
    sounds = (queries[index]["waveform"] for index in range(len(queries)))
    figures = measure(part.to(place), progress(sounds, total=len(queries), description="embed"))

    print(f"{len(queries)} windows of {WINDOW_SECONDS:g} s of held-out melodies")
    print(f"{'':<30}{'recall@1':>10}{'recall@10':>11}{'median rank':>13}")
    for name, row in figures.items():
        print(f"{LABELS[name]:<30}{row['recall_1']:10.3f}{row['recall_10']:11.3f}{row['median_rank']:13.1f}")
    least = min(figures[name]["recall_1"] for name in BARRED)
    print(f"{'ok' if least >= RECALL_BAR else 'SHORT'}: {least:.2f} at least (bar {RECALL_BAR:.2f})")
    report = {"windows": len(queries), "bar": RECALL_BAR, "retrieval": figures}
    write_whole(out, json.dumps(report, indent=2).encode())
    print(out)


@torch.inference_mode()
def measure(part: nn.Module, windows: Iterable[Tensor]) -> dict[str, dict[str, float]]:
    """Retrieval by each of QUERIES, of windows [1 + queries, 1, L], the full mix first."""
    device = device_of(part)
    vectors = torch.stack([part(sounds.to(device)).cpu() for sounds in windows])  # [N, 1 + queries, D]
    mix, *queries = vectors.unbind(dim=1)
    fits = torch.eye(len(mix), dtype=torch.bool)
    return {name: retrieval(query, mix, fits) for name, query in zip(QUERIES, queries, strict=True)}
