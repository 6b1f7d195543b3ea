"""How near generated music is to real music, taken as a whole: the Fréchet distance of their embeddings.

FAD (Kilgour et al., 1812.08466): both sets of clips are embedded, a normal distribution is fitted to either,
and the distance is that between the two distributions. 0 is alike; clips need no partner. Here the embedding
is the bundle's MuLan, so that figures compare with others of the same MuLan only.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from musiclm.audio import Audio
from musiclm.bundle import Bundle
from musiclm.data.left_out import Report
from musiclm.data.sources import Recording, find_recordings
from musiclm.device import Device, choose_device, device_of
from musiclm.files import shown
from musiclm.metrics.frechet import frechet_distance
from musiclm.progress import progress
from musiclm.tokenizers.protocols import JointEmbedding


def fad(
    generated: list[Path],
    reference: Path = Path("corpus"),
    bundle: str = "default",
    strict: bool = False,
    device: Device = "auto",
) -> None:
    """Print the Fréchet distance between the embeddings of generated and of real music.

    Args:
        generated: audio files, or folders of them.
        reference: a folder of real music.
        bundle: whose MuLan embeds both: a shipped bundle's name, a folder, or a Hugging Face id.
        strict: exit with 2 if any file is left out.
        device: cpu, cuda, cuda:1 or mps; auto takes the first GPU, or else the CPU.
    """
    place = choose_device(device)
    joint: JointEmbedding = Bundle.find(bundle).load("joint_embedding").to(place)
    found = [Found.at(paths, strict=strict) for paths in (generated, [reference])]  # both, before long work
    first, second = (embed(joint, each) for each in found)
    print(f"FAD {frechet_distance(first, second):.4f}   ({len(first)} and {len(second)} windows)")


@dataclass(frozen=True)
class Found:
    """Recordings at some paths, and the report of those that cannot be used."""

    paths: list[Path]
    recordings: list[Recording]
    report: Report

    @classmethod
    def at(cls, paths: list[Path], *, strict: bool = False) -> "Found":
        """What is there.

        Raises:
            FileNotFoundError: there is nothing.
        """
        report = Report(strict=strict)
        return cls(paths, find_recordings(paths, report), report)


def embed(joint: JointEmbedding, found: Found) -> Tensor:
    """Embeddings [N, dimension] of every window of every recording.

    Raises:
        ValueError: none can be read, or not all can and `strict` was set.
    """
    report, recordings = found.report, found.recordings
    chosen = progress(recordings, total=len(recordings), description="embed")
    sounds = report.each(chosen, lambda recording: Audio.load_mono(recording.path, joint.sample_rate))
    device = device_of(joint)
    vectors = [joint.embed_windows(audio.waveform[None].to(device)).cpu() for _, audio in sounds]
    report.check_any(len(vectors), ", ".join(map(shown, found.paths)))
    report.close(len(vectors))
    return torch.cat(vectors)
