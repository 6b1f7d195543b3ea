"""Training of latents and denoisers: from YAML to components, what is learned, and runs that are resumed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from musiclm.bundle import Bundle, load_component
from musiclm.cli import main
from musiclm.diffusion.dual_path import DualPath
from musiclm.diffusion.transformer import DiffusionTransformer
from musiclm.tokenizers.codec_latents import CodecLatents
from musiclm.training.denoiser import DenoiserTraining
from tests.tiny import make_token_store

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*Checkpoint directory.*exists and is not empty.*"),
]
CONFIGS = Path(__file__).parents[2] / "configs"


def fit(name: str, store: Path, out: Path, *words: str) -> Bundle:
    layers = [f"--config={CONFIGS / layer / name}.yaml" for layer in ("", "tiny")]
    main(["fit", *layers, f"--tokens={store}", f"--out={out}", *words])
    return Bundle(out / "part")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store") / "tokens"
    make_token_store(folder, melody=True)
    return folder


@pytest.fixture(scope="module")
def latents(store: Path) -> Path:
    vectors = "--model.init_args.part.init_args.codec_dimension=6"  # of the store's codes
    return fit("latents", store, store.parent / "latents", "--storage=float32", vectors).path


@pytest.fixture(scope="module")
def autoencoder(latents: Path) -> str:
    return f"--model.init_args.autoencoder={latents}"


def make(latents: Path, **words: Any) -> DenoiserTraining:
    part = DiffusionTransformer(dimension=4, width=16, layers=1, heads=2, feed_forward=24, embedding_width=8)
    return DenoiserTraining(part, autoencoder=latents, **words)


def test_latents_are_the_directions_of_the_codes_vectors(latents: Path) -> None:
    bundle = Bundle(latents)
    assert bundle.component("autoencoder").trained_on == {"codec": "0123"}
    part = load_component(latents)
    assert isinstance(part, CodecLatents)
    # Codes at random: vectors of twelve normal entries each, in no direction more than in another.
    torch.testing.assert_close(part.basis.t() @ part.basis, torch.eye(4), atol=1e-4, rtol=0)
    assert float(part.scale[0]) == pytest.approx(12**0.5, rel=0.15)


def test_the_recipe_trains_a_denoiser_and_keeps_what_it_was_trained_on(
    store: Path, latents: Path, autoencoder: str, tmp_path: Path
) -> None:
    bundle = fit("denoiser", store, tmp_path / "run", autoencoder)
    component = bundle.component("denoiser")
    assert component.trained_on["autoencoder"] == Bundle(latents).fingerprint("autoencoder")
    assert component.trained_on["semantic_quantizer"] == "0123"
    denoiser = load_component(bundle.path)
    assert isinstance(denoiser, DiffusionTransformer)
    assert [segment.name for segment in denoiser.segments] == ["mulan", "melody", "semantic"]


def test_melodys_network_trains_as_well(store: Path, autoencoder: str, tmp_path: Path) -> None:
    words = {
        "dimension": 4, "frame_rate": 50.0, "width": 8, "blocks": 2, "heads": 2, "feed_forward": 8,
        "segment": 8, "embedding_width": 4, "unfolded_width": 4,
    }  # fmt: skip
    part = [f"--model.init_args.part.init_args.{name}={value}" for name, value in words.items()]
    kind = "--model.init_args.part=musiclm.diffusion.dual_path.DualPath"
    bundle = fit("denoiser", store, tmp_path / "run", autoencoder, kind, *part)
    assert isinstance(load_component(bundle.path), DualPath)


def test_a_run_that_is_resumed_is_the_unbroken_one(
    store: Path, autoencoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit("denoiser", store, tmp_path / "whole", autoencoder)
    step = DenoiserTraining.training_step

    def dies(self: DenoiserTraining, batch: Any, index: int) -> Tensor:
        if self.global_step == 2:
            raise MemoryError
        return step(self, batch, index)

    monkeypatch.setattr(DenoiserTraining, "training_step", dies)
    with pytest.raises(MemoryError):
        fit("denoiser", store, tmp_path / "broken", autoencoder)
    monkeypatch.setattr(DenoiserTraining, "training_step", step)
    resumed = fit("denoiser", store, tmp_path / "broken", autoencoder)
    assert resumed.fingerprint("denoiser") == whole.fingerprint("denoiser")


@pytest.mark.parametrize("chunks", [1, 4])
def test_times_are_those_of_chunks_and_context_is_whole_positions(latents: Path, chunks: int) -> None:
    training = make(latents, chunks=chunks, context=0.5)
    torch.manual_seed(0)
    times, is_known = training.velocity.drawn_times(400, 40, torch.device("cpu"))
    assert {len(row.unique()) for row in times} == {chunks}
    assert float(is_known.any(dim=1).float().mean()) == pytest.approx(0.5, abs=0.12)
    assert not is_known.all(dim=1).any()
    pairs = is_known.view(400, 20, 2)
    assert torch.equal(pairs[..., 0], pairs[..., 1])
    begins = is_known[:, 0] & is_known.any(dim=1)
    assert 0.1 < float(begins.float().mean()) < 0.5


def test_known_frames_are_told_as_data_and_count_nothing(latents: Path) -> None:
    training = make(latents)
    data, is_known = torch.randn(2, 4, 10), torch.arange(10).expand(2, -1) < 4
    seen: list[tuple[Tensor, Tensor]] = []

    class Denoiser(torch.nn.Module):
        def forward(self, state: Tensor, time: Tensor, codes: object) -> Tensor:
            seen.append((state, time))
            return state

    words = (Denoiser(), data, {}, torch.full((2, 10), 0.8), is_known, torch.randn(2, 4, 10))
    loss = training.velocity.of(*words)  # type: ignore[arg-type]
    (state, time), first = seen[0], words[5].clone()
    assert torch.equal(state[:, :, :4], data[:, :, :4])
    assert (time[:, :4] == 0).all()
    assert (time[:, 4:] > 0).all()
    first[:, :, :4] += 100  # noise that no known frame has
    assert torch.equal(training.velocity.of(*words[:5], first), loss)  # type: ignore[arg-type]


def test_a_denoiser_learns_what_semantic_tokens_sound_like(latents: Path) -> None:
    """Two tokens, two sounds: after some steps, the velocity is right far better than at first."""
    torch.manual_seed(0)
    training = make(latents, context=0.0, joint_dropout=0.0)
    sounds = torch.randn(8, 4)
    optimizer = torch.optim.Adam(training.part.parameters(), lr=1e-2)
    losses = []
    for _ in range(120):
        semantic = torch.randint(2, (8, 1, 10))
        data = sounds[semantic[:, 0]].transpose(1, 2).repeat_interleave(2, dim=2)
        times, is_known = training.velocity.drawn_times(8, 20, data.device)
        loss = training.velocity.of(training.part, data, {"semantic": semantic}, times, is_known)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) < 0.3 * sum(losses[:10])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"context": 1.5}, "expected one chunk or more and a context in .*, got 1 and 1.5"),
        ({"dropout": {"mulan": 1.5}}, "expected shares of dropped conditions in"),
        ({"chunks": 0}, "expected one chunk or more"),
    ],
)
def test_what_cannot_be_trained_is_said_so(words: dict[str, Any], message: str, latents: Path) -> None:
    with pytest.raises(ValueError, match=message):
        make(latents, **words)


def test_a_denoiser_of_other_latents_is_refused(
    store: Path, autoencoder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        fit("denoiser", store, tmp_path, autoencoder, "--model.init_args.part.init_args.dimension=6")
    assert stopped.value.code == 2
    assert (
        "expected a denoiser of 4 dimensions at 50 Hz, as the latents have them, got 6"
        in capsys.readouterr().err
    )
