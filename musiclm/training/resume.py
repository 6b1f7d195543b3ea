"""Going on with a run: with the values it was begun with, or not at all.

A checkpoint keeps a record of how its run was begun: the values that decide what is learned, the music, the
tokenizers. The same command goes on with the run. With another value, the optimizer's state would keep the
old one while the configuration names the new one: that is refused. A run that begins in a folder of its own,
from another run's checkpoint (`--ckpt_path`), takes its own values.
"""

import hashlib
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning
import yaml
from lightning.pytorch.callbacks import Callback, Timer

from musiclm.bundle import Bundle, aliases, only_role
from musiclm.bundle.adapters import base_role
from musiclm.bundle.component import Component
from musiclm.corpus.melodies import TABLE_NAME
from musiclm.data.crops import AudioCrops
from musiclm.data.melody_windows import MelodyVersions
from musiclm.data.plans import Plans
from musiclm.data.token_crops import TokenCrops
from musiclm.training.checkpoint import Found
from musiclm.training.learned import names_learned

CONFIG = "config.yaml"
HEARD_BY_PLANNER = "joint_embedding"  # what a planner knows of music beside its words
# Arguments of a model: the folder of the frozen part that it is fitted to.
TEACHERS = ("w2v_bert", "mulan", "melody", "autoencoder")
# Values of the trainer that decide what is learned; the others say for how long, where, and what is reported.
TRAINER = (
    "precision",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "limit_train_batches",
    "overfit_batches",
    "fast_dev_run",
    "sync_batchnorm",
    "use_distributed_sampler",
)
# Values of the model and of the data that do not; folders count by what is in them.
FREE_OF_MODEL = {
    *TEACHERS,
    "base",
    "activation_checkpointing",
    "compile_backend",
    "foreach",
    "fused",
    "capturable",
}
FREE_OF_DATA = {"tokens", "audio", "melodies", "labels", "strict"}
FREE_OF_DATA |= {"num_workers", "validation_crops", "validation_windows"}
ELSEWHERE = "name another folder (--out), or remove it"
DIGESTED = 10_000  # recordings of a store whose tokens tell it from others
SHOWN = 3  # values that a message names


def record_of(
    config: dict[str, Any], part: object, data: lightning.LightningDataModule | None, processes: int
) -> dict[str, Any]:
    """How a run is begun: what its checkpoints keep.

    Args:
        config: of the command, as plain values.
        part: that is trained.
        data: it learns from.
        processes: of the run, each with a batch of its own.
    """
    fitted = _fitted_to(config)
    return {
        "part": type(part).__name__,
        "trained_on": teachers_of(part, data) | {role: each.fingerprint for role, each in fitted.items()},
        "formerly": {role: list(each.formerly) for role, each in fitted.items() if each.formerly},
        "values": values_that_matter(config),
        "max_time": config.get("trainer", {}).get("max_time"),
        "music": _music(data),
        "processes": processes,
    }


def values_that_matter(config: dict[str, Any]) -> dict[str, Any]:
    """The values of a configuration that decide what is learned."""
    trainer = config.get("trainer") or {}
    return {
        "seed_everything": config.get("seed_everything"),
        "trainer": {name: trainer[name] for name in TRAINER if name in trainer},
        "model": _without(FREE_OF_MODEL, config.get("model")),
        "data": _without(FREE_OF_DATA, config.get("data")),
    }


