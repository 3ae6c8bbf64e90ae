"""CUDA as it is: pycuda and libcudart on a GPU, where both are there."""

import numpy as np
import pytest

from pomt_trt.device.engines.tensorrt import cuda

driver = pytest.importorskip("pycuda.driver", reason="pycuda is not here")

pytestmark = pytest.mark.gpu


@pytest.fixture
def session():
    try:
        made = cuda.Session()
    except cuda.MissingDependency as error:
        pytest.skip(str(error))
    yield made
    made.close()


@pytest.fixture
def there_and_back(session):
    """(buffer, a function that enqueues its copy to the device and back)."""
    with session.current():
        buffer = session.buffer((4, 1000))

    def enqueue():
        session.copy_in(buffer)
        session.copy_out(buffer)
        return True

    return buffer, enqueue


def test_the_gpu_says_what_it_is():
    found = cuda.gpu()
    assert found.name and found.memory_bytes > 1 << 28


@pytest.mark.parametrize("passive", [False, True])
def test_what_goes_to_the_device_comes_back(session, there_and_back, passive):
    buffer, enqueue = there_and_back
    values = np.random.RandomState(0).rand(*buffer.host.shape).astype(np.float32)
    with session.current():
        buffer.host[...] = values
        session.copy_in(buffer)
        session.wait(passive)
        buffer.host[...] = 0
        session.copy_out(buffer)
        session.wait(passive)
    np.testing.assert_array_equal(buffer.host, values)


def test_a_captured_graph_runs_again_with_new_inputs(session, there_and_back):
    buffer, enqueue = there_and_back
    with session.current():
        enqueue()
        session.wait(passive=False)
        graph = cuda.Graph(session, enqueue)
        for value in (1.0, 2.0):
            buffer.host[...] = value
            graph.launch()
            session.wait(passive=True)
            assert (buffer.host == value).all()


def test_a_capture_that_waits_is_refused_and_the_stream_goes_on(session, there_and_back):
    buffer, enqueue = there_and_back

    def enqueues_and_waits():
        enqueue()
        session.stream.synchronize()
        return True

    with session.current():
        with pytest.raises((cuda.GraphUnavailable, driver.Error)):
            cuda.Graph(session, enqueues_and_waits)
        buffer.host[...] = 3.0
        enqueue()
        session.wait(passive=False)
    assert (buffer.host == 3.0).all()


def test_events_tell_how_long_the_device_took(session, there_and_back):
    buffer, enqueue = there_and_back
    with session.current():
        start = session.event()
        enqueue()
        end = session.event()
        session.wait(passive=False)
        assert 0 < start.time_till(end) < 1000


def test_closing_gives_the_memory_back():
    opened = cuda.Session()
    with opened.current():
        before, _ = driver.mem_get_info()
        opened.buffer((64, 1 << 20))  # 256 MiB
        during, _ = driver.mem_get_info()
    opened.close()
    again = cuda.Session()
    with again.current():
        after, _ = driver.mem_get_info()
    again.close()
    assert during <= before - (200 << 20)
    assert after > during
