"""What models published in folders of the Hugging Face kind have in common: words, weights, a text tokenizer.

The tokenizer is a file, `tokenizer.json`. As a buffer of the part it travels with its weights: a bundle
needs nothing of the folder that it was made from.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from musiclm.tokenizers.reading import Reading, whole_words


class PublishedVocabulary(nn.Module):
    """Texts to piece ids as a published model was trained with them.

    Args:
        max_pieces: a longer text is cut here, its closing piece kept.
        padding: id that fills up a row.
    """

    content: Tensor  # of tokenizer.json, [bytes] uint8

    def __init__(self, max_pieces: int, padding: int) -> None:
        super().__init__()
        self.max_pieces = max_pieces
        self.padding = padding
        self.register_buffer("content", torch.zeros(0, dtype=torch.uint8))
        self._tokenizer: Any = None

    def read(self, folder: Path) -> None:
        """Take the tokenizer of a published folder.

        Raises:
            FileNotFoundError, ValueError: there is none, or it cannot be read.
        """
        from transformers import AutoTokenizer

        if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json", "spiece.model")):
            raise FileNotFoundError(
                f"expected a text tokenizer (tokenizer.json) in {folder}, found none: get the whole folder"
            )
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, use_fast=True)
            words = tokenizer.backend_tokenizer.to_str()
        except Exception as error:  # the package raises plain Exception for broken files
            raise ValueError(
                f"expected a text tokenizer in {folder}, it cannot be read: "
                f"{' '.join(str(error).split())[:200]}"
            ) from None
        self._set_content(torch.frombuffer(bytearray(words.encode()), dtype=torch.uint8))

    def forward(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Piece ids [B, S] and, 1 where a piece is no padding, the mask [B, S]."""
        rows = self.tokenizer.encode_batch(texts)
        ids = torch.tensor([row.ids for row in rows], device=self.content.device)
        return ids, torch.tensor([row.attention_mask for row in rows], device=self.content.device)

    def reading(self, text: str) -> Reading:
        """What of a text counts: all words, as far as is known, up to `max_pieces`."""
        pieces = self.tokenizer.encode(text)
        if not pieces.overflowing:
            return Reading()
        end, left_out = whole_words(text, max(end for _, end in pieces.offsets))
        return Reading(end=end, left_out=left_out)

    @property
    def tokenizer(self) -> Any:
        """The `tokenizers.Tokenizer` of the stored bytes."""
        if self._tokenizer is None:
            # The package of that name, not the link beside it, which mypy finds.
            from tokenizers import Tokenizer  # type: ignore[attr-defined] # noqa: TID251

            self._tokenizer = Tokenizer.from_buffer(bytes(self.content.cpu().numpy()))
            self._tokenizer.enable_truncation(self.max_pieces)
            self._tokenizer.enable_padding(pad_id=self.padding)
        return self._tokenizer

    def _set_content(self, content: Tensor) -> None:
        self.content = content.to(self.content.device)
        self._tokenizer = None

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        stored = state_dict.get(prefix + "content")
        if stored is not None:  # its length is not known before it is read
            self._set_content(torch.empty_like(stored, device=self.content.device))
        super()._load_from_state_dict(state_dict, prefix, *args)


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """A file of a published folder.

    Raises:
        FileNotFoundError, ValueError: there is no such file, or it is no JSON object.
    """
    if not (folder / name).is_file():
        raise FileNotFoundError(
            f"expected a published model, a folder with {name}; found none at {folder}: is the path right?"
        )
    try:
        words = json.loads((folder / name).read_text(encoding="utf-8"))
    except ValueError:
        words = None
    if not isinstance(words, dict):
        raise ValueError(f"expected JSON words in {folder / name}, it is truncated or altered: get it again")
    return words


# Of a published config: what transformers takes for a kernel to fetch, a module to import, a name to look up.
NAMES_CODE = {"attn_implementation", "auto_map", "custom_pipelines", "quantization_config", "dtype"}
NAMES_CODE |= {"torch_dtype", "experts_implementation"}


def sizes_of(config: dict[str, Any]) -> dict[str, Any]:
    """A published config without what names code; a bundle with such a config may come from a stranger."""
    return {
        key: sizes_of(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if key not in NAMES_CODE and not key.startswith("_")
    }


def read_weights(model: nn.Module, folder: Path) -> None:
    """Fill a model with model.safetensors or pytorch_model.bin of a published folder, every value of it.

    Raises:
        FileNotFoundError, ValueError: there are no weights, they are truncated, or those of another model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    safe, pickled = folder / "model.safetensors", folder / "pytorch_model.bin"
    if not safe.is_file() and not pickled.is_file():
        raise FileNotFoundError(f"expected the weights, model.safetensors or pytorch_model.bin, in {folder}")
    try:
        if safe.is_file():
            state = load_file(safe)
        else:
            state = torch.load(pickled, map_location="cpu", weights_only=True)
        missing, unexpected = model.load_state_dict(state, strict=False)
    except (SafetensorError, RuntimeError, EOFError, OSError) as error:
        raise ValueError(
            f"expected the weights of {folder / 'config.json'}, its file is truncated or another model's: "
            f"{' '.join(str(error).split())[:200]}"
        ) from None
    # Positions that count from 0 are derived; some published files have them and others do not.
    missing = [
        name for name in missing if not name.endswith(("position_ids", "token_type_ids", "position_index"))
    ]
    unexpected = [name for name in unexpected if not name.endswith("position_ids")]
    if missing or unexpected:
        raise ValueError(
            f"expected the weights of {folder / 'config.json'}, missing {missing[:3]}, "
            f"unexpected {unexpected[:3]}"
        )
