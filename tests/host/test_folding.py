"""Constant folding by NVIDIA's own tool finds nothing to do in our graphs: trace.py has folded them."""

from collections import Counter

import pytest

pytest.importorskip("onnx_graphsurgeon", reason="Polygraphy folds constants by it")
from polygraphy.backend.onnx import fold_constants
from polygraphy.logger import G_LOGGER

from tests.host import tiny

METHODS = {"none": None, "pomt": 2, "topk": None, "random": None}


def folded_away(tmp_path, model, method, batch_size=1, opset=17):
    """How many nodes of each operator Polygraphy's folding removes from R = 0 and from a candidate's graph."""
    removed = [0] if method == "none" else [0, 6]
    made = tiny.exported(tmp_path, model, removed, method, layer=METHODS[method], batch_size=batch_size, opset=opset)
    found = Counter()
    for candidate in made.family.candidates:
        graph = made.graph(candidate, weights=True)
        before = Counter(node.op_type for node in graph.graph.node)
        with G_LOGGER.verbosity(G_LOGGER.CRITICAL):
            after = Counter(node.op_type for node in fold_constants(graph).graph.node)
        assert not after - before
        found += before - after
    return found


@pytest.mark.parametrize("opset", [13, 17])
@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_left_to_fold_whatever_the_method(method, opset, tmp_path):
    assert not folded_away(tmp_path, tiny.vit(), method, opset=opset)


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_nothing_is_left_to_fold_whatever_the_model(kind, tmp_path):
    assert not folded_away(tmp_path, tiny.vit(**tiny.KINDS[kind]), "none")


def test_in_larger_batches_the_class_token_stays_one_and_is_copied_by_the_engine(tmp_path):
    assert folded_away(tmp_path, tiny.vit(), "pomt", batch_size=4) == {"Expand": 2}  # one a graph
