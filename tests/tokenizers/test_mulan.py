"""MuLan's promises: one sphere for text and audio, any text, any length, state that holds the vocabulary."""

import math

import pytest
import torch

from musiclm.bundle import build, load_component, save_component
from musiclm.tokenizers.mulan import MuLan
from musiclm.tokenizers.mulan_towers import PADDING, START, UNKNOWN, AudioTower, TextTower, normalise
from musiclm.training.mulan import train_vocabulary
from tests.stages.test_sizes import read

CAPTIONS = ["A calm violin melody", "fast techno with drums", "a sad piano waltz, no drums", "120 bpm rock"]
RATE = 8000
AUDIO = {"sample_rate": RATE, "num_mels": 16, "stem_channels": 4, "channels": [4, 8], "blocks": [1, 1]}
TEXT = {"num_layers": 1, "num_heads": 2, "vocabulary_size": 384, "max_pieces": 16}


def make_mulan(*, trained: bool = True) -> MuLan:
    torch.manual_seed(0)
    part = MuLan(AudioTower(8, **AUDIO), TextTower(8, 16, **TEXT), dimension=8, window_seconds=2.0)
    if trained:
        part.text.set_vocabulary(train_vocabulary(CAPTIONS, 384), CAPTIONS)
    return part.eval()


@pytest.fixture(scope="module")
def mulan() -> MuLan:
    return make_mulan()


def noise(*shape: int) -> torch.Tensor:
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(1))


def assert_on_sphere(vectors: torch.Tensor, rows: int) -> None:
    assert vectors.shape == (rows, 8)
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(rows))


@pytest.mark.parametrize("samples", [1, 100, 2 * RATE - 1, 2 * RATE, 2 * RATE + 1, 5 * RATE])
def test_audio_of_any_length_lands_on_the_sphere(mulan: MuLan, samples: int) -> None:
    assert_on_sphere(mulan.embed_audio(noise(3, 1, samples)), 3)


def test_silence_lands_on_the_sphere(mulan: MuLan) -> None:
    assert_on_sphere(mulan.embed_audio(torch.zeros(2, 1, RATE)), 2)


@pytest.mark.parametrize(
    "text",
    ["", "   ", "!?", "violin", "🎻🔥", "скрипка", "バイオリン", "a\x00b\n\t", "drums " * 2000, "x" * 10_000],
    ids=lambda text: repr(text[:8]),
)
def test_any_text_lands_on_the_sphere(mulan: MuLan, text: str) -> None:
    assert_on_sphere(mulan.embed_text([text]), 1)


def test_no_texts_give_no_rows(mulan: MuLan) -> None:
    assert mulan.embed_text([]).shape == (0, 8)


def test_a_row_of_a_batch_equals_the_row_alone(mulan: MuLan) -> None:
    waveform = noise(3, 1, 3 * RATE)
    audio = torch.cat([mulan.embed_audio(row[None]) for row in waveform])
    text = torch.cat([mulan.embed_text([caption]) for caption in CAPTIONS])
    # Sums over more rows or more padding may be taken in another order: float32 rounding.
    torch.testing.assert_close(mulan.embed_audio(waveform), audio, atol=1e-5, rtol=0)
    torch.testing.assert_close(mulan.embed_text(CAPTIONS), text, atol=1e-5, rtol=0)


def test_same_input_same_embedding(mulan: MuLan) -> None:
    waveform = noise(2, 1, 3 * RATE)
    assert torch.equal(mulan.embed_audio(waveform), mulan.embed_audio(waveform))
    assert torch.equal(mulan.embed_text(CAPTIONS), mulan.embed_text(CAPTIONS))


