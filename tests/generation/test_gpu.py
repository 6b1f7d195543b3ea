"""On a GPU: every form is made there, the same seed gives the same music, and commands take `--device`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from musiclm import Audio, MusicLM
from musiclm.cli import main
from musiclm.data.store import TokenStore
from musiclm.stages.cuda_graph import CudaGraphStep
from tests.tiny import folder_of_tones, melody
from tests.tiny_model import OTHER, PROMPT, make_bundle

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]

FORMS: dict[str, Callable[[MusicLM], list[Audio]]] = {
    "text": lambda model: [model.generate(PROMPT, seconds=3.0, seed=1)],
    "story": lambda model: [model.story([(0.0, PROMPT), (1.0, OTHER)], seconds=3.0, seed=1, blend=1.0)],
    "samples": lambda model: model.variations(PROMPT, num=3, seconds=2.0, seed=1),
    "same semantic tokens": lambda model: model.variations(PROMPT, num=2, keep="semantic", seconds=2.0),
    "continuation": lambda model: [model.generate("", seconds=2.0, continue_=melody(3.0, seed=0))],
    "continuation in words": lambda model: [
        model.generate(OTHER, seconds=2.0, continue_=melody(3.0, seed=0))
    ],
    "melody": lambda model: [model.generate(PROMPT, seconds=7.0, melody=melody(4.0, seed=0))],
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("tiny"), melody=True)


@pytest.fixture(scope="module")
def model(bundle: Path) -> MusicLM:
    return MusicLM.from_pretrained(bundle, device="cuda")


def test_auto_decodes_in_bfloat16_and_by_graphs(model: MusicLM) -> None:
    decoder: Any = model.decoder
    for stage in (model.semantic_stage, decoder.coarse, decoder.fine):
        assert stage.embedding.weight.device == torch.device("cuda", 0)
        step = stage.transformer.fused_step
        assert isinstance(step, CudaGraphStep)
        assert step.kept_in == torch.bfloat16
        assert {each.matrix.dtype for each in stage.level_heads.matrices} == {torch.bfloat16}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_made_and_the_same_seed_makes_the_same(model: MusicLM, form: str) -> None:
    first, second = FORMS[form](model), FORMS[form](model)
    for one, other in zip(first, second, strict=True):
        assert one.waveform.device == torch.device("cpu")
        assert one.waveform.isfinite().all()
        assert one.waveform.abs().max() > 0
        assert torch.equal(one.waveform, other.waveform)


def test_a_stream_is_what_is_made_whole(model: MusicLM) -> None:
    whole = model.generate(PROMPT, seconds=3.0, seed=1).waveform
    blocks = list(model.stream(PROMPT, seconds=3.0, seed=1))
    assert {block.device for block in blocks} == {torch.device("cpu")}
    assert torch.equal(torch.cat(blocks, dim=1), whole)


def test_generate_takes_a_device(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    main(
        ["generate", PROMPT, "--seconds", "2", "--bundle", str(bundle), "--device", "cuda", "--out", str(out)]
    )
    assert Audio.load(out).seconds == 2.0


def test_tokenize_takes_a_device_and_one_process(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    music = folder_of_tones(tmp_path / "music", 3, seconds=2.0)
    words = ["tokenize", str(music), "--bundle", str(bundle), "--device", "cuda", "--workers", "2"]
    main([*words, "--out", str(tmp_path / "tokens")])
    assert "one process on cuda:0, not 2" in capsys.readouterr().err
    assert len(TokenStore(tmp_path / "tokens")) == 3


def test_evaluate_takes_a_device(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    music = folder_of_tones(tmp_path / "music", 3, seconds=2.0)
    words = [
        "--audio",
        str(music),
        "--codec",
        str(bundle),
        "--device",
        "cuda",
        "--out",
        str(tmp_path / "codec"),
    ]
    main(["evaluate", "codec", *words])
    assert "SI-SDR" in capsys.readouterr().out
