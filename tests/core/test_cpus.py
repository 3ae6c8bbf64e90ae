"""How many threads a process may use, on made-up trees of /proc and /sys and by the real affinity of a process."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pomt_trt.core import cpus
from pomt_trt.core.cpus import Cpus
from tests.paths import ROOT

V2 = "29 23 0:26 {} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "33 32 0:30 {} /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n"
JOB = "2:cpu,cpuacct:/job\n"
MEMORY = "34 32 0:31 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory\n"


@pytest.fixture
def quota(tmp_path):
    """Writes files of a made-up machine; returns the quota that is found there."""

    def found(mountinfo, cgroup, **files):
        texts = dict(files, proc__self__mountinfo=mountinfo, proc__self__cgroup=cgroup)
        for name, text in texts.items():
            path = str(tmp_path / name.replace("__", "/").replace("_OF_", "/cpu."))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as file:
                file.write(text)
        return cpus.usable(str(tmp_path)).quota

    return found


def v2(path, value):
    return {"sys__fs__cgroup__{}_OF_max".format(path): value}


def v1(path, quota_us, period_us="100000"):
    name = "sys__fs__cgroup__cpu,cpuacct__{}_OF_cfs_{}_us"
    return {name.format(path, "quota"): quota_us, name.format(path, "period"): period_us}


def test_without_cgroups_there_is_no_quota(quota, tmp_path):
    assert cpus.usable(str(tmp_path / "absent")).quota is None
    assert quota("", "") is None


@pytest.mark.parametrize("text", ["max 100000\n", "", "rubbish\n", "100000\n", "0 0\n", "-1 100000\n"])
def test_version_2_without_a_limit_or_damaged_is_no_quota(quota, text):
    assert quota(V2.format("/"), "0::/job\n", **v2("job", text)) is None


@pytest.mark.parametrize("quota_us, period_us", [("-1\n", "100000\n"), ("", ""), ("100000", "0")])
def test_version_1_without_a_limit_or_damaged_is_no_quota(quota, quota_us, period_us):
    assert quota(V1.format("/"), JOB, **v1("job", quota_us, period_us)) is None


ALONG_THE_PATH = dict(v2("a", "300000 100000"), **v2("a__b", "100000 100000"), **v2("a__b__c", "max 100000"))
UNIFIED = V2.replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified ")
BOTH = dict(v1("job", "200000"), sys__fs__cgroup__unified__job_OF_max="100000 100000")


@pytest.mark.parametrize(
    "mountinfo, cgroup, files, expected",
    [
        pytest.param(V2.format("/"), "0::/job\n", v2("job", "150000 100000\n"), 1.5, id="version 2"),
        pytest.param(MEMORY + V1.format("/"), "4:memory:/x\n" + JOB, v1("job", "50000\n"), 0.5, id="version 1"),
        pytest.param(V2.format("/"), "0::/a/b/c\n", ALONG_THE_PATH, 1.0, id="the smallest along the path"),
        pytest.param(V2.format("/"), "0::/\n", {"sys__fs__cgroup_OF_max": "200000 100000"}, 2.0, id="top of the mount"),
        pytest.param(V2.format("/"), "0::/a/b\n", v2("a__bb", "100000 100000"), None, id="another beside the path"),
        # Docker without a cgroup namespace: /proc shows the host's path, /sys shows the container's cgroup alone
        pytest.param(V1.format("/docker/4f3a"), "2:cpu,cpuacct:/docker/4f3a\n", v1("", "250000"), 2.5, id="container"),
        pytest.param(V2.format("/../.."), "0::/x\n", {"sys__fs__cgroup_OF_max": "100000 100000"}, 1.0, id="outside"),
        pytest.param((V1 + UNIFIED).format("/", "/"), JOB + "0::/job\n", BOTH, 1.0, id="both versions"),
    ],
)
def test_the_smallest_quota_of_the_cgroup_and_those_around_it_counts(quota, mountinfo, cgroup, files, expected):
    assert quota(mountinfo, cgroup, **files) == expected


@pytest.mark.parametrize(
    "found, threads, why",
    [
        (Cpus(8, 8, None), 8, "no limit is set"),
        (Cpus(8, 2, None), 2, "the affinity mask allows 2"),
        (Cpus(8, 8, 0.5), 1, "the cgroup CPU quota is 0.5"),
        (Cpus(8, 8, 3.9), 3, "the cgroup CPU quota is 3.9"),
        (Cpus(8, 4, 6.0), 4, "the affinity mask allows 4 and the cgroup CPU quota is 6"),
        (Cpus(8, 4, 1.0), 1, "the affinity mask allows 4 and the cgroup CPU quota is 1"),
    ],
)
def test_threads_are_the_smaller_of_affinity_and_whole_cpus_of_the_quota(found, threads, why):
    assert (found.threads, found.why) == (threads, why)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity mask")
def test_a_process_on_one_cpu_uses_one_thread():
    program = "from pomt_trt.pipeline import options; print(options.settings({}).threads)"
    command = ["taskset", "-c", str(min(os.sched_getaffinity(0))), sys.executable, "-c", program]
    assert subprocess.check_output(command).split() == [b"1"]


def test_nothing_else_asks_how_many_cpus_the_machine_has():
    below = [path for top in ("pomt_trt", "scripts") for path in Path(ROOT, top).rglob("*")]
    ours = [path for path in below if path.is_file() and path.suffix != ".pyc"]
    asking = [path for path in ours if re.search(b"cpu_count|sched_getaffinity", path.read_bytes())]
    assert asking == [Path(ROOT, "pomt_trt", "core", "cpus.py")]
