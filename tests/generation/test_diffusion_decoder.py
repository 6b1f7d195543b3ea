"""Sound by diffusion, in the forms that have something of their own: steps, context, conditions, bundles."""

from pathlib import Path

import pytest
import torch

from musiclm import MusicLM
from musiclm.audio import Audio
from musiclm.bundle import Bundle, build, merge, save_component
from musiclm.cli import main
from musiclm.generation.diffusion_decoder import DiffusionDecoder
from musiclm.generation.token_decoder import TokenDecoder
from tests.tiny import SAMPLE_RATE, melody
from tests.tiny_model import PROMPT, make_bundle, words_of


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("diffusion"), diffusion=True)


@pytest.fixture
def model(bundle: Path) -> MusicLM:
    return MusicLM.from_pretrained(bundle)


def decoder_of(model: MusicLM) -> DiffusionDecoder:
    assert isinstance(model.decoder, DiffusionDecoder)
    return model.decoder


def test_a_bundle_with_a_denoiser_makes_its_sound_by_it(bundle: Path, tmp_path: Path) -> None:
    assert decoder_of(MusicLM.from_pretrained(bundle)).denoiser_settings.steps == 3
    with_tokens = make_bundle(tmp_path / "tokens")
    assert isinstance(MusicLM.from_pretrained(with_tokens).decoder, TokenDecoder)
    both = merge([Bundle(with_tokens), Bundle(bundle)], tmp_path / "both")
    assert isinstance(MusicLM.from_pretrained(both.path).decoder, DiffusionDecoder)


