"""A trained model on disk: a folder with `model.yaml` and one safetensors file per component. Never pickle.

`model.yaml` names each component by its role (`codec`, `semantic_stage`, ...), with the class_path and
init_args that the training configs have, so that the same spec builds it for training and for generation, and
with its settings for generation; `pipeline` names the model that the components make. A single trained
component is a bundle of one.

A bundle may come from a stranger. Nothing in it is run: weights are safetensors, `model.yaml` is read as
plain data (`plain.py`), and only classes of this project can be named in it (`build.py`). What earlier
formats and versions called otherwise stands in `aliases.py`.
"""

import warnings
from typing import Any

from musiclm.bundle import aliases
from musiclm.bundle.build import build
from musiclm.bundle.commands import info, pack
from musiclm.bundle.reading import SHIPPED, Bundle, load_component, only_role
from musiclm.bundle.storage import Storage
from musiclm.bundle.writing import merge, save_component

__all__ = [
    "SHIPPED",
    "Bundle",
    "Storage",
    "build",
    "info",
    "load_component",
    "merge",
    "only_role",
    "pack",
    "save_component",
]


def __getattr__(name: str) -> Any:
    # Names of version 0.1; they go with version 0.2.
    if name not in aliases.FUNCTIONS:
        raise AttributeError(f"module 'musiclm.bundle' has no attribute {name!r}")
    new = aliases.FUNCTIONS[name]
    warnings.warn(f"musiclm.bundle.{name} is called {new} now", DeprecationWarning, stacklevel=2)
    return globals()[new]
