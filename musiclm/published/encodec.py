"""`musiclm import encodec`: EnCodec's published 24 kHz model as a part, to stand where SoundStream does."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from musiclm.bundle import Storage, save_component
from musiclm.tokenizers.published_weights import read_published

ENCODEC = "encodec_24khz-d7cc33bc.th"
ANSWER_SECONDS = 10.0  # that a server, or a proxy before it, may take for a connection or the next bytes


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
    bundle = save_component(
        out,
        "codec",
        codec,
        class_path="musiclm.tokenizers.encodec.EnCodec",
        init_args={"num_quantizers": num_quantizers},
        storage=storage,
    )
    print(f"EnCodec as codec ({bundle.fingerprint('codec')}): {bundle.path}")


def _fetch_encodec() -> dict[str, Any]:
    """The weights from where the package has them, kept in torch.hub's cache if that can be written.

    Raises:
        OSError: they cannot be fetched.
    """
    from encodec.model import ROOT_URL

    try:
        with _answering_within(ANSWER_SECONDS), TemporaryDirectory() as temporary:
            return torch.hub.load_state_dict_from_url(
                ROOT_URL + ENCODEC,
                model_dir=_hub_cache() or temporary,
                map_location="cpu",
                check_hash=True,
                weights_only=True,
            )
    except (OSError, RuntimeError) as error:  # RuntimeError: what came has another hash
        raise OSError(
            f"expected a network to fetch {ENCODEC} from ({error}): get it elsewhere and say --weights FILE"
        ) from None


def _hub_cache() -> str | None:
    """torch.hub's folder of weights, made if it is absent; None where it cannot be written (no HOME, say)."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return str(folder) if os.access(folder, os.W_OK) else None


@contextmanager
def _answering_within(seconds: float) -> Iterator[None]:
    """Have what is fetched come within `seconds` each time: torch.hub itself waits for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
