"""Does music say what its description says? `musiclm evaluate text`: the cosine of their embeddings.

By the bundle's own MuLan it is MusicLM's MuLan cycle consistency (MCC, sec. 5.1), by CLAP the CLAP score. A
cosine has no scale of its own: so that of clips with the descriptions of others stands beside it, and that of
real music with its own captions. A model that was trained by what judges it is judged mildly: trust another
model's score more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from musiclm.audio import Audio
from musiclm.data.sources import Recording
from musiclm.evaluate.embedders import Embedder, embedders
from musiclm.evaluate.found import Found
from musiclm.evaluate.pictures import intervals
from musiclm.evaluate.results import Table, write_results
from musiclm.evaluate.summary import Summary
from musiclm.files import only_writer_to, write_whole
from musiclm.machine.device import Device, choose_device, device_of
from musiclm.metrics.retrieval import others_mean
from musiclm.plots import sheet
from musiclm.progress import progress
from musiclm.tokenizers.protocols import JointEmbedding

SCORES = {"joint embedding": "MCC", "CLAP": "CLAP score"}


@dataclass(frozen=True)
class Agreement:
    """Mean cosines of clips with their own captions, and with those of all others."""

    own: Summary
    shuffled: Summary

    @classmethod
    def of(cls, audio: Tensor, text: Tensor) -> "Agreement":
        """Of embeddings [N, D] of clips, and of their captions.

        Raises:
            ValueError: fewer than two clips cannot be shuffled.
        """
        if len(audio) < 2:
            raise ValueError(f"expected 2 clips with captions or more, got {len(audio)}")
        similarity = audio.double() @ text.double().T
        return cls(
            Summary.mean(similarity.diagonal().tolist()), Summary.mean(others_mean(similarity).tolist())
        )


@only_writer_to("out")
def text(
    generated: list[Path],
    *,
    reference: Path | None = None,
    bundle: str = "default",
    clap: Path | None = None,
    out: Path | None = None,
    strict: bool = False,
    device: Device = "auto",
) -> None:
    """Print how near clips are to their descriptions: MCC, and the CLAP score with local weights.

    Args:
        generated: folders of clips, each with its description beside it (`song.wav`, `song.txt`).
        reference: real music with captions, in a table or in files beside it.
        bundle: whose joint embedding judges: a shipped bundle's name, a folder, or a Hugging Face id.
        clap: a published folder of a CLAP (larger_clap_music), which judges as well.
        out: a folder for text.json and text.svg.
        strict: exit with 2 if any file is left out.
        device: cpu, cuda, cuda:1 or mps; auto takes the first GPU, or else the CPU.

    Raises:
        FileNotFoundError: nothing at one of the paths.
        ValueError: fewer than two clips have a caption.
    """
    place = choose_device(device)
    places = {"generated": generated} | ({} if reference is None else {"reference": [reference]})
    folders = {name: Found.at(paths, strict=strict) for name, paths in places.items()}
    results = []
    for embedder in embedders(bundle, place, clap=clap):
        scores = {name: agreement(embedder, found) for name, found in folders.items()}
        results.append(
            {
                "embedding": {"name": embedder.name, "hash": embedder.hash},
                "score": SCORES[embedder.name],
                "sample_rate": embedder.model.sample_rate,
                **{name: asdict(score) for name, score in scores.items()},
            }
        )
        print(format_rows(embedder, scores))
    accounts = {
        name: found.account(found.report.remaining(found.recordings)) for name, found in folders.items()
    }
    if out is not None:
        content = {"results": results, "folders": accounts}
        print(write_results(out / "text.json", "evaluate text", content, table_of(results)))
        write_whole(out / "text.svg", chart(results).encode())
        print(out / "text.svg")


def agreement(embedder: Embedder, found: Found) -> Agreement:
    """How near the clips of a folder are to their captions; a clip without one is left out.

    Raises:
        ValueError: fewer than two clips can be judged, or not every clip and the report is strict.
    """
    model = cast(JointEmbedding, embedder.model)

    @torch.inference_mode()
    def both(recording: Recording) -> tuple[Tensor, Tensor]:
        """Embeddings [1, D] of the sound, and [D] of the captions, their mean."""
        if not recording.captions:
            raise ValueError("it has no caption")
        audio = Audio.load_mono(recording.path, model.sample_rate)
        if not audio.waveform.abs().max() > 0:
            raise ValueError("it is silent: it has no embedding")
        sound = model.embed_audio(audio.waveform[None].to(device_of(model))).cpu()
        return sound, model.embed_text(list(recording.captions)).cpu().mean(dim=0)

    remaining = found.report.remaining(found.recordings)
    chosen = progress(remaining, total=len(remaining), description=f"embed {found.name} ({embedder.name})")
    pairs = [pair for _, pair in found.report.each(chosen, both)]
    found.close(found.report.remaining(found.recordings))
    return Agreement.of(torch.cat([sound for sound, _ in pairs]), torch.stack([words for _, words in pairs]))


def format_rows(embedder: Embedder, scores: Mapping[str, Agreement]) -> str:
    """A line for each folder: its clips with their own captions, and with others'."""
    lines = [f"{f'{SCORES[embedder.name]} ({embedder.hash[:8]})':<30}{'own caption':>24}{'shuffled':>24}"]
    for name, score in scores.items():
        lines.append(f"{f'  {name}, {score.own.clips} clips':<30}{score.own!s:>24}{score.shuffled!s:>24}")
    return "\n".join(lines)


def table_of(results: Sequence[Mapping[str, Any]]) -> Table:
    """What the model card shows of it."""
    rows = [
        [
            f"{result['score']} `{result['embedding']['hash'][:8]}`",
            name,
            str(Summary(**result[name]["own"])),
            str(Summary(**result[name]["shuffled"])),
            str(result[name]["own"]["clips"]),
        ]
        for result in results
        for name in ("generated", "reference")
        if name in result
    ]
    head = ["score", "clips", "own caption", "captions of others", "N"]
    return Table("Whether it is what was asked for", head, rows, ["Mean cosines with 95 % intervals."])


def chart(results: Sequence[Mapping[str, Any]]) -> str:
    """Each score of the clips and of real music, with own captions and with others': an SVG file."""
    panels = []
    for result in results:
        figures = {
            f"{name}\n{kind}": Summary(**result[name][kind])
            for name in ("generated", "reference")
            if name in result
            for kind in ("own", "shuffled")
        }
        panels.append(intervals(f"{result['score']} ({result['embedding']['name']})", figures))
    known = [panel for panel in panels if panel is not None]
    return sheet(known, "Cosines of clips and their captions, and of others'", columns=2)
