"""The contrastive loss on known values, who belongs to whom, and several devices that learn as one."""

import math
import os
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from musiclm.tokenizers.gather import items_from_all_devices
from musiclm.tokenizers.mulan import MuLan
from musiclm.tokenizers.mulan_towers import AudioTower, TextTower
from musiclm.training.contrastive import Described, contrastive_loss, pairs_of_all, same_pair


def test_loss_of_perfect_pairs_is_known() -> None:
    vectors, positives = torch.eye(4), torch.eye(4, dtype=torch.bool)
    expected = math.log(1 + 3 * math.exp(-2.0))  # one positive at 2·1, three negatives at 2·0
    assert contrastive_loss(vectors, vectors, positives, 2.0).item() == pytest.approx(expected)


def test_loss_of_indistinct_pairs_is_that_of_a_guess() -> None:
    vectors = torch.tensor([[1.0, 0.0]]).expand(8, 2)
    loss = contrastive_loss(vectors, vectors, torch.eye(8, dtype=torch.bool), 10.0)
    assert loss.item() == pytest.approx(math.log(8))


def test_loss_is_symmetric_cross_entropy() -> None:
    audio, text = torch.nn.functional.normalize(torch.randn(2, 6, 5), dim=-1)
    logits, own = 3 * text @ audio.T, torch.arange(6)
    cross_entropy = torch.nn.functional.cross_entropy
    expected = (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2
    loss = contrastive_loss(audio, text, torch.eye(6, dtype=torch.bool), 3.0)
    torch.testing.assert_close(loss, expected)


def test_two_that_fit_equally_well_share_the_target() -> None:
    audio = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    text = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    shared = torch.tensor([[True, True, False], [False, False, True]])
    # One of the two texts chooses between two equals; the other, and all audio, has no choice.
    assert contrastive_loss(audio, text, shared, 50.0).item() == pytest.approx(math.log(2) / 4, abs=1e-4)


def test_audio_without_a_text_only_serves_as_negative() -> None:
    audio = torch.eye(3)
    positives = torch.eye(3, dtype=torch.bool)[:2]
    loss = contrastive_loss(audio, audio[:2], positives, 2.0)
    rows, columns = math.log(1 + 2 * math.exp(-2.0)), math.log(1 + math.exp(-2.0))
    assert loss.item() == pytest.approx((rows + columns) / 2)


def test_text_without_audio_only_serves_as_negative() -> None:
    text = torch.eye(3)
    positives = torch.eye(3, dtype=torch.bool)[:, :2]
    loss = contrastive_loss(text[:2], text, positives, 2.0)
    rows, columns = math.log(1 + math.exp(-2.0)), math.log(1 + 2 * math.exp(-2.0))
    assert loss.item() == pytest.approx((rows + columns) / 2)


def test_same_recording_and_same_words_are_no_negatives() -> None:
    pairs = same_pair(["a", "b", "a", "c"], ["fast", "slow", "Fast!", "calm"], torch.tensor([0, 1, 3, 2]))
    # "fast" was said of a and of c; "slow" of b; "calm" of a's second crop.
    expected = [[1, 0, 1, 1], [0, 1, 0, 0], [1, 0, 1, 1], [1, 0, 1, 0]]
    assert pairs.int().tolist() == expected


class OneStep(nn.Module):
    """A model with its temperature: what a step of training makes of crops and pieces."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        audio = AudioTower(8, 8000, num_mels=16, stem_channels=4, channels=[4, 8], blocks=[1, 1])
        text = TextTower(8, 16, num_layers=1, num_heads=2, vocabulary_size=384, dropout=0.0)
        self.part = MuLan(audio, text, dimension=8, window_seconds=1.0)
        self.log_scale = nn.Parameter(torch.tensor(2.0))
        # Those inside the tower are over a device's own crops: held still, since that is their own matter.
        for module in self.part.audio.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
                module.eval()

    def forward(self, waveform: torch.Tensor, pieces: torch.Tensor, described: Described) -> torch.Tensor:
        others = items_from_all_devices(len(pieces) - len(described.texts))
        positives = pairs_of_all(items_from_all_devices(described), others)
        audio, text = self.part(waveform, pieces)
        return contrastive_loss(audio, text, positives, self.log_scale.exp())


CROPS, TEXTS, OTHERS = (3, 3), (4, 2), (1, 2)  # of the two devices
IDS = ["a", "b", "a", "c", "b", "d"]
SAID = [["fast", "slow", "calm", "loud"], ["fast", "sad"]]
ROWS = [[0, 1, 1, 2], [0, 2]]


def inputs() -> tuple[torch.Tensor, list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    waveform = 0.1 * torch.randn(sum(CROPS), 1, 8000, generator=generator)
    pieces = [
        torch.randint(3, 384, (texts + others, 5), generator=generator)
        for texts, others in zip(TEXTS, OTHERS, strict=True)
    ]
    return waveform, pieces


def results(step: OneStep, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    gradients = {name: value.grad for name, value in step.named_parameters() if value.grad is not None}
    return {**gradients, **dict(step.named_buffers()), "loss": loss.detach()}


def one_of_two_devices(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    step = OneStep()
    waveform, pieces = inputs()
    first = sum(CROPS[:rank])
    own = slice(first, first + CROPS[rank])
    described = Described(IDS[own], SAID[rank], ROWS[rank])
    parallel = nn.parallel.DistributedDataParallel(step)
    loss = parallel(waveform[own], pieces[rank], described)
    loss.backward()
    save_file(
        {name: value.contiguous() for name, value in results(step, loss).items() if value.numel()},
        f"{folder}/{rank}.safetensors",
    )
    torch.distributed.destroy_process_group()


def test_two_devices_have_the_loss_and_the_gradients_of_one_with_the_whole_batch(tmp_path: Path) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.multiprocessing.spawn(one_of_two_devices, (str(tmp_path),), nprocs=2)

    waveform, pieces = inputs()
    rows = [*ROWS[0], *(CROPS[0] + row for row in ROWS[1])]
    together = torch.cat([part[:count] for part, count in zip(pieces, TEXTS, strict=True)])
    apart = torch.cat([part[count:] for part, count in zip(pieces, TEXTS, strict=True)])
    step = OneStep()
    loss = step(waveform, torch.cat([together, apart]), Described(IDS, [*SAID[0], *SAID[1]], rows))
    loss.backward()
    expected = results(step, loss)
    for rank in range(2):
        found = load_file(tmp_path / f"{rank}.safetensors")
        assert {"loss", "log_scale", "part.audio_norm.running_mean"} <= set(found)
        for name, value in found.items():
            # Sums over rows are taken in another order, and those of gradients of up to 100 are rounded in
            # float32; a bias before a normalisation has a gradient of 0 but for that.
            scale = expected[name].float().abs().max().clamp(min=1)
            torch.testing.assert_close(value / scale, expected[name] / scale, atol=1e-4, rtol=0)


def test_pairs_of_several_devices_are_those_of_one_with_the_others_at_their_places() -> None:
    devices = [Described(["a", "b"], ["fast"], [0]), Described(["a", "c"], ["slow", "Fast!"], [1, 1])]
    expected = [[1, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 1], [1, 0, 1, 1]]
    assert pairs_of_all(devices, [1, 0]).int().tolist() == expected


def test_a_device_without_texts_takes_part() -> None:
    devices = [Described(["a"], [], []), Described(["b"], ["slow"], [0])]
    assert pairs_of_all(devices, [1, 0]).int().tolist() == [[0, 0], [0, 1]]
