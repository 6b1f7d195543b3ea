"""Where the time of a decode step goes: each part run by itself, at paper size and in the default model.

    python -m benchmarks.profile          about a minute, on a CPU with the compiled step

One JSON line per case, then a table of milliseconds and shares of the whole. What cannot run by itself is a
difference: attention is what the blocks take longer at a position than at the first one.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import torch
from torch import Tensor

from benchmarks.hardware import describe, usual_time
from benchmarks.report import say, table
from benchmarks.sizes import SIZES
from musiclm.bundle import Bundle
from musiclm.stages import native
from musiclm.stages.decoding import sample
from musiclm.stages.precision import Precision, prepare_to_decode
from musiclm.stages.semantic import Semantic
from musiclm.stages.stage import Stage

CPU = torch.device("cpu")
POSITIONS = (128, 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], prog="python -m benchmarks.profile")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    torch.set_num_threads(parser.parse_args().threads)
    torch.manual_seed(0)
    if not native.available():
        print("expected the compiled step, it was not built: install a C compiler, then the package again")
        sys.exit(2)
    say({"machine": describe(CPU)})
    sizes: dict[str, Callable[[], Stage]] = {
        "paper": lambda: Semantic(SIZES["paper"], pattern="flatten"),
        "default": lambda: Bundle.find("default").load("semantic_stage"),
    }
    cases = []
    for size, make in sizes.items():
        for precision in get_args(Precision):
            stage = prepare_to_decode(make(), precision)
            for position in POSITIONS:
                parts = divide(measure(stage, position))
                cases.append(say({"size": size, "precision": precision, "position": position, **parts}))
    print()
    print(shares(cases))


@torch.inference_mode()
def measure(stage: Stage, position: int) -> dict[str, float]:
    """Milliseconds of what can run by itself, of a step of one row at a position."""
    return {name: 1e3 * usual_time(work, CPU, seconds=1.0) for name, work in pieces(stage, position).items()}


def pieces(stage: Stage, position: int) -> dict[str, Callable[[], Any]]:
    """What is timed: the whole step as generation runs it, and pieces of it."""
    transformer, layout = stage.transformer, stage.layout
    there = transformer.new_cache(1, position + 1)
    there.length = position
    first = replace(there, length=0)
    levels = slice(0, 1 if layout.pattern == "flatten" else layout.target.levels)
    tokens = torch.full((1, 1, layout.columns), layout.blank)
    x = torch.randn(1, 1, stage.config.width)
    matrices = [module for module in transformer.modules() if isinstance(module, native.NativeMatrix)]
    inputs = [torch.randn(1, matrix.entries.shape[1]) for matrix in matrices]
    smallest = native.NativeMatrix(torch.ones(8, 8), matrices[0].entries.dtype)
    blocks = transformer.fused_step
    assert blocks is not None

    def head(hidden: Tensor) -> Tensor:
        return sample(stage.logits(transformer.final_norm(hidden), levels), temperature=1.0)

    def whole() -> None:
        hidden, cache = transformer.decode_step(stage.embed_tokens(tokens) + x, there)
        cache.length = position
        sample(stage.logits(hidden[:, -1], levels), temperature=1.0)

    return {
        "whole": whole,
        "blocks": lambda: blocks(x[:, 0], there),
        "blocks, first step": lambda: blocks(x[:, 0], first),
        "products": lambda: [matrix(row) for matrix, row in zip(matrices, inputs, strict=True)],
        "calls": lambda: [smallest(inputs[0][:, :8]) for _ in matrices],  # which one step in C does not make
        "head": lambda: head(x[:, 0]),
        "embedding": lambda: stage.embed_tokens(tokens) + x,
    }


def divide(times: dict[str, float]) -> dict[str, float]:
    """The parts of a whole step: they add up to it."""
    parts = {
        "products": times["products"] - times["calls"],
        "attention": times["blocks"] - times["blocks, first step"],
        "head and sampling": times["head"],
        "embedding": times["embedding"],
    }
    parts["norms, quantising, waiting"] = times["blocks"] - parts["products"] - parts["attention"]
    parts["between them"] = times["whole"] - sum(parts.values())
    return {"whole": times["whole"], **parts}


def shares(cases: list[dict[str, Any]]) -> str:
    """A table: each part in milliseconds, and of the whole."""
    named = ("size", "precision", "position")
    parts = [key for key in cases[0] if key not in named]
    rows = [tuple(f"{case[part]:.3f} ({case[part] / case['whole']:.0%})" for part in parts) for case in cases]
    return table(
        [
            (*named, *parts),
            *((*(case[key] for key in named), *row) for case, row in zip(cases, rows, strict=True)),
        ]
    )


if __name__ == "__main__":
    main()
