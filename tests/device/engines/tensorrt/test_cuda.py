"""CUDA on the stand-in pycuda, which does nothing before somebody waits for it, and graphs on a stand-in libcudart."""

import ctypes
import threading
import time

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


class Cudart:
    """libcudart as far as graphs go: what is enqueued during a capture is kept, and launched when it is told to.

    `refusal` is the call that fails.
    """

    def __init__(self, version=12060, refusal=None):
        self.version, self.refusal, self.calls, self.launched = version, refusal, [], 0
        self.cudaGetErrorString, self.cudaGraphLaunch = Bare(self._text), Bare(self._launch)

    def _done(self, name, *arguments):
        self.calls.append((name, len(arguments)))
        return 900 if name == self.refusal else 0

    def cudaRuntimeGetVersion(self, number):
        number._obj.value = self.version
        return 0

    def cudaStreamBeginCapture(self, stream, mode):
        assert mode.value == cuda.THREAD_LOCAL
        return self._done("begin", stream, mode)

    def cudaStreamEndCapture(self, stream, graph):
        graph._obj.value = 0x1234
        return self._done("end", stream, graph)

    def cudaGraphInstantiate(self, executable, graph, *options):
        executable._obj.value = 0x5678
        return self._done("instantiate", executable, graph, *options)

    def cudaGraphDestroy(self, graph):
        return self._done("destroy", graph)

    def cudaGraphExecDestroy(self, executable):
        return self._done("destroy executable", executable)

    def cudaGetLastError(self):
        return self._done("forget")

    def _launch(self, executable, stream):
        self.launched += 1
        return self._done("launch", executable, stream)

    def _text(self, error):
        return b"operation not permitted when stream is capturing"


class Bare:
    """A function of a library, which takes attributes."""

    def __init__(self, call):
        self._call = call

    def __call__(self, *arguments):
        return self._call(*arguments)


def test_it_names_the_gpu_that_engines_are_bound_to(board):
    found = cuda.gpu()
    assert (found.name, found.compute_capability, found.multiprocessors) == ("Orin", "8.7", 16)
    assert found.memory_bytes == board.device.memory_bytes


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
        assert 0 <= cuda.elapsed_ms(before, after) < (time.perf_counter() - began_s) * 1e3


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
    cudart = Cudart(version=version)
    libcudart(cudart)
    with session.current():
        graph = cuda.capture(session, lambda: True)
        graph.launch()
    assert cudart.calls == [
        ("begin", 2),
        ("end", 2),
        ("instantiate", arguments),
        ("destroy", 1),
        ("launch", 2),
    ]
    session.close()
    assert cudart.calls[-1] == ("destroy executable", 1)


@pytest.mark.parametrize("refusal", ["begin", "end", "instantiate"])
def test_what_cannot_be_captured_says_why_and_leaves_no_error_behind(session, libcudart, refusal):
    cudart = Cudart(refusal=refusal)
    libcudart(cudart)
    with session.current(), pytest.raises(cuda.GraphUnavailable, match="not permitted when stream is capturing"):
        cuda.capture(session, lambda: True)
    assert ("forget", 0) in cudart.calls


def test_a_graph_that_cannot_be_launched_says_why_and_what_to_do(session, libcudart):
    libcudart(Cudart(refusal="launch"))
    with session.current(), pytest.raises(PomtError, match="cudaGraphLaunch: operation not.*run the same"):
        cuda.capture(session, lambda: True).launch()


def test_a_capture_in_which_nothing_could_be_enqueued_is_ended(session, libcudart):
    cudart = Cudart()
    libcudart(cudart)
    with session.current(), pytest.raises(cuda.GraphUnavailable, match="cannot be captured"):
        cuda.capture(session, lambda: False)
    assert [name for name, _ in cudart.calls][:2] == ["begin", "end"]


def test_an_old_runtime_has_no_graphs(session, libcudart):
    libcudart(Cudart(version=10000))
    with session.current(), pytest.raises(cuda.GraphUnavailable, match="10000"):
        cuda.capture(session, lambda: True)


def test_a_machine_without_libcudart_has_no_graphs(session, monkeypatch):
    def refuse(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    with session.current(), pytest.raises(cuda.GraphUnavailable, match="not found"):
        cuda.capture(session, lambda: True)
