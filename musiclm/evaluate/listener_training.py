"""What the listener hears in held-out pieces of the corpus, and its training: `musiclm evaluate listener`.

It is trained on clips of 10 s of pieces of the training split, two of each, rendered for this and not kept.
Everything is seeded.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional

from musiclm.bundle.storage import pack_weights
from musiclm.corpus.genres import GENRES
from musiclm.corpus.instruments import LEADS
from musiclm.evaluate.control import ceiling_of
from musiclm.evaluate.heard_attributes import ATTRIBUTES
from musiclm.evaluate.labelled_clips import Clip, corpus_clips
from musiclm.evaluate.listener import MODES, SAMPLE_RATE, SHORTEST, WEIGHTS, Listener, fingerprint, log_mels
from musiclm.evaluate.listener_networks import KeyNetwork, TempoNetwork, TimbreNetwork
from musiclm.files import write_whole
from musiclm.metrics.pitch_classes import pitch_classes
from musiclm.metrics.statistics import mean_interval
from musiclm.metrics.tempo import STEPS, tempogram
from musiclm.progress import progress

SEEDS = (17, 18)  # of corpora; not the default model's
PIECES, CLIPS = 1500, 2  # of each corpus, of each piece
SECONDS = 10.0
BATCH = 32
EPOCHS = {"tempo": 30, "key": 15, "timbre": 9}
MOST_MOVED = 4  # steps by which a tempogram is moved, with its tempo
CROP = 300  # frames of a log-mel spectrogram that are seen at once: 6 s


@dataclass(frozen=True)
class Examples:
    """What the networks see of N clips, and what is true of them."""

    tempograms: Tensor  # [N, BANDS, periods]
    pitch_classes: Tensor  # [N, 3, 12, T]
    log_mels: Tensor  # [N, MELS, T], float16
    tempi: Tensor  # [N] bpm
    keys: Tensor  # [N] 0 … 23, major first
    timbres: Tensor  # [N, 3] lead, genre, drums

    @classmethod
    def of(cls, clips: Iterable[Clip]) -> "Examples":
        """Of clips of one length, one after another: their sound is not kept."""
        rows: list[tuple[Tensor, ...]] = []
        for clip in clips:
            waveform, labels = clip.audio.waveform[0], clip.labels
            rows.append(
                (
                    tempogram(waveform, SAMPLE_RATE),
                    pitch_classes(waveform, SAMPLE_RATE),
                    log_mels(waveform).half(),
                    torch.tensor(labels["tempo"], dtype=torch.float32),
                    torch.tensor(12 * MODES.index(labels["mode"]) + labels["tonic"]),
                    torch.tensor(
                        [
                            LEADS.index(labels["lead"]),
                            tuple(GENRES).index(labels["genre"]),
                            int(labels["drums"]),
                        ]
                    ),
                )
            )
        return cls(*(torch.stack(column) for column in zip(*rows, strict=True)))

    def __len__(self) -> int:
        return len(self.tempi)


def fitted(examples: Examples, epochs: dict[str, int] | None = None) -> Listener:
    """A listener that has learned from the examples."""
    epochs = epochs or EPOCHS
    torch.manual_seed(0)
    learned = Listener()
    _fit("timbre", learned.timbre, _timbre_loss, examples, epochs, 4e-3)
    _fit("key", learned.key, _key_loss, examples, epochs, 4e-3)
    learned.timbre.eval()
    with torch.inference_mode():
        kinds = torch.cat([learned.timbre.kind(each.float()) for each in examples.log_mels.split(BATCH)])
    _fit("tempo", learned.tempo, partial(_tempo_loss, kinds=kinds.clone()), examples, epochs, 2e-3)
    return learned.eval()


def _fit(
    name: str,
    network: nn.Module,
    loss: Callable[..., Tensor],
    examples: Examples,
    epochs: dict[str, int],
    rate: float,
) -> None:
    steps = epochs[name] * (len(examples) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps)
    network.train()
    batches = _batches(len(examples), epochs[name])
    for chosen in progress(batches, total=steps, description=f"train {name}"):
        optimizer.zero_grad()
        loss(network, examples, chosen).backward()
        optimizer.step()
        schedule.step()


def _batches(count: int, epochs: int) -> Iterator[Tensor]:
    for _ in range(epochs):
        yield from torch.randperm(count)[: count // BATCH * BATCH].view(-1, BATCH)


def _tempo_loss(network: TempoNetwork, examples: Examples, chosen: Tensor, *, kinds: Tensor) -> Tensor:
    """Cross-entropy with the true tempo, blurred by a step; tempograms are moved and made noisy."""
    seen, tempi = examples.tempograms[chosen], examples.tempi[chosen]
    moved = int(torch.randint(-MOST_MOVED, MOST_MOVED + 1, ()))
    places = (torch.arange(seen.shape[2]) - moved).clamp(0, seen.shape[2] - 1)
    seen = seen[:, :, places] + 0.03 * torch.randn_like(seen)
    away = torch.log2(network.tempi / tempi[:, None]) * STEPS + moved  # steps, [B, K]
    target = torch.softmax(-away.square() / 2, dim=1)
    return -(target * network(seen, kinds[chosen]).log_softmax(dim=1)).sum(dim=1).mean()


def _key_loss(network: KeyNetwork, examples: Examples, chosen: Tensor) -> Tensor:
    """Cross-entropy with the key; every third moment is enough."""
    seen = examples.pitch_classes[chosen][..., ::3]
    seen = seen + 0.05 * torch.randn_like(seen)
    return functional.cross_entropy(network(seen), examples.keys[chosen], label_smoothing=0.05)


def _timbre_loss(network: TimbreNetwork, examples: Examples, chosen: Tensor) -> Tensor:
    """Cross-entropy of the three; sounds are equalized, made louder or softer, masked and made noisy."""
    log_mels = examples.log_mels[chosen].float()
    rows, bands, frames = log_mels.shape
    first = int(torch.randint(0, max(frames - CROP, 0) + 1, ()))
    seen = log_mels[:, :, first : first + CROP]
    curve = functional.interpolate(
        0.25 * torch.randn(rows, 1, 5), bands, mode="linear", align_corners=True
    )  # [B, 1, bands]
    seen = seen + curve.transpose(1, 2) + 0.2 * torch.randn(rows, 1, 1)
    masked = torch.randint(0, bands - 8, (rows, 1)) + torch.arange(8)  # [B, 8]
    hidden = torch.zeros(rows, bands).scatter(1, masked, 1.0)[:, :, None].bool()
    hidden &= torch.rand(rows, 1, 1) < 0.5
    seen = seen.masked_fill(hidden, 0.0) + 0.1 * torch.randn_like(seen)
    logits = network(seen)
    losses = [
        functional.cross_entropy(each, truth, label_smoothing=0.1)
        for each, truth in zip(logits, examples.timbres[chosen].T, strict=True)
    ]
    return torch.stack(losses).sum()


def listener(pieces: int = 300, seconds: float = SECONDS, seed: int = 0, train: bool = False) -> None:
    """Print what the listener hears in held-out pieces of the reference corpus (95 % intervals).

    Args:
        pieces: how many of them.
        seconds: of a clip of each, 5 or more.
        seed: of the corpus.
        train: train it first, in half an hour or more, and keep it in the place of the one that ships.

    Raises:
        ValueError: there would be nothing to listen to.
    """
    if pieces < 1 or seconds < SHORTEST or seed in SEEDS:
        raise ValueError(
            f"expected 1 piece or more, {SHORTEST:g} s or more of each and a seed other than those of its "
            f"training, {SEEDS}, got {pieces}, {seconds:g} and {seed}"
        )
    if train:
        total = len(SEEDS) * PIECES * CLIPS
        clips = progress(training_clips(), total=total, description="render")
        save_listener(fitted(Examples.of(clips)))
    right = ceiling_of(Listener.load(), pieces, seconds, seed)
    print(f"{pieces} held-out pieces of seed {seed}, {seconds:g} s of each; listener {fingerprint()}")
    for name, values in right.items():
        low, high = mean_interval(values)
        print(f"{ATTRIBUTES[name].title:<16}{values.mean():6.3f} ({low:.3f}-{high:.3f})")


def training_clips() -> Iterator[Clip]:
    """Clips of the pieces that it is trained on."""
    for seed in SEEDS:
        yield from corpus_clips("train", PIECES, SECONDS, seed, per_piece=CLIPS)


def save_listener(learned: Listener) -> None:
    """Write the weights, int8, where `Listener.load` reads them."""
    write_whole(WEIGHTS, save(pack_weights(learned, "int8")))
