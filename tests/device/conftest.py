"""A work folder with real graphs for real child processes: the quadrants of tests/fakes as a family of candidates.

slow-b1.onnx is r000-b1.onnx plus nought: the sum of a 4000 x 4000 product of constants, which ONNX Runtime computes
while it builds. That takes more than a second, enough to be killed in; running the engine takes no time.
"""

import os
import shutil

import pytest

from pomt_trt.core import schedule, store
from pomt_trt.core.records import Candidate, Family
from pomt_trt.core.workfolder import WorkFolder
from tests import fakes

FORM = "op13-fp32"
BROKEN = b"this is no ONNX"


def candidate(removed):
    return Candidate("topk", schedule.single_layer(17, 2, 1, 0, removed), 1)


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
