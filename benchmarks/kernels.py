"""Why steps are built as they are: every way to multiply and to attend that was tried, side by side.

    python -m benchmarks.kernels          a minute or two, on a CPU

One JSON line per way: milliseconds for the matrices of twelve layers at paper size, or for the attention of
one layer, and the rate at which memory was read; for attention in training, of forward and backward.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.hardware import bandwidth, describe, usual_time
from benchmarks.report import say
from benchmarks.sizes import SIZES
from musiclm.machine.memory import keep_freed_memory
from musiclm.stages import native
from musiclm.stages.blocked import bias_between, blocked_attention, blocked_bias
from musiclm.stages.native import NativeMatrix
from musiclm.stages.precision import Int8Matrix, StoredMatrix

LAYERS = 12  # enough to lie far beyond any cache
CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], prog="python -m benchmarks.kernels")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    torch.set_num_threads(parser.parse_args().threads)
    torch.manual_seed(0)
    keep_freed_memory()
    say({"machine": describe(CPU), "bandwidth_gb_per_s": bandwidth(CPU) / 1e9})
    for case in (*products(), *attentions(), *trained_attentions()):
        say(case)


def products() -> Iterator[dict[str, Any]]:
    """Products of 1 and of 8 rows with every matrix of the layers."""
    config = SIZES["paper"]
    d, f = config.width, config.feed_forward
    shapes = [(3 * d, d), (d, d), (2 * f, d), (d, f)]
    weights = [torch.randn(shape) * 0.02 for _ in range(LAYERS) for shape in shapes]
    ways: dict[str, tuple[int, Callable[[Tensor], Callable[[Tensor], Tensor]]]] = {
        "float32, F.linear": (4, lambda weight: lambda x: F.linear(x, weight)),
        "float32, stored transposed": (4, transposed),
        "float32, packed by oneDNN": (4, lambda weight: StoredMatrix(weight, torch.float32)),
        "bfloat16, F.linear": (2, halved),
        "bfloat16, packed by oneDNN": (2, lambda weight: StoredMatrix(weight, torch.bfloat16)),
        "int8 weights alone": (1, weight_only),
        "int8, dynamic": (1, Int8Matrix),
    }
    if native.available():
        for size, dtype in ((4, torch.float32), (2, torch.bfloat16), (1, torch.int8)):
            ways[f"{name_of(dtype)}, step.c"] = (size, partial(NativeMatrix, dtype=dtype))
    for name, (size, make) in ways.items():
        products = [make(weight) for weight in weights]
        for rows in (1, 8):
            inputs = [torch.randn(rows, weight.shape[1]) for weight in weights]

            def work(products: list = products, inputs: list = inputs) -> None:
                for product, x in zip(products, inputs, strict=True):
                    product(x)

            seconds = usual_time(work, CPU, seconds=1.0)
            read = size * sum(weight.numel() for weight in weights) / seconds
            yield {"product": name, "rows": rows, "ms": 1e3 * seconds, "gb_per_s": read / 1e9}


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def transposed(weight: Tensor) -> Callable[[Tensor], Tensor]:
    matrix = weight.t().contiguous()
    return lambda x: x @ matrix


def halved(weight: Tensor) -> Callable[[Tensor], Tensor]:
    matrix = weight.bfloat16()
    return lambda x: F.linear(x.bfloat16(), matrix)


def weight_only(weight: Tensor) -> Callable[[Tensor], Tensor]:
    scale = weight.abs().amax(dim=1) / 127
    matrix, scale = (weight / scale[:, None]).round().to(torch.int8), scale.bfloat16()
    return lambda x: torch._weight_int8pack_mm(x.bfloat16(), matrix, scale)


def attentions() -> Iterator[dict[str, Any]]:
    """One query of every head to the keys before it."""
    config = SIZES["paper"]
    heads, size = config.heads, config.width // config.heads
    for position in (128, 2048):
        for dtype in (torch.float32, torch.bfloat16):
            layers = 6
            keys, values = torch.randn(2, layers, heads, position + 100, size).to(dtype)
            query = torch.randn(heads, 1, size).to(dtype)
            bias = torch.randn(heads, 1, position).to(dtype)

            def separate(k: Tensor, v: Tensor, q: Tensor, b: Tensor) -> Tensor:
                return torch.bmm(torch.baddbmm(b, q, k.transpose(1, 2), alpha=0.125).softmax(dim=-1), v)

            def fused(k: Tensor, v: Tensor, q: Tensor, b: Tensor) -> Tensor:
                return F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=b[None])

            for name, way in (("baddbmm, softmax, bmm", separate), ("SDPA", fused)):

                def work(way: Callable = way, n: int = position, given: tuple = (query, bias)) -> None:
                    for k, v in zip(keys, values, strict=True):  # noqa: B023  # called before they change
                        way(k[:, :n], v[:, :n], *given)

                seconds = usual_time(work, CPU, seconds=0.5) / layers
                read = 2 * keys[0, :, :position].numel() * keys.element_size() / seconds
                yield {
                    "attention": name,
                    "dtype": name_of(dtype),
                    "position": position,
                    "ms": 1e3 * seconds,
                    "gb_per_s": read / 1e9,
                }


def trained_attentions() -> Iterator[dict[str, Any]]:
    """Forward and backward of one row's attention, the bias by distance learnt as well."""
    config, length = SIZES["paper"], 1024
    shape = (1, config.heads, length, config.width // config.heads)

    def sliced(q: Tensor, k: Tensor, v: Tensor, by_distance: Tensor) -> Tensor:
        """The same blocks in plain lines, their gradients by autograd."""
        attended, start = [], 0
        for bias in blocked_bias(by_distance):
            end = bias.shape[2]
            scores = q[:, :, start:end] @ k[:, :, :end].mT * shape[3] ** -0.5 + bias
            attended.append(scores.softmax(dim=-1) @ v[:, :, :end])
            start = end
        return torch.cat(attended, dim=2)

    ways: dict[str, Callable[..., Tensor]] = {
        "blocked.py": lambda q, k, v, b: blocked_attention(q, k, v, blocked_bias(b), dropout=0.0),
        "blocks, by autograd": sliced,
        "SDPA": lambda q, k, v, b: F.scaled_dot_product_attention(
            q, k, v, attn_mask=bias_between(b, 0, length)
        ),
    }
    for dtype in (torch.float32, torch.bfloat16):
        shapes = (shape, shape, shape, (config.heads, length))
        given = [torch.randn(shape).to(dtype).requires_grad_() for shape in shapes]
        for name, way in ways.items():

            def work(way: Callable[..., Tensor] = way, given: list[Tensor] = given) -> None:
                with torch.inference_mode(False), torch.enable_grad():
                    attended = way(*given)
                    torch.autograd.grad(attended, given, torch.ones_like(attended))

            ms = 1e3 * usual_time(work, CPU, seconds=1.0)
            yield {"attention in training": name, "dtype": name_of(dtype), "tokens": length, "ms": ms}


if __name__ == "__main__":
    main()
