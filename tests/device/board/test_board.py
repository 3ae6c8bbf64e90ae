"""Which machine this is, by made-up and by real files of /proc."""

import os
import time

import pytest

from pomt_trt.core.errors import MissingDependency, UsageError
from pomt_trt.device.board import board
from pomt_trt.device.engines import registry

XEON = "processor\t: 0\ncpu family\t: 6\nmodel\t\t: 85\nmodel name\t: Intel Xeon\n\nprocessor\t: 1\nmodel\t\t: 99\n"
ARM = "processor\t: 0\nmodel name\t: ARMv8 Processor rev 1\nCPU implementer\t: 0x41\nCPU part\t: {}\n"


@pytest.fixture
def proc(monkeypatch):
    """Replaces what is read from /proc by these texts; what is not named is not there."""

    def replace(**texts):
        monkeypatch.setattr(board, "text_of", lambda root, path: texts.get(os.path.basename(path), ""))

    return replace


def reading(**changes):
    return board.Reading(1000, 10, 500, 100, 7, 50.0)._replace(**changes)


def test_a_processor_is_named_with_family_and_model_of_its_first_core(proc):
    proc(cpuinfo=XEON)
    assert board.processor() == "Intel Xeon (6/85)"


def test_arm_processors_of_one_name_are_told_apart(proc):
    proc(cpuinfo=ARM.format("0xd08"))
    one = board.processor()
    proc(cpuinfo=ARM.format("0xd42"))
    assert one == "ARMv8 Processor rev 1 (0x41/0xd08)" != board.processor()


def test_a_processor_without_proc_still_has_a_name(proc):
    proc()
    assert board.processor()


def test_counters_are_read_from_proc(proc, clock):
    status = "Name:\tx\nvoluntary_ctxt_switches:\t9\nnonvoluntary_ctxt_switches:\t3\n"
    proc(stat="cpu  100 1 20 800 30 2 4 43 9 9\ncpu0 1 1 1\n", status=status)
    found = board.read(clock)
    assert (found.cpu_ticks, found.steal_ticks, found.busy_ticks, found.wall_s) == (1000, 43, 127, 100.0)
    assert found.involuntary == 3 * len(os.listdir("/proc/self/task"))


def test_without_proc_the_counters_stand_still(proc, clock):
    proc()
    before, after = board.read(clock), board.read(clock)
    assert before.cpu_ticks == 0 and board.contention(before, after)["steal"] == 0


def test_contention_is_what_happened_in_between():
    later = reading(cpu_ticks=2000, steal_ticks=60, busy_ticks=1300, own_ticks=600, involuntary=27, wall_s=60.0)
    assert board.contention(reading(), later) == {"steal": 0.05, "others": 0.3, "involuntary_per_s": 2.0}


def test_nothing_in_between_is_no_contention():
    assert set(board.contention(reading(), reading()).values()) == {0.0}


def test_threads_that_ended_do_not_make_a_negative_rate():
    assert board.contention(reading(), reading(involuntary=2, wall_s=51.0))["involuntary_per_s"] == 0.0


def test_this_very_machine_is_busy_while_we_compute():
    before, until = board.read(time.perf_counter), time.process_time() + 0.15
    while time.process_time() < until:
        sum(range(1000))
    after = board.read(time.perf_counter)
    assert after.busy_ticks > before.busy_ticks and after.own_ticks > before.own_ticks and after.wall_s > before.wall_s


def test_a_device_is_named_so_that_it_fits_a_folder():
    pytest.importorskip("onnxruntime", reason="asks for the version of ONNX Runtime")
    found = board.device_spec("onnxruntime")
    assert found.id == board.device_spec("onnxruntime").id
    assert set(found.id) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-") and len(found.id) < 200
    assert found.id.startswith("onnxruntime-" + registry.version("onnxruntime"))
    assert found.processor == board.processor() and found.cores == os.cpu_count() and found.memory_bytes > 1 << 20


def test_an_engine_that_nobody_knows_is_refused_with_those_there_are():
    with pytest.raises(UsageError, match="'openvino' is not known. Choose one of: .*onnxruntime"):
        board.device_spec("openvino")


def test_an_engine_that_is_not_installed_says_what_to_install(absent):
    absent("onnxruntime")
    with pytest.raises(MissingDependency, match="onnxruntime is not installed here.*pip install onnxruntime"):
        board.device_spec("onnxruntime")
