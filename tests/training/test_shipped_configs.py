"""The configurations are at hand wherever the package is installed."""

from pathlib import Path

import pytest

from musiclm.cli import main
from musiclm.training.shipped_configs import FOLDER, find, names, with_shipped

ROOT = Path(__file__).parents[2]


def test_the_link_at_the_top_shows_them() -> None:
    assert (ROOT / "configs").is_symlink()
    assert (ROOT / "configs").resolve() == FOLDER.resolve()


def test_the_list_has_a_line_for_each_that_says_what_it_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    main(["config", "list"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == names()
    assert {"semantic.yaml", "tiny/semantic.yaml", "paper/semantic.yaml", "generation.yaml"} <= set(names())
    assert all(len(line.split()) > 4 and "#" not in line for line in lines)


@pytest.mark.parametrize("name", ["semantic.yaml", "tiny/semantic.yaml"])
def test_a_copy_is_the_file_and_replaces_none(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["config", "copy", name])
    assert capsys.readouterr().out == f"{name}\n"
    assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes()
    with pytest.raises(SystemExit) as stop:
        main(["config", "copy", name])
    assert stop.value.code == 2
    assert "expected no file at" in capsys.readouterr().err
    main(["config", "copy", name, "--out", "mine"])
    assert (tmp_path / "mine" / name).is_file()


@pytest.mark.parametrize("name", ["semantics.yaml", "../settings.py", "/etc/passwd", ""])
def test_only_a_shipped_one_is_copied(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["config", "copy", name])
    assert "expected the name of a shipped configuration" in capsys.readouterr().err


def test_training_finds_a_shipped_one_where_the_folder_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "coarse.yaml").touch()
    given = ["fit", "--config", "semantic.yaml", "--config=configs/tiny/semantic.yaml", "-c", "coarse.yaml"]
    first, second = find("semantic.yaml"), find("tiny/semantic.yaml")
    assert with_shipped(given) == ["fit", "--config", str(first), f"--config={second}", "-c", "coarse.yaml"]
    others = ["fit", "--config", "no-such.yaml", "--data.init_args.tokens", "semantic.yaml"]
    assert with_shipped(others) == others


def test_a_configuration_is_printed_whole_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", "fine.yaml", "--data.init_args.tokens", "tokens", "--print_config"])
    assert not stop.value.code
    assert "musiclm.stages.fine.Fine" in capsys.readouterr().out
