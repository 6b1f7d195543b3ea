"""Promises of the semantic tokenizer: w2v-BERT's features and the tokens made of them."""

import math
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from musiclm.tokenizers.gumbel import GumbelQuantizer
from musiclm.tokenizers.kmeans import KMeans
from musiclm.tokenizers.w2v_bert import STACK, W2VBert, W2VBertTokens
from tests.tiny import make_w2v_bert, noise
from tests.tokenizers.fairseq2_reference import (
    BatchLayout,
    GumbelWav2Vec2VectorQuantizer,
    create_w2vbert_model,
    get_w2vbert_model_hub,
    w2v_bert_config,
)

CONFIGS = Path(__file__).parents[2] / "configs"
HOP = 960
PUBLISHED_PARAMETERS = 609_433_408  # of fairseq2's 600m


def make_tokens() -> W2VBertTokens:
    part = make_w2v_bert()
    kmeans = KMeans(8, 16, layer=2)
    kmeans.centroids.copy_(torch.randn(8, 16))
    return W2VBertTokens(part, kmeans)


PART = make_w2v_bert()
TOKENS = make_tokens()


@given(length=st.integers(1, 3 * 24_000))
@settings(max_examples=25, deadline=None)
def test_there_is_one_token_for_each_40_ms_begun(length: int) -> None:
    tokens = TOKENS.encode(noise(length))
    assert tokens.shape == (1, math.ceil(length / HOP))
    assert tokens.dtype == torch.int64
    assert 0 <= tokens.min() <= tokens.max() < TOKENS.codebook_size


def test_rates_follow_from_the_hop() -> None:
    assert (TOKENS.sample_rate, TOKENS.hop_length, TOKENS.frame_rate) == (24_000, HOP, 25.0)


@pytest.mark.parametrize("length", [10_000, 60_000])
def test_a_row_of_a_batch_equals_the_same_waveform_alone(length: int) -> None:
    waveform = noise(length, batch=3)
    together = PART.features(waveform, 3)
    alone = torch.cat([PART.features(row[None], 3) for row in waveform])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_the_same_waveform_gives_the_same_tokens_again() -> None:
    waveform = noise(50_000)
    assert torch.equal(TOKENS.encode(waveform), TOKENS.encode(waveform))


