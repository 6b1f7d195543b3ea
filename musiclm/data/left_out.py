"""What a job leaves out: each file is named with its reason, and all are counted and kept in a table.

Every command that reads recordings has one `Report`. A file that cannot be used never ends the job: it goes
to the report, and the job goes on with the others. Only `strict` makes an error of it.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from tqdm import tqdm

from musiclm.files import printable, shown, write_whole

REPORT = "left_out.tsv"
NAMED = 20  # files named on the terminal; where there is a table, it holds the others


class OnDisk(Protocol):
    """What a report tells of: a recording is one."""

    @property
    def path(self) -> Path:
        """Its file."""
        ...


Item = TypeVar("Item", bound=OnDisk)
Value = TypeVar("Value")


@dataclass(frozen=True)
class LeftOut:
    """A file that a job does without, and why."""

    path: Path
    reason: str


class Report:
    """Collects what a job leaves out, and what it takes with a warning.

    Args:
        folder: gets the table `left_out.tsv` (path, reason); without one, all names are printed.
        strict: whether to raise an error if anything is left out, as soon as that is known.
        silent: prints and writes nothing, for all but one of several processes that do the same.
        what: is counted, where it is no recordings.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        strict: bool = False,
        silent: bool = False,
        what: str = "recording",
    ) -> None:
        self.what = what
        self.file = None if folder is None else Path(folder) / REPORT
        self.strict = strict
        self.silent = silent
        self.left_out: list[LeftOut] = []
        self.warnings: dict[LeftOut, None] = {}  # in the order in which they came
        self._named = 0

    def leave_out(self, path: Path, reason: str | BaseException) -> None:
        """Note a file that the job does without."""
        own = reason_of(reason).replace(f" {shown(path)} ", " it ")  # the name stands before it
        self.left_out.append(LeftOut(path, own))
        self._name(f"left out: {self._line(self.left_out[-1])}")

    def leave_out_once(self, path: Path, reason: str | BaseException) -> None:
        """The same for a file that may fail many times: it is counted once, and at once in the table."""
        if path not in {entry.path for entry in self.left_out}:
            self.leave_out(path, reason)
            self.write()

    def warn(self, path: Path, warning: str) -> None:
        """Note what is odd about a file that is used all the same."""
        entry = LeftOut(path, reason_of(warning))
        if entry not in self.warnings:
            self.warnings[entry] = None
            self._name(f"warning: {self._line(entry)}")

    def each(self, recordings: Iterable[Item], read: Callable[[Item], Value]) -> Iterator[tuple[Item, Value]]:
        """Each recording with what `read` makes of it; those that it cannot read are left out."""
        for recording in recordings:
            try:
                value = read(recording)
            except (ValueError, OSError) as error:
                self.leave_out(recording.path, error)
            else:
                yield recording, value

    def remaining(self, recordings: Iterable[Item]) -> list[Item]:
        """Those of the recordings that were not left out since they were found."""
        gone = {entry.path for entry in self.left_out}
        return [recording for recording in recordings if recording.path not in gone]

    def write(self) -> None:
        """Bring the table up to date; where there is nothing to say, there is none."""
        if self.file is None or self.silent:
            return
        if not (self.left_out or self.warnings):
            self.file.unlink(missing_ok=True)
            return
        rows = [
            *((shown(entry.path), entry.reason) for entry in self.left_out),
            *((shown(entry.path), f"taken, but {entry.reason}") for entry in self.warnings),
        ]
        self.file.parent.mkdir(parents=True, exist_ok=True)
        lines = ["path\treason", *("\t".join(row) for row in rows)]
        write_whole(self.file, ("\n".join(lines) + "\n").encode())

    def check(self, taken: int, places: str) -> None:
        """Write the table, and refuse to go on where nothing can be used, or not everything (strict).

        Args:
            taken: recordings that can be used.
            places: where they were looked for, as the user said it.

        Raises:
            ValueError: no recording can be used, or the report is strict and something is left out.
        """
        self.check_any(taken, places)
        self.check_strict()

    def check_any(self, taken: int, places: str) -> None:
        """The same, but what is left out is no error as long as something is taken."""
        if self.left_out:
            self.write()
        if taken == 0 and self.left_out:
            first = self.left_out[0]
            others = f" (and {len(self.left_out) - 1:,} more)" if len(self.left_out) > 1 else ""
            raise ValueError(
                f"expected {self.what}s in {places}, none can be used: "
                f"{self._line(first)}{others}{self._see()}"
            )

    def check_strict(self) -> None:
        """Raise ValueError if the report is strict and something is left out."""
        if self.strict and self.left_out:
            raise ValueError(
                f"expected every {self.what} to be usable (strict), {len(self.left_out):,} are left out"
                f"{self._see()}"
            )

    def close(self, taken: int) -> None:
        """Write the table, and say in one line how many recordings were taken and how many were not.

        Raises:
            ValueError: the report is strict and something is left out.
        """
        self.write()
        if (self.left_out or self.warnings) and not self.silent:
            counts = [counted(taken, self.what)]
            counts += [f"{len(self.left_out):,} left out"] if self.left_out else []
            counts += [counted(len(self.warnings), "warning")] if self.warnings else []
            print(f"{', '.join(counts)}{self._see()}", file=sys.stderr)
        self.check_strict()

    def _see(self) -> str:
        return "" if self.file is None else f": see {shown(self.file)}"

    def _line(self, entry: LeftOut) -> str:
        return f"{shown(entry.path)}: {entry.reason}"

    def _name(self, line: str) -> None:
        self._named += 1
        if self.silent or (self.file is not None and self._named > NAMED + 1):
            return
        if self.file is not None and self._named == NAMED + 1:
            line = f"... and more{self._see()}"
        tqdm.write(line, file=sys.stderr)  # above a progress bar, where there is one


def counted(number: int, what: str) -> str:
    """ "1 recording", "10,214 recordings"."""
    return f"{number:,} {what}{'s' if number != 1 else ''}"


def reason_of(error: str | BaseException) -> str:
    """Why something failed, on one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    words = printable(" ".join(str(error).split()))
    if isinstance(error, BaseException) and not (words and isinstance(error, ValueError | OSError)):
        return f"{type(error).__name__}: {words}".removesuffix(": ")
    return words
