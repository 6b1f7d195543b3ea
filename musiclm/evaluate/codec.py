"""How good a codec is at each bit-rate: `musiclm evaluate codec`, over held-out recordings.

Recordings are coded in stretches, so that memory does not grow with them, and decoded from the first level
alone, the first two, and so on. SI-SDR says how near the waveform is, phases and all; mel distance, how near
the sound is. Some codes say nothing about phase (`musiclm/tokenizers/convnext.py`): SI-SDR is also taken with
the recording's own phases, which leaves what the codes answer for.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from musiclm.audio import Audio
from musiclm.bundle import Bundle
from musiclm.data.left_out import Report
from musiclm.data.sources import Recording, find_recordings
from musiclm.files import only_writer_to, write_whole
from musiclm.machine.device import Device, choose_device, device_of
from musiclm.metrics.codebooks import perplexity
from musiclm.metrics.fidelity import MelDistance, si_sdr
from musiclm.plots import Panel, sheet, ticks
from musiclm.progress import progress
from musiclm.tokenizers.protocols import AcousticTokenizer

MEL_WINDOWS = (64, 128, 256, 512, 1024, 2048)  # samples; SoundStream, sec. III-E
MEL_BANDS = 64
MIN_SECONDS = 0.1  # of a stretch: room for the largest window
SILENCE = 1e-3  # peak below which a stretch is silence, of which no ratio can be taken
CHART = "codec.svg"


@dataclass(frozen=True)
class Quality:
    """Of the sound that the first `levels` levels decode to; means over the recordings' seconds."""

    levels: int
    kbps: float  # kbit/s
    si_sdr: float  # dB
    in_phase: float  # dB, SI-SDR with the recording's phases
    mel_distance: float  # log10 mel magnitudes over several windows, 0 is perfect
    perplexity: float  # of the last of these levels' codebook


@only_writer_to("out")
def codec(
    audio: Path = Path("corpus"),
    codec: str = "default",
    out: Path = Path("codec"),
    seconds: float = 10.0,
    max_recordings: int = 50,
    strict: bool = False,
    device: Device = "auto",
) -> None:
    """Print SI-SDR, mel distance and codebook perplexity for 1, 2, … levels, and draw them over the bit-rate.

    Args:
        audio: recordings; those held out where there are any, else all. What cannot be used is left out, and
            stands in left_out.tsv beside the chart with its reason.
        codec: the trained part, `runs/soundstream/part`, or a bundle with one.
        out: the folder for the chart, codec.svg.
        seconds: length of the stretches that are coded at once, at most.
        max_recordings: of the held-out ones, at most.
        strict: exit with 2 if any file is left out.
        device: cpu, cuda, cuda:1 or mps; auto takes the first GPU, or else the CPU.

    Raises:
        FileNotFoundError: nothing at one of the paths.
        ValueError: the bundle has no codec, or the recordings nothing to hear.
    """
    if seconds < MIN_SECONDS or max_recordings < 1:
        raise ValueError(
            f"expected stretches of {MIN_SECONDS} seconds or more and 1 or more recordings, got "
            f"{seconds:g} and {max_recordings}"
        )
    place = choose_device(device)
    tokenizer: AcousticTokenizer = Bundle.find(codec).load("codec").to(place)
    report = Report(out, strict=strict)
    recordings = find_recordings(audio, report)
    held_out = [recording for recording in recordings if recording.split != "train"] or recordings
    chosen = progress(
        held_out[:max_recordings],
        total=len(held_out[:max_recordings]),
        description="decode at every level",
    )
    qualities = measure(tokenizer, stretches(chosen, seconds, tokenizer.sample_rate, report))
    print(format_table(qualities))
    write_whole(out / CHART, chart(qualities).encode())
    print(out / CHART)
    report.close(len(report.remaining(recordings)))


def stretches(
    recordings: Iterable[Recording], seconds: float, sample_rate: int, report: Report | None = None
) -> Iterator[Tensor]:
    """Mono waveforms [1, 1, L]: each recording in equal stretches of at most `seconds`, no silent ones.

    A recording is left out, and the report told, from where it cannot be read.
    """
    report = report or Report()
    for recording in recordings:
        count = math.ceil(recording.seconds / seconds)
        length = recording.seconds / count
        for index in range(count if length >= MIN_SECONDS else 0):
            try:
                audio = Audio.load(recording.path, start=index * length, seconds=length)
                waveform = audio.mono().resample(sample_rate).waveform[None]
            except (ValueError, OSError) as error:
                report.leave_out(recording.path, error)
                break
            if waveform.abs().max() >= SILENCE:
                yield waveform


