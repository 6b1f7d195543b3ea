"""`musiclm fit|validate`: Lightning CLI for every trainable part.

A run lives in one folder (`--trainer.default_root_dir`), named after the part it trains:

    runs/soundstream/config.yaml     the whole configuration that it trains with
    runs/soundstream/last.ckpt       renewed as it trains; a run that was stopped goes on from it
    runs/soundstream/previous.ckpt   the one before, for when the last one is broken
    runs/soundstream/part/           the trained part as a bundle, written when the run has ended

One process at a time trains in it.
"""

import logging
import sys
import time
import warnings
from contextlib import ExitStack
from inspect import signature
from pathlib import Path
from typing import Any

import lightning
import torch
import yaml
from jsonargparse import ArgumentError
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

from musiclm.bundle import Storage, save_component
from musiclm.data.loading import HoldsOut, no_validation
from musiclm.files import only_writer, remove_leftovers, write_whole
from musiclm.stages.adapters import StageAdapter
from musiclm.training.checkpoint import (
    LAST,
    CheckpointFiles,
    Found,
    LastCheckpoint,
    find_checkpoint,
    read_checkpoint,
)
from musiclm.training.divergence import Diverged, StopWhenDiverged
from musiclm.training.learned import learned_streams
from musiclm.training.mistakes import plain
from musiclm.training.precision import computed_in
from musiclm.training.processes import check_alone, is_first_process, say
from musiclm.training.resume import (
    CONFIG,
    ELSEWHERE,
    OwnOptimizerValues,
    check_beginning,
    check_same_part,
    check_same_run,
    check_time_left,
    in_words,
    record_of,
)
from musiclm.training.sharded import Sharded
from musiclm.training.shipped_configs import with_shipped
from musiclm.training.short_names import explanation, with_long_names
from musiclm.training.stages import StageTraining

PURPOSES = {
    "fit": "Train a part.",
    "validate": "Measure a part on the recordings that were held out of its training.",
}


class PlainLines(Callback):
    """One line per validation with all its figures, or per epoch of a run without: for a log file to keep."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._print(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not trainer.val_dataloaders:
            self._print(trainer)

    def _print(self, trainer: lightning.Trainer) -> None:
        if not trainer.is_global_zero:
            return
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        words = " ".join(f"{name}={value:.4g}" for name, value in sorted(figures.items()))
        elapsed = (time.monotonic() - self.started) / 60
        print(f"step {trainer.global_step}, {elapsed:.1f} min: {words}", file=sys.stderr, flush=True)


class KeepConfig(SaveConfigCallback):
    """Writes the run's configuration when it begins to train with it, and never to measure it."""

    def setup(self, *_: object, **__: object) -> None:
        pass

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.is_global_zero:
            content = self.parser.dump(self.config, skip_none=False)
            write_whole(Path(trainer.default_root_dir) / CONFIG, content.encode())