def differences(before: Any, now: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    """Name, old and new value of what differs; names that only one side has say nothing: versions differ."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return [] if before == now else [(name, before, now)]
    if before.get("class_path") != now.get("class_path"):
        return [(name, before.get("class_path"), now.get("class_path"))]
    return [
        each
        for key in sorted(before.keys() & now.keys())
        for each in differences(before[key], now[key], f"{name}.{key}".lstrip("."))
    ]


def in_words(changed: list[tuple[str, Any, Any]]) -> str:
    """The first of what `differences` has found, for a message."""
    words = "; ".join(f"--{name} {_shown(now)} (was {_shown(then)})" for name, then, now in changed[:SHOWN])
    return words + (f"; and {len(changed) - SHOWN} more" if len(changed) > SHOWN else "")


def check_same_run(found: Found, record: dict[str, Any]) -> None:
    """Raise ValueError where a run would go on with other values than it was begun with."""
    before = found.record
    folder = found.path.parent
    check_same_part(found, record)
    values = before.get("values") or _values_of_older(folder)
    changed = differences(values, record["values"])
    if changed:
        raise ValueError(
            f"expected the values that {folder} was begun with, got {in_words(changed)}: {_as_before(found)}"
        )
    music, now = before.get("music") or {}, record["music"]
    if music and now and music["digest"] != now["digest"]:
        raise ValueError(
            f"expected the music that {folder} was begun with, {music['count']} recordings of "
            f"{music['folder']}, got {now['count']} of {now['folder']}, not the same: {_as_before(found)}"
        )
    if before.get("processes", record["processes"]) != record["processes"]:
        raise ValueError(
            f"expected {before['processes']} processes (--trainer.devices), as {folder} was begun with, got "
            f"{record['processes']}, which would make other batches: {_as_before(found)}"
        )


def check_same_part(found: Found, record: dict[str, Any]) -> None:
    """Raise ValueError for a checkpoint of another part, or of tokens or features of other tokenizers."""
    before = found.record
    if before.get("part", record["part"]) != record["part"]:
        raise ValueError(
            f"expected {found.path} to be of {record['part']}, it is of {before['part']}: {ELSEWHERE}"
        )
    learned = aliases.by_role(before.get("trained_on", {}))
    for role, fingerprint in record["trained_on"].items():
        then = learned.get(role, fingerprint)
        if then not in (fingerprint, *record["formerly"].get(role, ())):
            raise ValueError(f"expected the {role} of {found.path} ({then}), got {fingerprint}: {ELSEWHERE}")


def check_beginning(found: Found, record: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """What differs from the run whose checkpoint another run begins from.

    Raises:
        ValueError: the checkpoint is of another part, or its optimizer's state is of another optimizer.
    """
    check_same_part(found, record)
    changed = differences(found.record.get("values", {}), record["values"])
    for name, then, now in changed:
        if name.endswith(".optimizer"):
            raise ValueError(f"expected the optimizer whose state {found.path} holds, {then}, got {now}")
    return changed


def check_time_left(found: Found, trainer: lightning.Trainer, max_time: str | None) -> None:
    """Raise ValueError for a run that is to end before the step, epoch or second that it has reached."""
    where = f"which {found.path} has reached"
    if 0 <= trainer.max_steps < found.step:
        raise ValueError(
            f"expected max_steps of {found.step} or more, {where}, got {trainer.max_steps}: {ELSEWHERE}"
        )
    if trainer.max_epochs is not None and 0 <= trainer.max_epochs <= found.epoch:
        raise ValueError(
            f"expected max_epochs of {found.epoch + 1} or more, {where}, got {trainer.max_epochs}: "
            f"{ELSEWHERE}"
        )
    for timer in trainer.callbacks:  # type: ignore[attr-defined]
        if not isinstance(timer, Timer) or (left := timer.time_remaining()) is None or not found.seconds:
            continue
        if left < found.seconds and found.record.get("max_time", max_time) != max_time:
            raise ValueError(
                f"expected a max_time of {found.seconds:.0f} s or more, {where}, got {max_time}: {ELSEWHERE}"
            )


class OwnOptimizerValues(Callback):
    """The optimizer's values are those of the configuration, not those that a checkpoint brings.

    They are the same where a run goes on; where one begins from another's checkpoint, they need not be.
    """

    def on_fit_start(self, trainer: lightning.Trainer, *_: object) -> None:
        """Before the optimizers' states are restored."""
        self.own = [[dict(group, params=()) for group in each.param_groups] for each in trainer.optimizers]

    def on_train_start(self, trainer: lightning.Trainer, *_: object) -> None:
        for optimizer, own in zip(trainer.optimizers, self.own, strict=True):
            for group, values in zip(optimizer.param_groups, own, strict=True):
                peak = group.get("initial_lr")
                own_peak = values.get("initial_lr")
                rate = group["lr"] * own_peak / peak if peak and own_peak is not None else values["lr"]
                group.update(values, params=group["params"], lr=rate)
        for scheduler in (config.scheduler for config in trainer.lr_scheduler_configs):
            scheduler.base_lrs = [group["initial_lr"] for group in scheduler.optimizer.param_groups]


def teachers_of(part: object, data: lightning.LightningDataModule | None) -> dict[str, str]:
    """Fingerprints of the tokenizers whose tokens a stage learns, and of the embedding that a planner does.

    Only those: a semantic stage stays good when the codec is trained again. None for what learns from audio.
    """
    if isinstance(data, Plans):
        made = data.description.fingerprints
        return {role: value for role, value in made.items() if role == HEARD_BY_PLANNER}
    if not isinstance(data, TokenCrops):
        return {}
    made_by = {role for name in names_learned(part) for role in data.description[name].made_by}
    return {name: value for name, value in data.description.fingerprints.items() if name in made_by}


def _fitted_to(config: dict[str, Any]) -> dict[str, Component]:
    """The frozen component that this one is fitted to, by role: w2v-BERT, or the base of an adapter."""
    values = (config.get("model") or {}).get("init_args") or {}
    bundles = [Bundle(values[name]) for name in TEACHERS if name in values]
    fitted = {role: bundle.component(role) for bundle in bundles for role in [only_role(bundle)]}
    if "base" in values:
        role = base_role(values["stage"])
        fitted[role] = Bundle.find(values["base"]).component(role)
    return fitted


def _music(data: lightning.LightningDataModule | None) -> dict[str, Any]:
    """Where the training recordings are, how many, and a digest that others do not have; moved ones do."""
    if isinstance(data, TokenCrops):
        rows = data.split("train")
        some = rows[:: math.ceil(len(rows) / DIGESTED)]
        tokens = ((row.id, row.semantic[:1000].tobytes()) for row in some)
        return {"folder": str(data.tokens), "count": len(rows), "digest": _digest(tokens)}
    if isinstance(data, Plans):
        plans = data.split("train")
        known = ((plan.tokens, plan.captions) for plan in plans)
        return {"folder": str(data.tokens), "count": len(plans), "digest": _digest(known)}
    if isinstance(data, AudioCrops):
        recordings = data.split("train")
        folders = data.audio if isinstance(data.audio, list) else [data.audio]
        sizes = sorted((file.path.name, file.path.stat().st_size, *file.captions) for file in recordings)
        return {
            "folder": ", ".join(map(str, folders)),
            "count": len(recordings),
            "digest": _digest(sizes),
        }
    if isinstance(data, MelodyVersions):
        table = (Path(data.melodies) / TABLE_NAME).read_bytes()
        count = len(data.split("train"))
        return {"folder": str(data.melodies), "count": count, "digest": _digest([table])}
    return {}


def _digest(items: Iterable[object]) -> str:
    digest = hashlib.sha256()
    for item in items:
        digest.update(repr(item).encode())
    return digest.hexdigest()[:16]


def _without(names: set[str], value: Any) -> Any:
    """A copy without the keys of these names, at any depth."""
    if not isinstance(value, dict):
        return value
    return {key: _without(names, inner) for key, inner in value.items() if key not in names}


def _values_of_older(folder: Path) -> dict[str, Any]:
    """What a run of an older version, whose checkpoints have no record, was begun with by its config.yaml."""
    file = folder / CONFIG
    if not file.is_file():
        return {}
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    return values_that_matter(config) if isinstance(config, dict) else {}


def _as_before(found: Found) -> str:
    return (
        "give it as it was; or name another folder (--out), and begin there anew "
        f"or from these weights (--ckpt_path {found.path})"
    )


def _shown(value: Any) -> str:
    words = str(value)
    return words if len(words) <= 60 else f"{words[:57]}..."
