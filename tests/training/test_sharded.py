"""Training in shards: two processes with half of everything each are one process with the whole."""

import os
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from musiclm.bundle import load_component
from musiclm.training.cli import main
from musiclm.training.sharded import gather, own_share, shard
from musiclm.training.stages import StageTraining, compile_blocks, level_losses
from tests.tiny import folder_of_tones, make_token_store
from tests.training.test_stages import CONFIGS, Songs, make_stage

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*does not have many workers.*")]
STEPS = 3


def batch(rows: slice) -> dict[str, Tensor]:
    items = [Songs(4)[index] for index in range(4)]
    return {name: torch.stack([item[name] for item in items])[rows] for name in items[0]}


def learn(training: StageTraining, rows: slice) -> dict[str, Tensor]:
    """Losses of a few steps; the part learns."""
    part = training.part.train()
    optimizer = torch.optim.AdamW(part.parameters(), lr=1e-2)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = level_losses(part, part.layout.pick(batch(rows))).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(part.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.detach())
    return {"losses": torch.stack(losses)}


def one_of_two_processes(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    training = StageTraining(make_stage("flatten"), activation_checkpointing=True)
    compile_blocks(training.part, "aot_eager")
    whole = make_stage("flatten").to("meta")
    shard(training.part, init_device_mesh("cpu", (2,)))
    parameters = list(training.part.parameters())
    assert all(isinstance(parameter, DTensor) for parameter in parameters)
    kept, of = (sum(tensor.numel() for tensor in tensors) for tensors in (own_share(parameters), parameters))
    result = learn(training, slice(rank * 2, rank * 2 + 2))
    result |= {"share": torch.tensor(kept / of), **gather(training.part, whole).state_dict()}
    save_file(
        {name: value.detach().contiguous() for name, value in result.items()}, f"{folder}/{rank}.safetensors"
    )
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("warm_workers")
def test_two_processes_with_half_the_weights_each_learn_as_one_with_the_whole_batch(tmp_path: Path) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.multiprocessing.spawn(one_of_two_processes, (str(tmp_path),), nprocs=2)
    training = StageTraining(make_stage("flatten"))
    expected = learn(training, slice(4)) | training.part.state_dict()
    found = [load_file(tmp_path / f"{rank}.safetensors") for rank in range(2)]
    assert [float(result.pop("share")) for result in found] == pytest.approx([0.5, 0.5], abs=0.1)
    losses = torch.stack([result.pop("losses") for result in found]).mean(dim=0)
    torch.testing.assert_close(losses, expected.pop("losses"))
    for result in found:
        assert result.keys() == expected.keys()
        for name, value in result.items():  # sums over rows are taken in another order
            torch.testing.assert_close(value, expected[name], atol=1e-4, rtol=1e-3, msg=name)


def words(tokens: Path, root: Path, *more: str) -> list[str]:
    configs = [f"--config={CONFIGS / folder / 'semantic.yaml'}" for folder in ("", "tiny")]
    exact = [
        "--model.init_args.condition_dropout=0",
        "--model.init_args.joint_dropout=0",
        "--model.init_args.part.init_args.transformer.dropout=0",
    ]
    exact += ["--storage=float32", "--data.init_args.crops_per_epoch=4"]
    root_words = f"--trainer.default_root_dir={root}"
    return ["fit", *configs, f"--data.init_args.tokens={tokens}", root_words, *exact, *more]


def test_the_users_command_trains_in_shards_goes_on_and_keeps_the_whole_average(
    tmp_path: Path, warm: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its second process is a fresh interpreter; with the installed command: test_cli.py, of two devices."""
    torch.manual_seed(0)
    make_token_store(tmp_path / "tokens")
    for steps in (2, 4):  # the second run goes on from the first one's checkpoint
        more = ["--trainer.strategy=fsdp", "--trainer.devices=2", f"--trainer.max_steps={steps}"]
        more += ["--model.init_args.final_rate=1"]  # the rate would fall sooner in the first run
        run = subprocess.run(
            [warm / "musiclm", *words(tmp_path / "tokens", tmp_path / "run", *more)],
            cwd=tmp_path, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr[-3000:]
    assert "resuming from" in run.stderr
    monkeypatch.setattr("sys.argv", ["musiclm"])  # Lightning CLI warns when pytest's arguments stand there
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # Lightning CLI calls what it deprecates
    more = ["--data.init_args.batch_size=4", "--trainer.max_steps=4", "--model.init_args.final_rate=1"]
    main(words(tmp_path / "tokens", tmp_path / "one", *more))
    measured = [said.split("val/loss=")[-1].split()[0] for said in (run.stderr, capsys.readouterr().err)]
    assert float(measured[0]) == pytest.approx(float(measured[1]), abs=0.002)  # four digits are printed
    sharded, one = (load_component(tmp_path / folder / "part").state_dict() for folder in ("run", "one"))
    assert sharded.keys() == one.keys()
    for name, value in one.items():
        torch.testing.assert_close(sharded[name], value, atol=1e-4, rtol=1e-3, msg=name)
    checkpoints = [
        torch.load(tmp_path / folder / "last.ckpt", weights_only=True) for folder in ("run", "one")
    ]
    assert checkpoints[0]["state_dict"].keys() == checkpoints[1]["state_dict"].keys()


def test_only_a_stage_is_sharded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["musiclm"])
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    folder_of_tones(tmp_path / "tones", 1)
    configs = [f"--config={CONFIGS / folder / 'soundstream.yaml'}" for folder in ("", "tiny")]
    more = [f"--data.init_args.audio={tmp_path / 'tones'}", f"--trainer.default_root_dir={tmp_path / 'run'}"]
    with pytest.raises(ValueError, match="expected a stage to shard, got SoundStream: use ddp"):
        main(["fit", *configs, *more, "--trainer.strategy=fsdp"])
