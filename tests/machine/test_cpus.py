"""The number of CPUs follows affinity and quota, wherever cgroups say it; what the user has set is obeyed."""

import os
from pathlib import Path

import pytest
import torch

import musiclm.machine.cpus as cpus
from musiclm.machine.cpus import cpu_quota, free_cpus, limit_torch, on_free_cpus, share_cpus, usable_cpus

V2 = "35 24 0:30 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
V1 = "33 31 0:30 {root} /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct"
OTHER = "36 31 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n41 1 8:1 / / rw - ext4 /dev/sda1 rw"


def machine(root: Path, mounts: str, groups: str, files: dict[str, str]) -> Path:
    """What Linux says of the process's cgroups, in a folder."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text(f"{OTHER}\n{mounts}\n")
    (root / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        file = root / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
    return root


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"a/b/cpu.max": "150000 100000"}, 1.5),
        ({"a/b/cpu.max": "max 100000"}, None),
        (
            {"a/b/cpu.max": "max 100000", "a/cpu.max": "50000 100000"},
            0.5,
        ),  # a limit above rules what is below
        ({"a/b/cpu.max": "300000 100000", "a/cpu.max": "400000 100000"}, 3.0),
        ({"cpu.max": "200000 100000"}, 2.0),  # as a container sees it
        ({"a/b/cpu.max": "nonsense"}, None),
        ({}, None),
    ],
)
def test_a_quota_of_version_2_is_the_smallest_up_the_tree(
    files: dict[str, str], quota: float | None, tmp_path: Path
) -> None:
    assert cpu_quota(machine(tmp_path, V2, "0::/a/b\n", files)) == quota


@pytest.mark.parametrize(
    ("mounted", "path", "folder"),
    [
        ("/", "/a/b", "a/b/"),
        ("/", "/a/b", "a/"),
        ("/docker/1", "/docker/1", ""),  # a container whose own group is mounted
        ("/docker/1", "/docker/1/a", "a/"),
        ("/", "/../..", ""),  # a group outside of the namespace
        ("/docker/1", "/elsewhere", ""),
    ],
)
def test_a_quota_of_version_1_is_found_where_the_group_is_mounted(
    mounted: str, path: str, folder: str, tmp_path: Path
) -> None:
    files = {
        f"cpu,cpuacct/{folder}cpu.cfs_quota_us": "250000",
        f"cpu,cpuacct/{folder}cpu.cfs_period_us": "100000",
    }
    groups = f"9:name=systemd:/\n4:memory:/a\n2:cpu,cpuacct:{path}\n0::/\n"
    assert cpu_quota(machine(tmp_path, V1.format(root=mounted), groups, files)) == 2.5
    (tmp_path / "sys/fs/cgroup" / f"cpu,cpuacct/{folder}cpu.cfs_quota_us").write_text("-1\n")
    assert cpu_quota(tmp_path) is None


def test_a_system_without_cgroups_has_no_quota(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None
    assert usable_cpus(tmp_path) == usable_cpus(tmp_path / "missing") >= 1


@pytest.mark.parametrize(
    ("quota", "usable"), [("50000", 1), ("100000", 1), ("150000", 2), ("900000", 4), ("max", 4)]
)
def test_usable_cpus_are_those_of_the_affinity_within_the_quota_rounded_up(
    quota: str, usable: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 4, 6}, raising=False)
    assert usable_cpus(machine(tmp_path, V2, "0::/\n", {"cpu.max": f"{quota} 100000"})) == usable


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Four CPUs by affinity, two by quota, and nothing set; what is set is undone."""
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.setattr(cpus, "_affinity", lambda: 4)
    monkeypatch.setattr(cpus, "cpu_quota", lambda _: 2.0)
    return monkeypatch


def test_libraries_keep_to_the_quota_and_wait_asleep(environment: pytest.MonkeyPatch) -> None:
    share_cpus()
    assert os.environ["OMP_NUM_THREADS"] == "2"
    assert int(os.environ["GOMP_SPINCOUNT"]) == cpus.SPINS


def test_without_a_quota_the_number_of_threads_is_left_to_the_libraries(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setattr(cpus, "cpu_quota", lambda _: None)
    share_cpus()
    assert "OMP_NUM_THREADS" not in os.environ


def test_what_the_user_has_set_stays(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("OMP_NUM_THREADS", "7")
    environment.setenv("OMP_WAIT_POLICY", "active")
    share_cpus()
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "GOMP_SPINCOUNT" not in os.environ
    torch.set_num_threads(4)
    limit_torch()
    assert torch.get_num_threads() == 4


def test_torch_that_was_imported_before_keeps_to_the_quota_unless_told_otherwise(
    environment: pytest.MonkeyPatch,
) -> None:
    torch.set_num_threads(4)  # its own choice where four CPUs may be used
    limit_torch()
    assert torch.get_num_threads() == 2
    for chosen in (1, 3):
        torch.set_num_threads(chosen)
        limit_torch()
        assert torch.get_num_threads() == chosen


def running(root: Path, machine_wide: int, own: str) -> Path:
    """What Linux says of the tasks that run, and of the states of this process's threads."""
    for number, state in enumerate(own):
        task = root / "proc/self/task" / str(number)
        task.mkdir(parents=True)
        (task / "stat").write_text(f"{number} (a name) of) {state} 1 2 3\n")
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/loadavg").write_text(f"1.23 0.90 0.50 {machine_wide}/412 3917\n")
    return root


@pytest.mark.parametrize(
    ("machine_wide", "own", "free"),
    [(1, "R", 4), (3, "RRRS", 4), (2, "RS", 3), (4, "RRS", 2), (40, "RS", 1), (0, "R", 4)],
)
def test_free_cpus_are_those_that_other_processes_leave(
    machine_wide: int, own: str, free: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert free_cpus(running(tmp_path, machine_wide, own)) == free


def test_where_nothing_says_what_runs_all_cpus_are_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert free_cpus(tmp_path) == 4
    (running(tmp_path, 9, "R") / "proc/loadavg").write_text("nonsense")
    assert free_cpus(tmp_path) == 4


def test_torch_has_no_more_threads_than_cpus_are_free_and_gets_them_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.set_num_threads(4)
    for free, used in ((1, 1), (3, 3), (8, 4)):
        monkeypatch.setattr(cpus, "free_cpus", lambda free=free: free)
        with pytest.raises(KeyError), on_free_cpus():  # noqa: PT012
            assert torch.get_num_threads() == used
            raise KeyError
        assert torch.get_num_threads() == 4
