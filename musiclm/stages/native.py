"""The compiled decode step, `step/step.c`: on a CPU, all layers of a step in one call.

It is built when the package is installed, where there is a C compiler. Where it is not there, `available` is
false and decoding goes on in torch, the same up to rounding and a few times slower.
"""

import ctypes
import importlib.util
import warnings
from collections.abc import Sequence
from ctypes import POINTER, Structure, c_float, c_int64, c_void_p
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musiclm.stages.transformer import Block, KVCache, Transformer

KINDS = {torch.float32: 0, torch.bfloat16: 1, torch.int8: 2}  # as in step.c
BLOCK = 16  # steps whose keys of 8 bits lie interleaved
FEW = 8  # rows; of more, torch's product of matrices of floats is the faster one


class _Matrix(Structure):
    _fields_ = [
        ("entries", c_void_p),
        ("scales", c_void_p),
        ("sums", c_void_p),
        ("outputs", c_int64),
        ("inputs", c_int64),
        ("kind", c_int64),
    ]


class _Layer(Structure):
    _fields_ = [
        ("attention_norm", c_void_p),
        ("qkv", _Matrix),
        ("attention_out", _Matrix),
        ("feed_forward_norm", c_void_p),
        ("feed_forward_in", _Matrix),
        ("feed_forward_out", _Matrix),
    ]


class _Model(Structure):
    _fields_ = [
        ("layers", c_int64),
        ("width", c_int64),
        ("heads", c_int64),
        ("feed_forward", c_int64),
        ("kind", c_int64),
        ("epsilon", c_float),
        ("layer", POINTER(_Layer)),
    ]


class _Cache(Structure):
    _fields_ = [
        ("keys", c_void_p),
        ("values", c_void_p),
        ("key_units", c_void_p),
        ("value_units", c_void_p),
        ("bias", c_void_p),
        ("capacity", c_int64),
        ("length", c_int64),
    ]


def load(path: Path) -> ctypes.CDLL:
    """The functions of `step.c`, compiled at `path`.

    Raises:
        OSError: it cannot be loaded, or is of another version of `step.c`.
    """
    library = ctypes.CDLL(str(path))
    library.musiclm_sizes.restype = c_int64
    sizes = [ctypes.sizeof(kind) for kind in (_Matrix, _Layer, _Model, _Cache)]
    if library.musiclm_sizes() != sum(size << 16 * place for place, size in enumerate(sizes)):
        raise OSError(f"{path} is of another version")
    library.musiclm_product.argtypes = [POINTER(_Matrix), c_void_p, c_int64, c_void_p, c_int64]
    library.musiclm_work.argtypes = [POINTER(_Model), c_int64, c_int64, c_int64]
    library.musiclm_work.restype = c_int64
    library.musiclm_step.argtypes = [
        POINTER(_Model),
        POINTER(_Cache),
        c_void_p,
        c_int64,
        c_void_p,
        c_int64,
    ]
    library.musiclm_step.restype = None
    return library


def _installed() -> ctypes.CDLL | None:
    spec = importlib.util.find_spec("musiclm.stages._step")
    if spec is None or spec.origin is None:
        return None
    try:
        return load(Path(spec.origin))
    except (OSError, AttributeError) as error:  # AttributeError: a version without one of the functions
        warnings.warn(
            f"the compiled decode step cannot be used ({error}), decoding will be slower: install again",
            stacklevel=2,
        )
        return None


_library = _installed()


def available() -> bool:
    """Whether the step was compiled."""
    return _library is not None


