"""Objects from plain data: modules from the specs of a bundle, settings from the lines of a YAML file.

A spec is `class_path` and `init_args`, as jsonargparse has it in training configurations. But a bundle may
come from a stranger, and jsonargparse imports whatever a file names before it looks at what it has imported.
So specs are resolved here, without it:

1. A class is looked up only where components are kept (`FOLDERS`), in a file that exists, and only classes
   count that this very file defines. Nothing else is imported, and no function is ever called by its name.
2. The type hints of the class's constructor say what each value may be. Numbers, words and lists are copied,
   never interpreted: nothing is a path to read, an expression or a name to import.
3. All of that is checked before the first constructor runs.
"""

import dataclasses
import importlib
import inspect
import math
import re
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from torch import nn

from musiclm.bundle import aliases

PACKAGE = Path(__file__).parents[1]
# Of the package: where the classes of components are.
FOLDERS = ("tokenizers", "stages", "score", "diffusion")
CLASS_PATH = re.compile(rf"musiclm\.({'|'.join(FOLDERS)})\.([a-z]\w*)\.([A-Za-z]\w*)", re.ASCII)
PIPELINE_PATH = re.compile(r"musiclm\.generation\.([a-z]\w*)\.([A-Za-z]\w*)", re.ASCII)
EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", re.ASCII)  # YAML 1.1 takes 1e-3 for a word

SCALARS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "a word",
    type(None): "null",
}

Kind = TypeVar("Kind")


@dataclasses.dataclass(frozen=True)
class Blueprint:
    """A class of this project and checked values for its constructor; they may hold further blueprints."""

    cls: type
    values: dict[str, Any]
    place: str  # where it is written, for messages

    def build(self) -> Any:
        """The object.

        Raises:
            ValueError: the constructor refuses the values.
        """
        values = {name: _built(value) for name, value in self.values.items()}
        try:
            return self.cls(**values)
        except ValueError as error:
            raise ValueError(f"{' '.join(str(error).split())} (at {self.place})") from error
        except Exception as error:  # a stranger's values may break a constructor in any way
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise ValueError(f"cannot build {self.cls.__name__} from {self.place}: {reason}") from error


def build(class_path: str, init_args: dict[str, Any], place: str = "its spec") -> Any:
    """A module from its spec: `check`, then the constructors."""
    return check(class_path, init_args, place).build()


def check(class_path: str, init_args: dict[str, Any], place: str = "its spec") -> Blueprint:
    """What a spec names, found to be this project's and of the right types; nothing is built.

    Args:
        class_path, init_args: the spec.
        place: where the spec is written, for messages.

    Raises:
        ValueError: the spec names something else, or does not fit the constructor.
    """
    return _module(nn.Module, {"class_path": class_path, "init_args": init_args}, place)


def read(kind: type[Kind], values: Any, place: str) -> Kind:
    """An instance of a dataclass from a mapping of its fields.

    Raises:
        ValueError: a name is none of its fields, or a value is of another type.
    """
    made: Kind = _arguments(kind, values, place).build()
    return made


def find_pipeline(spec: Any, place: str) -> Any:
    """The class of the model that a bundle's components make: one of this project with `from_bundle`.

    Raises:
        ValueError: the spec names something else.
    """
    class_path = aliases.class_path(spec.get("class_path")) if isinstance(spec, dict) else None
    found = PIPELINE_PATH.fullmatch(class_path) if isinstance(class_path, str) else None
    if found and (PACKAGE / "generation" / f"{found[1]}.py").is_file() and not spec.get("init_args"):
        module = importlib.import_module(f"musiclm.generation.{found[1]}")
        cls = vars(module).get(found[2])
        if isinstance(cls, type) and cls.__module__ == module.__name__ and hasattr(cls, "from_bundle"):
            return cls
    raise ValueError(
        f"expected class_path of a model of this project (musiclm.generation.…) at {place}, got "
        f"{_short(spec)}: nothing else is imported"
    )


def _module(base: type, spec: Any, place: str) -> Blueprint:
    """The blueprint of a spec whose class is a `base`."""
    if (
        not isinstance(spec, dict)
        or "class_path" not in spec
        or not spec.keys() <= {"class_path", "init_args"}
    ):
        raise ValueError(f"expected class_path and init_args of a class at {place}, got {_short(spec)}")
    cls = _class_of(spec["class_path"], f"{place}.class_path")
    if not issubclass(cls, base):
        raise ValueError(f"expected a module of class {base.__name__} at {place}, got {cls.__name__}")
    return _arguments(cls, spec.get("init_args") or {}, f"{place}.init_args")


