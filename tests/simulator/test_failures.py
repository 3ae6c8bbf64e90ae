"""TensorRT fails by None and False, with its reason in the log only; so does the stand-in, and where it must."""

import os
import time

import numpy as np
import pytest

from tests import fakes, simulator, suite
from tests.simulator import graphs
from tests.simulator.session import Session

GRAPH = os.path.join(fakes.GRAPHS, "r000-b1.onnx")


@pytest.fixture(params=suite.ALL)
def session(request):
    with simulator.installed(request.param) as board:
        yield Session(board)


@pytest.fixture
def orin():
    with simulator.installed("10.3.0") as board:
        yield Session(board)


def refused(session, blob, folder):
    """The errors of a parser that refuses these bytes."""
    path = folder / "graph.onnx"
    path.write_bytes(blob)
    parser = session.parser(session.network())
    assert parser.parse_from_file(str(path)) is False
    return [parser.get_error(number) for number in range(parser.num_errors)]


def test_an_operator_that_the_release_lacks_is_refused_with_its_node(session, tmp_path):
    nodes = [graphs.Op("Relu", ["x"], ["first"]), graphs.Op("MadeUp", ["first"], ["y"])]
    (error,) = refused(session, graphs.model(nodes, (1, 4), {}), tmp_path)
    assert error.node() == 1 and "Plugin not found" in error.desc()
    new = session.board.table.as_new_as >= (10, 0)
    assert error.code().name == ("INVALID_NODE" if new else "UNSUPPORTED_NODE")
    assert "MadeUp" in session.errors
    assert hasattr(error, "node_name") == (not session.board.table.release.startswith("8."))


@pytest.mark.parametrize("operator, since", [("OneHot", "8.5"), ("LayerNormalization", "8.6.1"), ("Gelu", "10.3.0")])
def test_operators_arrive_with_the_release_that_brought_them(session, operator, since):
    order = simulator.ALL.index
    supported = session.parser(session.network()).supports_operator(operator)
    assert supported == (order(session.board.table.release) >= order(since))


def test_a_newer_opset_than_the_parsers_is_refused(tmp_path):
    with simulator.installed("8.2") as board:
        (error,) = refused(
            Session(board), graphs.model([graphs.Op("Relu", ["x"], ["y"])], (1, 4), {}, opset=17), tmp_path
        )
    assert "17 is newer than 13" in error.desc()


def test_ranking_more_than_3840_tokens_is_refused(session, tmp_path):
    nodes = [graphs.Op("TopK", ["x", "k"], ["y", "indices"])]
    path = tmp_path / "graph.onnx"
    path.write_bytes(graphs.model(nodes, (1, 5000), {"k": [3841]}))
    assert session.builder.build_serialized_network(session.parsed(str(path)), session.config()) is None
    assert "maximum value allowed (3840)" in session.errors


def test_missing_weights_and_files_and_broken_files_are_refused(session, tmp_path):
    with open(GRAPH, "rb") as file:
        (error,) = refused(session, file.read(), tmp_path)
    assert "weights.bin" in error.desc()
    with open(GRAPH, "rb") as file:
        (error,) = refused(session, file.read()[:-1], tmp_path)
    assert error.code() == session.trt.ErrorCode.MODEL_DESERIALIZE_FAILED
    parser = session.parser(session.network())
    assert parser.parse_from_file("/nowhere.onnx") is False
    assert parser.num_errors == (session.board.table.as_new_as >= (11, 0))


def test_bytes_that_end_a_group_are_an_empty_model_which_only_the_builder_refuses(session, tmp_path):
    path = tmp_path / "graph.onnx"
    path.write_bytes(b"this is no ONNX")
    assert session.builder.build_serialized_network(session.parsed(str(path)), session.config()) is None
    assert "at least one output" in session.errors


def test_eight_reads_only_networks_with_an_explicit_batch(session):
    parser = session.parser(session.builder.create_network(0))
    assert parser.parse_from_file(GRAPH) == (not session.board.table.release.startswith("8."))


def test_a_strongly_typed_network_takes_no_precision_flag(orin):
    config = orin.config()
    config.set_flag(orin.trt.BuilderFlag.FP16)
    assert orin.builder.build_serialized_network(orin.parsed(GRAPH), config) is None
    assert "FP16" in orin.errors


