"""Makers of tiny things for the tests: music, recordings, parts, a whole model."""

import hashlib
import io
import math
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from musiclm.audio import Audio
from musiclm.bundle import save_component
from musiclm.corpus.melodies import TABLE_NAME, table_of
from musiclm.data.sources import split_of
from musiclm.data.store import (
    StoreDescription,
    TokenRow,
    shard_path,
    write_codebooks,
    write_description,
    write_shard,
)
from musiclm.stages.streams import MADE_BY, Stream
from musiclm.tokenizers.rvq import ResidualQuantizer
from musiclm.tokenizers.w2v_bert import W2VBert

if TYPE_CHECKING:
    from encodec import EncodecModel

SAMPLE_RATE = 24_000


def tone(seconds: float, *, pitch: float = 440.0, sample_rate: int = SAMPLE_RATE) -> Audio:
    """A steady tone with a soft beginning."""
    time = torch.arange(round(seconds * sample_rate)) / sample_rate
    return Audio(0.5 * torch.sin(2 * math.pi * pitch * time)[None] * (time * 20).clamp(max=1), sample_rate)


def noise(length: int, batch: int = 1, seed: int = 0) -> Tensor:
    """White noise [batch, 1, length]."""
    return torch.randn(batch, 1, length, generator=torch.Generator().manual_seed(seed)) * 0.1


def melody(seconds: float, *, seed: int) -> Audio:
    """Tones of random pitch, four a second."""
    random = np.random.default_rng(seed)
    pitches = 220.0 * 2 ** (random.integers(0, 25, math.ceil(4 * seconds)) / 12)
    notes = [tone(0.25, pitch=pitch).waveform for pitch in pitches]
    return Audio(torch.cat(notes, dim=1)[:, : round(seconds * SAMPLE_RATE)], SAMPLE_RATE)


def folder_of_tones(folder: Path, count: int, *, held_out: int = 0, seconds: float = 2.0) -> Path:
    """A user's folder: wav files with captions beside them, and `held_out` more that are not trained on."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"tone{index:02d}" for index in range(count)]
    names += [name for name in map("held{:03d}".format, range(1000)) if split_of(name) == "valid"][:held_out]
    for index, name in enumerate(names):
        tone(seconds, pitch=220.0 * 2 ** (index / 12)).save(folder / f"{name}.wav")
        (folder / f"{name}.txt").write_text(f"a steady tone, number {index}\na plain sine\n")
    return folder


def make_token_store(
    folder: Path,
    lengths: Sequence[float] = (12.0, 12.0, 12.0),
    *,
    held_out: int = 1,
    semantic: Sequence[np.ndarray] = (),
    semantic_size: int = 8,
    melody: bool = False,
) -> None:
    """A token store as the tiny tokenizers would make it: MuLan 3 x 8, semantic 8, acoustic 12 levels.

    `lengths` in seconds, one recording each; the last `held_out` of them are. The semantic tokens of each are
    drawn, or given, below `semantic_size`. `melody` adds melodies, 2 x 8.
    """
    fingerprints = {"codec": "0123", "semantic_quantizer": "0123"}
    if melody:
        fingerprints |= {"melody_embedding": "0123", "melody_quantizer": "0123"}
    description = StoreDescription(
        streams_of(semantic=semantic_size, acoustic=(12, 1024), mulan=4, melody=6 * melody), fingerprints
    )
    random = np.random.default_rng(0)
    rows = [
        TokenRow(
            id=f"piece{index}",
            path=f"audio/piece{index}.flac",
            seconds=seconds,
            licence="CC0-1.0",
            split="valid" if index >= len(lengths) - held_out else "train",
            captions=["a tune"],
            streams={
                "semantic": (
                    semantic[index]
                    if len(semantic)
                    else random.integers(0, semantic_size, round(25 * seconds))
                ).astype(np.uint16)[None],
                "acoustic": random.integers(0, 1024, (12, round(50 * seconds))).astype(np.uint16),
                "mulan": random.normal(size=(3, 4)).astype(np.float16),
            }
            | ({"melody": random.normal(size=(math.ceil(seconds), 6)).astype(np.float16)} if melody else {}),
        )
        for index, seconds in enumerate(lengths)
    ]
    write_description(folder, description)
    write_shard(shard_path(folder, 0), rows)
    seeded = torch.Generator().manual_seed(0)  # a module's fixture comes before the seed of a test
    acoustic = torch.randn(12, 1024, 6, generator=seeded)
    write_codebooks(
        folder, {"acoustic": acoustic, "semantic": torch.randn(1, semantic_size, 6, generator=seeded)}
    )
    save_quantizer(folder, "joint_quantizer", dimension=4, num_quantizers=3)
    if melody:
        save_quantizer(folder, "melody_quantizer", dimension=6, num_quantizers=2)


def streams_of(
    *, semantic: int, acoustic: tuple[int, int], mulan: int, melody: int = 0
) -> tuple[Stream, ...]:
    """The streams of a store: sizes of codebooks, levels and size, dimensions; no melody where that is 0."""
    embeddings = {"kind": "embeddings", "levels": 1, "rate": 1.0}
    streams = [
        Stream("semantic", 1, semantic, 25.0, made_by=MADE_BY["semantic"]),
        Stream("acoustic", *acoustic, 50.0, made_by=MADE_BY["acoustic"]),
        Stream("mulan", size=mulan, window=10.0, made_by=MADE_BY["mulan"], **embeddings),
    ]
    if melody:
        times = {"hop": 3.0, "window": 4.0}
        streams.append(Stream("melody", size=melody, made_by=MADE_BY["melody"], **times, **embeddings))
    return tuple(streams)


def save_quantizer(folder: Path, name: str, *, dimension: int, num_quantizers: int) -> None:
    """A store's residual quantizer with random codebooks of 8."""
    words = {"dimension": dimension, "num_quantizers": num_quantizers, "codebook_size": 8}
    quantizer = ResidualQuantizer(**words)
    quantizer.codebooks.normal_(generator=torch.Generator().manual_seed(0))
    save_component(
        folder / name,
        name,
        quantizer,
        class_path="musiclm.tokenizers.rvq.ResidualQuantizer",
        init_args=words,
        storage="float32",
    )


