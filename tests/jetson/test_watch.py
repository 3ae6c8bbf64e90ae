"""The watched folder, its service, and the comparison with trtexec, on stand-ins for what only a board has."""

import os
import re
import sys

import pytest

from pomt_trt.core import store
from pomt_trt.device import latency
from tests.device.turned import profile
from tests.jetson.conftest import REPOSITORY, SCRIPTS

TRTEXEC = """#!/bin/sh
echo "trtexec $*" >>"$LOG"
echo "[I] Latency: min = 3.1 ms, max = 3.9 ms, mean = 3.4 ms, median = 3.3 ms, percentile(99%) = 3.8 ms"
echo "[I] GPU Compute Time: min = 2.9 ms, max = 3.4 ms, mean = 3.05 ms, median = 3 ms, percentile(99%) = 3.3 ms"
"""


def test_arrivals_are_classified_by_one_process_and_appended(board, tmp_path):
    machine = board()
    machine.program(
        "inotifywait", '#!/bin/sh\necho "inotifywait $*" >>"$LOG"\nprintf "%s\\n" /in/a.png "/in/b c.png"\n'
    )
    machine.program("python", '#!/bin/sh\necho "python $*" >>"$LOG"\nsed "s/^/classified /"\n')
    machine.environment["PYTHON"] = str(machine.bin / "python")
    (tmp_path / "in").mkdir()
    (tmp_path / "results").write_text("before\n")
    done = machine.run("watch", "/bundle", tmp_path / "in", tmp_path / "results")
    assert done.returncode == 0 and done.stdout == ""
    assert (tmp_path / "results").read_text() == "before\nclassified /in/a.png\nclassified /in/b c.png\n"
    assert "python -m pomt_trt.infer /bundle - --json" in machine.log
    watched = next(line for line in machine.log if line.startswith("inotifywait"))
    assert "--monitor" in watched and "moved_to" in watched and watched.endswith(str(tmp_path / "in"))


@pytest.mark.parametrize("arguments, code", [(["/bundle"], 2), (["/bundle", "/nowhere", "/results"], 3)])
def test_a_wrong_call_is_refused(board, arguments, code):
    machine = board()
    machine.program("inotifywait", "#!/bin/sh\n")
    assert machine.run("watch", *arguments).returncode == code


def test_the_service_starts_a_script_that_is_there_with_settings_that_are_given():
    unit = (SCRIPTS / "pomt-infer.service").read_text()
    command = re.search(r"^ExecStart=/opt/pomt-trt/(\S+) (.*)$", unit, flags=re.M)
    assert os.access(REPOSITORY / command[1], os.X_OK)
    given = re.findall(r"^(\w+)=", (SCRIPTS / "pomt-infer.default").read_text(), flags=re.M)
    assert re.findall(r"\$\{(\w+)\}", command[2]) == given == ["BUNDLE", "FOLDER", "RESULTS"]


@pytest.fixture
def timed(board, tmp_path):
    """Makes a work folder whose R = 0 took so long on the GPU, and a board with trtexec; runs the comparison."""

    def compare(gpu_ms, cuda_graph="on"):
        machine = board()
        machine.program("trtexec", TRTEXEC)
        machine.environment.update(TRTEXEC=str(machine.bin / "trtexec"), PYTHON=sys.executable)
        machine.environment["PYTHONPATH"] = str(REPOSITORY)
        work = tmp_path / "work"
        for name in ("engines", "latency"):
            (work / name / "tensorrt-10.3.0-orin").mkdir(parents=True)
        (work / "engines" / "tensorrt-10.3.0-orin" / "r000.engine").touch()
        member = latency.Member("r000", None, [[5.0, 5.0]] * 6, [5.0] * 6, [])
        found = profile(member, member)._replace(gpu_ms=gpu_ms, modes={"cuda_graph": cuda_graph})
        store.write_record(str(work / "latency" / "tensorrt-10.3.0-orin" / "r000.json"), found, {})
        return machine, machine.run("compare_trtexec", work)

    return compare


@pytest.mark.parametrize("gpu_ms, code, word", [(3.1, 0, "holds"), (2.9, 0, "holds"), (3.2, 7, "beyond 5 %")])
def test_the_gpus_median_is_compared_within_five_per_cent(timed, gpu_ms, code, word):
    machine, done = timed(gpu_ms)
    assert done.returncode == code, done.stderr
    assert f"pomt-trt {gpu_ms} ms, trtexec 3 ms" in done.stdout and word in done.stdout
    flags = next(line for line in machine.log if line.startswith("trtexec")).split()
    assert {"--useSpinWait", "--useCudaGraph", "--noDataTransfers"} <= set(flags)


def test_trtexec_takes_no_graph_where_the_engine_took_none(timed):
    machine, _ = timed(3.0, cuda_graph="off: the capture failed")
    assert "--useCudaGraph" not in next(line for line in machine.log if line.startswith("trtexec"))


def test_a_profile_without_gpu_time_is_said(timed):
    _, done = timed(None)
    assert done.returncode == 7 and "no time of the GPU" in done.stderr


def test_a_work_folder_without_an_engine_is_said(board, tmp_path):
    machine = board()
    machine.program("trtexec", TRTEXEC)
    machine.environment["TRTEXEC"] = str(machine.bin / "trtexec")
    done = machine.run("compare_trtexec", tmp_path)
    assert done.returncode == 3 and "pomt-trt profile" in done.stderr and done.stdout == ""
