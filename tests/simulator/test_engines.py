"""Which attention fuses, and what the stand-in refuses that a TensorRT refuses: by None and False, with a reason.

Only rules that our code keeps, so that no other test meets them: what our code meets is tested through it
(tests/device/engines/tensorrt), and which graphs are taken beside a real TensorRT (tests/rtx).
"""

import pytest

from tests import simulator
from tests.simulator import graphs
from tests.simulator.session import Session


def test_attention_fuses_only_in_half_and_where_the_device_and_release_have_kernels(session, graph):
    assert session.header(graph(graphs.ATTENTION, (2, 4, 8)))["fused"] == []
    can = session.board.table.release not in ("8.2", "8.5")
    blocks = session.header(graph(graphs.ATTENTION, (2, 4, 8), kind=graphs.HALF))["fused"]
    assert blocks == ([["scores", "weights", "y"]] if can else [])


def test_a_mask_may_be_added_in_fused_attention_and_nothing_else_may_read_its_weights(orin, graph):
    masked, read = graphs.MASKED_ATTENTION, graphs.op("Relu", ["weights"], ["seen"])
    assert orin.header(graph(masked, (2, 4, 8), kind=graphs.HALF))["fused"] == [["scores", "masked", "weights", "y"]]
    assert orin.header(graph([*masked[:-1], read, masked[-1]], (2, 4, 8), kind=graphs.HALF))["fused"] == []


@pytest.mark.parametrize("operator, since", [("OneHot", "8.5"), ("LayerNormalization", "8.6.1"), ("Gelu", "10.3.0")])
def test_operators_arrive_with_the_release_that_brought_them(session, operator, since):
    order = simulator.ALL.index
    supported = session.parser(session.network()).supports_operator(operator)
    assert supported == (order(session.board.table.release) >= order(since))


def test_a_newer_opset_than_the_parsers_is_refused(graph):
    path = graph([graphs.op("Relu", ["x"], ["y"])], (1, 4), opset=17)
    with simulator.installed("8.2") as board:
        session = Session(board)
        assert session.parser(session.network()).parse_from_file(path) is False
    assert "17 is newer than 13" in session.errors


def test_eight_reads_only_networks_with_an_explicit_batch(session, quadrants):
    parser = session.parser(session.builder.create_network(0))
    assert parser.parse_from_file(quadrants) == (not session.board.table.release.startswith("8."))


def test_a_strongly_typed_network_takes_no_precision_flag(orin, quadrants):
    config = orin.builder.create_builder_config()
    config.set_flag(orin.trt.BuilderFlag.FP16)
    assert orin.builder.build_serialized_network(orin.parsed(quadrants), config) is None
    assert "FP16" in orin.errors


def test_precision_cannot_be_pinned_on_a_layer_of_integers(graph):
    path = graph([graphs.op("Shape", ["x"], ["y"])], (1, 4))
    with simulator.installed("8.2") as board:
        session = Session(board)
        network = session.parsed(path)
        network.get_layer(0).precision = session.trt.DataType.FLOAT
        assert session.builder.build_serialized_network(network, session.builder.create_builder_config()) is None
    assert "output is of another type" in session.errors


def test_plans_of_another_release_or_device_are_refused(orin, quadrants):
    plan = bytes(orin.built(quadrants))
    assert orin.engine(plan) is not None
    for release, device, reason in (("10.13.3", simulator.ORIN, "Version"), ("10.3.0", simulator.THOR, "incompatible")):
        with simulator.installed(release, device) as board:
            other = Session(board)
            assert other.engine(plan) is None and reason in other.errors


def test_a_compute_capability_that_cannot_be_set_is_refused():
    with simulator.installed(simulator.RTX) as board:
        session = Session(board)
        config, capabilities = session.builder.create_builder_config(), session.trt.ComputeCapability
        assert config.set_compute_capability(capabilities.SM86, 0) is False  # num_compute_capabilities is 0
        config.num_compute_capabilities = 1
        assert config.set_compute_capability(capabilities.NONE, 0) is False
        assert config.set_compute_capability(capabilities.SM86, 0) is True


def test_an_execution_needs_all_addresses(session, quadrants):
    context = session.engine(session.built(quadrants)).create_execution_context()
    has_names = hasattr(context, "execute_async_v3")
    assert (context.execute_async_v3(0) if has_names else context.execute_async_v2([0], 0)) is False
    assert ("Address is not set" if has_names else "1 bindings for 2 tensors") in session.errors


def test_a_misspelled_fault_is_refused():
    with pytest.raises(ValueError, match="'nan-logit' is not known"):
        simulator.Board("8.2", faults="nan-logit")
