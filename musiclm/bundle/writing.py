"""Writing bundles: nothing is written before all of it is found right, and then all of it or none."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from musiclm.bundle import word_list
from musiclm.bundle.reading import FORMAT, MODEL_FILE, WEIGHTS, Bundle, check_name, digest, spec_bytes
from musiclm.bundle.storage import Storage, pack_weights
from musiclm.files import only_writer, replacing
from musiclm.settings import read_settings
from musiclm.tokenizers.protocols import KnowsWords


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
    """Write a bundle of one part.

    Args:
        folder: of the bundle.
        name: of the part.
        part: the trained module.
        class_path, init_args: the spec that builds it.
        storage: precision that its matrices are kept in.
        trained_on: fingerprints of the tokenizers whose tokens a stage has learned.

    Raises:
        OSError, ValueError: the folder cannot be written, or holds other things.
    """
    from safetensors.torch import save

    check_name(name, "a bundle")
    content = save(pack_weights(part, storage))
    entry: dict[str, Any] = {"class_path": class_path, "init_args": init_args, "file": name + WEIGHTS}
    entry["fingerprint"] = digest(spec_bytes(entry) + content)
    entry["trained_on"] = trained_on or {}
    contents = {entry["file"]: content}
    if isinstance(part, KnowsWords) and part.words:
        entry[word_list.KEY] = name + word_list.ENDING
        contents[entry[word_list.KEY]] = word_list.list_of(part.words)
    return _write(Path(folder), {name: entry}, contents, {})


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
        OSError: the folder cannot be written.
        ValueError: a stage has learned the tokens of other tokenizers than the bundle would hold, a part or
            the settings cannot be used, or the folder holds other things.
    """
    chosen: dict[str, Bundle] = {}
    place = "the settings"
    for source in sources:
        names = [name for name in source.parts if stages or not _is_stage(source.entry(name))]
        chosen.update({name: source for name in names if not only or name in only})
        if source.settings and (settings is None or place != "the settings"):
            settings, place = source.settings, f"{source.file}: settings"
    if missing := sorted(set(only) - chosen.keys()):
        raise ValueError(f"expected bundles with the part {missing[0]}, none has it")
    for name, source in chosen.items():
        source.check(name)
    parts = {name: source.entry(name) | {"file": name + WEIGHTS} for name, source in chosen.items()}
    for name, entry in parts.items():
        for tokenizer, fingerprint in (entry.get("trained_on") or {}).items():
            if tokenizer in parts and parts[tokenizer]["fingerprint"] != fingerprint:
                raise ValueError(
                    f"{name} was trained on tokens of {tokenizer} {fingerprint}, the bundle would hold "
                    f"{parts[tokenizer]['fingerprint']}: pack the tokenizers that made its tokens, or "
                    "tokenizers alone (--stages false)"
                )
    contents = {parts[name]["file"]: source.content(name) for name, source in chosen.items()}
    for name, source in chosen.items():
        if words := word_list.read_list(source.path, parts[name]):
            parts[name][word_list.KEY] = name + word_list.ENDING
            contents[name + word_list.ENDING] = word_list.list_of(words)
    read_settings(settings or {}, place)
    return _write(Path(folder), parts, contents, settings or {})


def _write(
    folder: Path, parts: dict[str, dict[str, Any]], contents: dict[str, bytes], settings: dict[str, Any]
) -> Bundle:
    """The bundle of entries and files by name, all of them written before the first one takes its place."""
    _check_free(folder)
    before = _files_of(folder)
    model = yaml.safe_dump({"format": FORMAT, "settings": settings, "parts": parts}, sort_keys=False)
    with only_writer(folder), _with_room(folder), ExitStack() as files:
        # Renamed in reverse: model.yaml, which says what the others are to be, comes last.
        files.enter_context(replacing(folder / MODEL_FILE)).write_bytes(model.encode())
        for file, content in contents.items():
            files.enter_context(replacing(folder / file)).write_bytes(content)
    for file in before - contents.keys():
        (folder / file).unlink(missing_ok=True)
    return Bundle(folder)


def _files_of(folder: Path) -> set[str]:
    """Names of the files of the bundle that is there so far, if any is."""
    try:
        parts = Bundle(folder).parts.values()
        return {entry[key] for entry in parts for key in ("file", word_list.KEY) if key in entry}
    except (OSError, ValueError):
        return set()


def _check_free(folder: Path) -> None:
    """Raise ValueError where a bundle would stand among other things.

    What a stopped writer may have left there, weights, words and hidden files, does not count.
    """
    if not folder.is_dir() or (folder / MODEL_FILE).is_file():
        return
    other = [
        file.name
        for file in folder.iterdir()
        if not file.name.endswith((WEIGHTS, word_list.ENDING)) and not file.name.startswith(".")
    ]
    if other:
        raise ValueError(
            f"expected an empty folder or a bundle to write to, {folder} is none and holds {min(other)}: "
            "name another"
        )


@contextmanager
def _with_room(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(f"expected room for the bundle, {folder} cannot be written: {error}") from None


def _is_stage(entry: dict[str, Any]) -> bool:
    return str(entry["class_path"]).startswith("musiclm.stages.")
