"""Every YAML in configs/ opens with what it is for, parses, and gives no value that the data decides."""

from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from musiclm.generation.settings import KINDS, GenerationSettings
from musiclm.training.cli import TrainingCLI

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
PARTS = [path for path in CONFIGS if path.name != "generation.yaml"]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT / "configs"))


@pytest.mark.parametrize("path", CONFIGS, ids=name)
def test_a_config_opens_with_its_purpose_and_command(path: Path) -> None:
    header = path.read_text(encoding="utf-8").split("\n\n")[0]
    assert header.startswith("# ")
    assert "musiclm " in header or "Layered over" in header or "Layers over" in header


def test_every_part_has_a_tiny_and_a_paper_size() -> None:
    parts = {path.name for path in PARTS if path.parent.name == "configs"}
    assert len(parts) == 17
    assert {path.name for path in PARTS if path.parent.name == "tiny"} == parts
    # The paper's trunk has waveforms in the place of spectra, and so no low band; it follows no score; an
    # adapter has the size of its base; and the latents are those of our codec.
    ours = {"adapter.yaml", "latents.yaml", "low_band.yaml", "planner.yaml", "score_listener.yaml"}
    assert {path.name for path in PARTS if path.parent.name == "paper"} == parts - ours


@pytest.mark.parametrize("path", PARTS, ids=name)
def test_a_config_parses_over_its_part_s_default(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lightning

    layers = [ROOT / "configs" / path.name, *([] if path.parent.name == "configs" else [path])]
    data = ["--data.init_args.audio", "corpus"]
    if path.stem in ("semantic", "coarse", "fine", "planner", "adapter", "latents", "denoiser"):
        data = ["--data.init_args.tokens", "tokens"]
    if path.stem.startswith("melody"):
        data = ["--data.init_args.melodies", "melodies"]
    if path.stem == "denoiser":
        data += ["--model.init_args.autoencoder", "latents"]
    words = [word for layer in layers for word in ("--config", str(layer))]
    monkeypatch.setattr("sys.argv", ["musiclm", "fit", *words, *data, "--print_config"])
    with pytest.raises(SystemExit) as stop:
        TrainingCLI(
            ExitStack(),
            model_class=lightning.LightningModule,
            datamodule_class=lightning.LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
        )
    assert not stop.value.code


@pytest.mark.parametrize("path", PARTS, ids=name)
def test_a_config_ends_by_steps_or_epochs_and_never_by_the_clock(path: Path) -> None:
    """Two machines train the same, however fast they are."""
    trainer = yaml.safe_load(path.read_text(encoding="utf-8")).get("trainer", {})
    assert "max_time" not in trainer
    if path.parent.name == "configs":
        assert len({"max_steps", "max_epochs"} & trainer.keys()) == 1


@pytest.mark.parametrize("path", PARTS, ids=name)
def test_a_config_leaves_linked_values_to_the_data(path: Path) -> None:
    words = yaml.safe_load(path.read_text(encoding="utf-8"))
    part = words.get("model", {}).get("init_args", {}).get("part", {}).get("init_args", {})
    assert "streams" not in part


def test_the_settings_of_generation_are_known_ones() -> None:
    words = yaml.safe_load((ROOT / "configs" / "generation.yaml").read_text(encoding="utf-8"))
    for name, role in GenerationSettings.ROLES.items():
        if role in words:
            KINDS[name](**words.pop(role))
    assert not words
