"""The recordings of a folder that an evaluation is about, and the account of those that it does without."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musiclm.audio import inspect
from musiclm.data.left_out import Report
from musiclm.data.sources import Recording, find_recordings
from musiclm.files import shown


@dataclass(frozen=True)
class Found:
    """Recordings at some paths, and the report of those that cannot be used."""

    paths: list[Path]
    recordings: list[Recording]
    report: Report

    @classmethod
    def at(cls, paths: list[Path], *, strict: bool = False, table: Path | None = None) -> "Found":
        """What is there.

        Args:
            paths: files, or folders of them.
            strict: whether one file that cannot be used is an error.
            table: a folder for left_out.tsv.

        Raises:
            FileNotFoundError: there is nothing.
        """
        report = Report(table, strict=strict)
        return cls(paths, find_recordings(paths, report), report)

    @property
    def name(self) -> str:
        """The paths as the user said them."""
        return ", ".join(map(shown, self.paths))

    def close(self, taken: Sequence[Recording]) -> None:
        """Say what was left out.

        Raises:
            ValueError: nothing was taken, or not everything and `strict` was set.
        """
        self.report.check_any(len(taken), self.name)
        self.report.close(len(taken))

    def account(self, taken: Sequence[Recording]) -> dict[str, Any]:
        """What a results file says of the folder."""
        rates = Counter(inspect(recording.path).sample_rate for recording in taken)
        return {
            "path": self.name,
            "recordings": len(taken),
            "sample_rates": {str(rate): count for rate, count in sorted(rates.items())},  # Hz: recordings
            "left_out": [
                {"path": shown(entry.path), "reason": entry.reason} for entry in self.report.left_out
            ],
        }
