"""What a user is told and is no error: a warning in Python, a line on standard error at the command line."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Notice(UserWarning):
    """Something about what was asked for that will be heard in the result."""


class RecordingNotice(Notice):
    """A recording to follow or to go on from was mended, or has a fault."""


class PromptNotice(Notice):
    """A prompt has hardly a word that the model knows, or is longer than it reads."""


@contextmanager
def plain_notices(command: str) -> Iterator[None]:
    """Print each `Notice` as one line, as mistakes are printed, and once; other warnings go their way."""
    with warnings.catch_warnings():
        warnings.simplefilter("default", Notice)
        others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **where: Any) -> None:
            if issubclass(category, Notice):
                print(f"{command}: {message}", file=sys.stderr, flush=True)
            else:
                others(message, category, *place, **where)

        warnings.showwarning = show
        yield
