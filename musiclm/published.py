"""Published weights taken over: `musiclm import NAME` makes a part of a file that others have published.

From then on the part is like one that was trained here: a bundle of one, which needs the file no more. A
function below says where a family of weights comes from and which role it takes; what the names in a file
mean, the tokenizer knows (`from_published`).
"""

import hashlib
import re
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from musiclm.bundle import Storage, save_part

# torch.hub's convention: a published file's name ends in the first digits of its SHA-256.
DIGITS = re.compile(r"-([0-9a-f]{8,64})\.[^.]+$")
ENCODEC = "encodec_24khz-d7cc33bc.th"


def encodec(
    weights: Path | None = None,
    out: Path = Path("runs/encodec/part"),
    num_quantizers: int = 8,
    storage: Storage = "float32",
) -> None:
    """Make a part of EnCodec's published 24 kHz model, to stand where SoundStream does.

    Args:
        weights: encodec_24khz-d7cc33bc.th; without it, it is fetched.
        out: the folder to write.
        num_quantizers: levels to keep, 1 … 32; 8 are 6 kbit/s.
        storage: precision that its matrices are kept in; float32 gives the published model's very codes.
    """
    from musiclm.tokenizers.encodec import EnCodec

    codec = EnCodec.from_published(read_published(weights) if weights else _fetch_encodec(), num_quantizers)
    bundle = save_part(
        out,
        "soundstream",  # its role in a bundle
        codec,
        class_path="musiclm.tokenizers.encodec.EnCodec",
        init_args={"num_quantizers": num_quantizers},
        storage=storage,
    )
    print(f"EnCodec as soundstream ({bundle.fingerprint('soundstream')}): {bundle.path}")


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
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise ValueError(f"expected published weights in {path}, it cannot be read: {reason}") from None
    if not isinstance(content, dict):
        raise ValueError(f"expected published weights by name in {path}, found a {type(content).__name__}")
    return content


def _fetch_encodec() -> dict[str, Any]:
    """The weights from where the package has them, kept in torch.hub's cache.

    Raises:
        OSError: they cannot be fetched.
    """
    from encodec.model import ROOT_URL

    try:
        return torch.hub.load_state_dict_from_url(
            ROOT_URL + ENCODEC, map_location="cpu", check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError) as error:  # RuntimeError: what came has another hash
        raise OSError(
            f"expected a network to fetch {ENCODEC} from ({error}): get it elsewhere and say --weights FILE"
        ) from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
