"""What all tests share: a quiet, repeatable hypothesis, stand-ins for a clock and for a board, and a guard.

The guard fails a test that leaves something behind, so that no test's outcome depends on those before it.
"""

import contextlib
import gc
import glob
import os
import signal
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, settings

import tests  # noqa: F401  pytest 7.0, the last for Python 3.6, would put an empty module of this name in its place
from tests import shared

settings.register_profile(
    "ours",
    deadline=None,  # two cores are shared
    derandomize=True,  # a failure is found again by the next run
    database=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ours")

INHERITED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


def ignore_for_this_process_only(number, frame):
    """A handler that does nothing: unlike an ignored signal, no child inherits it."""


# nohup has SIGHUP ignored, and a shell has Ctrl-C ignored for what it puts in the background. Children inherit that,
# and some tests send these signals to theirs. This process goes on ignoring them, as it was told to.
for number in INHERITED:
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, ignore_for_this_process_only)

# Compiling sets it for torch, once a process: so it is the same to tests that come before the first compile.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# As scripts/test has it: logits of two threads differ in their last bits from those of the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
shared.folder()  # made here, so that workers of xdist inherit it

STAND_INS = ("tensorrt", "tensorrt_rtx", "pycuda", "pycuda.driver", "pomt_simulator")


@pytest.fixture(autouse=True)
def nothing_left_behind():
    """Fails a test after which the process is not as it was: stand-ins, child processes, variables, folder, signals."""
    before, others = _traces(), children_of_this()
    yield
    left = {name: (before[name], value) for name, value in _traces().items() if value != before[name]}
    started = children_of_this() - others
    _end(started)
    assert not left, "the test changes this, (before, after), for those after it: {}".format(left)
    assert not started, "the test leaves child processes behind: {}".format(started)


def _end(started):
    """Ends the processes that a failed test has left, with their groups, so that no other test fails for them."""
    for pid in started:
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if os.getpgid(pid) == pid else os.kill)(pid, signal.SIGKILL)
    for process in gc.get_objects() if started else ():
        if type(process) is subprocess.Popen and process.pid in started:
            process.wait()
            for pipe in filter(None, (process.stdin, process.stdout, process.stderr)):
                with contextlib.suppress(BrokenPipeError):  # what it did not read
                    pipe.close()


def _traces():
    ours = ("POMT_", "PYTHONPATH", "OMP_")  # libraries set others
    return {
        "modules": [_stand_in(name) for name in STAND_INS],
        "variables": {name: value for name, value in os.environ.items() if name.startswith(ours)},
        "folder": os.getcwd(),
        "signals": [signal.getsignal(number) for number in INHERITED],
    }


def _stand_in(name):
    """The module, or the None in its place; a real one is no stand-in and may stay."""
    module = sys.modules.get(name, "absent")
    return "absent" if getattr(module, "__spec__", None) else module


def children_of_this():
    """Ids of this process's children, zombies too; none where the system keeps no such list (Linux does)."""
    found = set()
    for path in glob.glob("/proc/self/task/*/children"):
        with contextlib.suppress(OSError), open(path) as file:  # a thread may have ended
            found.update(map(int, file.read().split()))
    return found


@pytest.fixture
def children(nothing_left_behind):
    """Asks for the child processes that this test has started and that are still there."""
    others = children_of_this()
    return lambda: children_of_this() - others


class FakeClock:
    """Seconds that pass only when somebody says so."""

    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s

    def pass_ms(self, milliseconds):
        self.now_s += milliseconds / 1e3


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Installs a stand-in of a TensorRT release here and in child processes; returns its DeviceSpec."""
    from pomt_trt.device.board import board
    from tests import simulator

    stack = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def install(release, faults=""):
        for name, value in simulator.environment(release, faults).items():
            monkeypatch.setenv(name, value)
        while stack:
            stack.pop().__exit__(None, None, None)
        stack.append(simulator.installed(release, faults=faults))
        stack[-1].__enter__()
        return board.device_spec(simulator.engine_of(release))

    yield install
    while stack:
        stack.pop().__exit__(None, None, None)
