"""Files that are whole: what is killed while it writes leaves nothing, or what was there before."""

import os
from pathlib import Path


def write_whole(file: Path, content: bytes) -> None:
    """Write under a temporary name beside `file`, then rename: a file that exists is whole."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
