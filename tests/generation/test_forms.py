"""The forms of generation on a tiny model: long, streamed, varied, a story, continued."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from musiclm import Audio, MusicLM
from musiclm.generation.block_decoding import JOINT_SECONDS
from musiclm.generation.conditioning import ConditioningSchedule
from musiclm.generation.windows import WindowSchedule
from tests.generation.heard import Heard, assert_takes_are_what_they_are_alone
from tests.tiny import SAMPLE_RATE, live_bytes, melody, noise, tone
from tests.tiny_model import OTHER, PROMPT

pytestmark = pytest.mark.slow

# Long


@pytest.mark.parametrize("seconds", [0.03, 0.4, 1.0, 3.7, 9.01])
def test_any_length_is_made_to_the_sample(model: MusicLM, seconds: float) -> None:
    audio = model.generate(PROMPT, seconds=seconds)
    assert audio.waveform.shape == (1, round(seconds * SAMPLE_RATE))
    assert audio.waveform.isfinite().all()
    assert audio.waveform.abs().max() <= 1


def test_a_window_costs_the_same_wherever_it_stands(model: MusicLM, heard: Heard) -> None:
    model.generate(PROMPT, seconds=12.0)
    semantic, coarse = heard.of("semantic"), heard.of("coarse")
    assert {call[1:] for call in semantic[1:-1]} == {(25, 50)}
    assert semantic[0][1:] == (0, 25)
    assert {call[1:] for call in coarse[1:-1]} == {(20, 50)}
    assert coarse[0][1:] == (0, 20)


def test_semantic_tokens_are_drawn_when_a_block_needs_them_and_no_earlier(model: MusicLM) -> None:
    calls: list[str] = []
    stream = model.stream(PROMPT, seconds=9.0, on_progress=lambda stage, done, total: calls.append(stage))
    next(stream)
    assert list(dict.fromkeys(calls)) == ["semantic", "coarse", "fine"]
    drawn = calls.count("semantic")
    assert drawn <= 50  # two seconds' worth of nine
    list(stream)
    assert calls.count("semantic") == 225


def test_memory_does_not_grow_with_the_length(model: MusicLM) -> None:
    def play(seconds: float) -> None:
        for _ in model.stream(PROMPT, seconds=seconds):
            pass

    short, long = live_bytes(lambda: play(4.0)), live_bytes(lambda: play(12.0))
    assert long < 1.1 * short


def test_a_beginning_drawn_ahead_is_the_beginning_of_the_same_window() -> None:
    grid = WindowSchedule.of(5.0, 2.0, 50.0, unit=2)
    ends = [0]
    for _ in range(4):
        ends.append(grid.window(ends[-1])[1])
    assert ends == [0, 100, 250, 400, 550]
    assert [grid.window(end)[0] for end in ends] == [0, 0, 150, 300, 450]


# Streamed


@pytest.mark.parametrize("seconds", [0.3, 5.3])
def test_a_stream_equals_generate_to_the_sample(model: MusicLM, seconds: float) -> None:
    blocks = list(model.stream(PROMPT, seconds=seconds, seed=3))
    whole = model.generate(PROMPT, seconds=seconds, seed=3).waveform
    assert torch.equal(torch.cat(blocks, dim=1), whole)
    assert torch.equal(model.generate(PROMPT, seconds=seconds, seed=3).waveform, whole)
    assert not torch.equal(model.generate(PROMPT, seconds=seconds, seed=4).waveform, whole)


def test_a_stream_that_is_left_makes_no_more(model: MusicLM, heard: Heard) -> None:
    stream = model.stream(PROMPT, seconds=60.0)
    next(stream)
    made = len(heard.calls)
    stream.close()  # type: ignore[attr-defined]
    assert len(heard.calls) == made < 10


# Variations


@pytest.mark.parametrize("precision", ["int8", "bfloat16", "float32"])
def test_a_take_is_that_of_its_own_seed_however_many_there_are(bundle: Path, precision: Any) -> None:
    model = MusicLM.from_pretrained(bundle, precision=precision)
    assert_takes_are_what_they_are_alone(model, prompt=PROMPT, seconds=2.5)
    assert_takes_are_what_they_are_alone(model, prompt=PROMPT, seconds=0.5, num=16)


def test_takes_of_every_form_are_those_of_their_own_seeds(model: MusicLM) -> None:
    assert_takes_are_what_they_are_alone(model, continue_=melody(2.0, seed=1), seconds=1.0)
    story = [(0, PROMPT), (1.2, OTHER)]
    assert_takes_are_what_they_are_alone(model, prompt=story, seconds=2.5, blend=1.0)


def test_takes_that_keep_the_semantic_tokens_are_those_tokens_rendered_with_their_own_seeds(
    model: MusicLM,
) -> None:
    drawn: list[Tensor] = []
    model.generate(PROMPT, seconds=1.0, seed=5, on_semantic=drawn.append)
    takes = model.variations(PROMPT, num=3, keep="semantic", seconds=1.0, seed=5)
    tokens = torch.cat(drawn, dim=2)
    for number in (1, 2):
        rendered = model.render(tokens, told(model, PROMPT), seed=5 + number).waveform
        torch.testing.assert_close(takes[number].waveform, rendered, atol=0, rtol=0)


def test_conditions_that_are_there_already_give_what_their_words_do(model: MusicLM) -> None:
    embeddings = model.joint_embedding.embed_text([PROMPT])
    schedule = ConditioningSchedule.of([0.0], embeddings, model.joint_quantizer)
    sampled = model.sample(schedule, seconds=1.5, seed=3).waveform
    torch.testing.assert_close(sampled, model.generate(PROMPT, seconds=1.5, seed=3).waveform, atol=0, rtol=0)
    with pytest.raises(ValueError, match="seconds"):
        model.sample(schedule, seconds=0.0)
    with pytest.raises(ValueError, match="seed"):
        model.sample(schedule, seconds=1.0, seed=-1)


def test_takes_that_keep_the_semantic_tokens_differ_in_sound_alone(model: MusicLM, heard: Heard) -> None:
    takes = model.variations(PROMPT, num=3, keep="semantic", seconds=2.5, seed=5)
    semantic = [conditions["semantic"] for conditions, _, _ in heard.of("coarse")]
    assert all(tokens.shape[0] == 3 and (tokens == tokens[:1]).all() for tokens in semantic)
    assert len({take.waveform.sum().item() for take in takes}) == 3
    torch.testing.assert_close(takes[0].waveform, model.generate(PROMPT, seconds=2.5, seed=5).waveform)
    heard.calls.clear()
    model.variations(PROMPT, num=2, seconds=2.5)
    differ = [conditions["semantic"] for conditions, _, _ in heard.of("coarse")]
    assert not all((tokens == tokens[:1]).all() for tokens in differ)


# Stories


def told(model: MusicLM, text: str) -> Tensor:
    return model.joint_quantizer.encode(model.joint_embedding.embed_text([text]))[..., None]  # [1, 2, 1]


def test_each_part_of_a_story_is_drawn_under_its_own_words(model: MusicLM, heard: Heard) -> None:
    assert not torch.equal(told(model, PROMPT), told(model, OTHER))
    audio = model.story([(0, PROMPT), (2.6, OTHER), (4.0, PROMPT)], seconds=6)
    assert audio.seconds == 6
    begin, under = 0, []
    for conditions, known, frames in heard.of("semantic"):
        under.append((begin, conditions["mulan"]))
        begin += frames - known
    words = {start: PROMPT if start < 65 or start >= 100 else OTHER for start, _ in under}
    assert {65, 100} <= words.keys()  # a window ends where a part does, to the token
    for start, mulan in under:
        assert torch.equal(mulan, told(model, words[start])), start


def test_a_story_of_one_part_is_a_prompt(model: MusicLM) -> None:
    alone = model.generate(PROMPT, seconds=3.0, seed=1).waveform
    assert torch.equal(model.story([(0, PROMPT)], seconds=3.0, seed=1).waveform, alone)
    assert torch.equal(model.story([(0, PROMPT), (2, PROMPT)], seconds=3.0, seed=1).waveform, alone)


def test_a_story_s_last_part_lasts_15_seconds_unless_told(model: MusicLM) -> None:
    from musiclm.generation.request import Request

    assert Request([(0, PROMPT), (4, OTHER)]).new_seconds == 19
    assert Request([(0, PROMPT), (4, OTHER)], 6).new_seconds == 6


def test_a_blend_goes_over_from_one_text_to_the_next_in_steps(model: MusicLM) -> None:
    class Same:
        """A quantizer whose tokens are the vectors."""

        def encode(self, vectors: Tensor) -> Tensor:
            return vectors

    ends = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    schedule = ConditioningSchedule.of([0.0, 10.0], ends, Same(), blend=3.0)  # type: ignore[arg-type]
    assert schedule.starts == (0, 10, 11, 12, 13)
    angles = [
        math.degrees(math.atan2(*schedule._joint_at(t)[0, :, 0].flip(0))) for t in (9.9, 10, 11, 12, 13, 99)
    ]
    assert angles[0] == 0
    assert angles[4:] == [90, 90]
    assert 0 < angles[1] < angles[2] < angles[3] < 90
    switched = ConditioningSchedule.of([0.0, 10.0], ends, Same())  # type: ignore[arg-type]
    assert switched.starts == (0, 10)
    assert switched.next_start(9.99) == 10
    assert switched.next_start(10) == math.inf


# Continuation


def test_what_goes_on_begins_with_the_original_samples(model: MusicLM) -> None:
    clip = melody(3.217, seed=1)
    audio = model.generate(continue_=clip, seconds=2.0)
    assert audio.waveform.shape[1] == clip.waveform.shape[1] + 48_000
    untouched = clip.waveform.shape[1] - round(JOINT_SECONDS * SAMPLE_RATE)
    assert torch.equal(audio.waveform[:, :untouched], clip.waveform[:, :untouched])
    assert not torch.equal(
        audio.waveform[:, untouched : clip.waveform.shape[1]], clip.waveform[:, untouched:]
    )


def test_it_goes_on_from_the_tokens_of_the_clip_s_end(model: MusicLM, heard: Heard) -> None:
    clip = melody(3.217, seed=1)
    model.generate(PROMPT, continue_=clip, seconds=1.0)
    end = clip.waveform[None, :, -24_000:]  # what a semantic window carries on: one second
    semantic, coarse = heard.of("semantic")[0], heard.of("coarse")[0]
    assert semantic[1:] == (25, 50)
    assert coarse[1:] == (20, 50)
    tokens = model.semantic_tokenizer.encode(end)
    assert torch.equal(coarse[0]["semantic"][0, 0, :10], tokens[0, -10:])
    assert torch.equal(semantic[0]["mulan"], told(model, PROMPT))


def test_without_words_the_clip_s_own_sound_says_what_it_is_like(model: MusicLM, heard: Heard) -> None:
    clip = melody(2.0, seed=1)
    model.generate(continue_=clip, seconds=1.0)
    own = model.joint_quantizer.encode(model.joint_embedding.embed_audio(clip.waveform[None]))[..., None]
    assert all(torch.equal(conditions["mulan"], own) for conditions, _, _ in heard.of("semantic"))


def test_the_joint_is_cross_faded(model: MusicLM) -> None:
    """At its beginning the samples are the clip's, and they leave it little by little."""
    clip = tone(2.0)
    audio = model.generate(continue_=clip, seconds=1.0)
    end, joint = clip.waveform.shape[1], round(JOINT_SECONDS * SAMPLE_RATE)
    apart = (audio.waveform[0, end - joint : end] - clip.waveform[0, -joint:]).abs()
    assert apart[0] < 1e-6
    assert apart[:240].max() < 0.15 * apart.max() + 1e-6


