"""Lists of recordings: a playlist or a text with a path a line, and patterns (`music/**/*.flac`)."""

import glob
import os
from pathlib import Path

from musiclm.data.captions import decode_text
from musiclm.data.left_out import Report
from musiclm.data.sources.options import SourceOptions
from musiclm.files import shown, url_of

LISTS = {".m3u", ".m3u8", ".txt", ".lst"}


def places_of(argument: Path, options: SourceOptions, report: Report) -> list[Path]:
    """The files and folders that an argument stands for, itself where it is no list and no pattern.

    Raises:
        FileNotFoundError: a pattern fits nothing.
        ValueError: a list is no text.
    """
    if not os.path.lexists(argument) and glob.has_magic(str(argument)):
        if not (found := sorted(map(Path, glob.glob(str(argument), recursive=True)))):
            raise FileNotFoundError(f"expected audio files, found none by the pattern {shown(argument)}")
        return found
    if argument.suffix.lower() not in LISTS or not os.path.isfile(argument):
        return [argument]
    places = []
    for line in decode_text(argument.read_bytes()).splitlines():
        name = line.strip().lstrip("\ufeff")
        if not name or name.startswith("#"):  # comments, and an extended playlist's titles
            continue
        root = options.root or argument.parent
        try:
            path = options.path_of(name, root)
            if not os.path.lexists(path) and url_of(path) is None:
                raise ValueError(f"named in {shown(argument)}, but not there")
        except ValueError as error:
            report.leave_out(root / name, error)
        else:
            places.append(path)
    return places
