"""How fast codes are drawn: ours beside audiolm-pytorch and MusicGen's decoder, and the memory's limit.

    make bench-setup                              once: the peers
    python -m benchmarks.decode                   256, 1,024 and 2,048 steps of everything: half an hour
    python -m benchmarks.decode --quick           within four minutes
    python -m benchmarks.decode --check           every bar with its figure; exits 1 where one falls short

One JSON line per case, then a table. A case is one generation from nothing, prompt and sampling included,
by each project's own generation loop; `tokens_per_second` is cumulative. A step of one row has to read every
weight it uses and the cache once: their bytes times steps per second, over the bandwidth measured in the
same run, is the share of the limit that is reached. What the bars ask for are ratios: both sides of one are
measured in turns and the best turn of either counts, since other work on the machine comes and goes.
"""

import gc
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import torch
from torch import Tensor

from benchmarks import peers
from benchmarks.command import begin
from benchmarks.hardware import bandwidth, describe, synchronise
from benchmarks.report import Bar, judge, say, table
from benchmarks.sizes import SIZES
from musiclm.bundle import Bundle
from musiclm.stages.coarse import Coarse
from musiclm.stages.decoding import forced_logits, sample, sample_codes
from musiclm.stages.native import Int8Cache
from musiclm.stages.precision import Precision, prepare_to_decode
from musiclm.stages.semantic import Semantic
from musiclm.stages.stage import Stage

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}
NEAR, FAR = 128, 2048  # positions between which a step's cost is compared
AROUND = 40  # steps timed at each
# Steps of one turn where two are compared: at paper size, there with batches, and at small size.
PAPER_STEPS, BATCH_STEPS, SMALL_STEPS = 24, 48, 1024


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Args:
        lengths: steps drawn, by size and batch; rates are cumulative up to each.
        peers: steps that each peer draws, by size; at paper size they take most of the time.
        positions: whether steps far into a sequence are timed.
        ratios: whether the ratios that the bars ask for are measured.
    """

    lengths: dict[tuple[str, int], tuple[int, ...]]
    peers: dict[str, tuple[int, ...]]
    positions: bool
    ratios: bool


LENGTHS = (256, 1024, 2048)
FULL = Plan(
    {(size, batch): LENGTHS for size in SIZES for batch in (1, 8)},
    dict.fromkeys(SIZES, LENGTHS),
    positions=True,
    ratios=False,
)
QUICK = Plan(
    {("small", 1): (256,), ("small", 8): (64,), ("paper", 1): (32,), ("paper", 8): (8,)},
    {"small": (256,), "paper": (24,)},
    positions=False,
    ratios=False,
)
CHECK = Plan(
    {("small", 1): (1024,), ("small", 8): (64,), ("paper", 1): (64,), ("paper", 8): (32,)},
    {"small": (1024,), "paper": (64,)},
    positions=True,
    ratios=True,
)


def main() -> None:
    options, device = begin("benchmarks.decode", __doc__.splitlines()[0], quick="fewer and shorter cases")
    plan = QUICK if options.quick else CHECK if options.check else FULL
    limit = bandwidth(device)
    say({"machine": describe(device), "bandwidth_gb_per_s": limit / 1e9})
    cases = [say(case) for case in measure(plan, device, limit)]
    print()
    print(compare(cases))
    if options.check:
        print()
        judge(bars(cases))


def measure(plan: Plan, device: torch.device, limit: float) -> Iterator[dict[str, Any]]:
    """Every case of the plan, ours and the peers'."""
    yield from precision_losses()
    for size in SIZES:
        for precision in PRECISIONS:
            if precision == "int8" and device.type != "cpu":
                continue
            stage = ours(size, precision, device)
            for (of, batch), lengths in plan.lengths.items():
                if of == size:
                    yield from our_cases(stage, size, batch, lengths, precision, limit)
            if plan.positions and size == "paper":
                yield position_case(stage, precision)
            del stage
            gc.collect()
        stage = codes_of_four(size, device)
        steps = min(*plan.lengths[size, 1], 256)
        yield timed("musiclm, 4 codes a step", size, 1, draw(stage, 1, steps), "int8")
        del stage
        for name, build, run in (
            ("audiolm-pytorch", peers.audiolm_stage, peers.audiolm_generate),
            ("MusicGen, 4 codes a step", peers.musicgen_stage, peers.musicgen_generate),
        ):
            model = build(SIZES[size]).to(device).eval()
            run(model, batch=1, steps=3)
            times = run(model, batch=1, steps=max(plan.peers[size]))
            for steps in plan.peers[size]:
                yield timed(name, size, 1, times[:steps], "float32")
            del model
            gc.collect()
    if plan.ratios:
        yield from ratio_cases(device)


def ours(size: str, precision: Precision, device: torch.device) -> Stage:
    """A semantic stage, one code per step, ready to decode."""
    return prepare_to_decode(Semantic(SIZES[size], pattern="flatten").to(device).eval(), precision)


