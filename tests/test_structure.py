"""The folders are the architecture: what design fixes and one careless file would break."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from musiclm.cli.command import COMMANDS

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", ["tokenizers", "stages"])
def test_the_links_show_the_layers_and_shadow_nothing(name: str) -> None:
    assert (ROOT / name).is_symlink()
    assert (ROOT / name).resolve() == ROOT / "musiclm" / name
    assert not (ROOT / "musiclm" / name / "__init__.py").exists()


def test_transformers_imports_from_the_root_of_the_repository() -> None:
    code = "import tokenizers; assert hasattr(tokenizers, 'Tokenizer'), tokenizers"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_lint_leaves_no_file_out() -> None:
    """An exclusion of the links `tokenizers` and `stages` once left out the folders they lead to."""
    command = [sys.executable, "-m", "ruff", "check", "--show-files"]
    shown = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    folders = ("musiclm", "tests", "benchmarks")
    assert set(shown) >= {str(file) for folder in folders for file in (ROOT / folder).rglob("*.py")}


def test_nothing_imports_upward() -> None:
    """The contracts of import-linter, in pyproject.toml; `make lint` checks them as well."""
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_the_architecture_page_names_files_that_exist() -> None:
    """Its one table has the paths, so that a module that moves is changed there and nowhere else."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    before, table = page.split("## Where things are")
    table, after = table.split("`tests/` mirrors", 1)
    named = re.findall(r"`(musiclm/[\w./]+)`", table)
    assert len(named) > 50
    assert not [name for name in named if not (ROOT / name).exists()]
    assert not re.findall(r"`musiclm/\w+(?:/\w+)*\.py`", before + after)


def test_one_file_imports_fairseq2_and_soundfile_before_it() -> None:
    """fairseq2 fails on a machine without the system's libsndfile, unless soundfile has brought its own."""
    statement = re.compile(r"^\s*(?:import|from) (\w+)", re.MULTILINE)
    importers = {}
    for file in [
        *(ROOT / "musiclm").rglob("*.py"),
        *ROOT.glob("tests/**/*.py"),
        *ROOT.glob("benchmarks/*.py"),
    ]:
        names = statement.findall(file.read_text(encoding="utf-8"))
        if "fairseq2" in names:
            importers[str(file.relative_to(ROOT))] = names
    product, reference = "musiclm/tokenizers/fairseq2_models.py", "tests/tokenizers/fairseq2_reference.py"
    assert set(importers) == {product, reference}
    assert importers[product].index("soundfile") < importers[product].index("fairseq2")
    assert importers[reference][0] == "musiclm"  # the product's file comes first


def test_generation_needs_neither_fairseq2_nor_faiss_nor_what_trains_or_compiles() -> None:
    """And what neither trains nor evaluates no Lightning, which takes longer to import than all the rest."""
    commands = {function.split(":")[0] for function, _ in COMMANDS.values()}
    others = {name for name in commands if name.split(".")[1] not in ("training", "tuning", "evaluate")}
    code = (
        "import sys, musiclm; musiclm.MusicLM.from_pretrained('default').generate('a waltz', seconds=0.1);"
        "bad = {'fairseq2', 'faiss', 'sklearn', 'lightning', 'torchaudio', 'librosa', 'torch._dynamo'};"
        "bad &= set(sys.modules);"
        "assert not bad, bad;"
        f"import {', '.join(sorted(others))};"
        "assert 'lightning' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


MAKERS = re.compile(
    r"empty|zeros|ones|full|eye|tensor|as_tensor|arange|linspace|logspace|rand\w*|normal|\w+_window|Generator"
)


def makers_without_device(source: str) -> list[str]:
    """Calls of torch that make a tensor or a generator and do not say where; `_like` and `new_` know it."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name = node.func.attr
        makes = ast.unparse(node.func.value) == "torch" and MAKERS.fullmatch(name)
        says_where = name.endswith("_like") or any(keyword.arg == "device" for keyword in node.keywords)
        if makes and not says_where:
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


@pytest.mark.parametrize("file", sorted((ROOT / "musiclm" / "generation").glob("*.py")), ids=lambda f: f.stem)
def test_generation_makes_nothing_without_saying_on_which_device(file: Path) -> None:
    assert makers_without_device(file.read_text(encoding="utf-8")) == []


def test_what_is_made_without_a_device_is_found() -> None:
    wrong = [
        "torch.zeros(2)",
        "torch.hann_window(8)",
        "torch.Generator().manual_seed(0)",
        "torch.randn(x.shape)",
    ]
    right = ["torch.zeros(2, device=d)", "torch.zeros_like(x)", "x.new_full((2,), 0)", "torch.cat([x])"]
    for line in wrong:
        assert makers_without_device(line)
    for line in right:
        assert not makers_without_device(line)
