"""The compiled step says what the torch step says, whatever the sizes, rows and threads."""

import importlib.machinery
import importlib.util
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import musiclm.stages.native as native
from musiclm.stages.native import to_int8
from musiclm.stages.precision import Precision, prepare_to_decode, stored
from musiclm.stages.semantic import Semantic
from musiclm.stages.stage import Stage
from musiclm.stages.transformer import TransformerConfig
from tests.stages.tiny_stages import tiny_streams

pytestmark = pytest.mark.skipif(not native.available(), reason="needs a C compiler at installation")
DTYPES = (torch.float32, torch.bfloat16, torch.int8)
# Largest difference of hidden states about 1 long: 24, 8 and 7 significant bits through several layers.
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 0.03, torch.int8: 0.08}


def make_stage(width: int = 24, heads: int = 3, feed_forward: int = 37, layers: int = 3) -> Stage:
    torch.manual_seed(0)
    config = TransformerConfig(
        width=width, layers=layers, heads=heads, feed_forward=feed_forward, dropout=0.0
    )
    stage = Semantic(config, streams=tiny_streams()).eval()
    torch.nn.init.normal_(stage.transformer.position_bias.weight)
    for block in stage.transformer.blocks:
        torch.nn.init.normal_(block.attention_norm.weight, mean=1.0, std=0.3)
    return stage


@torch.inference_mode()
def hidden_states(stage: Stage, x: Tensor, *, opening: int = 3) -> Tensor:
    """Of all steps [B, S, D] by the cache: some steps at once, then one by one."""
    cache = stage.transformer.new_cache(*x.shape[:2])
    first, cache = stage.transformer.prefill(x[:, :opening], cache)
    outputs = [first]
    for step in range(opening, x.shape[1]):
        hidden, cache = stage.transformer.decode_step(x[:, step : step + 1], cache)
        outputs.append(hidden)
    return torch.cat(outputs, dim=1)


def steps(rows: int, count: int, width: int = 24, *, seed: int = 0) -> Tensor:
    return torch.randn(rows, count, width, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=12)
@given(
    heads=st.integers(1, 5),
    size=st.sampled_from([1, 4, 6, 16]),
    feed_forward=st.integers(1, 70),
    rows=st.integers(1, 9),
)
def test_the_compiled_step_is_the_torch_step_at_any_size(
    heads: int, size: int, feed_forward: int, rows: int
) -> None:
    stage = make_stage(heads * size, heads, feed_forward)
    x = steps(rows, 9, heads * size)
    with torch.inference_mode():
        whole = stage.transformer(x)
    compiled = hidden_states(prepare_to_decode(stage, "float32"), x)
    torch.testing.assert_close(compiled, whole, atol=TOLERANCE[torch.float32], rtol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_keys_and_values_far_back_still_count(dtype: torch.dtype) -> None:
    stage = make_stage()
    x = steps(2, 400)
    with torch.inference_mode():
        whole = stage.transformer(x)
    precision: Precision = str(dtype).removeprefix("torch.")  # type: ignore[assignment]
    prepare_to_decode(stage, precision)
    compiled = hidden_states(stage, x, opening=100)
    assert stage.transformer.new_cache(1, 4).values.dtype == dtype
    torch.testing.assert_close(compiled, whole, atol=TOLERANCE[dtype], rtol=0)
    elsewhere = torch.cat([steps(2, 50, seed=1), x[:, 50:]], dim=1)
    assert (hidden_states(stage, elsewhere, opening=100)[:, -1] - compiled[:, -1]).abs().max() > 1e-3


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_of_a_batch_is_the_row_alone_bit_by_bit(dtype: torch.dtype) -> None:
    stage = make_stage()
    precision: Precision = str(dtype).removeprefix("torch.")  # type: ignore[assignment]
    prepare_to_decode(stage, precision)
    x = steps(19, 12)
    for opening in (1, 9):
        batch = hidden_states(stage, x, opening=opening)
        logits = stage.logits(batch[:, -1], slice(0, 1))
        for row in range(len(x)):
            alone = hidden_states(stage, x[row : row + 1], opening=opening)
            assert torch.equal(alone[0], batch[row])
            assert torch.equal(stage.logits(alone[:, -1], slice(0, 1))[0], logits[row])


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_change_nothing(dtype: torch.dtype, threads: None) -> None:
    precision: Precision = str(dtype).removeprefix("torch.")  # type: ignore[assignment]
    stage = prepare_to_decode(make_stage(), precision)
    outputs = []
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        outputs.append(hidden_states(stage, steps(2, 10), opening=1))
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])


