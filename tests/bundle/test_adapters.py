"""Adapters in bundles: of one base and no other, several of them, and merged for good."""

from pathlib import Path

import pytest
import torch

from musiclm import MusicLM
from musiclm.bundle import Bundle, merge, save_component
from musiclm.bundle.adapters import Adapters, paired
from musiclm.cli import main
from musiclm.generation.diffusion_decoder import DiffusionDecoder
from musiclm.stages.adapters import BlockSizes, LoraConfig, StageAdapter
from tests.tiny_model import PROMPT, make_bundle
from tests.training.runs import refused

SHORT = {"seconds": 0.5, "seed": 1}


def make_adapter(folder: Path, base: Bundle, *stages: str, seed: int = 0) -> Path:
    """A bundle of adapters that have learned something, of stages such as `semantic`."""
    torch.manual_seed(seed)
    made = []
    for stage in stages:
        role = "denoiser" if stage == "denoiser" else f"{stage}_stage"
        adapter = StageAdapter(LoraConfig(rank=2), sizes=BlockSizes.of(base.load(role)))
        with torch.no_grad():
            for value in adapter.parameters():
                value.add_(0.5 * torch.randn_like(value))
        made.append(
            save_component(
                folder / "parts" / stage,
                f"{stage}_adapter",
                adapter,
                class_path="musiclm.stages.adapters.StageAdapter",
                init_args=adapter.init_args(),
                storage="float16",
                trained_on={role: base.fingerprint(role)},
            )
        )
    return merge(made, folder / "mine").path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def adapter(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(tmp_path_factory.mktemp("adapter"), Bundle(bundle), "semantic", "coarse")


@pytest.fixture(scope="module")
def other(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(tmp_path_factory.mktemp("other"), Bundle(bundle), "semantic", seed=1)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_an_adapted_model_makes_other_music_and_at_no_scale_the_base_s(bundle: Path, adapter: Path) -> None:
    plain = MusicLM.from_pretrained(bundle).generate(PROMPT, **SHORT).waveform
    none = MusicLM.from_pretrained(bundle, adapters=[(adapter, 0.0)]).generate(PROMPT, **SHORT).waveform
    tuned = MusicLM.from_pretrained(bundle, adapters=[adapter]).generate(PROMPT, **SHORT).waveform
    assert torch.equal(none, plain)
    assert not torch.equal(tuned, plain)


def test_an_adapted_denoiser_makes_other_sound_of_the_same_tokens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = make_bundle(tmp_path / "both", diffusion=True, tokens=True)
    adapter = make_adapter(tmp_path / "sound", Bundle(both), "denoiser", "coarse")
    tokens: list[list[torch.Tensor]] = [[], []]
    models = (MusicLM.from_pretrained(both), MusicLM.from_pretrained(both, adapters=[adapter]))
    plain, tuned = (
        model.generate(PROMPT, on_semantic=heard.append, **SHORT).waveform
        for model, heard in zip(models, tokens, strict=True)
    )
    assert torch.equal(torch.cat(tokens[0], dim=2), torch.cat(tokens[1], dim=2))
    assert not torch.equal(plain, tuned)
    assert isinstance(models[1].decoder, DiffusionDecoder)  # though the coarse stage has changed as well
    words = ["generate", PROMPT, "--bundle", str(both), "--adapter", str(adapter), "--seconds", "0.5"]
    for decoder, other in (("diffusion", "coarse"), ("tokens", "denoiser")):
        main([*words, "--decoder", decoder])
        assert f"not heard: what adapters learned for the {other}, which" in capsys.readouterr().err
    main(["bundle", "pack", str(both), "--adapter", str(adapter), "--out", str(tmp_path / "packed")])
    packed = MusicLM.from_pretrained(tmp_path / "packed", decoder="diffusion").generate(PROMPT, **SHORT)
    torch.testing.assert_close(packed.waveform, tuned, atol=1e-2, rtol=0)  # kept in float16


def test_several_adapters_add_up_in_any_order(bundle: Path, adapter: Path, other: Path) -> None:
    found, role = Bundle(bundle), "semantic_stage"
    bases = dict.fromkeys(found.components, found)

    def weight(*given: tuple[Path, float]) -> torch.Tensor:
        stage = Adapters(given, bases).merged(role, found.load(role))
        return stage.transformer.blocks[0].qkv.weight

    base, first, second = weight(), weight((adapter, 1.0)), weight((other, 0.5))
    torch.testing.assert_close(weight((adapter, 1.0), (other, 0.5)), first + second - base)
    torch.testing.assert_close(weight((other, 0.5), (adapter, 1.0)), first + second - base)


def test_the_command_takes_adapters_with_their_scales_and_says_so_in_the_file(
    bundle: Path, adapter: Path, other: Path
) -> None:
    import soundfile

    words = ["generate", PROMPT, "--bundle", str(bundle), "--seconds", "0.5", "--seed", "1"]
    scales = ["--adapter-scale", "0.7", "--adapter_scale", "0.3"]
    main([*words, "--adapter", str(adapter), "--adapter", str(other), *scales, "--out", "tuned.wav"])
    comment = soundfile.SoundFile("tuned.wav").comment
    own, second = Bundle(adapter).fingerprint(), Bundle(other).fingerprint()
    assert comment == f"seed 1, bundle {Bundle(bundle).fingerprint()} + 0.7 {own} + 0.3 {second}"


def test_what_is_packed_with_an_adapter_needs_it_no_more(bundle: Path, adapter: Path) -> None:
    main(["bundle", "pack", str(bundle), "--adapter", str(adapter), "--adapter-scale", "0.5", "--out", "one"])
    packed = Bundle("one")
    assert packed.components.keys() == Bundle(bundle).components.keys()
    assert packed.settings("semantic_stage") == Bundle(bundle).settings("semantic_stage")
    adapted = MusicLM.from_pretrained(bundle, adapters=[(adapter, 0.5)], precision="float32")
    merged = MusicLM.from_pretrained("one", precision="float32")
    for one, same in ((merged.semantic_stage, adapted.semantic_stage),):
        for name, value in one.state_dict().items():
            torch.testing.assert_close(value, same.state_dict()[name], atol=2e-3, rtol=1e-3)  # float16
    assert merged.generate(PROMPT, **SHORT).waveform.shape == (1, 12_000)
    for role in ("codec", "fine_stage"):
        assert packed.fingerprint(role) == Bundle(bundle).fingerprint(role)


def test_an_adapter_of_another_base_is_refused_in_one_line(
    bundle: Path, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["bundle", "pack", str(bundle), "--adapter", str(adapter), "--out", "merged"])
    for command in (
        ["generate", PROMPT, "--bundle", "merged", "--adapter", str(adapter)],
        ["bundle", "pack", "merged", "--adapter", str(adapter), "--out", "twice"],
    ):
        line = refused(capsys, command)
        assert f"expected the semantic_stage that the adapter {adapter} was tuned on" in line
    assert not Path("twice").exists()
    assert not Path("out.wav").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--adapter", "nowhere/"], "expected a bundle"),
        (["--adapter", "BUNDLE"], "expected a bundle with one of semantic_adapter"),
        (["--adapter", "ADAPTER", "--adapter_scale", "nan"], "expected a scale of -10 to 10"),
        (["--adapter", "ADAPTER", "--adapter_scale", "loud"], "expected a number"),
        (["--adapter", "ADAPTER", "--adapter_scale", "1", "2"], "got 2 of 1"),
        (["--adapter_scale", "0.5"], "got 1 of 0"),
    ],
)
def test_a_mistake_ends_with_one_line(
    words: list[str], said: str, bundle: Path, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {"BUNDLE": str(bundle), "ADAPTER": str(adapter)}
    own = [known.get(word, word) for word in words]
    assert said in refused(capsys, ["generate", PROMPT, "--bundle", str(bundle), *own])


def test_an_adapter_is_no_part_of_a_model_by_itself(
    bundle: Path, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, ["bundle", "pack", str(bundle), str(adapter), "--out", "one"])
    assert "give it with --adapter" in line
    assert "semantic_stage" in refused(capsys, ["generate", PROMPT, "--bundle", str(adapter)])
    main(["bundle", "info", str(adapter)])
    assert "semantic_adapter" in capsys.readouterr().out


def test_one_scale_serves_all_adapters() -> None:
    mine, yours = Path("mine"), Path("yours")
    assert paired([mine, yours], []) == [(mine, 1.0), (yours, 1.0)]
    assert paired([mine, yours], [0.5]) == [(mine, 0.5), (yours, 0.5)]
    assert paired([mine, yours], [0.5, 0.7]) == [(mine, 0.5), (yours, 0.7)]
