"""What embeds music for an evaluation: the bundle's own joint embedding, and published models from local
weights.

Figures compare only where the same model embeds, so each comes with its name and a hash of its weights.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from musiclm.audio import Audio
from musiclm.bundle import Bundle
from musiclm.data.sources import Recording
from musiclm.evaluate.found import Found
from musiclm.machine.device import device_of
from musiclm.progress import progress
from musiclm.tokenizers.mel import LogMel

WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # of a published folder


class AudioEmbedding(Protocol):
    """Audio as vectors, a window at a time."""

    @property
    def sample_rate(self) -> int:
        """Hz of the waveforms that it takes."""
        ...

    def embed_windows(self, waveform: Tensor) -> Tensor:
        """Embeddings [W, D] of one recording [1, 1, L]."""
        ...


@dataclass(frozen=True)
class Embedder:
    """A model that embeds, by its name and a hash of what makes its vectors."""

    name: str
    hash: str
    model: AudioEmbedding

    def embed(self, found: Found) -> dict[str, Tensor]:
        """Windows [W, D] of every recording, by its id; those that cannot be read are left out.

        Raises:
            ValueError: none can be read, or not all can and the report is strict.
        """
        vectors = {recording.id: windows for recording, windows in self._each(found)}
        found.close(found.report.remaining(found.recordings))
        return vectors

    def _each(self, found: Found) -> Iterator[tuple[Recording, Tensor]]:
        chosen = progress(
            found.report.remaining(found.recordings),
            total=len(found.recordings),
            description=f"embed {found.name} ({self.name})",
        )
        return found.report.each(chosen, self._windows)

    @torch.inference_mode()
    def _windows(self, recording: Recording) -> Tensor:
        audio = Audio.load_mono(recording.path, self.model.sample_rate)
        if not audio.waveform.abs().max() > 0:
            raise ValueError("it is silent: it has no embedding")
        return self.model.embed_windows(audio.waveform[None].to(device_of(self.model))).cpu()


class LogMelFrames(nn.Module):
    """Frames of a log-mel spectrogram, ten a second: what no training has had a hand in."""

    sample_rate = 24_000
    bands, window, hop = 64, 2048, 2400

    def __init__(self) -> None:
        super().__init__()
        self.log_mel = LogMel(self.sample_rate, self.bands, window_length=self.window, hop_length=self.hop)

    def embed_windows(self, waveform: Tensor) -> Tensor:
        """Frames [W, 64] of a recording [1, 1, L]."""
        frames: Tensor = self.log_mel(waveform)[0].T
        return frames


def embedders(
    bundle: str | None,
    device: torch.device,
    *,
    mel: bool = False,
    vggish: Path | None = None,
    clap: Path | None = None,
    mert: Path | None = None,
) -> Iterator[Embedder]:
    """The embedders asked for, one at a time: the one before may be let go of.

    Args:
        bundle: whose joint embedding is one; None leaves it out.
        device: where they run.
        mel: whether log-mel frames are one.
        vggish: the published file of weights.
        clap: the published folder.
        mert: likewise.

    Raises:
        FileNotFoundError, ValueError: a place holds something else.
    """
    named = (("VGGish", vggish), ("CLAP", clap), ("MERT", mert))
    hashes = {name: hash_of(path) for name, path in named if path is not None}  # all, before long work
    if bundle is not None:
        found = Bundle.find(bundle)
        fingerprint = found.fingerprint("joint_embedding")
        yield Embedder("joint embedding", fingerprint, found.load("joint_embedding").to(device))
    if mel:
        frames = LogMelFrames()
        values = f"{frames.bands} {frames.window} {frames.hop}"
        digest = hashlib.sha256(values.encode()).hexdigest()[:16]
        yield Embedder("log-mel frames", digest, frames.to(device))
    if vggish is not None:
        from musiclm.tokenizers.vggish import read_vggish

        yield Embedder("VGGish", hashes["VGGish"], read_vggish(vggish).to(device))
    if clap is not None:
        from musiclm.tokenizers.clap import read_clap

        yield Embedder("CLAP", hashes["CLAP"], read_clap(clap)[0].to(device))
    if mert is not None:
        from musiclm.tokenizers.mert import read_mert

        yield Embedder("MERT", hashes["MERT"], read_mert(mert).to(device))


def hash_of(path: Path) -> str:
    """The first 16 hex digits of the SHA-256 of a file of weights, or of the one in a published folder.

    Raises:
        FileNotFoundError: there is none.
    """
    files = [path, *(path / name for name in WEIGHTS)]
    file = next((each for each in files if each.is_file()), None)
    if file is None:
        raise FileNotFoundError(f"expected published weights at {path}, found none: is the path right?")
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:16]
