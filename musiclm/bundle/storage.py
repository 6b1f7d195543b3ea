"""Weights as a bundle keeps them: in float32, float16, or int8 with one scale per output row.

int8 is a quarter of the bytes. A tokenizer is frozen in the precision it is stored in, so that tokens never
depend on who holds the original weights.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Storage = Literal["float32", "float16", "int8"]
SCALE = ".scale"  # suffix of the per-row scales beside an int8 matrix
SMALL = 4096  # elements; statistics and biases below this stay float32
# How parameters are initialised: a mode sees a function of `nn.init`, and not what that calls.
DRAWS = {Tensor.normal_, Tensor.uniform_, nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_}


def pack_weights(module: nn.Module, storage: Storage) -> dict[str, Tensor]:
    """The state of a module as it is stored, without what only its training needs."""
    training_only = training_state(module)
    parameters = {key for key, _ in module.named_parameters()}
    packed = {}
    for key, value in module.state_dict().items():
        if matches(key, training_only):
            continue
        value = value.detach().cpu().contiguous()
        if not value.is_floating_point() or storage == "float32" or value.numel() <= SMALL:
            packed[key] = value.clone()
        elif storage == "int8" and key in parameters and value.ndim >= 2:
            rows = value.float().flatten(1)  # [rows, columns]
            scale = rows.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / 127
            packed[key] = (rows / scale).round().to(torch.int8).view(value.shape)
            packed[key + SCALE] = scale.squeeze(1)
        else:
            packed[key] = value.half()
    return packed


def unpack_weights(packed: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state that stored weights stand for, in float32."""
    state = {}
    for key, value in packed.items():
        if key.endswith(SCALE) and key.removesuffix(SCALE) in packed:
            continue
        if key + SCALE in packed:
            scale = packed[key + SCALE].view(-1, *[1] * (value.ndim - 1))
            value = value.float() * scale
        state[key] = value.float() if value.dtype == torch.float16 else value
    return state


class Undrawn(TorchFunctionMode):
    """A module built under it draws no initial values, which takes longer than to read trained ones.

    Its parameters hold whatever their memory held, until all of them are read from a file.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Any = None
    ) -> Any:
        given = kwargs or {}
        if func in DRAWS:
            return args[0] if args else given["tensor"]
        return func(*args, **given)


def training_state(component: nn.Module) -> tuple[str, ...]:
    """Beginnings and endings of the state's keys that only training needs."""
    return tuple(name for module in component.modules() for name in getattr(module, "training_state", ()))


def matches(key: str, names: tuple[str, ...]) -> bool:
    """Whether a key of the state begins or ends with one of the names."""
    return key.startswith(names) or key.endswith(names)
