"""What a joint embedding of text and audio knows: `musiclm evaluate mulan`.

Every recording is one point, the average over its windows. Retrieval asks whether a caption finds its
recording among all of them, and a recording one of its captions. Zero-shot tagging asks whether recordings
with a label lie nearer than those without to what the label is called, put in words as the captions put it
(MuLan, sec. 4); the area under the ROC curve is the chance of that for a random pair, 0.5 where nothing is
known.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from musiclm.audio import Audio
from musiclm.bundle import Bundle, load_component
from musiclm.corpus import words
from musiclm.corpus.captions import with_articles
from musiclm.corpus.instruments import LEADS
from musiclm.data.left_out import Report
from musiclm.data.sources import Recording, find_recordings
from musiclm.machine.device import Device, choose_device, device_of
from musiclm.metrics.auc import auc
from musiclm.metrics.retrieval import retrieval
from musiclm.progress import progress
from musiclm.tokenizers.protocols import JointEmbedding

TAG_LABELS = {"lead", "genre", "drums", "mode", "tempo"}  # columns of the corpus's table
# As the captions' tempo words (`words.TEMPO_WORDS`); between the ranges they name none.
TEMPI = {"slow": (60, 86), "moderate": (92, 118), "fast": (126, 180)}  # beats per minute
TEXTS_AT_ONCE = 256  # bounds memory


@dataclass(frozen=True)
class Tag:
    """Something that is true of some recordings, and how one says so."""

    kind: str
    name: str
    texts: tuple[str, ...]

    def holds(self, labels: dict[str, Any]) -> bool:
        """Whether it is true of a recording with these labels."""
        if self.kind == "tempo":
            slowest, fastest = TEMPI[self.name]
            return slowest <= labels["tempo"] <= fastest
        if self.kind == "drums":
            return labels["drums"] == (self.name == "drums")
        return labels[self.kind] == self.name


@dataclass(frozen=True)
class Score:
    tag: Tag
    count: int  # recordings of which it is true
    auc: float


def mulan(
    audio: Path = Path("corpus"),
    bundle: str = "default",
    mulan: Path | None = None,
    split: Literal["valid", "all"] = "valid",
    max_recordings: int = 1000,
    strict: bool = False,
    device: Device = "auto",
) -> None:
    """Print how well text and audio find each other, and labels told from audio by their names alone.

    Args:
        audio: recordings with captions; with labels as well (`musiclm corpus render`), tags are scored too.
        bundle: whose MuLan is measured: a shipped bundle's name, a folder, or a Hugging Face id.
        mulan: a single part in its place, such as `runs/mulan/part` or an imported one.
        split: held-out recordings, or all of them, where none was trained on.
        max_recordings: at most.
        strict: exit with 2 if any file is left out.
        device: cpu, cuda, cuda:1 or mps; auto takes the first GPU, or else the CPU.

    Raises:
        FileNotFoundError: nothing at one of the paths.
        ValueError: fewer than two recordings, or none with captions.
    """
    if max_recordings < 2:
        raise ValueError(f"expected max_recordings of 2 or more, got {max_recordings}")
    place = choose_device(device)
    report = Report(strict=strict)
    recordings = find_recordings(audio, report)
    chosen = [
        recording for recording in recordings if recording.captions and split in (recording.split, "all")
    ][:max_recordings]
    if len(chosen) < 2:
        raise ValueError(
            f"expected two recordings with captions or more in {audio}, split {split!r}, got {len(chosen)}: "
            "render more, or take --split all where none was trained on"
        )
    part = Bundle.find(bundle).load("joint_embedding") if mulan is None else load_component(mulan)
    chosen, vectors = embed_recordings(part.to(place), chosen, report)  # [N, D]
    captions = [list(recording.captions) for recording in chosen]
    print(f"{len(chosen)} recordings, {sum(map(len, captions))} captions")
    print(f"{'':<12}{'recall@1':>10}{'recall@10':>11}{'median rank':>13}")
    for name, figures in retrieve(part, vectors, captions).items():
        print(
            f"{name:<12}{figures['recall_1']:10.3f}{figures['recall_10']:11.3f}{figures['median_rank']:13.1f}"
        )
    print()
    if missing := sorted(name for name in TAG_LABELS if any(name not in each.labels for each in chosen)):
        print(f"no tags: the recordings have no label {missing[0]!r} (those of `musiclm corpus render` have)")
    else:
        print(format_scores(score_tags(part, vectors, [recording.labels for recording in chosen])))
    report.close(len(report.remaining(recordings)))


@torch.inference_mode()
def embed_recordings(
    part: JointEmbedding, recordings: Sequence[Recording], report: Report
) -> tuple[list[Recording], Tensor]:
    """The recordings that can be read, and the embeddings [N, D] of them whole."""
    chosen = progress(recordings, total=len(recordings), description="embed")
    sounds = report.each(chosen, lambda recording: Audio.load_mono(recording.path, part.sample_rate))
    kept, vectors, device = [], [], device_of(part)
    for recording, sound in sounds:
        kept.append(recording)
        vectors.append(part.embed_audio(sound.waveform[None].to(device)).cpu())
    report.check_any(len(kept), "the split")
    return kept, torch.cat(vectors)


@torch.inference_mode()
def retrieve(
    part: JointEmbedding, vectors: Tensor, captions: Sequence[Sequence[str]]
) -> dict[str, dict[str, float]]:
    """Each caption among the recordings [N, D], and each recording among all captions, several being its."""
    texts = [caption for own in captions for caption in own]
    text = torch.cat(
        [
            part.embed_text(texts[first : first + TEXTS_AT_ONCE]).cpu()
            for first in range(0, len(texts), TEXTS_AT_ONCE)
        ]
    )  # [captions, D]
    rows = torch.arange(len(captions))
    owner = rows.repeat_interleave(torch.tensor([len(own) for own in captions]))
    fits = owner[:, None] == rows  # [captions, N]
    return {"text→audio": retrieval(text, vectors, fits), "audio→text": retrieval(vectors, text, fits.T)}


@torch.inference_mode()
def score_tags(part: JointEmbedding, vectors: Tensor, labels: Sequence[dict[str, Any]]) -> list[Score]:
    """How well each tag's texts tell recordings [N, D] with it from those without.

    Tags that are true of all or of none are left out: there is nothing to tell.
    """
    scores = []
    for tag in tags():
        true = torch.tensor([tag.holds(each) for each in labels])
        if true.any() and not true.all():
            text = functional.normalize(part.embed_text(list(tag.texts)).cpu().mean(dim=0), dim=0)  # [D]
            cosines = vectors @ text  # [N]
            scores.append(Score(tag, int(true.sum()), auc(cosines[true].tolist(), cosines[~true].tolist())))
    return scores


def format_scores(scores: Sequence[Score]) -> str:
    """A line for each tag, then the means of each kind and of all."""
    if not scores:
        return "no tags: each label is the same in all recordings"
    lines = [f"{'tag':<28}{'recordings':>10}{'AUC':>8}"]
    kinds: dict[str, list[float]] = defaultdict(list)
    for score in scores:
        lines.append(f"{f'{score.tag.kind}: {score.tag.name}':<28}{score.count:10d}{score.auc:8.3f}")
        kinds[score.tag.kind].append(score.auc)
    lines.append("")
    for kind, values in kinds.items():
        lines.append(f"{f'mean of {len(values)}, {kind}':<38}{sum(values) / len(values):8.3f}")
    mean = sum(score.auc for score in scores) / len(scores)
    return "\n".join([*lines, f"{f'mean of all {len(scores)}':<38}{mean:8.3f}"])


def tags() -> list[Tag]:
    """All tags, their texts made of the captions' words."""
    tempi: dict[str, list[str]] = defaultdict(list)
    for slowest, _, group in words.TEMPO_WORDS:
        name = next(name for name, (low, high) in TEMPI.items() if low <= slowest <= high)
        tempi[name] += group
    leads = {name: words.INSTRUMENT_WORDS[name] for name in LEADS}
    return [
        *_kind("lead", leads, "A {} melody", "The {} plays a melody", "{}"),
        *_kind("genre", words.GENRE_WORDS, "A {} piece", "{} music", "{}"),
        *_kind("drums", {"drums": words.DRUM_TAGS, "no drums": words.NO_DRUM_TAGS}, "Music, {}", "{}"),
        *_kind("mode", {mode: (mode,) for mode in ("major", "minor")}, "A piece in a {} key", "{} key"),
        *_kind("tempo", tempi, "A {} piece", "{}"),
    ]


def _kind(kind: str, names: Mapping[str, Sequence[str]], *templates: str) -> list[Tag]:
    return [
        Tag(
            kind,
            name,
            tuple(
                with_articles(template.format(word)) for word in dict.fromkeys(said) for template in templates
            ),
        )
        for name, said in names.items()
    ]
