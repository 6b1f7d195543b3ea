"""One side of `benchmarks.shared`: a process that does a work each time it is asked, and says its seconds.

It is run in the folder of any checkout of the project, also of one that lacks this file.
"""

import sys
import time
from collections.abc import Callable
from typing import TextIO

import torch

from benchmarks.sizes import SIZES
from musiclm.bundle import Bundle
from musiclm.generation.pipeline import MusicLM
from musiclm.stages.precision import prepare_to_decode
from musiclm.stages.semantic import Semantic

PROMPT = "a calm violin melody over soft piano chords"
SECONDS = 3.0  # of music
STEPS = {"default": 3000, "small": 300}  # half a second each on two cores


def serve(asked: TextIO = sys.stdin, answers: TextIO = sys.stdout) -> None:
    """Do the work that the command line names with so many threads, once for each line that is read."""
    name, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    work = music() if name == "music" else steps(name)
    for _ in asked:
        started = time.perf_counter()
        work()
        print(time.perf_counter() - started, file=answers, flush=True)


def music() -> Callable[[], object]:
    """Music from words."""
    model = MusicLM.from_pretrained("default")
    return lambda: model.generate(PROMPT, seconds=SECONDS, seed=0)


def steps(size: str) -> Callable[[], object]:
    """Steps of one row in int8, by the default model's semantic stage or by one of a size."""
    torch.manual_seed(0)
    stage = (
        Bundle.find("default").load("semantic_stage") if size == "default" else Semantic(SIZES[size]).eval()
    )
    transformer = prepare_to_decode(stage, "int8").transformer
    x = torch.randn(1, 1, transformer.config.width)
    cache = transformer.new_cache(1, 300)

    @torch.inference_mode()
    def work() -> None:
        for step in range(STEPS[size]):
            cache.length = step % 300
            transformer.decode_step(x, cache)

    return work
