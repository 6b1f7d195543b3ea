"""A trained model on disk: a folder with `model.yaml` and one safetensors file per part. Never pickle.

`model.yaml` names each part by class_path and init_args, as the training configs do, so that the same words
build a part for training and for generation. A single trained part is a bundle of one.

A part's name is its role, called after what the paper has in it: `soundstream` is the acoustic tokenizer,
whichever class that is.

Matrices may be stored as int8 with one scale per output row ("int8"): a quarter of the bytes. A tokenizer is
frozen in the precision it is stored in, so that tokens never depend on who holds the original weights.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from torch import Tensor, nn

from musiclm.files import write_whole
from musiclm.settings import read_settings

MODEL_FILE = "model.yaml"
FORMAT = 1
SHIPPED = Path(__file__).parent / "bundles"
Storage = Literal["float32", "float16", "int8"]
SCALE = ".scale"  # suffix of the per-row scales beside an int8 matrix
SMALL = 4096  # elements; statistics and biases below this stay float32


class Bundle:
    """A folder of parts, read lazily.

    Args:
        path: the folder.

    Raises:
        FileNotFoundError: the folder or its model.yaml does not exist.
        ValueError: model.yaml is not a bundle's.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        file = self.path / MODEL_FILE
        if not file.is_file():
            raise FileNotFoundError(
                f"expected a bundle, a folder with {MODEL_FILE}; found none at {self.path}: was it trained?"
            )
        content = _read_yaml(file)
        if not isinstance(content, dict) or content.get("format") != FORMAT or "parts" not in content:
            raise ValueError(
                f"expected a bundle of format {FORMAT} in {file}; pack it again (`musiclm bundle pack`)"
            )
        if not _is_whole(content["parts"]):
            raise ValueError(
                f"expected whole entries of parts in {file}, it is truncated or altered; get it again"
            )
        self.parts: dict[str, dict[str, Any]] = content["parts"]
        self.settings: dict[str, Any] = content.get("settings") or {}

    @classmethod
    def find(cls, name: str | Path) -> "Bundle":
        """A shipped bundle by name, a folder by path, or a Hugging Face repository by its id."""
        if (SHIPPED / name / MODEL_FILE).is_file():
            return cls(SHIPPED / name)
        if Path(name).exists():
            return cls(name)
        is_path = str(name).startswith((".", "/")) or Path(name).parent.is_dir()
        if str(name).count("/") == 1 and not is_path:
            return cls(_download(str(name)))
        if "/" in str(name):
            raise FileNotFoundError(f"expected a bundle, there is no {name}: was it trained, was it packed?")
        shipped = sorted(folder.parent.name for folder in SHIPPED.glob(f"*/{MODEL_FILE}"))
        raise FileNotFoundError(
            f"expected a bundle: one of {shipped}, a folder, or a Hugging Face id; got {str(name)!r}"
        )

    def fingerprint(self, name: str | None = None) -> str:
        """What tells one trained part (or the whole bundle) from every other: 16 hex digits."""
        if name is not None:
            return self.entry(name)["fingerprint"]
        parts = {part: self.parts[part]["fingerprint"] for part in sorted(self.parts)}
        return _digest(json.dumps([parts, self.settings], sort_keys=True).encode())

    def load(self, name: str) -> Any:
        """The part, built from its words and filled with its weights: eval mode, frozen.

        Raises:
            KeyError: the bundle has no such part.
            FileNotFoundError, ValueError: its file is missing, truncated or altered.
        """
        from safetensors.torch import load

        entry, content = self.entry(name), self._content(name)
        file = self.path / entry["file"]
        part = build(entry["class_path"], entry["init_args"])
        left_out = _training_state(part)
        try:
            missing, unexpected = part.load_state_dict(_unpack(load(content)), strict=False)
        except RuntimeError as error:  # sizes that differ
            raise ValueError(
                f"expected weights of {entry['class_path']} as this version builds it, {file} has others: "
                f"{str(error).splitlines()[-1].strip()}; get a bundle made for this version"
            ) from error
        missing = [key for key in missing if not _matches(key, left_out)]
        if missing or unexpected:
            raise ValueError(
                f"{file} does not fit {entry['class_path']}: missing {missing}, unexpected {unexpected}"
            )
        return part.eval().requires_grad_(False)

    def _content(self, name: str) -> bytes:
        """The file of a part, found whole and unaltered."""
        entry = self.entry(name)
        file = self.path / entry["file"]
        if not file.is_file():
            raise FileNotFoundError(
                f"expected the weights of {name} at {file}, found nothing; get the bundle again"
            )
        content = file.read_bytes()
        if _digest(_words(entry) + content) != entry["fingerprint"]:
            raise ValueError(
                f"expected the weights that {MODEL_FILE} names, {file} is truncated or altered; get it again"
            )
        return content

    def entry(self, name: str) -> dict[str, Any]:
        """The words of a part: class_path, init_args, file, fingerprint, trained_on."""
        if name not in self.parts:
            raise ValueError(f"expected a bundle with the part {name}; {self.path} has {sorted(self.parts)}")
        return self.parts[name]