def test_loudness_does_not_change_the_features() -> None:
    waveform = noise(24_000)
    loud, quiet = PART.features(waveform, 3), PART.features(waveform * 0.05, 3)
    torch.testing.assert_close(loud, quiet, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("length", [1, 24_000, 50_000])
def test_silence_and_a_single_sample_have_finite_features(length: int) -> None:
    features = PART.features(torch.zeros(1, 1, length), 3)
    assert features.isfinite().all()
    assert TOKENS.encode(torch.ones(1, 1, 1)).shape == (1, 1)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_samples_that_are_not_finite_are_refused(value: float) -> None:
    waveform = noise(2000)
    waveform[0, 0, 7] = value
    with pytest.raises(ValueError, match="finite"):
        TOKENS.encode(waveform)


@pytest.mark.parametrize("shape", [(1, 2, 2000), (1, 2000), (1, 1, 0)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"\[B, 1, L\]"):
        TOKENS.encode(torch.zeros(shape))


def test_a_layer_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="layer from 0 to 3"):
        PART.features(noise(2000), 4)


def test_features_of_a_layer_are_those_of_the_whole_encoder() -> None:
    waveform = noise(20_000)
    layers = PART.all_features(waveform)
    assert len(layers) == 4
    for number, features in enumerate(layers):
        assert torch.equal(PART.features(waveform, number), features)
    frames = PART.frames(waveform)
    w2v2 = PART.model.w2v2_model
    expected = w2v2.encoder(*w2v2.encoder_frontend(frames, BatchLayout.of(frames)))
    torch.testing.assert_close(layers[-1], expected)


def test_each_window_is_seen_with_context_on_both_sides() -> None:
    # 25-frame windows with 5 frames lent to each neighbour: frames 5 to 20 of a window are its own.
    waveform = noise(70 * HOP)
    features = PART.features(waveform, 3)
    window = PART.features(waveform[..., 15 * HOP : 40 * HOP], 3)
    torch.testing.assert_close(features[:, 20:35], window[:, 5:20])


def test_attention_spans_the_whole_window() -> None:
    waveform = noise(24_000).requires_grad_()
    (gradient,) = torch.autograd.grad(PART.features(waveform, 3)[0, 0].square().sum(), waveform)
    assert gradient[..., -HOP:].abs().max() > 0


def test_the_tokenizer_stays_frozen_whatever_holds_it() -> None:
    holder = torch.nn.ModuleList([make_tokens()]).train()
    assert not any(module.training for module in holder[0].modules())
    assert not any(parameter.requires_grad for parameter in holder.parameters())
    before = {key: value.clone() for key, value in holder.state_dict().items()}
    holder[0].encode(noise(30_000))
    assert all(torch.equal(before[key], value) for key, value in holder.state_dict().items())


def test_centroids_of_another_encoder_are_refused() -> None:
    with pytest.raises(ValueError, match="fit k-means on this w2v-BERT"):
        W2VBertTokens(PART, KMeans(8, 12, layer=2))
    with pytest.raises(ValueError, match="fit k-means on this w2v-BERT"):
        W2VBertTokens(PART, KMeans(8, 16, layer=4))


def test_encoding_needs_nothing_of_the_training_state() -> None:
    part = make_w2v_bert()
    kept = {key: value for key, value in part.state_dict().items() if not key.endswith(part.training_state)}
    assert {key.rsplit(".", 2)[-2] for key in part.state_dict() if key not in kept} == {
        "masker",
        "quantizer",
        "entry_proj",
        "final_proj",
        "final_target_proj",
        "final_bert_proj",
    }
    other = make_w2v_bert(seed=1)
    waveform = noise(20_000)
    assert not torch.equal(part.features(waveform, 3), other.features(waveform, 3))
    other.load_state_dict(kept, strict=False)
    assert torch.equal(part.features(waveform, 3), other.features(waveform, 3))


def test_the_quantizer_is_fairseq2s_without_compiling() -> None:
    ours = PART.model.w2v2_model.quantizer
    theirs = GumbelWav2Vec2VectorQuantizer(
        ours.input_dim, ours.output_dim, 1, 8, ours.codebook_sampling_temperature
    ).eval()
    theirs.load_state_dict(ours.state_dict())
    frames = torch.randn(2, 7, ours.input_dim, generator=torch.Generator().manual_seed(0))
    with torch.compiler.set_stance("force_eager"):
        expected = theirs(frames)
    output = ours(frames)
    torch.testing.assert_close(output.quantized_vectors, expected.quantized_vectors)
    torch.testing.assert_close(output.cb, expected.cb)
    torch.testing.assert_close(output.code_perplexity, expected.code_perplexity)
    torch.testing.assert_close(output.prob_perplexity, expected.prob_perplexity)


def paper_words() -> dict[str, Any]:
    words = [yaml.safe_load((CONFIGS / size / "w2v_bert.yaml").read_text()) for size in (".", "paper")]
    first, second = (word["model"]["init_args"]["part"]["init_args"] for word in words)
    return first | second


def shapes(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


def test_the_paper_configuration_is_the_600m_architecture_but_for_its_frame_rate() -> None:
    with torch.device("meta"):
        part = W2VBert(**paper_words())
        published = create_w2vbert_model(get_w2vbert_model_hub().get_arch_config("600m"))
    assert all(value.is_meta for value in [*part.model.parameters(), *published.parameters()])
    assert (
        type(part.model.w2v2_model.quantizer) is GumbelQuantizer
    )  # in the place of fairseq2's, of its shapes

    # fairseq2 stacks two log-mel frames of 80 bands (50 Hz), we four (25 Hz, MusicLM): what reads the stack
    # is twice as wide, and nothing else differs, the replaced quantizer included.
    stack = "w2v2_model.encoder_frontend."
    ours, theirs = shapes(part.model), shapes(published)
    assert list(ours) == list(theirs)
    assert {key: (theirs[key], ours[key]) for key in ours if ours[key] != theirs[key]} == {
        stack + "post_extract_layer_norm.weight": ((160,), (320,)),
        stack + "post_extract_layer_norm.bias": ((160,), (320,)),
        stack + "model_dim_proj.weight": ((1024, 160), (1024, 320)),
        "w2v2_model.quantizer.entry_proj.weight": ((1024, 160), (1024, 320)),
    }
    wider = 2 * 160 + 2 * 160 * 1024
    counts = [sum(value.numel() for value in module.parameters()) for module in (part, published)]
    assert counts[0] == counts[1] + wider
    assert counts[1] == PUBLISHED_PARAMETERS


def test_the_paper_configuration_differs_from_the_published_one_in_three_settings() -> None:
    def flat(config: Any, prefix: str = "") -> dict[str, Any]:
        return {
            name: value
            for field in fields(config)
            for name, value in (
                flat(getattr(config, field.name), f"{prefix}{field.name}.")
                if is_dataclass(getattr(config, field.name))
                else {prefix + field.name: getattr(config, field.name)}
            ).items()
        }

    words = paper_words()
    seconds = words.pop("window_seconds")
    words.pop("overlap_seconds")
    ours = flat(w2v_bert_config(**words, stack=STACK, max_frames=round(25 * seconds)))
    theirs = flat(get_w2vbert_model_hub().get_arch_config("600m"))
    encoder = "w2v2_config.encoder_config."
    assert {key: (theirs[key], ours[key]) for key in theirs if ours[key] != theirs[key]} == {
        encoder + "fbank_stride": (2, 4),  # 25 Hz
        encoder + "feature_dim": (160, 320),  # which follows from it
        encoder + "max_seq_len": (4096, 750),  # frames of a window: no weight depends on it
    }
