"""Would a listener be content? `musiclm evaluate bars`, which `make check-default` runs.

It asks the questions of `ladder` and `control`, and holds the figures against bars. The bars are what people
would ask of music for a prompt, not what a model reaches today; each says why it is where it is.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from musiclm.data.left_out import Report
from musiclm.evaluate import ladder_table
from musiclm.evaluate.control import Accuracy, accuracies, ceiling_of, listen_to_prompts, read_prompts
from musiclm.evaluate.control import format_table as control_table
from musiclm.evaluate.heard_attributes import ATTRIBUTES
from musiclm.evaluate.ladder import climb, read_clips
from musiclm.evaluate.ladder_steps import CAPTION, CODEC, EMBEDDING, ORIGINAL, TRUE_TOKENS
from musiclm.evaluate.ladder_table import TITLES, Row
from musiclm.evaluate.listener import Listener, fingerprint
from musiclm.evaluate.results import Table, write_results
from musiclm.files import only_writer_to
from musiclm.generation.pipeline import MusicLM
from musiclm.machine.cpus import usable_cpus
from musiclm.machine.device import Device, choose_device

HELD_OUT_WORDINGS = "held-out wordings"
SECONDS = 10.0
CLIPS, SEEDS, PIECES = 60, 6, 100
QUICK_CLIPS, QUICK_SEEDS, QUICK_PROMPTS, QUICK_PIECES = 6, 1, 14, 10  # a tenth


@dataclass(frozen=True)
class Bar:
    """What a listener asks of one figure.

    Args:
        step: of the ladder, or HELD_OUT_WORDINGS.
        what: the ladder's column, or the attribute.
        least: the figure that contents.
        why: it is there.
        of_original: whether `least` is a share of what the clips themselves have.
    """

    step: str
    what: str
    least: float
    why: str
    of_original: bool = False


BARS = (
    Bar(CODEC, "chroma_low", 0.9, "a bass line keeps its notes: what the codec loses nothing brings back"),
    Bar(CODEC, "chroma_high", 0.95, "and so does a tune"),
    Bar(TRUE_TOKENS, "tempo", 0.85, "the tokens of a beat give the beat"),
    Bar(TRUE_TOKENS, "chroma_high", 0.85, "the tokens of a tune give the tune"),
    Bar(EMBEDDING, "pulse", 0.5, "half the pulse of the corpus: one can tap along", of_original=True),
    Bar(EMBEDDING, "tempo", 0.5, "the pace of the clip it is to be like, in every second piece"),
    Bar(EMBEDDING, "key", 0.4, "one key throughout, and most often that of the clip"),
    Bar(EMBEDDING, "lead", 0.5, "of twenty instruments, the right one in every second piece"),
    Bar(CAPTION, "pulse", 0.5, "as from a recording", of_original=True),
    Bar(CAPTION, "drums", 0.85, "drums are the plainest thing that there is to hear"),
    Bar(CAPTION, "lead", 0.5, "nearly every caption names it"),
    Bar(CAPTION, "genre", 0.4, "captions name it or what goes with it; the corpus's genres overlap"),
    Bar(HELD_OUT_WORDINGS, "drums", 0.9, "who asks for no drums hears each one"),
    Bar(HELD_OUT_WORDINGS, "tempo_class", 0.6, "slow is not fast: chance is a third"),
    Bar(HELD_OUT_WORDINGS, "tempo", 0.5, "a number of beats per minute is a plain wish"),
    Bar(HELD_OUT_WORDINGS, "mode", 0.7, "sad or glad: chance is a half"),
    Bar(HELD_OUT_WORDINGS, "key", 0.4, "a key that is named"),
    Bar(HELD_OUT_WORDINGS, "lead", 0.5, "the instrument that is named leads in every second piece"),
    Bar(HELD_OUT_WORDINGS, "genre", 0.5, "a waltz for who asks for a waltz, in every second piece"),
)


@dataclass(frozen=True)
class Verdict:
    """A bar, and the figure with its 95 % interval that is held against it."""

    bar: Bar
    least: float
    value: float
    low: float
    high: float

    @property
    def passed(self) -> bool:
        """Whether the figure reaches the bar."""
        return self.value >= self.least


@only_writer_to("out")
def bars(
    bundle: str = "default",
    quick: bool = False,
    seed: int = 0,
    out: Path = Path("bars"),
    device: Device = "auto",
) -> None:
    """Hold what is heard of a model against what a listener asks for; exit code 1 if it falls short.

    Args:
        bundle: the model to judge.
        quick: a tenth of the clips, in a minute: intervals are wide.
        seed: as in `musiclm evaluate ladder` and `control`.
        out: the folder for bars.json.
        device: cpu, cuda, cuda:1 or mps; auto takes the first GPU, or else the CPU.
    """
    workers = usable_cpus() if choose_device(device).type == "cpu" else 1
    listener, model = Listener.load(), MusicLM.from_pretrained(bundle, device=device)
    clips = read_clips(None, QUICK_CLIPS if quick else CLIPS, SECONDS, seed, Report())
    rows = climb(model, listener, clips, seed=seed, workers=workers).rows
    print(f"{ladder_table.format_table(rows)}\n\n{ladder_table.format_lost(rows)}\n")
    prompts = read_prompts()[: QUICK_PROMPTS if quick else None]
    seeds, pieces = (QUICK_SEEDS, QUICK_PIECES) if quick else (SEEDS, PIECES)
    heard = listen_to_prompts(model, listener, prompts, seeds=seeds, seconds=SECONDS, seed=seed)
    figures = accuracies(prompts, heard, ceiling_of(listener, pieces, SECONDS, seed))
    print(f"{control_table(figures)}\n")
    verdicts = judge(rows, figures)
    print(
        f"{len(clips)} clips and {len(prompts)} prompts x {seeds} of {SECONDS:g} s, seed {seed}; "
        f"bundle {bundle} ({model.fingerprint})"
    )
    print(format_table(verdicts))
    content = {
        "verdicts": [{**asdict(each), "passed": each.passed} for each in verdicts],
        "clips": len(clips),
        "prompts": len(prompts),
        "seeds": seeds,
        "seconds": SECONDS,
        "seed": seed,
        "sample_rate": model.sample_rate,
        "reference": "the reference corpus, held out",
        "bundle": {"name": bundle, "fingerprint": model.fingerprint},
        "listener": fingerprint(),
    }
    print(write_results(out / "bars.json", "evaluate bars", content, table_of(verdicts)))
    if not all(each.passed for each in verdicts):
        sys.exit(1)


def judge(rows: Mapping[str, Row], figures: Mapping[str, Accuracy]) -> list[Verdict]:
    """The figures that there are against their bars; a model without a codec, say, has none of its own."""
    verdicts = []
    for bar in BARS:
        found = (
            figures.get(bar.what) if bar.step == HELD_OUT_WORDINGS else rows.get(bar.step, {}).get(bar.what)
        )
        if found is not None:
            least = bar.least * (rows[ORIGINAL][bar.what].value if bar.of_original else 1.0)
            verdicts.append(Verdict(bar, least, found.value, found.low, found.high))
    return verdicts


def table_of(verdicts: Sequence[Verdict]) -> Table:
    """What the model card shows of it."""
    rows = [
        [
            "yes" if each.passed else "no",
            each.bar.step,
            TITLES.get(each.bar.what) or ATTRIBUTES[each.bar.what].title,
            f"{each.value:.2f} ({each.low:.2f} to {each.high:.2f})",
            f"{each.least:.2f}",
        ]
        for each in verdicts
    ]
    head = ["reached", "of", "what", "figure, 95 % interval", "bar"]
    return Table("What a listener asks for", head, rows)


def format_table(verdicts: Sequence[Verdict]) -> str:
    """A line for each bar, short ones marked, and how many there are of them."""
    lines = [f"{'':<6}{'':<38}{'':<14}{'figure':>18}{'bar':>6}  why"]
    for each in verdicts:
        title = TITLES.get(each.bar.what) or ATTRIBUTES[each.bar.what].title
        figure = f"{each.value:.2f} ({each.low:.2f}-{each.high:.2f})"
        mark = "ok" if each.passed else "SHORT"
        lines.append(f"{mark:<6}{each.bar.step:<38}{title:<14}{figure:>18}{each.least:6.2f}  {each.bar.why}")
    short = sum(not each.passed for each in verdicts)
    lines.append(f"{short} of {len(verdicts)} fall short" if short else f"all {len(verdicts)} are reached")
    return "\n".join(lines)
