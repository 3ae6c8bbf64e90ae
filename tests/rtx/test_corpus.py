"""The stand-in judged by a real TensorRT: the same graphs, the same stage, the same way of failing, the same error.

The real one runs in a process of its own, since it may end it.
"""

import json
import subprocess
import sys

import pytest

from tests import simulator, suite
from tests.paths import ROOT
from tests.rtx import corpus, judge

LEAST_GRAPHS = 40
REFUSED = {"a cycle", "a dynamic batch", "ranking 4000", "matrices that do not fit", "a made up operator"}  # by all
REFUSED |= {"weights file missing", "weights file cut short", "no such file", "a file cut short", "an empty file"}
REFUSED |= {"a file that is no onnx", "no nodes at all"}


@pytest.fixture(scope="session")
def real(trt, tmp_path_factory):
    """Outcomes of a real TensorRT by the graph's name."""
    folder = str(tmp_path_factory.mktemp("corpus"))
    program = [sys.executable, "-m", "tests.rtx.judge", folder]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {name: judge.Outcome(*found) for name, found in json.loads(done.stdout.splitlines()[-1]).items()}


@pytest.fixture(scope="session")
def paths(tmp_path_factory):
    """The corpus's files by the graph's name."""
    root = tmp_path_factory.mktemp("graphs")
    found = {}
    for name, make in corpus.GRAPHS.items():
        (root / name).mkdir()
        found[name] = make(str(root / name))
    return found


def test_the_corpus_has_good_and_bad_graphs_of_every_kind(real):
    assert len(real) == len(corpus.GRAPHS) >= LEAST_GRAPHS
    assert {found.stage for found in real.values()} == {"parse", "build", "built"}
    kinds = {found.kind for found in real.values()}
    assert {"INVALID_NODE", "INVALID_GRAPH", "UNSUPPORTED_NODE", "UNSUPPORTED_NODE_ATTR", "log"} <= kinds


@pytest.mark.parametrize("name", corpus.GRAPHS)
def test_the_stand_in_decides_as_the_real_one_does(real, paths, name):
    with simulator.installed(simulator.RTX):
        found = judge.outcome(sys.modules["tensorrt_rtx"], paths[name])
    assert found.decision == real[name].decision, (found.said, real[name].said)


@pytest.mark.parametrize("release", suite.RELEASES)
def test_no_release_of_the_stand_in_falls_over_a_graph_or_takes_one_that_no_builder_takes(release, paths):
    for name, path in paths.items():
        with simulator.installed(release) as board:
            found = judge.outcome(sys.modules[board.table.package], path)
        assert found.kind != "exception", (name, found)
        assert found.stage != "built" or name not in REFUSED, name
