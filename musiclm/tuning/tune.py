"""`musiclm tune`: adapters of a model's stages learn a user's own music, in minutes, by one command.

    mine/model.yaml, *.safetensors    the adapters: `musiclm generate --adapter mine`
    mine/tokens/                      the music as tokens; the guard compares with it what is generated
    mine/runs/semantic/               the training of an adapter, which a killed command goes on from
    mine/clips/                       clips of the model before and after, and excerpts of the music
    mine/report/                      what has changed: tune.json, and the audit of the tuned music

Every step is done again where it is not whole, and kept where it is: the same command goes on.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

from musiclm.audit.guard import Guard
from musiclm.bundle import Bundle, merge
from musiclm.bundle.adapters import TUNED_ON, Adapters, base_role
from musiclm.bundle.commands import save_adapted
from musiclm.bundle.reading import MODEL_FILE
from musiclm.data.labelling import CORPUS
from musiclm.data.sources import SourceOptions
from musiclm.data.sources.options import is_inside
from musiclm.data.store import TokenStore
from musiclm.data.token_crops import TokenCrops
from musiclm.evaluate.results import Table, write_results
from musiclm.extras import check_package
from musiclm.files import only_writer, shown
from musiclm.generation.decoders import choose_decoder
from musiclm.generation.pipeline import MusicLM
from musiclm.machine.device import Device, choose_device
from musiclm.stages.adapters import Adaptable, BlockSizes, LoraConfig
from musiclm.training.adapters import StageName
from musiclm.training.cli import main as fit
from musiclm.training.objectives import Dropping, objective_of
from musiclm.training.shipped_configs import FOLDER
from musiclm.tuning.changes import (
    Listening,
    as_content,
    changes_table,
    excerpts,
    held_out,
    prompts_of,
    remembered,
    sound_of,
    sound_rows,
)
from musiclm.tuning.music import Crops, Preparing, hold_out, prepare, summary_of

RUNS, CLIPS, REPORT = "runs", "clips", "report"
BESIDE = (TUNED_ON, RUNS, CLIPS, REPORT)  # the adapters' own files
# Of a crop, as configs/ has them
SECONDS: dict[str, float] = {"semantic": 15.0, "coarse": 5.0, "fine": 3.0, "denoiser": 6.0}
EXCERPTS = 10  # of the music itself, that clips are measured beside
FEW = 20  # recordings, which are learned by heart quickly


@dataclass(frozen=True)
class Learning:
    """How adapters are trained.

    Args:
        stages: that learn, in this order.
        minutes: that training may take, all stages together.
        rank, dora: of the adapters.
        config: layered over configs/adapter.yaml.
        seed: of every draw.

    Raises:
        ValueError: a value cannot be.
    """

    stages: tuple[str, ...]
    minutes: float
    rank: int
    dora: bool
    config: Path | None
    seed: int

    def __post_init__(self) -> None:
        known = get_args(StageName)
        LoraConfig(self.rank)  # before hours of work
        if not self.stages or len(set(self.stages)) < len(self.stages) or set(self.stages) - set(known):
            raise ValueError(f"expected --stages of {', '.join(known)}, got {', '.join(self.stages)!r}")
        if not 0 < self.minutes < 1e5:
            raise ValueError(f"expected --minutes above 0, got {self.minutes:g}")
        if self.config is not None and not self.config.is_file():
            raise FileNotFoundError(f"expected a configuration at {shown(self.config)}, found none")


def tune(
    audio: list[Path],
    out: Path = Path("mine"),
    bundle: str = "default",
    stages: str = "",
    minutes: float = 40.0,
    rank: int = 8,
    dora: bool = False,
    clips: int = 10,
    vocabulary: str = CORPUS,
    config: Path | None = None,
    workers: int = 0,
    strict: bool = False,
    seed: int = 0,
    device: Device = "auto",
    source: SourceOptions = SourceOptions(),  # noqa: B008
) -> None:
    """Let a model learn your own music: small adapters of its stages, for `musiclm generate --adapter`.

    It tokenizes the music, describes what has no captions, trains until held-out music becomes no better, and
    says what has changed. When it was stopped, the same command goes on.

    Args:
        audio: recordings, as of `tokenize`. What cannot be used is left out, and named.
        out: the folder of the adapters, outside of the music: a new one, or one of this command.
        bundle: the model that learns: a shipped bundle's name, a folder, or a Hugging Face id.
        stages: that learn, of semantic, coarse, fine and denoiser; by default semantic, and denoiser where
            there is one.
        minutes: that training may take, all stages together; tokenizing and measuring come on top.
        rank: of the adapters: a higher one can learn more, and more by heart.
        dora: learn the length of each row of a matrix by itself (DoRA).
        clips: of each, the model before and after, that are made to measure their sound; 0 makes none.
        vocabulary: of descriptions: a text with a sentence a line; or corpus, as of `label`.
        config: a YAML that is layered over configs/adapter.yaml, for other values of the training.
        workers: processes that tokenize; 0 takes one per CPU that may be used.
        strict: exit with 2 if any file is left out.
        seed: of every draw.
        device: cpu, cuda, cuda:1 or mps; auto takes the first GPU, or else the CPU.
        source: how tables are read, and what is held out.
    """
    base = Bundle.find(bundle)
    names = tuple(name.strip() for name in stages.split(",")) if stages else _usual_stages(base)
    learning = Learning(names, minutes, rank, dora, config, seed)
    if clips < 0:
        raise ValueError(f"expected clips of 0 or more, got {clips}")
    if clips:
        check_package("librosa")  # which measures them, when all else is done
    place = str(choose_device(device))
    roles = [base_role(name) for name in names]
    for role in roles:
        BlockSizes.of(base.load(role))  # whether an adapter can change it, before hours of work
    _check_free(out, audio)
    with _leaving_nothing_empty(out), only_writer(out / RUNS):
        how = Preparing(vocabulary, workers, strict, source, place)
        store = prepare(audio, out / TUNED_ON, base, roles, how)
        hold_out(store.folder, max(Crops.of(list(store), SECONDS[name]).seconds for name in names))
        store = TokenStore(store.folder)
        print(summary_of(store))
        crops = {name: Crops.of(list(store), SECONDS[name]) for name in names}
        for name in names:
            _train(name, out, base, learning, crops[name], device=place)
        parts = [Bundle(part) for name in SECONDS if (part := out / RUNS / name / "part").is_dir()]
        adapters = merge(parts, out, beside=BESIDE)
        print(f"{', '.join(adapters.components)} ({adapters.fingerprint()}): {shown(out)}")
        _report(store, out, base, learning, crops, clips=clips, device=place)
    _say_how_to_use(store, out, bundle, clips)


def _usual_stages(base: Bundle) -> tuple[str, ...]:
    """What learns unless it is named: the semantic stage, and a denoiser that an adapter can change."""
    learns = "denoiser" in base.components and bool(base.load("denoiser").matrices_to_adapt())
    return ("semantic", "denoiser") if learns else ("semantic",)


@contextmanager
def _leaving_nothing_empty(out: Path) -> Iterator[None]:
    """Where there was nothing to learn from, no empty folders stay."""
    try:
        yield
    finally:
        for folder in (out / RUNS, out):
            with suppress(OSError):  # it holds something
                folder.rmdir()


def _check_free(out: Path, audio: list[Path]) -> None:
    """Raise ValueError where the adapters would stand among other things, or in the music itself."""
    if inside := [each for each in audio if each.is_dir() and is_inside(out, each)]:
        raise ValueError(
            f"expected --out outside of the music, {shown(out)} is in {shown(inside[0])}: clips would be "
            "taken for music"
        )
    if not out.is_dir() or (out / MODEL_FILE).is_file() or (out / RUNS).is_dir():
        return
    if other := [file.name for file in out.iterdir() if not file.name.startswith(".")]:
        raise ValueError(
            f"expected a new folder, or one of `musiclm tune`, {shown(out)} holds {min(other)}: name another"
        )


def _train(name: str, out: Path, base: Bundle, learning: Learning, crops: Crops, *, device: str) -> None:
    """Train the adapter of a stage, or go on with it, until its configuration or its time ends it."""
    share = max(round(learning.minutes * 60 / len(learning.stages)), 1)  # seconds
    days, rest = divmod(share, 86_400)
    kind, _, number = device.partition(":")
    accelerator = "gpu" if kind == "cuda" else kind
    fit(
        [
            "fit",
            f"--config={FOLDER / 'adapter.yaml'}",
            f"--model.init_args.base={base.path}",
            f"--model.init_args.stage={name}",
            f"--model.init_args.part.init_args.lora.rank={learning.rank}",
            f"--model.init_args.part.init_args.lora.dora={str(learning.dora).lower()}",
            f"--data.init_args.seconds={crops.seconds}",
            f"--data.init_args.clear_of_end={crops.clear_of_end}",
            f"--data.init_args.crops_per_epoch={crops.training}",
            f"--data.init_args.validation_crops={crops.validation}",
            f"--data.init_args.seed={learning.seed}",
            f"--trainer.max_time={days:02d}:{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}",
            f"--trainer.accelerator={accelerator}",
            f"--trainer.devices={f'[{number or 0}]' if kind == 'cuda' else 1}",
            f"--seed_everything={learning.seed}",
            *([f"--config={learning.config}"] if learning.config else []),
            f"--tokens={out / TUNED_ON}",
            f"--out={out / RUNS / name}",
        ]
    )


def _report(
    store: TokenStore,
    out: Path,
    base: Bundle,
    learning: Learning,
    crops: dict[str, Crops],
    *,
    clips: int,
    device: str,
) -> None:
    """Measure what has changed, print it, and write it to the report."""
    adapted = Adapters([out], dict.fromkeys(base.components, base))
    content: dict[str, Any] = {
        "base": base.fingerprint(),
        "music": summary_of(store),
        "perplexity": {},
        "loss": {},
    }
    rows = []
    for name in learning.stages:
        role, own = base_role(name), crops[name]
        data = TokenCrops(store.folder, own.seconds, batch_size=8, validation_crops=own.validation)
        plain: Adaptable = base.load(role)
        objective = objective_of(plain, base, Dropping())
        before = held_out(plain.to(device), objective, data)
        after = held_out(adapted.merged(role, plain.cpu()).to(device), objective, data)
        content[objective.measure][name] = {"before": before, "after": after}
        cells = ["-" if math.isnan(each) else f"{each:.4g}" for each in (before, after)]
        rows.append([f"held-out {objective.measure}, {name}", "", *cells, ""])
    if clips and (prompts := prompts_of(store, clips)):
        columns = _listen(store, out, base, Listening(prompts, out / CLIPS, device, learning.seed))
        rows += sound_rows(columns)
        content |= {"prompts": prompts, "sound": as_content(columns)}
    head = ["", "", "before", "after", "your music"]
    print("\n".join(["", *changes_table(rows, head), ""]))
    said = []
    if "semantic" in learning.stages:
        tuned = save_adapted(out / RUNS / "semantic" / "tuned", "semantic_stage", base, adapted)
        clear = crops["semantic"].clear_of_end
        said = remembered(store, tuned, out / REPORT, clear_of_end=clear, device=device, seed=learning.seed)
        print("\n".join(said))
    content |= {"memorization": said}
    (out / REPORT).mkdir(exist_ok=True)
    table = Table("What tuning has changed", head, rows, said)
    print(write_results(out / REPORT / "tune.json", "tune", content, table))


def _listen(store: TokenStore, out: Path, base: Bundle, listening: Listening) -> dict[str, dict[str, Any]]:
    """Summaries of how clips of the model sound before and after, and the music itself."""
    # One decoder for both, or the change of it would pass for the tuning's.
    adapted = Adapters([out], dict.fromkeys(base.components, base)).changed
    decoder = choose_decoder("auto", base, adapted)
    load = partial(MusicLM.from_bundle, base, device=listening.device, decoder=decoder)
    before = listening.clips("before", load())
    tuned = load(adapters=[out])
    try:
        guard = Guard.of(store.folder, tuned)
    except ValueError as error:  # there is too little music to say what is near
        print(f"no guard: {error}")
        guard = None
    after = listening.clips("after", tuned, guard)
    yours = excerpts(store, listening.folder, EXCERPTS)
    files = {"before": before, "after": after, "your music": yours}
    return {name: sound_of(each) for name, each in files.items()}


def _say_how_to_use(store: TokenStore, out: Path, bundle: str, clips: int) -> None:
    if len(store) < FEW:
        print(
            f"{len(store)} recordings are few: they are learned by heart quickly, and more of them by a "
            "higher --rank and by more minutes."
        )
    print(
        "What is generated with the adapters is compared with your music, and refused where it is as near as "
        "a copy (--guard no does not look)."
    )
    prompt = (prompts_of(store, 1) or ["a calm violin melody"])[0].replace('"', "'")
    of = "" if bundle == "default" else f" --bundle {bundle}"
    print(f'musiclm generate "{prompt}"{of} --adapter {shown(out)}')
