"""Weights in the form that decoding reads them.

A decode step of one row reads every weight and multiplies it once: how many bytes the weights have, and how
evenly they are read, is how long it takes. `prepare_to_decode` puts a stage's matrices into such a form:

- `float32`: the values as they are.
- `bfloat16`: half the bytes; sums in float32 inside the product, the residual stream in float32.
- `int8`: a quarter of the bytes, one scale per output; what is multiplied is brought to 8 bits too. CPU only.

Keys and values are kept in the same precision. On a CPU a step is compiled (`native.py`),
on a GPU it is captured (`cuda_graph.py`). Where there was no C compiler at installation, torch runs a step
operation by operation, and keys and values stay in float32.

docs/performance.md tells what each loses (as KL divergence from float32) and gains.
"""

from typing import Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musiclm.machine.cpus import multiplies_bfloat16
from musiclm.stages import native
from musiclm.stages.cuda_graph import CudaGraphStep
from musiclm.stages.stage import Stage
from musiclm.stages.transformer import Block, TransformerConfig

Precision = Literal["float32", "bfloat16", "int8"]
PrecisionChoice = Literal["auto", "float32", "bfloat16", "int8"]


class StoredMatrix(nn.Module):
    """Product of [..., inputs] with a matrix [outputs, inputs] that is kept in `dtype`.

    On a CPU, oneDNN keeps the matrix in blocks as its kernels read them. `F.linear` would lay it out anew at
    each call, which at a few rows takes longer than the product. Where the CPU has no instructions for
    bfloat16, the same values are kept and multiplied in float32: nothing is gained there, and nothing lost.
    """

    matrix: Tensor

    def __init__(self, weight: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        matrix = weight.detach().to(dtype).contiguous()
        self.is_packed = matrix.device.type == "cpu" and torch.backends.mkldnn.is_available()
        self.computed_in = dtype
        if self.is_packed:
            if dtype == torch.bfloat16 and not multiplies_bfloat16():
                self.computed_in = torch.float32
            matrix = matrix.to(self.computed_in)
            self.packed = torch.ops.mkldnn._reorder_linear_weight(matrix)  # not a buffer: nothing can read it
        else:
            self.register_buffer("matrix", matrix, persistent=False)
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        rounded = x.to(self.dtype).to(self.computed_in)
        if self.is_packed:
            y = torch.ops.mkldnn._linear_pointwise(rounded, self.packed, None, "none", [], "")
        else:
            y = F.linear(rounded, self.matrix)
        return y.to(self.dtype).to(x.dtype)


class Int8Matrix(nn.Module):
    """Product of [..., inputs] with a matrix [outputs, inputs] of 8-bit entries, by torch's dynamic linear.

    What is multiplied at once has one scale, so the rows of a batch are multiplied one by one: none depends
    on another, and a sample of several is what it is alone. `reduce_range` takes 7 bits of it: without VNNI
    instructions a CPU sums in 16 bits, and 8 would overflow.
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        weight = weight.detach().float()
        scale = weight.abs().amax(dim=1).clamp(min=1e-12) / 127
        zero = torch.zeros(len(scale), dtype=torch.int64)
        rounded = torch.quantize_per_channel(weight, scale.double(), zero, axis=0, dtype=torch.qint8)
        self.packed = torch.ops.quantized.linear_prepack(rounded, None)

    def forward(self, x: Tensor) -> Tensor:
        rows = [torch.ops.quantized.linear_dynamic(row, self.packed, reduce_range=True) for row in x.split(1)]
        return torch.cat(rows)  # [B, ..., outputs]


class StepNorm(nn.Module):
    """RMSNorm as three small operations on a CPU, where torch's own is eight."""

    weight: Tensor

    def __init__(self, norm: nn.RMSNorm) -> None:
        super().__init__()
        weight = norm.weight.detach()
        self.register_buffer("weight", weight * len(weight) ** 0.5, persistent=False)
        self.tiny = 1e-3 * len(weight) ** 0.5  # the root of RMSNorm's epsilon, 1e-6

    def forward(self, x: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return x * self.weight / length.clamp_min(self.tiny)


class LevelHeads(nn.Module):
    """Logits of each level, from one matrix for all where all are due at most steps, else from one for each.

    Args:
        weight: [Q, codebook_size, E].
        together: one matrix.
        precision: of it.
    """

    def __init__(self, weight: Tensor, *, together: bool, precision: Precision) -> None:
        super().__init__()
        self.levels = len(weight)
        parts = [weight.flatten(0, 1)] if together else list(weight)
        self.matrices = nn.ModuleList(stored(part, precision, alike=True) for part in parts)

    def forward(self, hidden: Tensor, levels: slice) -> Tensor:
        """Logits [rows, due, codebook_size] of hidden [rows, E]."""
        if len(self.matrices) == self.levels:
            matrices = list(self.matrices)[levels]
            return torch.stack([matrix(hidden) for matrix in matrices], dim=1)
        return self.matrices[0](hidden).view(len(hidden), self.levels, -1)[:, levels]


def stored(weight: Tensor, precision: Precision, *, alike: bool = False) -> nn.Module:
    """The product with a matrix [outputs, inputs] in a precision; `alike` as in `NativeMatrix`."""
    dtype = getattr(torch, precision)
    if weight.device.type == "cpu" and native.available():
        return native.NativeMatrix(weight, dtype, alike=alike)
    return Int8Matrix(weight) if precision == "int8" else StoredMatrix(weight, dtype)


def kept_in(config: TransformerConfig, precision: Precision) -> torch.dtype:
    """What keys and values are kept in."""
    if precision == "int8" and config.width // config.heads % 4:  # step.c multiplies four dimensions at once
        return torch.bfloat16
    return cast(torch.dtype, getattr(torch, precision))


def choose_precision(precision: PrecisionChoice, device: torch.device) -> Precision:
    """The precision of a choice: `auto` is int8 on a CPU, bfloat16 on CUDA, float32 elsewhere.

    Raises:
        ValueError: no such precision.
    """
    if precision == "auto":
        by_device: dict[str, Precision] = {"cpu": "int8", "cuda": "bfloat16"}
        return by_device.get(device.type, "float32")
    if precision not in get_args(Precision):
        raise ValueError(f"expected a precision among {list(get_args(PrecisionChoice))}, got {precision!r}")
    return precision


def prepare_to_decode(stage: Stage, precision: Precision = "float32") -> Stage:
    """Put the stage's matrices into the form of `precision`, in place; it cannot be trained or saved after.

    Raises:
        ValueError: no such precision, or one that the stage's device has not; or a stage not in float32.
    """
    if precision not in get_args(Precision):
        raise ValueError(f"expected a precision among {list(get_args(Precision))}, got {precision!r}")
    device, dtype = stage.embedding.weight.device, stage.embedding.weight.dtype
    if dtype != torch.float32:
        raise ValueError(f"expected a stage in float32 to prepare, got one in {dtype}: say precision instead")
    if precision == "int8" and device.type != "cpu":
        raise ValueError(f"int8 decodes on a CPU, the stage is on {device}: use bfloat16")
    for block in stage.transformer.blocks:
        block = cast(Block, block)
        for name in ("qkv", "attention_out", "feed_forward_in", "feed_forward_out"):
            setattr(block, name, stored(getattr(block, name).weight, precision))
        if device.type == "cpu" and not native.available():
            block.attention_norm = StepNorm(cast(nn.RMSNorm, block.attention_norm))
            block.feed_forward_norm = StepNorm(cast(nn.RMSNorm, block.feed_forward_norm))
    if device.type == "cuda" or (device.type == "cpu" and native.available()):
        fused = CudaGraphStep if device.type == "cuda" else native.NativeStep
        stage.transformer.fused_step = fused(stage.transformer, kept_in(stage.config, precision))
    if device.type == "cpu" and native.available():
        for name in ("embedding_in", "head_in"):  # in float32 whatever the precision: they are small
            if isinstance(matrix := getattr(stage, name), nn.Linear):
                setattr(stage, name, stored(matrix.weight, "float32", alike=True))
    together = stage.layout.pattern == "delay"
    stage.level_heads = LevelHeads(stage.head_weight(), together=together, precision=precision)
    return stage.eval().requires_grad_(False)
