"""How near generated music is to real music, taken as a whole: `musiclm evaluate quality`.

Both folders are embedded, and the distance is that between the two sets of vectors: FAD takes each for a
normal distribution and depends on how many there are, FAD∞ is what infinitely many clips would have, and KAD
takes them as they are. None has a unit: so the same distance between two halves of the reference stands
beside them, as the floor.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from musiclm.evaluate.embedders import Embedder, embedders
from musiclm.evaluate.found import Found, say_rates
from musiclm.evaluate.pictures import intervals
from musiclm.evaluate.results import Table, write_results
from musiclm.files import only_writer_to, write_whole
from musiclm.machine.device import Device, choose_device
from musiclm.metrics.frechet import distance_at_infinity, frechet_distance
from musiclm.metrics.kernel import SCALE, discrepancy, mean_kernels, median_distance
from musiclm.plots import sheet

DRAWS = 20  # of halves: of the clips for the intervals, of the reference for the floor
LEAST = 4  # clips of a folder, of which halves have two each
EXTRAPOLATED = 8  # clips: fewer give no line, and halves of 16 do
Z = 1.959964  # of a normal distribution's two-sided 95 %
Clips = Sequence[Tensor]  # a clip's windows [W, D] each


@dataclass(frozen=True)
class Figure:
    """A distance, or the mean of several, with its 95 % interval; NaN is what could not be measured."""

    value: float
    low: float = math.nan
    high: float = math.nan

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "-"
        interval = "" if math.isnan(self.low) else f" ({self.low:.4f}..{self.high:.4f})"
        return f"{self.value:.4f}{interval}"


@dataclass(frozen=True)
class Distances:
    """Of generated clips to a reference, or of halves of the reference to each other."""

    fad: Figure
    fad_infinite: Figure
    kad: Figure


@only_writer_to("out")
def quality(
    generated: list[Path],
    *,
    reference: Path = Path("corpus"),
    bundle: str = "default",
    mel: bool = False,
    vggish: Path | None = None,
    clap: Path | None = None,
    mert: Path | None = None,
    out: Path | None = None,
    seed: int = 0,
    strict: bool = False,
    device: Device = "auto",
) -> None:
    """Print FAD, FAD for infinitely many clips, and KAD, beside what two halves of the real music have.

    Args:
        generated: audio files, or folders of them.
        reference: a folder of real music, in clips of about the same length.
        bundle: whose joint embedding embeds both: a shipped bundle's name, a folder, or a Hugging Face id.
        mel: embed both as frames of log-mel spectrograms as well, which knows sound and no music.
        vggish: a published file of VGGish's weights (vggish-10086976.pth): embeds both as well.
        clap: a published folder of a CLAP (larger_clap_music): likewise.
        mert: a published folder of a MERT (MERT-v1-95M): likewise.
        out: a folder for quality.json and quality.svg.
        seed: of the halves that are drawn.
        strict: exit with 2 if any file is left out.
        device: cpu, cuda, cuda:1 or mps; auto takes the first GPU, or else the CPU.

    Raises:
        FileNotFoundError: nothing at one of the paths.
        ValueError: fewer than two clips in a folder, or weights of another model.
    """
    place = choose_device(device)
    folders = {
        "generated": Found.at(generated, strict=strict),
        "reference": Found.at([reference], strict=strict),
    }
    results, rows = [], []
    print(f"{'':<30}{'FAD':>28}{'FAD∞':>28}{f'KAD ({SCALE:g} MMD²)':>28}")
    for embedder in embedders(bundle, place, mel=mel, vggish=vggish, clap=clap, mert=mert):
        first, second = (list(embedder.embed(found).values()) for found in folders.values())
        own, floor = compare(first, second, seed=seed), floor_of(second, seed=seed)
        print(format_rows(embedder, first, second, own, floor))
        rows += [
            [name, str(each.fad), str(each.fad_infinite), str(each.kad)]
            for name, each in ((f"{embedder.name} `{embedder.hash[:8]}`", own), ("real against real", floor))
        ]
        results.append(
            {
                "embedding": {"name": embedder.name, "hash": embedder.hash, "dimension": first[0].shape[1]},
                "sample_rate": embedder.model.sample_rate,
                "windows": {"generated": sum(map(len, first)), "reference": sum(map(len, second))},
                "distances": asdict(own),
                "real_against_real": asdict(floor),
            }
        )
    accounts = {
        name: found.account(found.report.remaining(found.recordings)) for name, found in folders.items()
    }
    for name, account in accounts.items():
        print(f"{name}: {account['recordings']} clips of {account['path']}")
    say_rates(accounts)
    print(f"embedded at {', '.join(str(result['sample_rate']) for result in results)} Hz; seed {seed}")
    if out is not None:
        content = {"seed": seed, "results": results, "folders": accounts}
        print(write_results(out / "quality.json", "evaluate quality", content, table_of(rows, accounts)))
        write_whole(out / "quality.svg", chart(results).encode())
        print(out / "quality.svg")


def compare(generated: Clips, reference: Clips, *, seed: int = 0) -> Distances:
    """The distances of clips to reference clips.

    The intervals are those of the jackknife that leaves out a half (Shao and Wu, 1989): distances between
    random halves of both sets spread as the distance itself would, drawn anew.

    Raises:
        ValueError: fewer than two clips on a side.
    """
    pair = _Pair.of(generated, reference)
    values = pair.distances(range(len(generated)), range(len(reference)), seed)
    if min(len(generated), len(reference)) < LEAST:
        return Distances(*map(Figure, values))
    generator = torch.Generator().manual_seed(seed)
    draws = [
        pair.distances(_halves(len(generated), generator)[0], _halves(len(reference), generator)[0], seed)
        for _ in range(DRAWS)
    ]
    return _of_draws(values, draws)


def floor_of(reference: Clips, *, seed: int = 0) -> Distances:
    """The distances between two halves of the reference: their means over random halves, and where 95 % lie.

    A half has fewer clips than the whole, which makes its FAD larger, but neither FAD∞ nor KAD.
    """
    if len(reference) < LEAST:
        return Distances(*[Figure(math.nan)] * 3)
    pair = _Pair.of(reference, reference)
    generator = torch.Generator().manual_seed(seed)
    draws = [pair.distances(*_halves(len(reference), generator), seed) for _ in range(DRAWS)]
    return _of_draws([statistics.fmean(own) for own in zip(*draws, strict=True)], draws)


@dataclass(frozen=True)
class _Pair:
    """Two sets of clips, and the mean kernels of each two, taken once: a KAD of some of them is a sum."""

    generated: Clips
    reference: Clips
    kernels: tuple[Tensor, Tensor, Tensor]  # within the first, within the second, between

    @classmethod
    def of(cls, generated: Clips, reference: Clips) -> "_Pair":
        if min(len(generated), len(reference)) < 2:
            raise ValueError(
                f"expected at least 2 clips on both sides, got {len(generated)} and {len(reference)}: "
                "give it more"
            )
        width = median_distance(torch.cat(list(reference)))
        others = mean_kernels(reference, reference, width)
        if generated is reference:
            return cls(generated, reference, (others, others, others))
        within = mean_kernels(generated, generated, width)
        return cls(generated, reference, (within, others, mean_kernels(generated, reference, width)))

    def distances(self, first: Sequence[int], second: Sequence[int], seed: int) -> tuple[float, float, float]:
        """FAD, FAD∞ and KAD of some clips of each side, by their numbers."""
        clips = [self.generated[index] for index in first]
        others = torch.cat([self.reference[index] for index in second])  # [N, D]
        one, two = torch.tensor(first), torch.tensor(second)
        within, reference, between = self.kernels
        kad = discrepancy(within[one][:, one], reference[two][:, two], between[one][:, two])
        many = len(clips) >= EXTRAPOLATED
        infinite = distance_at_infinity(clips, others, seed=seed).distance if many else math.nan
        return frechet_distance(torch.cat(clips), others), infinite, SCALE * kad


def _halves(count: int, generator: torch.Generator) -> tuple[list[int], list[int]]:
    order = torch.randperm(count, generator=generator).tolist()
    return order[: count // 2], order[count // 2 :]


def _around(value: float, draws: Sequence[float]) -> Figure:
    """A value with the interval that the spread of the draws gives it."""
    half = Z * statistics.stdev(draws) if not any(map(math.isnan, draws)) else math.nan
    return Figure(value, value - half, value + half)


def _of_draws(values: Sequence[float], draws: Sequence[tuple[float, ...]]) -> Distances:
    """FAD, FAD∞ and KAD with the intervals of their draws; a FAD is never below 0."""
    fad, infinite, kad = (_around(*each) for each in zip(values, zip(*draws, strict=True), strict=True))
    return Distances(replace(fad, low=max(fad.low, 0.0)), infinite, kad)


def format_rows(
    embedder: Embedder, generated: Clips, reference: Clips, own: Distances, floor: Distances
) -> str:
    """A line for the clips, one for the floor, and one where FAD has too few vectors to go by."""
    lines = [
        f"{name:<30}" + "".join(f"{figure!s:>28}" for figure in (each.fad, each.fad_infinite, each.kad))
        for name, each in ((f"{embedder.name} {embedder.hash[:8]}", own), ("  real against real", floor))
    ]
    windows, width = min(sum(map(len, each)) for each in (generated, reference)), generated[0].shape[1]
    if windows <= width:
        lines.append(f"  ({windows} windows in {width} dimensions are few for FAD: trust KAD)")
    return "\n".join(lines)


def table_of(rows: Sequence[Sequence[str]], accounts: Mapping[str, Mapping[str, Any]]) -> Table:
    """What the model card shows of it."""
    counts = ", ".join(f"{account['recordings']} {name}" for name, account in accounts.items())
    return Table(
        "How near it is to real music",
        ["embedding", "FAD", "FAD∞", f"KAD ({SCALE:g} MMD²)"],
        rows,
        [f"Of {counts} clips, with 95 % intervals; below each, two halves of the real music."],
    )


def chart(results: Sequence[Mapping[str, Any]]) -> str:
    """FAD∞ and KAD of every embedding, the clips beside the floor, with their intervals: an SVG file."""
    panels = [
        intervals(
            f"{name}, {result['embedding']['name']}",
            {
                "generated": Figure(**result["distances"][key]),
                "real against real": Figure(**result["real_against_real"][key]),
            },
        )
        for result in results
        for key, name in (("fad_infinite", "FAD∞"), ("kad", "KAD"))
    ]
    known = [panel for panel in panels if panel is not None]
    return sheet(known, "Distances of the clips to the reference, and within it", columns=2)
