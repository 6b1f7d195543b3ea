"""Retrieval counts as one would by hand."""

import pytest
import torch

from musiclm.metrics.retrieval import retrieval


def test_ranks_count_from_one_and_ties_as_half() -> None:
    candidates = torch.eye(20)
    queries = candidates[:3].clone()
    queries[1] = 0.5 * candidates[1] + 0.9 * candidates[0] + 0.8 * candidates[2]
    figures = retrieval(queries, candidates, torch.eye(3, 20, dtype=torch.bool))
    assert figures == {"recall_1": pytest.approx(2 / 3), "recall_10": 1.0, "median_rank": 1.0}
    indistinct = retrieval(torch.ones(4, 20), candidates, torch.eye(4, 20, dtype=torch.bool))
    assert indistinct == {"recall_1": 0.0, "recall_10": 0.0, "median_rank": 10.5}


def test_of_several_that_fit_the_nearest_counts_and_none_stands_in_its_way() -> None:
    candidates = torch.eye(4)
    query = torch.tensor([[0.9, 0.8, 0.7, 0.1]])
    assert retrieval(query, candidates, torch.tensor([[True, True, False, False]]))["median_rank"] == 1.0
    assert retrieval(query, candidates, torch.tensor([[False, False, True, True]]))["median_rank"] == 3.0
