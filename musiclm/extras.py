"""Which packages come with which extra: who asks for what is not installed is told what to install."""

from importlib.util import find_spec

# Top-level module: the extra of pyproject.toml that brings it.
EXTRAS = {
    "encodec": "train",
    "fairseq2": "train",
    "faiss": "train",
    "fsspec": "train",
    "lightning": "train",
    "pyarrow": "train",
    "scipy": "train",
    "tensorboard": "train",
    "transformers": "train",
    "pretty_midi": "corpus",
    "librosa": "eval",
    "sklearn": "eval",
    "muq": "muq",
    "ray": "ray",
    "fastapi": "web",
    "pydantic": "web",
    "starlette": "web",
    "uvicorn": "web",
}


def check_package(module: str, extra: str | None = None) -> None:
    """Raise one line that says what to install where a package is absent; the extra is that of `EXTRAS`."""
    if find_spec(module) is None:
        raise ValueError(_line(module, extra or EXTRAS[module]))


def what_to_install(error: ModuleNotFoundError) -> str | None:
    """One line for a user who lacks an extra; None where the missing module is of none."""
    module = (error.name or "").split(".")[0]
    if module not in EXTRAS:
        return None
    return _line(module, EXTRAS[module])


def _line(module: str, extra: str) -> str:
    return f"expected the package {module}, it is not installed: pip install 'musiclm[{extra}]'"