def test_precision_cannot_be_pinned_on_a_layer_of_integers(tmp_path):
    path = tmp_path / "integers.onnx"
    path.write_bytes(graphs.model([graphs.Op("Shape", ["x"], ["y"])], (1, 4), {}))
    with simulator.installed("8.2") as board:
        session = Session(board)
        network = session.parsed(str(path))
        network.get_layer(0).precision = session.trt.DataType.FLOAT
        assert session.builder.build_serialized_network(network, session.config()) is None
        assert "output is of another type" in session.errors


def test_an_unparsed_network_is_no_engine(session):
    assert session.builder.build_serialized_network(session.network(), session.config()) is None
    assert session.errors


def test_plans_of_another_release_or_device_and_cut_ones_are_refused(orin):
    plan = bytes(orin.built(GRAPH))
    assert orin.engine(plan) is not None
    assert orin.engine(plan[:-1]) is None and "assertion" in orin.errors
    for release, device, reason in (("10.13.3", simulator.ORIN, "Version"), ("10.3.0", simulator.THOR, "incompatible")):
        with simulator.installed(release, device) as board:
            other = Session(board)
            assert other.engine(plan) is None and reason in other.errors


def test_a_timing_cache_of_another_device_is_not_taken(session):
    config = session.config()
    config.set_timing_cache(config.create_timing_cache(b""), False)
    session.builder.build_serialized_network(session.parsed(GRAPH), config)
    saved = bytes(config.get_timing_cache().serialize())
    assert session.config().create_timing_cache(b"no cache") is None
    session.board.faults["foreign-cache"] = ""
    foreign = session.config()
    assert foreign.set_timing_cache(foreign.create_timing_cache(saved), False) is False
    assert foreign.set_timing_cache(foreign.create_timing_cache(saved), True) is True


def test_a_build_that_finds_no_tactic_gives_none(session):
    session.board.faults["none-build"] = "r000"
    assert session.builder.build_serialized_network(session.parsed(GRAPH), session.config()) is None
    assert "Could not find any implementation" in session.errors
    session.board.faults["none-build"] = "r004"
    assert session.built(GRAPH) is not None


def test_a_monitor_follows_the_build_and_can_end_it(orin):
    trt, steps = orin.trt, []

    class Monitor(trt.IProgressMonitor):
        def __init__(self, last):
            super().__init__()
            self.last = last

        def phase_start(self, phase_name, parent_phase, num_steps):
            steps.append((phase_name, num_steps))

        def step_complete(self, phase_name, step):
            steps.append(step)
            return step < self.last

        def phase_finish(self, phase_name):
            steps.append("finished")

    for last, going_on in ((100, True), (3, False)):
        config = orin.config()
        config.progress_monitor = Monitor(last)
        made = orin.builder.build_serialized_network(orin.parsed(GRAPH), config)
        assert (made is not None) == going_on
    assert steps[0] == ("Building Engine", 10) and steps[-2:] == [3, "finished"]


def test_execution_without_an_address_or_on_a_fault_returns_false(session):
    engine = session.engine(session.built(GRAPH))
    if hasattr(engine, "num_io_tensors"):
        assert engine.create_execution_context().execute_async_v3(0) is False
        assert "Address is not set" in session.errors
    else:
        assert engine.create_execution_context().execute_async_v2([0], 0) is False
    session.board.faults["false-execution"] = ""
    assert session.enqueued(engine.create_execution_context(), [1, 2], 0) is False


@pytest.mark.parametrize("fault, wrong", [("nan-logits", np.isnan), ("wrong-logits=0.1", lambda logits: logits != 0)])
def test_engines_can_be_made_to_give_wrong_numbers(fault, wrong):
    image = np.ones((1, 1, 8, 8), np.float32)
    with simulator.installed("10.3.0", faults=fault) as board:
        session = Session(board)
        engine = session.engine(session.built(GRAPH))
        damaged = session.run(engine, image, (1, 4))
        board.faults.clear()
        right = session.run(engine, image, (1, 4))
    assert wrong(damaged - right).any()


def test_builds_can_be_made_to_differ_in_time():
    image = np.ones((1, 1, 8, 8), np.float32)
    with simulator.installed("10.3.0", faults="build-noise=60") as board:
        session = Session(board)
        plan = session.built(GRAPH)
        extra_s = simulator.plan_header(plan)["extra_ms"] / 1e3
        engine, started = session.engine(plan), time.perf_counter()
        session.run(engine, image, (1, 4))
        assert time.perf_counter() - started >= extra_s > 0


def test_a_misspelled_fault_is_refused():
    with pytest.raises(ValueError, match="'nan-logit' is not known"):
        simulator.Board("8.2", faults="nan-logit")
