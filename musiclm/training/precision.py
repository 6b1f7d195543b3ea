"""The precision that a run is computed in: its own, or float32 on a CPU without instructions for bfloat16.

There the configurations' `bf16-mixed`, meant to be faster, would take days. A run's record keeps what it was
asked for, so that a machine of the other kind may go on with it.
"""

from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator

from musiclm.machine.cpus import multiplies_bfloat16

SLOW_WITHOUT_INSTRUCTIONS = ("bf16-mixed", "bf16-true")


def computed_in(precision: str | None, accelerator: str) -> str | None:
    """The precision that a trainer computes in when it is asked for one.

    Args:
        precision: that the trainer is asked for, by Lightning's name; None: its default, float32.
        accelerator: that it is asked for: `auto`, `cpu`, `gpu`, ...
    """
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not _has_accelerator())
    slow = precision in SLOW_WITHOUT_INSTRUCTIONS and on_cpu and not multiplies_bfloat16()
    return "32-true" if slow else precision


def _has_accelerator() -> bool:
    return CUDAAccelerator.is_available() or MPSAccelerator.is_available()
