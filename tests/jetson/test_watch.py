"""The watched folder, its service, and the comparison with trtexec, on stand-ins for what only a board has."""

import os
import re
import subprocess
import sys

import pytest

from pomt_trt import infer
from pomt_trt.core.storage import store
from pomt_trt.device.board.board import device_spec
from pomt_trt.device.timing.turns.engine_group import Clocks, EngineMember
from tests import simulator
from tests.device import turned
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


def unit_of(text):
    """Section -> key -> values, as systemd reads a unit: keys may come again."""
    sections = {}
    for line in filter(None, (line.strip() for line in text.splitlines())):
        if line.startswith("["):
            section = sections.setdefault(line[1:-1], {})
        elif not line.startswith("#"):
            key, _, value = line.partition("=")
            section.setdefault(key, []).append(value)
    return sections


@pytest.fixture
def service():
    return unit_of((SCRIPTS / "pomt-infer.service").read_text())["Service"]


def test_the_service_starts_a_script_that_is_there_with_settings_that_are_given(service):
    (command,) = service["ExecStart"]
    script, *arguments = command.split()
    assert os.access(REPOSITORY / script.replace("/opt/pomt-trt/", ""), os.X_OK)
    given = re.findall(r"^(\w+)=", (SCRIPTS / "pomt-infer.default").read_text(), flags=re.M)
    assert arguments == [f"${{{name}}}" for name in given] == ["${BUNDLE}", "${FOLDER}", "${RESULTS}"]


def test_an_engine_that_is_refused_is_built_anew_before_the_service_starts(service):
    (command,) = service["ExecStartPre"]
    assert command.startswith("-/opt/pomt-trt/.venv/bin/python -m pomt_trt.infer ")  # -: the service says why it ends
    parsed = infer._parsed(command.split()[3:])
    assert parsed.bundle == "${BUNDLE}" and parsed.rebuild_refused and not parsed.inputs
    assert service["TimeoutStartSec"] == ["1h"]  # systemd's default would end a build after 90 s


def test_the_service_reads_file_names_as_utf_8(service):
    (line,) = service["Environment"]
    given = dict(word.split("=") for word in line.split())
    assert given == {"LANG": "C.UTF-8", "PYTHONUTF8": "1"}
    program = "import json, sys; print(json.dumps(sys.argv[1]), sys.getfilesystemencoding())"
    there = {"PATH": os.environ["PATH"], **given}
    done = subprocess.run([sys.executable, "-c", program, "Küche.png"], env=there, capture_output=True, text=True)
    assert done.stdout.split() == ['"K\\u00fcche.png"', "utf-8"]  # no surrogate escapes


GETENT = """#!/usr/bin/env bash
for name in $GROUPS_HERE; do if [ "$2" = "$name" ]; then echo "$name:x:44:"; exit; fi; done
exit 2
"""


def installed(board, groups):
    machine = board()
    machine.program("getent", GETENT)
    machine.environment["GROUPS_HERE"] = groups
    return machine, machine.run("install_service")


@pytest.mark.parametrize("groups", ["video", "video render", "render"])
def test_the_installed_unit_names_the_groups_that_exist(board, groups):
    machine, done = installed(board, groups + " audio")
    assert done.returncode == 0 and f"in groups: {groups}." in done.stderr, done.stderr
    made = (machine.root / "etc/systemd/system/pomt-infer.service").read_text()
    assert unit_of(made)["Service"]["SupplementaryGroups"] == [groups]
    shipped = (SCRIPTS / "pomt-infer.service").read_text()
    assert [line for line in made.splitlines() if not line.startswith("Supp")] == [
        line for line in shipped.splitlines() if not line.startswith("Supp")
    ]


def test_settings_that_are_there_are_kept(board):
    machine, _ = installed(board, "video")
    settings = machine.root / "etc/default/pomt-infer"
    assert settings.read_text() == (SCRIPTS / "pomt-infer.default").read_text()
    settings.write_text("BUNDLE=/mine\n")
    assert machine.run("install_service").returncode == 0 and settings.read_text() == "BUNDLE=/mine\n"


def test_without_either_group_no_unit_is_written(board):
    machine, done = installed(board, "audio")
    assert done.returncode == 4 and "neither group video nor group render" in done.stderr
    assert not (machine.root / "etc/systemd").exists()


def test_a_dry_run_of_the_service_writes_nothing(board):
    machine = board()
    machine.program("getent", GETENT)
    machine.environment["GROUPS_HERE"] = "video"
    done = machine.run("install_service", "--dry-run")
    assert done.returncode == 0 and "etc/systemd/system/pomt-infer.service" in done.stdout
    assert not (machine.root / "etc/systemd").exists()


@pytest.fixture
def timed(board, tmp_path):
    """Makes a work folder whose R = 0 took so long on the GPU, and a board with trtexec; runs the comparison."""

    def compare(gpu_ms, cuda_graph="on", trtexec=TRTEXEC, **changes):
        machine = board()
        machine.program("trtexec", trtexec)
        machine.environment.update(simulator.environment("10.3.0"))
        machine.environment.update(TRTEXEC=str(machine.bin / "trtexec"), PYTHON=sys.executable)
        machine.environment["PYTHONPATH"] += os.pathsep + str(REPOSITORY)
        with simulator.installed("10.3.0"):
            device = device_spec("tensorrt")._replace(**changes)
        work = tmp_path / "work"
        for name in ("engines", "latency"):
            (work / name / "tensorrt-10.3.0-orin").mkdir(parents=True)
        (work / "engines" / "tensorrt-10.3.0-orin" / "r000.engine").touch()
        engine = turned.engine_of("r000")._replace(device=device)
        store.write_record(str(work / "engines" / "tensorrt-10.3.0-orin" / "r000.json"), engine, {})
        member = EngineMember("r000", lambda: None, Clocks())
        member.rounds_ms, member.cpu_ms = [[5.0, 5.0]] * 6, [5.0] * 6
        found = turned.profile(member, member)._replace(gpu_ms=gpu_ms, modes={"cuda_graph": cuda_graph})
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


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"compute_capability": "6.2", "processor": "NVIDIA Tegra X2"}, "was built for"),
        ({"engine_version": "8.2.1.8"}, "was built for"),
        ({"power_mode": "MAXN"}, "was timed on L4T None in power mode MAXN; this is L4T None in power mode None"),
    ],
)
def test_an_engine_of_another_board_or_power_mode_is_left_out_with_the_reason(timed, changes, reason):
    machine, done = timed(3.0, **changes)
    assert done.returncode == 3 and reason in done.stderr and "is left out" in done.stderr, done.stderr
    assert not [line for line in machine.log if line.startswith("trtexec")]


@pytest.mark.parametrize(
    "program, code",
    [("#!/bin/sh\necho 'cannot deserialize'\nexit 1\n", 1), ("#!/bin/sh\necho 'cannot deserialize'\n", 0)],
)
def test_a_trtexec_that_fails_is_told_with_what_it_said(timed, program, code):
    _, done = timed(3.0, trtexec=program)
    assert done.returncode == 7 and f"(exit code {code})" in done.stderr and "cannot deserialize" in done.stderr


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
