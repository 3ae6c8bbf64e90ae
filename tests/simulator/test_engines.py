"""Graphs become engines and run on every release; the bookkeeping of precision can be looked into."""

import json
import os

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


def test_an_engine_computes_what_its_graph_does(session):
    image = np.random.RandomState(0).rand(1, 1, 8, 8).astype(np.float32)
    weights = np.fromfile(os.path.join(fakes.GRAPHS, "weights.bin"), np.float32)[: 64 * 4].reshape(64, 4)
    engine = session.engine(session.built(GRAPH))
    np.testing.assert_allclose(session.run(engine, image, (1, 4)), image.reshape(1, 64) @ weights, rtol=1e-5)


def test_an_engine_names_its_inputs_and_outputs_as_its_release_does(session):
    engine = session.engine(session.built(GRAPH))
    if hasattr(engine, "num_io_tensors"):
        assert [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)] == ["image", "logits"]
        assert engine.get_tensor_mode("image") == session.trt.TensorIOMode.INPUT
        assert tuple(engine.get_tensor_shape("logits")) == (1, 4)
    else:
        assert [engine.get_binding_name(number) for number in range(engine.num_bindings)] == ["image", "logits"]
        assert engine.binding_is_input(0) and not engine.binding_is_input("logits")
        assert tuple(engine.get_binding_shape(1)) == (1, 4)


def test_the_inspector_answers_in_the_releases_form(session):
    engine = session.engine(session.built(GRAPH))
    text = engine.create_engine_inspector().get_engine_information(session.trt.LayerInformationFormat.JSON)
    layers = json.loads(text)["Layers"]
    assert [layer["LayerType"] for layer in layers] == ["SHUFFLE", "MATRIX_MULTIPLY"]
    new = session.board.table.as_new_as >= (11, 0)
    assert set(json.loads(text)) == {"Layers", "I/O Tensors" if new else "Bindings"}
    assert ("Format/Datatype" in layers[0]["Inputs"][0]) == (not new)


def test_every_layer_says_which_precision_it_got(session, tmp_path):
    path = tmp_path / "norm.onnx"
    path.write_bytes(graphs.model(graphs.LAYER_NORM, (1, 4, 8), {}))
    trt = session.trt
    network = session.parsed(str(path))
    config = session.config()
    if hasattr(trt.ILayer, "precision") and not session.strong:
        config.set_flag(trt.BuilderFlag.FP16)
        config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
        for layer in network:
            if layer.name in ("square", "variance"):
                layer.precision = trt.DataType.FLOAT
        header = simulator.plan_header(session.builder.build_serialized_network(network, config))
        precisions = {layer["name"]: layer["precision"] for layer in header["layers"]}
        assert precisions["square"] == precisions["variance"] == "FLOAT"
        assert precisions["centred"] == precisions["y"] == "HALF"
        assert header["pinned"] == ["square", "variance"]
    else:
        assert not hasattr(trt.ILayer, "precision") or session.strong


def test_attention_fuses_only_in_half_and_where_the_device_and_release_have_kernels(session, tmp_path):
    blocks = {}
    for kind in (graphs.FLOAT, graphs.HALF):
        path = tmp_path / "attention{}.onnx".format(kind)
        path.write_bytes(graphs.model(graphs.ATTENTION, (2, 4, 8), {}, kind=kind))
        blocks[kind] = simulator.plan_header(session.built(str(path)))["fused"]
    assert blocks[graphs.FLOAT] == []
    can = session.board.table.release not in ("8.2", "8.5")
    assert blocks[graphs.HALF] == ([["scores", "weights", "y"]] if can else [])


def test_a_mask_may_be_added_in_fused_attention_and_nothing_else_may_read_its_weights(tmp_path):
    read, fused = graphs.Op("Relu", ["weights"], ["seen"]), []
    with simulator.installed("10.3.0") as board:
        for nodes in (graphs.MASKED_ATTENTION, [*graphs.MASKED_ATTENTION[:-1], read, graphs.MASKED_ATTENTION[-1]]):
            path = tmp_path / "attention.onnx"
            path.write_bytes(graphs.model(nodes, (2, 4, 8), {}, kind=graphs.HALF))
            fused.append(simulator.plan_header(Session(board).built(str(path)))["fused"])
    assert fused == [[["scores", "masked", "weights", "y"]], []]


def test_fused_attention_is_one_layer_to_the_inspector(tmp_path):
    path = tmp_path / "attention.onnx"
    path.write_bytes(graphs.model(graphs.ATTENTION, (2, 4, 8), {}, kind=graphs.HALF))
    with simulator.installed("10.3.0") as board:
        session = Session(board)
        inspector = session.engine(session.built(str(path))).create_engine_inspector()
        layers = json.loads(inspector.get_engine_information(session.trt.LayerInformationFormat.JSON))["Layers"]
    assert [layer["Name"] for layer in layers] == ["keys", "_gemm_mha_v2_myl0_1"]
    assert layers[1]["Metadata"].count("[ONNX Layer: ") == 3


def test_a_timing_cache_fills_and_serves_the_next_build(session):
    trt, config = session.trt, session.config()
    assert config.set_timing_cache(config.create_timing_cache(b""), False)
    assert session.header(GRAPH, config)["timing_cache"]["hits"] == 0
    saved = bytes(config.get_timing_cache().serialize())
    again = session.config()
    assert again.set_timing_cache(cache=again.create_timing_cache(saved), ignore_mismatch=False)
    assert session.header(GRAPH, again)["timing_cache"] == {"hits": 3, "misses": 0}
    assert isinstance(again.get_timing_cache(), trt.ITimingCache)


def test_results_appear_only_when_the_stream_is_waited_for(session):
    engine = session.engine(session.built(GRAPH))
    image = np.ones((1, 1, 8, 8), np.float32)
    assert np.isnan(session.run(engine, image, (1, 4), wait=False)).all()
