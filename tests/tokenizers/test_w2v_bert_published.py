"""Published w2v-BERT weights, written here in both formats: imported, they give the models' features."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor
from torchaudio.functional import resample

from musiclm.bundle import Bundle, load_component
from musiclm.cli import main
from musiclm.tokenizers.kmeans import KMeans
from musiclm.tokenizers.protocols import SemanticEncoder
from musiclm.tokenizers.w2v_bert import W2VBertTokens
from musiclm.tokenizers.w2v_bert_published import Fairseq2Trunk, HuggingFaceTrunk, PublishedW2VBert
from musiclm.training.kmeans import KMeansTraining
from tests.tiny import make_w2v_bert, noise
from tests.tokenizers.fairseq2_reference import (
    BatchLayout,
    WaveformToFbankConverter,
    create_w2vbert_model,
    get_w2vbert_model_hub,
)

HOP = 960
RATE = 24_000
# The features are those of the model's own code on the same input frames but for the order of summation.
ROUNDING = {"rtol": 1e-4, "atol": 1e-5}


def write_fairseq2(folder: Path) -> Any:
    """A tiny W2VBertModel, as fairseq2 would save it to `folder`/model.pt."""
    config = get_w2vbert_model_hub().get_arch_config("600m")
    config.num_bert_encoder_layers = 1
    config.w2v2_config.final_dim = config.w2v2_config.quantized_dim = 8
    config.w2v2_config.num_codebook_entries = 8
    encoder = config.w2v2_config.encoder_config
    encoder.num_encoder_layers, encoder.model_dim, encoder.num_encoder_attn_heads = 3, 16, 2
    encoder.ffn_inner_dim, encoder.depthwise_conv_kernel_size = 24, 5
    torch.manual_seed(0)
    model = create_w2vbert_model(config).eval()
    for name, value in model.named_buffers():  # as if its batch normalisation had seen data
        if "running" in name:
            value.uniform_(0.5, 1.5)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"model": model.state_dict()}, folder / "model.pt")
    return model


def write_hugging_face(folder: Path) -> Any:
    """A tiny Wav2Vec2BertModel, as transformers saves it to `folder`."""
    from transformers import Wav2Vec2BertConfig, Wav2Vec2BertModel

    config = Wav2Vec2BertConfig(
        num_hidden_layers=3,
        hidden_size=16,
        num_attention_heads=2,
        intermediate_size=24,
        conv_depthwise_kernel_size=5,
        left_max_position_embeddings=6,
        right_max_position_embeddings=2,
        add_adapter=True,  # above the layers whose features we take
    )
    torch.manual_seed(0)
    model = Wav2Vec2BertModel(config).eval()
    model.save_pretrained(folder)
    return model


def published_features(model: Any, frames: Tensor) -> list[Tensor]:
    """Of each layer at 50 Hz, by the model's own forward, of its own input [B, N, 80]."""
    if type(model).__name__ == "Wav2Vec2BertModel":
        return list(model(frames.unflatten(1, (-1, 2)).flatten(2), output_hidden_states=True).hidden_states)
    hidden, layout = model.w2v2_model.encoder_frontend(frames, BatchLayout.of(frames))
    outputs = [hidden]
    with model.w2v2_model.encoder.register_layer_hook(
        lambda number, output, layout, count: outputs.append(output) is None
    ):
        model.w2v2_model.encoder(hidden, layout)
    return outputs


WRITERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "fairseq2": (write_fairseq2, "model.pt"),
    "hugging_face": (write_hugging_face, "."),
}


@pytest.fixture(scope="module", params=WRITERS)
def imported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """The published model and the folder of the part made of it; the published files are gone."""
    write, name = WRITERS[request.param]
    folder = tmp_path_factory.mktemp("published")
    model = write(folder / "original")
    main(["import", "w2v_bert", str(folder / "original" / name), "--out", str(folder / "part")])
    (folder / "original").rename(folder / "away")
    return model, folder / "part"


