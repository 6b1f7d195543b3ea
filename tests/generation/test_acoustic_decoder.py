"""What every acoustic decoder promises: by tokens, by diffusion, and one of a sine tone for each token."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from musiclm import MusicLM
from musiclm.generation.acoustic_decoder import AcousticDecoder
from musiclm.generation.conditioning import ConditioningSchedule
from musiclm.generation.diffusion_decoder import DiffusionDecoder
from musiclm.generation.semantic_sampler import SemanticTokens
from musiclm.generation.token_decoder import TokenDecoder
from musiclm.generation.windows import OnProgress
from musiclm.stages import native
from tests.tiny import SAMPLE_RATE, melody
from tests.tiny_model import OTHER, PROMPT, make_bundle

HOP = 960  # samples of a semantic token
AT_ONCE = 5  # tokens of a block
JOINT = 480  # samples that the sine decoder cross-fades with an audio prompt


class SineDecoder:
    """A tone of 100 + 40 n Hz for semantic token n, as loud as its sample's generator says."""

    sample_rate = SAMPLE_RATE
    hop_length = HOP
    carried_seconds = 0.2
    joint_length = JOINT

    def follows(self, condition: str) -> bool:
        return True

    def decode(
        self,
        semantic: SemanticTokens,
        schedule: ConditioningSchedule,
        *,
        length: int,
        generators: Sequence[torch.Generator],
        prefix: Tensor | None = None,
        on_progress: OnProgress,
    ) -> Iterator[Tensor]:
        place, end = semantic.known, semantic.known + math.ceil(length / HOP)
        time = torch.arange(HOP) / SAMPLE_RATE
        if prefix is not None:
            fade = torch.linspace(1, 0, JOINT)
            yield (prefix[:, :, -JOINT:] * fade).expand(len(generators), 1, -1)
        while place < end:
            last = min(place + AT_ONCE, end)
            tokens = semantic.first(last)[:, 0, place:]  # [N or 1, n]
            tones = torch.sin(2 * torch.pi * (100 + 40 * tokens[..., None]) * time)  # [N or 1, n, HOP]
            loud = torch.stack([torch.rand(last - place, 1, generator=each) for each in generators])
            yield (0.5 * loud * tones).flatten(1)[:, None]
            on_progress("tones", last - semantic.known, end - semantic.known)
            place = last


def assert_same(one: Tensor, other: Tensor) -> None:
    """To the bit; without the compiled step, products of several rows round otherwise."""
    torch.testing.assert_close(one, other, rtol=0, atol=0 if native.available() else 1e-5)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("decoders"))


@pytest.fixture(scope="module", params=["tokens", "diffusion", "sine tones"])
def model(request: pytest.FixtureRequest, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> MusicLM:
    """The tiny model with each decoder."""
    if request.param == "diffusion":
        return MusicLM.from_pretrained(make_bundle(tmp_path_factory.mktemp("diffusion"), diffusion=True))
    whole = MusicLM.from_pretrained(bundle)
    if request.param == "sine tones":
        decoder: AcousticDecoder = SineDecoder()
        whole.decoder = decoder
    return whole


@pytest.mark.parametrize("seconds", [1e-5, 0.039, 0.5, 1.0, 2.7])
def test_music_of_any_length_is_streamed_as_it_is_made_whole(model: MusicLM, seconds: float) -> None:
    whole = model.generate(PROMPT, seconds=seconds, seed=3).waveform
    assert whole.shape == (1, max(round(seconds * SAMPLE_RATE), 1))
    assert torch.equal(torch.cat(list(model.stream(PROMPT, seconds=seconds, seed=3)), dim=1), whole)
    assert whole.isfinite().all()
    assert whole.abs().max() < 1


def test_what_it_goes_on_from_is_kept_and_joined_without_a_jump(model: MusicLM) -> None:
    prompt = melody(2.5, seed=1)
    audio = model.generate(continue_=prompt, seconds=1.0, seed=2)
    length, joint = prompt.waveform.shape[1], model.decoder.joint_length
    assert audio.waveform.shape[1] == length + SAMPLE_RATE
    assert torch.equal(audio.waveform[:, : length - joint], prompt.waveform[:, : length - joint])
    steps = prompt.waveform.diff().abs().max()
    assert audio.waveform[:, length - joint - 1 : length - joint + 1].diff().abs().max() <= steps + 1e-4
    blocks = list(model.stream(continue_=prompt, seconds=1.0, seed=2))
    assert torch.equal(torch.cat(blocks, dim=1), audio.waveform)


def test_a_sample_is_its_seed_s_and_no_other_s(model: MusicLM) -> None:
    samples = model.variations(PROMPT, num=3, seconds=1.0, seed=5)
    for number, sample in enumerate(samples):
        alone = model.generate(PROMPT, seconds=1.0, seed=5 + number).waveform
        assert_same(sample.waveform, alone)
    assert not torch.equal(samples[0].waveform, samples[1].waveform)
    assert torch.equal(model.generate(PROMPT, seconds=1.0, seed=5).waveform, samples[0].waveform)


def test_samples_that_share_their_tokens_differ_in_sound(model: MusicLM) -> None:
    drawn: list[Tensor] = []
    samples = model.variations(PROMPT, num=2, keep="semantic", seconds=1.0, seed=5)
    model.generate(PROMPT, seconds=1.0, seed=5, on_semantic=drawn.append)
    assert not torch.equal(samples[0].waveform, samples[1].waveform)
    tokens = torch.cat(drawn, dim=2)
    joint = model.joint_quantizer.encode(model.joint_embedding.embed_text([PROMPT]))[..., None]
    # The first one's generator has drawn the tokens as well.
    rendered = model.render(tokens, joint, seed=6).waveform
    assert_same(samples[1].waveform, rendered)


def test_a_story_s_beginning_does_not_depend_on_what_follows(model: MusicLM) -> None:
    story = model.story([(0, PROMPT), (2.0, OTHER)], seconds=3.0, seed=1).waveform
    alone = model.story([(0, PROMPT)], seconds=3.0, seed=1).waveform
    assert story.shape == alone.shape
    assert torch.equal(story[:, :SAMPLE_RATE], alone[:, :SAMPLE_RATE])
    assert not torch.equal(story, alone)


def test_tokens_are_drawn_no_earlier_than_they_are_heard(model: MusicLM) -> None:
    """The first block comes when a window of tokens, and not all of them, is there."""
    drawn: list[int] = []
    stream = model.stream(PROMPT, seconds=8.0, on_semantic=lambda tokens: drawn.append(tokens.shape[2]))
    next(stream)
    assert 0 < sum(drawn) < 100
    list(stream)
    assert sum(drawn) == 200


def test_progress_ends_where_the_music_does(model: MusicLM) -> None:
    told: dict[str, tuple[int, int]] = {}
    model.generate(
        PROMPT, seconds=1.0, on_progress=lambda name, done, total: told.update({name: (done, total)})
    )
    assert "semantic" in told
    names = {TokenDecoder: "fine", DiffusionDecoder: "denoise", SineDecoder: "tones"}
    last = names[type(model.decoder)]
    assert told[last][0] == told[last][1]
