"""PaSST from a file in the published format: its layers, its log-mel, its mistakes."""

import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from musiclm.tokenizers.passt import SAMPLE_RATE, read_passt
from tests.tiny import noise

WIDTH, HIDDEN, LABELS = 128, 16, 5  # two heads


def publish(file: Path) -> dict[str, torch.Tensor]:
    """A PaSST of one block with random weights, as its publisher's file has them."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return 0.2 * torch.randn(*shape, generator=generator)

    state = {
        "cls_token": drawn(1, 1, WIDTH), "dist_token": drawn(1, 1, WIDTH),
        "new_pos_embed": drawn(1, 2, WIDTH),
        "freq_new_pos_embed": drawn(1, WIDTH, 12, 1), "time_new_pos_embed": drawn(1, WIDTH, 1, 99),
        "patch_embed.proj.weight": drawn(WIDTH, 1, 16, 16), "head_dist.weight": drawn(LABELS, WIDTH),
        "head_dist.bias": drawn(LABELS),
    }  # fmt: skip
    linear = {
        "blocks.0.attn.qkv": (3 * WIDTH, WIDTH), "blocks.0.attn.proj": (WIDTH, WIDTH),
        "blocks.0.mlp.fc1": (HIDDEN, WIDTH), "blocks.0.mlp.fc2": (WIDTH, HIDDEN), "head.1": (LABELS, WIDTH),
    }  # fmt: skip
    for name, shape in linear.items():
        state |= {f"{name}.weight": drawn(*shape), f"{name}.bias": drawn(shape[0])}
    for name in ("blocks.0.norm1", "blocks.0.norm2", "norm", "head.0"):
        state |= {f"{name}.weight": 1 + drawn(WIDTH), f"{name}.bias": drawn(WIDTH)}
    state["patch_embed.proj.bias"] = drawn(WIDTH)
    torch.save(state, file)
    return state


def sound(seconds: float) -> torch.Tensor:
    return noise(round(seconds * SAMPLE_RATE), seed=1)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("published") / "passt.pt"
    publish(file)
    return file


def test_the_scores_are_those_of_the_published_layers(file: Path) -> None:
    """The paper's forward pass, written out for one block; its attention is a plain softmax."""
    state = torch.load(file, weights_only=True)

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return functional.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(x: torch.Tensor, name: str, eps: float = 1e-6) -> torch.Tensor:
        return functional.layer_norm(x, (WIDTH,), state[f"{name}.weight"], state[f"{name}.bias"], eps)

    model = read_passt(file)
    mel = model.log_mel(sound(2.0)[0])
    x = functional.conv2d(
        mel[:, None], state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=10
    )
    assert x.shape[2:] == (12, 19)
    x = x + state["time_new_pos_embed"][..., :19] + state["freq_new_pos_embed"]
    tokens = [
        state["cls_token"] + state["new_pos_embed"][:, :1],
        state["dist_token"] + state["new_pos_embed"][:, 1:],
    ]
    x = torch.cat([*tokens, x.flatten(2).transpose(1, 2)], dim=1)
    q, k, v = (
        linear(norm(x, "blocks.0.norm1"), "blocks.0.attn.qkv").view(1, -1, 3, 2, 64).permute(2, 0, 3, 1, 4)
    )
    heads = (q @ k.transpose(-2, -1) / math.sqrt(64)).softmax(dim=-1) @ v
    x = x + linear(heads.transpose(1, 2).reshape(1, -1, WIDTH), "blocks.0.attn.proj")
    hidden = functional.gelu(linear(norm(x, "blocks.0.norm2"), "blocks.0.mlp.fc1"))
    x = norm(x + linear(hidden, "blocks.0.mlp.fc2"), "norm")
    expected = linear(norm((x[:, 0] + x[:, 1]) / 2, "head.0", 1e-5), "head.1")
    torch.testing.assert_close(model.logits(mel), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        model.embed_windows(sound(2.0)), expected.softmax(dim=-1), rtol=1e-4, atol=1e-5
    )


def test_every_10_seconds_are_labelled_and_the_rest_if_it_says_something(file: Path) -> None:
    model = read_passt(file)
    counts = [len(model.embed_windows(sound(seconds))) for seconds in (0.3, 9.0, 10.0, 10.5, 12.0, 20.0)]
    assert counts == [1, 1, 1, 1, 2, 2]
    assert torch.allclose(model.embed_windows(sound(12.0)).sum(dim=1), torch.ones(2))


def test_the_log_mel_rises_with_the_sound(file: Path) -> None:
    model = read_passt(file)
    assert torch.allclose(model.log_mel(torch.zeros(1, 4_000)), torch.tensor((math.log(1e-5) + 4.5) / 5))
    time = torch.arange(SAMPLE_RATE) / SAMPLE_RATE
    bands = [
        int(model.log_mel(torch.sin(2 * torch.pi * pitch * time)[None]).mean(dim=2).argmax())
        for pitch in (200.0, 1_000.0, 8_000.0)
    ]
    assert bands == sorted(bands)
    mels = [1127 * math.log(1 + pitch / 700) for pitch in (1_000.0, 15_000.0)]
    assert bands[1] == pytest.approx(mels[0] / mels[1] * 129 - 1, abs=1)


def test_another_file_is_refused_in_one_line(file: Path, tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="expected the weights of a PaSST"):
        read_passt(tmp_path / "other.pt")
    state = torch.load(file, weights_only=True) | {"time_new_pos_embed": torch.zeros(1, WIDTH, 1, 50)}
    torch.save(state, tmp_path / "places.pt")
    with pytest.raises(ValueError, match="those of no published PaSST"):
        read_passt(tmp_path / "places.pt")
