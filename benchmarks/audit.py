"""How fast the memorization audit is: transport costs, a whole audit, and the guard at generation.

    python -m benchmarks.audit --quick           pairs only, and a guard over 5,000 recordings
    python -m benchmarks.audit --check           every bar with its figure; exits 1 where one falls short

The default model is audited. Its training tokens do not ship, so it samples some itself, and recordings are
put together of those, as many as it was trained on; a tenth of their tokens is exchanged, so that none holds
the same five seconds as another.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.command import begin
from benchmarks.hardware import describe, usual_time
from benchmarks.report import Bar, judge, say
from musiclm.audit.audit import audit
from musiclm.audit.continuation import CONTINUATION
from musiclm.audit.guard import Guard
from musiclm.audit.sinkhorn import (
    centroid_distances,
    default_regularization,
    histograms,
    transport_costs,
)
from musiclm.bundle import Bundle, merge
from musiclm.data.store import (
    StoreDescription,
    TokenRow,
    shard_path,
    write_codebooks,
    write_description,
    write_shard,
)
from musiclm.data.stream_makers import acoustic_codes, joint_embeddings
from musiclm.generation.pipeline import MusicLM
from musiclm.stages.decoding import sample_codes
from musiclm.stages.stage import Stage
from musiclm.stages.streams import MADE_BY, Stream

SAMPLES = 512  # sequences of 125 tokens
PAIRS = 20_000
RECORDINGS = 744  # of the default model's corpus
SECONDS = 40.0  # each
GUARDED, QUICK_GUARDED = 100_000, 5_000  # recordings that a guard searches
EXCHANGED = 0.1  # of a recording's tokens, for others by chance
PROMPT = "a calm violin melody over soft piano chords"


def main() -> None:
    options, device = begin(
        "benchmarks.audit", __doc__.splitlines()[0], quick="no whole audit", beside_peers=False
    )
    say({"machine": describe(device), "threads": torch.get_num_threads()})
    bundle = Bundle.find("default")
    samples = sampled_tokens(bundle.load("semantic_stage"))
    cases = [say(pairs_per_second(samples, bundle.load("semantic_quantizer").centroids))]
    with tempfile.TemporaryDirectory() as folder:
        guarded = QUICK_GUARDED if options.quick else GUARDED
        make_store(Path(folder) / "guarded", bundle, samples, recordings=guarded)
        cases.append(say(guard_cost(Path(folder) / "guarded", recordings=guarded)))
        if not options.quick:
            make_store(Path(folder) / "tokens", bundle, samples, recordings=RECORDINGS)
            cases.append(say(whole_audit(Path(folder) / "tokens", Path(folder) / "report")))
    if options.check:
        print()
        judge(bars({key: value for case in cases for key, value in case.items()}))


def sampled_tokens(stage: Stage, count: int = SAMPLES) -> Tensor:
    """Sequences [count, 125] that the semantic stage draws for random conditions."""
    mulan = next(segment for segment in stage.layout.segments if segment.key == "mulan")
    conditions = torch.randint(mulan.codebook_size, (count, mulan.levels, 1))
    generator = torch.Generator().manual_seed(0)
    return sample_codes(stage, {"mulan": conditions}, frames=CONTINUATION, generator=generator)[:, 0]


def pairs_per_second(samples: Tensor, centroids: Tensor, pairs: int = PAIRS) -> dict[str, Any]:
    """Transport costs between random pairs of the samples."""
    distances = centroid_distances(centroids)
    drawn = torch.randint(len(samples), (2, pairs))
    first, second = histograms(samples[drawn[0]]), histograms(samples[drawn[1]])
    regularization = default_regularization(distances)
    seconds = usual_time(
        lambda: transport_costs(first, second, distances, regularization=regularization),
        torch.device("cpu"),
        seconds=10.0,
        settle=1,
    )
    ids = float(first.sizes().float().mean())
    return {"pairs": pairs, "ids_present": ids, "pairs_per_second": pairs / seconds}


def make_store(folder: Path, bundle: Bundle, samples: Tensor, *, recordings: int) -> None:
    """A token store of recordings put together of the samples, one in eight held out."""
    mulan, acoustic, centroids = (
        bundle.load(name) for name in ("joint_embedding", "codec", "semantic_quantizer")
    )
    rate = bundle.load("semantic_stage").layout.target.frame_rate
    streams = (
        Stream("semantic", 1, centroids.num_centroids, rate, made_by=MADE_BY["semantic"]),
        acoustic_codes(acoustic).stream,
        joint_embeddings(mulan).stream,
    )
    description = StoreDescription(
        streams, {role: bundle.fingerprint(role) for stream in streams for role in stream.made_by}
    )
    write_description(folder, description)
    write_codebooks(folder, {"semantic": centroids.centroids[None], "acoustic": acoustic.codebooks})
    quantizer = description["mulan"].made_by[-1]
    merge([bundle], folder / quantizer, {}, only=[quantizer])
    random = np.random.default_rng(0)
    pieces = samples.numpy().astype(np.uint16)

    def tokens_of_a_recording() -> np.ndarray:
        joined = pieces[random.integers(len(pieces), size=round(SECONDS * rate) // CONTINUATION)].ravel()
        others = random.integers(centroids.num_centroids, size=len(joined), dtype=np.uint16)
        return np.where(random.random(len(joined)) < EXCHANGED, others, joined)

    # The guard looks at semantic tokens alone, and a hundred thousand recordings' codes would fill the disk.
    frames = round(SECONDS * acoustic.frame_rate) if recordings <= RECORDINGS else 0
    levels, size = acoustic.num_quantizers, acoustic.codebook_size
    for shard, first in enumerate(range(0, recordings, 1000)):
        rows = [
            TokenRow(
                id=f"recording {index}",
                path="",
                seconds=SECONDS,
                licence="",
                split="train" if index % 8 else "valid",
                captions=[],
                streams={
                    "semantic": tokens_of_a_recording()[None],
                    "acoustic": random.integers(0, size, (levels, frames), dtype=np.uint16),
                    "mulan": random.normal(size=(31, mulan.dimension)).astype(np.float16),
                },
            )
            for index in range(first, min(first + 1000, recordings))
        ]
        write_shard(shard_path(folder, shard), rows)


def guard_cost(store: Path, *, recordings: int) -> dict[str, Any]:
    """What the guard adds to `musiclm generate` for 10 s, its index having been made before."""
    model = MusicLM.from_pretrained("default")
    started = time.perf_counter()
    Guard.of(store, model)
    built = time.perf_counter() - started

    semantic: list[Tensor] = []
    started = time.perf_counter()
    MusicLM.from_pretrained("default").generate(PROMPT, seconds=10.0, on_semantic=semantic.append)
    generated = time.perf_counter() - started
    times = []
    for _ in range(3):
        started = time.perf_counter()
        Guard.of(store, model).judge(torch.cat(semantic, dim=2))
        times.append(time.perf_counter() - started)
    return {
        "guarded_recordings": recordings,
        "index_seconds": built,
        "generate_seconds": generated,
        "guard_seconds": float(np.median(times)),
        "guard_share": float(np.median(times)) / generated,
    }


def whole_audit(store: Path, out: Path) -> dict[str, Any]:
    """2,000 examples, five prompt lengths, greedy and sampled; 2 x 400,000 negatives; search and sound."""
    started = time.perf_counter()
    audit(store, out)
    return {"audit_seconds": time.perf_counter() - started}


def bars(figures: dict[str, Any]) -> Iterator[Bar]:
    """What must hold on two cores."""
    yield Bar("transport costs: pairs a second", figures["pairs_per_second"], floor=5_000)
    yield Bar("guard: share of the time of 10 s of music", figures["guard_share"], ceiling=0.10)
    if "audit_seconds" in figures:
        yield Bar("a whole audit of the default model: seconds", figures["audit_seconds"], ceiling=1_200)


if __name__ == "__main__":
    main()
