"""The planner: words and their joint embedding in, the plan of a piece out, drawn token by token.

A small causal transformer over the tokens of a plan (`plan_tokens.py`). What the text says stands before them
as one vector: the words, hashed one by one and in pairs, and the joint embedding (MuLan's), which knows words
that no caption has. Values that a user gives are not drawn but put in their places, and what follows is drawn
under them: chords in minor for a minor key.
"""

import re
import zlib
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from musiclm.score.controls import PACES, Controls
from musiclm.score.plan import Plan
from musiclm.score.plan_tokens import (
    END,
    FIRST,
    HEADER,
    HOLD,
    MOST_BARS,
    NONE,
    START,
    TEMPI,
    UNKNOWN,
    VOCABULARY,
    bin_of,
    bpm_of,
    plan_of_tokens,
)
from musiclm.score.score import MODES

LONGEST = len(HEADER) + 2 * MOST_BARS + 1  # tokens of a plan
SHORTEST = 8  # bars of one that is drawn


class Planner(nn.Module):
    """Draws plans.

    Args:
        dimension: D, of the joint embedding.
        width: of the transformer.
        layers, heads: of the transformer.
        buckets: that words and pairs of words are hashed into.
        dropout: in training.
    """

    training_state: tuple[str, ...] = ()

    def __init__(
        self,
        dimension: int = 128,
        *,
        width: int = 128,
        layers: int = 3,
        heads: int = 4,
        buckets: int = 8192,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.dimension = dimension
        self.buckets = buckets
        self.terms = nn.Embedding(buckets, width)
        self.embedded = nn.Linear(dimension, width)
        self.tokens = nn.Embedding(VOCABULARY, width)
        self.positions = nn.Embedding(LONGEST, width)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self.transformer = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, VOCABULARY)
        nn.init.normal_(self.terms.weight, std=0.5)
        for table in (self.tokens, self.positions):
            nn.init.normal_(table.weight, std=0.5)

    def context(self, words: Sequence[Sequence[int]], embeddings: Tensor) -> Tensor:
        """What B texts say, [B, width].

        Args:
            words: buckets of each text, as `words_of` makes them; of none, nothing.
            embeddings: [B, D] on the unit sphere; zeros where there is none.
        """
        rows = [
            self.terms(torch.tensor(each, device=embeddings.device)).sum(dim=0) / len(each) ** 0.5
            if each
            else self.terms.weight.new_zeros(self.terms.embedding_dim)
            for each in words
        ]
        return torch.stack(rows) + self.embedded(embeddings)

    def forward(self, context: Tensor, tokens: Tensor) -> Tensor:
        """Logits [B, N + 1, VOCABULARY] of the tokens [B, N] of plans and of what comes after them."""
        start = tokens.new_full((len(tokens), 1), START)
        read = torch.cat([start, tokens], dim=1)  # [B, N + 1]
        places = torch.arange(read.shape[1], device=read.device)
        x = self.tokens(read) + self.positions(places) + context[:, None]
        mask = nn.Transformer.generate_square_subsequent_mask(read.shape[1], device=x.device)
        hidden = self.transformer(x, mask=mask, is_causal=True)
        logits: Tensor = self.head(self.norm(hidden))
        return logits

    @torch.inference_mode()
    def draw(
        self,
        text: str,
        embedding: Tensor,
        controls: Controls,
        *,
        generator: torch.Generator,
        temperature: float = 1.0,
    ) -> Plan:
        """A plan for a text, under the values that are given.

        Args:
            text: whose words count.
            embedding: [D] of the text, or of a recording in its place.
            controls: values that are not drawn.
            generator: of the draw, on the CPU.
            temperature: divides the logits.
        """
        device = self.head.weight.device
        context = self.context([words_of(text, self.buckets)], embedding[None].to(device))
        tokens: list[int] = []
        longest = LONGEST if controls.chords is None else len(HEADER)
        while len(tokens) < longest:
            row = torch.tensor([tokens], dtype=torch.int64, device=device).view(1, -1)
            logits = self(context, row)[0, -1].float().cpu() / max(temperature, 1e-6)
            allowed = _allowed(len(tokens), controls)
            logits = torch.where(allowed, logits, -torch.inf)
            tokens.append(int(torch.multinomial(logits.softmax(dim=0), 1, generator=generator)))
            if tokens[-1] == END:
                break
        return plan_of_tokens(tokens).under(controls)


def words_of(text: str, buckets: int) -> list[int]:
    """The buckets of a text's words and pairs of words; numbers are left to `controls_in`."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    terms = [*words, *(" ".join(pair) for pair in pairwise(words))]
    return [zlib.crc32(term.encode()) % buckets for term in dict.fromkeys(terms)]


def _allowed(place: int, controls: Controls) -> Tensor:
    """Which tokens may stand at a place, [VOCABULARY]."""
    allowed = torch.zeros(VOCABULARY, dtype=torch.bool)
    if place >= len(HEADER):
        allowed[FIRST["chord"] : END] = True
        allowed[[NONE, UNKNOWN]] = False  # a plan that is drawn says what is played
        bars, second = divmod(place - len(HEADER), 2)
        allowed[HOLD] = place > len(HEADER)
        allowed[END] = not second and bars >= SHORTEST
        if bars >= MOST_BARS:
            allowed[:END] = False
        return allowed
    kind, meter = HEADER[place], controls.meter
    last = FIRST[HEADER[place + 1]] if place + 1 < len(HEADER) else FIRST["chord"]
    choices = {
        "bpm": _tempi(controls),
        "meter": range(_fewest_beats(controls), last - FIRST[kind]) if meter is None else [meter],
        "mode": range(len(MODES)) if (mode := _mode(controls)) is None else [MODES.index(mode)],
        "tonic": range(12) if controls.key is None else [controls.key.tonic],
        "drums": (0, 1) if controls.drums is None else [int(controls.drums)],
    }[kind]
    allowed[[FIRST[kind] + choice for choice in choices]] = True
    return allowed


def _fewest_beats(controls: Controls) -> int:
    """In a bar that the chords have a place in."""
    return max(2, *(len(bar) for bar in controls.chords or ((),)))


def _tempi(controls: Controls) -> Sequence[int]:
    if controls.bpm is not None:
        return [bin_of(controls.bpm)]
    if controls.pace is None:
        return range(TEMPI)
    slowest, fastest = PACES[controls.pace]
    return [bin for bin in range(TEMPI) if slowest <= bpm_of(bin) <= fastest]


def _mode(controls: Controls) -> str | None:
    return controls.key.mode if controls.key is not None else controls.mode