def load_part(folder: str | Path, name: str | None = None) -> Any:
    """The only part of a bundle of one, or the named part of a larger one."""
    bundle = Bundle(folder)
    if name is None:
        if len(bundle.parts) != 1:
            raise ValueError(
                f"expected a bundle of one part at {folder}; it has {sorted(bundle.parts)}: name one"
            )
        name = next(iter(bundle.parts))
    return bundle.load(name)


def save_part(
    folder: str | Path,
    name: str,
    part: nn.Module,
    *,
    class_path: str,
    init_args: dict[str, Any],
    storage: Storage,
    trained_on: dict[str, str] | None = None,
) -> Bundle:
    """Write a bundle of one part: the weights first, `model.yaml` last, each by rename.

    Args:
        folder: of the bundle.
        name: of the part.
        part: the trained module.
        class_path, init_args: the words that build it.
        storage: precision that its matrices are kept in.
        trained_on: fingerprints of the tokenizers whose tokens a stage has learned.
    """
    from safetensors.torch import save

    folder = Path(folder)
    _make_folder(folder)
    left_out = _training_state(part)
    parameters = {key for key, _ in part.named_parameters()}
    state = {key: value for key, value in part.state_dict().items() if not _matches(key, left_out)}
    content = save(_pack(state, parameters, storage))
    entry: dict[str, Any] = {"class_path": class_path, "init_args": init_args, "file": f"{name}.safetensors"}
    entry["fingerprint"] = _digest(_words(entry) + content)
    entry["trained_on"] = trained_on or {}
    write_whole(folder / entry["file"], content)
    _write_model(folder, {name: entry}, {})
    return Bundle(folder)


def merge(
    sources: Iterable[Bundle],
    folder: str | Path,
    settings: dict[str, Any] | None = None,
    *,
    only: Sequence[str] = (),
    stages: bool = True,
) -> Bundle:
    """Write the parts of several bundles as one; of a name, the last one stays.

    Args:
        sources: the bundles.
        folder: of the new one.
        settings: of generation; without any, those of the last source that has some.
        only: names of the parts to take; all without them.
        stages: False leaves the stages out.

    Raises:
        ValueError: a stage has learned the tokens of other tokenizers than the bundle would hold.
    """
    folder = Path(folder)
    chosen: dict[str, Bundle] = {}
    kept: dict[str, Any] = {}
    for source in sources:
        names = [name for name in only or source.parts if stages or not _is_stage(source.entry(name))]
        chosen.update(dict.fromkeys(names, source))
        kept = source.settings or kept
    parts = {name: source.entry(name) for name, source in chosen.items()}
    for name, entry in parts.items():
        for tokenizer, fingerprint in entry.get("trained_on", {}).items():
            if tokenizer in parts and parts[tokenizer]["fingerprint"] != fingerprint:
                raise ValueError(
                    f"{name} was trained on tokens of {tokenizer} {fingerprint}, the bundle would hold "
                    f"{parts[tokenizer]['fingerprint']}: pack the tokenizers that made its tokens, or "
                    "tokenizers alone (--stages false)"
                )
    contents = {parts[name]["file"]: source._content(name) for name, source in chosen.items()}
    _make_folder(folder)
    for file, content in contents.items():
        write_whole(folder / file, content)
    _write_model(folder, parts, kept if settings is None else settings)
    return Bundle(folder)


def pack(
    parts: list[Path], out: Path = Path("bundle"), settings: Path | None = None, stages: bool = True
) -> None:
    """Put trained parts together as a model; of parts of the same name, the last one stays.

    Args:
        parts: bundles to take the parts from, such as `default` or runs/soundstream/part.
        out: the folder to write.
        settings: a YAML file with the settings of generation; without it, those of the last bundle with any.
        stages: false leaves the stages out: what remains tokenizes recordings to train other stages on.
    """
    words = _read_yaml(settings) if settings else None
    if settings:
        read_settings(words)  # what is wrong with them is said before anything is written
    bundle = merge([Bundle.find(part) for part in parts], out, words, stages=stages)
    print(f"{', '.join(bundle.parts)} ({bundle.fingerprint()}): {bundle.path}")


