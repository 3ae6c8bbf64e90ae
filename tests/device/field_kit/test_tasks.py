"""Which steps a kit leads to, in which order, and what is read of their output."""

import pytest

from pomt_trt.core.field_kit import records
from pomt_trt.core.field_kit.records import Kit, Ratio
from pomt_trt.device.field_kit import tasks
from pomt_trt.device.field_kit.process import Ended

TASKS = tasks.tasks(Kit("jetpack-6.2", ("digits", "deit-s")), "/kit", "/root", "/jetson", 2.0)


def ended(code=0, out="", err=""):
    return Ended(code, out, err, False, 1.0)


def test_the_quick_model_comes_first_and_each_is_built_before_it_is_timed():
    names = [task.name for task in TASKS]
    assert names[0] == "doctor" and names[1:6] == [
        "build digits fp16",
        "time digits fp16",
        "build digits fp32",
        "time digits fp32",
        "trtexec digits",
    ]
    assert len(names) == len(set(names)) == 11
    assert all(names.index(task.needs) < names.index(task.name) for task in TASKS if task.needs)
    assert {task.kind for task in TASKS} == set(tasks.LEAST_S)


def test_commands_name_their_work_folder():
    commands = {task.name: task.command for task in TASKS}
    assert commands["trtexec deit-s"] == ["/jetson/compare_trtexec", "/kit/deit-s"]
    assert commands["build deit-s fp32"][-5:] == ["build", "/kit/deit-s", "fp32", "--max-seconds", "2.0"]
    assert commands["doctor"][-3:] == ["doctor", "--root", "/root"]


def test_ratios_are_read_whether_they_hold_or_not():
    out = (
        "tensorrt-8.2-tx2-fp16 r000: pomt-trt 10.5 ms, trtexec 10.0 ms, ratio 1.050 (holds)\n"
        "tensorrt-8.2-tx2 r000: pomt-trt 20.5 ms, trtexec 10 ms, ratio 2.050 (beyond 5 %)\n"
    )
    found = next(task for task in TASKS if task.kind == records.TRTEXEC).result(ended(7, out))
    assert found == (
        Ratio("digits", "tensorrt-8.2-tx2-fp16", 10.5, 10.0),
        Ratio("digits", "tensorrt-8.2-tx2", 20.5, 10.0),
    )


@pytest.mark.parametrize(
    "code, err, told",
    [
        (4, "trtexec is not here\n", "trtexec is not here"),
        (7, "noise\npomt-trt: no time. Its end:\n[E] no memory\n", "no time. Its end: [E] no memory"),
        (-9, "half a line", "it ended with exit code -9: half a line"),
        (0, "", "it ended with exit code 0: without a message"),
    ],
)
def test_a_step_without_a_result_is_told_by_its_last_message(code, err, told):
    with pytest.raises(ValueError) as raised:
        next(task for task in TASKS if task.kind == records.TRTEXEC).result(ended(code, "", err))
    assert str(raised.value) == told


def test_what_libraries_print_before_a_result_is_passed_over():
    found = '[{"name": "python", "state": "ok", "value": "3.6.9", "remedy": ""}]'
    assert TASKS[0].result(ended(0, "a banner\n" + found + "\n"))[0].name == "python"
