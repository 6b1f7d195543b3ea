"""How near generated music is to real music, taken as a whole: the Fréchet distance of their embeddings.

FAD (Kilgour et al., 1812.08466): both sets of clips are embedded, a normal distribution is fitted to either,
and the distance is that between the two distributions. 0 is alike; clips need no partner. Here the embedding
is the bundle's MuLan, so that figures compare with others of the same MuLan only.
"""

from pathlib import Path

import torch
from torch import Tensor

from musiclm.audio import Audio
from musiclm.bundle import Bundle
from musiclm.data.left_out import Report
from musiclm.data.sources import find_recordings
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
    first, second = (embed_files(joint, paths, strict=strict) for paths in (generated, [reference]))
    print(f"FAD {frechet_distance(first, second):.4f}   ({len(first)} and {len(second)} windows)")


def embed_files(joint: JointEmbedding, paths: list[Path], *, strict: bool = False) -> Tensor:
    """Embeddings [N, dimension] of every window of every recording at some paths.

    Raises:
        FileNotFoundError, ValueError: there are none that can be read, or not all can and `strict` is set.
    """
    report = Report(strict=strict)
    recordings = find_recordings(paths, report)
    chosen = progress(recordings, total=len(recordings), description="embed")
    sounds = report.each(chosen, lambda recording: Audio.load_mono(recording.path, joint.sample_rate))
    device = device_of(joint)
    vectors = [joint.embed_windows(audio.waveform[None].to(device)).cpu() for _, audio in sounds]
    report.check_any(len(vectors), ", ".join(map(shown, paths)))
    report.close(len(vectors))
    return torch.cat(vectors)