@pytest.mark.parametrize(("outputs", "inputs", "rows"), [(1, 1, 1), (7, 65, 3), (64, 200, 6), (30, 64, 20)])
def test_an_int8_product_is_exact_but_for_the_rounding_of_what_goes_in(
    outputs: int, inputs: int, rows: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, x = (torch.randn(n, inputs, generator=generator) for n in (outputs, rows))
    matrix = stored(weight, "int8")
    entries, units = to_int8(weight)
    rounded, row_units = to_int8(x)
    expected = (rounded.double() @ entries.double().t()) * row_units[:, None] * units
    torch.testing.assert_close(matrix(x).double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_no_number_stays_none(dtype: torch.dtype, bad: float) -> None:
    precision: Precision = str(dtype).removeprefix("torch.")  # type: ignore[assignment]
    x = torch.ones(2, 9).index_fill(1, torch.tensor([4]), bad)
    x[1] = 1
    y = stored(torch.randn(5, 9), precision)(x)
    assert not y[0].isfinite().any()
    assert y[1].isfinite().all()


def test_a_step_beyond_the_cache_or_of_other_rows_is_refused() -> None:
    transformer = prepare_to_decode(make_stage(), "int8").transformer
    cache = transformer.new_cache(2, 16)
    cache.length = 16
    with pytest.raises(IndexError, match="expected a step of 2 rows before step 16, got 2 rows at step 16"):
        transformer.decode_step(torch.zeros(2, 1, 24), cache)
    with pytest.raises(IndexError, match="got 3 rows at step 0"):
        transformer.decode_step(torch.zeros(3, 1, 24), transformer.new_cache(2, 4))


def test_a_stage_in_another_dtype_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"expected a stage in float32 to prepare, got one in torch\.bfloat16"
    ):
        prepare_to_decode(make_stage().bfloat16(), "bfloat16")


def test_a_library_that_is_broken_or_of_another_version_is_left_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "_step.so"
    broken.write_bytes(b"not a library")
    spec = importlib.machinery.ModuleSpec("musiclm.stages._step", None, origin=str(broken))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.warns(UserWarning, match="cannot be used .*: install again"):
        assert native._installed() is None
    monkeypatch.undo()
    monkeypatch.setattr(native, "_Cache", native._Layer)  # as if its structure had changed
    with pytest.warns(UserWarning, match="is of another version"):
        assert native._installed() is None


@pytest.mark.parametrize(("heads", "size"), [(2, 64), (3, 20), (1, 4), (2, 6)])
def test_keys_of_8_bits_count_as_torch_counts_them_whatever_the_size_of_a_head(heads: int, size: int) -> None:
    stage = make_stage(heads * size, heads)
    x = steps(2, 70, heads * size)
    with torch.inference_mode():
        whole = stage.transformer(x)
    prepare_to_decode(stage, "int8")
    kept = stage.transformer.new_cache(1, 4).values.dtype
    assert kept == (torch.int8 if size % 4 == 0 else torch.bfloat16)
    for opening in (1, 16, 33):
        hidden = hidden_states(stage, x, opening=opening)
        torch.testing.assert_close(hidden, whole, atol=TOLERANCE[torch.int8], rtol=0)


def test_silence_in_is_silence_out() -> None:
    assert torch.equal(stored(torch.ones(5, 9), "int8")(torch.zeros(2, 9)), torch.zeros(2, 5))
    assert torch.equal(stored(torch.zeros(5, 9), "int8")(torch.ones(2, 9)), torch.zeros(2, 5))


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.parametrize("without", ["-DPORTABLE", "-DWITHOUT_VNNI"])
def test_a_cpu_with_fewer_instructions_says_the_same(
    without: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Built without any special instructions, or without VNNI alone: sums of integers are the same bits."""
    sources = (Path(native.__file__).parent / "step").glob("*.c")
    library = tmp_path / "fewer.so"
    command = ["cc", "-O2", without, "-fno-math-errno", "-shared", "-fPIC", "-pthread", "-o", library]
    subprocess.run([*command, *sources, "-lm"], check=True)
    fewer, own = native.load(library), native._library
    for outputs, inputs in ((13, 130), (4, 64), (5, 15), (9, 16)):
        matrix = stored(steps(1, outputs, inputs)[0], "int8")
        for rows in range(1, 8):
            x = steps(1, rows, inputs, seed=rows)[0]
            monkeypatch.setattr(native, "_library", own)
            here = matrix(x)
            monkeypatch.setattr(native, "_library", fewer)
            assert torch.equal(matrix(x), here), (outputs, inputs, rows)
    # Heads of 64 have code of their own, and more steps for a rounding to grow in.
    for width, heads, count, tolerance in ((24, 3, 8, 1e-2), (128, 2, 40, TOLERANCE[torch.int8])):
        hidden = steps(2, count, width)
        said = []
        for library_of in (own, fewer):
            monkeypatch.setattr(native, "_library", library_of)
            stage = prepare_to_decode(make_stage(width, heads), "int8")
            said.append(hidden_states(stage, hidden))
        torch.testing.assert_close(said[1], said[0], atol=tolerance, rtol=0)
