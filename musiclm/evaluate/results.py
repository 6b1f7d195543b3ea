"""What an evaluation leaves: a json file with a version, which the model card and later runs read."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from musiclm.files import write_whole

FORMAT = 1  # a reader refuses a later one


@dataclass(frozen=True)
class Table:
    """The figures as people read them, for the model card: cells of text, and notes below."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def write_results(file: Path, command: str, content: Mapping[str, Any], table: Table) -> Path:
    """Write `content` to a json file, after its format, the command, the date, the version and the table.

    What is not a number (NaN) was not measured, and is null.
    """
    made = {
        "format": FORMAT,
        "command": command,
        "date": date.today().isoformat(),
        "musiclm": version("musiclm"),
        "table": asdict(table),
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