@torch.no_grad()
def test_an_imported_part_gives_the_published_model_s_features(imported: tuple[Any, Path]) -> None:
    model, folder = imported
    part = load_component(folder)
    waveform = noise(3 * RATE, batch=2)
    expected = published_features(model, part.frames(waveform))
    found = part.all_features(waveform)
    assert len(found) == len(expected) == 4
    for at_25_hz, at_50_hz in zip(found, expected, strict=True):
        assert at_25_hz.shape == (2, 75, 16)
        pairs = (at_50_hz[:, 0::2] + at_50_hz[:, 1::2]) / 2
        torch.testing.assert_close(at_25_hz, pairs, **ROUNDING)
    torch.testing.assert_close(part.features(waveform, 2), found[2], rtol=0, atol=0)


def test_the_input_is_that_of_seamless_m4t() -> None:
    from transformers import SeamlessM4TFeatureExtractor

    waveform = noise(2 * RATE)
    speech = torch.nn.functional.pad(resample(waveform, RATE, 16_000), (0, 240))
    expected = SeamlessM4TFeatureExtractor()(
        speech[0, 0].numpy(), sampling_rate=16_000, return_tensors="np"
    ).input_features
    found = PublishedW2VBert(HuggingFaceTrunk(1, 8, num_heads=1, ffn_dim=8)).frames(waveform)
    assert found.shape == (1, 200, 80)
    # theirs is computed in float64
    np.testing.assert_allclose(found.unflatten(1, (-1, 2)).flatten(2).numpy(), expected, rtol=0, atol=2e-3)


def test_the_input_is_that_of_fairseq2() -> None:
    waveform = noise(2 * RATE)
    speech = torch.nn.functional.pad(resample(waveform, RATE, 16_000), (0, 240))
    convert = WaveformToFbankConverter(
        num_mel_bins=80, waveform_scale=2**15, channel_last=False, standardize=True
    )
    expected = convert({"waveform": speech[0], "sample_rate": 16_000.0, "format": -1})["fbank"]
    found = PublishedW2VBert(HuggingFaceTrunk(1, 8, num_heads=1, ffn_dim=8)).frames(waveform)
    torch.testing.assert_close(found[0], expected, rtol=0, atol=2e-3)


def make_part(**changes: Any) -> PublishedW2VBert:
    torch.manual_seed(0)
    trunk = HuggingFaceTrunk(3, 16, num_heads=2, ffn_dim=24, conv_kernel=5)
    return PublishedW2VBert(trunk, window_seconds=1.0, overlap_seconds=0.2, **changes).eval()


PART = make_part()


@given(length=st.integers(1, 3 * RATE))
@settings(max_examples=15, deadline=None)
def test_there_is_one_frame_of_features_for_each_40_ms_begun(length: int) -> None:
    with torch.no_grad():
        features = PART.features(noise(length), 1)
    assert features.shape == (1, math.ceil(length / HOP), 16)
    assert features.isfinite().all()


def test_both_encoders_have_the_same_interface() -> None:
    for encoder in (PART, make_w2v_bert()):
        assert isinstance(encoder, SemanticEncoder)
        assert (encoder.sample_rate, encoder.hop_length, encoder.frame_rate) == (RATE, HOP, 25.0)
        assert (encoder.num_layers, encoder.model_dim) == (3, 16)


def test_each_window_is_seen_with_context_on_both_sides() -> None:
    waveform = noise(70 * HOP)
    window = PART.features(waveform[..., 15 * HOP : 40 * HOP], 3)
    torch.testing.assert_close(PART.features(waveform, 3)[:, 20:35], window[:, 5:20])


def test_silence_has_finite_features_and_wrong_audio_is_refused() -> None:
    assert PART.features(torch.zeros(1, 1, 2000), 3).isfinite().all()
    with pytest.raises(ValueError, match="finite"):
        PART.features(torch.full((1, 1, 2000), math.nan), 3)
    with pytest.raises(ValueError, match="mono"):
        PART.features(torch.zeros(1, 2, 2000), 3)
    with pytest.raises(ValueError, match="layer from 0 to 3"):
        PART.features(noise(2000), 4)


def test_a_stack_of_four_frames_is_already_at_25_hz() -> None:
    torch.manual_seed(0)
    trunk = Fairseq2Trunk(2, 16, num_heads=2, ffn_dim=8, conv_kernel=3, stack=4).eval()
    part = PublishedW2VBert(trunk)
    waveform = noise(RATE)
    assert torch.equal(part.features(waveform, 2), trunk(part.frames(waveform), 2)[-1])
    with pytest.raises(ValueError, match="stacked frames"):
        HuggingFaceTrunk(2, 16, num_heads=2, ffn_dim=8, stack=3)


