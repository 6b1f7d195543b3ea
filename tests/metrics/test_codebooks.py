"""The use of a codebook is counted in entries."""

import torch

from musiclm.metrics.codebooks import perplexity


def test_perplexity_counts_the_entries_in_use() -> None:
    uses = torch.tensor([[5.0, 5.0, 5.0, 5.0], [9.0, 9.0, 0.0, 0.0], [7.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(perplexity(uses), torch.tensor([4.0, 2.0, 1.0]))