def test_short_audio_counts_as_its_repetition(mulan: MuLan) -> None:
    short = noise(1, 1, RATE // 2)
    torch.testing.assert_close(mulan.embed_audio(short), mulan.embed_audio(short.tile(1, 1, 4)))


def test_long_audio_is_the_average_of_windows_a_second_apart(mulan: MuLan) -> None:
    waveform = noise(1, 1, 4 * RATE + 17)
    windows = mulan.embed_windows(waveform)
    assert_on_sphere(windows, 3)  # starting at 0, 1 and 2 s
    second = mulan.embed_audio(waveform[..., RATE : 3 * RATE])[0]
    torch.testing.assert_close(windows[1], second, atol=1e-5, rtol=0)
    mean = torch.nn.functional.normalize(windows.mean(0), dim=0)
    torch.testing.assert_close(mulan.embed_audio(waveform)[0], mean, atol=1e-5, rtol=0)


def test_more_windows_than_go_at_once_change_nothing(mulan: MuLan) -> None:
    waveform = noise(1, 1, 22 * RATE)
    windows = mulan.embed_windows(waveform)
    assert_on_sphere(windows, 21)
    last = mulan.embed_audio(waveform[..., -2 * RATE :])[0]
    torch.testing.assert_close(windows[-1], last, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("waveform", "words"),
    [
        (torch.full((1, 1, RATE), math.nan), "finite"),
        (torch.full((1, 1, RATE), math.inf), "finite"),
        (torch.zeros(1, 2, RATE), "mono"),
        (torch.zeros(1, 1, 0), "mono"),
        (torch.zeros(1, RATE), "mono"),
    ],
)
def test_wrong_audio_is_refused_in_one_line(mulan: MuLan, waveform: torch.Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        mulan.embed_audio(waveform)
    assert "\n" not in str(error.value)


def test_case_and_punctuation_do_not_matter(mulan: MuLan) -> None:
    assert normalise("  A calm,\nVIOLIN—melody! ") == "a calm violin melody"
    one, other = mulan.embed_text(["a calm violin melody", "A CALM: violin... Melody"])
    assert torch.equal(one, other)


def test_word_order_matters(mulan: MuLan) -> None:
    one, other = mulan.embed_text(["violin drums piano", "piano drums violin"])
    assert not torch.allclose(one, other, atol=1e-4)


def test_long_text_is_cut_after_max_pieces(mulan: MuLan) -> None:
    assert mulan.text.pieces(["drums " * 2000]).shape == (1, 16)
    start = "a calm violin melody " * 5
    assert torch.equal(mulan.embed_text([start * 2]), mulan.embed_text([start * 3]))


def test_pieces_that_no_caption_has_are_unknown(mulan: MuLan) -> None:
    pieces = mulan.text.pieces(["violin", "ж", ""])
    assert (pieces[:, 0] == START).all()
    assert UNKNOWN not in pieces[0]
    assert set(pieces[1, 1:].tolist()) <= {UNKNOWN, PADDING, *mulan.text.processor.encode("violin ж")[:2]}
    assert UNKNOWN in pieces[1]
    assert (pieces[2, 1:] == PADDING).all()


def test_embedding_leaves_no_graph_and_frozen_stays_frozen(mulan: MuLan) -> None:
    part = make_mulan().requires_grad_(False)
    before = {key: value.clone() for key, value in part.state_dict().items()}
    audio, text = part.embed_audio(noise(2, 1, RATE)), part.embed_text(CAPTIONS)
    assert not audio.requires_grad
    assert not text.requires_grad
    assert all(torch.equal(before[key], value) for key, value in part.state_dict().items())


def test_training_gives_both_modalities_the_same_mean_and_spread() -> None:
    part = make_mulan().train()
    seen = {}
    part.audio_norm.register_forward_hook(lambda module, inputs, output: seen.update(audio=output))
    part.text_norm.register_forward_hook(lambda module, inputs, output: seen.update(text=output))
    part(noise(4, 1, 2 * RATE), part.text.pieces(CAPTIONS))
    for vectors in seen.values():
        torch.testing.assert_close(vectors.mean(0), torch.zeros(8), atol=1e-4, rtol=0)
        assert (vectors.std(0, correction=0) < 1.001).all()


def test_state_holds_the_vocabulary() -> None:
    trained, fresh = make_mulan(), make_mulan(trained=False)
    with pytest.raises(ValueError, match="vocabulary"):
        fresh.embed_text(["violin"])
    fresh.load_state_dict(trained.state_dict())
    assert torch.equal(fresh.embed_text(CAPTIONS), trained.embed_text(CAPTIONS))
    other = make_mulan(trained=False)
    other.text.set_vocabulary(train_vocabulary(["pipe organ"], 384), ["pipe organ"])
    other.load_state_dict(trained.state_dict())  # over another vocabulary of another length
    assert torch.equal(other.embed_text(CAPTIONS), trained.embed_text(CAPTIONS))


def test_a_bundle_gives_the_same_embeddings_back(tmp_path) -> None:  # type: ignore[no-untyped-def]
    trained = make_mulan()
    towers = "musiclm.tokenizers.mulan_towers."
    words = {
        "audio": {"class_path": towers + "AudioTower", "init_args": {"dimension": 8, **AUDIO}},
        "text": {"class_path": towers + "TextTower", "init_args": {"dimension": 8, "width": 16, **TEXT}},
        "dimension": 8,
        "window_seconds": 2.0,
    }
    save_component(
        tmp_path,
        "joint_embedding",
        trained,
        class_path="musiclm.tokenizers.mulan.MuLan",
        init_args=words,
        storage="float32",
    )
    loaded = load_component(tmp_path)
    waveform = noise(2, 1, 3 * RATE)
    assert torch.equal(loaded.embed_audio(waveform), trained.embed_audio(waveform))
    assert torch.equal(loaded.embed_text(CAPTIONS), trained.embed_text(CAPTIONS))
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_towers_of_another_dimension_are_refused() -> None:
    with pytest.raises(ValueError, match="text tower of dimension 8"):
        MuLan(AudioTower(8, **AUDIO), TextTower(4, 16, **TEXT), dimension=8)


def test_the_paper_configuration_is_a_resnet_50_and_a_bert_base() -> None:
    words = read("mulan.yaml", "paper/mulan.yaml")
    with torch.device("meta"):
        part = build(words["class_path"], words["init_args"])
    assert (part.dimension, part.window_seconds, part.sample_rate) == (128, 10.0, 24_000)
    assert part.audio.log_mel.num_mels == 64

    # ResNet-50 (1512.03385, table 1) has 25,557,032 parameters: 9,536 in its stem, 2,049,000 in its
    # classifier, the rest in its stages. Our shortcuts pool before their 1x1 convolution, which has no
    # parameters; the stem has one input channel and a 5x7 kernel, and the first stage does the halving of the
    # max pool.
    stages = part.audio.stages
    widths = [block.body[-1].num_features for block in stages]
    assert widths == 3 * [256] + 4 * [512] + 6 * [1024] + 3 * [2048]
    for block in stages:
        convolutions = [layer for layer in block.body if isinstance(layer, torch.nn.Conv2d)]
        assert [layer.kernel_size for layer in convolutions] == [(1, 1), (3, 3), (1, 1)]
        assert convolutions[2].out_channels == 4 * convolutions[1].out_channels
    assert sum(p.numel() for p in stages.parameters()) == 25_557_032 - 9_536 - 2_049_000

    # BERT-base (1810.04805, sec. 3): 12 layers of 7,087,872 parameters, 768 wide, 12 heads, 3072 inside.
    layers = part.text.layers
    assert len(layers) == 12
    for layer in layers:
        assert (layer.num_heads, layer.qkv.in_features, layer.feed_forward[1].out_features) == (12, 768, 3072)
        assert sum(p.numel() for p in layer.parameters()) == 7_087_872
    assert part.text.embedding.weight.shape == (30522, 768)
    assert part.text.max_pieces == 512
