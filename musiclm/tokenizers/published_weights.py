"""Files of published weights, read without running anything in them."""

import hashlib
import re
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

# torch.hub's convention: a published file's name ends in the first digits of its SHA-256.
DIGITS = re.compile(r"-([0-9a-f]{8,64})\.[^.]+$")


def read_published(path: Path) -> dict[str, Any]:
    """What a published file holds: .safetensors, or torch's own format, of which no code is run.

    Raises:
        FileNotFoundError, ValueError: there is none, or it is not what its name says, or no weights.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected a file of published weights, found none at {path}")
    named = DIGITS.search(path.name)
    if named and not (found := _sha256(path)).startswith(named[1]):
        raise ValueError(
            f"expected a file whose SHA-256 begins with {named[1]}, as its name says, {path} has "
            f"{found[: len(named[1])]}: it is truncated or altered, get it again"
        )
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    # A torn file ends the reading of a pickle in any of these ways.
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError, LookupError, ValueError) as error:
        reason = f"{type(error).__name__}: {str(error).strip()}".split("\n")[0][:150]
        raise ValueError(
            f"expected published weights in {path}, it cannot be read ({reason}): get it again"
        ) from None
    if not isinstance(content, dict):
        raise ValueError(f"expected published weights by name in {path}, found a {type(content).__name__}")
    return content


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
