"""The forms of generation on the default model: what they cost, and whether they do what they say.

    python -m benchmarks.forms --quick           without ten minutes of music
    python -m benchmarks.forms --check           every bar with its figure; exits 1 where one falls short

One JSON line per case. Times are the best of a few runs, of a model that is loaded; memory is the most that a
process of its own has had.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.command import begin
from benchmarks.hardware import describe
from benchmarks.report import Bar, judge, say
from musiclm.audio import Audio
from musiclm.evaluate.seams import borders_of, seams
from musiclm.pipeline import MusicLM
from musiclm.request import Request
from musiclm.sound import JOINT_SECONDS

PROMPT = "a calm violin melody over soft piano chords"
STORY = [
    (0.0, "fast techno with drums"),
    (15.0, "a calm violin melody over soft piano chords"),
    (30.0, "a rock song with electric guitar and drums"),
    (45.0, "a slow church organ piece"),
]
SETTLING = 2.0  # seconds of a part that the music needs to change
MEASURE_MEMORY = """
import resource, sys
from pathlib import Path
import torch
from musiclm.commands import generate
torch.set_num_threads(int(sys.argv[3]))
generate(sys.argv[4], seconds=float(sys.argv[1]), out=Path(sys.argv[2]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def main() -> None:
    options, device = begin(
        "benchmarks.forms", __doc__.splitlines()[0], quick="no ten minutes of music", beside_peers=False
    )
    say({"machine": describe(device), "threads": torch.get_num_threads()})
    model = MusicLM.from_pretrained("default")
    figures: dict[str, Any] = {}
    for case in measure(model, quick=options.quick):
        figures.update(say(case))
    if options.check:
        print()
        judge(bars(figures))


def measure(model: MusicLM, *, quick: bool = False) -> Iterator[dict[str, Any]]:
    """Every form."""
    yield latency(model)
    yield real_time(model)
    yield audible_seams(model)
    yield story_parts(model)
    yield continued(model)
    yield memory(60.0)
    if not quick:
        yield memory(600.0)


def latency(model: MusicLM, runs: int = 3) -> dict[str, Any]:
    """Seconds until the first audio of a stream."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        next(model.stream(PROMPT, seconds=60.0))
        times.append(time.perf_counter() - started)
    return {"first_audio_seconds": min(times)}


def real_time(model: MusicLM, short: float = 10.0, long: float = 60.0, runs: int = 2) -> dict[str, Any]:
    """Seconds of work for a second of music, of a short piece and of a long one."""

    def cost(seconds: float) -> float:
        started = time.perf_counter()
        model.generate(PROMPT, seconds=seconds)
        return (time.perf_counter() - started) / seconds

    pairs = [(cost(short), cost(long)) for _ in range(runs)]
    factors = [min(each) for each in zip(*pairs, strict=True)]
    return {
        "real_time_factor_short": factors[0],
        "real_time_factor_long": factors[1],
        "long_to_short": factors[1] / factors[0],
    }


def memory(seconds: float) -> dict[str, Any]:
    """MiB that the command needs for a piece."""
    with tempfile.TemporaryDirectory() as folder:
        words = [str(seconds), f"{folder}/out.wav", str(torch.get_num_threads()), PROMPT]
        command = [sys.executable, "-c", MEASURE_MEMORY, *words]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        made = Audio.load(Path(folder) / "out.wav").seconds
    assert made == seconds
    return {f"memory_of_{seconds:g}_s": float(printed.splitlines()[-1])}


def audible_seams(model: MusicLM, seconds: float = 60.0) -> dict[str, Any]:
    """Flux and level at the borders of a long piece beside those inside."""
    performance = model.perform(Request(PROMPT, seconds))
    borders = borders_of(performance.takes, model.settings.decoder_context)
    measured = seams(performance.listen()[0], borders)
    return {
        "borders": len(borders),
        **{f"{name}_excess": each.excess for name, each in measured.items()},
        **{f"{name}_rank": each.rank for name, each in measured.items()},
    }


@torch.inference_mode()
def story_parts(model: MusicLM, seconds: float = 60.0) -> dict[str, Any]:
    """MuLan's similarity of each part of a story to its own text, and to those of the others."""
    audio = model.story(STORY, seconds=seconds)
    texts = model.mulan.embed_text([text for _, text in STORY])
    ends = [start for start, _ in STORY[1:]] + [seconds]
    rows = []
    for (start, _), end in zip(STORY, ends, strict=True):
        first, last = (round(moment * audio.sample_rate) for moment in (start + SETTLING, end))
        part = Audio(audio.waveform[:, first:last], audio.sample_rate).resample(model.mulan.sample_rate)
        rows.append((model.mulan.embed_audio(part.waveform[None]) @ texts.T)[0])
    similarity = torch.stack(rows)  # [parts, texts]
    own = similarity.diagonal()
    others = (similarity.sum(dim=1) - own) / (len(own) - 1)
    return {
        "story_own": float(own.mean()),
        "story_others": float(others.mean()),
        "story_parts_nearer_to_their_own": float((own > others).float().mean()),
    }


def continued(model: MusicLM, seconds: float = 8.0) -> dict[str, Any]:
    """Samples of a clip that its continuation does not begin with, and the joint beside other moments."""
    clip = model.generate(PROMPT, seconds=10.0, seed=1)
    audio = model.generate(clip=clip, seconds=seconds, seed=2)
    untouched = clip.waveform.shape[1] - round(JOINT_SECONDS * clip.sample_rate)
    changed = int((audio.waveform[:, :untouched] != clip.waveform[:, :untouched]).sum())
    measured = seams(audio, [clip.seconds - JOINT_SECONDS, clip.seconds])
    return {
        "samples_changed": changed,
        **{f"joint_{name}_excess": each.excess for name, each in measured.items()},
    }


def bars(figures: dict[str, Any]) -> Iterator[Bar]:
    """What must hold on two cores."""
    yield Bar("first audio of a stream: seconds", figures["first_audio_seconds"], ceiling=2.0)
    yield Bar("time a second of 60 s, to that of 10 s", figures["long_to_short"], ceiling=1.2)
    if "memory_of_600_s" in figures:
        grown = figures["memory_of_600_s"] / figures["memory_of_60_s"]
        yield Bar("memory for 600 s, to that for 60 s", grown, ceiling=1.2)
    yield Bar("borders: largest flux, to the largest inside windows", figures["flux_excess"], ceiling=1.0)
    yield Bar("borders: largest step of level, to that inside", figures["level_excess"], ceiling=1.0)
    nearer = figures["story_parts_nearer_to_their_own"]
    yield Bar("story: share of parts nearer to their own text than to the others", nearer, floor=1.0)
    yield Bar("continuation: samples of the clip changed", figures["samples_changed"], ceiling=0)
    yield Bar(
        "continuation: flux at the joint, to the largest elsewhere", figures["joint_flux_excess"], ceiling=1
    )
    yield Bar(
        "continuation: step of level there, to that elsewhere", figures["joint_level_excess"], ceiling=1
    )


if __name__ == "__main__":
    main()
