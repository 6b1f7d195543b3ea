"""Precisions of decoding: each says what the reference says, up to the tolerance stated here."""

from typing import get_args

import pytest
import torch

import musiclm.stages.native as native
import musiclm.stages.precision as stage_precision
from musiclm.stages.decoding import forced_logits, sample_codes
from musiclm.stages.precision import Int8Matrix, Precision, StoredMatrix, prepare_to_decode
from tests.stages.tiny_stages import STAGES, conditions_of, make_stage, random_codes

# Largest difference of logits about 1 apart. bfloat16 has 8 significant bits; int8 has 7 on either side.
TOLERANCE: dict[Precision, float] = {"float32": 1e-5, "bfloat16": 0.1, "int8": 0.25}
PRECISIONS = get_args(Precision)


@pytest.fixture(params=["compiled", "torch", "torch on an older CPU"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ways of a step: compiled; without a compiler at installation; and on a CPU without bfloat16."""
    if request.param != "compiled":
        monkeypatch.setattr(native, "_library", None)
        if request.param != "torch":
            monkeypatch.setattr(stage_precision, "multiplies_bfloat16", lambda: False)
    elif not native.available():
        pytest.skip("needs a C compiler at installation")


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_cached_logits_are_those_of_one_float32_pass(name: str, precision: Precision) -> None:
    stage = make_stage(name)
    codes = random_codes(stage, 9, batch=2)
    with torch.no_grad():
        whole = stage(codes)
    cached = forced_logits(prepare_to_decode(stage, precision), codes)
    assert cached.shape == whole.shape
    torch.testing.assert_close(cached, whole, atol=TOLERANCE[precision], rtol=0)
    if precision != "float32":
        assert not torch.equal(cached, whole)  # it is another precision indeed


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_row_of_a_batch_is_what_it_is_alone(precision: Precision) -> None:
    stage = prepare_to_decode(make_stage("coarse delay"), precision)
    codes = random_codes(stage, 8, batch=3)
    batch = forced_logits(stage, codes)
    for row in range(3):
        alone = forced_logits(stage, {name: value[row : row + 1] for name, value in codes.items()})
        torch.testing.assert_close(alone[0], batch[row], atol=TOLERANCE[precision], rtol=0)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_drawing_sees_the_logits_that_are_measured(name: str, precision: Precision) -> None:
    """Greedy codes are the arg max of the same codes' forced logits: figures are of what is drawn."""
    stage = prepare_to_decode(make_stage(name), precision)
    codes = random_codes(stage, 6)
    drawn = sample_codes(stage, conditions_of(stage, codes), frames=6, temperature=0)
    assert torch.equal(drawn, forced_logits(stage, {**codes, stage.layout.target.name: drawn}).argmax(-1))


@pytest.mark.parametrize("matrix", [Int8Matrix, lambda weight: StoredMatrix(weight, torch.bfloat16)])
def test_a_stored_matrix_is_the_matrix_up_to_its_bits(matrix: type) -> None:
    weight = torch.randn(24, 64, generator=torch.Generator().manual_seed(0))
    x = torch.randn(3, 5, 64, generator=torch.Generator().manual_seed(1))
    expected = x @ weight.t()
    got = matrix(weight)(x)
    assert got.dtype == torch.float32
    assert (got - expected).norm() < 0.02 * expected.norm()


def test_a_matrix_of_zeros_stays_one() -> None:
    assert torch.equal(Int8Matrix(torch.zeros(3, 4))(torch.ones(1, 4)), torch.zeros(1, 3))


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected a precision among .*int8.*, got 'int4'"):
        prepare_to_decode(make_stage("fine delay"), "int4")  # type: ignore[arg-type]
