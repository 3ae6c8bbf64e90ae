"""Made-up machines, clocks and engines; a work folder with real graphs for real child processes.

The graphs are the quadrants of tests/fakes as a family of candidates.

slow-b1.onnx is r000-b1.onnx plus nought: the sum of a 4000 x 4000 product of constants, which ONNX Runtime computes
while it builds. That takes more than a second, enough to be killed in; running the engine takes no time.
"""

import os
import shutil
import sys

import pytest

from pomt_trt.core.records import Candidate, Family
from pomt_trt.core.schedules import schedule
from pomt_trt.core.storage import store
from pomt_trt.core.storage.workfolder import WorkFolder
from pomt_trt.device.board import board
from pomt_trt.device.engines import registry
from pomt_trt.device.timing.turns.engine_group import Clocks, EngineMember
from tests import fakes
from tests.device.turned import Cpu

FORM = "op13-fp32"
BROKEN = b"this is no ONNX"


def candidate(removed):
    return Candidate("topk", schedule.single_layer(17, 2, 1, 0, removed), 1)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    """Compiled kernels go to a folder of the test's own, never to the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def jetson_here(monkeypatch):
    """jetson_here(identity) makes this machine that Jetson; None: no Jetson."""

    def become(identity):
        for module in (board, registry):
            monkeypatch.setattr(module, "identity", lambda: identity)

    return become


@pytest.fixture
def absent(monkeypatch):
    """absent(name) makes a package impossible to import."""
    return lambda name: monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture
def source(tmp_path):
    """A folder with both graphs and their weights, as export leaves it."""
    shutil.copytree(fakes.GRAPHS, str(tmp_path / "onnx"))
    return str(tmp_path / "onnx")


@pytest.fixture
def folder(tmp_path):
    """Where engines go."""
    return str(tmp_path / "engines")


class Graphs:
    """A work folder and its family; `sources` says which graph each candidate gets."""

    def __init__(self, root, sources):
        self.work = WorkFolder(str(root))
        os.makedirs(self.work.onnx(FORM))
        shutil.copy(os.path.join(fakes.GRAPHS, "weights.bin"), self.work.weights(FORM))
        hashes = {}
        for removed, source in sources.items():
            path = self.work.graph(FORM, candidate(removed).id)
            if source is None:
                with open(path, "wb") as file:
                    file.write(BROKEN)
            else:
                shutil.copy(os.path.join(fakes.GRAPHS, source + "-b1.onnx"), path)
            hashes[candidate(removed).id] = store.sha256_of(path)
        weights = store.sha256_of(self.work.weights(FORM))
        made = tuple(candidate(removed) for removed in sources)
        self.family = Family(FORM, "jetpack-4.6.1", 13, 7, weights, 2048, made, hashes)

    def exported_again(self, removed, source):
        """The same family after one candidate's graph has become another."""
        path = self.work.graph(FORM, candidate(removed).id)
        shutil.copy(os.path.join(fakes.GRAPHS, source + "-b1.onnx"), path)
        hashes = dict(self.family.graph_sha256, **{candidate(removed).id: store.sha256_of(path)})
        self.family = self.family._replace(graph_sha256=hashes)


@pytest.fixture
def graphs(tmp_path):
    """Makes Graphs from removed=source keywords, such as {0: "r000", 4: "r004", 8: None}; None is broken ONNX."""
    return lambda sources: Graphs(tmp_path / "work", sources)


@pytest.fixture
def cpu():
    return Cpu()


@pytest.fixture
def naps():
    """Seconds that somebody slept."""
    return []


@pytest.fixture
def clocks(clock, cpu, naps):
    """Clocks that only runs and naps turn."""

    def sleep(seconds):
        assert seconds > 0
        naps.append(seconds)
        clock.pass_ms(1e3 * seconds)

    return Clocks(clock, cpu, sleep)


@pytest.fixture
def made(clock, cpu, clocks):
    """Makes a member whose run takes `ms` (a number, or a function of its run's number) and is logged.

    It uses the processor for `cpu_share` of that time. More options are EngineMember's.
    """
    log, began_s = [], []

    def member(name, ms, cpu_share=1.0, **options):
        def run():
            took = ms(log.count(name)) if callable(ms) else ms
            log.append(name)
            began_s.append(clock())
            clock.pass_ms(took)
            cpu.used_s += took * cpu_share / 1e3

        return EngineMember(name, run, options.pop("clocks", clocks), **options)

    member.log, member.began_s = log, began_s
    return member