@pytest.fixture(scope="module")
def both(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that makes sound in two ways."""
    folder = tmp_path_factory.mktemp("both")
    return merge([Bundle(make_bundle(folder / "tokens")), Bundle(bundle)], folder / "both").path


def test_a_bundle_that_makes_sound_in_two_ways_makes_it_as_it_is_told(both: Path, tmp_path: Path) -> None:
    words = ["generate", PROMPT, "--bundle", str(both), "--seconds", "1"]
    sounds = {}
    for name in ("auto", "diffusion", "tokens"):
        main([*words, "--decoder", name, "--out", str(tmp_path / f"{name}.wav")])
        sounds[name] = Audio.load(tmp_path / f"{name}.wav").waveform
    assert torch.equal(sounds["auto"], sounds["diffusion"])
    assert not torch.equal(sounds["auto"], sounds["tokens"])
    by_tokens = MusicLM.from_pretrained(both, decoder="tokens")
    assert isinstance(by_tokens.decoder, TokenDecoder)
    # What a file says of itself tells the two apart.
    assert by_tokens.fingerprint == MusicLM.from_pretrained(both).fingerprint + ", by tokens"


def test_old_names_lead_to_what_there_is_of_them(both: Path) -> None:
    model = MusicLM.from_pretrained(both)
    with pytest.warns(
        DeprecationWarning, match=r"MusicLM\.acoustic is MusicLM\.decoder\.autoencoder\.codec now"
    ):
        assert model.acoustic.sample_rate == SAMPLE_RATE
    with pytest.raises(AttributeError, match='decoder="tokens"'):
        _ = model.coarse


def test_a_coarse_or_a_fine_stage_that_is_packed_later_is_heard(both: Path, tmp_path: Path) -> None:
    own = Bundle(make_bundle(tmp_path / "own"))
    stages = [merge([own], tmp_path / role, only=[role]) for role in ("coarse_stage", "fine_stage")]
    packed = merge([Bundle(both), *stages], tmp_path / "packed")
    assert "denoiser" not in packed.components
    assert isinstance(MusicLM.from_bundle(packed).decoder, TokenDecoder)
    semantic = merge([own], tmp_path / "semantic", only=["semantic_stage"])
    assert isinstance(
        MusicLM.from_bundle(merge([Bundle(both), semantic], tmp_path / "other")).decoder, DiffusionDecoder
    )


@pytest.mark.parametrize("name", ["diffusion", "tokens"])
def test_a_decoder_that_a_bundle_lacks_is_one_line(
    name: str, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = bundle if name == "tokens" else make_bundle(tmp_path / "tokens")
    out = tmp_path / "a.wav"
    with pytest.raises(SystemExit) as stopped:
        main(["generate", PROMPT, "--bundle", str(place), "--decoder", name, "--out", str(out)])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert f"to make sound by {name}" in error
    assert len(error.strip().splitlines()) == 1


def test_steps_are_passes_over_each_window(
    model: MusicLM, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    forward = type(decoder_of(model).denoiser).forward

    def counted(self: torch.nn.Module, state: torch.Tensor, *words: object) -> torch.Tensor:
        passes.append(len(state))
        return forward(self, state, *words)  # type: ignore[arg-type]

    monkeypatch.setattr(type(decoder_of(model).denoiser), "forward", counted)
    words = ["generate", PROMPT, "--bundle", str(bundle), "--seconds", "1", "--out", str(tmp_path / "a.wav")]
    main([*words, "--steps", "5"])
    # Windows of 0.4, and 0.6 s more each; guided by MuLan, two rows each.
    assert passes == [2] * (5 * 2)
    sound = Audio.load(tmp_path / "a.wav").waveform
    passes.clear()
    main(words)
    assert passes == [2] * (3 * 2)
    assert not torch.equal(Audio.load(tmp_path / "a.wav").waveform, sound)


@pytest.mark.parametrize(
    ("steps", "message"),
    [("0", "expected steps of denoiser of 1 to 1000"), ("5000", "of 1 to 1000, got 5000")],
)
def test_steps_that_are_none_are_one_line(
    steps: str, message: str, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(
            ["generate", PROMPT, "--bundle", str(bundle), "--out", str(tmp_path / "a.wav"), "--steps", steps]
        )
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_a_model_of_tokens_has_no_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokens = str(make_bundle(tmp_path))
    with pytest.raises(SystemExit) as stopped:
        main(["generate", PROMPT, "--bundle", tokens, "--out", str(tmp_path / "a.wav"), "--steps", "4"])
    assert stopped.value.code == 2
    assert "expected a bundle with a denoiser for a number of steps" in capsys.readouterr().err


def test_the_end_of_an_audio_prompt_is_context(model: MusicLM, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    forward = type(decoder_of(model).denoiser).forward

    def watched(
        self: torch.nn.Module, state: torch.Tensor, time: torch.Tensor, codes: object
    ) -> torch.Tensor:
        seen.append(time[0])
        return forward(self, state, time, codes)  # type: ignore[arg-type]

    monkeypatch.setattr(type(decoder_of(model).denoiser), "forward", watched)
    model.generate(continue_=melody(1.5, seed=1), seconds=0.5, seed=2)
    first = seen[0]
    known = int((first == 0).sum())
    assert known == 20  # the carry, 0.4 s at 50 Hz
    assert (first[:known] == 0).all()
    assert (first[known:] == 1).all()


def test_long_music_takes_no_more_memory_than_its_window(
    model: MusicLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: set[int] = set()
    forward = type(decoder_of(model).denoiser).forward

    def measured(self: torch.nn.Module, state: torch.Tensor, *words: object) -> torch.Tensor:
        lengths.add(state.shape[2])
        return forward(self, state, *words)  # type: ignore[arg-type]

    monkeypatch.setattr(type(decoder_of(model).denoiser), "forward", measured)
    blocks = list(model.stream(PROMPT, seconds=20.0))
    assert sum(block.shape[1] for block in blocks) == 20 * SAMPLE_RATE
    assert max(lengths) == 50  # a second


def test_a_denoiser_of_other_latents_is_no_model(bundle: Path, tmp_path: Path) -> None:
    whole = Bundle(bundle)
    torch.manual_seed(0)
    words = words_of("tokenizers.codec_latents.CodecLatents", codec_dimension=6, dimension=3)
    other = save_component(tmp_path / "latents", "autoencoder", build(**words), storage="float32", **words)
    packed = merge([whole, other], tmp_path / "packed")
    with pytest.raises(ValueError, match="expected a denoiser of the autoencoder's latents, 3 dimensions"):
        MusicLM.from_bundle(packed)
