"""Bundles, read lazily: a component is loaded when it is asked for."""

import json
import warnings
from pathlib import Path
from typing import Any

from musiclm.bundle import aliases, format_1, word_list
from musiclm.bundle.build import build, check, find_pipeline
from musiclm.bundle.component import WEIGHTS, Component, component_of, digest, fingerprint_of
from musiclm.bundle.hub import download
from musiclm.bundle.plain import read_yaml
from musiclm.bundle.storage import Undrawn, matches, training_state, unpack_weights
from musiclm.tokenizers.protocols import KnowsWords

MODEL_FILE = "model.yaml"
FORMAT = 2
SHIPPED = Path(__file__).parents[1] / "bundles"


class Bundle:
    """A folder of components, read lazily.

    Args:
        path: the folder.

    Attributes:
        components: by role, in the order of the file.
        pipeline: class_path and init_args of the model that they make; None where they make none.

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
        version = content.get("format") if isinstance(content, dict) else None
        if version == 1:
            self.components, self.pipeline = format_1.upgraded(content, self.path, str(self.file))
        elif version == FORMAT:
            self.components, self.pipeline = self._components_of(content), content.get("pipeline")
        else:
            raise ValueError(
                f"expected a bundle of format {FORMAT} or 1 in {self.file}; pack it again "
                "(`musiclm bundle pack`)"
            )

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

    def fingerprint(self, role: str | None = None) -> str:
        """What tells a trained component (or the whole bundle) from every other: 16 hex digits."""
        if role is not None:
            return self.component(role).fingerprint
        roles = sorted(self.components)
        fingerprints = {role: self.components[role].fingerprint for role in roles}
        settings = {role: self.components[role].settings for role in roles if self.components[role].settings}
        return digest(json.dumps([fingerprints, settings], sort_keys=True).encode())

    def current(self, role: str, fingerprint: str) -> str:
        """Today's fingerprint of a component that an earlier format knew by another one."""
        return format_1.current(self.components, role, fingerprint)

    def load(self, role: str) -> Any:
        """The component, built from its spec and filled with its weights: eval mode, frozen.

        Raises:
            FileNotFoundError: its file is missing.
            ValueError: the bundle has none of this role, its spec does not name a class of this project, or
                its file is truncated, altered or no weights.
        """
        from safetensors.torch import load

        role = self._present(role)
        component, content = self.component(role), self.content(role)
        file = self.path / component.file
        weights = unpack_weights(load(content))
        with Undrawn():
            module = build(component.class_path, component.init_args, self.place(role))
        if {key for key, _ in module.named_parameters()} - weights.keys():  # some that only training needs
            module = build(component.class_path, component.init_args, self.place(role))
        training_only = training_state(module)
        try:
            missing, unexpected = module.load_state_dict(weights, strict=False)
        except RuntimeError as error:  # sizes that differ
            raise ValueError(
                f"expected weights of {component.class_path} as this version builds it, {file} has others: "
                f"{str(error).splitlines()[-1].strip()}; get a bundle made for this version"
            ) from error
        missing = [key for key in missing if not matches(key, training_only)]
        if missing or unexpected:
            raise ValueError(
                f"{file} does not fit {component.class_path}: missing {missing}, unexpected {unexpected}"
            )
        if isinstance(module, KnowsWords):
            module.words = word_list.read_list(self.path, component.words)
        return module.eval().requires_grad_(False)

    def check(self) -> None:
        """Look whether all of it can be used; nothing is built.

        Raises:
            ValueError: a spec names no class of this project, or the pipeline does not know the settings.
        """
        for role, component in self.components.items():
            check(component.class_path, component.init_args, self.place(role))
        if self.pipeline is not None:
            find_pipeline(self.pipeline, f"{self.file}: pipeline").read_settings(
                self.components, str(self.file)
            )

    def content(self, role: str) -> bytes:
        """The file of a component, found whole and unaltered.

        Raises:
            FileNotFoundError, ValueError: it is missing, truncated, altered, or holds no weights.
        """
        from safetensors import SafetensorError, safe_open

        role = self._present(role)
        component = self.component(role)
        file = self.path / component.file
        if not file.is_file():
            raise FileNotFoundError(
                f"expected the weights of {role} at {file}, found nothing; get the bundle again"
            )
        content = file.read_bytes()
        if fingerprint_of(role, component.init_args, content) != component.fingerprint:
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

    def component(self, role: str) -> Component:
        """What model.yaml says of the component of a role."""
        return self.components[self._present(role)]

    def settings(self, role: str) -> dict[str, Any]:
        """How the component of a role is used in generation; empty where nothing is said or there is none."""
        return self.components[role].settings if role in self.components else {}

    def place(self, role: str) -> str:
        """Where the spec of a component is written, for messages."""
        return f"{self.file}: components.{role}"

    def _present(self, role: str) -> str:
        """A role that the bundle has: the one asked for, or what an old name of it stands for."""
        if role in self.components:
            return role
        new = aliases.role(role)
        if new not in self.components:
            raise ValueError(
                f"expected a bundle with the component {role}; {self.path} has {sorted(self.components)}"
            )
        warnings.warn(f"the role {role} is called {new} now", DeprecationWarning, stacklevel=3)
        return new

    def _components_of(self, content: dict[str, Any]) -> dict[str, Component]:
        if not isinstance(content.get("components"), dict):
            raise ValueError(f"expected components by role in {self.file}, it is truncated or altered")
        return {
            role: component_of(role, entry, str(self.file)) for role, entry in content["components"].items()
        }


def load_component(folder: str | Path, role: str | None = None) -> Any:
    """The only component of a bundle of one, or the one of a role of a larger bundle."""
    bundle = Bundle(folder)
    return bundle.load(only_role(bundle) if role is None else role)


def only_role(bundle: Bundle) -> str:
    """The role of the only component of a bundle of one.

    Raises:
        ValueError: it has several, or none.
    """
    if len(bundle.components) != 1:
        raise ValueError(
            f"expected a bundle of one component at {bundle.path}; it has {sorted(bundle.components)}: "
            "name one"
        )
    return next(iter(bundle.components))
