"""How music sounds, whatever it was asked for: `musiclm evaluate sound`, of a folder beside a reference
folder.

Every clip is measured by itself, and each measure's median over a folder stands beside the reference's, with
an interval of the median. There is no good value as such: music has the reference's. A measure that nothing
can be said of in a clip (the drift of ten seconds, the attack of a held chord) is not counted for it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from musiclm.audio import Audio
from musiclm.data.left_out import LeftOut, reason_of
from musiclm.data.sources import Recording
from musiclm.evaluate.found import Found, say_rates
from musiclm.evaluate.results import Table, write_results
from musiclm.evaluate.summary import FEW, Summary
from musiclm.files import only_writer_to, write_whole
from musiclm.machine.cpus import usable_cpus
from musiclm.machine.executors import choose_executor
from musiclm.metrics import chroma
from musiclm.metrics.attack import attack_sharpness
from musiclm.metrics.drift import key_drift, loudness, loudness_drift
from musiclm.metrics.faults import clicks, silent_share
from musiclm.metrics.noise import harmonic_to_noise
from musiclm.metrics.pulse import pulse
from musiclm.metrics.repetition import repetition
from musiclm.metrics.tuning import on_one_grid
from musiclm.plots import Panel, sheet, ticks
from musiclm.progress import Progress

SAMPLE_RATE = chroma.SAMPLE_RATE  # Hz, of all measures but clicks, which are those of the file's own samples
SHORTEST = 2.0  # seconds; less has no beat
LONGEST = 120.0  # seconds that are measured, from the beginning on: memory does not grow with a recording
SILENT_SHARE = 0.99  # of the moments: a clip with more of them is silent
CLIPS_A_PROCESS = 40  # for fewer, the start of another process takes longer than it saves


@dataclass(frozen=True)
class Measure:
    """One line of the table."""

    words: str
    unit: str
    statistic: Callable[[np.ndarray], float] = np.median  # the mean, of what most clips have none of


MEASURES = {
    "pulse": Measure("pulse", "0-1"),
    "on_one_grid": Measure("tuned to one grid", "0-1"),
    "harmonic_to_noise": Measure("harmonic to noise", "dB"),
    "attack": Measure("attack sharpness", "dB/10 ms"),
    "entropy_low": Measure("pitch-class entropy, below 260 Hz", "0-1"),
    "entropy_high": Measure("pitch-class entropy, above 260 Hz", "0-1"),
    "changes_low": Measure("pitch-class changes, below 260 Hz", "1/s"),
    "accuracy_low": Measure("pitch-class accuracy, below 260 Hz", "0-1"),
    "loudness": Measure("loudness", "LUFS"),
    "loudness_drift": Measure("loudness drift", "dB/min"),
    "key_drift": Measure("key drift over 60 s", "0-1"),
    "repetition": Measure("repetition", "0-1"),
    "silent": Measure("silent (mean)", "0-1", np.mean),
    "clicks": Measure("clicks (mean)", "1/min", np.mean),
}
PAIRED = "accuracy_low"  # only of clips that have the id of a reference clip: a codec's output, say
Values = dict[str, float]


@only_writer_to("out")
def sound(
    generated: list[Path],
    *,
    reference: Path = Path("corpus"),
    out: Path | None = None,
    workers: int = 0,
    strict: bool = False,
    ray: str | None = None,
) -> None:
    """Print pulse, tuning, noise, attacks, pitch classes, loudness, drift, repetition, silence and clicks.

    Medians over the clips stand beside those of real music, with 95 % intervals (bootstrap).

    Args:
        generated: audio files, or folders of them.
        reference: a folder of real music, in clips of about the same length.
        out: a folder for sound.json, which has every clip's values too, and sound.svg.
        workers: processes; 0 takes one per CPU that may be used.
        strict: exit with 2 if any file is left out.
        ray: address of a Ray cluster whose tasks measure the clips, or local.

    Raises:
        FileNotFoundError: nothing at one of the paths.
        ValueError: no clip of a folder can be measured.
    """
    if workers < 0:
        raise ValueError(f"expected workers of 0 or more, got {workers}")
    folders = {
        "generated": Found.at(generated, strict=strict),
        "reference": Found.at([reference], strict=strict),
    }
    partners = {recording.id: recording.path for recording in folders["reference"].recordings}
    partners = {
        recording.id: partners[recording.id]
        for recording in folders["generated"].recordings
        if recording.id in partners and partners[recording.id] != recording.path
    }
    clips = {
        name: measure_folder(
            found, workers, partners if name == "generated" else {}, description=name, ray=ray
        )
        for name, found in folders.items()
    }
    summaries = {
        key: {
            name: Summary.of([values[key] for values in own.values()], measure.statistic)
            for name, own in clips.items()
        }
        for key, measure in MEASURES.items()
    }
    for name, found in folders.items():
        few = f", too few (below {FEW}) for intervals" if len(clips[name]) < FEW else ""
        print(f"{name}: {len(clips[name])} clips of {found.name}{few}")
    accounts = {
        name: found.account([each for each in found.recordings if each.id in clips[name]])
        for name, found in folders.items()
    }
    say_rates(accounts)
    print(f"measured at {SAMPLE_RATE} Hz, medians (95 % intervals)\n")
    print(format_table(summaries))
    if out is None:
        return
    content = {
        "sample_rate": SAMPLE_RATE,
        "measures": {
            key: {
                "unit": MEASURES[key].unit,
                "statistic": MEASURES[key].statistic.__name__,
                **{name: asdict(summary) for name, summary in row.items()},
            }
            for key, row in summaries.items()
        },
        "folders": {name: {**account, "clips": clips[name]} for name, account in accounts.items()},
    }
    print(write_results(out / "sound.json", "evaluate sound", content, table_of(summaries, accounts)))
    write_whole(out / "sound.svg", chart(clips, summaries).encode())
    print(out / "sound.svg")


def measure_folder(
    found: Found,
    workers: int = 0,
    partners: Mapping[str, Path] | None = None,
    *,
    description: str = "measure",
    ray: str | None = None,
) -> dict[str, Values]:
    """The measures of every clip by its id; those that cannot be measured are left out.

    Args:
        found: the clips.
        workers: processes; 0 takes one per CPU, or fewer for few clips.
        partners: of a clip's id, the recording that it is to have the pitch classes of.
        description: what the progress is called.
        ray: address of a Ray cluster to measure them on.

    Raises:
        ValueError: no clip can be measured, or not every clip and the report is strict.
    """
    own = workers or max(1, min(usable_cpus(), len(found.recordings) // CLIPS_A_PROCESS))
    work = partial(_measure_or_reason, partners or {})
    clips: dict[str, Values] = {}
    with Progress(description, len(found.recordings), unit="clip") as counter:
        for recording, result in choose_executor(ray, own).run(work, found.recordings):
            if isinstance(result, LeftOut):
                found.report.leave_out(result.path, result.reason)
            else:
                clips[recording.id] = result
            counter.advance()
    found.close(found.report.remaining(found.recordings))
    return dict(sorted(clips.items()))


def _measure_or_reason(
    partners: Mapping[str, Path], recording: Recording
) -> tuple[Recording, Values | LeftOut]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # clips are short: threads would wait for each other
    try:
        return recording, measure(recording.path, partners.get(recording.id))
    except (ValueError, OSError) as error:
        return recording, LeftOut(recording.path, reason_of(error))
    finally:
        torch.set_num_threads(threads)


def measure(path: Path, partner: Path | None = None) -> Values:
    """All measures of a clip, NaN where nothing can be said.

    Args:
        path: its file.
        partner: the recording whose pitch classes it is to have, if there is one.

    Raises:
        FileNotFoundError, OSError, ValueError: it cannot be read, is too short or silent.
    """
    audio = Audio.load(path, seconds=LONGEST).mono()
    if audio.seconds < SHORTEST:
        raise ValueError(f"expected {SHORTEST:g} s or more, it lasts {audio.seconds:.2g} s")
    silent = silent_share(audio.waveform[0], audio.sample_rate)
    if silent > SILENT_SHARE:
        raise ValueError("it is silent: nothing of it can be measured")
    waveform = audio.resample(SAMPLE_RATE).waveform[0]
    low, high = chroma.chroma_by_band(waveform)
    frame_rate = SAMPLE_RATE / chroma.HOP_LENGTH
    accuracy = math.nan
    if partner is not None:
        other = Audio.load_mono(partner, SAMPLE_RATE, seconds=LONGEST).waveform[0]
        reference, _ = chroma.chroma_by_band(other)
        accuracy = chroma.pitch_class_accuracy(low, reference)
    return {
        "pulse": pulse(waveform, SAMPLE_RATE),
        "on_one_grid": on_one_grid(waveform, SAMPLE_RATE),
        "harmonic_to_noise": harmonic_to_noise(waveform, SAMPLE_RATE),
        "attack": attack_sharpness(waveform, SAMPLE_RATE),
        "entropy_low": chroma.chroma_entropy(low),
        "entropy_high": chroma.chroma_entropy(high),
        "changes_low": chroma.pitch_class_changes(low, frame_rate),
        "accuracy_low": accuracy,
        "loudness": loudness(waveform, SAMPLE_RATE),
        "loudness_drift": loudness_drift(waveform, SAMPLE_RATE),
        "key_drift": key_drift(low + high, frame_rate),
        "repetition": repetition(waveform, SAMPLE_RATE),
        "silent": silent,
        "clicks": len(clicks(audio.waveform[0])) * 60 / audio.seconds,
    }


def format_table(summaries: Mapping[str, Mapping[str, Summary]]) -> str:
    """A line per measure that is known of a clip at least, a column per folder."""
    lines = [f"{'':<36}{'':<10}{'generated':>26}{'reference':>26}"]
    for key, row in summaries.items():
        if any(summary.clips for summary in row.values()):
            cells = "".join(f"{row[name]!s:>26}" for name in ("generated", "reference"))
            lines.append(f"{MEASURES[key].words:<36}{MEASURES[key].unit:<10}{cells}")
    return "\n".join(lines)


def table_of(
    summaries: Mapping[str, Mapping[str, Summary]], accounts: Mapping[str, Mapping[str, Any]]
) -> Table:
    """What the model card shows of it."""
    counts = ", ".join(f"{account['recordings']} {name}" for name, account in accounts.items())
    return Table(
        "How it sounds, beside real music",
        ["measure", "unit", "generated", "reference"],
        [
            [MEASURES[key].words, MEASURES[key].unit, str(row["generated"]), str(row["reference"])]
            for key, row in summaries.items()
            if any(summary.clips for summary in row.values())
        ],
        [f"Medians over clips ({counts}) with 95 % intervals, measured at {SAMPLE_RATE} Hz."],
    )


def chart(clips: Mapping[str, Mapping[str, Values]], summaries: Mapping[str, Mapping[str, Summary]]) -> str:
    """Every clip as a dot, a panel per measure, the folders side by side, their summaries as lines: SVG."""
    panels = []
    for key, row in summaries.items():
        known = {
            name: [values[key] for values in own.values() if math.isfinite(values[key])]
            for name, own in clips.items()
        }
        together = [value for values in known.values() for value in values]
        if together:
            panels.append(_panel(MEASURES[key], known, row, min(together), max(together)))
    return sheet(panels, "How the clips sound, beside the reference")


def _panel(
    measure: Measure,
    known: Mapping[str, Sequence[float]],
    row: Mapping[str, Summary],
    low: float,
    high: float,
) -> Panel:
    room = 0.06 * (high - low) or 1.0
    low, high = low - room, high + room
    panel = Panel(f"{measure.words} ({measure.unit})", (-0.5, len(known) - 0.5), (low, high))
    step = ticks(high - low)[1]
    marks = [index * step for index in range(math.ceil(low / step), math.floor(high / step) + 1)]
    panel.y_axis([(mark, f"{mark:g}") for mark in marks])
    panel.x_axis([(place, f"{name} ({len(own)})") for place, (name, own) in enumerate(known.items())], "")
    random = np.random.default_rng(0)  # dots of equal value side by side
    for place, (name, own) in enumerate(known.items()):
        css = "first" if place == 0 else "second"
        spread = place + random.uniform(-0.25, 0.25, len(own))
        panel.dots(list(zip(spread.tolist(), own, strict=True)), f"dots {css}")
        if row[name].clips:
            middle = row[name].value
            panel.line([(place - 0.32, middle), (place + 0.32, middle)], f"line {css}")
    return panel
