"""What the semantic tokenizer hears: linear probes on its features, layer by layer, and on its tokens.

Labelled recordings (`musiclm corpus render`) are cut into crops. A linear classifier learns each label on the
training split and is scored on the held-out one: the chord from single frames, the others from the mean and
deviation of a crop's frames. Rows are the log-mel input (what any model starts from), each layer, the one-hot
tokens, and for comparison a codec's: the one-hot codes of its first level, and what those of all its levels
stand for. The first row is the share of the commonest label (what knowing nothing gives).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from musiclm.bundle import Bundle
from musiclm.data.crops import load_crop
from musiclm.data.left_out import Report
from musiclm.data.sources import Recording, find_recordings
from musiclm.machine.device import Device, choose_device, device_of
from musiclm.metrics.linear_probe import Label, linear_probe
from musiclm.tokenizers.protocols import AcousticTokenizer, SemanticEncoder
from musiclm.tokenizers.w2v_bert import W2VBertTokens

FRAMES_PER_SECOND = 5  # frames probed: neighbours at 25 Hz say the same
MODES = {"maj": "major", "dom": "major", "min": "minor"}  # by the first letters of a chord's quality
COLUMNS = {"chords", "tonic", "mode", "lead", "tempo", "drums", "genre"}  # of the corpus's table


@dataclass(frozen=True)
class Crop:
    recording: Recording
    start: float  # seconds


@dataclass(frozen=True)
class Features:
    """Of one row of the table, over all crops of a split."""

    frames: Tensor  # [crops, frames, D]
    pooled: Tensor  # [crops, D']


def semantic(
    audio: Path = Path("corpus"),
    *,
    w2v_bert: str = "default",
    kmeans: str | None = None,
    codec: str | None = None,
    seconds: float = 10.0,
    crops_per_recording: int = 3,
    max_recordings: int = 400,
    strict: bool = False,
    device: Device = "auto",
) -> None:
    """Print how well linear probes read chord, key, lead, tempo, drums and genre from features and tokens.

    Args:
        audio: a labelled corpus (`musiclm corpus render`).
        w2v_bert: the trained encoder, `runs/w2v_bert/part`, or a bundle with one.
        kmeans: its trained centroids, likewise: adds the row of the tokens.
        codec: a trained codec, likewise: adds the rows of the acoustic tokens.
        seconds: length of a crop.
        crops_per_recording: evenly spaced crops of each recording.
        max_recordings: of each split, at most.
        strict: exit with 2 if any file is left out.
        device: cpu, cuda, cuda:1 or mps; auto takes the first GPU, or else the CPU.

    Raises:
        FileNotFoundError: nothing at one of the paths.
        ValueError: recordings without labels, or of only one split.
    """
    place = choose_device(device)
    encoder: SemanticEncoder = Bundle.find(w2v_bert).load("semantic_encoder").to(place)
    tokens = (
        W2VBertTokens(encoder, Bundle.find(kmeans).load("semantic_quantizer").to(place))
        if kmeans is not None
        else None
    )
    report = Report(strict=strict)
    recordings = find_recordings(audio, report)
    table = probe(
        recordings,
        encoder,
        tokens,
        None if codec is None else Bundle.find(codec).load("codec").to(place),
        seconds=seconds,
        crops_per_recording=crops_per_recording,
        max_recordings=max_recordings,
        report=report,
    )
    print(format_table(table))
    report.close(len(report.remaining(recordings)))


def probe(
    recordings: Sequence[Recording],
    encoder: SemanticEncoder,
    tokens: W2VBertTokens | None = None,
    codec: AcousticTokenizer | None = None,
    *,
    seconds: float = 10.0,
    crops_per_recording: int = 3,
    max_recordings: int = 400,
    report: Report | None = None,
) -> dict[str, dict[str, float]]:
    """Accuracy on held-out recordings of each row (chance, log-mel, layers, tokens, codes) for each label."""
    missing = sorted(COLUMNS - _columns(recordings))
    if missing:
        raise ValueError(f"expected a labelled corpus, the recordings have no {missing[0]!r}: render one")
    crops = {
        split: _crops(recordings, split, seconds, crops_per_recording, max_recordings)
        for split in ("train", "valid")
    }
    features = {}
    for split in crops:
        crops[split], features[split] = _extract(
            crops[split], encoder, tokens, codec, seconds, report or Report()
        )

    table: dict[str, dict[str, float]] = {row: {} for row in ("chance", *features["train"])}
    for name in ("chord", *CROP_LABELS):
        labels = {split: _labels(name, crops[split], _frame_times(encoder, seconds)) for split in crops}
        known = [label for label in labels["valid"] if label is not None]
        ((frequent, _),) = Counter(filter(None, labels["train"])).most_common(1)
        table["chance"][name] = known.count(frequent) / max(1, len(known))
        for row in features["train"]:
            points = {
                split: features[split][row].frames.flatten(0, 1)
                if name == "chord"
                else features[split][row].pooled
                for split in crops
            }
            table[row][name] = linear_probe(
                points["train"], labels["train"], points["valid"], labels["valid"]
            )
    return table


def format_table(table: dict[str, dict[str, float]]) -> str:
    """Rows of accuracies in per cent."""
    columns = list(next(iter(table.values())))
    width = max(map(len, table)) + 2
    lines = [" " * width + "".join(f"{name:>8}" for name in columns)]
    lines += [
        f"{row:<{width}}" + "".join(f"{100 * cells[name]:8.1f}" for name in columns)
        for row, cells in table.items()
    ]
    return "\n".join(lines)


def _columns(recordings: Sequence[Recording]) -> set[str]:
    return set.intersection(*(set(recording.labels) for recording in recordings))


def _crops(recordings: Sequence[Recording], split: str, seconds: float, count: int, limit: int) -> list[Crop]:
    chosen = [recording for recording in recordings if recording.split == split][:limit]
    if not chosen:
        raise ValueError(f"expected recordings of both splits, got none of {split!r}: render more")
    return [
        Crop(recording, max(0.0, recording.seconds - seconds) * (position + 0.5) / count)
        for recording in chosen
        for position in range(count)
    ]


def _frame_step(encoder: SemanticEncoder) -> int:
    return max(1, round(encoder.frame_rate / FRAMES_PER_SECOND))


def _frame_times(encoder: SemanticEncoder, seconds: float) -> list[float]:
    """Middles of the probed frames, in seconds from the crop's start."""
    count = -(-round(seconds * encoder.sample_rate) // encoder.hop_length)
    return [(number + 0.5) / encoder.frame_rate for number in range(0, count, _frame_step(encoder))]


@torch.no_grad()
def _extract(
    crops: Sequence[Crop],
    encoder: SemanticEncoder,
    tokens: W2VBertTokens | None,
    codec: AcousticTokenizer | None,
    seconds: float,
    report: Report,
) -> tuple[list[Crop], dict[str, Features]]:
    """The crops that can be read, and their features by rows."""
    kept, device = [], device_of(encoder)
    frames: dict[str, list[Tensor]] = {}
    pooled: dict[str, list[Tensor]] = {}
    for crop in crops:
        try:
            waveform = load_crop(crop.recording.path, crop.start, seconds, encoder.sample_rate)[None]
        except (ValueError, OSError) as error:
            report.leave_out_once(crop.recording.path, error)
            continue
        kept.append(crop)
        waveform = waveform.to(device)
        layers = encoder.all_features(waveform)
        rows = {"log-mel": encoder.frames(waveform).unflatten(1, (layers[0].shape[1], -1)).flatten(2)}
        rows |= {f"layer {number}": layer for number, layer in enumerate(layers)}
        if tokens is not None:
            codes = tokens.kmeans.assign(layers[tokens.kmeans.layer])
            rows["tokens"] = F.one_hot(codes, tokens.codebook_size).float()
        if codec is not None:
            acoustic = load_crop(crop.recording.path, crop.start, seconds, codec.sample_rate)[None]
            rows |= _codec_rows(codec, acoustic.to(device), frames=layers[0].shape[1])
        for row, (values,) in rows.items():  # [T, D]
            frames.setdefault(row, []).append(values[:: _frame_step(encoder)].clone().cpu())
            pooled.setdefault(row, []).append(torch.cat([values.mean(dim=0), values.std(dim=0)]).cpu())
    report.check_any(len(kept), "one of the splits")
    return kept, {row: Features(torch.stack(frames[row]), torch.stack(pooled[row])) for row in frames}


def _codec_rows(codec: AcousticTokenizer, waveform: Tensor, *, frames: int) -> dict[str, Tensor]:
    """What a codec's codes say at `frames` places [1, frames, D] of a crop [1, 1, L]."""
    codes = codec.encode(waveform)[0]  # [Q, T]
    entries = torch.stack([book[level] for book, level in zip(codec.codebooks, codes, strict=True)])
    stands_for = entries.sum(dim=0)  # [T, D]
    first = F.one_hot(codes[0], codec.codebook_size).float()  # [T, K]
    # Of a codec's several frames to each place, the mean.
    pooled = {"acoustic, level 1": first, "acoustic, all levels": stands_for}
    return {name: F.adaptive_avg_pool1d(value.T, frames).T[None] for name, value in pooled.items()}


def _labels(name: str, crops: Sequence[Crop], times: Sequence[float]) -> list[Label]:
    if name != "chord":
        return [CROP_LABELS[name](crop.recording.labels) for crop in crops]
    return [
        chord_label(crop.recording.labels["chords"], crop.start + time) for crop in crops for time in times
    ]


def chord_label(chords: Sequence[dict[str, Any]], at: float) -> Label:
    """Root and mode of the chord that sounds `at` seconds; None before the first and for other qualities."""
    sounding = [chord for chord in chords if chord["start"] <= at]
    if not sounding:
        return None
    mode = MODES.get(str(sounding[-1]["quality"])[:3])
    return None if mode is None else f"{sounding[-1]['root']} {mode}"


def _tempo_class(labels: dict[str, Any]) -> str:
    return "slow" if labels["tempo"] < 90 else "medium" if labels["tempo"] < 125 else "fast"


CROP_LABELS: dict[str, Callable[[dict[str, Any]], Label]] = {
    "key": lambda labels: f"{labels['tonic']} {labels['mode']}",
    "lead": lambda labels: labels["lead"] or None,
    "tempo": _tempo_class,
    "drums": lambda labels: str(labels["drums"]),
    "genre": lambda labels: labels["genre"],
}
