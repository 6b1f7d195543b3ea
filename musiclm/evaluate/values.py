"""Has music the values that it is given? `musiclm evaluate values`.

Each clip is made from the caption of a held-out piece of the reference corpus and, as values, from that
piece's own tempo, meter, key, first chords and drums. Two listeners say what is heard: the one that judges
prompts (`listener.py`) tempo, key and drums, the bundle's score listener where the downbeats fall and which
chords sound. Beside it stand what the same clips reach for another clip's values, which is chance, and what
the listeners hear in the pieces themselves: more cannot be reached.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from musiclm.audio import Audio
from musiclm.bundle import Bundle
from musiclm.evaluate.control import Accuracy
from musiclm.evaluate.labelled_clips import corpus_pieces
from musiclm.evaluate.listener import Heard, Listener, fingerprint
from musiclm.evaluate.results import Table, write_results
from musiclm.files import only_writer_to
from musiclm.generation.decoders import DecoderChoice
from musiclm.generation.pipeline import MusicLM
from musiclm.generation.request import Request
from musiclm.machine.device import Device, choose_device
from musiclm.metrics.statistics import mean_interval
from musiclm.metrics.tempo import judge
from musiclm.progress import progress
from musiclm.score.agreement import agreement
from musiclm.score.bars import plan_of_score
from musiclm.score.controls import Controls
from musiclm.score.labels import score_of_labels
from musiclm.score.listener import ScoreListener
from musiclm.score.score import Score

TITLES = {
    "tempo": "bpm ±4 %",
    "octave": "bpm or octave",
    "downbeats": "downbeats, F",
    "beats": "beats, F",
    "meter": "three or four",
    "key": "key",
    "mode": "mode",
    "roots": "chord roots",
    "triads": "major, minor triads",
    "drums": "drums",
    "pulse": "pulse",
}
SHORTEST, LONGEST = 8.0, 28.0  # seconds of a clip; pieces of the corpus last 30 or more


@dataclass(frozen=True)
class Wanted:
    """What a clip is to be.

    Args:
        caption: of it.
        controls: its values.
        score: that they make.
        sound: of the piece that they are taken from.
    """

    caption: str
    controls: Controls
    score: Score
    sound: Audio


@only_writer_to("out")
def values(
    bundle: str = "default",
    clips: int = 40,
    seconds: float = 15.0,
    seed: int = 0,
    out: Path = Path("values"),
    device: Device = "auto",
    decoder: DecoderChoice = "auto",
) -> None:
    """Print how often music has the values that it is given, beside chance and what real music reaches.

    Args:
        bundle: the model to judge: a shipped bundle's name, a folder, or a Hugging Face id.
        clips: how many, each of a held-out piece's caption and values.
        seconds: of each clip, 8 to 28.
        seed: of the first clip, and of the corpus that the pieces are of.
        out: the folder for values.json.
        device: cpu, cuda, cuda:1 or mps; auto takes the first GPU, or else the CPU.
        decoder: of a bundle that makes sound in two ways: tokens or diffusion; auto is diffusion.

    Raises:
        FileNotFoundError: no such bundle.
        ValueError: it follows no score or has no listener, or there would be nothing to make.
    """
    if clips < 2 or not SHORTEST <= seconds <= LONGEST:
        raise ValueError(
            f"expected 2 clips or more of {SHORTEST:g} to {LONGEST:g} s, got {clips} of {seconds:g} s"
        )
    choose_device(device)
    source = Bundle.find(bundle)
    if "score_listener" not in source.components:
        raise ValueError(f"expected a bundle with the component score_listener, {bundle} has none")
    listener, score_listener = Listener.load(), source.load("score_listener")
    model = MusicLM.from_bundle(source, device=device, decoder=decoder)
    wanted = list(wanted_clips(clips, seconds, seed))
    made, real = [], []
    for number, each in enumerate(progress(wanted, total=clips, description="clips")):
        request = Request(each.caption, seconds, seed + number, controls=each.controls)
        made.append(heard_in(model.perform(request).listen()[0], listener, score_listener))
        real.append(heard_in(each.sound, listener, score_listener))
    figures = figures_of(wanted, made, real)
    print(f"{clips} clips of {seconds:g} s from seed {seed} on; bundle {bundle} ({model.fingerprint})")
    print(format_table(figures))
    content = {
        "figures": {name: asdict(each) for name, each in figures.items()},
        "clips": clips,
        "seconds": seconds,
        "seed": seed,
        "sample_rate": model.sample_rate,
        "bundle": {"name": bundle, "fingerprint": model.fingerprint},
        "listener": fingerprint(),
        "score_listener": source.fingerprint("score_listener"),
    }
    print(write_results(out / "values.json", "evaluate values", content, table_of(figures)))


def wanted_clips(clips: int, seconds: float, seed: int) -> Iterator[Wanted]:
    """What is asked for: the values of held-out pieces, with the chords of their first seconds."""
    for row, sound in corpus_pieces("valid", clips, seed, least=seconds):
        audio = Audio(torch.from_numpy(sound[: round(seconds * 24_000)])[None], 24_000)
        plan = plan_of_score(score_of_labels(row, seconds))
        assert plan is not None  # every piece of the corpus has a beat
        section = plan.sections[0]
        controls = Controls(row["tempo"], section.meter, section.key, section.bars, bool(row["drums"]))
        yield Wanted(row["captions"][0], controls, plan.under(controls).score(seconds), audio)


@dataclass(frozen=True)
class HeardClip:
    """What two listeners hear in a clip."""

    heard: Heard
    score: Score


def heard_in(audio: Audio, listener: Listener, score_listener: ScoreListener) -> HeardClip:
    """What they hear in it."""
    waveform = audio.mono().resample(score_listener.sample_rate).waveform[None]
    return HeardClip(listener.hear(audio), score_listener.hear(waveform))


def figures_of(
    wanted: Sequence[Wanted], made: Sequence[HeardClip], real: Sequence[HeardClip]
) -> dict[str, Accuracy]:
    """Each figure of the clips, by chance (the next clip's values), and of the pieces."""
    own = _rows(wanted, made)
    others = _rows([*wanted[1:], wanted[0]], made)
    ceiling = _rows(wanted, real)
    figures = {}
    for name in TITLES:
        values, most = own[name], ceiling[name]
        kept, known = values[~np.isnan(values)], most[~np.isnan(most)]
        if not len(kept) or not len(known):
            continue
        figures[name] = Accuracy(
            float(kept.mean()),
            *mean_interval(kept),
            len(kept),
            float(np.nanmean(others[name])),
            float(known.mean()),
            *mean_interval(known),
        )
    return figures


def _rows(wanted: Sequence[Wanted], heard: Sequence[HeardClip]) -> Mapping[str, np.ndarray]:
    rows = [_judged(each, other) for each, other in zip(wanted, heard, strict=True)]
    return {name: np.array([row[name] for row in rows]) for name in TITLES}


def _judged(wanted: Wanted, clip: HeardClip) -> dict[str, float]:
    """How right one clip is in each respect, 0 … 1; NaN where nothing is asked."""
    controls, heard = wanted.controls, clip.heard
    assert controls.bpm is not None
    assert controls.key is not None
    verdict, course = judge(heard.tempo, controls.bpm), agreement(clip.score, wanted.score)
    meters = [beat.meter for beat in clip.score.beats]
    meter = max(set(meters), key=meters.count) if meters else 0
    return {
        "tempo": float(verdict == "right"),
        "octave": float(verdict != "wrong"),
        "beats": course["beat"],
        "downbeats": course["downbeat"],
        "meter": float((meter % 3 == 0) == (controls.meter == 3)) if meter else 0.0,
        "key": float(heard.key == str(controls.key)),
        "mode": float(heard.mode == controls.key.mode),
        "roots": course.get("root", float("nan")),
        "triads": course.get("chord", float("nan")),
        "drums": float(heard.drums == controls.drums),
        "pulse": heard.pulse,  # of whatever is asked
    }


def format_table(figures: Mapping[str, Accuracy]) -> str:
    """A line for each figure."""
    lines = [f"{'':<22}{'clips':>6}{'as asked':>20}{'by chance':>11}{'in real music':>22}"]
    for name, each in figures.items():
        asked = f"{each.value:.2f} ({each.low:.2f}-{each.high:.2f})"
        ceiling = f"{each.ceiling:.2f} ({each.ceiling_low:.2f}-{each.ceiling_high:.2f})"
        lines.append(f"{TITLES[name]:<22}{each.prompts:>6}{asked:>20}{each.shuffled:>11.2f}{ceiling:>22}")
    return "\n".join(lines)


def table_of(figures: Mapping[str, Accuracy]) -> Table:
    """What the model card shows of it."""
    rows: list[list[Any]] = [
        [
            TITLES[name],
            f"{each.value:.2f} ({each.low:.2f} to {each.high:.2f})",
            f"{each.shuffled:.2f}",
            f"{each.ceiling:.2f}",
        ]
        for name, each in figures.items()
    ]
    head = ["value", "as asked, 95 % interval", "by chance", "in real music"]
    return Table("Whether music has the values that it is given", head, rows)
