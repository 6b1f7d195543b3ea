"""What an evaluation leaves: a json file with a version, which the model card and later runs read."""

import json
import math
from collections.abc import Mapping
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from musiclm.files import write_whole

FORMAT = 1  # a reader refuses a later one


def write_results(file: Path, command: str, content: Mapping[str, Any]) -> Path:
    """Write `content` to a json file, with its format, the command, the date and the version before it.

    What is not a number (NaN) was not measured, and is null.
    """
    made = {
        "format": FORMAT,
        "command": command,
        "date": date.today().isoformat(),
        "musiclm": version("musiclm"),
    }
    words = json.dumps(_measured({**made, **content}), indent=2, allow_nan=False)
    write_whole(file, (words + "\n").encode())
    return file


def _measured(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _measured(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_measured(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
