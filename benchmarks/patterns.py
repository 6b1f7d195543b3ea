"""The two ways to lay codes, flatten and delay: what stages trained with either are worth, side by side.

    musiclm fit --config configs/coarse.yaml ... --trainer.max_time 00:00:20:00  twice: docs/performance.md
    python -m benchmarks.patterns --tokens runs/default/tokens --runs runs/delay runs/flatten

One JSON line per run, then a table: held-out likelihood (nats per frame, all levels together: both patterns
give every code of it a probability, so their figures compare), the Fréchet distance between the sound a stage
makes of held-out semantic tokens and what is really there, both decoded from the coarse levels alone, and
frames per second of one row.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.hardware import describe
from benchmarks.report import say, table
from musiclm.bundle import Bundle, load_component
from musiclm.data.token_crops import TokenCrops
from musiclm.metrics.frechet import frechet_distance
from musiclm.stages.coarse import Coarse
from musiclm.stages.decoding import sample_codes
from musiclm.stages.precision import prepare_to_decode
from musiclm.stages.stage import Stage
from musiclm.training.stages import level_losses

SECONDS = 5.0  # of a clip: as long as the stages were trained on
ROWS = 32  # clips made at once
TEMPERATURE = 0.95  # MusicLM, sec. 4.3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], prog="python -m benchmarks.patterns"
    )
    parser.add_argument("--tokens", type=Path, required=True)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="of trained coarse stages")
    parser.add_argument("--bundle", default="default", help="whose codec and MuLan judge")
    parser.add_argument("--clips", type=int, default=256, help="held-out clips, a multiple of 32")
    options = parser.parse_args()
    bundle = Bundle.find(options.bundle)
    crops = held_out(options.tokens, options.clips)
    say({"machine": describe(torch.device("cpu")), "clips": options.clips, "seconds": SECONDS})
    cases = []
    for run in options.runs:
        stage = load_component(run / "part")
        if not isinstance(stage, Coarse):
            raise SystemExit(f"expected a trained coarse stage in {run}, found {type(stage).__name__}")
        cases.append(say({"pattern": stage.layout.pattern, **measure(stage, crops, bundle)}))
    print()
    rows = [("pattern", "nats per frame", "Fréchet distance", "frames/s")]
    rows += [
        (c["pattern"], f"{c['nats_per_frame']:.2f}", f"{c['fad']:.4f}", f"{c['frames_per_second']:.0f}")
        for c in cases
    ]
    print(table(rows))


def held_out(tokens: Path, clips: int) -> list[dict[str, Tensor]]:
    """Batches of held-out crops, with the codes of every segment."""
    source = TokenCrops(tokens, SECONDS, batch_size=ROWS, validation_crops=clips)
    loader = source.val_dataloader()
    if isinstance(loader, list):
        raise SystemExit(f"expected held-out recordings to measure, {source.unmeasured()}")
    return [source.on_after_batch_transfer(batch, 0) for batch in loader]


@torch.inference_mode()
def measure(stage: Stage, crops: list[dict[str, Tensor]], bundle: Bundle) -> dict[str, Any]:
    """Likelihood, distance and speed of one stage."""
    codec, mulan = bundle.load("codec"), bundle.load("joint_embedding")
    losses = torch.stack([level_losses(stage, stage.layout.pick(batch)) for batch in crops])  # [N, Q]
    prepare_to_decode(stage, "int8")
    generator = torch.Generator().manual_seed(0)
    made, real = [], []
    for batch in crops:
        codes = stage.layout.pick(batch)
        target = codes.pop(stage.layout.target.name)  # [B, Q, T]
        drawn = sample_codes(
            stage, codes, frames=target.shape[2], temperature=TEMPERATURE, generator=generator
        )
        made += [mulan.embed_audio(codec.decode(row[None])) for row in drawn]
        real += [mulan.embed_audio(codec.decode(row[None])) for row in target]
    one = {name: value[:1] for name, value in codes.items()}
    start = time.perf_counter()
    sample_codes(stage, one, frames=target.shape[2], temperature=TEMPERATURE, generator=generator)
    return {
        "nats_per_frame": float(losses.mean(dim=0).sum()),
        "nats_per_code": [round(float(loss), 3) for loss in losses.mean(dim=0)],
        "fad": frechet_distance(torch.cat(made), torch.cat(real)),
        "frames_per_second": target.shape[2] / (time.perf_counter() - start),
    }


if __name__ == "__main__":
    main()
