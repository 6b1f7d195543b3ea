"""How fast recordings become a token store, and how fast a store of any size is read.

    python -m benchmarks.data --quick     less music, a smaller store: within four minutes
    python -m benchmarks.data --check     every bar with its figure; exits 1 where one falls short

`musiclm tokenize` runs as a user runs it, in processes of its own, on files of the music that
benchmarks.tokenizers makes. Start-up is no part of a rate, which is counted from the first shards on. The
large store is one shard under many names, and what is measured reads it as any other.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.command import begin
from benchmarks.hardware import describe
from benchmarks.report import Bar, judge, say, table
from benchmarks.tokenizers import music
from musiclm.audio import Audio
from musiclm.bundle import Bundle
from musiclm.data.pseudo_labels import nearest_sentences
from musiclm.data.store import (
    SourceFile,
    StoreDescription,
    TokenRow,
    TokenStore,
    shard_path,
    shards_of,
    write_description,
    write_shard,
)
from musiclm.data.store_rows import StoreRows
from musiclm.data.token_crops import TokenCropDataset
from musiclm.stages.streams import Stream

SAMPLE_RATE = 24_000
CLIP_SECONDS = 30.0
CLIPS, QUICK_CLIPS = 96, 12
PER_SHARD = 2  # recordings, so that processes end together
KILLS, QUICK_KILLS = 10, 2
KILLED_WITHIN = 1.0  # seconds from a run's first shard on
LONG_HOURS, QUICK_LONG_HOURS = 10.0, 0.1  # of one file; above two it is read in pieces of an hour
SHORT_FILES, QUICK_SHORT_FILES = 10_000, 100  # of SHORT_SECONDS
SHORT_SECONDS = 1.5
SHARD_SIZE = 32  # of the command, if not said otherwise
ROWS, QUICK_ROWS = 1_000_000, 50_000
ROWS_IN_A_SHARD = 1_000
CROPS = 400
CROP_SECONDS = 15.0
LABELLED, SENTENCES, DIMENSION = 10_000, 20_000, 128


def main() -> None:
    options, _ = begin(
        "benchmarks.data", __doc__.splitlines()[0], quick="less music, a smaller store", beside_peers=False
    )
    say({"machine": describe(torch.device("cpu")), "threads": torch.get_num_threads()})
    with tempfile.TemporaryDirectory() as folder:
        cases = [say(case) for case in measure(Path(folder), quick=options.quick)]
    print()
    print(table([("work", "figure"), *((case["work"], figure(case)) for case in cases)]))
    if options.check:
        print()
        judge(bars(cases))


def measure(folder: Path, *, quick: bool) -> Iterator[dict[str, Any]]:
    """Every case, with files in a folder that is there for them."""
    clips = QUICK_CLIPS if quick else CLIPS
    for workers in (1, 2):
        yield tokenizing(folder, clips, workers)
    for ray in (None, "local"):
        yield killed(folder, clips, QUICK_KILLS if quick else KILLS, ray)
    yield long_file(folder, QUICK_LONG_HOURS if quick else LONG_HOURS)
    yield short_files(folder, QUICK_SHORT_FILES if quick else SHORT_FILES)
    store = large_store(folder / "large", QUICK_ROWS if quick else ROWS)
    yield opening(store)
    yield cropping(store)
    yield labelling()


def tokenizing(folder: Path, clips: int, workers: int) -> dict[str, Any]:
    """The rate of `musiclm tokenize` with so many processes, in seconds of music a second.

    It counts from when each process may have made a shard to when the last shard is there.
    """
    out = folder / f"tokens-{workers}-{clips}"
    tokenize(clips_in(folder / f"{clips}", clips), out, workers)
    times = sorted(shard.stat().st_mtime for shard in shards_of(out))
    music_made = (len(times) - workers) * PER_SHARD * CLIP_SECONDS
    rate = music_made / max(times[-1] - times[workers - 1], 1e-3)
    return {"work": f"tokenize, processes: {workers}", "real_time": rate, "real_time_a_core": rate / workers}


def clips_in(folder: Path, count: int, seconds: float | None = None) -> Path:
    """A folder of different clips, of CLIP_SECONDS if not said otherwise."""
    if not folder.exists():
        folder.mkdir(parents=True)
        waveform = music(seconds or CLIP_SECONDS, SAMPLE_RATE)[0]
        for number in range(count):
            Audio(waveform.roll(number * 997, dims=-1), SAMPLE_RATE).save(folder / f"clip{number:03d}.flac")
    return folder


def tokenize(music: Path, out: Path, workers: int, shard_size: int = PER_SHARD) -> tuple[float, int]:
    """Seconds that the command takes, and the bytes that its largest process held."""
    began = time.perf_counter()
    words = command(music, out, "--workers", str(workers), shard_size=shard_size)
    run = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(run.pid, 0)
    run.returncode = os.waitstatus_to_exitcode(status)  # else it would be waited for once more
    if run.returncode:
        raise subprocess.CalledProcessError(run.returncode, words)
    return time.perf_counter() - began, used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def command(music: Path, out: Path, *more: str, shard_size: int = PER_SHARD) -> list[str]:
    """`musiclm tokenize` as a process of its own."""
    words = [music, "--out", out, "--shard_size", shard_size, "--bundle", Bundle.find("default").path, *more]
    return [sys.executable, "-m", "musiclm.cli", "tokenize", *map(str, words)]


def killed(folder: Path, clips: int, kills: int, ray: str | None) -> dict[str, Any]:
    """Whether runs that are killed, and one that is not, make the store of an unbroken run."""
    out, whole = folder / f"tokens-killed-{ray}", folder / f"tokens-1-{clips}"
    words = command(folder / f"{clips}", out, *(["--ray", ray] if ray else ["--workers", "2"]))
    shards, cut, drawn = len(shards_of(whole)), 0, random.Random(0)
    while cut < kills:
        run = subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL)
        before = len(shards_of(out))
        while len(shards_of(out)) == before and run.poll() is None:
            time.sleep(0.02)  # until it is at work
        try:
            run.wait(drawn.uniform(0.0, KILLED_WITHIN))
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            cut += 1
        run.wait()
        if len(shards_of(out)) == shards:  # none is left to be killed at: from the beginning
            shutil.rmtree(out)
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    pairs = zip(shards_of(out), shards_of(whole), strict=True)
    same = all(one.read_bytes() == other.read_bytes() for one, other in pairs)
    return {"work": f"{kills} kills, {f'Ray, {ray}' if ray else 'two processes'}", "same": same}


def long_file(folder: Path, hours: float) -> dict[str, Any]:
    """The memory that one long file takes."""
    (folder / "long").mkdir()
    waveform = music(60.0, SAMPLE_RATE)[0].repeat(1, round(60 * hours))
    Audio(waveform, SAMPLE_RATE).save(folder / "long" / "mix.flac")
    del waveform
    seconds, peak = tokenize(folder / "long", folder / "tokens-long", 1)
    return {"work": f"tokenize a file of {hours:g} hours", "seconds": seconds, "peak_bytes": peak}


def short_files(folder: Path, count: int) -> dict[str, Any]:
    """The memory that many short files take, in shards of the usual size."""
    clips = clips_in(folder / "short", count, SHORT_SECONDS)
    seconds, peak = tokenize(clips, folder / "tokens-short", 1, shard_size=SHARD_SIZE)
    return {
        "work": f"tokenize {count:,} files of {SHORT_SECONDS:g} s",
        "seconds": seconds,
        "peak_bytes": peak,
    }


def large_store(folder: Path, rows: int) -> Path:
    """A store of so many recordings of half a minute: one shard under many names."""
    streams = (Stream("semantic", 1, 1024, 25.0), Stream("acoustic", 12, 1024, 50.0))
    write_description(folder, StoreDescription(streams, {}))
    drawn = np.random.default_rng(0)
    codes = {
        stream.name: drawn.integers(0, 1024, (stream.levels, int(CLIP_SECONDS * stream.rate)))
        for stream in streams
    }
    kept = {name: values.astype(np.uint16) for name, values in codes.items()}
    write_shard(
        shard_path(folder, 0),
        [
            TokenRow(
                id=f"recording{number}",
                path=f"music/{number}.flac",
                seconds=CLIP_SECONDS,
                licence="CC0-1.0",
                split="valid" if number % 20 == 0 else "train",
                captions=["a caption"],
                streams=kept,
                source=SourceFile("0" * 64, 1, 1),
            )
            for number in range(min(rows, ROWS_IN_A_SHARD))
        ],
    )
    for shard in range(1, rows // ROWS_IN_A_SHARD):
        try:
            os.link(shard_path(folder, 0), shard_path(folder, shard))
        except OSError:  # a file system without links, or with a limit of them
            shutil.copy(shard_path(folder, 0), shard_path(folder, shard))
    return folder


def opening(folder: Path) -> dict[str, Any]:
    """How long it takes until crops can be drawn."""
    TokenStore(folder)  # imports, and the pages of the files
    began = time.perf_counter()
    store = TokenStore(folder)
    TokenCropDataset(StoreRows.of_split(store, "train"), CROP_SECONDS, seed=0)
    return {"work": f"open a store of {len(store):,} recordings", "seconds": time.perf_counter() - began}


def cropping(folder: Path) -> dict[str, Any]:
    """Random crops of the stages' length, a second."""
    data = TokenCropDataset(StoreRows.of_split(TokenStore(folder), "train"), CROP_SECONDS, seed=0)
    data[0]
    began = time.perf_counter()
    for number in range(CROPS):
        data[number]
    return {"work": f"random crops of {CROP_SECONDS:g} s", "a_second": CROPS / (time.perf_counter() - began)}


