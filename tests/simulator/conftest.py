"""What the simulator's own tests share: a program on each release, one on an Orin, and files of small graphs."""

import os

import pytest

from tests import fakes, simulator, suite
from tests.simulator import graphs
from tests.simulator.session import Session


@pytest.fixture(params=suite.ALL)
def session(request):
    with simulator.installed(request.param) as board:
        yield Session(board)


@pytest.fixture
def orin():
    with simulator.installed("10.3.0") as board:
        yield Session(board)


@pytest.fixture
def quadrants():
    """Path of a graph that every release reads."""
    return os.path.join(fakes.GRAPHS, "r000-b1.onnx")


@pytest.fixture
def graph(tmp_path):
    """Writes a graph of these arguments, see graphs.model; returns its path."""

    def write(*arguments, **options):
        path = tmp_path / "graph.onnx"
        path.write_bytes(graphs.model(*arguments, **options))
        return str(path)

    return write