def _class_of(class_path: Any, place: str) -> type:
    """The class of a name, looked up in the files of this project alone."""
    class_path = aliases.class_path(class_path)
    found = CLASS_PATH.fullmatch(class_path) if isinstance(class_path, str) else None
    if found and (PACKAGE / found[1] / f"{found[2]}.py").is_file():
        module = importlib.import_module(f"musiclm.{found[1]}.{found[2]}")
        cls = vars(module).get(found[3])
        # Of this file, and not only imported there: `musiclm.tokenizers.encodec` knows encodec's own classes.
        if isinstance(cls, type) and issubclass(cls, nn.Module) and cls.__module__ == module.__name__:
            return cls
    folders = ", ".join(f"musiclm.{each}.…" for each in FOLDERS)
    raise ValueError(
        f"expected a class of this project ({folders}) at {place}, "
        f"got {_short(class_path)}: nothing else is imported"
    )


def _arguments(cls: type, values: Any, place: str) -> Blueprint:
    """The blueprint of a class whose constructor takes `values` by name."""
    if not isinstance(values, dict):
        raise ValueError(f"expected the values of {cls.__name__} by name at {place}, got {_short(values)}")
    parameters = {
        name: each
        for name, each in inspect.signature(cls, eval_str=True).parameters.items()
        if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    }
    if "streams" in parameters:
        values = aliases.stage_values(values)
    if unknown := [name for name in values if name not in parameters]:
        raise ValueError(
            f"{cls.__name__} has no {_short(unknown[0])}, got at {place}: it has {', '.join(parameters)}"
        )
    missing = [name for name, each in parameters.items() if each.default is each.empty and name not in values]
    if missing:
        raise ValueError(f"expected {missing[0]} of {cls.__name__} at {place}, it is missing")
    checked = {
        name: _value(parameters[name].annotation, value, f"{place}.{name}") for name, value in values.items()
    }
    return Blueprint(cls, checked, place)


def _value(kind: Any, value: Any, place: str) -> Any:
    """A value, found to be of a type hint; lists become tuples where the hint says so."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _any_of(inner, value, place)
    if origin is Literal:
        if not any(type(value) is type(word) and value == word for word in inner):
            raise ValueError(f"expected one of {', '.join(map(str, inner))} at {place}, got {_short(value)}")
        return value
    if origin in (tuple, list, Sequence):
        if not isinstance(value, list | tuple):
            raise ValueError(f"expected a list at {place}, got {_short(value)}")
        items = [_value(inner[0], each, f"{place}[{index}]") for index, each in enumerate(value)]
        return tuple(items) if origin is tuple else items
    if origin is dict:
        if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
            raise ValueError(f"expected values by name at {place}, got {_short(value)}")
        if inner[1] is Any:
            return value
        return {name: _value(inner[1], each, f"{place}.{name}") for name, each in value.items()}
    if isinstance(kind, type) and issubclass(kind, nn.Module):
        return _module(kind, value, place)
    if dataclasses.is_dataclass(kind):
        return _arguments(kind, value, place)  # type: ignore[arg-type]
    return _scalar(kind, value, place)


def _any_of(kinds: Sequence[Any], value: Any, place: str) -> Any:
    """A value of the first type that takes it."""
    reasons = []
    for kind in kinds:
        try:
            return _value(kind, value, place)
        except ValueError as error:
            reasons.append(str(error))
    raise ValueError("; or ".join(dict.fromkeys(reasons)))


def _scalar(kind: Any, value: Any, place: str) -> Any:
    if kind not in SCALARS:
        raise ValueError(f"expected nothing at {place}: a {kind} cannot be written in a file")
    if kind is float and isinstance(value, str) and EXPONENT.fullmatch(value):
        value = float(value)
    if kind is float and type(value) is int and abs(value) < 2**53:
        value = float(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise ValueError(f"expected {SCALARS[kind]} at {place}, got {_short(value)}")
    return value


def _built(value: Any) -> Any:
    if isinstance(value, Blueprint):
        return value.build()
    if isinstance(value, tuple | list):
        return type(value)(map(_built, value))
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
