"""Bundles, read lazily: a part is loaded when it is asked for."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from musiclm.build import build, check
from musiclm.bundle import word_list
from musiclm.bundle.hub import download
from musiclm.bundle.storage import matches, training_state, unpack_weights
from musiclm.plain import read_yaml
from musiclm.tokenizers.protocols import KnowsWords

MODEL_FILE = "model.yaml"
FORMAT = 1
SHIPPED = Path(__file__).parents[1] / "bundles"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*", re.ASCII)  # of a part: a name, and never a path
WEIGHTS = ".safetensors"


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
        self.file = self.path / MODEL_FILE
        if not self.file.is_file():
            raise FileNotFoundError(
                f"expected a bundle, a folder with {MODEL_FILE}; found none at {self.path}: was it trained?"
            )
        content = read_yaml(self.file)
        if not isinstance(content, dict) or content.get("format") != FORMAT or "parts" not in content:
            raise ValueError(
                f"expected a bundle of format {FORMAT} in {self.file}; pack it again (`musiclm bundle pack`)"
            )
        if not isinstance(content["parts"], dict):
            raise ValueError(f"expected parts by name in {self.file}, it is truncated or altered")
        for name, entry in content["parts"].items():
            check_name(name, str(self.file))
            if not _is_whole(entry):
                raise ValueError(
                    f"expected a whole entry of {name} in {self.file}, it is truncated or altered: get it "
                    "again"
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
            return cls(download(str(name), [f"*{WEIGHTS}", f"*{word_list.ENDING}", MODEL_FILE]))
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
        return digest(json.dumps([parts, self.settings], sort_keys=True).encode())

    def load(self, name: str) -> Any:
        """The part, built from its spec and filled with its weights: eval mode, frozen.

        Raises:
            FileNotFoundError: its file is missing.
            ValueError: the bundle has no such part, its spec does not name a part of this project, or its
                file is truncated, altered or no weights.
        """
        from safetensors.torch import load

        entry, content = self.entry(name), self.content(name)
        file = self.path / entry["file"]
        part = build(entry["class_path"], entry["init_args"], self.place(name))
        training_only = training_state(part)
        try:
            missing, unexpected = part.load_state_dict(unpack_weights(load(content)), strict=False)
        except RuntimeError as error:  # sizes that differ
            raise ValueError(
                f"expected weights of {entry['class_path']} as this version builds it, {file} has others: "
                f"{str(error).splitlines()[-1].strip()}; get a bundle made for this version"
            ) from error
        missing = [key for key in missing if not matches(key, training_only)]
        if missing or unexpected:
            raise ValueError(
                f"{file} does not fit {entry['class_path']}: missing {missing}, unexpected {unexpected}"
            )
        if isinstance(part, KnowsWords):
            part.words = word_list.read_list(self.path, entry)
        return part.eval().requires_grad_(False)

    def check(self, name: str) -> None:
        """Raise ValueError unless a part's spec names a part of this project; nothing is built."""
        entry = self.entry(name)
        check(entry["class_path"], entry["init_args"], self.place(name))

    def content(self, name: str) -> bytes:
        """The file of a part, found whole and unaltered.

        Raises:
            FileNotFoundError, ValueError: it is missing, truncated, altered, or holds no weights.
        """
        from safetensors import SafetensorError, safe_open

        entry = self.entry(name)
        file = self.path / entry["file"]
        if not file.is_file():
            raise FileNotFoundError(
                f"expected the weights of {name} at {file}, found nothing; get the bundle again"
            )
        content = file.read_bytes()
        if digest(spec_bytes(entry) + content) != entry["fingerprint"]:
            raise ValueError(
                f"expected the weights that {MODEL_FILE} names, {file} is truncated or altered; get it again"
            )
        try:
            with safe_open(file, "pt"):
                return content
        except SafetensorError as error:
            raise ValueError(
                f"expected weights (safetensors) in {file}, it holds something else ({error}): get it again"
            ) from None

    def entry(self, name: str) -> dict[str, Any]:
        """What model.yaml says of a part: class_path, init_args, file, fingerprint, trained_on, words."""
        if name not in self.parts:
            raise ValueError(f"expected a bundle with the part {name}; {self.path} has {sorted(self.parts)}")
        return self.parts[name]

    def place(self, name: str) -> str:
        """Where the spec of a part is written, for messages."""
        return f"{self.file}: parts.{name}"


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


def check_name(name: str, place: str) -> None:
    """Raise ValueError for a part's name that could be taken for a path."""
    if not NAME.fullmatch(name):
        raise ValueError(f"expected names of parts of letters, digits, _ and - in {place}, got {name!r}")


def spec_bytes(entry: dict[str, Any]) -> bytes:
    """The spec of a part, as its fingerprint covers it."""
    return json.dumps([entry["class_path"], entry["init_args"]], sort_keys=True).encode()


def digest(content: bytes) -> str:
    """16 hex digits of SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]


def _is_whole(entry: Any) -> bool:
    """Whether an entry of model.yaml is complete and names files inside the bundle's own folder."""
    if not isinstance(entry, dict) or not {"class_path", "init_args", "file", "fingerprint"} <= entry.keys():
        return False
    file, trained_on = entry["file"], entry.get("trained_on") or {}
    return (
        isinstance(entry["init_args"], dict)
        and isinstance(entry["fingerprint"], str)
        and _is_name(file, WEIGHTS)
        and (word_list.KEY not in entry or _is_name(entry[word_list.KEY], word_list.ENDING))
        and isinstance(trained_on, dict)
        and all(isinstance(value, str) for value in trained_on.values())
    )


def _is_name(file: Any, ending: str) -> bool:
    """Whether it is the name of a file with this ending, and no path."""
    return (
        isinstance(file, str)
        and file.endswith(ending)
        and NAME.fullmatch(file.removesuffix(ending)) is not None
    )
