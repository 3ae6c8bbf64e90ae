"""What all tests share: a quiet, repeatable hypothesis, and stand-ins for a clock and for engines in time."""

import signal

import pytest
from hypothesis import HealthCheck, settings

import tests  # noqa: F401  pytest 7.0, the last for Python 3.6, would put an empty module of this name in its place

settings.register_profile(
    "ours",
    deadline=None,  # two cores are shared
    derandomize=True,  # a failure is found again by the next run
    database=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ours")

# A shell starts what it puts in the background with Ctrl-C ignored, and every child inherits that; some tests send one.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
def machine(monkeypatch):
    """Installs a stand-in of a TensorRT release here and in child processes; returns its DeviceSpec."""
    from pomt_trt.device import board
    from tests import simulator

    stack = []

    def install(release, faults=""):
        for name, value in simulator.environment(release, faults).items():
            monkeypatch.setenv(name, value)
        while stack:
            stack.pop().__exit__(None, None, None)
        stack.append(simulator.installed(release, faults=faults))
        stack[-1].__enter__()
        return board.device_spec("tensorrt")

    yield install
    while stack:
        stack.pop().__exit__(None, None, None)
