"""The whole field kit on stand-ins for a board and its TensorRT: from a kit to an archive and its report.

A tiny model takes the kit's place, in one process after another as on a board; a real Python 3.6 takes the board's part
for TensorRT 8.2 where scripts/test has made one.
"""

import os
import shutil
import sys

import pytest

pytest.importorskip("torch", reason="makes a kit, which belongs to the workstation")

from pomt_trt.core.field_kit import archive_file, judgement, records
from pomt_trt.core.field_kit.records import DONE, FAILED, HELD, NOT, UNKNOWN
from pomt_trt.pipeline.tasks import kits
from tests import compiled, simulator
from tests.test_on_tensorrt import PYTHON36

# As trtexec prints it; the time has nothing to do with ours.
TRTEXEC = '#!/bin/sh\necho "[I] GPU Compute Time: min = 1 ms, max = 1 ms, mean = 1 ms, median = 1 ms, other = 1 ms"\n'
# As on a board, a clock runs where its limits are set.
FOLLOWS = """#!/usr/bin/env bash
"$(dirname "$0")/limits" "$@" || exit
for least in "$ROOT"/sys/class/devfreq/*g*/min_freq "$ROOT"/sys/devices/system/cpu/cpufreq/policy*/scaling_min_freq; do
    cat "$least" >"${least/min_freq/cur_freq}"
done
"""
MODEL = "tiny"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Kits by target, with the model that other tests share."""
    found = {}
    for target in ("jetpack-4.6.1", "jetpack-6.2"):
        folder = str(tmp_path_factory.mktemp("kit") / "kit")
        kits.make(folder, target, {MODEL: "local-dir:" + os.path.join(compiled.source(), "model")}, "8:8:1")
        found[target] = folder
    return found


@pytest.fixture
def ran(made, board, tmp_path):
    """ran(release, flags) -> (the process that ended, its archive, the board)."""

    def run(release, *flags, tree="agx-orin-jetpack-6.2", faults="", **programs):
        target = "jetpack-4.6.1" if release == "8.2" else "jetpack-6.2"
        machine, kit = board(tree), str(tmp_path / "kit")
        shutil.copytree(made[target], kit)
        (machine.bin / "jetson_clocks").rename(machine.bin / "limits")
        for name, text in dict({"jetson_clocks": FOLLOWS, "trtexec": TRTEXEC}, **programs).items():
            machine.program(name, text)
        python = PYTHON36 if release == "8.2" and os.path.exists(PYTHON36) else sys.executable
        machine.environment.update(simulator.environment(release, faults), OMP_NUM_THREADS="1", PYTHON=python)
        machine.environment["TRTEXEC"] = str(machine.bin / "trtexec")
        out, alarm = str(tmp_path / "run.tar.gz"), machine.root / "sys/class/hwmon/hwmon9/oc1_event_cnt"
        if release != "8.2":
            alarm.parent.mkdir()
            alarm.write_text("4\n")
        done = machine.run("field_kit", kit, "--out", out, "--max-seconds", "0.02", *flags)
        assert "Traceback" not in done.stderr, done.stderr
        return done, archive_file.read(out), machine

    return run


def states(archive):
    return {step.name: step.status for step in archive.collected.steps}


def lines(archive):
    return {line.what: line for line in judgement.judge(archive.collected).lines}


@pytest.mark.parametrize(
    "release, tree",
    [pytest.param("8.2", "tx2-jetpack-4.6.6", marks=pytest.mark.long), ("10.3.0", "agx-orin-jetpack-6.2")],
)
def test_a_board_gets_from_a_kit_to_an_archive_and_its_report(ran, release, tree):
    done, archive, machine = ran(release, tree=tree)
    assert done.returncode == 0 and set(states(archive).values()) == {DONE}, done.stderr
    found = lines(archive)
    for precision in records.PRECISIONS:
        for removed in (0, 9):
            title = f"{MODEL} {precision} R = {removed}"
            assert found[title + " is built"].state == found[title + " passes the golden gate"].state == HELD
            assert found[title + " is fused as it can be"].state == HELD
        ways = [one.way for one in archive.collected.timed if (one.precision, one.removed) == (precision, 0)]
        assert ways == [records.DEFAULT, records.NO_GRAPH, records.OTHER_STAGING]
    for title in ("locks the clocks", "clocks stay locked", "clocks are given back", "power rails are readable"):
        assert [line.state for what, line in found.items() if title in what] == [HELD], title
    assert found["no over-current alarm goes off"].state == (UNKNOWN if release == "8.2" else HELD)
    staging = {(one.way == records.OTHER_STAGING, one.memory) for one in archive.collected.timed if one.removed == 0}
    assert {memory for _, memory in staging} == {"page-locked staging", "pageable staging"}
    if release != "8.2":  # where which is the default is measured
        assert staging == {(False, "page-locked staging"), (True, "pageable staging")}
    assert len(archive.collected.ratios) == 2 and all(ratio.theirs_ms == 1.0 for ratio in archive.collected.ratios)
    assert len([name for name in archive.files if name.startswith("layers/")]) == 4
    assert "jetson_clocks --restore FILE" in machine.log and not machine.stored.exists()


REFUSES = '#!/bin/sh\necho "sudo: a password is required" >&2\nexit 1\n'


def test_refused_clocks_killed_builds_and_wrong_engines_cost_themselves_only(ran):
    faults = "out-of-memory=op17-fp16/r009,nan-logits=op17-fp32/r009"
    done, archive, machine = ran("10.3.0", faults=faults, sudo=REFUSES)
    found = lines(archive)
    assert done.returncode == 0 and states(archive)["clocks"] == FAILED and not machine.log
    assert found["jetson/with_clocks locks the clocks"].found == "sudo: a password is required"
    assert "clocks: sudo: a password is required" in done.stderr
    killed, wrong = (f"{MODEL} {precision} R = 9" for precision in ("fp16", "fp32"))
    assert found[killed + " is built"].state == NOT and "SIGKILL" in found[killed + " is built"].found
    assert found[wrong + " passes the golden gate"].state == NOT
    for precision in records.PRECISIONS:
        assert found[f"{MODEL} {precision} R = 0 passes the golden gate"].state == HELD
        assert states(archive)[f"time {MODEL} {precision}"] == DONE
    assert len(archive.collected.ratios) == 2


def test_a_kit_for_another_parser_is_told_with_the_line_that_makes_the_right_one(made, board, tmp_path):
    machine, out = board("agx-orin-jetpack-6.2"), str(tmp_path / "run.tar.gz")
    kit = shutil.copytree(made["jetpack-4.6.1"], tmp_path / "kit")
    shutil.rmtree(kit / MODEL / "onnx" / "op13-fp32")
    machine.environment.update(simulator.environment("10.3.0"), OMP_NUM_THREADS="1", PYTHON=sys.executable)
    machine.run("field_kit", kit, "--out", out, "--no-clocks")
    found = {step.name: step for step in archive_file.read(out).collected.steps}
    for precision in records.PRECISIONS:
        error = found[f"build {MODEL} {precision}"].error
        assert f"tensorrt 10.3.0 reads op17-{precision}" in error and "--target jetpack-6." in error
