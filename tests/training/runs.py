"""Tiny runs of `musiclm fit`, in this process."""

from pathlib import Path

import pytest

from musiclm.cli import main

ROOT = Path(__file__).parents[2]


def words(name: str, data: str, root: Path, *more: str) -> list[str]:
    """Arguments of `fit` or `validate` at the size of the tests; `data` is such as tokens=FOLDER."""
    files = [f"--config={ROOT / 'configs' / size / f'{name}.yaml'}" for size in ("", "tiny")]
    return [*files, f"--data.init_args.{data}", f"--trainer.default_root_dir={root}", *more]


def refused(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """All that a command prints which ends with 2; it must be one line."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]
