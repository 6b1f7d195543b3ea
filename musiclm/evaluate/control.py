"""Does a prompt get what it asks for? `musiclm evaluate control`.

The prompts are held-out wordings (`held_out_prompts.yaml`): no caption of the corpus can say what they say,
and no training reads them. Each is made from several seeds, and a listener (`listener.py`) says what is
heard. How often that is what was asked for stands beside what the same clips reach for other prompts' wishes,
which is chance, and beside what the listener hears in held-out pieces of the corpus: more cannot be reached.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from musiclm.corpus.genres import GENRES
from musiclm.corpus.instruments import LEADS
from musiclm.corpus.theory import key_name
from musiclm.evaluate.heard_attributes import ATTRIBUTES, Labels, spelled_out
from musiclm.evaluate.labelled_clips import corpus_clips
from musiclm.evaluate.listener import MODES, SHORTEST, Heard, Listener, fingerprint
from musiclm.evaluate.results import Table, write_results
from musiclm.files import only_writer_to, shown, write_whole
from musiclm.generation.pipeline import MusicLM
from musiclm.machine.device import Device, choose_device
from musiclm.metrics.statistics import mean_interval
from musiclm.plots import Panel, sheet
from musiclm.progress import Progress, progress

PROMPTS = Path(__file__).with_name("held_out_prompts.yaml")
LONGEST = 30.0  # seconds of a clip
# What may stand beside a text; of a tempo, a number of bpm.
ASKED: dict[str, tuple[object, ...]] = {
    "drums": (True, False),
    "tempo": (),
    "tempo_class": ("slow", "moderate", "fast"),
    "mode": MODES,
    "key": tuple(key_name(tonic, mode) for tonic in range(12) for mode in MODES),
    "lead": LEADS,
    "genre": tuple(GENRES),
}


@dataclass(frozen=True)
class Prompt:
    """A text, and the labels that it asks for."""

    text: str
    asks: dict[str, Any]


@dataclass(frozen=True)
class Accuracy:
    """How often an attribute is heard, 0 … 1, with a 95 % interval; the prompts are what is drawn anew.

    Args:
        value, low, high: of the clips.
        prompts: that ask for it.
        shuffled: of the same clips and other prompts' wishes; None where there are none.
        ceiling, ceiling_low, ceiling_high: of the listener, on held-out pieces.
    """

    value: float
    low: float
    high: float
    prompts: int
    shuffled: float | None
    ceiling: float
    ceiling_low: float
    ceiling_high: float


@only_writer_to("out")
def control(
    bundle: str = "default",
    prompts: Path = PROMPTS,
    seeds: int = 6,
    seconds: float = 10.0,
    seed: int = 0,
    pieces: int = 100,
    out: Path = Path("control"),
    device: Device = "auto",
) -> None:
    """Print how often the music has what its prompt asks for, beside chance and what the listener can hear.

    Args:
        bundle: the model to judge: a shipped bundle's name, a folder, or a Hugging Face id.
        prompts: a YAML list of texts with the labels they ask for; by default the held-out wordings.
        seeds: clips of each prompt.
        seconds: of each clip, 5 to 30.
        seed: of the first clip of every prompt, and of the corpus that the listener is tried on.
        pieces: of it.
        out: the folder for control.json and control.svg.
        device: cpu, cuda, cuda:1 or mps; auto takes the first GPU, or else the CPU.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the prompts are no such list, or there is nothing to make of them.
    """
    check_size(seeds, seconds, pieces)
    asked = read_prompts(prompts)
    choose_device(device)
    listener, model = Listener.load(), MusicLM.from_pretrained(bundle, device=device)
    heard = listen_to_prompts(model, listener, asked, seeds=seeds, seconds=seconds, seed=seed)
    figures = accuracies(asked, heard, ceiling_of(listener, pieces, seconds, seed))
    print(
        f"{len(asked)} prompts, {seeds} clips of {seconds:g} s of each from seed {seed} on; bundle {bundle} "
        f"({model.fingerprint}); ceiling: {pieces} held-out pieces of the reference corpus"
    )
    print(format_table(figures))
    content = {
        "attributes": {name: asdict(figure) for name, figure in figures.items()},
        "prompts": [
            {"text": prompt.text, "asks": prompt.asks, "heard": [asdict(each) for each in row]}
            for prompt, row in zip(asked, heard, strict=True)
        ],
        "seeds": seeds,
        "seconds": seconds,
        "seed": seed,
        "sample_rate": model.sample_rate,
        "reference": f"{pieces} held-out pieces of the reference corpus, seed {seed}",
        "bundle": {"name": bundle, "fingerprint": model.fingerprint},
        "listener": fingerprint(),
    }
    print(write_results(out / "control.json", "evaluate control", content, table_of(figures)))
    write_whole(out / "control.svg", chart(figures).encode())
    print(out / "control.svg")


def check_size(seeds: int, seconds: float, pieces: int) -> None:
    """Raise ValueError where there would be nothing to listen to."""
    if seeds < 1 or pieces < 1 or not SHORTEST <= seconds <= LONGEST:
        raise ValueError(
            f"expected 1 seed and 1 piece or more, and clips of {SHORTEST:g} to {LONGEST:g} s, got {seeds}, "
            f"{pieces} and {seconds:g} s"
        )


def read_prompts(file: Path = PROMPTS) -> list[Prompt]:
    """The prompts of a file, with what follows from what they ask for (a key has a mode).

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no list of texts with labels.
    """
    try:
        entries = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"expected a YAML list of prompts in {shown(file)}: {error}") from None
    prompts = []
    for entry in entries if isinstance(entries, list) else [entries]:
        if not isinstance(entry, dict) or not isinstance(entry.get("text"), str):
            raise ValueError(f"expected entries with a text in {shown(file)}, got {entry!r}")
        labels = {name: value for name, value in entry.items() if name != "text"}
        for name, value in labels.items():
            _check_label(name, value, file)
        prompts.append(Prompt(entry["text"], spelled_out(labels)))
    return prompts


def _check_label(name: str, value: object, file: Path) -> None:
    if name not in ASKED:
        raise ValueError(f"expected labels among {', '.join(ASKED)} in {shown(file)}, got {name!r}")
    if name == "tempo" and (isinstance(value, bool) or not isinstance(value, int | float) or value <= 0):
        raise ValueError(f"expected a tempo in bpm in {shown(file)}, got {value!r}")
    if name != "tempo" and value not in ASKED[name]:
        raise ValueError(
            f"expected a {name} of {', '.join(map(str, ASKED[name]))} in {shown(file)}, got {value!r}"
        )


def listen_to_prompts(
    model: MusicLM,
    listener: Listener,
    prompts: Sequence[Prompt],
    *,
    seeds: int,
    seconds: float,
    seed: int = 0,
) -> list[list[Heard]]:
    """What is heard in the clips of every prompt: a row of `seeds` each."""
    heard = []
    with Progress("prompts", len(prompts) * seeds, unit="clip") as counter:
        for prompt in prompts:
            row = []
            for number in range(seeds):
                clip = model.generate(prompt.text, seconds=seconds, seed=seed + number)
                row.append(listener.hear(clip))
                counter.advance()
            heard.append(row)
    return heard


def ceiling_of(listener: Listener, pieces: int, seconds: float, seed: int) -> dict[str, np.ndarray]:
    """Of each attribute, in which of so many held-out pieces the listener hears it rightly: [pieces]."""
    clips = progress(corpus_clips("valid", pieces, seconds, seed), total=pieces, description="ceiling")
    told = [(listener.hear(clip.audio), spelled_out(clip.labels)) for clip in clips]
    return {
        name: np.array([each.holds(heard, labels[each.label]) for heard, labels in told], dtype=float)
        for name, each in ATTRIBUTES.items()
    }


def accuracies(
    prompts: Sequence[Prompt], heard: Sequence[Sequence[Heard]], ceiling: Mapping[str, np.ndarray]
) -> dict[str, Accuracy]:
    """The accuracy of every attribute that a prompt asks for."""
    figures = {}
    for name, attribute in ATTRIBUTES.items():
        asking = [n for n, prompt in enumerate(prompts) if attribute.label in prompt.asks]
        if not asking:
            continue
        wishes: list[Labels] = [prompts[n].asks for n in asking]
        pairs = np.array(
            [[[attribute.holds(clip, wish[attribute.label]) for clip in heard[n]] for n in asking]
             for wish in wishes],
            dtype=float,
        )  # [wishes, prompts, seeds]  # fmt: skip
        own = pairs[np.arange(len(asking)), np.arange(len(asking))]  # [prompts, seeds]
        others = pairs[~np.eye(len(asking), dtype=bool)]
        figures[name] = Accuracy(
            float(own.mean()),
            *mean_interval(own),
            len(asking),
            float(others.mean()) if len(others) else None,
            float(ceiling[name].mean()),
            *mean_interval(ceiling[name]),
        )
    return figures


def table_of(figures: Mapping[str, Accuracy]) -> Table:
    """What the model card shows of it."""
    rows = [
        [
            ATTRIBUTES[name].title,
            f"{each.value:.2f} ({each.low:.2f} to {each.high:.2f})",
            "" if each.shuffled is None else f"{each.shuffled:.2f}",
            f"{each.ceiling:.2f}",
            str(each.prompts),
        ]
        for name, each in figures.items()
    ]
    head = ["asked for", "heard, 95 % interval", "by chance", "the listener at most", "prompts"]
    return Table("Whether held-out wordings get what they ask for", head, rows)


def format_table(figures: Mapping[str, Accuracy]) -> str:
    """A line for each attribute."""
    lines = [f"{'':<16}{'prompts':>8}{'accuracy':>20}{'shuffled':>10}{'the listener at most':>24}"]
    for name, each in figures.items():
        accuracy = f"{each.value:.2f} ({each.low:.2f}-{each.high:.2f})"
        ceiling = f"{each.ceiling:.2f} ({each.ceiling_low:.2f}-{each.ceiling_high:.2f})"
        shuffled = "" if each.shuffled is None else f"{each.shuffled:.2f}"
        lines.append(
            f"{ATTRIBUTES[name].title:<16}{each.prompts:>8}{accuracy:>20}{shuffled:>10}{ceiling:>24}"
        )
    return "\n".join(lines)


def chart(figures: Mapping[str, Accuracy]) -> str:
    """Each attribute's accuracy and interval, chance and ceiling as short lines beside it: an SVG file."""
    panel = Panel("What prompts ask for and get", (-0.5, len(figures) - 0.5), (0.0, 1.0))
    panel.y_axis([(tick / 5, f"{tick / 5:g}") for tick in range(6)])
    names = [ATTRIBUTES[name].title.replace(" ", "\n", 1) for name in figures]
    panel.x_axis(list(enumerate(names)), "dashed: at most, and by chance")
    for place, each in enumerate(figures.values()):
        panel.line([(place, each.low), (place, each.high)], "line")
        for level in (each.ceiling, each.shuffled):
            if level is not None:
                panel.line([(place - 0.3, level), (place + 0.3, level)], "line dashed second")
    panel.dots([(place, each.value) for place, each in enumerate(figures.values())], "dots")
    return sheet([panel], "How often prompts get what they ask for")