class NativeMatrix(nn.Module):
    """Product of [..., inputs] with a matrix [outputs, inputs] that `step.c` reads.

    Args:
        weight: [outputs, inputs].
        dtype: float32, bfloat16, or int8 (with a scale per output; what is multiplied is rounded to 8 bits
            with a scale per row).
        alike: a row is the same bit by bit however many there are; without it, many rows of floats take
            torch's product, which is faster and rounds otherwise. Those of int8 always are.
    """

    entries: Tensor
    scales: Tensor | None
    sums: Tensor | None

    def __init__(self, weight: Tensor, dtype: torch.dtype, *, alike: bool = False) -> None:
        super().__init__()
        self.alike = alike
        weight = weight.detach().float()
        scales = sums = None
        if dtype == torch.int8:
            entries, scales = to_int8(weight)
            sums = entries.sum(dim=1, dtype=torch.int32)
        else:
            entries = weight.to(dtype).contiguous()
        self.register_buffer("entries", entries, persistent=False)
        self.register_buffer("scales", scales, persistent=False)
        self.register_buffer("sums", sums, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        if len(rows) > FEW and self.scales is None and not self.alike:
            return F.linear(x.to(self.entries.dtype), self.entries).to(x.dtype)
        assert _library is not None
        rows = rows.float().contiguous()
        y = rows.new_empty(len(rows), len(self.entries))
        threads = torch.get_num_threads()
        failed = _library.musiclm_product(self.structure(), rows.data_ptr(), len(rows), y.data_ptr(), threads)
        if failed:
            raise MemoryError(f"expected memory for a product of {len(rows)} rows, there is none left")
        return y.view(*x.shape[:-1], y.shape[1])

    def structure(self) -> _Matrix:
        """The matrix as C sees it, as long as this module lives."""
        outputs, inputs = self.entries.shape
        return _Matrix(
            self.entries.data_ptr(),
            None if self.scales is None else self.scales.data_ptr(),
            None if self.sums is None else self.sums.data_ptr(),
            outputs,
            inputs,
            KINDS[self.entries.dtype],
        )


@dataclass
class Int8Cache(KVCache):
    """Keys and values in 8 bits with a scale for each head and step: as `step.c` reads them.

    Keys [layers, B * H, S / 16, D / H / 4, 16, 4] have 128 added; 16 steps lie together, four dimensions of
    each side by side. Values are [layers, B * H, S, D / H].

    Args:
        key_units: [layers, B * H, S], what 1 stands for; `value_units` alike.
        value_units: see key_units.
    """

    key_units: Tensor = field(kw_only=True)
    value_units: Tensor = field(kw_only=True)

    def fill(self, layer: int, part: int, keys: Tensor, values: Tensor) -> None:
        """Keep a layer's keys and values [b * H, n, D / H] of the first n steps, as `KVCache.fill`."""
        own, steps = slice(part * len(keys), (part + 1) * len(keys)), keys.shape[1]
        rounded, self.key_units[layer, own, :steps] = to_int8(keys.float())
        offset = (F.pad(rounded, (0, 0, 0, -steps % BLOCK)).short() + 128).to(torch.uint8)
        blocks = offset.unflatten(2, (-1, 4)).unflatten(1, (-1, BLOCK)).transpose(2, 3)
        self.keys[layer, own, : blocks.shape[1]] = blocks
        self.values[layer, own, :steps], self.value_units[layer, own, :steps] = to_int8(values.float())


class NativeStep:
    """All blocks of a transformer, whose matrices are `NativeMatrix`, for one step.

    Args:
        transformer: where they are.
        kept_in: keys and values: float32, bfloat16 or, where heads can be divided by four, int8.
    """

    def __init__(self, transformer: Transformer, kept_in: torch.dtype = torch.float32) -> None:
        self.transformer = transformer
        self.kept_in = kept_in
        blocks = [cast(Block, block) for block in transformer.blocks]
        # C reads the weights where these tensors have them.
        matrices = [module for module in transformer.modules() if isinstance(module, NativeMatrix)]
        self.tensors = [(matrix.entries, matrix.scales, matrix.sums) for matrix in matrices]
        self.norms = [_weights(block.attention_norm, block.feed_forward_norm) for block in blocks]
        layers = [
            _Layer(
                first.data_ptr(),
                cast(NativeMatrix, block.qkv).structure(),
                cast(NativeMatrix, block.attention_out).structure(),
                second.data_ptr(),
                cast(NativeMatrix, block.feed_forward_in).structure(),
                cast(NativeMatrix, block.feed_forward_out).structure(),
            )
            for block, (first, second) in zip(blocks, self.norms, strict=True)
        ]
        config = transformer.config
        self.layers = (_Layer * len(layers))(*layers)
        self.model = _Model(
            config.layers,
            config.width,
            config.heads,
            config.feed_forward,
            KINDS[kept_in],
            transformer.final_norm.eps or 0.0,
            self.layers,
        )

    def cache(self, batch: int, length: int) -> KVCache:
        """An empty cache for `batch` rows of at least `length` steps."""
        if self.kept_in != torch.int8:
            return self.transformer.allocate(batch, length, self.kept_in)
        empty = self.transformer.allocate(batch, -(-length // BLOCK) * BLOCK, torch.int8)
        layers, rows, steps, size = empty.keys.shape
        return Int8Cache(
            empty.keys.view(torch.uint8).view(layers, rows, steps // BLOCK, size // 4, BLOCK, 4),
            empty.values,
            empty.bias,
            key_units=torch.zeros(layers, rows, steps),
            value_units=torch.zeros(layers, rows, steps),
        )

    def __call__(self, x: Tensor, cache: KVCache) -> Tensor:
        """Hidden state [B, D] of the step [B, D] after those of the cache, whose length stays what it is."""
        assert _library is not None
        x = x.float().contiguous().clone()
        capacity, threads = cache.values.shape[2], torch.get_num_threads()
        if cache.length >= capacity or cache.keys.shape[1] != len(x) * self.model.heads:
            raise IndexError(
                f"expected a step of {cache.keys.shape[1] // self.model.heads} rows before step {capacity}, "
                f"got {len(x)} rows at step {cache.length}"
            )
        size = _library.musiclm_work(self.model, len(x), capacity, threads)
        if cache.work is None or len(cache.work) < size:
            cache.work = torch.empty(size, dtype=torch.uint8)
        kept = _Cache(
            cache.keys.data_ptr(),
            cache.values.data_ptr(),
            cache.key_units.data_ptr() if isinstance(cache, Int8Cache) else None,
            cache.value_units.data_ptr() if isinstance(cache, Int8Cache) else None,
            cache.bias.data_ptr(),
            capacity,
            cache.length,
        )
        _library.musiclm_step(self.model, kept, x.data_ptr(), len(x), cache.work.data_ptr(), threads)
        return x


def to_int8(values: Tensor) -> tuple[Tensor, Tensor]:
    """Entries [..., N] of -127 … 127, and what a unit of each row stands for [...]."""
    units = values.abs().amax(dim=-1).clamp(min=1e-12) / 127
    return (values / units[..., None]).round().to(torch.int8), units.contiguous()


def _weights(*norms: nn.Module) -> Sequence[Tensor]:
    return [cast(Tensor, norm.weight).detach().float().contiguous() for norm in norms]
