"""The Gumbel-softmax quantizer of w2v-BERT: only training runs it, encoding never does.

fairseq2's own quantizer multiplies codes and entries through torch.compile, which needs a C++ compiler, costs
tens of seconds on first use and, where compiling is off, builds a product of frames × entries × width. A
one-hot code times the entries is a matrix product, which is what this one computes. Names and shapes of the
state are fairseq2's, so that published weights fit.

Importing this file imports fairseq2.
"""

from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import gumbel_softmax, one_hot

from musiclm.tokenizers.fairseq2_models import (
    Linear,
    Wav2Vec2VectorQuantizer,
    Wav2Vec2VectorQuantizerOutput,
)


@final
class GumbelQuantizer(Wav2Vec2VectorQuantizer):
    """Frames [B, T, input_dim] to hard codes, differentiable by the straight-through Gumbel softmax.

    wav2vec 2.0 [2006.11477], sec. 2; the temperature falls from the first of
    `codebook_sampling_temperature` to the second by the factor of the third at each training step.
    """

    num_updates: Tensor

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        num_codebooks: int,
        num_codebook_entries: int,
        codebook_sampling_temperature: tuple[float, float, float],
    ) -> None:
        super().__init__(
            input_dim, output_dim, num_codebooks, num_codebook_entries, codebook_sampling_temperature
        )
        if output_dim % num_codebooks:
            raise ValueError(f"expected a width that {num_codebooks} codebooks divide, got {output_dim}")
        total = num_codebooks * num_codebook_entries
        self.entry_proj = Linear(input_dim, total, bias=True, init_fn=_init_entry_proj)
        self.entries = nn.Parameter(torch.empty(1, total, output_dim // num_codebooks).uniform_())
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Wav2Vec2VectorQuantizerOutput:
        """Quantized vectors [B, T, output_dim] and one-hot codes [B*T, codebooks * entries] of frames x."""
        batch, frames, _ = x.shape
        highest, lowest, decay = self.codebook_sampling_temperature
        temperature = max(highest * decay ** int(self.num_updates), lowest)
        if self.training:
            self.num_updates += 1

        # The choice between near entries, and the averages over all frames, need float32.
        with torch.autocast(x.device.type, enabled=False):
            logits = self.entry_proj(x.float()).view(-1, self.num_codebooks, self.num_codebook_entries)
            hard = one_hot(logits.argmax(dim=-1), self.num_codebook_entries).to(logits)  # [B*T, G, V]
            code_perplexity = _perplexity(hard.mean(dim=0))
            prob_perplexity = _perplexity(logits.softmax(dim=-1).mean(dim=0))
            codes = gumbel_softmax(logits, tau=temperature, hard=True) if self.training else hard
            entries = self.entries.view(self.num_codebooks, self.num_codebook_entries, -1)
            vectors = torch.einsum("ngv,gvd->ngd", codes, entries)  # [B*T, G, D / G]
        return Wav2Vec2VectorQuantizerOutput(
            vectors.reshape(batch, frames, -1),
            codes.flatten(1),
            code_perplexity,
            prob_perplexity,
            temperature,
        )


def _perplexity(probabilities: Tensor) -> Tensor:
    """Sum over codebooks of the perplexity of probabilities [G, V]."""
    entropy = -(probabilities * (probabilities + 1e-7).log()).sum(dim=-1)
    return entropy.exp().sum()


def _init_entry_proj(proj: Linear) -> None:
    # A spread this wide makes the untrained quantizer a nearly hard random projection: all entries in use.
    nn.init.normal_(proj.weight)
    assert proj.bias is not None
    nn.init.zeros_(proj.bias)
