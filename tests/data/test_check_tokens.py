"""What tokenizers make is checked before it is kept, and the tokenizer at fault is named."""

import math

import pytest
import torch

from musiclm.data.check_tokens import check_codes_made, check_embeddings_made


def test_codes_in_range_and_finite_embeddings_pass() -> None:
    check_codes_made("soundstream", torch.tensor([[[0, 1023]]]), 1024)
    check_embeddings_made("mulan", torch.randn(3, 4))


@pytest.mark.parametrize("code", [-1, 1024, 2**62])
def test_a_code_out_of_range_names_its_tokenizer(code: int) -> None:
    with pytest.raises(ValueError, match=r"^soundstream makes codes of .* expected 0 … 1023"):
        check_codes_made("soundstream", torch.tensor([[[5, code]]]), 1024)


@pytest.mark.parametrize("value", [math.nan, math.inf, 70_000.0])  # the last does not fit float16
def test_an_embedding_that_cannot_be_kept_names_its_tokenizer(value: float) -> None:
    with pytest.raises(ValueError, match=r"^mulan makes embeddings of it that are not finite"):
        check_embeddings_made("mulan", torch.tensor([[0.0, value]]))


def test_no_codes_and_no_embeddings_are_an_error_too() -> None:
    with pytest.raises(ValueError, match="kmeans makes no codes"):
        check_codes_made("kmeans", torch.zeros(1, 0, dtype=torch.long), 8)
    with pytest.raises(ValueError, match="mulan makes no embedding"):
        check_embeddings_made("mulan", torch.zeros(0, 4))
