"""An autoencoder learns, and what it has learned makes the latents that a denoiser learns, and its sound."""

from pathlib import Path
from typing import Any

import pytest
import torch

from musiclm import MusicLM
from musiclm.bundle import Bundle, merge
from musiclm.cli import main
from musiclm.data.store import TokenStore
from musiclm.generation.diffusion_decoder import DiffusionDecoder
from musiclm.tokenizers.autoencoder import WaveformAutoencoder
from musiclm.training.autoencoder import AutoencoderTraining
from musiclm.training.discriminators import PeriodsAndResolutions
from tests.tiny import folder_of_tones, noise
from tests.tiny_model import PROMPT, make_bundle
from tests.tokenizers.test_autoencoder import make

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*Checkpoint directory.*exists and is not empty.*"),
]
CONFIGS = Path(__file__).parents[2] / "configs"


def fit(name: str, out: Path, *words: str) -> Bundle:
    layers = [f"--config={CONFIGS / layer / name}.yaml" for layer in ("", "tiny")]
    main(["fit", *layers, f"--out={out}", *words])
    return Bundle(out / "part")


def losses(part: WaveformAutoencoder, steps: int, **values: Any) -> list[float]:
    """Of training on one clip."""
    training = AutoencoderTraining(
        part,
        discriminators=PeriodsAndResolutions(period_width=1, spectrum_width=2),
        mel_windows=(128, 512),
        mel_bands=16,
        adversarial_start=None,
        **values,
    )
    training.log_dict = lambda *_, **__: None  # type: ignore[method-assign]
    training._trainer = type("T", (), {"world_size": 1, "global_step": 0, "global_rank": 0})()
    optimizer = torch.optim.AdamW(part.parameters(), lr=3e-3)
    clip, found = {"waveform": noise(4_800, batch=2)}, []
    for index in range(steps):
        optimizer.zero_grad()
        loss = training.training_step(clip, index)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


@pytest.mark.parametrize("values", [{}, {"masked": 0.05}])
def test_the_loss_falls_on_one_clip(values: dict[str, float]) -> None:
    found = losses(make(variational=not values).train(), 30, **values)
    assert sum(found[-5:]) < 0.8 * sum(found[:5])


def test_its_discriminators_tell_what_they_hear_apart() -> None:
    listeners = PeriodsAndResolutions(period_width=1, spectrum_width=2)
    heard = listeners(noise(4_801, batch=2))
    assert len(heard) == 8  # five periods and three resolutions
    assert all(len(layers) == 6 for layers in heard)
    assert all(layers[-1].shape[:2] == (2, 1) for layers in heard)


def test_a_share_that_is_none_is_one_line() -> None:
    with pytest.raises(ValueError, match="expected a share of masked frames of 0 to below 1, got 1"):
        AutoencoderTraining(make(), discriminators=PeriodsAndResolutions(), masked=1.0)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """From recordings to a model: autoencoder, tokens with its latents, a denoiser of them, a bundle."""
    root = tmp_path_factory.mktemp("autoencoder")
    audio = folder_of_tones(root / "audio", 6, held_out=2, seconds=2.0)
    autoencoder = fit("autoencoder", root / "autoencoder", f"--audio={audio}", "--storage=float32")
    own = make_bundle(root / "own")
    tokenizers = merge([Bundle(own), autoencoder], root / "tokenizers", stages=False)
    where = ["--bundle", str(tokenizers.path), "--out", str(root / "tokens")]
    main(["tokenize", str(audio), *where, "--workers", "1"])
    denoiser = fit(
        "denoiser",
        root / "denoiser",
        f"--tokens={root / 'tokens'}",
        f"--model.init_args.autoencoder={autoencoder.path}",
        "--data.init_args.clear_of_end=0",
    )
    stage = merge([Bundle(own)], root / "stage", only=["semantic_stage"])
    merge([tokenizers, stage, denoiser], root / "bundle")
    return root


def test_its_latents_are_a_stream_of_the_store(chain: Path) -> None:
    store = TokenStore(chain / "tokens")
    stream = store.description["latents"]
    assert (stream.size, stream.rate, stream.kind, stream.made_by) == (4, 50.0, "latents", ("autoencoder",))
    part = Bundle(chain / "autoencoder" / "part")
    assert store.description.fingerprints["autoencoder"] == part.fingerprint("autoencoder")
    row = store[0]
    assert row.streams["latents"].shape == (4, 100)


def test_a_denoiser_learns_them_and_makes_music_through_them(chain: Path) -> None:
    bundle = Bundle(chain / "bundle")
    learned = bundle.component("denoiser").trained_on
    assert learned["autoencoder"] == bundle.fingerprint("autoencoder")
    model = MusicLM.from_bundle(bundle)
    assert isinstance(model.decoder, DiffusionDecoder)
    assert isinstance(model.decoder.autoencoder, WaveformAutoencoder)
    audio = model.generate(PROMPT, seconds=1.5)
    assert audio.waveform.shape == (1, 36_000)
    streamed = torch.cat(list(model.stream(PROMPT, seconds=1.5)), dim=1)
    assert torch.equal(streamed, audio.waveform)


def test_it_is_kept_when_stages_are_packed_and_a_denoiser_is_not_packed_without_one(
    chain: Path, tmp_path: Path
) -> None:
    tokenizers, denoiser = Bundle(chain / "tokenizers"), Bundle(chain / "denoiser" / "part")
    stages = merge(
        [Bundle(chain / "own" / "bundle")], tmp_path / "stages", only=["coarse_stage", "fine_stage"]
    )
    packed = merge([tokenizers, stages, denoiser], tmp_path / "packed")
    assert {"autoencoder", "denoiser", "coarse_stage"} <= packed.components.keys()
    alone = merge([tokenizers], tmp_path / "alone", only=["codec"])
    with pytest.raises(ValueError, match="expected the autoencoder whose latents the denoiser makes"):
        merge([alone, denoiser], tmp_path / "none")


def test_a_store_without_its_latents_is_one_line(chain: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--bundle", str(chain / "own" / "bundle"), "--out", str(chain / "other")]
    main(["tokenize", str(chain / "audio"), *where, "--workers", "1"])
    words = [f"--config={CONFIGS / layer / 'denoiser'}.yaml" for layer in ("", "tiny")]
    words += [f"--out={chain / 'none'}", f"--tokens={chain / 'other'}"]
    words.append(f"--model.init_args.autoencoder={chain / 'autoencoder' / 'part'}")
    with pytest.raises(SystemExit) as stop:
        main(["fit", *words])
    assert stop.value.code == 2
    assert (
        "expected tokens with latents, of which the denoiser's latents are made, they have"
        in capsys.readouterr().err
    )
