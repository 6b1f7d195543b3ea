"""No public entry needs a library of the system beyond Python's own, libc, libstdc++ and libgomp."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from musiclm.bundle import Bundle
from musiclm.cli.command import COMMANDS
from tests.system_libraries import HERE

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow
# glibc's parts, what compilers link every program to, and the drivers of a GPU where there is one
LIBC = "ld-linux|libc|libm|libdl|libpthread|librt|libutil|libresolv|libmvec"
ALLOWED = re.compile(rf"({LIBC}|libgcc_s|libstdc\+\+|libgomp|libcuda|libnvidia)[.-].*")
# Not soundfile, nor what brings it (librosa): fairseq2 loads only where soundfile came before it, and whether
# an entry sees to that itself shows in a process without it alone.
SLOW_TO_IMPORT = (
    "lightning", "transformers", "scipy.signal", "jsonargparse", "sklearn.cluster", "pyarrow.parquet",
    "faiss", "sentencepiece", "torchaudio", "safetensors.torch", "tokenizers", "fsspec", "yaml", "tqdm",
)  # fmt: skip


def third_party() -> set[str]:
    """Packages of others that some file of the product imports, wherever in the file."""
    found = set()
    for file in (ROOT / "musiclm").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found |= {name.split(".")[0] for name in names}
    # muq is optional, and left out by setup; fairseq2 has a rule of its own (test_structure.py).
    return found - sys.stdlib_module_names - {"musiclm", "fairseq2", "muq", ""}


def entries() -> list[tuple[str, str]]:
    """A statement for each package, then for each public entry.

    Entries are the modules of commands and of classes that YAMLs name, a bundle's parts, worker processes. A
    fork takes a quarter of a second: what is named in one file, a configuration or a bundle, shares one.
    """
    # The slowest comes first among those below, and so needs no fork of its own to be seen alone.
    jobs = [(name, f"import {name}") for name in sorted(third_party() - {SLOW_TO_IMPORT[0]})]
    # What they load is seen in their own lines and in every line that follows.
    jobs += [(f"{HERE}{name}", f"import {name}") for name in SLOW_TO_IMPORT]
    jobs += [("what fairseq2 needs", "import sys; assert not {'soundfile', 'fairseq2'} & set(sys.modules)")]
    commands = {function.split(":")[0] for function, _ in COMMANDS.values()}
    jobs += [(name, f"import {name}") for name in sorted(commands)]
    classes = set[str]()
    for file in (ROOT / "configs").rglob("*.yaml"):
        classes |= set(re.findall(r"class_path: (musiclm[\w.]+)\.\w+", file.read_text(encoding="utf-8")))
    jobs += [("all classes that YAMLs name", f"import {', '.join(sorted(classes))}")]
    bundle = Bundle.find("default")
    load = "from musiclm.bundle import Bundle; bundle = Bundle.find('default')"
    jobs += [("all parts", f"{load}; [bundle.load(role) for role in bundle.components]")]
    start = "from musiclm.data.tokenize import _tokenizers; from pathlib import Path; _tokenizers"
    return [*jobs, ("tokenize's worker", f"{start}(Path({str(bundle.path)!r}), 'cpu')")]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system does not tell what is loaded")
def test_no_entry_needs_a_library_of_the_system() -> None:
    lines = "".join(f"{name}\t{statement}\n" for name, statement in entries())
    script = [sys.executable, str(ROOT / "tests" / "system_libraries.py")]
    done = subprocess.run(script, cwd=ROOT, input=lines, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    pythons_own = set(answers.pop("python"))
    assert list(answers) == [name for name, _ in entries()]
    for name, libraries in answers.items():
        assert isinstance(libraries, list), f"{name}: {libraries}"
        more = [library for library in set(libraries) - pythons_own if not ALLOWED.fullmatch(library)]
        assert not more, f"{name} loads {more}"
