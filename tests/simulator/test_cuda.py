"""The stand-in pycuda notices what a board would punish: no context, freed memory, results read too early."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from tests import simulator


@pytest.fixture
def driver():
    with simulator.installed("10.3.0"):
        import pycuda.driver

        yield pycuda.driver


@pytest.fixture
def context(driver):
    driver.init()
    primary = driver.Device(0).retain_primary_context()
    primary.push()
    yield primary
    driver.Context.pop()
    primary.detach()


def test_a_device_is_described_after_init_only(driver):
    with pytest.raises(driver.LogicError, match="initialization error"):
        driver.Device(0)
    driver.init()
    assert driver.Device(0).name() == "Orin"


def test_nothing_works_without_a_current_context(driver):
    driver.init()
    with pytest.raises(driver.LogicError, match="invalid device context"):
        driver.mem_alloc(4)
    with pytest.raises(driver.LogicError, match="invalid device context"):
        driver.Stream()
    with pytest.raises(driver.LogicError, match="cannot pop non-current context"):
        driver.Context.pop()


def test_a_context_left_on_the_stack_is_noticed():
    with pytest.raises(AssertionError, match="come in pairs"):
        with simulator.installed("8.2"):
            import pycuda.driver as driver

            driver.init()
            driver.Device(0).retain_primary_context().push()


def test_copies_happen_when_the_stream_is_waited_for(driver, context):
    given, back = driver.pagelocked_empty(3, np.float32), driver.pagelocked_empty((3,), np.float32)
    given[:] = [1, 2, 3]
    memory, stream = driver.mem_alloc(given.nbytes), driver.Stream()
    driver.memcpy_htod_async(memory, given, stream)
    driver.memcpy_dtoh_async(back, memory, stream)
    assert np.isnan(back).all()
    given[2] = 4  # too early: the copy has not been waited for
    stream.synchronize()
    assert back.tolist() == [1, 2, 4]


def test_memory_that_was_freed_cannot_be_reached(driver, context):
    memory, stream = driver.mem_alloc(16), driver.Stream()
    address, host = int(memory), driver.pagelocked_empty(4, np.float32)
    memory.free()
    driver.memcpy_dtoh_async(host, address, stream)
    with pytest.raises(driver.LogicError, match="illegal memory access"):
        stream.synchronize()
    with pytest.raises(driver.LogicError):
        memory.free()
    host[:] = 1
    host.base.free()
    assert np.isnan(host).all()


def test_more_than_an_allocation_cannot_be_copied(driver, context):
    memory, stream = driver.mem_alloc(8), driver.Stream()
    driver.memcpy_htod_async(memory, np.zeros(3, np.float32), stream)
    with pytest.raises(driver.LogicError, match="illegal memory access"):
        stream.synchronize()


def test_events_measure_what_lies_between_them(driver, context):
    stream, memory = driver.Stream(), driver.mem_alloc(8)
    start, end = driver.Event(), driver.Event()
    start.record(stream)
    driver.memcpy_htod_async(memory, np.zeros(2, np.float32), stream)
    end.record(stream)
    with pytest.raises(driver.RuntimeError, match="not ready"):
        end.time_since(start)
    end.synchronize()
    assert end.time_since(start) == start.time_till(end) >= 0


def test_a_context_left_at_exit_aborts_as_pycuda_does():
    code = "import pycuda.driver as d; d.init(); d.Device(0).retain_primary_context().push()"
    variables = dict(os.environ, **simulator.environment("8.2"))
    done = subprocess.run([sys.executable, "-c", code], env=variables, stderr=subprocess.PIPE, universal_newlines=True)
    assert done.returncode == -signal.SIGABRT and "not empty upon module cleanup" in done.stderr
