"""What every tokenizer promises, whichever it is: so that one can stand where another stood."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from musiclm.audio import Audio
from musiclm.bundle import load_component
from musiclm.cli import main
from musiclm.data.sources import Recording
from musiclm.data.stream_makers import acoustic_codes, joint_embeddings, semantic_tokens
from musiclm.data.tokenize import Tokenizers
from musiclm.tokenizers.clap import read_clap
from musiclm.tokenizers.encodec import EnCodec
from musiclm.tokenizers.kmeans import KMeans
from musiclm.tokenizers.protocols import SemanticEncoder
from musiclm.tokenizers.w2v_bert import W2VBertTokens
from tests.tiny import make_w2v_bert, melody, noise
from tests.tokenizers.test_clap import publish
from tests.tokenizers.test_mulan import make_mulan
from tests.tokenizers.test_w2v_bert_published import write_hugging_face
from tests.tokenizers.tiny_codecs import SEANET, SPECTRAL

if TYPE_CHECKING:
    from encodec import EncodecModel

Published = tuple[Path, "EncodecModel"]
CODECS = ("soundstream", "soundstream, paper's trunk", "encodec")
SEMANTIC = ("w2v-bert", "w2v-bert, published")
JOINT = ("mulan", "clap")


@dataclass(frozen=True)
class Case:
    """A tokenizer, and what it makes of waveforms [B, 1, L]: codes [B, ..., T] or embeddings [B, D]."""

    tokenizer: nn.Module
    of: Callable[[Tensor], Tensor]


@pytest.fixture(scope="module")
def cases(published_encodec: Published, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    folder = tmp_path_factory.mktemp("published")
    write_hugging_face(folder / "w2v")
    main(["import", "w2v_bert", str(folder / "w2v"), "--out", str(folder / "part")])
    codecs = (
        SPECTRAL,
        SEANET,
        EnCodec.from_published(published_encodec[1].state_dict(), num_quantizers=2),
    )
    semantic = (with_centroids(make_w2v_bert()), with_centroids(load_component(folder / "part")))
    joint = (make_mulan(), read_clap(publish(folder / "clap"))[0])
    made = {name: Case(each, each.encode) for name, each in zip(CODECS, codecs, strict=True)}
    made |= {name: Case(each, each.encode) for name, each in zip(SEMANTIC, semantic, strict=True)}
    return made | {name: Case(each, each.embed_audio) for name, each in zip(JOINT, joint, strict=True)}


def with_centroids(encoder: SemanticEncoder) -> W2VBertTokens:
    kmeans = KMeans(8, encoder.model_dim, layer=2)
    kmeans.centroids.copy_(torch.randn(8, encoder.model_dim))
    return W2VBertTokens(encoder, kmeans)


@pytest.mark.parametrize("name", [*CODECS, *SEMANTIC])
@pytest.mark.parametrize("samples", [1, 319, 320, 321, 959, 960, 961, 30_001])
def test_there_is_a_frame_for_every_hop_begun(cases: dict[str, Case], name: str, samples: int) -> None:
    tokenizer = cases[name].tokenizer
    codes = cases[name].of(noise(samples, batch=2))
    frames = math.ceil(samples / tokenizer.hop_length)
    levels = [tokenizer.num_quantizers] if name in CODECS else []
    assert list(codes.shape) == [2, *levels, frames]
    assert codes.dtype == torch.int64
    assert 0 <= codes.min() <= codes.max() < tokenizer.codebook_size
    assert tokenizer.frame_rate == tokenizer.sample_rate / tokenizer.hop_length
    assert list(tokenizer.codebooks.shape[:2]) == [*(levels or [1]), tokenizer.codebook_size]


@pytest.mark.parametrize("name", CODECS)
def test_a_codec_gives_a_hop_of_sound_for_every_frame(cases: dict[str, Case], name: str) -> None:
    codec = cases[name].tokenizer
    codes = cases[name].of(noise(10_000, batch=2))
    sound = codec.decode(codes)
    assert list(sound.shape) == [2, 1, codes.shape[2] * codec.hop_length]
    assert sound.dtype == torch.float32
    assert sound.abs().max() <= 1
    assert torch.equal(codec.encode(noise(10_000, batch=2), num_quantizers=1), codes[:, :1])
    begun = sound[..., : 5 * codec.hop_length]
    assert codec.decode(codes, prefix=begun).shape == sound.shape


@pytest.mark.parametrize("name", JOINT)
def test_an_embedding_lies_on_the_sphere(cases: dict[str, Case], name: str) -> None:
    joint = cases[name].tokenizer
    long = noise(round((joint.window_seconds + 2.5) * joint.sample_rate))
    vectors = [joint.embed_audio(long), joint.embed_windows(long), joint.embed_text(["a calm violin", ""])]
    for vector, rows in zip(vectors, (1, 3, 2), strict=True):
        assert list(vector.shape) == [rows, joint.dimension]
        torch.testing.assert_close(vector.norm(dim=1), torch.ones(rows))


@pytest.mark.parametrize("name", [*CODECS, *SEMANTIC, *JOINT])
def test_the_same_waveform_says_the_same_alone_and_in_a_batch(cases: dict[str, Case], name: str) -> None:
    waveform = noise(24_000, batch=3)
    together = cases[name].of(waveform)
    assert torch.equal(cases[name].of(waveform), together)
    for row in range(3):
        alone = cases[name].of(waveform[row : row + 1])[0]
        if name in JOINT:
            torch.testing.assert_close(alone, together[row], atol=1e-5, rtol=0)
        else:  # a product of another size may round otherwise, where a frame lies between two entries
            assert (alone == together[row]).float().mean() > 0.98


@pytest.mark.parametrize("name", [*CODECS, *SEMANTIC, *JOINT])
@pytest.mark.parametrize("samples", [1, 24_000])
def test_silence_is_heard_like_any_sound(cases: dict[str, Case], name: str, samples: int) -> None:
    assert cases[name].of(torch.zeros(1, 1, samples)).float().isfinite().all()


@pytest.mark.parametrize("name", [*CODECS, *SEMANTIC, *JOINT])
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda w: w.index_fill(2, torch.tensor([500]), math.nan), "finite"),
        (lambda w: w.index_fill(2, torch.tensor([500]), -math.inf), "finite"),
        (lambda w: w.expand(1, 2, -1), r"mono waveform"),
        (lambda w: w[0], r"mono waveform"),
        (lambda w: w[..., :0], r"mono waveform"),
    ],
    ids=["nan", "infinity", "stereo", "no batch", "no samples"],
)
def test_what_is_no_mono_sound_is_refused_in_one_line(
    cases: dict[str, Case], name: str, spoil: Callable[[Tensor], Tensor], words: str
) -> None:
    with pytest.raises(ValueError, match=words) as refusal:
        cases[name].of(spoil(noise(24_000)))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", [*CODECS, *SEMANTIC, *JOINT])
def test_frozen_means_frozen(cases: dict[str, Case], name: str) -> None:
    tokenizer = cases[name].tokenizer
    before = {key: value.clone() for key, value in tokenizer.state_dict().items()}
    outcome = cases[name].of(noise(24_000, batch=2).requires_grad_())
    assert not outcome.requires_grad
    assert not tokenizer.training
    for key, value in tokenizer.state_dict().items():
        assert torch.equal(value, before[key]), key


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("semantic", SEMANTIC)
@pytest.mark.parametrize("joint", JOINT)
def test_a_stereo_file_at_another_rate_is_tokenized_as_its_mono_sound(
    cases: dict[str, Case], codec: str, semantic: str, joint: str, tmp_path: Path
) -> None:
    makers = {acoustic_codes: codec, semantic_tokens: semantic, joint_embeddings: joint}
    tokenizers = Tokenizers(maker(cases[name].tokenizer) for maker, name in makers.items())  # type: ignore[arg-type]
    sound = melody(3.0, seed=0).resample(44_100).waveform
    mono = (sound * 2**13).round() / 2**15  # that 16 bits hold the half and the whole of
    rows = []
    for name, waveform in (("mono", mono), ("stereo", torch.cat([2 * mono, 0 * mono]))):
        audio = Audio(waveform, 44_100)
        audio.save(tmp_path / f"{name}.wav")
        recording = Recording(name, tmp_path / f"{name}.wav", seconds=3.0, licence="", split="train")
        rows.append(tokenizers.tokenize(recording))
    one, two = rows
    assert one.semantic.shape == two.semantic.shape == (75,)
    assert one.acoustic.shape == two.acoustic.shape
    assert one.acoustic.shape[1] == math.ceil(3.0 * cases[codec].tokenizer.frame_rate)
    for name, values in one.streams.items():
        assert np.array_equal(values, two.streams[name]), name
