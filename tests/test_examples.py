"""The notebooks run from top to bottom, and are kept as they were written: without outputs."""

import json
import re
from pathlib import Path

import pytest

from tests.tiny_model import make_bundle

NOTEBOOKS = sorted((Path(__file__).parents[1] / "examples").glob("*.ipynb"))


def cells(notebook: Path) -> list[dict]:
    return json.loads(notebook.read_text(encoding="utf-8"))["cells"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_nothing_of_a_machine_is_kept(notebook: Path) -> None:
    for cell in cells(notebook):
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        assert not re.search(r"/(home|root|tmp|Users|work)/", "".join(cell["source"]))


def test_the_forms_run_on_a_tiny_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    import matplotlib.pyplot as plt

    shown: list[str] = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.gcf().axes[0].get_title()) or plt.close("all"))
    (notebook,) = [path for path in NOTEBOOKS if path.name == "forms.ipynb"]
    code = "\n".join("".join(cell["source"]) for cell in cells(notebook) if cell["cell_type"] == "code")
    code = code.replace('"default"', repr(str(make_bundle(tmp_path, melody=True)))).replace(
        "SECONDS = 10", "SECONDS = 2"
    )
    exec(compile(code, str(notebook), "exec"), {"__name__": "__main__"})
    assert {"long", "story", "take 1", "take 2", "continuation", "the melody", "music along it"} <= set(shown)
    assert "s of sound" in capsys.readouterr().out
