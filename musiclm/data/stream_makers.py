"""What makes the streams of a token store of a recording: one `StreamMaker` each.

A new stream is a function like those below, in `MAKERS`: of a bundle that has the components it needs, it
returns their maker, of others None. Streams of the score are made by `ScoreMaker`s, of what labels say and
what the bundle's listener hears, if it has one.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

from torch import Tensor

from musiclm.audio import Audio
from musiclm.bundle import Bundle
from musiclm.data.check_tokens import check_codes_made, check_embeddings_made
from musiclm.data.sources import Recording
from musiclm.machine.device import device_of
from musiclm.score.codes import STREAMS as SCORE_STREAMS
from musiclm.score.codes import codes_of
from musiclm.score.labels import score_of_labels
from musiclm.score.listener import ScoreListener
from musiclm.score.score import PARTS, Score
from musiclm.stages.streams import MADE_BY, Stream
from musiclm.tokenizers.autoencoder import WaveformAutoencoder
from musiclm.tokenizers.embedding_windows import STRIDE_SECONDS
from musiclm.tokenizers.melody import HOP_SECONDS, WINDOW_SECONDS, MelodyEmbedding
from musiclm.tokenizers.protocols import AcousticTokenizer, JointEmbedding, SemanticTokenizer
from musiclm.tokenizers.w2v_bert import W2VBertTokens


@dataclass(frozen=True)
class Material:
    """What streams are made of: a recording, its mono sound, and who hears its score, if anybody does."""

    recording: Recording
    audio: Audio
    listener: ScoreListener | None = None

    @cached_property
    def score(self) -> Score:
        """What its labels say of its course, and the parts of which they say nothing as they are heard.

        Raises:
            ValueError: the labels say what cannot be.
        """
        begin, seconds = self.recording.start or 0.0, self.audio.seconds
        said = replace(score_of_labels(self.recording.labels, begin + seconds).later(-begin), seconds=seconds)
        unsaid = [part for part in PARTS if part not in said.known]
        if self.listener is None or not unsaid:
            return said
        heard = self.listener.hear(self.audio.resample(self.listener.sample_rate).waveform[None])
        return replace(said, **{part: getattr(heard, part) for part in unsaid})

    @cached_property
    def score_codes(self) -> dict[str, Tensor]:
        """The streams of the score, all made at once."""
        return codes_of(self.score)


class Maker(Protocol):
    """Makes one stream of recordings, from sound of `sample_rate` Hz or more."""

    @property
    def stream(self) -> Stream:
        """That it makes."""

    @property
    def sample_rate(self) -> int:
        """In Hz; 0 where it needs no sound."""

    @property
    def codebooks(self) -> Tensor | None:
        """Of tokens, the entries [levels, size, D] that they stand for, where they stand for any."""

    def __call__(self, material: Material) -> Tensor:
        """The stream of a recording, shaped as its kind is; tokens may be ABSENT where it says nothing.

        Raises:
            ValueError: nothing that can be kept comes of it.
        """


@dataclass(frozen=True)
class ScoreMaker:
    """Makes a stream of the score (`musiclm/score/codes.py`)."""

    stream: Stream
    sample_rate: int = 0
    codebooks: Tensor | None = None

    def __call__(self, material: Material) -> Tensor:
        """See `Maker`."""
        return material.score_codes[self.stream.name]


@dataclass(frozen=True)
class StreamMaker:
    """Makes a stream of a recording's sound.

    Args:
        stream: that it makes.
        sample_rate: of the waveform that it takes, in Hz.
        make: of a waveform [1, 1, L] the stream's values: [levels, T], [T, size] or [size, T], by its kind.
        said: what it is called in messages.
        codebooks: see `Maker`.
    """

    stream: Stream
    sample_rate: int
    make: Callable[[Tensor], Tensor]
    said: str
    codebooks: Tensor | None = None

    def __call__(self, material: Material) -> Tensor:
        """See `Maker`."""
        values = self.make(material.audio.resample(self.sample_rate).waveform[None])
        if self.stream.kind == "tokens":
            check_codes_made(self.said, values, self.stream.size)
        else:
            check_embeddings_made(self.said, values)
        return values


def semantic_tokens(tokenizer: SemanticTokenizer) -> StreamMaker:
    """The semantic tokens, at 25 Hz (MusicLM, sec. 3.1)."""
    device = device_of(tokenizer)
    return StreamMaker(
        Stream(
            "semantic",
            1,
            tokenizer.codebook_size,
            tokenizer.frame_rate,
            made_by=MADE_BY["semantic"],
        ),
        tokenizer.sample_rate,
        lambda waveform: tokenizer.encode(waveform.to(device)),  # [1, T]
        "the semantic tokenizer",
        tokenizer.codebooks,
    )


def acoustic_codes(codec: AcousticTokenizer) -> StreamMaker:
    """The codec's codes, at 50 Hz (MusicLM, sec. 3.1)."""
    device = device_of(codec)
    return StreamMaker(
        Stream(
            "acoustic",
            codec.num_quantizers,
            codec.codebook_size,
            codec.frame_rate,
            made_by=MADE_BY["acoustic"],
        ),
        codec.sample_rate,
        lambda waveform: codec.encode(waveform.to(device))[0],  # [Q, T]
        "the codec",
        codec.codebooks,
    )


