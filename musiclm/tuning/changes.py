"""What tuning has changed: how well held-out music is foreseen, how clips sound, what is known by heart."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from musiclm.audio import Audio
from musiclm.audit.audit import audit
from musiclm.audit.calibration import TARGET, halves, least_rate
from musiclm.audit.continuation import CONTINUATION
from musiclm.audit.examples import draw, stretches
from musiclm.audit.guard import Guard, Sample
from musiclm.audit.sentences import comparison_sentence, finding_sentence, near_copies_sentence
from musiclm.bundle import Bundle
from musiclm.data.store import TokenRow, TokenStore
from musiclm.data.token_crops import TokenCrops
from musiclm.evaluate.sound import MEASURES, measure
from musiclm.evaluate.summary import Summary
from musiclm.files import shown
from musiclm.generation.pipeline import MusicLM
from musiclm.generation.request import Request
from musiclm.machine.device import Device
from musiclm.stages.adapters import Adaptable
from musiclm.training.objectives import Objective

SECONDS = 10.0  # of a clip
SHOWN = 50  # tokens, 2 s, that the audit shows of a stretch
EXAMPLES = 64  # of the audit
NEGATIVES = 2_000  # pairs of unrelated stretches of the audit, at most
FEWEST_NEGATIVES = 100  # with fewer, a threshold would say nothing
SOUNDS = ("pulse", "on_one_grid", "harmonic_to_noise", "attack", "entropy_low", "loudness", "repetition")


@torch.inference_mode()
def held_out(network: Adaptable, objective: Objective, data: TokenCrops) -> float:
    """What a network's objective measures over the held-out crops; NaN where nothing is held out."""
    if data.unmeasured():
        return math.nan
    objective.read(data)
    device = next(network.parameters()).device
    total, rows = 0.0, 0
    loader = data.val_dataloader()
    assert isinstance(loader, DataLoader)
    for index, batch in enumerate(loader):
        there = {name: value.to(device) for name, value in batch.items()}
        codes = data.on_after_batch_transfer(there, 0)
        count = len(codes["semantic"])
        total += float(objective.measured(network, codes, index)[0]) * count
        rows += count
    return objective.figure(total / rows)


@dataclass(frozen=True)
class Listening:
    """What is listened to.

    Args:
        prompts: of the clips, one each.
        folder: where clips are kept.
        device: where the models run.
        seed: of the first clip.
    """

    prompts: Sequence[str]
    folder: Path
    device: Device = "auto"
    seed: int = 0

    def clips(self, name: str, model: MusicLM, guard: Guard | None = None) -> list[Path]:
        """Clips of a model, one of each prompt; of a guarded model, what the guard says is printed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        files, near = [], 0
        for number, prompt in enumerate(self.prompts):
            request = Request(prompt, SECONDS, self.seed + number)
            if guard is None:
                audio = model.perform(request).listen()[0]
            else:
                sample: Sample = guard.generate(model, request, action="label")[0]
                audio, near = sample.audio, near + (not sample.verdict.passes)
            files.append(self.folder / f"{name}-{number + 1}.wav")
            audio.save(files[-1])
        if guard is not None:
            print(f"{near} of {len(files)} clips of the tuned model are as near as a copy to its music")
        return files


def prompts_of(store: TokenStore, count: int) -> list[str]:
    """Captions of different recordings, those held out first."""
    rows = sorted(store, key=lambda row: row.split != "valid")  # stable
    captions = [row.captions[0] for row in rows if row.captions]
    return list(dict.fromkeys(captions))[:count]


def excerpts(store: TokenStore, folder: Path, count: int) -> list[Path]:
    """As long as clips are, from the middle of recordings: files in the folder, of those that can be read."""
    files: list[Path] = []
    for row in store:
        if len(files) == count:
            break
        start = max(row.seconds - SECONDS, 0.0) / 2
        file = folder / f"yours-{len(files) + 1}.wav"
        try:
            Audio.load(row.path, start=start, seconds=SECONDS).mono().save(file)
        except (ValueError, OSError):  # it is no longer where it was
            continue
        files.append(file)
    return files


def sound_of(files: Sequence[Path]) -> dict[str, Summary]:
    """The medians of what a listener hears in clips; one that cannot be measured is left out."""
    values: list[dict[str, float]] = []
    for file in files:
        try:
            values.append(measure(file))
        except (ValueError, OSError) as error:
            print(f"not measured: {shown(file)}: {' '.join(str(error).split())}")
    return {key: Summary.of([each[key] for each in values], MEASURES[key].statistic) for key in SOUNDS}


def sound_rows(columns: Mapping[str, Mapping[str, Summary]]) -> list[list[str]]:
    """A row of text for each measure that something is known of, a cell for each column of summaries."""
    return [
        [MEASURES[key].words, MEASURES[key].unit, *(str(column[key]) for column in columns.values())]
        for key in SOUNDS
        if any(column[key].clips for column in columns.values())
    ]


def remembered(
    store: TokenStore, model: Bundle, folder: Path, *, clear_of_end: float, device: Device, seed: int
) -> list[str]:
    """What an audit of the tuned stage says, in sentences; where there is too little music for one, that.

    Args:
        store: of the music that it has learned.
        model: the bundle of the tuned semantic stage.
        folder: of the audit's report.
        clear_of_end: seconds at the end of recordings that training left out.
        device: where the stage runs.
        seed: of every draw.
    """
    training = [row for row in store if row.split == "train"]
    rate = store.description["semantic"].rate
    examples, negatives = _enough(training, clear=math.ceil(clear_of_end * rate), seed=seed)
    if negatives < FEWEST_NEGATIVES:
        return [
            "Too few recordings to tell memory from chance by an audit: suppose that they are known by heart."
        ]
    report = audit(
        store.folder,
        folder,
        str(model.path),
        examples=examples,
        prompt_tokens=(SHOWN,),
        negatives=negatives,
        false_positive_rate=max(TARGET, least_rate(negatives)),
        clear_of_end=clear_of_end,
        search=False,
        audio=False,
        seed=seed,
        device=device,
    )
    said = (finding_sentence(report), near_copies_sentence(report), comparison_sentence(report))
    return [sentence for sentence in said if sentence]


def _enough(training: Sequence[TokenRow], *, clear: int, seed: int) -> tuple[int, int]:
    """How many stretches an audit may ask for, and how many unrelated pairs of them there are."""
    population = stretches(
        training, training, length=SHOWN + CONTINUATION, apart=CONTINUATION, clear_of_end=clear
    )
    examples = min(EXAMPLES, len(population))
    if not examples:
        return 0, 0
    drawn = draw(population, count=examples, seed=seed)
    half = halves(drawn.recordings)
    possible = []
    for side in (0, 1):
        own = drawn.recordings[(half == side) & (drawn.copies == 1)]
        _, sizes = torch.unique(torch.from_numpy(own), return_counts=True)
        possible.append(len(own) ** 2 - int(sizes.square().sum()))
    return examples, min(*possible, NEGATIVES)


def changes_table(rows: Sequence[Sequence[str]], head: Sequence[str]) -> list[str]:
    """Lines of a table of text."""
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    lines: list[str] = []
    for row in (head, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return lines


def as_content(columns: Mapping[str, Mapping[str, Summary]]) -> dict[str, Any]:
    """The same figures for a results file."""
    return {key: {name: vars(column[key]) for name, column in columns.items()} for key in SOUNDS}