def test_continuations_are_streamed_and_varied_too(model: MusicLM) -> None:
    clip = melody(2.0, seed=1)
    first, second = model.variations(continue_=clip, num=2, seconds=1.0)
    assert torch.equal(first.waveform[:, :40_000], second.waveform[:, :40_000])
    assert not torch.equal(first.waveform, second.waveform)
    streamed = torch.cat(list(model.stream(continue_=clip, seconds=1.0)), dim=1)
    torch.testing.assert_close(streamed, first.waveform, atol=0, rtol=0)


def test_stereo_at_96_khz_and_noise_can_be_gone_on_from(model: MusicLM, tmp_path: Path) -> None:
    stereo = torch.cat(
        [tone(1.5, sample_rate=96_000).waveform, tone(1.5, pitch=660, sample_rate=96_000).waveform]
    )
    path = Audio(stereo, 96_000).save(tmp_path / "stereo.wav")
    assert model.generate(continue_=path, seconds=0.5).waveform.shape == (1, 48_000)
    assert (
        model.generate(continue_=Audio(noise(30_000)[0], SAMPLE_RATE), seconds=0.5).waveform.isfinite().all()
    )


def test_a_recording_may_stand_in_the_place_of_words_or_beside_them(model: MusicLM, heard: Heard) -> None:
    song, joint = melody(2.0, seed=1), model.joint_embedding
    own, words = joint.embed_audio(song.waveform[None]), joint.embed_text([PROMPT])
    for prompt, embedding in (("", own), (PROMPT, torch.nn.functional.normalize(own + words, dim=-1))):
        heard.calls.clear()
        audio = model.generate(prompt, like=song, seconds=1.0)
        assert audio.seconds == 1  # it is not gone on from
        expected = model.joint_quantizer.encode(embedding)[..., None]
        assert all(torch.equal(conditions["mulan"], expected) for conditions, _, _ in heard.of("semantic"))