class TrainingCLI(LightningCLI):
    """Lightning's command line with the defaults of this project.

    Args:
        held: what is to be let go when the command ends: the run's folder.
        kwargs: of `LightningCLI`.
    """

    def __init__(self, held: ExitStack, **kwargs: Any) -> None:
        self.held = held
        self.found: Found | None = None  # the checkpoint that is gone on from
        super().__init__(**kwargs)

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Lightning's, without those that are no commands here: there is no test split to measure."""
        every = LightningCLI.subcommands()
        return {name: every[name] for name in PURPOSES}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--storage", type=Storage, default="float16", help="precision that the trained part is kept in"
        )
        parser.add_argument(
            "--threads", type=int, default=0, help="CPU threads; 0: as many as there are CPUs to use"
        )
        # A stage speaks the tokens of its store, which never stand in a YAML; other parts know none.
        parser.link_arguments(
            "data.streams", "model.init_args.part.init_args.streams", apply_on="instantiate"
        )
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
        if config.weights_only is False:
            raise ValueError("expected no --weights_only false: code in a checkpoint is never run")
        if config.trainer.precision == "16-true":
            raise ValueError(
                "expected a precision of 32-true, bf16-mixed or 16-mixed, got 16-true, in which the "
                "optimizer's eps is 0: the weights would become NaN"
            )
        root = Path(config.trainer.default_root_dir)
        if self.config.subcommand == "fit" and is_first_process():
            self.held.enter_context(only_writer(root))
            remove_leftovers(root, LAST)

    def instantiate_trainer(self, **kwargs: Any) -> lightning.Trainer:
        settings = self._get(self.config_init, "trainer")
        root = Path(settings.default_root_dir)
        model = self._get(self.config_init, "model")
        if not any(value.requires_grad for value in model.parameters()):
            check_alone(settings, type(model.part).__name__)
            kwargs["devices"] = 1
        elif settings.strategy == "fsdp":
            if not isinstance(model, StageTraining):
                raise ValueError(f"expected a stage to shard, got {type(model.part).__name__}: use ddp")
            kwargs["strategy"] = Sharded()
        kwargs["precision"] = computed_in(settings.precision, settings.accelerator)
        self.in_float32_for = settings.precision if kwargs["precision"] != settings.precision else None
        self.files, self.checkpoints = CheckpointFiles(), LastCheckpoint(root / LAST)
        kwargs["plugins"] = [*(settings.plugins or []), self.files]
        kwargs["callbacks"] = [
            *(settings.callbacks or []),
            StopWhenDiverged(root / LAST),
            self.checkpoints,
            OwnOptimizerValues(),
            PlainLines(),
        ]
        fits = self.config.subcommand == "fit"
        kwargs["logger"] = TensorBoardLogger(root, name="", version="") if fits else False
        return super().instantiate_trainer(**kwargs)

    def before_fit(self) -> None:
        self._find_beginning()
        if self.in_float32_for:
            say(f"computing in float32: this CPU has no instructions for bfloat16 ({self.in_float32_for})")

    def _find_beginning(self) -> None:
        """Look for the checkpoint to go on from, and refuse one of another run."""
        root, begin = Path(self.trainer.default_root_dir), self.config.fit.ckpt_path
        record = self._record()
        self.checkpoints.record = record
        if self.trainer.limit_val_batches and (reason := self._unmeasured()):
            no_validation(reason, self.trainer)
            self.trainer.limit_val_batches = 0
        if begin is not None and Path(begin).resolve().parent == root.resolve():
            own: Found | None = read_checkpoint(Path(begin))
        else:
            own = find_checkpoint(root)
        self.found = own or (read_checkpoint(Path(begin)) if begin else None)
        self.config_init.fit.weights_only = True
        self.config_init.fit.ckpt_path = None
        if not self.found:
            return
        if own:
            check_same_run(own, record)
            self.files.last_is_broken = own.path.name != LAST
            begins = f"resuming from {own.path}"
        else:
            changed = check_beginning(self.found, record)
            words = f", with {in_words(changed)}" if changed else ""
            begins = f"beginning from {self.found.path}, step {self.found.step}{words}"
        check_time_left(self.found, self.trainer, record["max_time"])
        say(begins)
        self.config_init.fit.ckpt_path = str(self.found.path)

    def before_validate(self) -> None:
        root, chosen = Path(self.trainer.default_root_dir), self.config.validate.ckpt_path
        found = read_checkpoint(Path(chosen)) if chosen else find_checkpoint(root)
        if not found:
            raise FileNotFoundError(
                f"expected a trained run to measure, found no {root / LAST}: fit it first"
            )
        check_same_part(found, self._record())
        if reason := self._unmeasured():
            raise ValueError(f"expected held-out recordings to measure, {reason}")
        self.config_init.validate.ckpt_path = str(found.path)
        self.config_init.validate.weights_only = True

    def after_fit(self) -> None:
        if not self.trainer.is_global_zero or self.trainer.interrupted:
            return
        root = Path(self.trainer.default_root_dir)
        if not all(value.isfinite().all() for value in self.model.part.state_dict().values()):
            raise Diverged(
                "expected finite weights, the training has diverged to NaN or infinity: train into another "
                "folder with a smaller learning rate"
            )
        unready = getattr(self.model, "unready", lambda: None)()
        if unready:
            raise ValueError(f"{unready}: train longer (the run goes on from {root / LAST})")
        if self.found and self.trainer.global_step == self.found.step:
            say(f"nothing was left to train, the run had ended at step {self.found.step}")
        role = self.model.role
        class_path, init_args = self._spec()
        bundle = save_component(
            root / "part",
            role,
            self.model.part,
            class_path=class_path,
            init_args=init_args,
            storage=self.config.fit.storage,
            trained_on=self.checkpoints.record["trained_on"],
            formerly=getattr(self.model, "formerly", ()),
        )
        say(f"trained {role} ({bundle.fingerprint(role)}): {bundle.path}")

    def _spec(self) -> tuple[str, dict[str, Any]]:
        """Class and constructor values of the trained part, as its bundle is to name them."""
        part, words = self.model.part, self.config.fit.model.init_args.part.as_dict()
        init_args = words.get("init_args") or {}
        if "streams" in signature(type(part)).parameters:
            init_args |= {"streams": learned_streams(part, self.datamodule.streams)}
        if isinstance(part, StageAdapter):  # its sizes are those of its base
            init_args = part.init_args()
        return words["class_path"], init_args

    def _unmeasured(self) -> str | None:
        """Why the data has nothing to measure with; None where it has, or does not know."""
        return self.datamodule.unmeasured() if isinstance(self.datamodule, HoldsOut) else None

    def _record(self) -> dict[str, Any]:
        if self.datamodule is not None:
            # As Lightning does later: the record reads the music, and reports what is left out in the run.
            self.datamodule.trainer = self.trainer
        words = self._parser(self.subcommand).dump(self.config[self.subcommand], skip_none=False)
        return record_of(yaml.safe_load(words), self.model.part, self.datamodule, self.trainer.world_size)


def main(arguments: list[str]) -> None:
    """Run a subcommand of Lightning CLI: fit, validate."""
    before = sys.argv
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its hints and advertisements
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    for known in ("`training_step` returned `None`", "Be aware that when using `ckpt_path`"):
        warnings.filterwarnings("ignore", f".*{known}")  # on purpose, both
    arguments = with_shipped(with_long_names(arguments))
    # Lightning reads them there, warns of any given otherwise, and starts further processes by the first one.
    sys.argv = [before[0], *arguments]
    quiet, explained = {"exit_on_error": False}, {"description": f"{PURPOSES[arguments[0]]} {explanation()}"}
    held = ExitStack()
    try:
        TrainingCLI(
            held,
            subclass_mode_model=True,
            subclass_mode_data=True,
            model_class=lightning.LightningModule,
            datamodule_class=lightning.LightningDataModule,
            seed_everything_default=0,
            auto_configure_optimizers=False,  # optimizers are injected callables of each module
            save_config_callback=KeepConfig,
            parser_kwargs={**quiet, "fit": {**quiet, **explained}, "validate": {**quiet, **explained}},
        )
    except Diverged:
        if not is_first_process():
            sys.exit(0)  # all processes have stopped together, and the first one says so
        raise
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
        held.close()
        sys.argv = before
