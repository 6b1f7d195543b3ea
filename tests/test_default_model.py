"""The model that ships: small enough to clone, complete, and it plays."""

import math

import pytest
import torch

from musiclm import Audio, MusicLM
from musiclm.bundle import SHIPPED, Bundle

PROMPT = "a calm violin melody over soft piano chords"


@pytest.fixture(scope="module")
def model() -> MusicLM:
    return MusicLM.from_pretrained("default")


@pytest.fixture(scope="module")
def clip(model: MusicLM) -> Audio:
    """Ten seconds: three coarse windows, and the fine ones inside them."""
    return model.generate(PROMPT, seconds=10.0, seed=0)


def test_the_bundle_is_light_enough_for_a_clone() -> None:
    sizes = [file.stat().st_size for file in (SHIPPED / "default").iterdir()]
    assert sum(sizes) <= 40 * 2**20
    assert max(sizes) <= 16 * 2**20


def test_every_part_of_the_bundle_loads_and_its_stages_know_its_tokenizers() -> None:
    bundle = Bundle.find("default")
    assert set(bundle.parts) == {
        "soundstream", "w2v_bert", "kmeans", "mulan", "mulan_rvq", "semantic", "coarse", "fine",
    }  # fmt: skip
    words, codec = {"mulan", "mulan_rvq", "w2v_bert", "kmeans"}, {"soundstream"}
    for name, teachers in (("semantic", words), ("coarse", words | codec), ("fine", codec)):
        trained_on = bundle.parts[name]["trained_on"]
        assert trained_on == {part: bundle.fingerprint(part) for part in teachers}
    for name in bundle.parts:
        bundle.load(name)


def test_it_plays_neither_silence_nor_clipping(clip: Audio) -> None:
    assert clip.waveform.shape == (1, 240_000)
    waveform = clip.waveform[0]
    assert waveform.abs().max() < 1.0
    seconds = waveform.view(10, -1).square().mean(dim=1).sqrt()  # RMS of each second
    assert seconds.median() > 10 ** (-35 / 20)  # the corpus is at -18 dBFS
    assert waveform.mean().abs() < 0.01  # no DC


def test_no_click_is_heard_where_windows_meet(model: MusicLM, clip: Audio) -> None:
    settings, rate = model.settings, clip.sample_rate
    borders, end = [], settings.coarse_window
    while end < clip.seconds:
        borders += [end, end - settings.decoder_context / model.acoustic.frame_rate]
        end += settings.coarse_window - settings.coarse_carry
    steps = clip.waveform[0].diff().abs()  # [L - 1]
    usual = steps.quantile(0.9999)
    for border in borders:
        centre = round(border * rate)
        assert steps[centre - 240 : centre + 240].max() <= 2 * usual, f"click at {border:.2f} s"


def test_the_prompt_changes_the_music_and_the_seed_does_too(model: MusicLM, clip: Audio) -> None:
    short = clip.waveform[:, :24_000]
    other_prompt = model.generate("fast techno with drums", seconds=1.0, seed=0).waveform
    other_seed = model.generate(PROMPT, seconds=1.0, seed=1).waveform
    assert not torch.equal(short, other_prompt)
    assert not torch.equal(short, other_seed)


def test_the_tokenizers_keep_what_they_hear(model: MusicLM) -> None:
    """A chord survives the codec: its three notes stay the loudest partials of the octave."""
    pitches = [220.0, 277.18, 329.63]
    time = torch.arange(48_000) / 24_000
    chord = sum(torch.sin(2 * math.pi * pitch * time) for pitch in pitches) * 0.15
    decoded = model.acoustic.decode(model.acoustic.encode(chord[None, None]))[0, 0, 12_000:36_000]
    spectrum = torch.fft.rfft(decoded * torch.hann_window(24_000)).abs()  # a bin per Hz
    for pitch in pitches:
        near = spectrum[round(pitch) - 3 : round(pitch) + 4].max()
        assert near > 5 * spectrum[200:350].median(), f"{pitch} Hz is lost"
