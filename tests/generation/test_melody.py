"""Music that follows a melody, on a tiny model."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from musiclm import Audio, MusicLM
from musiclm.generation import prompts
from musiclm.generation.melody_prompt import MelodyTokenizer
from musiclm.generation.settings import CoarseSettings, FineSettings
from musiclm.generation.token_decoder import TokenDecoder
from musiclm.generation.windows import WindowSchedule
from musiclm.notices import RecordingNotice
from musiclm.stages.coarse import Coarse
from musiclm.stages.layout import ABSENT
from musiclm.stages.precision import prepare_to_decode
from musiclm.stages.semantic import Semantic
from musiclm.stages.streams import Stream
from tests.generation.heard import Heard, assert_takes_are_what_they_are_alone
from tests.stages.tiny_stages import TINY
from tests.tiny import SAMPLE_RATE, melody, noise, tone
from tests.tiny_model import MELODY_STREAMS, PROMPT


class Guide:
    """In place of a melody embedding: the number of each window."""

    sample_rate = 16_000

    def embed_windows(self, waveform: Tensor, *, hop_seconds: float) -> Tensor:
        assert hop_seconds == 3.0
        count = math.ceil(waveform.shape[2] / self.sample_rate / hop_seconds)
        return torch.arange(count)[:, None].float()


class Levels:
    """In place of a quantizer: the number, in each of two levels."""

    def encode(self, vectors: Tensor) -> Tensor:
        return vectors.long().expand(-1, 2) % 8


@pytest.fixture
def following(model: MusicLM) -> MusicLM:
    """A model with stages that know melodies, and windows of the default model's lengths."""
    streams = tuple(Stream(**each) for each in MELODY_STREAMS)
    known: dict[str, Any] = {"pattern": "delay", "streams": streams, "unfolded_width": 4}
    decoder = TokenDecoder(
        model.decoder.codec,
        Coarse(TINY, lookahead=2, num_coarse=2, **known).eval(),
        model.decoder.fine,
        coarse_settings=CoarseSettings(window=5.0, carry=2.0),
        fine_settings=FineSettings(window=3.0),
        codec_settings=model.decoder.codec_settings,
    )
    made = MusicLM(
        model.joint_embedding,
        model.joint_quantizer,
        semantic_stage=Semantic(TINY, **known).eval(),
        decoder=decoder,
        settings=replace(model.settings, window=15.0, stride=7.5),
        bundle=model.bundle,
    )
    made.prompts.__dict__["melody_tokenizer"] = MelodyTokenizer(Guide(), Levels())  # type: ignore[arg-type]
    return made


def test_every_window_sees_the_melody_of_its_own_time(following: MusicLM, heard: Heard) -> None:
    following.generate(PROMPT, melody=tone(20.0), seconds=29.0)
    for name, rate, count in (("semantic", 25, 5), ("coarse", 50, 2)):
        done = 0
        for conditions, known, frames in heard.of(name):
            start, off = divmod(done - known, 3 * rate)
            assert off == 0, name  # windows begin where a melody code does
            expected = [code % 8 if code < 7 else ABSENT for code in range(start, start + count)]
            assert conditions["melody"].tolist() == [[expected, expected]]
            done += frames - known
        assert done == 29 * rate


def test_without_a_melody_a_model_that_knows_them_plays_on_its_own(following: MusicLM, heard: Heard) -> None:
    following.generate(PROMPT, seconds=3.0)
    assert all((call[0]["melody"] == ABSENT).all() for call in heard.of("semantic") + heard.of("coarse"))


def test_takes_that_follow_a_melody_are_those_of_their_own_seeds(following: MusicLM) -> None:
    for stage in (following.semantic_stage, following.decoder.coarse):
        prepare_to_decode(stage, "int8")
    assert_takes_are_what_they_are_alone(following, prompt=PROMPT, melody=tone(1.0), seconds=1.0)


def test_music_is_as_long_as_its_melody_unless_told(following: MusicLM) -> None:
    assert following.generate(PROMPT, melody=tone(2.5)).seconds == 2.5
    assert following.generate(PROMPT, melody=tone(2.5), seconds=1.0).seconds == 1.0


def test_stages_that_have_learned_no_melody_are_not_asked_to_follow_one(
    model: MusicLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompts, "load_components", lambda bundle, roles, **more: list(roles))
    with pytest.raises(ValueError, match="expected stages that follow a melody, the semantic stage"):
        model.generate(PROMPT, melody=tone(2.0))


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
def test_noise_of_any_colour_has_no_melody(following: MusicLM, slope: float) -> None:
    spectrum = torch.fft.rfft(noise(48_000)[0])
    spectrum[:, 1:] /= torch.arange(1, spectrum.shape[1]) ** (slope / 2)
    sound = torch.fft.irfft(spectrum)
    with pytest.raises(ValueError, match="expected a melody with a pitch, got noise"):
        following.generate(PROMPT, melody=Audio(0.3 * sound / sound.abs().max(), SAMPLE_RATE))
    buried = melody(2.0, seed=0).waveform + noise(48_000)[0]
    assert following.generate(PROMPT, melody=Audio(buried, SAMPLE_RATE), seconds=0.5).seconds == 0.5


def test_a_silent_melody_is_refused(following: MusicLM) -> None:
    with pytest.raises(ValueError, match="that can be heard, it is silent"):
        following.generate(PROMPT, melody=Audio(torch.zeros(1, 48_000), SAMPLE_RATE))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda sound: torch.cat([sound, -0.9 * sound]), "melody: channels in opposite phase"),
        (lambda sound: 32768 * sound, "melody: samples of up to .* where 1 is full scale"),
        (lambda sound: sound + 0.3, "melody: a constant offset of 0.3"),
        (
            lambda sound: sound.masked_fill(torch.arange(sound.shape[1]) == 9, math.nan),
            "melody: samples that are NaN",
        ),
    ],
)
def test_a_recording_that_can_be_mended_is_used_and_its_fault_said(
    following: MusicLM, fault: Callable[[Tensor], Tensor], words: str
) -> None:
    tune = melody(2.0, seed=0).waveform + noise(48_000)[0]
    with pytest.warns(RecordingNotice, match=words):
        made = following.generate(PROMPT, melody=Audio(fault(tune), SAMPLE_RATE), seconds=0.5)
    assert made.waveform.isfinite().all()


@given(window=st.floats(3.5, 30), share=st.floats(0.05, 0.9), done=st.integers(1, 2000))
def test_a_window_of_a_melody_begins_on_its_grid_and_before_what_is_new(
    window: float, share: float, done: int
) -> None:
    grid = WindowSchedule.of(window, share * window, 25.0, hop=3.0)
    start, end = grid.window(done)
    assert start % 75 == 0
    assert start <= done < end


def test_paper_sized_windows_follow_a_melody_too() -> None:
    for window, carry, rate in ((30.0, 15.0, 25.0), (10.0, 5.0, 50.0), (15.0, 7.5, 25.0), (5.0, 2.0, 50.0)):
        grid, done = WindowSchedule.of(window, carry, rate, hop=3.0), 0
        for _ in range(20):
            start, end = grid.window(done)
            assert start % round(3 * rate) == 0
            assert start < end <= start + round(window * rate)
            assert done == 0 or start < done
            done = end
    with pytest.raises(ValueError, match="longer than 3 s"):
        WindowSchedule.of(3.0, 1.0, 50.0, hop=3.0)
