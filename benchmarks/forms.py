"""The forms of generation on the default model: what they cost, and whether they do what they say.

    python -m benchmarks.forms --quick           without ten minutes of music
    python -m benchmarks.forms --check           every bar with its figure; exits 1 where one falls short

One JSON line per case. Times are the best of a few runs, of a model that is loaded; memory is the most that a
process of its own has had.
"""

import statistics
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
from musiclm.audio.pcm import wav_header
from musiclm.evaluate.following import (
    COSINE_BAR,
    MARGIN_BAR,
    cosines_with_guides,
    follow,
    held_out_guides,
    summary,
)
from musiclm.evaluate.seams import borders_of
from musiclm.generation.block_decoding import JOINT_SECONDS
from musiclm.generation.diffusion_decoder import DiffusionDecoder
from musiclm.generation.inpainting import FADE_SECONDS
from musiclm.generation.pipeline import MusicLM
from musiclm.generation.settings import CoarseSettings, DenoiserSettings
from musiclm.generation.token_decoder import TokenDecoder
from musiclm.generation.windows import WindowSchedule
from musiclm.metrics.seams import seams

PROMPT = "a calm violin melody over soft piano chords"
STORY = [
    (0.0, "fast techno with drums"),
    (15.0, "a calm violin melody over soft piano chords"),
    (30.0, "a rock song with electric guitar and drums"),
    (45.0, "a slow church organ piece"),
]
MEASURES = ("flux", "level")
INPAINTED = (5.3, 8.7)  # seconds of a piece
SETTLING = 2.0  # seconds of a part that the music needs to change
MEASURE_MEMORY = """
import resource, sys
import torch
from musiclm.cli import main
torch.set_num_threads(int(sys.argv[3]))
main(["generate", sys.argv[4], "--seconds", sys.argv[1], "--out", sys.argv[2]])
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
    yield inpainted(model)
    yield melody_followed(model)
    yield memory(60.0)
    if not quick:
        yield memory(600.0)


def latency(model: MusicLM, runs: int = 3) -> dict[str, Any]:
    """Seconds until the first audio: of a stream, and of the command, which loads torch and the model."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        next(model.stream(PROMPT, seconds=60.0))
        times.append(time.perf_counter() - started)
    return {
        "first_audio_seconds": min(times),
        "first_audio_of_the_command": min(map(command_latency, range(runs))),
    }


