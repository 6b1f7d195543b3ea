"""`musiclm fit|validate|test`: Lightning CLI for every trainable part.

A run lives in one folder (`--trainer.default_root_dir`), named after the part it trains:

    runs/soundstream/config.yaml     the whole configuration
    runs/soundstream/last.ckpt       written each epoch; a run that was stopped goes on from it
    runs/soundstream/part/           the trained part as a bundle, written when the run has ended
"""

import inspect
import logging
import re
import sys
import time
from pathlib import Path
from typing import Any

import lightning
import torch
from jsonargparse import ArgumentError
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

from musiclm.bundle import Bundle, Storage, save_part
from musiclm.data.store import MADE_BY
from musiclm.data.token_crops import TokenCrops
from musiclm.stages.stage import Stage
from musiclm.training.sharded import Sharded
from musiclm.training.stages import StageTraining

CHECKPOINT = "last.ckpt"

# A stage speaks the tokens of its store: these values of the data go to the part's constructor where it takes
# them (jsonargparse skips the others), and never stand in a YAML.
LINKS = (
    "mulan_levels",
    "mulan_codebook_size",
    "melody_levels",
    "melody_codebook_size",
    "semantic_codebook_size",
    "semantic_frame_rate",
    "acoustic_codebook_size",
    "acoustic_frame_rate",
    "acoustic_levels",
)


ELSEWHERE = "name another folder (--trainer.default_root_dir), or remove it"


class LastCheckpoint(Checkpoint):
    """One checkpoint, renewed every few minutes and after every epoch by rename: when killed, it is whole.

    Lightning's own ModelCheckpoint writes in place. Crops are drawn by their number, so that a run goes on
    exactly as if it had not been stopped.
    """

    seconds_between = 120.0

    def __init__(self, path: Path, part: str) -> None:
        self.path = path
        self.part = part
        self.saved = time.monotonic()

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["musiclm"] = self._about(trainer)

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Called after the weights were loaded, so what they belong to by shape is known to fit."""
        about = checkpoint.get("musiclm", self._about(trainer))
        if about != self._about(trainer):
            raise ValueError(
                f"expected {self.path} to be of {self._about(trainer)}, it is of {about}: {ELSEWHERE}"
            )

    def _about(self, trainer: lightning.Trainer) -> dict[str, Any]:
        """What a checkpoint belongs to: the part, and the tokenizers whose tokens it learns."""
        data = getattr(trainer, "datamodule", None)
        return {"part": self.part, "trained_on": teachers_of(trainer.lightning_module.part, data)}

    def on_train_batch_start(self, trainer: lightning.Trainer, *_: object) -> None:
        """Before a batch, when everything the last one does is done."""
        if time.monotonic() - self.saved >= self.seconds_between and trainer.world_size == 1:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._save(trainer)

    def on_exception(self, trainer: lightning.Trainer, *_: object) -> None:
        kept = f"the same command goes on from {self.path}" if self.path.is_file() else "nothing is kept yet"
        print(f"stopped at step {trainer.global_step}: {kept}", file=sys.stderr)

    def _save(self, trainer: lightning.Trainer) -> None:
        self.saved = time.monotonic()
        temporary = self.path.with_suffix(".part")
        trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            temporary.replace(self.path)


class PlainLines(Callback):
    """One line per validation with all its figures: what a log file wants to see."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        words = " ".join(f"{name}={value:.4g}" for name, value in sorted(figures.items()))
        elapsed = (time.monotonic() - self.started) / 60
        print(f"step {trainer.global_step}, {elapsed:.1f} min: {words}", file=sys.stderr, flush=True)


