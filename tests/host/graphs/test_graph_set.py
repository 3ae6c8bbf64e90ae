"""Templates and slots, on graphs that are made up: no model, no tracing."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from pomt_trt.core.errors import VerificationFailed
from pomt_trt.core.records import Schedule
from pomt_trt.core.schedules import schedule
from pomt_trt.host.graphs import graph_set
from pomt_trt.host.graphs.trace import Trace

PROBES = [Schedule((17, 15, 15, 9), 1), Schedule((17, 11, 11, 7), 1), Schedule((17, 14, 14, 3), 1)]
OTHERS = st.lists(st.integers(0, 5), min_size=3, max_size=3).map(
    lambda r: Schedule((17, 17 - r[0], 17 - r[0] - r[1], 17 - sum(r)), 1)
)


COUNTS = [graph_set.counts(probe) for probe in PROBES]


def traced(constants, weights=None):
    """A graph that adds its constants up; only their names and values matter here."""
    names = [*constants, *(weights or {})]
    nodes = [helper.make_node("Sum", ["image", *names], ["logits"], name="sum")]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1])
    held = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    return Trace(helper.make_model(helper.make_graph(nodes, "g", [image], [logits], held)), weights or {})


def constants_of(model):
    return {t.name: numpy_helper.to_array(t).tolist() for t in model.graph.initializer if not t.external_data}


def ends(schedule):
    """Integers as a real graph has them: slice ends, shapes and paddings, each from one count."""
    counts = graph_set.counts(schedule)
    return {
        "end": np.int64(counts[1]),
        "shape": np.array([2, counts[3] - 1, 24]),
        "removed": np.array([[-counts[6] + 4], [7]], dtype=np.int32),
        "untouched": np.array([0.5], dtype=np.float32),
    }


def test_counts_are_the_tokens_then_what_each_block_removes():
    assert graph_set.counts(Schedule((17, 15, 15, 9), 1)) == (17, 15, 15, 9, 2, 0, 6)


@given(OTHERS)
def test_an_instance_is_what_tracing_that_schedule_would_have_given(schedule):
    base = graph_set.template([traced(ends(probe)) for probe in PROBES], COUNTS, [], set())
    found = graph_set.instantiate(base, graph_set.counts(schedule), {})
    assert constants_of(found) == constants_of(traced(ends(schedule)).graph)
    assert found.graph.node == traced(ends(schedule)).graph.graph.node
    kept = {tensor.name: tensor.data_type for tensor in found.graph.initializer}
    assert kept["removed"] == TensorProto.INT32 and kept["end"] == TensorProto.INT64


def test_a_candidate_brings_its_own_constants():
    traces = [traced({**ends(probe), "kept": np.arange(probe.tokens_after)}) for probe in PROBES]
    base = graph_set.template(traces, COUNTS, [], {"kept"})
    found = graph_set.instantiate(base, COUNTS[1], {"kept": np.array([3, 1, 4])})
    assert constants_of(found)["kept"] == [3, 1, 4] and constants_of(found)["end"] == 11
    assert all(slot.initializer != "kept" for slot in base.slots)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([1, 2, 4], "no count explains it"),
        ([0.5, 0.25, 0.125], "no integer of fixed shape"),
        ([[1], [1, 2], [1, 2, 3]], "no integer of fixed shape"),
    ],
)
def test_a_difference_that_no_count_explains_is_an_error(values, reason):
    traces = [traced({"constant": np.array(value)}) for value in values]
    with pytest.raises(VerificationFailed, match=f"constant constant .*{reason}.*: report it"):
        graph_set.template(traces, COUNTS, [], set())


def test_graphs_of_another_structure_are_no_graph_set():
    traces = [traced(ends(probe)) for probe in PROBES]
    traces[1].graph.graph.node[0].op_type = "Max"
    with pytest.raises(VerificationFailed, match="differ in structure"):
        graph_set.template(traces, COUNTS, [], set())
    more = [*[traced(ends(probe)) for probe in PROBES[:2]], traced({**ends(PROBES[2]), "another": np.int64(1)})]
    with pytest.raises(VerificationFailed, match="differ in structure"):
        graph_set.template(more, COUNTS, [], set())


def test_weights_are_aligned_and_read_back_from_one_file(tmp_path):
    weights = {"b": np.arange(5, dtype=np.float32), "a": np.arange(12.0).reshape(3, 4).T, "c": np.array(3, np.int64)}
    located = graph_set.write_weights(tmp_path / "weights.bin", weights)
    data = (tmp_path / "weights.bin").read_bytes()
    assert [tensor.name for tensor in located] == ["a", "b", "c"]
    for tensor in located:
        place = {entry.key: entry.value for entry in tensor.external_data}
        start, length = int(place["offset"]), int(place["length"])
        assert place["location"] == "weights.bin" and start % graph_set.ALIGNMENT_BYTES == 0
        kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        found = np.frombuffer(data[start : start + length], kind).reshape(tuple(tensor.dims))
        assert found.dtype == weights[tensor.name].dtype and np.array_equal(found, weights[tensor.name])


def test_a_template_points_to_the_weights_that_it_reads_and_no_others(tmp_path):
    weights = {"weight": np.ones(4, np.float32), "other": np.zeros(4, np.float32)}
    located = graph_set.write_weights(tmp_path / "weights.bin", weights)
    trace = traced({"end": np.int64(1)}, {"weight": weights["weight"]})
    base = graph_set.template([trace], [COUNTS[0]], located, set())
    path = tmp_path / "r000.onnx"
    path.write_bytes(graph_set.instantiate(base, COUNTS[0], {}).SerializeToString())
    loaded = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(str(path)).graph.initializer}
    assert set(loaded) == {"end", "weight"} and np.array_equal(loaded["weight"], weights["weight"])


def test_the_simplest_slope_wins():
    schedules = [Schedule((17, 15, 13), 1), Schedule((17, 14, 11), 1)]  # block 1 removes what block 0 does
    counts = [graph_set.counts(schedule) for schedule in schedules]
    base = graph_set.template([traced({"end": np.int64(s.tokens[2])}) for s in schedules], counts, [], set())
    assert [abs(slot.slope) for slot in base.slots] == [1]


def test_equal_integers_become_one_constant_and_the_rest_stays():
    held = {"a": [1, 2], "b": [1, 2], "c": [[1, 2]], "d": [2, 1], "e": [0.5], "f": [0.5]}
    graph = traced(held).graph
    graph_set.share_integers(graph)
    assert list(graph.graph.node[0].input) == ["image", "a", "a", "c", "d", "e", "f"]
    assert constants_of(graph) == {name: value for name, value in held.items() if name != "b"}


def table(schedules):
    return np.array([graph_set.counts(one) for one in schedules])


def test_the_ends_and_the_middle_tell_all_where_one_block_acts_or_none_does():
    one_block = [schedule.single_layer(17, 4, 1, 2, removed) for removed in range(1, 9)]
    none = [schedule.constant(tokens, 4, 1) for tokens in range(17, 8, -1)]
    assert graph_set.telling(table(one_block)) == [0, 4, 7] and graph_set.telling(table(none)) == [0, 4, 8]


@given(st.lists(st.lists(st.integers(1, 4), min_size=3, max_size=3), min_size=4, max_size=12))
def test_no_two_counts_move_alike_between_the_chosen_that_do_not_between_all(removed):
    rows_of_all = table([schedule.per_block(17, 1, each) for each in removed])
    chosen = graph_set.telling(rows_of_all)
    assert chosen == sorted(chosen) and len(chosen) >= 3
    moves, seen = (rows[1:] - rows[0] for rows in (rows_of_all, rows_of_all[chosen]))
    for one in range(rows_of_all.shape[1]):
        for other in range(one):
            alike = np.linalg.matrix_rank(seen[:, [one, other]]) < 2
            assert alike == (np.linalg.matrix_rank(moves[:, [one, other]]) < 2)
