"""What the doctor says about machines made of a few files."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from pomt_trt.core.errors import MissingDependency
from pomt_trt.device.board import doctor
from tests import paths, simulator
from tests.device.boards import written

TX2 = "NVIDIA Jetson TX2\0"
L4T = "# R{} (release), REVISION: {}, GCID: 27531264, BOARD: t186ref, EABI: aarch64, DATE: Mon Sep 19 2022\n"


@pytest.fixture
def machine(tmp_path):
    """Writes files of a made-up machine; returns its findings by name."""

    def findings(**files):
        root = written(tmp_path, {name.replace("__", "/"): text for name, text in files.items()})
        found = doctor.examine(root=root, pause=lambda seconds: None)
        return {finding.name: finding for finding in found}

    return findings


def jetson(machine, major, revision):
    return machine(etc__nv_tegra_release=L4T.format(major, revision), **{"proc__device-tree__model": TX2})


def test_a_machine_without_any_of_the_files_is_no_jetson_and_raises_nothing(machine):
    found = machine()
    assert found["jetson"].value.startswith("no")
    assert found["tensorrt"].state == "ok"
    assert (found["memory"].value, found["load"].value) == ("not known", "not known")


@pytest.mark.parametrize("revision", ["6.1", "4.4"])
def test_jetpack_4_6_and_older_are_refused_with_the_reason(machine, revision):
    found = jetson(machine, 32, revision)
    assert found["jetson"].state == "missing"
    assert "32." + revision in found["jetson"].value and "older than 8.2" in found["jetson"].value
    assert "JetPack 4.6.1" in found["jetson"].remedy
    with pytest.raises(MissingDependency, match="want of: .*jetson.*flash JetPack 4.6.1"):
        doctor.check(tuple(found.values()))


@pytest.mark.parametrize("faults, state, told", [("", "ok", "10.3.0"), ("no-device", "warning", "not usable")])
def test_tensorrt_is_tried_where_it_is_installed(faults, state, told):
    variables = dict(os.environ, **simulator.environment("10.3.0", faults))
    variables["PYTHONPATH"] = os.pathsep.join([variables["PYTHONPATH"], os.getcwd()])
    command = [sys.executable, "-m", "pomt_trt", "doctor", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=variables)
    found = json.loads(done.stdout.decode())["tensorrt"]
    assert found["state"] == state and told in found["value"]
    assert (found["remedy"] == "") == (state == "ok")


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is installed here")
def test_a_jetson_without_tensorrt_is_told_how_to_get_it(machine):
    found = jetson(machine, 32, "7.1")
    assert found["tensorrt"].state == "warning" and "nvidia-jetpack" in found["tensorrt"].remedy
    assert found["torch"].state == "ok"  # a board needs none


def test_what_disturbs_measurements_is_a_warning_with_a_remedy(machine):
    found = machine(
        proc__loadavg="{} 3.0 2.0 1/99 4242\n".format(os.cpu_count() + 0.5),
        sys__devices__system__cpu__cpu0__cpufreq__scaling_governor="schedutil\n",
        proc__meminfo="MemTotal:        4001234 kB\nMemAvailable:     512000 kB\n",
    )
    for name, word in (("load", "contended"), ("clock governor", "performance"), ("memory", "close other programs")):
        assert found[name].state == "warning" and word in found[name].remedy
    assert found["memory"].value == "3.8 GiB, 0.5 available"


def test_the_processor_is_named_with_the_threads_that_this_process_may_use(machine):
    free = machine()["processor"].value
    assert free.endswith(": no limit is set") or "affinity" in free
    found = machine(
        proc__self__cgroup="0::/job\n",
        proc__self__mountinfo="29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        **{"sys__fs__cgroup__job__cpu.max": "50000 100000\n"},
    )["processor"]
    assert "{} cores; 1 thread by default: ".format(os.cpu_count()) in found.value and found.state == "ok"
    assert found.value.endswith("the cgroup CPU quota is 0.5")


def test_a_quiet_machine_is_fine(machine):
    found = machine(
        proc__loadavg="0.01 0.02 0.00 1/99 4242\n",
        sys__devices__system__cpu__cpu0__cpufreq__scaling_governor="performance\n",
        proc__meminfo="MemTotal:       16001234 kB\nMemAvailable:   12000000 kB\n",
    )
    assert all(found[name].state == "ok" for name in ("load", "clock governor", "memory"))


def test_contention_is_watched_for_half_a_second_where_the_system_counts_it(machine):
    value = machine(proc__stat="cpu 1 2 3 4 5 6 7 8\n")["contention"].value
    assert value.startswith("in 0.5 s" if sys.platform == "linux" else "not known")


def test_the_table_shows_every_finding_and_its_remedy():
    finding = doctor.Finding("numpy", "missing", "not installed", "pip install numpy")
    lines = doctor.table((doctor.Finding("python", "ok", "3.6.9"), finding)).splitlines()
    assert lines[0].split() == ["ok", "python", "3.6.9"]
    assert lines[1].startswith("missing") and lines[2].strip() == "-> pip install numpy"


def test_warnings_alone_do_not_fail():
    doctor.check((doctor.Finding("torch", "warning", "not installed", "pip install torch"),))


def test_says_what_is_missing_on_a_bare_python():
    """Isolated and without site-packages: nothing but the standard library, as on a fresh machine."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pomt_trt.device.board import doctor\n"
        "found = doctor.examine(pause=lambda seconds: None); print(doctor.table(found)); doctor.check(found)"
    )
    root = paths.ROOT
    command = [sys.executable, "-I", "-S", "-c", code, root]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    for name in ("numpy", "Pillow", "onnxruntime"):
        assert "-> pip install " + name in done.stdout
    assert "MissingDependency: engines cannot run here for want of: numpy, Pillow, onnxruntime" in done.stderr