class TrainingCLI(LightningCLI):
    """Lightning's command line with the defaults of this project."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--storage", type=Storage, default="float16", help="precision that the trained part is kept in"
        )
        parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves torch's choice")
        for name in LINKS:
            target = f"model.init_args.part.init_args.{name}"
            parser.link_arguments(f"data.{name}", target, apply_on="instantiate")
        parser.set_defaults(
            {
                "trainer.default_root_dir": "runs/unnamed",
                "trainer.enable_model_summary": False,
                "trainer.enable_progress_bar": sys.stderr.isatty(),
                "trainer.num_sanity_val_steps": 0,
            }
        )

    def before_instantiate_classes(self) -> None:
        config = self.config[self.config.subcommand]
        if config.threads < 0:
            raise ValueError(f"expected 0 or more threads, got {config.threads}")
        if config.threads:
            torch.set_num_threads(config.threads)

    def instantiate_trainer(self, **kwargs: Any) -> lightning.Trainer:
        settings = self._get(self.config_init, "trainer")
        root = Path(settings.default_root_dir)
        model = self._get(self.config_init, "model")
        if settings.strategy == "fsdp":
            if not isinstance(model, StageTraining):
                raise ValueError(f"expected a stage to shard, got {type(model.part).__name__}: use ddp")
            kwargs["strategy"] = Sharded()
        kwargs["callbacks"] = [
            *(settings.callbacks or []),
            LastCheckpoint(root / CHECKPOINT, type(model.part).__name__),
            PlainLines(),
        ]
        kwargs["logger"] = TensorBoardLogger(root, name="", version="")
        return super().instantiate_trainer(**kwargs)

    def before_fit(self) -> None:
        checkpoint = Path(self.trainer.default_root_dir) / CHECKPOINT
        if checkpoint.is_file() and not self.config.fit.ckpt_path:
            self.config_init.fit.ckpt_path = str(checkpoint)
            print(f"resuming from {checkpoint}", file=sys.stderr)

    def before_validate(self) -> None:
        checkpoint = Path(self.trainer.default_root_dir) / CHECKPOINT
        if self.config.validate.ckpt_path:
            return
        if not checkpoint.is_file():
            raise FileNotFoundError(f"expected a trained run to measure, found no {checkpoint}: fit it first")
        self.config_init.validate.ckpt_path = str(checkpoint)

    def after_fit(self) -> None:
        if not self.trainer.is_global_zero or self.trainer.interrupted:
            return
        root = Path(self.trainer.default_root_dir)
        if not all(value.isfinite().all() for value in self.model.part.state_dict().values()):
            raise ValueError(
                "expected finite weights, the training has diverged to NaN or infinity: remove "
                f"{root / CHECKPOINT} and train with a smaller learning rate"
            )
        unready = getattr(self.model, "unready", lambda: None)()
        if unready:
            raise ValueError(f"{unready}: train longer (the run goes on from {root / CHECKPOINT})")
        name = self.model.part_name
        words = self.config.fit.model.init_args.part.as_dict()
        init_args = words.get("init_args") or {}
        accepted = inspect.signature(type(self.model.part)).parameters
        init_args |= {name: getattr(self.datamodule, name) for name in LINKS if name in accepted}
        bundle = save_part(
            root / "part",
            name,
            self.model.part,
            class_path=words["class_path"],
            init_args=init_args,
            storage=self.config.fit.storage,
            trained_on=teachers_of(self.model.part, self.datamodule) | self._teachers(),
        )
        print(f"trained {name} ({bundle.fingerprint(name)}): {bundle.path}", file=sys.stderr)

    def _teachers(self) -> dict[str, str]:
        """Fingerprint of the frozen part that this one was fitted to: k-means to w2v-BERT, say."""
        values = self.config.fit.model.init_args
        folders = {name: Bundle(values[name]) for name in ("w2v_bert", "mulan", "melody") if name in values}
        return {name: bundle.fingerprint(next(iter(bundle.parts))) for name, bundle in folders.items()}


def teachers_of(part: object, data: lightning.LightningDataModule | None) -> dict[str, str]:
    """Fingerprints of the tokenizers whose tokens a stage learns; none for what learns from audio.

    Only those: a semantic stage stays good when the codec is trained again.
    """
    if not (isinstance(data, TokenCrops) and isinstance(part, Stage)):
        return {}
    made_by = {name for segment in part.layout.segments for name in MADE_BY[segment.key]}
    return {name: value for name, value in data.description.fingerprints.items() if name in made_by}


def plain(message: str) -> str:
    """What went wrong inside a jsonargparse message, without the types it tried on the way."""
    if "required: fit.data" in message or "required: validate.data" in message:
        return "expected a configuration: --config configs/PART.yaml, with layers of others after it"
    lacking = re.search(
        r"class_path 'musiclm\.data\.[^']*':\s*(?:- )?the following arguments are required: (\w+)", message
    )
    if lacking:
        return f"expected --data.init_args.{lacking[1]} FOLDER (see the configuration's first lines)"
    if "class_path 'lightning.LightningModule'" in message:
        return (
            f"expected a whole configuration (--config configs/PART.yaml) before its layers: {_last(message)}"
        )
    if " unrecognized arguments" in f" {message}" and ".yaml" in message:
        return f"{message}: expected --config before a configuration's name"
    return _last(message)


def _last(message: str) -> str:
    """The innermost complaint of a jsonargparse message."""
    inner = re.findall(
        r"(?:Errors:\s*- |Problem with given class_path '[^']*':\s*)(.*?)(?:\s*- Expected a|$)", message, re.S
    )
    return " ".join((inner[-1] if inner else message).split())[:500]


def main(arguments: list[str]) -> None:
    """Run a subcommand of Lightning CLI: fit, validate, test."""
    before = sys.argv
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its hints and advertisements
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    if arguments[0] == "test":  # recordings are held out once: measuring them is validating
        arguments = ["validate", *arguments[1:]]
    # Lightning reads them there, warns of any given otherwise, and starts further processes by the first one.
    sys.argv = [before[0], *arguments]
    quiet = {"exit_on_error": False}
    try:
        TrainingCLI(
            subclass_mode_model=True,
            subclass_mode_data=True,
            model_class=lightning.LightningModule,
            datamodule_class=lightning.LightningDataModule,
            seed_everything_default=0,
            auto_configure_optimizers=False,  # optimizers are injected callables of each module
            save_config_kwargs={"overwrite": True},
            parser_kwargs={**quiet, "fit": quiet, "validate": quiet, "test": quiet, "predict": quiet},
        )
    except (ArgumentError, ValueError, MisconfigurationException) as error:
        raise ValueError(plain(str(error))) from error
    except RuntimeError as error:
        if "loading state_dict" not in str(error):
            raise
        raise ValueError(
            f"expected a checkpoint of the same part at the same size, got another one's: {ELSEWHERE}"
        ) from error
    except SIGTERMException:
        sys.exit(143)  # Lightning would leave with 0, as if the part were trained
    except SystemExit as stop:  # how Lightning ends after Ctrl-C
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        sys.argv = before