# Mistakes


@pytest.mark.parametrize(
    ("prompt", "options", "words"),
    [
        (7, {}, "prompt of words, got 7"),
        ("", {}, "empty prompt"),
        ([], {}, "expected a story of sections"),
        (["ab"], {}, "expected a story of sections"),
        ([("0:00", PROMPT)], {}, "number of seconds"),
        ([(0, PROMPT), (1, "")], {}, "empty prompt"),
        (PROMPT, {"seconds": math.nan}, "seconds above 0"),
        (PROMPT, {"seed": 2**63}, "expected a seed"),
        (PROMPT, {"blend": -1.0}, "expected a blend"),
        (PROMPT, {"continue_": tone(0.5)}, "recording to continue of 1 to 600 s, got 0.5 s"),
        ("", {"like": tone(0.5)}, "recording to be like of 1 to 600 s, got 0.5 s"),
        ([(0, PROMPT), (1, OTHER)], {"like": tone(2.0)}, "a story or a recording to be like, got both"),
        ("", {"like": Audio(torch.zeros(1, 48_000), SAMPLE_RATE)}, "it is silent"),
        (PROMPT, {"melody": tone(61.0)}, "melody of 1 to 60 s, got 61 s"),
        (PROMPT, {"continue_": Audio(torch.zeros(1, 48_000), SAMPLE_RATE)}, "it is silent"),
        (PROMPT, {"continue_": Audio(torch.full((1, 48_000), math.nan), SAMPLE_RATE)}, "finite samples"),
    ],
)
def test_what_cannot_be_made_is_one_line(model: MusicLM, prompt: Any, options: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words) as mistake:
        model.generate(prompt, **options)
    assert "\n" not in str(mistake.value)


