"""How the tables of a user's recordings are read, where they do not say it themselves."""

import os
from dataclasses import dataclass
from pathlib import Path

from musiclm.files import shown, url_of


@dataclass(frozen=True)
class SourceOptions:
    """How tables of recordings are read, and which recordings are held out.

    Args:
        root: folder that the paths of tables begin in; by default the folder that was named, or the table's.
        path_column: of csv, tsv and jsonl tables: says the file; by default one of the usual names.
        caption_column: of these tables: says the captions; by default one of the usual names.
        split_by: a label, as artist or album, or folder: recordings that share it are all trained on, or all
            held out.
        validation: folder of the recordings to hold out; all others are trained on.
        anywhere: let tables and lists name files outside the folder that their paths begin in, and URLs.

    Raises:
        ValueError: the two ways to hold recordings out are both given.
    """

    root: Path | None = None
    path_column: str | None = None
    caption_column: str | None = None
    split_by: str | None = None
    validation: Path | None = None
    anywhere: bool = False

    def __post_init__(self) -> None:
        if self.split_by is not None and self.validation is not None:
            raise ValueError("expected source.split_by or source.validation, not both")

    def path_of(self, name: str, root: Path) -> Path:
        """The file that a table names, or its URL.

        Raises:
            ValueError: it lies outside the folder, and that is not allowed, or it is no file's name.
        """
        if "\0" in name or not Path(name).name:
            raise ValueError("no name of a file")
        if url_of(name) is not None:
            if not self.anywhere:
                raise ValueError("a URL: --source.anywhere true lets it be fetched")
            return Path(name)
        path = root / name
        if not self.anywhere and not is_inside(path, root):
            raise ValueError(
                f"outside {shown(root)}: --source.root another folder, or --source.anywhere true"
            )
        return path


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path leads into a folder, as it is written or by where its links lead."""
    return any(
        Path(where(path)).is_relative_to(where(folder)) for where in (os.path.abspath, os.path.realpath)
    )
