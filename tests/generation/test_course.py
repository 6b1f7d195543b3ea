"""The course of new music: whose values count, where plans change, and what the stages are told of it."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from musiclm import MusicLM
from musiclm.generation import semantic_sampler
from musiclm.generation.conditioning import ConditioningSchedule
from musiclm.generation.course import between, next_downbeat, plans_of, score_of_sections
from musiclm.generation.prompts import PromptReader
from musiclm.generation.request import Request
from musiclm.generation.score_prompt import ScoreReader, stacked
from musiclm.generation.settings import CoarseSettings
from musiclm.score.codes import BEAT, DRUMS, KEY, codes_of, score_of
from musiclm.score.controls import PACES, Controls
from musiclm.score.notation import read_bars, read_key
from musiclm.score.plan import Plan, Section
from musiclm.score.planner import Planner
from musiclm.score.score import PARTS, Beat, From, Score, steady_beats, what_at
from musiclm.stages.coarse import Coarse
from musiclm.stages.layout import ABSENT
from musiclm.stages.semantic import Semantic
from musiclm.stages.streams import Stream
from tests.generation.heard import Heard
from tests.stages.tiny_stages import TINY
from tests.tiny import tone
from tests.tiny_model import OTHER, PROMPT, STREAMS

pytestmark = pytest.mark.filterwarnings("ignore:the model knows hardly a word of")
A_MINOR, C_MAJOR = read_key("A minor"), read_key("C major")
FOLLOWS = ("beat", "key", "drums")


@pytest.fixture(scope="module")
def planner() -> Planner:
    torch.manual_seed(0)
    return Planner(8, width=16, layers=1, heads=2, buckets=64).eval()


def plans(
    texts: Sequence[str], planner: Planner | None, *given: Controls, **values: Any
) -> list[tuple[Plan, Controls]]:
    sections = [(20.0 * n, text) for n, text in enumerate(texts)]
    controls = given or (Controls(),) * len(texts)
    generator = torch.Generator().manual_seed(0)
    return plans_of(sections, torch.zeros(len(texts), 8), controls, planner, generator=generator, **values)


def test_values_count_more_than_words_and_words_more_than_the_section_before(planner: Planner) -> None:
    texts = ("a waltz at 90 bpm in A minor", "the same with drums", "now at 150 bpm", "a major key")
    given = (Controls(), Controls(), Controls(bpm=100.0), Controls())
    first, second, third, fourth = (plan.sections[0] for plan, _ in plans(texts, planner, *given))
    assert (first.bpm, first.meter, first.key) == (90.0, 3, A_MINOR)
    assert (second.bpm, second.meter, second.key, second.drums) == (90.0, 3, A_MINOR, True)
    assert (third.bpm, third.key) == (100.0, A_MINOR)
    assert fourth.bpm == 100.0
    assert fourth.key is not None
    assert fourth.key.mode == "major"


def test_a_section_keeps_what_was_drawn_unless_its_words_speak_against_it(planner: Planner) -> None:
    first, second, third = (plan.sections[0] for plan, _ in plans(("slow", "a violin", "fast"), planner))
    assert (first.bpm, first.meter, first.key) == (second.bpm, second.meter, second.key)
    assert PACES["slow"][0] <= second.bpm <= PACES["slow"][1]
    assert PACES["fast"][0] <= third.bpm <= PACES["fast"][1]
    assert third.key == first.key


def test_a_heard_piece_goes_on_as_it_was(planner: Planner) -> None:
    before = Controls(bpm=77.0, meter=3, key=A_MINOR)
    (plan, _), *_ = plans(("a violin",), planner, before=before)
    assert (plan.sections[0].bpm, plan.sections[0].meter, plan.sections[0].key) == (77.0, 3, A_MINOR)


def test_words_do_not_move_a_written_plan_but_values_do() -> None:
    tune = Plan((Section(read_bars("Am F"), 120.0, 4, A_MINOR),))
    (first, _), (second, _) = plans(
        ("at 60 bpm", "in C major"), None, Controls(), Controls(bpm=130.0), plan=tune
    )
    assert first == tune
    assert second == Plan((replace(tune.sections[0], bpm=130.0),))


def plan_at(bpm: float, meter: int = 4) -> tuple[Plan, tuple[str, ...]]:
    return Plan((Section(read_bars("Am F"), bpm, meter, A_MINOR, drums=True),)), PARTS


def test_a_story_changes_plan_on_the_bar_line_nearest_to_the_section() -> None:
    second = Plan((Section(read_bars("C"), 60.0, 3, C_MAJOR),))
    score = score_of_sections([0.0, 6.8], [plan_at(120.0), (second, PARTS)], 20.0)  # bars of 2 s, then of 3 s
    assert what_at(score.keys, 5.9) == A_MINOR
    assert what_at(score.keys, 6.1) == C_MAJOR
    lines = [beat.at for beat in score.beats if beat.place == 0]
    assert lines[:6] == [0.0, 2.0, 4.0, 6.0, 9.0, 12.0]
    assert what_at(score.drums, 5.0) is True
    assert what_at(score.drums, 7.0) is None  # the second plan leaves them open


@given(
    st.lists(st.tuples(st.floats(1.0, 9.0), st.floats(40, 240), st.integers(2, 16)), min_size=1, max_size=5),
    st.floats(-1, 3),
)
@settings(max_examples=60, deadline=None)
@example([(1.0, 64.5, 2), (1.0, 40.0, 3), (1.0, 40.0, 2)], 0.0)  # two parts begin on one bar line
def test_beats_of_any_story_are_in_order(parts: list[tuple[float, float, int]], first: float) -> None:
    starts = [sum(length for length, *_ in parts[:n]) for n in range(len(parts))]
    seconds = starts[-1] + 1.0
    score = score_of_sections(starts, [plan_at(bpm, meter) for _, bpm, meter in parts], seconds, first=first)
    times = [beat.at for beat in score.beats]
    assert all(before < after for before, after in pairwise(times))
    for part in PARTS[1:]:
        moments = [span.at for span in getattr(score, part)]
        assert moments == sorted(moments)
    codes = codes_of(score)
    assert bool((codes["beat"] >= 0).any())


def test_a_part_that_a_section_says_nothing_of_is_open() -> None:
    (plan, _), silent = plan_at(120.0), Plan((Section(((),)),))
    score = score_of_sections([0.0, 4.0, 8.0], [(plan, PARTS), (silent, ()), (plan, ("keys",))], 12.0)
    beat, key = codes_of(score)["beat"][0], codes_of(score)["key"][0]
    assert bool((beat[:85] >= 0).all())
    assert not bool((beat[100:] >= 0).any())
    # The bars that nothing is said of have a length too: one begins at 8.36 s.
    assert [int(key[frame]) for frame in (99, 101, 208, 210)] == [9, ABSENT, ABSENT, 9]


def test_between_two_moments_a_score_says_what_it_said_then() -> None:
    score = plan_at(120.0)[0].score(10.0)
    cut = between(score, 3.0, 5.0)
    assert [beat.at for beat in cut.beats] == [3.0, 3.5, 4.0, 4.5]
    assert [(each.at, each.what) for each in (cut.keys[0], cut.keys[-1])] == [(3.0, A_MINOR), (5.0, None)]
    for moment in (3.0, 3.9, 4.1, 4.9):
        assert what_at(cut.chords, moment) == what_at(score.chords, moment)


def test_the_next_downbeat_is_where_the_beats_would_go_on() -> None:
    beats = steady_beats(3.0, 120.0, 4)  # downbeats at 0, 2, ...; the last beat at 3.5
    assert next_downbeat(beats, 3.6) == pytest.approx(4.0)
    assert next_downbeat(beats, 4.0) == pytest.approx(4.0)
    assert next_downbeat(beats, 4.1) == pytest.approx(6.0)
    assert next_downbeat(beats[:2], 0.0) == pytest.approx(0.0)
    assert next_downbeat((Beat(0.0, 0, 4),), 0.0) is None


class Listener:
    """In place of the network: waltz time at 120 bpm, from the first sample on, in A minor."""

    sample_rate = 24_000

    def hear(self, waveform: Tensor) -> Score:
        seconds = waveform.shape[2] / self.sample_rate
        return Score(seconds, steady_beats(seconds - 1.0, 120.0, 3), keys=(From(0.0, A_MINOR),))


@pytest.fixture
def following(model: MusicLM, planner: Planner, monkeypatch: pytest.MonkeyPatch) -> MusicLM:
    """The model with stages that follow beat, key and drums."""
    streams = (*(Stream(**each) for each in STREAMS), BEAT, KEY, DRUMS)
    monkeypatch.setattr(model, "semantic_stage", Semantic(TINY, pattern="delay", streams=streams).eval())
    coarse = Coarse(TINY, pattern="delay", lookahead=2, num_coarse=2, streams=streams)
    monkeypatch.setattr(model.decoder, "coarse", coarse.eval())
    monkeypatch.setattr(model.decoder, "coarse_settings", CoarseSettings(window=1.0, carry=0.4))
    prompts = PromptReader(
        model.joint_embedding,
        model.joint_quantizer,
        semantic_stage=model.semantic_stage,
        decoder=model.decoder,
        bundle=model.bundle,
    )
    monkeypatch.setitem(model.__dict__, "prompts", prompts)
    prompts.__dict__["score_reader"] = ScoreReader(FOLLOWS, planner, Listener())  # type: ignore[arg-type]
    return model


def test_every_window_is_told_its_own_part_of_the_course(following: MusicLM, heard: Heard) -> None:
    request = Request(PROMPT, seconds=4.2, controls=Controls(bpm=100.0, meter=3, key=C_MAJOR, drums=False))
    stream = following.perform(request)
    (audio,) = stream.listen()
    assert audio.seconds == pytest.approx(4.2)
    (course,) = stream.courses
    assert course.plan is not None
    assert course.plan.sections[0].bpm == 100.0
    whole = course.codes(FOLLOWS)
    for name, ratio in (("semantic", 1), ("coarse", 2)):
        calls, done = heard.of("acoustic" if name == "coarse" else name), 0
        calls = [call for call in calls if call[0].get("beat") is not None] or heard.of(name)
        assert len(calls) > 2
        for conditions, known, frames in calls:
            start = (done - known) // ratio
            for stream_name in FOLLOWS:
                told = conditions[stream_name]
                assert told is not None
                expected = whole[stream_name][:, start : start + told.shape[2]]
                assert torch.equal(told[0, :, : expected.shape[1]], expected), (name, stream_name)
                assert bool((told[0, :, expected.shape[1] :] == ABSENT).all())
            done += frames - known


def test_samples_have_plans_of_their_own_unless_they_share_what_is_kept(following: MusicLM) -> None:
    apart = following.perform(Request(PROMPT, seconds=1.0, num=3, seed=5))
    assert len({str(course.plan) for course in apart.courses}) == 3
    alone = following.perform(Request(PROMPT, seconds=1.0, seed=6))
    assert alone.courses[0].plan == apart.courses[1].plan
    assert torch.equal(alone.listen()[0].waveform, apart.listen()[1].waveform)

    shared = following.perform(Request(PROMPT, seconds=1.0, num=3, seed=5, keep="semantic"))
    assert {str(course.plan) for course in shared.courses} == {str(apart.courses[0].plan)}
    assert len(shared.listen()) == 3


def test_what_goes_on_from_a_recording_keeps_its_beat(following: MusicLM, heard: Heard) -> None:
    stream = following.perform(Request("", seconds=3.0, continue_=tone(5.0)))
    (course,) = stream.courses
    assert course.begin < 0
    assert course.score.seconds == pytest.approx(3.0 - course.begin)
    assert course.plan is not None
    (section,) = course.plan.sections[:1]
    assert (section.meter, section.key) == (3, A_MINOR)
    assert section.bpm == pytest.approx(120.0)
    beats = score_of(course.codes(["beat"])).beats
    assert {round(after.at - before.at, 2) for before, after in pairwise(beats)} <= {0.48, 0.52}
    assert all(after.place == (before.place + 1) % 3 for before, after in pairwise(beats))
    stream.listen()
    conditions, known, _ = heard.of("semantic")[0]
    assert known > 0
    assert conditions["beat"] is not None
    first = round(-course.begin * 25) - known
    told = course.codes(["beat"])["beat"][:, first : first + conditions["beat"].shape[2]]
    assert torch.equal(conditions["beat"][0, :, : told.shape[1]], told)


def test_another_recording_s_beats_and_keys_are_followed(following: MusicLM) -> None:
    (course,) = following.perform(Request(PROMPT, seconds=2.0, follow=tone(6.0), only=["keys"])).courses
    assert course.score.known == ("keys",)
    given = Controls(key=C_MAJOR)
    (course,) = following.perform(Request(PROMPT, seconds=2.0, follow=tone(6.0), controls=given)).courses
    assert course.score.known == ("beats", "keys")
    assert what_at(course.score.keys, 1.0) == C_MAJOR
    prompts = following.prompts
    prompts.__dict__["score_reader"] = replace(prompts.score_reader, listener=None)
    with pytest.raises(ValueError, match=r"^expected a bundle with the component score_listener [^\n]+$"):
        following.perform(Request(PROMPT, seconds=2.0, follow=tone(6.0)))


def test_a_story_is_told_on_course(following: MusicLM) -> None:
    story = ((0.0, "in A minor at 120 bpm, 4/4"), (2.3, "in C major"))
    (course,) = following.perform(Request(story, seconds=5.0)).courses
    assert what_at(course.score.keys, 1.9) == A_MINOR
    assert what_at(course.score.keys, 2.1) == C_MAJOR
    assert {beat.meter for beat in course.score.beats} == {4}


def test_without_a_planner_only_what_is_said_is_followed(following: MusicLM) -> None:
    following.prompts.__dict__["score_reader"] = ScoreReader(FOLLOWS)
    (course,) = following.perform(Request("in A minor, no drums", seconds=1.0)).courses
    assert course.score.known == ("keys", "drums")
    codes = stacked([course], FOLLOWS, torch.device("cpu"))
    assert set(codes) == {"key", "drums"}
    assert following.generate(OTHER, seconds=0.5).seconds == 0.5


def test_of_a_melody_nothing_is_planned_that_it_says_itself(following: MusicLM) -> None:
    """A tune has its tempo, key and chords, which no planner hears; what the user says of them counts."""
    reader = following.prompts.score_reader
    assert reader is not None
    embeddings = torch.zeros(1, 8)
    (course,) = reader.courses(Request("a violin waltz", seconds=2.0, melody=tone(2.0)), embeddings, None)
    assert course.score.known == ()
    assert course.plan is None
    said = Request("a violin, no drums", seconds=2.0, melody=tone(2.0), controls=Controls(bpm=90.0))
    (course,) = reader.courses(said, embeddings, None)
    assert course.score.known == ("beats", "drums")


def test_a_model_that_follows_no_score_refuses_values_and_leaves_words_alone(model: MusicLM) -> None:
    for asked in ({"controls": Controls(bpm=90.0)}, {"plan": plan_at(90.0)[0]}, {"follow": tone(6.0)}):
        with pytest.raises(ValueError, match=r"^expected stages that follow beats, keys[^\n]+$"):
            model.generate(PROMPT, seconds=0.5, **asked)
    stream = model.perform(Request("a waltz at 90 bpm in A minor", seconds=0.2))
    assert list(stream.courses) == []
    stream.listen()


def test_codes_that_begin_before_the_music_are_absent_on_both_sides(following: MusicLM) -> None:
    codes = {"drums": torch.ones(1, 1, 50, dtype=torch.int64)}  # from -1 s to 1 s
    joint = (torch.zeros(1, 2, 1, dtype=torch.int64),)
    schedule = ConditioningSchedule((0.0,), joint, codes, codes_begin=-1.0)
    segments = following.semantic_stage.layout.conditions
    for begin, before, after in ((-2.0, 25, 25), (0.0, 0, 75), (-1.5, 12, 38), (5.0, 100, 0), (-9.0, 100, 0)):
        told = schedule.conditions(segments, 2, moment=0.0, begin=begin, length=4.0)["drums"]
        assert told.shape == (2, 1, 100)
        known = (told[0, 0] == 1).nonzero().flatten()
        if before < 100:
            assert int(known[0]) == before
            assert len(known) == 100 - before - after
        else:
            assert len(known) == 0


def test_the_words_of_a_story_have_guidance_of_their_own(
    following: MusicLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    draw = semantic_sampler.sample_codes

    def watched(*arguments: Any, guidance_by: dict[str, float], **words: Any) -> Tensor:
        asked.append(guidance_by["mulan"])
        return draw(*arguments, guidance_by=guidance_by, **words)

    monkeypatch.setattr(semantic_sampler, "sample_codes", watched)
    plain = replace(following.settings, guidance_by={"mulan": 4.0})
    story = [(0.0, PROMPT), (1.0, OTHER)]
    for scale, prompt, guidance in ((10.0, story, 10.0), (None, story, 4.0), (10.0, PROMPT, 4.0)):
        monkeypatch.setattr(following, "settings", replace(plain, guidance_story=scale))
        asked.clear()
        following.perform(Request(prompt, seconds=2.0)).listen()
        assert set(asked) == {guidance}


def test_music_under_a_given_score_has_guidance_of_its_own(
    following: MusicLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values, a plan or a score that a user gives; not what words name, and not what is planned."""
    asked: list[float] = []
    draw = semantic_sampler.sample_codes

    def watched(*arguments: Any, guidance: float, **words: Any) -> Tensor:
        asked.append(guidance)
        return draw(*arguments, guidance=guidance, **words)

    monkeypatch.setattr(semantic_sampler, "sample_codes", watched)
    plain = replace(following.settings, guidance=2.0)
    values = {"controls": Controls(bpm=90.0)}
    for scored, words, guidance in (
        (4.0, values, 4.0),
        (4.0, {"plan": following.courses(Request(PROMPT))[0].plan}, 4.0),
        (4.0, {}, 2.0),
        (None, values, 2.0),
    ):
        monkeypatch.setattr(following, "settings", replace(plain, guidance_scored=scored))
        asked.clear()
        following.generate(f"{PROMPT} at 120 bpm", seconds=0.5, **words)  # type: ignore[arg-type]
        assert set(asked) == {guidance}