def joint_embeddings(embedding: JointEmbedding) -> StreamMaker:
    """MuLan's embeddings of windows, one a second; a crop takes their mean (MusicLM, sec. 4.1)."""
    device = device_of(embedding)
    return StreamMaker(
        Stream(
            "mulan",
            1,
            embedding.dimension,
            1 / STRIDE_SECONDS,
            kind="embeddings",
            window=embedding.window_seconds,
            made_by=MADE_BY["mulan"],
        ),
        embedding.sample_rate,
        lambda waveform: embedding.embed_windows(waveform.to(device)),  # [windows, D]
        "MuLan",
    )


def melody_embeddings(embedding: MelodyEmbedding) -> StreamMaker:
    """The melody's embeddings of windows, one a second; a crop takes one every 3 s (MusicLM, appendix C)."""
    device = device_of(embedding)
    return StreamMaker(
        Stream(
            "melody",
            1,
            embedding.dimension,
            1 / STRIDE_SECONDS,
            kind="embeddings",
            hop=HOP_SECONDS,
            window=WINDOW_SECONDS,
            made_by=MADE_BY["melody"],
        ),
        embedding.sample_rate,
        lambda waveform: embedding.embed_windows(waveform.to(device), hop_seconds=STRIDE_SECONDS),
        "the melody embedding",
    )


def _semantic(bundle: Bundle, device: str) -> StreamMaker:
    encoder, quantizer = (bundle.load(role).to(device) for role in ("semantic_encoder", "semantic_quantizer"))
    return semantic_tokens(W2VBertTokens(encoder, quantizer))


def _acoustic(bundle: Bundle, device: str) -> StreamMaker:
    return acoustic_codes(bundle.load("codec").to(device))


def _joint(bundle: Bundle, device: str) -> StreamMaker:
    return joint_embeddings(bundle.load("joint_embedding").to(device))


def learned_latents(autoencoder: WaveformAutoencoder) -> StreamMaker:
    """An autoencoder's latents (MeLoDy, sec. 3.4), each channel of which hears the same mono sound."""
    device = device_of(autoencoder)
    return StreamMaker(
        Stream(
            "latents",
            1,
            autoencoder.dimension,
            autoencoder.frame_rate,
            kind="latents",
            made_by=MADE_BY["latents"],
        ),
        autoencoder.sample_rate,
        lambda waveform: autoencoder.encode(waveform.to(device).expand(-1, autoencoder.channels, -1))[0],
        "the autoencoder",
    )


def _latents(bundle: Bundle, device: str) -> StreamMaker | None:
    """None too where latents are a codec's, which its codes stand for."""
    autoencoder = bundle.load("autoencoder") if "autoencoder" in bundle.components else None
    if not isinstance(autoencoder, WaveformAutoencoder):
        return None
    return learned_latents(autoencoder.to(device))


def _melody(bundle: Bundle, device: str) -> StreamMaker | None:
    if "melody_embedding" not in bundle.components:
        return None
    return melody_embeddings(bundle.load("melody_embedding").to(device))


MAKERS: list[Callable[[Bundle, str], StreamMaker | None]] = [_semantic, _acoustic, _joint, _melody, _latents]
LISTENER = "score_listener"  # the role of the component that hears scores


def score_makers(listener: ScoreListener | None) -> list[ScoreMaker]:
    """The makers of the score's streams, with a listener or without."""
    if listener is None:
        return [ScoreMaker(stream) for stream in SCORE_STREAMS]
    streams = [replace(stream, made_by=(LISTENER,)) for stream in SCORE_STREAMS]
    return [ScoreMaker(stream, listener.sample_rate) for stream in streams]


def parts_said(recordings: Iterable[Recording]) -> set[str]:
    """The parts of a score that the labels of any recording say something of."""
    said: set[str] = set()
    for recording in recordings:
        if len(said) == len(PARTS):
            break
        with suppress(ValueError):  # what cannot be is named when the recording's turn comes
            said |= set(score_of_labels(recording.labels, recording.seconds).known)
    return said


def listener_of(bundle: Bundle, device: str) -> ScoreListener | None:
    """The listener of a bundle that has one."""
    return bundle.load(LISTENER).to(device) if LISTENER in bundle.components else None
