"""Which of the system's shared libraries an import loads; run as a script, it tries each line in a fork.

A line is `NAME<tab>STATEMENT`. The answer is one JSON object: NAME to the libraries that the statement loaded
from outside the environment, or to its error. The parent has imported torch, and what lines named `here ...`
say, which answer for themselves: where they are harmless, a fork is as good as an interpreter, and quicker.
"""

import contextlib
import gc
import io
import json
import os
import sys
import sysconfig
import traceback
import warnings
from pathlib import Path

HERE = "here "
ROOT = Path(__file__).parent.parent
OWN = tuple(
    str(Path(sysconfig.get_path(name)).resolve()) for name in ("purelib", "platlib", "stdlib", "platstdlib")
)


def loaded() -> set[str]:
    """Names of the mapped shared libraries that neither Python, its packages nor this project brought."""
    environment = (sys.prefix,) if sys.prefix != sys.base_prefix else ()  # wheels put libraries there, too
    names, own = set(), (*OWN, *site_packages(), *environment, str(ROOT))
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.split(maxsplit=5)[5] if line.count(" ") > 5 and "/" in line else ""
        if ".so" in path and not path.startswith(own):
            names.add(Path(path).name)
    return names


def site_packages() -> tuple[str, ...]:
    return tuple(str(Path(path).resolve()) for path in sys.path if path.endswith("-packages"))


def answer(statement: str) -> list[str] | str:
    """What a statement loads, found in a child process."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                warnings.simplefilter("ignore")
                exec(statement, {})  # written by the test
            result: list[str] | str = sorted(loaded())
        except BaseException:
            result = traceback.format_exc()
        with os.fdopen(write, "w") as pipe:
            json.dump(result, pipe)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        content = pipe.read()
    os.waitpid(child, 0)
    return json.loads(content) if content else "the process died"


STANDARD = f"""
import pathlib
for file in pathlib.Path({sysconfig.get_config_var("DESTSHARED")!r}).glob("*.so"):
    try:
        __import__(file.name.split(".")[0])
    except ImportError:
        pass
"""

if __name__ == "__main__":
    answers = {"python": answer(STANDARD)}
    import torch  # noqa: F401

    for line in sys.stdin:
        name, statement = line.rstrip("\n").split("\t")
        if name.startswith(HERE):
            exec(statement)
            gc.freeze()  # forks do not look through it, and so share its pages
            answers[name] = sorted(loaded())
        else:
            answers[name] = answer(statement)
    json.dump(answers, sys.stdout)