def labelling() -> dict[str, Any]:
    """Recordings a second whose nearest sentences are found, embeddings being there."""
    drawn = np.random.default_rng(0)
    heard, said = (drawn.normal(size=(count, DIMENSION)) for count in (LABELLED, SENTENCES))
    sentences = [f"sentence {number}" for number in range(SENTENCES)]
    embedded = dict(zip(sentences, said, strict=True))
    began = time.perf_counter()
    nearest_sentences(
        heard, sentences, lambda asked: np.stack([embedded[each] for each in asked]).astype(np.float32), 10
    )
    rate = LABELLED / (time.perf_counter() - began)
    return {"work": f"label, {SENTENCES:,} sentences", "a_second": rate}


def figure(case: dict[str, Any]) -> str:
    """What was measured, in words."""
    if "same" in case:
        return "the store of an unbroken run" if case["same"] else "another store than an unbroken run's"
    if "real_time" in case:
        return f"{case['real_time']:.0f} × real time, {case['real_time_a_core']:.0f} a core"
    if "peak_bytes" in case:
        return f"{case['peak_bytes'] / 2**30:.2f} GiB, {case['seconds']:.0f} s"
    return f"{case['seconds']:.2f} s" if "seconds" in case else f"{case['a_second']:.0f} a second"


def bars(cases: list[dict[str, Any]]) -> list[Bar]:
    """What must hold."""
    one, two, killed_here, killed_on_ray, long, short, opened, crops, labels = cases
    return [
        Bar("tokenize: × real time, one process", one["real_time"], floor=20),
        Bar("tokenize: two processes over one", two["real_time"] / one["real_time"], floor=1.8),
        Bar("killed: the same store", float(killed_here["same"]), floor=1),
        Bar("killed on Ray: the same store", float(killed_on_ray["same"]), floor=1),
        Bar("a long file: GiB", long["peak_bytes"] / 2**30, ceiling=3),
        Bar("many short files: GiB", short["peak_bytes"] / 2**30, ceiling=3),
        Bar("open a large store: s", opened["seconds"], ceiling=1),
        Bar("random crops a second", crops["a_second"], floor=200),
        Bar("labels: recordings a second", labels["a_second"], floor=1_000),
    ]


if __name__ == "__main__":
    main()
