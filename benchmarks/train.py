"""How fast a stage trains: ours beside audiolm-pytorch, and the rate of a plain matrix product.

    make bench-setup                             once: the peers
    python -m benchmarks.train --quick           within four minutes
    python -m benchmarks.train --check           every bar with its figure; exits 1 where one falls short

One JSON line per case, then a table. A case is forward and backward of one batch, the loss included; the
optimizer's step is the same for all and left out. Work is counted as 6 operations per weight and token, and
12 · layers · width · length per token for attention (PaLM, arXiv 2204.02311, appendix B). Freed memory is
kept, as `musiclm fit` keeps it, for the peer too; `--return-memory` shows what that is worth.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch import nn

from benchmarks import peers
from benchmarks.command import begin
from benchmarks.hardware import describe, matmul_rate, usual_time
from benchmarks.report import Bar, judge, say, table
from benchmarks.sizes import CODEBOOK_SIZE, SIZES
from musiclm.stages.semantic import Semantic
from musiclm.stages.stage import Stage
from musiclm.stages.transformer import TransformerConfig
from musiclm.training.stages import level_losses

LENGTHS = (512, 1024)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TURNS = 3  # of a product and of steps; the best of either counts, since other work comes and goes
SETTLE = 2  # steps, until the memory of one is there for the next
FLOORS = {"float32": 0.70, "bfloat16": 0.55}  # of the rate of a matrix product, on a CPU


def main() -> None:
    options, device = begin("benchmarks.train", __doc__.splitlines()[0], quick="512 tokens only")
    say({"machine": describe(device)})
    cases = [say(case) for case in measure(LENGTHS[:1] if options.quick else LENGTHS, device)]
    print()
    print(compare(cases))
    if options.check:
        print()
        judge(bars(cases))


def measure(lengths: tuple[int, ...], device: torch.device) -> Iterator[dict[str, Any]]:
    """Every size, precision and length, ours and the peer's."""
    for size, config in SIZES.items():
        for length in lengths:
            for precision in DTYPES:
                stage = Semantic(config, pattern="flatten").to(device).train()
                step = ours(stage, length, precision, device)
                yield timed("musiclm", size, length, precision, step, (config, stage, device))
                del stage, step
                gc.collect()
            model = peers.audiolm_stage(config).to(device).train()
            step = audiolm(model, length, device)
            yield timed("audiolm-pytorch", size, length, "float32", step, (config, model, device))
            del model, step
            gc.collect()


def ours(stage: Stage, length: int, precision: str, device: torch.device) -> Callable[[], None]:
    """Forward and backward of one row of `length` codes."""
    codes = {
        segment.name: torch.randint(
            segment.codebook_size, (1, segment.levels, length if segment.frame_rate else 1), device=device
        )
        for segment in stage.layout.segments
    }
    cast = torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()

    def step() -> None:
        with torch.inference_mode(False), torch.enable_grad():
            stage.zero_grad()
            with cast:
                loss = level_losses(stage, codes).mean()
            loss.backward()

    return step


def audiolm(model: nn.Module, length: int, device: torch.device) -> Callable[[], None]:
    """The same of audiolm-pytorch, by its own wrapper and loss."""
    wrapper = peers.audiolm_module().SemanticTransformerWrapper(
        transformer=model, unique_consecutive=False, mask_prob=0.0
    )
    ids = torch.randint(CODEBOOK_SIZE, (1, length), device=device)

    def step() -> None:
        with torch.inference_mode(False), torch.enable_grad():
            wrapper.zero_grad()
            wrapper(semantic_token_ids=ids, return_loss=True).backward()

    return step


def timed(
    name: str,
    size: str,
    length: int,
    precision: str,
    step: Callable[[], None],
    of: tuple[TransformerConfig, nn.Module, torch.device],
) -> dict[str, Any]:
    """A case: tokens per second, and the share of a matrix product's rate."""
    config, model, device = of
    for _ in range(SETTLE):
        step()
    turns = [
        (
            matmul_rate(device, DTYPES[precision], seconds=0.5),
            usual_time(step, device, seconds=1.5, settle=0),
        )
        for _ in range(TURNS)
    ]
    rate, seconds = max(rate for rate, _ in turns), min(seconds for _, seconds in turns)
    work = length * (6 * weights(model) + 12 * config.layers * config.width * length)
    return {
        "name": name,
        "size": size,
        "tokens": length,
        "precision": precision,
        "tokens_per_second": length / seconds,
        "gflops": work / seconds / 1e9,
        "matmul_gflops": rate / 1e9,
        "share_of_matmul": work / seconds / rate,
    }


def weights(model: nn.Module) -> int:
    """Entries of the matrices that multiply; an embedding is looked up."""
    return sum(module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear))


def compare(cases: list[dict[str, Any]]) -> str:
    """A table of speeds, each beside audiolm-pytorch's of the same size and length."""
    rows = [("", "size", "tokens", "precision", "tokens/s", "GFLOP/s", "of matmul", "of audiolm")]
    for case in cases:
        peer = next(
            other
            for other in cases
            if other["name"] == "audiolm-pytorch"
            and all(other[key] == case[key] for key in ("size", "tokens"))
        )
        rows.append(
            (
                *(case[key] for key in ("name", "size", "tokens", "precision")),
                f"{case['tokens_per_second']:.0f}",
                f"{case['gflops']:.0f}",
                f"{case['share_of_matmul']:.0%}",
                f"{case['tokens_per_second'] / peer['tokens_per_second']:.1f}x",
            )
        )
    return table(rows)


def bars(cases: list[dict[str, Any]]) -> Iterator[Bar]:
    """What must hold on a CPU."""
    for case in cases:
        if case["name"] == "musiclm":
            name = (
                f"{case['size']} size, {case['tokens']} tokens, {case['precision']}: share of a matmul's rate"
            )
            yield Bar(name, case["share_of_matmul"], floor=FLOORS[case["precision"]])


if __name__ == "__main__":
    main()