def codes_of_four(size: str, device: torch.device) -> Stage:
    """A coarse stage by the delay pattern, four codes per step as MusicGen has, in the fastest form."""
    stage = Coarse(SIZES[size], pattern="delay", broadcast=True).to(device).eval()
    return prepare_to_decode(stage, "int8" if device.type == "cpu" else "bfloat16")


def our_cases(
    stage: Stage, size: str, batch: int, lengths: tuple[int, ...], precision: Precision, limit: float
) -> Iterator[dict[str, Any]]:
    """Generation up to each length, with the share of the memory's bandwidth that the steps reach."""
    draw(stage, batch, 3)
    times: list[float] = []
    for steps in sorted(lengths, reverse=True):
        if not times or stage.embedding.weight.device.type != "cpu":  # where no step is timed by itself
            times = draw(stage, batch, steps)
        case = timed("musiclm", size, batch, times[:steps], precision)
        moved = weights_read(stage, precision) + cache_bytes(stage, batch, steps // 2)
        yield {**case, "share_of_bandwidth": moved * case["steps_per_second"] / limit}


def draw(stage: Stage, batch: int, steps: int) -> list[float]:
    """Seconds of each step of drawing `steps` frames."""
    device, times = stage.embedding.weight.device, [time.perf_counter()]

    def note(_: int) -> None:
        if device.type == "cpu":
            times.append(time.perf_counter())

    conditions: dict[str, Tensor | None] = {
        segment.name: torch.zeros(
            batch, segment.levels, steps if segment.frame_rate else 1, dtype=torch.int64
        )
        for segment in stage.layout.conditions
    }
    sample_codes(stage, conditions, frames=steps, on_step=note)
    if device.type != "cpu":  # no waiting in between: that would be what is measured
        synchronise(device)
        total, count = time.perf_counter() - times[0], stage.layout.steps(steps)
        return [total / count] * count
    return [end - start for start, end in itertools.pairwise(times)]


def timed(name: str, size: str, batch: int, times: list[float], precision: str) -> dict[str, Any]:
    """A case from the seconds of its steps."""
    rate = len(times) / sum(times)
    return {
        "name": name,
        "size": size,
        "batch": batch,
        "precision": precision,
        "steps": len(times),
        "steps_per_second": rate,
        "tokens_per_second": rate * batch,
        "median_step_ms": 1e3 * statistics.median(times),
    }


def ratio_cases(device: torch.device) -> Iterator[dict[str, Any]]:
    """Ratios with what each must reach at least."""

    def rate(stage: Stage, batch: int, steps: int) -> float:
        return batch * steps / sum(draw(stage, batch, steps))

    def peer_rate(model: torch.nn.Module, steps: int) -> float:
        return steps / sum(peers.audiolm_generate(model, batch=1, steps=steps))

    paper: dict[Precision, Stage] = {name: ours("paper", name, device) for name in ("float32", "int8")}
    slow, fast = (partial(rate, paper[name], 1, PAPER_STEPS) for name in ("float32", "int8"))
    for precision, stage in paper.items():
        moved = weights_read(stage, precision) + cache_bytes(stage, 1, PAPER_STEPS // 2)
        limit = partial(bandwidth, device, seconds=0.5)
        reached = partial(lambda stage, moved: moved * rate(stage, 1, PAPER_STEPS), stage, moved)
        yield in_turns(f"paper size, {precision}: share of the bandwidth", limit, reached, floor=0.6)
        one, eight = (partial(rate, stage, batch, BATCH_STEPS) for batch in (1, 8))
        yield in_turns(f"paper size, {precision}: batch 8 over batch 1", one, eight, floor=4)
    yield in_turns("paper size: int8 over float32", slow, fast, floor=4)
    peer = peers.audiolm_stage(SIZES["paper"]).to(device).eval()
    their = partial(peer_rate, peer, PAPER_STEPS)
    yield in_turns("paper size: int8 over audiolm-pytorch", their, fast, floor=5)
    del paper, stage, slow, fast, one, eight, reached, peer, their
    gc.collect()
    peer = peers.audiolm_stage(SIZES["small"]).to(device).eval()
    their = partial(peer_rate, peer, SMALL_STEPS)
    for precision in PRECISIONS:
        whole = partial(rate, ours("small", precision, device), 1, SMALL_STEPS)
        name = f"small size, {precision}, {SMALL_STEPS:,} tokens: over audiolm-pytorch"
        yield in_turns(name, their, whole, floor=5, turns=2)


def in_turns(
    name: str, first: Callable[[], float], second: Callable[[], float], *, floor: float, turns: int = 5
) -> dict[str, Any]:
    """How many times `first`'s rate `second`'s is."""
    rates = [(first(), second()) for _ in range(turns)]
    slower, faster = (max(side) for side in zip(*rates, strict=True))
    return {"compared": name, "rates": [slower, faster], "ratio": faster / slower, "floor": floor}


@torch.inference_mode()
def position_case(stage: Stage, precision: Precision) -> dict[str, Any]:
    """A step far into a sequence and one near its beginning, in turns: both see the same machine."""
    device, transformer = stage.embedding.weight.device, stage.transformer
    cache = transformer.new_cache(1, FAR + 1)
    _, cache = transformer.prefill(torch.randn(1, FAR, stage.config.width, device=device), cache)
    x, level = torch.randn(1, 1, stage.config.width, device=device), slice(0, 1)
    times: dict[int, list[float]] = {NEAR: [], FAR: []}
    for position in (NEAR, FAR) * AROUND:
        cache.length = position
        synchronise(device)
        start = time.perf_counter()
        hidden, cache = transformer.decode_step(x, cache)
        sample(stage.logits(hidden[:, -1], level), temperature=1.0)
        synchronise(device)
        times[position].append(time.perf_counter() - start)
    near, far = (statistics.median(times[position]) for position in (NEAR, FAR))
    return {
        "name": "musiclm", "size": "paper", "precision": precision, "position": FAR,
        "step_ms": 1e3 * far, "step_ms_near": 1e3 * near, "cost_ratio": far / near,
    }  # fmt: skip


def weights_read(stage: Stage, precision: Precision) -> int:
    """Bytes of the matrices that a step multiplies."""
    config, target = stage.config, stage.layout.target
    block = 4 * config.width**2 + 3 * config.width * config.feed_forward
    head = target.codebook_size * config.width * (1 if stage.layout.pattern == "flatten" else target.levels)
    return BYTES[precision] * (config.layers * block + head)


def cache_bytes(stage: Stage, batch: int, position: int) -> int:
    """Bytes of the keys and values, and their scales, that a step at a position reads."""
    cache = stage.transformer.new_cache(batch, position)
    kept = [cache.keys, cache.values]
    if isinstance(cache, Int8Cache):
        kept += [cache.key_units, cache.value_units]
    return sum(tensor.nbytes for tensor in kept) * position // cache.values.shape[2]


def precision_losses(frames: int = 60) -> Iterator[dict[str, Any]]:
    """KL divergence in nats per code of each precision's logits from float32's, over codes the model drew."""
    bundle = Bundle.find("default")

    def stage_in(precision: Precision, name: str) -> Stage:
        return prepare_to_decode(bundle.load(f"{name}_stage"), precision)

    generator = torch.Generator().manual_seed(0)
    prompts = ["a calm violin melody over soft piano chords", "fast techno with drums", "a sad waltz", "jazz"]
    embeddings = bundle.load("joint_embedding").embed_text(prompts)
    codes = {"mulan": bundle.load("joint_quantizer").encode(embeddings)[..., None]}
    for name, length in (("semantic", frames), ("coarse", 2 * frames - 4), ("fine", 2 * frames - 20)):
        stage = stage_in("float32", name)
        names = [segment.name for segment in stage.layout.conditions]
        given = {name: codes[name] for name in names if name in codes}  # all but a melody
        codes[name] = given[name] = sample_codes(stage, given, frames=length, generator=generator)
        expected = forced_logits(stage, given).log_softmax(-1)
        for precision in PRECISIONS[1:]:
            got = forced_logits(stage_in(precision, name), given).log_softmax(-1)
            loss = float((expected.exp() * (expected - got)).sum(-1).mean())
            yield {
                "name": "musiclm",
                "model": "default",
                "stage": name,
                "precision": precision,
                "kl_nats": loss,
            }


def compare(cases: list[dict[str, Any]]) -> str:
    """A table of speeds, each beside audiolm-pytorch's of the same size and the nearest length."""
    rows = [("", "size", "batch", "precision", "steps", "tokens/s", "ms/step", "of bandwidth", "of audiolm")]
    speeds = [case for case in cases if "tokens_per_second" in case]  # others are losses, costs and ratios
    for case in speeds:
        peer = min(
            (each for each in speeds if each["name"] == "audiolm-pytorch" and each["size"] == case["size"]),
            key=lambda each: abs(each["steps"] - case["steps"]),
        )
        share = case.get("share_of_bandwidth")
        speed = case["tokens_per_second"]
        rows.append(
            (
                *(case[key] for key in ("name", "size", "batch", "precision", "steps")),
                f"{speed:.1f}",
                f"{case['median_step_ms']:.2f}",
                "" if share is None else f"{share:.0%}",
                f"{speed / peer['tokens_per_second']:.1f}x",
            )
        )
    return table(rows)


def bars(cases: list[dict[str, Any]]) -> Iterator[Bar]:
    """What must hold on a CPU."""
    for case in cases:
        if "ratio" in case:
            yield Bar(case["compared"], case["ratio"], floor=case["floor"])
        if "kl_nats" in case:
            yield Bar(f"{case['stage']}, {case['precision']}: KL from float32", case["kl_nats"], ceiling=0.01)
        if "cost_ratio" in case:
            yield Bar(f"step {FAR} over step {NEAR}, {case['precision']}", case["cost_ratio"], ceiling=1.3)


if __name__ == "__main__":
    main()