def make_w2v_bert(seed: int = 0) -> W2VBert:
    """An encoder of three tiny layers with windows of a second."""
    torch.manual_seed(seed)
    return W2VBert(
        3,
        16,
        num_heads=2,
        ffn_dim=16,
        conv_kernel=3,
        num_bert_layers=1,
        num_mels=16,
        num_codebook_entries=8,
        final_dim=8,
        window_seconds=1.0,
        overlap_seconds=0.2,
    ).eval()


def publish_encodec(folder: Path) -> tuple[Path, "EncodecModel"]:
    """EnCodec with random weights, and a file of them as the published one: a state dict, named by its hash.

    Not tiny: the package has this one size.
    """
    from encodec import EncodecModel

    torch.manual_seed(0)
    with warnings.catch_warnings():  # the package calls torch's older weight_norm
        warnings.simplefilter("ignore", FutureWarning)
        model = EncodecModel.encodec_model_24khz(pretrained=False)
    with torch.no_grad():
        scale = model.encoder(0.3 * torch.randn(1, 1, 3200)).std()
        for level, layer in enumerate(model.quantizer.vq.layers):
            layer.codebook.normal_().mul_(scale * 0.8**level)
    content = io.BytesIO()
    torch.save(model.state_dict(), content)
    file = folder / f"encodec_24khz-{hashlib.sha256(content.getvalue()).hexdigest()[:8]}.th"
    file.write_bytes(content.getvalue())
    return file, model


class _Live(TorchDispatchMode):
    """Adds up the bytes of the tensors that are alive, of those made inside it."""

    def __init__(self) -> None:
        super().__init__()
        self.holders: Counter[int] = Counter()  # tensors that share a storage, by its address
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outcome = func(*args, **(kwargs or {}))
        given = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        before = {value.untyped_storage().data_ptr() for value in given} - self.holders.keys()
        for tensor in tree_leaves(outcome):
            if not isinstance(tensor, Tensor) or any(tensor is value for value in given):
                continue
            storage = tensor.untyped_storage()
            address, size = storage.data_ptr(), storage.nbytes()
            if size and address not in before:
                self.now += 0 if address in self.holders else size
                self.holders[address] += 1
                weakref.finalize(tensor, self._release, address, size)
        self.peak = max(self.peak, self.now)
        return outcome

    def _release(self, address: int, size: int) -> None:
        self.holders[address] -= 1
        if not self.holders[address]:
            del self.holders[address]
            self.now -= size


def live_bytes(work: Callable[[], Any]) -> int:
    """The most bytes of tensors that `work` has alive at once, of those that Python sees."""
    with _Live() as live:
        work()
    return live.peak


def quiet_trainer(folder: Path, epochs: int, **changes: Any) -> lightning.Trainer:
    """A trainer on the CPU that says nothing and logs nothing."""
    return lightning.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **changes,
    )


def folder_of_melodies(folder: Path, count: int, *, seconds: float = 6.0) -> Path:
    """As `musiclm corpus melodies` makes it: tunes of tones, two a second; every fourth is held out."""
    (folder / "lead").mkdir(parents=True)
    (folder / "band").mkdir()
    random = np.random.default_rng(0)
    rows = []
    for index in range(count):
        tune = 60 + random.integers(0, 12, round(2 * seconds))
        # kind: tempo against the original, octaves up, share of a second partial
        versions = {
            "original": (1.0, 0, 0.3),
            "tempo": (1.1, 0, 0.3),
            "instrument": (0.9, 1, 0.8),
            "hum": (1.05, -1, 0.1),
            "whistle": (0.95, 1, 0.0),
        }
        for kind, (faster, octaves, second) in versions.items():
            name, length = f"{index:02d}-{kind}.flac", 0.5 / faster
            pitches = tune + 12 * octaves
            hertz = 440.0 * 2 ** ((pitches - 69) / 12)
            notes = [
                tone(length, pitch=f).waveform + second * tone(length, pitch=2 * f).waveform for f in hertz
            ]
            lead = Audio(0.5 * torch.cat(notes, dim=1), SAMPLE_RATE)
            lead.save(folder / "lead" / name)
            has_band = kind in ("original", "instrument")
            if has_band:
                beat = noise(lead.waveform.shape[1], seed=index)[0]
                Audio(beat, SAMPLE_RATE).save(folder / "band" / name)
            rows.append(
                {
                    "id": name.removesuffix(".flac"),
                    "piece": f"{index:02d}",
                    "version": kind,
                    "split": "valid" if index % 4 == 3 else "train",
                    "tune": "",
                    "instrument": "tones",
                    "tempo": 120.0 * faster,
                    "lead": f"lead/{name}",
                    "band": f"band/{name}" if has_band else "",
                    "seconds": lead.seconds,
                    "starts": [length * k for k in range(len(tune))],
                    "durations": [length] * len(tune),
                    "pitches": pitches.tolist(),
                }
            )
    (folder / TABLE_NAME).write_bytes(table_of(rows))
    return folder
