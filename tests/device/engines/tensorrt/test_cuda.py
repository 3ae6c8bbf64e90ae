"""CUDA on the stand-in pycuda, which does nothing before somebody waits for it, and graphs on a stand-in libcudart."""

import ctypes
import threading
import time
from unittest import mock

import numpy as np
import pytest

from pomt_trt.core.errors import MissingDependency, PomtError
from pomt_trt.device.engines.tensorrt import cuda
from tests import simulator


@pytest.fixture
def board():
    with simulator.installed("10.3.0") as board:
        yield board


@pytest.fixture
def session(board):
    made = cuda.Session()
    yield made
    made.close()
    assert board.memory.used_bytes == 0


def cudart(version=12060, refusal=None):
    """A stand-in for libcudart as far as graphs go; `refusal` is the call that fails."""
    library = mock.Mock(**{call + ".return_value": 900 if call == refusal else 0 for call in CALLS})
    library.cudaGetErrorString.return_value = b"operation not permitted when stream is capturing"
    library.cudaRuntimeGetVersion.side_effect = lambda number: _given(number, version)
    library.cudaStreamEndCapture.side_effect = lambda stream, graph: _given(graph, 0x1234) or mock.DEFAULT
    return library


CALLS = ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate", "cudaGraphDestroy"]
CALLS += ["cudaGraphLaunch", "cudaGraphExecDestroy"]


def _given(reference, value):
    """Writes where a C function gives its result."""
    reference._obj.value = value
    return 0


def graph_calls(library):
    """(name, number of arguments) of each call."""
    return [(name, len(arguments)) for name, arguments, _ in library.method_calls if name in CALLS]


def test_it_names_the_gpu_that_engines_are_bound_to(board):
    found = cuda.gpu()
    assert found == ("Orin", "8.7", board.device.memory_bytes)


def test_without_a_device_it_says_what_to_look_at():
    with simulator.installed("8.2", faults="no-device"), pytest.raises(MissingDependency, match="nvidia-smi"):
        cuda.gpu()


def test_without_pycuda_it_says_how_to_install_it(absent):
    absent("pycuda")
    with pytest.raises(MissingDependency, match="pip install pycuda"):
        cuda.gpu()


@pytest.mark.parametrize("passive", [False, True])
def test_what_is_copied_in_comes_out_again(session, passive):
    with session.current():
        buffer = session.buffer((2, 3))
        buffer.host[:] = np.arange(6).reshape(2, 3)
        session.copy_in(buffer)
        session.wait(passive)
        buffer.host[:] = 0
        session.copy_out(buffer)
        assert not buffer.host.any()  # nothing is there before the stream was waited for
        session.wait(passive)
        assert buffer.host.ravel().tolist() == [0, 1, 2, 3, 4, 5]


def test_events_tell_the_time_between_them(session):
    with session.current():
        began_s = time.perf_counter()
        before = session.event()
        after = session.event()
        session.wait(False)
        assert 0 <= before.time_till(after) < (time.perf_counter() - began_s) * 1e3


def test_any_thread_may_use_a_session_and_none_is_left_with_its_context(session):
    found = []

    def work():
        with session.current():
            buffer = session.buffer((4,))
            buffer.host[:] = 7
            session.copy_in(buffer)
            session.copy_out(buffer)
            session.wait(False)
            found.append(buffer.host.sum())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [28.0] * 4


def test_what_cuda_refuses_is_explained():
    with simulator.installed("10.3.0", simulator.ORIN._replace(memory_bytes=1024)):
        session = cuda.Session()
        with pytest.raises(PomtError, match="out of memory.*smaller --batch-size"), session.current():
            session.buffer((1024,))
        session.close()


def test_a_session_may_be_closed_twice_and_gives_everything_back(board):
    session = cuda.Session()
    with session.current():
        session.buffer((64,))
    assert board.memory.used_bytes
    session.close()
    session.close()
    assert board.memory.used_bytes == 0


@pytest.mark.parametrize("version, arguments", [(10020, 5), (11040, 5), (12000, 3), (13020, 3)])
def test_a_graph_is_instantiated_as_the_runtime_wants_it(session, libcudart, version, arguments):
    library = cudart(version)
    libcudart(library)
    with session.current():
        cuda.Graph(session, lambda: True).launch()
    assert graph_calls(library) == list(zip(CALLS, (2, 2, arguments, 1, 2)))
    assert library.cudaStreamBeginCapture.call_args[0][1].value == cuda.THREAD_LOCAL
    session.close()
    assert graph_calls(library)[-1] == ("cudaGraphExecDestroy", 1)


@pytest.mark.parametrize("refusal", ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate"])
def test_what_cannot_be_captured_says_why_and_leaves_no_error_behind(session, libcudart, refusal):
    library = cudart(refusal=refusal)
    libcudart(library)
    with session.current(), pytest.raises(cuda.GraphUnavailable, match="not permitted when stream is capturing"):
        cuda.Graph(session, lambda: True)
    library.cudaGetLastError.assert_called_with()


def test_a_graph_that_cannot_be_launched_says_why_and_what_to_do(session, libcudart):
    libcudart(cudart(refusal="cudaGraphLaunch"))
    with session.current(), pytest.raises(PomtError, match="cudaGraphLaunch: operation not.*run the same"):
        cuda.Graph(session, lambda: True).launch()


def test_a_capture_in_which_nothing_could_be_enqueued_is_ended(session, libcudart):
    library = cudart()
    libcudart(library)
    with session.current(), pytest.raises(cuda.GraphUnavailable, match="cannot be captured"):
        cuda.Graph(session, lambda: False)
    library.cudaStreamEndCapture.assert_called_once()


def test_an_old_runtime_has_no_graphs(session, libcudart):
    libcudart(cudart(version=10000))
    with session.current(), pytest.raises(cuda.GraphUnavailable, match="10000"):
        cuda.Graph(session, lambda: True)


def test_a_machine_without_libcudart_has_no_graphs(session, monkeypatch):
    def refuse(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    with session.current(), pytest.raises(cuda.GraphUnavailable, match="not found"):
        cuda.Graph(session, lambda: True)
