"""How fast semantic tokens become sound, by diffusion and by codes.

    python -m benchmarks.diffusion --quick     4 s of music instead of 10
    python -m benchmarks.diffusion --check     every bar with its figure; exits 1 where one falls short

The default model's two decoders make sound of the same tokens in turns. Beside them a denoiser's pass over a
window, and how much of what the machine can multiply that is. MusicLM's forward passes are those of its
coarse and fine stages, a step each; a pass of the denoiser over a window counts as one (MeLoDy, sec. 4.3).
"""

import math
import statistics
import time
from typing import Any

import torch

from benchmarks.command import begin
from benchmarks.hardware import describe, matmul_rate, usual_time
from benchmarks.report import Bar, judge, say, table
from musiclm import MusicLM
from musiclm.diffusion.denoiser import Denoiser
from musiclm.generation.diffusion_decoder import DiffusionDecoder

SECONDS, QUICK_SECONDS = 10.0, 4.0
TURNS = 5
MEASURE_SECONDS = 3.0  # of passes, once they have run
CPU = torch.device("cpu")


def main() -> None:
    options, _ = begin(
        "benchmarks.diffusion", __doc__.splitlines()[0], quick="shorter music", beside_peers=False
    )
    say({"machine": describe(CPU), "threads": torch.get_num_threads()})
    seconds = QUICK_SECONDS if options.quick else SECONDS
    by_codes = MusicLM.from_pretrained("default", device="cpu", decoder="tokens")
    by_diffusion = MusicLM.from_pretrained("default", device="cpu", decoder="diffusion")
    cases = [say(case) for case in measure(by_codes, by_diffusion, seconds)]
    print()
    print(table([("work", "figure"), *((case["work"], figure(case)) for case in cases)]))
    if options.check:
        print()
        judge(bars(cases))


def measure(by_codes: MusicLM, by_diffusion: MusicLM, seconds: float) -> list[dict[str, Any]]:
    """Both decoders in turns, and a pass of the denoiser."""
    target = by_codes.semantic_stage.layout.target
    tokens = torch.randint(target.codebook_size, (1, 1, round(seconds * target.frame_rate)))
    joint = torch.zeros(1, by_codes.joint_quantizer.num_quantizers, 1, dtype=torch.int64)
    models = {"codes": by_codes, "diffusion": by_diffusion}
    times: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(TURNS + 1):
        for name, model in models.items():
            began = time.perf_counter()
            model.render(tokens, joint, seed=turn)
            if turn:  # the first one warms up
                times[name].append(time.perf_counter() - began)
    decoder = by_diffusion.decoder
    assert isinstance(decoder, DiffusionDecoder)
    passes = {"codes": steps_of_codes(by_codes, seconds), "diffusion": passes_of(decoder, seconds)}
    cases: list[dict[str, Any]] = [
        {
            "work": f"{seconds:g} s of sound by {name}",
            "seconds": statistics.median(each),
            "forward_passes": passes[name],
        }
        for name, each in times.items()
    ]
    return [*cases, one_pass(decoder)]


def steps_of_codes(model: MusicLM, seconds: float) -> int:
    """Steps of the coarse and the fine stage."""
    decoder: Any = model.decoder
    frames = round(seconds * decoder.codec.frame_rate)
    steps: int = decoder.coarse.layout.steps(frames) + decoder.fine.layout.steps(frames)
    return steps


def passes_of(decoder: DiffusionDecoder, seconds: float) -> int:
    """Passes over windows, of which the first is as long as what later ones carry on."""
    settings = decoder.denoiser_settings
    later = max(math.ceil((seconds - settings.carry) / (settings.window - settings.carry)), 0)
    return settings.steps * (1 + later)


def one_pass(decoder: DiffusionDecoder) -> dict[str, Any]:
    """A window through the denoiser, and the share of the machine's products that it reaches."""
    denoiser = decoder.denoiser
    frames = round(decoder.denoiser_settings.window * denoiser.frame_rate)
    state, at = torch.randn(1, denoiser.dimension, frames), torch.rand(1, frames)
    codes = {"semantic": torch.zeros(1, 1, frames // 2, dtype=torch.int64)}
    seconds = usual_time(lambda: denoiser(state, at, codes), CPU, seconds=MEASURE_SECONDS)
    reached = operations(denoiser, frames) / seconds / matmul_rate(CPU, torch.float32)
    return {"work": "a pass over a window", "seconds": seconds, "a_second": 1 / seconds, "of_limit": reached}


def operations(denoiser: Denoiser, frames: int) -> float:
    """Multiplications and additions of the matrices in a pass; attention and convolutions not counted."""
    positions = frames // denoiser.fold
    matrices = [each.weight.numel() for each in denoiser.modules() if isinstance(each, torch.nn.Linear)]
    return 2.0 * positions * sum(matrices)


def figure(case: dict[str, Any]) -> str:
    """What was measured, in words."""
    if "of_limit" in case:
        return f"{case['a_second']:.1f} a second, {case['of_limit']:.0%} of what the machine multiplies"
    return f"{case['seconds']:.2f} s, {case['forward_passes']} forward passes"


def bars(cases: list[dict[str, Any]]) -> list[Bar]:
    """What must hold."""
    codes, diffusion, _ = cases
    return [
        Bar("seconds of work for the sound by diffusion", diffusion["seconds"], ceiling=0.5),
        Bar("times faster than by codes", codes["seconds"] / diffusion["seconds"], floor=1),
        Bar(
            "forward passes, of those by codes",
            diffusion["forward_passes"] / codes["forward_passes"],
            ceiling=0.05,
        ),
    ]


if __name__ == "__main__":
    main()
