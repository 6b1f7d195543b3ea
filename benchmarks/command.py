"""What the command lines of the benchmarks have in common."""

import argparse
from pathlib import Path

import torch

from benchmarks import peers
from musiclm.machine.cpus import limit_torch
from musiclm.machine.memory import keep_freed_memory


def begin(
    name: str, description: str, *, quick: str, beside_peers: bool = True, against: str | None = None
) -> tuple[argparse.Namespace, torch.device]:
    """The options given, and where to measure; threads and seed are set, and freed memory is kept.

    Args:
        name: the module's, after `python -m`.
        description: in one line.
        quick: what --quick leaves out.
        beside_peers: whether the peers must be installed.
        against: what --against FILE is for, where there is that option.
    """
    limit_torch()
    parser = argparse.ArgumentParser(description=description, prog=f"python -m {name}")
    parser.add_argument("--quick", action="store_true", help=f"{quick}: within four minutes")
    parser.add_argument(
        "--check", action="store_true", help="compare with the bars; exit 1 where one falls short"
    )
    parser.add_argument(
        "--return-memory",
        action="store_true",
        help="in this process, give freed memory back, which `musiclm` does not",
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    if against is not None:
        parser.add_argument("--against", type=Path, metavar="FILE", help=against)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if not options.return_memory:
        keep_freed_memory()
    if beside_peers:
        peers.check_installed()
    return options, torch.device("cuda" if torch.cuda.is_available() else "cpu")