def command_latency(seed: int) -> float:
    """Seconds until `musiclm generate ... --out -` has sent a sample."""
    command = [
        sys.executable,
        "-m",
        "musiclm.cli",
        "generate",
        PROMPT,
        "--seed",
        str(seed),
        "--seconds",
        "60",
    ]
    started = time.perf_counter()
    with subprocess.Popen(
        [*command, "--out", "-"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        wanted = len(wav_header(1, 1)) + 2
        assert len(process.stdout.read(wanted)) == wanted, "the command made no sound"
        passed = time.perf_counter() - started
        process.stdout.close()
    return passed


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


def schedules_of(model: MusicLM) -> list[tuple[WindowSchedule, float, float]]:
    """The windows of semantic tokens, of codes or latents, and of blocks of sound, for `borders_of`."""
    semantic, decoder = model.settings, model.decoder
    rate = model.semantic_stage.layout.target.frame_rate
    tokens = WindowSchedule.of(semantic.window, semantic.window - semantic.stride, rate)
    acoustic: CoarseSettings | DenoiserSettings
    if isinstance(decoder, TokenDecoder):
        acoustic, frame_rate = decoder.coarse_settings, decoder.codec.frame_rate
        context = decoder.codec_settings.context
    else:
        assert isinstance(decoder, DiffusionDecoder)
        acoustic, frame_rate = decoder.denoiser_settings, decoder.denoiser.frame_rate
        context = decoder.autoencoder_settings.context
    frames = WindowSchedule.of(acoustic.window, acoustic.carry, frame_rate, unit=round(frame_rate / rate))
    return [(tokens, rate, 0.0), (frames, frame_rate, 0.0), (frames, frame_rate, context / frame_rate)]


def audible_seams(model: MusicLM, seconds: float = 60.0) -> dict[str, Any]:
    """Flux and level at the borders of long pieces beside those inside, each piece by itself."""
    pieces = []
    borders = borders_of(schedules_of(model), seconds)
    for _, prompt in STORY:
        audio = model.generate(prompt, seconds=seconds)
        pieces.append(seams(audio.waveform[0], borders, sample_rate=audio.sample_rate))
    return {
        "borders": len(borders) * len(pieces),
        **{f"{name}_beyond": statistics.mean(piece[name].beyond for piece in pieces) for name in MEASURES},
        **{f"{name}_rank": statistics.mean(piece[name].rank for piece in pieces) for name in MEASURES},
    }


@torch.inference_mode()
def story_parts(model: MusicLM, seconds: float = 60.0, seed: int = 0) -> dict[str, Any]:
    """MuLan's similarity of each part of a story to its own text, and to those of the others."""
    audio = model.story(STORY, seconds=seconds, seed=seed)
    texts = model.joint_embedding.embed_text([text for _, text in STORY])
    ends = [start for start, _ in STORY[1:]] + [seconds]
    rows = []
    for (start, _), end in zip(STORY, ends, strict=True):
        first, last = (round(moment * audio.sample_rate) for moment in (start + SETTLING, end))
        part = Audio(audio.waveform[:, first:last], audio.sample_rate).resample(
            model.joint_embedding.sample_rate
        )
        rows.append((model.joint_embedding.embed_audio(part.waveform[None]) @ texts.T)[0])
    similarity = torch.stack(rows)  # [parts, texts]
    own = similarity.diagonal()
    others = (similarity.sum(dim=1) - own) / (len(own) - 1)
    nearest_other = similarity.masked_fill(torch.eye(len(own), dtype=torch.bool), -torch.inf).amax(dim=1)
    return {
        "story_own": float(own.mean()),
        "story_others": float(others.mean()),
        "story_parts_nearer_to_their_own": float((own > nearest_other).float().mean()),
    }


def continued(model: MusicLM, seconds: float = 10.0, num: int = 4) -> dict[str, Any]:
    """Samples of a clip that its continuations do not begin with, and the joint beside other moments."""
    whole = model.generate(PROMPT, seconds=2 * seconds, seed=1).waveform
    clip = Audio(whole[:, : whole.shape[1] // 2], model.sample_rate)  # in the midst of the music
    takes = model.variations(continue_=clip, num=num, seconds=seconds, seed=2)
    kept = clip.waveform[:, : -round(JOINT_SECONDS * clip.sample_rate)]
    changed = sum(int((take.waveform[:, : kept.shape[1]] != kept).sum()) for take in takes)
    joint = [clip.seconds - JOINT_SECONDS, clip.seconds]
    measured = [seams(take.waveform[0], joint, sample_rate=take.sample_rate) for take in takes]
    figures: dict[str, Any] = {"samples_changed": changed}
    for name in MEASURES:
        figures[f"joint_{name}_beyond"] = statistics.mean(each[name].beyond for each in measured)
        figures[f"joint_{name}_rank"] = statistics.mean(each[name].rank for each in measured)
    return figures


def inpainted(model: MusicLM, num: int = 4) -> dict[str, Any]:
    """Samples outside a region that change, and its joints beside other moments.

    The regions begin and end in the midst of bars; of a model that cannot inpaint there is nothing.
    """
    if not isinstance(model.decoder, DiffusionDecoder):
        return {}
    changed, measured = 0, []
    for number in range(num):
        whole = model.generate(STORY[number % len(STORY)][1], seconds=14.0, seed=number)
        made = model.inpaint(whole, [INPAINTED], seed=number)
        fade = round(FADE_SECONDS * whole.sample_rate)
        begin, end = (round(moment * whole.sample_rate) for moment in INPAINTED)
        differs = made.waveform != whole.waveform
        changed += int(differs[:, : begin - fade].sum() + differs[:, end + fade :].sum())
        measured.append(seams(made.waveform[0], INPAINTED, sample_rate=made.sample_rate))
    figures: dict[str, Any] = {"samples_changed_outside": changed}
    for name in MEASURES:
        figures[f"inpainted_{name}_beyond"] = statistics.mean(each[name].beyond for each in measured)
        figures[f"inpainted_{name}_rank"] = statistics.mean(each[name].rank for each in measured)
    return figures


def melody_followed(model: MusicLM, num: int = 24, seconds: float = 12.0) -> dict[str, Any]:
    """Chroma cosine between hums and what follows them (`musiclm evaluate following` has the table)."""
    guides = held_out_guides(num, seconds)
    _, music = follow(model, guides, seconds)
    figures = summary(cosines_with_guides([guide.audio for guide in guides], music))
    return {f"melody_{name}": value for name, value in figures.items()}


def bars(figures: dict[str, Any]) -> Iterator[Bar]:
    """What must hold on two cores."""
    yield Bar("first audio of a stream: seconds", figures["first_audio_seconds"], ceiling=2.0)
    yield Bar("time a second of 60 s, to that of 10 s", figures["long_to_short"], ceiling=1.2)
    if "memory_of_600_s" in figures:
        grown = figures["memory_of_600_s"] / figures["memory_of_60_s"]
        yield Bar("memory for 600 s, to that for 60 s", grown, ceiling=1.2)
    for name in MEASURES:
        beyond, rank = figures[f"{name}_beyond"], figures[f"{name}_rank"]
        yield Bar(f"borders: share whose {name} is beyond the range inside windows", beyond, ceiling=0.01)
        yield Bar(f"borders: share of moments inside whose {name} they exceed", rank, ceiling=0.6)
    nearer = figures["story_parts_nearer_to_their_own"]
    yield Bar("story: share of parts nearer to their own text than to any other", nearer, floor=1.0)
    yield Bar("melody: chroma cosine with the guide", figures["melody_cosine"], floor=COSINE_BAR)
    yield Bar("melody: above other guides", figures["melody_margin"], floor=MARGIN_BAR)
    yield Bar("continuation: samples of the clip changed", figures["samples_changed"], ceiling=0)
    for name in MEASURES:
        rank = figures[f"joint_{name}_rank"]
        # Of eight joints; their standard error is 0.1 where they are moments like any other.
        yield Bar(f"continuation: share of moments elsewhere whose {name} joints exceed", rank, ceiling=0.75)
    if "samples_changed_outside" in figures:
        changed = figures["samples_changed_outside"]
        yield Bar("inpainting: samples outside the region and its fades changed", changed, ceiling=0)
        for name in MEASURES:
            rank = figures[f"inpainted_{name}_rank"]
            yield Bar(
                f"inpainting: share of moments elsewhere whose {name} joints exceed", rank, ceiling=0.75
            )


if __name__ == "__main__":
    main()
