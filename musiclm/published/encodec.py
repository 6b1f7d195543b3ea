"""`musiclm import encodec`: EnCodec's published 24 kHz model as a part, to stand where SoundStream does."""

from pathlib import Path
from typing import Any

import torch

from musiclm.bundle import Storage, save_part
from musiclm.published.files import read_published

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
