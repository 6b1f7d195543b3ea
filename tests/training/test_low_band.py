"""The low band learns the shape of the lowest bins; the codec's codes keep their meaning."""

from pathlib import Path

import pytest
import torch

from musiclm.bundle import Bundle, load_component, merge
from musiclm.cli import main
from musiclm.tokenizers.convnext import ConvNeXtDecoder, ConvNeXtEncoder
from musiclm.tokenizers.low_band import LowBand
from musiclm.tokenizers.soundstream import SoundStream
from musiclm.training.low_band import LowBandTraining, distance
from tests.tiny import folder_of_tones
from tests.tokenizers.tiny_codecs import HOP, LEVELS, noise, spectral_codec

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
CONFIGS = ["--config=configs/{}.yaml", "--config=configs/tiny/{}.yaml"]


def fit(name: str, tones: Path, out: Path, *words: str) -> Bundle:
    main(["fit", *(layer.format(name) for layer in CONFIGS), f"--audio={tones}", f"--out={out}", *words])
    return Bundle(out / "part")


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of_tones(tmp_path_factory.mktemp("tones") / "audio", 6, seconds=1.0)


@pytest.fixture(scope="module")
def codec(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit("soundstream", tones, tmp_path_factory.mktemp("runs") / "soundstream").path


def test_a_codec_gets_a_low_band_and_keeps_all_else(codec: Path, tones: Path, tmp_path: Path) -> None:
    part = fit("low_band", tones, tmp_path / "low_band", f"--model.init_args.codec={codec}")
    before, after = load_component(codec), load_component(part.path)
    weights = after.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in before.state_dict().items())
    waveform = noise(1, 1, 4 * HOP)
    codes = before.encode(waveform)
    assert torch.equal(after.encode(waveform), codes)
    assert not torch.equal(after.decode(codes), before.decode(codes))
    new, old = part.component("codec"), Bundle(codec).component("codec")
    assert new.fingerprint != old.fingerprint
    assert new.is_known_as(old.fingerprint)  # stages and stores of the old one go on with the new one
    assert merge([part], tmp_path / "packed", {}).component("codec").formerly == new.formerly


def test_the_low_band_learns_the_spectrum_of_its_bins(codec: Path) -> None:
    """Of one sound, to a tenth of a neper, through whatever codes there are."""
    torch.manual_seed(0)
    sizes = {"width": 16, "hidden": 32, "depth": 1}
    part = SoundStream(
        ConvNeXtEncoder(8, **sizes),
        ConvNeXtDecoder(8, **sizes, low_band=LowBand(8, bins=20, width=32, hidden=48, depth=2)),
        dimension=8,
        num_quantizers=LEVELS,
        codebook_size=8,
    )
    training = LowBandTraining(part.eval(), codec=codec)
    optimizer = torch.optim.Adam(training.low_band.parameters(), lr=1e-2)
    sound, losses = noise(1, 1, 8 * HOP), []
    for _ in range(150):
        loss = training.loss(sound, [LEVELS])
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.1 < 1 < losses[0]


def test_the_distance_is_of_logarithms_and_loud_bins_weigh_more() -> None:
    magnitude = torch.tensor([[[1.0, 0.25, 0.01]]])
    truth = magnitude.log()
    assert distance(truth, magnitude) == 0
    off = torch.eye(3)[:, None, None] * 0.3  # each bin wrong by itself
    wrong = torch.stack([distance(truth + each, magnitude) for each in off])
    expected = 0.3 * (0.15 + magnitude[0, 0].sqrt()) / 3
    torch.testing.assert_close(wrong, expected)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("codebook_size=16", "expected the sizes of the codec"),
        ("num_quantizers=4", "expected the sizes of the codec"),
    ],
)
def test_another_codec_is_refused_in_one_line(
    value: str, message: str, codec: Path, tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"--model.init_args.codec={codec}", f"--model.init_args.part.init_args.{value}"]
    with pytest.raises(SystemExit, match="2"):
        fit("low_band", tones, tmp_path / "run", *words)
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert message in line


def test_the_held_out_recordings_are_measured(
    codec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tones = folder_of_tones(tmp_path / "audio", 4, held_out=2, seconds=1.0)
    fit("low_band", tones, tmp_path / "run", f"--model.init_args.codec={codec}")
    assert "val/low_band=" in capsys.readouterr().err


def test_a_codec_without_a_low_band_is_refused(codec: Path) -> None:
    with pytest.raises(ValueError, match="expected a codec whose decoder has a low_band, got one without"):
        LowBandTraining(spectral_codec(), codec=codec)
