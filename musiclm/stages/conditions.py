"""How conditions with a clock are laid on the target's steps (`delay` pattern): what each step is told.

`AlignedCondition` is for frames about as short as the target's: each target frame within one has a projection
of its own. `CombinedCondition` says, beside it, what the levels of a frame mean together.
`UnfoldedCondition` is for a frame that spans many steps, as a melody window of 3 s spans 75 or 150: a small
network unfolds its vector into slots of about a tenth of a second, and these are laid as such frames. A
condition that is absent adds exactly nothing: no matrix here has a bias.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Unfolding:
    """Sizes of the network that unfolds one long frame.

    Args:
        slots: stretches of a frame, at most: as many as divide its steps evenly.
        width: of the embeddings of its codes, which have a table of their own: a long frame says more than
            the shared table's width may hold.
        hidden: width of the hidden layer.
        rank: values that tell what is due in a slot.
    """

    slots: int
    width: int
    hidden: int
    rank: int


class AlignedCondition(nn.Module):
    """Embedded frames of a condition with a clock, laid on the target's steps.

    Args:
        narrow: E, width of the embeddings.
        width: D, of the steps.
        ratio: target frames per frame of the condition. Each of them has a projection of its own, so that a
            step knows which part of the condition's frame it is in.
        lookahead: frames of the condition seen ahead.
    """

    def __init__(self, narrow: int, width: int, *, ratio: int, lookahead: int) -> None:
        super().__init__()
        self.ratio = ratio
        self.lookahead = lookahead
        self.projection = nn.Linear((lookahead + 1) * narrow, ratio * width, bias=False)

    def forward(self, condition: Tensor, frames: int, steps: int) -> Tensor:
        """What a condition [B, T', E] adds to each of N steps, [B, N, D]: nothing beyond T target frames."""
        batch, length, _ = condition.shape
        padded = F.pad(condition, (0, 0, 0, self.lookahead))
        seen = torch.cat([padded[:, ahead : ahead + length] for ahead in range(self.lookahead + 1)], dim=2)
        laid = self.projection(seen).view(batch, length * self.ratio, -1)[:, :frames]  # [B, T, D]
        return F.pad(laid, (0, 0, 0, steps - frames))

    def initialise(self, *, silent: bool = False) -> None:
        """Variance 1 / inputs, as everywhere; or nothing, for what is to be learned beside all else."""
        std = 0.0 if silent else self.projection.in_features**-0.5
        nn.init.normal_(self.projection.weight, std=std)


class CombinedCondition(nn.Module):
    """Codes of several levels that mean one thing together, as a chord's root and quality do.

    Which pitch classes sound, the sum of an embedding of the root and one of the quality does not say: a
    network would have to work it out. Here every combination has an entry of its own, beside that sum.

    Args:
        levels, size: of the codes.
        narrow: E, width of the entries.
        width: D, of the steps.
        ratio: target frames per frame of the condition.
    """

    def __init__(self, levels: int, size: int, narrow: int, width: int, *, ratio: int) -> None:
        super().__init__()
        self.levels, self.size = levels, size
        self.embedding = nn.Embedding(size**levels, narrow)
        self.laid = AlignedCondition(narrow, width, ratio=ratio, lookahead=0)

    def forward(self, codes: Tensor, frames: int, steps: int) -> Tensor:
        """What codes [B, levels, T'] add to each of N steps, [B, N, D]; where a level is absent, nothing."""
        there = (codes >= 0).all(dim=1)  # [B, T']
        places = self.size ** torch.arange(self.levels, device=codes.device)
        entries = (codes.clamp(min=0) * places[:, None]).sum(dim=1)
        return self.laid(self.embedding(entries) * there[..., None], frames, steps)

    def initialise(self) -> None:
        """Entries of about 1, of which nothing is told at first."""
        nn.init.normal_(self.embedding.weight)
        self.laid.initialise(silent=True)


class UnfoldedCondition(nn.Module):
    """Codes of long frames, unfolded and laid on the target's steps. A step knows the whole of its own frame.

    Args:
        vocabulary_size: ids of the codes, the last one that of absence.
        width: D, of the steps.
        ratio: target frames per frame of the condition.
        unfolding: sizes.
    """

    def __init__(self, vocabulary_size: int, width: int, *, ratio: int, unfolding: Unfolding) -> None:
        super().__init__()
        slots = max(slots for slots in range(1, unfolding.slots + 1) if ratio % slots == 0)
        self.rank = unfolding.rank
        self.absent = vocabulary_size - 1
        self.embedding = nn.Embedding(vocabulary_size, unfolding.width)
        self.hidden = nn.Linear(unfolding.width, unfolding.hidden, bias=False)
        self.slots = nn.Linear(unfolding.hidden, slots * unfolding.rank, bias=False)
        self.laid = AlignedCondition(unfolding.rank, width, ratio=ratio // slots, lookahead=0)

    def forward(self, tokens: Tensor, frames: int, steps: int) -> Tensor:
        """What tokens [B, T', levels] add to each of N steps, [B, N, D]: nothing beyond T target frames."""
        embedded = self.embedding(tokens) * (tokens != self.absent)[..., None]  # [B, T', levels, E]
        unfolded = self.slots(F.gelu(self.hidden(embedded.sum(dim=2))))  # [B, T', slots * rank]
        return self.laid(unfolded.view(len(tokens), -1, self.rank), frames, steps)

    def initialise(self) -> None:
        """Variance 1 / inputs, as everywhere; the stage fills the table as it fills its own."""
        for matrix in (self.hidden, self.slots):
            nn.init.normal_(matrix.weight, std=matrix.in_features**-0.5)
        self.laid.initialise()
