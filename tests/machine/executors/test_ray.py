"""Work on a Ray cluster of two nodes: results come, errors too, and what dies takes little with it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from musiclm.cli import main
from musiclm.data.store import shards_of
from musiclm.evaluate.found import Found
from musiclm.evaluate.sound import measure_folder
from musiclm.machine.executors import Executor, LocalProcesses, RayCluster, choose_executor
from tests.machine.executors.works import dies, slowly, square
from tests.tiny import folder_of_tones
from tests.tiny_model import make_bundle

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes with a CPU each, on this machine; the last test kills one."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        cluster.add_node(num_cpus=1)
        yield cluster
        cluster.shutdown()


def test_an_executor_is_chosen_by_its_address() -> None:
    local: Executor = choose_executor(None, 3)
    assert local == LocalProcesses(3)
    assert choose_executor("local", 3, gpus=True) == RayCluster("local", gpus=True)


def test_where_no_cluster_answers_one_line_says_so() -> None:
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1"):
        with pytest.raises(
            ValueError, match=rf"^expected a Ray cluster at {address}, nothing answers there:.*$"
        ):
            list(RayCluster(address).run(square, [1]))


@pytest.fixture(scope="class")
def asked(cluster: Any) -> Iterator[list[str]]:
    """The addresses asked for, by commands that share a connection: its workers import all once."""
    from musiclm.machine.executors import ray as module

    connected, addresses = module._connected, list[str]()

    def noted(address: str) -> AbstractContextManager[None]:
        addresses.append(address)
        return connected(address)

    with connected(cluster.address), pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_connected", noted)
        yield addresses


class TestAClusterDoesWhatOneProcessDoes:
    def test_it_makes_the_same_store(
        self, cluster: Any, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With paths from the folder that the command is started in, which the tasks find as well."""
        make_bundle(tmp_path).rename(tmp_path / "own")
        folder_of_tones(tmp_path / "music", 5, seconds=1.0)
        monkeypatch.chdir(tmp_path)
        words = ["tokenize", "music", "--bundle", "own", "--shard_size", "2", "--device", "cpu"]
        main([*words, "--out", "alone", "--workers", "1"])
        assert not asked
        main([*words, "--out", "together", "--ray", cluster.address])
        assert asked == [cluster.address]
        alone, together = (shards_of(tmp_path / name) for name in ("alone", "together"))
        assert len(alone) == 3
        assert [shard.read_bytes() for shard in together] == [shard.read_bytes() for shard in alone]

    def test_it_renders_and_measures_the_same(self, cluster: Any, asked: list[str], tmp_path: Path) -> None:
        asked.clear()
        alone, together = (str(tmp_path / name) for name in ("alone", "together"))
        main(["corpus", "render", "--hours", "0.02", "--out", alone, "--workers", "1"])
        assert not asked
        main(["corpus", "render", "--hours", "0.02", "--out", together, "--ray", cluster.address])
        files = [
            {file.name: file.read_bytes() for file in Path(place).rglob("*.*")} for place in (alone, together)
        ]
        assert files[0] == files[1]
        assert len(files[0]) > 2
        measured = [
            measure_folder(Found.at([Path(alone)], strict=False), workers=1, ray=address)
            for address in (None, cluster.address)
        ]
        assert asked == [cluster.address] * 2
        assert measured[0].keys() == measured[1].keys()
        for name, values in measured[0].items():  # sums of another order differ in their last digits
            assert measured[1][name] == pytest.approx(values, rel=1e-3, nan_ok=True)


def test_what_a_worker_and_a_node_take_with_them_is_done_again(cluster: Any, tmp_path: Path) -> None:
    executor = RayCluster(cluster.address)
    assert sorted(executor.run(square, range(6))) == [0, 1, 4, 9, 16, 25]
    with pytest.raises(LookupError, match="no square of -1"):
        list(executor.run(square, [1, -1]))

    assert sorted(executor.run(dies, [tmp_path / "once", tmp_path / "never"])) == ["never", "once"]
    done: list[str] = []
    marks = [tmp_path / name for name in ("always", "never", "other")]
    with pytest.raises(OSError, match=r"^1 of 3 tasks were lost 3 times, with a worker or a node: "):
        done.extend(executor.run(dies, marks))
    assert sorted(done) == ["never", "other"]

    other = next(node for node in cluster.list_all_nodes() if not node.is_head())
    come = []
    for number, result in enumerate(executor.run(slowly, range(8))):
        come.append(result)
        if number == 1:
            cluster.remove_node(other, allow_graceful=False)
    assert sorted(number for number, _ in come) == list(range(8))
    assert len({node for _, node in come[-3:]}) == 1
