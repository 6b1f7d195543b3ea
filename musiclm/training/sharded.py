"""A stage in shards: each process keeps its share of the weights, their average and the optimizer's state.

FSDP2, torch's `fully_shard`: a block's weights are gathered where it computes and let go afterwards. That is
what `--trainer.strategy fsdp` means for a stage; `ddp` keeps everything on every device.
"""

from collections.abc import Iterable

from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from musiclm.stages.stage import Stage


class Sharded(ModelParallelStrategy):
    """Lightning's strategy for FSDP2 over all processes; a checkpoint is one file with the whole weights."""

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        self._data_parallel_size = (
            self.num_nodes * self.num_processes
        )  # Lightning's own choice: a share per node
        super().setup_environment()


def shard(stage: Stage, mesh: DeviceMesh) -> None:
    """Leave each process of the mesh its share of the weights, in place.

    Each block is gathered by itself; the rest, with the position bias that all blocks use, as long as any of
    them computes.
    """
    for block in stage.transformer.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(stage, mesh=mesh)


def gather(sharded: Stage, whole: Stage) -> Stage:
    """Give `whole`, a stage of the same make, the weights of a sharded one; all processes must call it."""
    state = {name: value.full_tensor() for name, value in sharded.state_dict().items()}
    whole.load_state_dict(state, assign=True)
    return whole


def own_share(parameters: Iterable[Tensor]) -> list[Tensor]:
    """What this process has of each parameter: all of it where nothing is sharded."""
    return [value.to_local() if isinstance(value, DTensor) else value for value in parameters]
