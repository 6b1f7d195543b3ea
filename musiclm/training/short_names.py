"""Short names of the arguments of `fit` and `validate` that every run needs, beside Lightning's long ones."""

from collections.abc import Sequence
from pathlib import Path

SHORT = {
    "--tokens": "--data.init_args.tokens",
    "--audio": "--data.init_args.audio",
    "--melodies": "--data.init_args.melodies",
    "--out": "--trainer.default_root_dir",
}


def explanation() -> str:
    """What the short names mean, for the commands' help."""
    *data, out = SHORT
    names, longs = ", ".join(f"{name} DIR" for name in data), ", ".join(SHORT[name] for name in data)
    return (
        f"{names}: the store of tokens, the recordings, the melodies to learn from, the same as {longs}. "
        f"{out} DIR: the folder of the run, the same as {SHORT[out]}."
    )


def short(name: str) -> str:
    """The short name of an argument, or its own where it has none."""
    return next((each for each, long in SHORT.items() if long == name), name)


def with_long_names(arguments: Sequence[str]) -> list[str]:
    """A command line with the long names in place of the short ones.

    They come last, since a value of the data goes to the class that a configuration names before it.

    Raises:
        ValueError: a short name has no value, or another one than the long name beside it.
    """
    rest: list[str] = []
    values: dict[str, str] = {}
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if name not in SHORT:
            rest.append(word)
            continue
        values[name] = value if equals else next(words, "")
        if not values[name] or values[name].startswith("--"):
            raise ValueError(f"expected a folder after {name}, got {values[name] or 'nothing'}")
    for name, value in values.items():
        for other in _values_of(SHORT[name], rest)[-1:]:  # of several, the last one counts
            if Path(other) != Path(value):
                raise ValueError(f"expected one folder, got {name} {value} and {SHORT[name]} {other}")
    return [*rest, *(f"{SHORT[name]}={value}" for name, value in values.items())]


def _values_of(name: str, arguments: Sequence[str]) -> list[str]:
    """What a command line says of an argument, in order."""
    following = zip(arguments, [*arguments[1:], ""], strict=True)
    return [
        word.removeprefix(f"{name}=") if word != name else after
        for word, after in following
        if word == name or word.startswith(f"{name}=")
    ]
