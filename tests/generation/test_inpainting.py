"""Inpainting: what lies outside a region stays, what lies inside is led from one side to the other."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from musiclm import Audio, MusicLM
from musiclm.audit.guard import Guard, Verdict
from musiclm.cli import main
from musiclm.generation.conditioning import ConditioningSchedule
from musiclm.generation.decoders import filling
from musiclm.generation.inpainting import FADE_SECONDS, Inpainter
from musiclm.generation.request import Request
from musiclm.generation.settings import SemanticSettings
from musiclm.generation.windows import say_nothing
from musiclm.score.controls import Controls
from musiclm.score.listener import ScoreListener
from musiclm.score.score import From, Key, Score, steady_beats
from tests.tiny import SAMPLE_RATE, melody, tone
from tests.tiny_model import PROMPT, make_bundle

FADE = round(FADE_SECONDS * SAMPLE_RATE)
SONG = melody(6.0, seed=1)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("inpainting"), diffusion=True)


@pytest.fixture(scope="module")
def model(bundle: Path) -> MusicLM:
    return MusicLM.from_pretrained(bundle)


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> MusicLM:
    folder = tmp_path_factory.mktemp("scored")
    return MusicLM.from_pretrained(make_bundle(folder, diffusion=True, score=True))


def outside(regions: list[tuple[float, float]], length: int) -> Tensor:
    """bool [length]: what no region and none of its fades holds."""
    stays = torch.ones(length, dtype=torch.bool)
    for begin, end in regions:
        stays[max(round(begin * SAMPLE_RATE) - FADE, 0) : round(end * SAMPLE_RATE) + FADE] = False
    return stays


@pytest.mark.parametrize(
    "regions",
    [
        [(2.0, 3.0)],
        [(1.2345, 3.877)],  # no region begins or ends on a frame's border
        [(0.0, 1.0)],
        [(5.01, 6.0)],
        [(0.3, 1.0), (1.6, 4.9)],
        [(0.02, 1.0)],  # too little stays before it, or after it, to fade over: it goes to the edge
        [(4.0, 5.97)],
        [(4.0, 5.9)],
    ],
    ids=str,
)
def test_outside_the_regions_and_their_fades_no_sample_changes(
    model: MusicLM, regions: list[tuple[float, float]]
) -> None:
    made = model.inpaint(SONG, regions, PROMPT).waveform
    assert made.shape == SONG.waveform.shape
    stays = outside(regions, made.shape[1])
    assert torch.equal(made[:, stays], SONG.waveform[:, stays])
    for begin, end in regions:
        inside = slice(round(begin * SAMPLE_RATE), round(end * SAMPLE_RATE))
        assert (made - SONG.waveform)[:, inside].abs().mean() > 0.05
    assert made.abs().max() <= 1


@pytest.mark.parametrize("region", [(0.02, 1.0), (2.0, 3.0), (4.0, 5.97), (4.96, 5.9)])
def test_where_sound_that_stays_begins_and_ends_nothing_jumps(
    model: MusicLM, region: tuple[float, float]
) -> None:
    slow = tone(6.0, pitch=50.0)  # from sample to sample it moves by 0.007
    made = model.inpaint(slow, [region], PROMPT).waveform[0]
    stays = made == slow.waveform[0]
    borders = (stays[1:] != stays[:-1]).nonzero()[:, 0]
    steps = made.diff().abs()
    assert steps[borders[[0, -1]]].max() < 0.02
    kept = outside([region], len(made))
    assert (made == slow.waveform[0])[kept].all()


def test_what_comes_after_a_region_changes_what_is_made_in_it(model: MusicLM) -> None:
    other = Audio(
        torch.cat([SONG.waveform[:, : 3 * SAMPLE_RATE], melody(3.0, seed=5).waveform], 1), SAMPLE_RATE
    )
    region = slice(2 * SAMPLE_RATE, 3 * SAMPLE_RATE)
    first, second = (model.inpaint(song, [(2.0, 3.0)], PROMPT).waveform for song in (SONG, other))
    assert not torch.equal(first[:, region], second[:, region])


def test_what_was_in_a_region_does_not_count_but_at_its_edges(model: MusicLM) -> None:
    """Its tokens come from either side alone; of its sound, codes beside it may hear a few frames."""
    other = SONG.waveform.clone()
    other[:, round(2.2 * SAMPLE_RATE) : round(3.8 * SAMPLE_RATE)] = 0.0
    first, second = (
        model.inpaint(song, [(2.0, 4.0)], PROMPT, only=()).waveform
        for song in (SONG, Audio(other, SAMPLE_RATE))
    )
    assert torch.equal(first, second)


def test_the_same_seed_makes_the_same_and_a_sample_does_not_depend_on_the_others(model: MusicLM) -> None:
    regions = [(1.0, 2.0), (3.0, 4.5)]
    request = Request(PROMPT, seed=3, num=3, inpaint=SONG, regions=regions)
    samples = model.perform(request).listen()
    assert not torch.equal(samples[0].waveform, samples[1].waveform)
    for number, sample in enumerate(samples):
        alone = model.inpaint(SONG, regions, PROMPT, seed=3 + number)
        assert torch.equal(sample.waveform, alone.waveform)


def test_blocks_make_up_the_whole(model: MusicLM) -> None:
    request = Request("", inpaint=SONG, regions=[(1.0, 2.0), (3.0, 4.5)])
    blocks = list(model.perform(request))
    assert len(blocks) == 2
    assert torch.equal(torch.cat(blocks, dim=2)[0], model.inpaint(SONG, request.regions).waveform)


def test_a_gap_longer_than_a_window_is_filled_window_by_window_between_its_sides(
    model: MusicLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = filling(model.decoder)
    seen: list[tuple[int, bool, bool]] = []
    forward = type(decoder.denoiser).forward

    def watched(self: torch.nn.Module, state: Tensor, time: Tensor, codes: object) -> Tensor:
        if time[0].max() == 1:  # the first step of a window
            seen.append((state.shape[2], bool(time[0, 0] == 0), bool(time[0, -1] == 0)))
        return forward(self, state, time, codes)  # type: ignore[arg-type]

    monkeypatch.setattr(type(decoder.denoiser), "forward", watched)
    torch.manual_seed(0)
    latents = torch.randn(1, 4, 250)
    tokens = torch.randint(8, (1, 1, 125))
    schedule = ConditioningSchedule((0.0,), (torch.zeros(1, 2, 1, dtype=torch.int64),))
    filled = decoder.fill(
        latents,
        (50, 200),
        tokens,
        schedule,
        generator=torch.Generator().manual_seed(0),
        on_progress=say_nothing,
    )
    stays = [*range(50), *range(200, 250)]
    assert torch.equal(filled[..., stays], latents[..., stays])
    assert (filled[..., 50:200] != latents[..., 50:200]).any(dim=1).all()
    lengths, befores, afters = zip(*seen, strict=True)
    assert max(lengths) == 50  # a second
    assert all(befores)
    assert afters[-1]  # what follows is context of the last window, and not of the first ones alone
    assert not afters[0]


@pytest.mark.parametrize("gap", [(0, 40), (60, 100), (0, 100), (2, 4), (20, 98)])
def test_any_gap_is_filled(model: MusicLM, gap: tuple[int, int]) -> None:
    latents = torch.full((1, 4, 100), 7.0)
    schedule = ConditioningSchedule((0.0,), (torch.zeros(1, 2, 1, dtype=torch.int64),))
    filled = filling(model.decoder).fill(
        latents,
        gap,
        torch.zeros(1, 1, 50, dtype=torch.int64),
        schedule,
        generator=torch.Generator().manual_seed(0),
        on_progress=say_nothing,
    )
    made = (filled != 7).all(dim=1)[0]
    assert made.nonzero()[:, 0].tolist() == list(range(*gap))


def test_the_recordings_own_course_runs_on_and_what_is_given_begins_with_the_region(
    scored: MusicLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Score(
        6.0,
        steady_beats(6.0, 100.0, 3),
        (From(0.0, Key(2, "minor")),),
        drums=(From(0.0, False),),
    )
    monkeypatch.setattr(ScoreListener, "hear", lambda self, waveform: heard)
    inpainter = Inpainter(
        scored.prompts,
        scored.semantic_stage,
        SemanticSettings(window=3.0, stride=2.0),
        filling(scored.decoder),
    )
    request = Request(
        PROMPT,
        inpaint=SONG,
        regions=[(3.0, 4.0)],
        controls=Controls.of(key="G major", drums=True),
        only=["beats", "keys"],
    )
    schedule = inpainter._schedule(inpainter.surroundings(request), inpainter._gap(72_000, 96_000, 144_000))
    assert schedule.codes_begin == -1.0  # a second, which the semantic stage goes on from
    key, drums, beat = (schedule.codes[name][0] for name in ("key", "drums", "beat"))
    assert key[0, :25].tolist() == [2] * 25
    assert key[0, 25:].tolist() == [7] * (len(key[0]) - 25)
    assert drums[0].tolist() == [-1] * 25 + [1] * (drums.shape[1] - 25)
    assert beat[1, 10:25].tolist() == [1] * 15  # from 2.4 s on the second beat of the second bar
    assert "chord" not in schedule.codes


def test_a_model_that_follows_a_score_inpaints_with_and_without_it(scored: MusicLM) -> None:
    kept = scored.inpaint(SONG, [(2.0, 3.0)], PROMPT, only=("beats", "keys", "chords", "drums"))
    free = scored.inpaint(SONG, [(2.0, 3.0)], PROMPT, only=())
    assert kept.waveform.shape == free.waveform.shape
    short = Audio(SONG.waveform[:, : 3 * SAMPLE_RATE], SAMPLE_RATE)  # too short to hear a tempo in
    assert scored.inpaint(short, [(1.0, 2.0)], PROMPT).seconds == 3


def test_without_words_it_sounds_as_what_is_beside_it(
    model: MusicLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Tensor] = []
    embed = type(model.joint_embedding).embed_audio

    def listened(self: object, waveform: Tensor) -> Tensor:
        heard.append(waveform)
        return embed(self, waveform)  # type: ignore[arg-type]

    monkeypatch.setattr(type(model.joint_embedding), "embed_audio", listened)
    model.inpaint(SONG, [(2.0, 4.0)])
    beside = torch.cat([SONG.waveform[:, : 2 * SAMPLE_RATE], SONG.waveform[:, 4 * SAMPLE_RATE :]], dim=1)
    assert torch.equal(heard[0][0], beside)


def test_the_guard_looks_at_the_regions(model: MusicLM, monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[Tensor] = []

    def passes(self: Guard, semantic: Tensor) -> Verdict:
        judged.append(semantic)
        return Verdict("x", 0.0, 1.0, 0.5)

    monkeypatch.setattr(Guard, "judge", passes)
    song = melody(14.0, seed=2)
    request = Request(PROMPT, num=2, inpaint=song, regions=[(1.0, 4.0), (6.0, 10.0)])
    store = SimpleNamespace(description={"semantic": SimpleNamespace(rate=25.0)})
    search: Any = SimpleNamespace(store=store)
    samples = Guard(search, 0.5).generate(model, request)
    assert len(samples) == 2
    assert max(row.shape[2] for row in judged) >= 125


@pytest.fixture
def song(tmp_path: Path) -> str:
    return str(SONG.save(tmp_path / "song.wav"))


def test_the_command_writes_a_file_for_each_sample(
    bundle: Path, song: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.flac"
    words = [song, PROMPT, "--from", "0:01", "--to", "2.5", "--region", "4", "0:05", "--bundle", str(bundle)]
    main(["inpaint", *words, "--num", "2", "--seed", "4", "--out", str(out)])
    files = capsys.readouterr().out.split()
    assert [Path(file).name for file in files] == ["a-1.flac", "a-2.flac"]
    model = MusicLM.from_pretrained(bundle)
    expected = model.inpaint(song, [(1.0, 2.5), (4.0, 5.0)], PROMPT, seed=5)
    assert (Audio.load(files[1]).waveform - expected.waveform).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--from", "1", "--to", "2", "--bundle", "TOKENS"], "to make sound by diffusion, "),
        ([], "expected a region to make anew, such as 0:12 to 0:20"),
        (["--from", "1"], "expected --from and --to together"),
        (["--from", "3", "--to", "2"], "expected regions of 0.5 s or more, got 3 to 2 s"),
        (["--from", "5", "--to", "7"], "expected regions within the recording's 6 s, got 5 to 7 s"),
        (["--from", "0", "--to", "6"], "expected regions that leave 1 s"),
        (["--from", "1", "--to", "2", "--region", "1.5", "3"], "expected regions in order, 0.5 s apart"),
        (["--from", "one", "--to", "2"], "expected a time such as 0:15 or 75, got 'one'"),
        (["--from", "1", "--to", "2", "--key", "H dur"], "expected"),
        (["--from", "1", "--to", "2", "--key", "A minor"], "expected stages that follow beats, keys"),
        (["--from", "1", "--to", "2", "--only", "bass"], "expected to follow beats, keys, chords, drums"),
        (["--from", "1", "--to", "2", "--steps", "0"], "expected steps of denoiser of 1 to 1000"),
    ],
)
def test_what_cannot_be_made_is_one_line(
    words: list[str],
    message: str,
    bundle: Path,
    song: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if "TOKENS" in words:
        words = [str(make_bundle(tmp_path)) if word == "TOKENS" else word for word in words]
    else:
        words = [*words, "--bundle", str(bundle)]
    out = tmp_path / "a.wav"
    with pytest.raises(SystemExit) as stopped:
        main(["inpaint", song, PROMPT, "--out", str(out), *words])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not out.exists()


@pytest.mark.parametrize(
    "also",
    [
        {"melody": SONG},
        {"continue_": SONG},
        {"seconds": 3.0},
        {"follow": SONG},
        {"prompt": [(0.0, PROMPT)]},
        {"controls": Controls.of(bpm=100.0)},
    ],
    ids=lambda also: next(iter(also)),
)
def test_it_is_a_form_of_its_own(also: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"^expected [^\n]+ inpaint [^\n]+$"):
        Request(**{"prompt": PROMPT, "inpaint": SONG, "regions": [(1.0, 2.0)], **also})  # type: ignore[arg-type]


def test_silence_is_no_recording_to_inpaint(model: MusicLM) -> None:
    with pytest.raises(ValueError, match="expected a recording to inpaint that can be heard, it is silent"):
        model.inpaint(Audio(torch.zeros(1, 6 * SAMPLE_RATE), SAMPLE_RATE), [(1.0, 2.0)])
