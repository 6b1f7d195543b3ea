"""Writing bundles: nothing is written before all of it is found right, and then all of it or none."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from musiclm.bundle import word_list
from musiclm.bundle.build import check, find_pipeline
from musiclm.bundle.component import DECODERS, WEIGHTS, Component, check_name, fingerprint_of
from musiclm.bundle.format_1 import PIPELINE
from musiclm.bundle.reading import FORMAT, MODEL_FILE, Bundle
from musiclm.bundle.storage import Storage, pack_weights
from musiclm.files import only_writer, replacing
from musiclm.tokenizers.protocols import KnowsWords

PLANNER = "musiclm.score.planner.Planner"
CODEC_LATENTS = "musiclm.tokenizers.codec_latents.CodecLatents"  # what a denoiser makes for a codec
ADAPTER = "musiclm.stages.adapters.StageAdapter"  # lies beside the stages, and makes no music by itself
Settings = Mapping[str, Mapping[str, Any]]  # of generation, by role and name


def save_component(
    folder: str | Path,
    role: str,
    module: nn.Module,
    *,
    class_path: str,
    init_args: dict[str, Any],
    storage: Storage,
    trained_on: dict[str, str] | None = None,
    formerly: tuple[str, ...] = (),
) -> Bundle:
    """Write a bundle of one component.

    Args:
        folder: of the bundle.
        role: of the component.
        module: what was trained.
        class_path, init_args: the spec that builds it.
        storage: precision that its matrices are kept in.
        trained_on: fingerprints by role of the components whose output it has learned from.
        formerly: fingerprints of components that it stands for: what has learned from them may go on with it.

    Raises:
        OSError, ValueError: the folder cannot be written, or holds other things.
    """
    from safetensors.torch import save

    check_name(role, "a bundle")
    content = save(pack_weights(module, storage))
    component = Component(
        class_path=class_path,
        init_args=init_args,
        file=role + WEIGHTS,
        fingerprint=fingerprint_of(role, init_args, content),
        trained_on=trained_on or {},
        formerly=formerly,
    )
    contents = {component.file: content}
    if isinstance(module, KnowsWords) and module.words:
        component = replace(component, words=role + word_list.ENDING)
        contents[role + word_list.ENDING] = word_list.list_of(module.words)
    return _write(Path(folder), {role: component}, contents, None)


def merge(
    sources: Iterable[Bundle],
    folder: str | Path,
    settings: Settings | None = None,
    *,
    only: Sequence[str] = (),
    stages: bool = True,
    beside: Collection[str] = (),
) -> Bundle:
    """Write the components of several bundles as one; of a role, the last one stays.

    A source with a coarse or a fine stage and no denoiser removes an earlier denoiser, which would make the
    sound in their place.

    Args:
        sources: the bundles.
        folder: of the new one.
        settings: of generation, by role; without any, each component keeps its own, or what that of the same
            role before it had.
        only: roles of the components to take; all without them.
        stages: False leaves the stages out, the denoiser with its latents, and the planner, whose plans they
            follow.
        beside: names of what may lie in the folder already.

    Raises:
        OSError: the folder cannot be written.
        ValueError: a stage has learned the tokens of other tokenizers than the bundle would hold, a component
            or its settings cannot be used, or the folder holds other things.
    """
    chosen: dict[str, Bundle] = {}
    used: dict[str, dict[str, Any]] = {role: dict(values) for role, values in (settings or {}).items()}
    pipeline = None
    for source in sources:
        roles = [
            role
            for role in source.components
            if (stages or not _draws(source.component(role))) and (not only or role in only)
        ]
        if not DECODERS["tokens"].isdisjoint(roles) and "denoiser" not in roles:
            # It is to be heard: a denoiser from before would make the sound in its place.
            chosen.pop("denoiser", None)
            if "autoencoder" in chosen and _draws(chosen["autoencoder"].component("autoencoder")):
                del chosen["autoencoder"]
        chosen.update(dict.fromkeys(roles, source))
        if settings is None:
            used.update({role: source.settings(role) for role in roles if source.settings(role)})
        pipeline = source.pipeline or pipeline
    if missing := sorted(set(only) - chosen.keys()):
        raise ValueError(f"expected bundles with the component {missing[0]}, none has it")
    # Settings may be for both ways to sound, of a bundle that has one of them.
    both = frozenset[str]().union(*DECODERS.values())
    used = {role: values for role, values in used.items() if role in chosen or role not in both}
    if unused := sorted(used.keys() - chosen.keys()) if settings else []:
        raise ValueError(
            f"expected settings of components that are packed, got some of {unused[0]}: the bundle "
            f"would hold {', '.join(sorted(chosen))}"
        )
    components = {
        role: replace(
            source.component(role),
            file=role + WEIGHTS,
            settings=used.get(role, {}),
            words=None,
            trained_on=_learned(role, source, chosen),
        )
        for role, source in chosen.items()
    }
    for role, source in chosen.items():
        check(components[role].class_path, components[role].init_args, source.place(role))
    contents = {components[role].file: source.content(role) for role, source in chosen.items()}
    for role, source in chosen.items():
        if words := word_list.read_list(source.path, source.component(role).words):
            components[role] = replace(components[role], words=role + word_list.ENDING)
            contents[role + word_list.ENDING] = word_list.list_of(words)
    if "denoiser" in components and "autoencoder" not in components and len(components) > 1:
        raise ValueError(
            "expected the autoencoder whose latents the denoiser makes, there is none: pack it as well, as "
            "runs/latents/part"
        )
    makes_music = any(map(_is_stage, components.values()))
    pipeline = (pipeline or PIPELINE) if makes_music else None
    if pipeline is not None:
        find_pipeline(pipeline, "pipeline").read_settings(components, "the settings")
    return _write(Path(folder), components, contents, pipeline, beside)


def _learned(role: str, source: Bundle, chosen: Mapping[str, Bundle]) -> dict[str, str]:
    """What a component has learned from, by today's fingerprints.

    Raises:
        ValueError: the bundle would hold others.
    """
    learned = {}
    for other, fingerprint in source.component(role).trained_on.items():
        held = chosen[other].component(other) if other in chosen else None
        if held is not None and not held.is_known_as(fingerprint):
            raise ValueError(
                f"{role} was trained on tokens of {other} {fingerprint}, the bundle would hold "
                f"{held.fingerprint}: pack the tokenizers that made its tokens, or tokenizers alone "
                "(--stages false)"
            )
        learned[other] = fingerprint if held is None else held.fingerprint
    return learned


def _write(
    folder: Path,
    components: Mapping[str, Component],
    contents: Mapping[str, bytes],
    pipeline: dict[str, Any] | None,
    beside: Collection[str] = (),
) -> Bundle:
    """The bundle of components and files by name, all written before the first one takes its place."""
    _check_free(folder, beside)
    before = _files_of(folder)
    entries = {role: component.entry() for role, component in components.items()}
    content = {"format": FORMAT} | ({"pipeline": pipeline} if pipeline else {}) | {"components": entries}
    model = yaml.safe_dump(content, sort_keys=False)
    with only_writer(folder), _with_room(folder), ExitStack() as files:
        # Renamed in reverse: model.yaml, which says what the others are to be, comes last.
        files.enter_context(replacing(folder / MODEL_FILE)).write_bytes(model.encode())
        for file, weights in contents.items():
            files.enter_context(replacing(folder / file)).write_bytes(weights)
    for file in before - contents.keys():
        (folder / file).unlink(missing_ok=True)
    return Bundle(folder)


def _files_of(folder: Path) -> set[str]:
    """Names of the files of the bundle that is there so far, if any is."""
    try:
        components = Bundle(folder).components.values()
        return {file for each in components for file in (each.file, each.words) if file}
    except (OSError, ValueError):
        return set()


def _check_free(folder: Path, beside: Collection[str]) -> None:
    """Raise ValueError where a bundle would stand among other things than those `beside`.

    What a stopped writer may have left there, weights, words and hidden files, does not count.
    """
    if not folder.is_dir() or (folder / MODEL_FILE).is_file():
        return
    other = [
        file.name
        for file in folder.iterdir()
        if not file.name.endswith((WEIGHTS, word_list.ENDING))
        and not file.name.startswith(".")
        and file.name not in beside
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


def _is_stage(component: Component) -> bool:
    return component.class_path.startswith("musiclm.stages.") and component.class_path != ADAPTER


def _draws(component: Component) -> bool:
    """Whether it draws music or its plan, and so makes no token of a recording."""
    drawing = ("musiclm.stages.", "musiclm.diffusion.")
    return component.class_path.startswith(drawing) or component.class_path in (PLANNER, CODEC_LATENTS)
