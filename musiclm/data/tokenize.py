"""`musiclm tokenize`: recordings to a token store, through the frozen tokenizers of a bundle.

Recordings are dealt into shards by their order; each process makes whole shards, so that a killed run loses
at most the shards it was at, and a later run makes only what is missing.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from musiclm.audio import Audio
from musiclm.bundle import Bundle, merge
from musiclm.data.sources import Recording, find_recordings
from musiclm.data.store import (
    MELODY_QUANTIZER,
    QUANTIZER,
    StoreDescription,
    TokenRow,
    shard_ids,
    shard_path,
    write_codebooks,
    write_description,
    write_shard,
)
from musiclm.progress import Progress
from musiclm.tokenizers.embedding_windows import STRIDE_SECONDS
from musiclm.tokenizers.melody import WINDOW_SECONDS, MelodyEmbedding
from musiclm.tokenizers.protocols import AcousticTokenizer, JointEmbedding, SemanticTokenizer
from musiclm.tokenizers.w2v_bert import W2VBertTokens

TOKENIZERS = ("soundstream", "w2v_bert", "kmeans", "mulan", QUANTIZER)
MELODY = ("melody", MELODY_QUANTIZER)  # of bundles that have them
MAX_SECONDS = 7200.0  # two hours: a longer recording is refused, cut it first


@dataclass(frozen=True)
class Tokenizers:
    """The frozen tokenizers that a store needs."""

    acoustic: AcousticTokenizer
    semantic: SemanticTokenizer
    mulan: JointEmbedding
    melody: MelodyEmbedding | None = None

    @classmethod
    def load(cls, bundle: Bundle) -> "Tokenizers":
        return cls(
            acoustic=bundle.load("soundstream"),
            semantic=W2VBertTokens(bundle.load("w2v_bert"), bundle.load("kmeans")),
            mulan=bundle.load("mulan"),
            melody=bundle.load("melody") if "melody" in bundle.parts else None,
        )

    def describe(self, fingerprints: dict[str, str]) -> StoreDescription:
        return StoreDescription(
            semantic_frame_rate=self.semantic.frame_rate,
            semantic_codebook_size=self.semantic.codebook_size,
            acoustic_frame_rate=self.acoustic.frame_rate,
            acoustic_codebook_size=self.acoustic.codebook_size,
            num_quantizers=self.acoustic.num_quantizers,
            mulan_dimension=self.mulan.dimension,
            mulan_window_seconds=self.mulan.window_seconds,
            mulan_stride_seconds=STRIDE_SECONDS,
            fingerprints=fingerprints,
            melody_dimension=self.melody.dimension if self.melody else 0,
            melody_window_seconds=WINDOW_SECONDS if self.melody else 0.0,
            melody_stride_seconds=STRIDE_SECONDS if self.melody else 0.0,
        )

    def codebooks(self) -> dict[str, Tensor]:
        """What the codes stand for, [levels, codebook_size, D] by source."""
        return {"acoustic": self.acoustic.codebooks, "semantic": self.semantic.codebooks}

    @torch.inference_mode()
    def tokenize(self, recording: Recording) -> TokenRow:
        """One recording as tokens, each kind on its own clock."""
        # The waveform is held whole, 0.7 GB for two hours; all else goes window by window.
        audio = Audio.load_mono(recording.path, self.acoustic.sample_rate)
        waveform = audio.waveform[None]  # [1, 1, L]
        semantic = self.semantic.encode(waveform)  # [1, T]
        acoustic = self.acoustic.encode(waveform)  # [1, Q, T]
        mulan = self.mulan.embed_windows(
            audio.resample(self.mulan.sample_rate).waveform[None]
        )  # [windows, D]
        melody = torch.empty(0, 0)
        if self.melody:
            sound = audio.resample(self.melody.sample_rate).waveform[None]
            melody = self.melody.embed_windows(sound, hop_seconds=STRIDE_SECONDS)  # [windows, D]
        return TokenRow(
            id=recording.id,
            path=str(recording.path),
            seconds=audio.seconds,
            licence=recording.licence,
            split=recording.split,
            captions=list(recording.captions),
            semantic=semantic[0].numpy().astype(np.uint16),
            acoustic=acoustic[0].numpy().astype(np.uint16),
            mulan=mulan.numpy().astype(np.float16),
            melody=melody.numpy().astype(np.float16),
        )


def tokenize(
    audio: list[Path],
    out: Path = Path("tokens"),
    bundle: str = "default",
    shard_size: int = 32,
    workers: int = 0,
) -> None:
    """Turn recordings into a token store that the stages train on.

    Args:
        audio: audio files, or folders of them.
        out: the folder of the store, which will hold these recordings and no others; of those already there,
            whole shards are kept.
        bundle: the tokenizers: a shipped bundle's name, a folder, or a Hugging Face id.
        shard_size: recordings in a shard.
        workers: processes; 0 takes one per CPU core.
    """
    if shard_size < 1 or workers < 0:
        raise ValueError(
            f"expected a shard_size of 1 or more and workers of 0 or more, got {shard_size}, {workers}"
        )
    recordings = find_recordings(audio)
    too_long = [recording for recording in recordings if recording.seconds > MAX_SECONDS]
    if too_long:
        raise ValueError(
            f"expected recordings of at most two hours, {too_long[0].path} is longer: cut it first"
        )
    source = Bundle.find(bundle)
    if len(set(MELODY) & set(source.parts)) == 1:
        raise ValueError(
            f"expected both {' and '.join(MELODY)} in {bundle}, or neither: pack the other as well"
        )
    tokenizers = Tokenizers.load(source)
    makers = [*TOKENIZERS, *(MELODY if tokenizers.melody else ())]
    write_description(out, tokenizers.describe({name: source.fingerprint(name) for name in makers}))
    for quantizer in {QUANTIZER, MELODY_QUANTIZER}.intersection(makers):
        if not (out / quantizer / "model.yaml").is_file():
            merge([source], out / quantizer, {}, only=[quantizer])
    write_codebooks(out, tokenizers.codebooks())

    shards = [recordings[start : start + shard_size] for start in range(0, len(recordings), shard_size)]
    missing = [
        index for index, shard in enumerate(shards) if shard_ids(out, index) != [row.id for row in shard]
    ]
    wanted = {shard_path(out, index) for index in range(len(shards))}
    stale = set(out.glob("tokens-*.arrow")) - wanted
    for shard in stale:
        shard.unlink()
    context = multiprocessing.get_context("spawn")
    processes = workers or multiprocessing.cpu_count()
    with (
        Progress("tokenize", len(missing), unit="shard") as counter,
        ProcessPoolExecutor(processes, context, initializer=_start_worker, initargs=(source.path,)) as pool,
    ):
        jobs = [pool.submit(_make_shard, shard_path(out, index), shards[index]) for index in missing]
        try:
            for job in as_completed(jobs):
                job.result()
                counter.advance()
        except BrokenProcessPool:
            raise OSError(
                "a process was killed, most likely for want of memory: start again with fewer workers "
                "(the shards already made are kept)"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)
    dropped = f", {len(stale)} shards of others removed" if stale else ""
    print(f"tokens of {len(recordings)} recordings{dropped}: {out}")


_tokenizers: Tokenizers  # of this worker process


def _start_worker(bundle: Path) -> None:
    global _tokenizers
    torch.set_num_threads(1)
    _tokenizers = Tokenizers.load(Bundle(bundle))


def _make_shard(path: Path, recordings: list[Recording]) -> None:
    rows = []
    for recording in recordings:
        try:
            rows.append(_tokenizers.tokenize(recording))
        except ValueError as error:
            raise ValueError(f"{recording.path}: {error}") from None
    write_shard(path, rows)