def test_k_means_is_fitted_on_an_imported_part_and_makes_tokens(imported: tuple[Any, Path]) -> None:
    _, folder = imported
    training = KMeansTraining(KMeans(6, 16, layer=2), w2v_bert=folder, sample_frames=60)
    with torch.no_grad():
        training.gather(training.features(noise(RATE, batch=4)))
        assert training.fitted
        waveform = noise(50_000, seed=1)
        tokens = W2VBertTokens(load_component(folder), training.part).encode(waveform)
        expected = training.part.assign(load_component(folder).features(waveform, 2))
    assert tokens.shape == (1, 53)
    assert torch.equal(tokens, expected)


def test_the_published_sizes_are_those_of_the_600m_models() -> None:
    from transformers import Wav2Vec2BertConfig, Wav2Vec2BertModel

    with torch.device("meta"):
        fairseq2 = create_w2vbert_model(get_w2vbert_model_hub().get_arch_config("600m")).w2v2_model
        hugging_face = Wav2Vec2BertModel(Wav2Vec2BertConfig())
        for trunk, published in ((Fairseq2Trunk(), fairseq2), (HuggingFaceTrunk(), hugging_face)):
            shapes = {key: value.shape for key, value in published.state_dict().items()}
            assert {key: value.shape for key, value in trunk.state_dict().items()} == {
                key: shape
                for key, shape in shapes.items()
                if key.startswith(("encoder", "feature_projection"))
            }


def test_a_plain_state_dict_and_safetensors_are_read_too(tmp_path: Path) -> None:
    model = write_fairseq2(tmp_path)
    torch.save(model.state_dict(), tmp_path / "plain.pt")
    save_file(model.state_dict(), tmp_path / "plain.safetensors")
    fingerprints = set()
    for name in ("model.pt", "plain.pt", "plain.safetensors"):
        main(["import", "w2v_bert", str(tmp_path / name), "--out", str(tmp_path / "part")])
        fingerprints.add(Bundle(tmp_path / "part").fingerprint("semantic_encoder"))
    assert len(fingerprints) == 1


class Harm:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("this must never run",))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: torch.save(Harm(), folder / "model.pt"), "cannot be read"),
        (lambda folder: (folder / "model.pt").write_bytes(b"torn"), "cannot be read"),
        (lambda folder: torch.save({"weight": torch.zeros(1)}, folder / "model.pt"), "W2VBertModel"),
        (lambda folder: (folder / "model.pt").unlink(), "found none at"),
    ],
    ids=["code", "torn", "another model", "missing"],
)
def test_what_is_no_fairseq2_checkpoint_is_refused_in_one_line(
    spoil: Callable[[Path], Any], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_fairseq2(tmp_path)
    spoil(tmp_path)
    refused(tmp_path / "model.pt", words, capsys)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "config.json").unlink(), "a folder with config.json; found none"),
        (lambda folder: (folder / "model.safetensors").unlink(), "found none at"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"torn"), "cannot be read"),
        (lambda folder: change(folder / "config.json", "wav2vec2-bert", "hubert"), "wav2vec2-bert"),
        (lambda folder: change(folder / "config.json", '"hidden_size": 16', '"hidden_size": 32'), "weights"),
    ],
    ids=["no config", "no weights", "torn", "another model", "another size"],
)
def test_what_is_no_hugging_face_folder_is_refused_in_one_line(
    spoil: Callable[[Path], Any], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_hugging_face(tmp_path)
    spoil(tmp_path)
    refused(tmp_path, words, capsys)


def change(file: Path, before: str, after: str) -> None:
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))


def refused(path: Path, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["import", "w2v_bert", str(path), "--out", str(path.parent / "part")])
    assert stop.value.code == 2
    printed = capsys.readouterr()
    assert words in printed.err
    assert printed.err.count("\n") == 1
    assert "this must never run" not in printed.out
    assert not (path.parent / "part").exists()
