"""VGGish from a file in the published format: its layers in their order, its log-mel, its mistakes."""

from pathlib import Path

import pytest
import torch
from torch import nn

from musiclm.tokenizers.vggish import SAMPLE_RATE, VGGish, read_vggish
from tests.tiny import noise

WIDTHS, LINEAR = (2, 3, 4, 4, 5, 5), (8, 8, 6)
PLACES = ("features.0", "features.3", "features.6", "features.8", "features.11", "features.13")


def publish(file: Path) -> dict[str, torch.Tensor]:
    """A small VGGish with random weights, as its publisher's file has them."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for place, own, before in zip(PLACES, WIDTHS, (1, *WIDTHS[:-1]), strict=True):
        state[f"{place}.weight"] = torch.randn(own, before, 3, 3, generator=generator) * 0.3
        state[f"{place}.bias"] = torch.randn(own, generator=generator) * 0.1
    for place, own, before in zip((0, 2, 4), LINEAR, (5 * 6 * 4, *LINEAR[:-1]), strict=True):
        state[f"embeddings.{place}.weight"] = torch.randn(own, before, generator=generator) * 0.3
        state[f"embeddings.{place}.bias"] = torch.randn(own, generator=generator) * 0.1
    torch.save(state, file)
    return state


def sound(seconds: float) -> torch.Tensor:
    return noise(round(seconds * SAMPLE_RATE), seed=1)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("published") / "vggish.pth"
    publish(file)
    return file


def test_the_embeddings_are_those_of_the_published_layers(file: Path) -> None:
    """VGG's configuration A without its last block, written out; the maps are read with channels last."""
    state = torch.load(file, weights_only=True)
    model = read_vggish(file)
    found = model.embed_windows(sound(2.5))  # [2, 6]
    frames = model.log_mel(sound(2.5)[0, 0])[: 2 * 96].view(2, 1, 96, 64)
    maps = frames
    for place in PLACES:
        maps = nn.functional.conv2d(maps, state[f"{place}.weight"], state[f"{place}.bias"], padding=1).relu()
        if place not in ("features.6", "features.11"):
            maps = nn.functional.max_pool2d(maps, 2)
    vectors = maps.permute(0, 2, 3, 1).reshape(2, -1)
    for place in (0, 2, 4):
        vectors = vectors.relu() if place else vectors
        vectors = vectors @ state[f"embeddings.{place}.weight"].T + state[f"embeddings.{place}.bias"]
    torch.testing.assert_close(found, vectors, rtol=1e-4, atol=1e-5)


def test_an_embedding_is_of_0_96_seconds(file: Path) -> None:
    model = read_vggish(file)
    assert [len(model.embed_windows(sound(seconds))) for seconds in (0.3, 0.98, 2.0, 10.0)] == [1, 1, 2, 10]
    torch.testing.assert_close(
        model.embed_windows(sound(10.0))[:2],
        model.embed_windows(sound(10.0)[..., :32_240]),
        rtol=0,
        atol=1e-5,
    )


def test_the_log_mel_is_that_of_its_authors() -> None:
    """Bands are triangles on the mel scale from 125 to 7500 Hz; silence is the logarithm of the offset."""
    model = VGGish(WIDTHS, LINEAR)
    assert torch.allclose(model.log_mel(torch.zeros(800)), torch.tensor(0.01).log())
    time = torch.arange(8_000) / SAMPLE_RATE
    mels = 1127.0 * (1 + torch.tensor([125.0, 7_500.0]) / 700).log()
    for pitch in (440.0, 1_000.0, 4_000.0):
        heard = model.log_mel(torch.sin(2 * torch.pi * pitch * time)).mean(dim=0)
        place = (1127.0 * (1 + torch.tensor(pitch) / 700).log() - mels[0]) / (mels[1] - mels[0]) * 65 - 1
        assert abs(float(heard.argmax()) - float(place)) <= 1


def test_a_whitening_beside_the_weights_is_left_alone(file: Path, tmp_path: Path) -> None:
    state = torch.load(file, weights_only=True) | {"pproc.pca_means": torch.zeros(6, 1)}
    torch.save(state, tmp_path / "with.pth")
    assert torch.equal(
        read_vggish(tmp_path / "with.pth").embed_windows(sound(1.0)),
        read_vggish(file).embed_windows(sound(1.0)),
    )


def test_another_file_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a file of published weights"):
        read_vggish(tmp_path / "none.pth")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="expected the weights of a VGGish"):
        read_vggish(tmp_path / "other.pth")
    (tmp_path / "torn.pth").write_bytes(b"PK\3\4torn")
    with pytest.raises(ValueError, match="it cannot be read"):
        read_vggish(tmp_path / "torn.pth")