@torch.inference_mode()
def measure(codec: AcousticTokenizer, waveforms: Iterable[Tensor]) -> list[Quality]:
    """The quality of 1, 2, … num_quantizers levels over waveforms [1, 1, L], weighted by their lengths.

    Raises:
        ValueError: there are no waveforms.
    """
    device = device_of(codec)
    distance = MelDistance(codec.sample_rate, windows=MEL_WINDOWS, bands=MEL_BANDS).to(device)
    uses = torch.zeros(codec.num_quantizers, codec.codebook_size)
    sums = torch.zeros(codec.num_quantizers, 3, dtype=torch.float64)  # SI-SDR, in phase, mel distance
    samples = 0
    for waveform in waveforms:
        length, waveform = waveform.shape[2], waveform.to(device)
        codes = codec.encode(waveform)  # [1, Q, T]
        whole = F.pad(waveform, (0, codes.shape[2] * codec.hop_length - length))
        for level in range(codec.num_quantizers):
            uses[level] += torch.bincount(codes[0, level].cpu(), minlength=codec.codebook_size)
            output = codec.decode(codes[:, : level + 1])[..., :length]
            in_phase = codec.decode(codes[:, : level + 1], prefix=whole)[..., :length]
            figures = (si_sdr(output, waveform), si_sdr(in_phase, waveform), distance(output, waveform))
            sums[level] += length * torch.tensor([figure.item() for figure in figures])
        samples += length
    if samples == 0:
        raise ValueError(
            f"expected recordings with sound, all are silent or below {MIN_SECONDS} s: name others"
        )
    rate = math.log2(codec.codebook_size) * codec.frame_rate / 1000  # kbit/s of a level
    qualities = []
    for level, used in enumerate(perplexity(uses).tolist()):
        ratio, in_phase, mel = (sums[level] / samples).tolist()
        qualities.append(Quality(level + 1, (level + 1) * rate, ratio, in_phase, mel, used))
    return qualities


def format_table(qualities: Sequence[Quality]) -> str:
    """A line per number of levels, and one that says how far each level makes it better."""
    lines = [f"{'levels':>6}{'kbit/s':>8}{'SI-SDR':>8}{'in phase':>10}{'mel distance':>14}{'perplexity':>12}"]
    for each in qualities:
        levels, kbps, ratio, in_phase, distance, used = astuple(each)
        lines.append(f"{levels:6}{kbps:8.2f}{ratio:8.2f}{in_phase:10.2f}{distance:14.4f}{used:12.1f}")
    measures = {
        "SI-SDR": [each.si_sdr for each in qualities],
        "SI-SDR in phase": [each.in_phase for each in qualities],
        "mel distance": [-each.mel_distance for each in qualities],
    }
    reach = ", ".join(f"{name} {_rises_to(values)}" for name, values in measures.items())
    lines.append(f"every level is better than the one before up to: {reach}")
    if qualities[-1].in_phase > qualities[-1].si_sdr + 3:
        lines.append(
            "this codec invents phases: SI-SDR in phase tells what its codes are worth, SI-SDR does not"
        )
    return "\n".join(lines)


def _rises_to(values: Sequence[float]) -> int:
    """How many of the first values rise, each above the one before."""
    return next((index for index in range(1, len(values)) if values[index] <= values[index - 1]), len(values))


def chart(qualities: Sequence[Quality]) -> str:
    """SI-SDR, mel distance and perplexity over the bit-rate, side by side: an SVG file."""
    panels = [
        _panel(
            "SI-SDR (dB); dashed: with the recording’s phases",
            qualities,
            {
                "line": [each.si_sdr for each in qualities],
                "line dashed": [each.in_phase for each in qualities],
            },
        ),
        _panel("Mel distance", qualities, {"line": [each.mel_distance for each in qualities]}, base=0.0),
        _panel(
            "Perplexity of each level’s codebook",
            qualities,
            {"line": [each.perplexity for each in qualities]},
            base=0.0,
        ),
    ]
    return sheet(panels, "Quality of a codec at each bit-rate")


def _panel(
    title: str, qualities: Sequence[Quality], lines: dict[str, list[float]], *, base: float | None = None
) -> Panel:
    """One measure over the bit-rate; `base` is where its axis begins, else just below the lowest value."""
    rates = [each.kbps for each in qualities]
    values = [value for line in lines.values() for value in line]
    low, high = min(values) if base is None else base, max(values)
    room = 0.08 * (high - low) or 1.0
    low, high = low - (room if base is None else 0.0), high + room
    panel = Panel(title, (0, 1.04 * rates[-1]), (low, high))
    step = ticks(high - low)[1]
    marks = [index * step for index in range(math.ceil(low / step), math.floor(high / step) + 1)]
    panel.y_axis([(mark, f"{mark:g}") for mark in marks])
    panel.x_axis([(mark, f"{mark:g}") for mark in ticks(rates[-1])], "kbit/s")
    for css, line in lines.items():
        points = list(zip(rates, line, strict=True))
        panel.line(points, css)
        panel.dots(points, "dots")
    return panel
