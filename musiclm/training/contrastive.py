"""Contrastive learning of two modalities: what attracts, what repels, and the loss of it (MuLan, sec. 3).

audio [B, D], text [N, D] on the unit sphere, positives [N, B] -> loss. Captions name some attributes of a
recording and leave out others, so two recordings may fit one caption. What is known to be no negative is not
taken for one: crops of the same recording, and recordings with the same caption.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from musiclm.tokenizers.mulan_towers import normalise


@dataclass(frozen=True)
class Described:
    """What a device knows of its part of a batch, beside waveforms and piece ids."""

    ids: list[str]  # of the recordings of its crops
    texts: list[str]
    rows: list[int]  # the crop that each text was drawn for


def contrastive_loss(audio: Tensor, text: Tensor, positives: Tensor, scale: Tensor | float) -> Tensor:
    """Symmetric cross-entropy between audio [B, D] and text [N, D], both on the unit sphere.

    `positives` [N, B] is true where text and audio belong together; a row's (and a column's) target is spread
    evenly over them. With one positive each this is MuLan's loss. Texts that belong to nothing are negatives.
    """
    logits = scale * text @ audio.T  # [N, B]
    return (_cross_entropy(logits, positives) + _cross_entropy(logits.T, positives.T)) / 2


def pairs_of_all(devices: Sequence[Described], others: Sequence[int]) -> Tensor:
    """Positives [N, B] of the whole batch, rows and columns in the devices' order.

    A device's texts are followed by as many `others`, which belong to nothing.
    """
    firsts = [sum(len(device.ids) for device in devices[:number]) for number in range(len(devices))]
    pairs = same_pair(
        [id for device in devices for id in device.ids],
        [text for device in devices for text in device.texts],
        torch.tensor(
            [first + row for first, device in zip(firsts, devices, strict=True) for row in device.rows]
        ),
    )  # [texts, B]
    parts = pairs.split([len(device.texts) for device in devices])
    return torch.cat(
        [functional.pad(part, (0, 0, 0, count)) for part, count in zip(parts, others, strict=True)]
    )


def same_pair(ids: Sequence[str], texts: Sequence[str], rows: Tensor) -> Tensor:
    """[N, B]: true where text n is known to fit crop b.

    Text n was drawn for crop `rows[n]`. It also fits other crops of the same recording, and crops that come
    with the very same text.
    """
    number = {id: index for index, id in enumerate(dict.fromkeys(ids))}
    recording = torch.tensor([number[id] for id in ids])  # [B]
    spelling = {text: index for index, text in enumerate(dict.fromkeys(map(normalise, texts)))}
    text = torch.tensor([spelling[normalise(text)] for text in texts])  # [N]
    same_text = (text[:, None] == text[None, :]).float()  # [N, N]
    own = functional.one_hot(recording[rows], len(number)).float()  # [N, recordings]
    return ((same_text @ own) > 0)[:, recording]


def _cross_entropy(logits: Tensor, positives: Tensor) -> Tensor:
    """Mean over rows that have a positive, of the cross-entropy against an even spread over the positives."""
    counted = positives.any(dim=1)
    targets = positives.float() / positives.sum(dim=1, keepdim=True).clamp(min=1)
    return -(targets * logits.log_softmax(dim=1)).sum(dim=1)[counted].mean()