def test_a_model_made_of_parts_says_what_it_lacks(model: MusicLM) -> None:
    alone = MusicLM(
        model.joint_embedding,
        model.joint_quantizer,
        semantic_stage=model.semantic_stage,
        decoder=model.decoder,
        settings=model.settings,
    )
    assert alone.generate(PROMPT, seconds=0.5).seconds == 0.5
    with pytest.raises(
        ValueError, match="components semantic_encoder and semantic_quantizer to go on from a recording"
    ):
        alone.generate(continue_=tone(2.0))


# Names of version 0.1


def test_old_names_do_what_the_new_ones_do_and_say_so(model: MusicLM) -> None:
    with pytest.warns(DeprecationWarning, match="clip= is called continue_= now"):
        old = model.generate(clip=tone(1.5), seconds=0.3, seed=2)
    assert torch.equal(old.waveform, model.generate(continue_=tone(1.5), seconds=0.3, seed=2).waveform)
    with pytest.warns(DeprecationWarning, match=r"MusicLM\.acoustic is MusicLM\.decoder\.codec now"):
        assert model.acoustic.sample_rate == SAMPLE_RATE
    with pytest.warns(DeprecationWarning, match=r"MusicLM\.mulan is MusicLM\.joint_embedding now"):
        assert model.mulan is model.joint_embedding
    with pytest.raises(AttributeError, match="no attribute 'mulam'"):
        _ = model.mulam