def info(bundle: str) -> None:
    """Say what is in a bundle.

    Args:
        bundle: a shipped bundle's name ("default"), a folder, or a Hugging Face id.
    """
    found = Bundle.find(bundle)
    print(f"{found.path}: bundle {found.fingerprint()}")
    for name, entry in found.parts.items():
        part = found.load(name)
        parameters = sum(parameter.numel() for parameter in part.parameters())
        size = (found.path / entry["file"]).stat().st_size / 2**20
        print(f"  {name:<12} {parameters / 1e6:6.2f}M parameters {size:6.2f} MiB  {entry['class_path']}")


def build(class_path: str, init_args: dict[str, Any]) -> nn.Module:
    """A module from its words. Only this project's classes: a bundle may come from a stranger.

    Raises:
        ValueError: the words name something else, or do not fit.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    _check_words({"class_path": class_path, "init_args": init_args})
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(nn.Module, "part")
    try:
        words = parser.parse_object({"part": {"class_path": class_path, "init_args": init_args}})
    except (ArgumentError, ImportError, AttributeError) as error:
        raise ValueError(f"cannot build {class_path} from its words: {_one_line(error)}") from None
    _check_words(words.as_dict()["part"])  # again: parsing spells out what was a shorthand
    return parser.instantiate(words).part


def _check_words(value: Any) -> None:
    """Raise ValueError for a class_path, at any depth, that is not this project's."""
    if isinstance(value, dict):
        class_path = value.get("class_path", "musiclm.")
        if not str(class_path).startswith("musiclm."):
            raise ValueError(f"expected parts of this project (musiclm. …) in a bundle, got {class_path!r}")
        value = list(value.values())
    if isinstance(value, list | tuple):
        for inner in value:
            _check_words(inner)


def _is_stage(entry: dict[str, Any]) -> bool:
    return str(entry["class_path"]).startswith("musiclm.stages.")


def _is_whole(parts: Any) -> bool:
    """Whether every part has all its words, and a file inside the bundle's own folder."""
    required = {"class_path", "init_args", "file", "fingerprint"}
    return isinstance(parts, dict) and all(
        isinstance(entry, dict)
        and required <= entry.keys()
        and isinstance(entry["init_args"], dict)
        and Path(str(entry["file"])).name == entry["file"]
        for entry in parts.values()
    )


def _pack(state: dict[str, Tensor], parameters: set[str], storage: Storage) -> dict[str, Tensor]:
    packed = {}
    for key, value in state.items():
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


def _unpack(packed: dict[str, Tensor]) -> dict[str, Tensor]:
    state = {}
    for key, value in packed.items():
        if key.endswith(SCALE) and key.removesuffix(SCALE) in packed:
            continue
        if key + SCALE in packed:
            scale = packed[key + SCALE].view(-1, *[1] * (value.ndim - 1))
            value = value.float() * scale
        state[key] = value.float() if value.dtype == torch.float16 else value
    return state


def _training_state(part: nn.Module) -> tuple[str, ...]:
    """Beginnings and endings of the state's keys that only training needs."""
    return tuple(name for module in part.modules() for name in getattr(module, "training_state", ()))


def _matches(key: str, left_out: tuple[str, ...]) -> bool:
    return key.startswith(left_out) or key.endswith(left_out)


def _words(entry: dict[str, Any]) -> bytes:
    return json.dumps([entry["class_path"], entry["init_args"]], sort_keys=True).encode()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _read_yaml(file: Path) -> Any:
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"expected YAML in {file}, but it cannot be read: {_one_line(error)}") from None


def _make_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"expected a folder for the bundle, {folder} is a file: name another")
    folder.mkdir(parents=True, exist_ok=True)


def _write_model(folder: Path, parts: dict[str, dict[str, Any]], settings: dict[str, Any]) -> None:
    content = {"format": FORMAT, "settings": settings, "parts": parts}
    write_whole(folder / MODEL_FILE, yaml.safe_dump(content, sort_keys=False).encode())


def _download(repository: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, allow_patterns=["*.safetensors", MODEL_FILE]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise FileNotFoundError(
            f"expected a bundle's name, a folder or a Hugging Face id; {repository!r} is no folder "
            f"and could not be fetched ({type(error).__name__}): is there a network, is the id right?"
        ) from None
