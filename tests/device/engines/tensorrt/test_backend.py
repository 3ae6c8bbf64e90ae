"""TensorRT on its stand-in (tests/simulator): what is asked of each release, and what becomes of its refusals.

This shows our bookkeeping and nothing about TensorRT's speed or numbers.
"""

import json
import os
import sys
import threading

import numpy as np
import onnx
import pytest

from pomt_trt.core.errors import BuildFailed, CorruptArtifact, MissingDependency, WrongDevice
from pomt_trt.core.records import Engine, Schedule
from pomt_trt.core.schedules import schedule
from pomt_trt.core.storage import store
from pomt_trt.device.board import board
from pomt_trt.device.board.jetson import Identity
from pomt_trt.device.engines import contract, engine, registry
from pomt_trt.device.engines.tensorrt import bindings, building, cuda, layer_info
from tests import fakes, simulator
from tests.suite import ALL, RELEASES

pytest.importorskip("onnxruntime", reason="the stand-in runs graphs by it")
pytestmark = pytest.mark.usefixtures("no_libcudart")
WEAK = ("8.2", "8.5", "8.6.1")
NODE = "pick"  # of named_node


def built(source, folder, name="r004", batch=1, **options):
    graph = os.path.join(source, "{}-b{}.onnx".format(name, batch))
    path = os.path.join(folder, name + ".engine")
    library = "tensorrt" if "tensorrt" in sys.modules else "tensorrt-rtx"
    return engine.build(graph, path, board.device_spec(library), name, contract.BuildOptions(**options))


def edited(source, edit):
    """Changes a graph as onnx has it."""
    path = os.path.join(source, "r004-b1.onnx")
    model = onnx.load(path, load_external_data=False)
    edit(model.graph)
    with open(path, "wb") as file:
        file.write(model.SerializeToString())


def named_node(source, **more):
    """Gives the graph's product a name, which its writer did not, and other fields."""

    def edit(graph):
        (product,) = [node for node in graph.node if node.op_type == "MatMul"]
        for field, value in dict(more, name=NODE).items():
            setattr(product, field, value)

    edited(source, edit)


def image_for(record):
    return np.random.RandomState(0).rand(*record.input_shape).astype(np.float32)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("release", ALL)
def test_an_engine_computes_what_its_graph_says(source, folder, release, batch):
    with simulator.installed(release) as machine:
        record = built(source, folder, batch=batch)
        assert record.input_shape == (batch, 1, 8, 8) and record.bytes > 0 and record.weights_sha256 is None
        with engine.open_engine(record, folder) as runner:
            image = image_for(record)
            first = runner.run(image)
            again = runner.run(2 * image)
            np.testing.assert_allclose(first, image.reshape(batch, 64) @ fakes.quadrant_weights("r004"), rtol=1e-5)
            np.testing.assert_allclose(again, 2 * first, rtol=1e-5)  # and what was given back stays as it was
            times = runner.gpu_times(image)
            assert times.compute_ms >= 0 and times.copy_in_ms >= 0 and times.copy_out_ms >= 0
            runner.close()  # a second time does nothing
        assert machine.memory.used_bytes == 0


@pytest.mark.parametrize("release", ALL)
def test_each_release_is_asked_for_what_it_has(source, folder, release):
    with simulator.installed(release):
        details = built(source, folder).details
        header = plan_of(folder)
    assert header["avg_timing_iterations"] >= 8 and header["verbosity"] == "DETAILED"
    assert header["workspace_bytes"] == details["workspace_bytes"] == memory_of(release) // 4
    assert "TF32" not in header["flags"] and details["tf32"] is False
    assert header["strongly_typed"] == details["strongly_typed"] == (release in ("11.4.0", simulator.RTX))
    assert ("optimisation_level" in details) == (release not in ("8.2", "8.5"))


def plan_of(folder, name="r004"):
    with open(os.path.join(folder, name + ".engine"), "rb") as file:
        return simulator.plan_header(file.read())


def memory_of(release):
    return simulator.Board(release).device.memory_bytes


def test_a_workspace_may_be_given(source, folder):
    with simulator.installed("8.2"):
        built(source, folder, workspace_bytes=1 << 20)
        assert plan_of(folder)["workspace_bytes"] == 1 << 20


@pytest.mark.parametrize("release", RELEASES)
def test_its_layers_lie_beside_the_engine(source, folder, release):
    with simulator.installed(release):
        record = built(source, folder)
    with open(os.path.join(folder, record.details["layers"])) as file:
        assert layer_info.parse_layers(file.read())
    assert record.details["layers"] == "r004.layers.json" and record.details["fused_attention"] == 0


def test_fused_attention_is_counted_by_names_of_layers_or_tactics():
    text = json.dumps(
        {"Layers": [{"Name": "_gemm_mha_v2_myl0_3"}, {"Name": "x", "TacticName": "fmha_v2_fp16"}, "attn/a"]}
    )
    assert layer_info.fused_attention(layer_info.parse_layers(text)) == 2
    assert layer_info.fused_attention(layer_info.parse_layers("no JSON")) is None


@pytest.mark.parametrize(
    "capability, precision, fused, removed, reads, told",
    [
        ("8.7", "fp16", 2, 0, True, None),
        ("8.7", "fp16", 1, 4, True, None),  # the other block scores tokens by its attention
        ("8.7", "fp16", 1, 0, True, "1 of the 2 blocks of r000"),
        ("11.0", "fp16", 0, 4, True, "0 of the 1 blocks of r004"),
        ("8.7", "fp16", 2, 4, False, None),
        ("8.7", "fp16", 1, 4, False, "1 of the 2 blocks of r004"),
        ("8.7", "fp32", 0, 0, True, None),
        ("6.2", "fp16", 0, 0, True, None),
        ("8.7", "fp16", None, 0, True, None),
        (None, "fp32", None, 0, True, None),
    ],
)
def test_attention_that_could_be_fused_and_is_not_is_told(capability, precision, fused, removed, reads, told):
    device = fakes.DEVICE._replace(compute_capability=capability)
    name = "r{:03d}".format(removed)
    details = {"fused_attention": fused}
    record = Engine(name, device, name + ".engine", "", 1, None, (1, 1, 8, 8), 2, 1.0, precision, details)
    found = layer_info.shortfall(record, schedule.single_layer(17, 2, 1, 0, removed), reads)
    assert found is None if told is None else told in found


def test_blocks_that_only_merge_leave_their_attention_to_be_fused():
    mixed = Schedule((17, 15, 12, 12), 1, merged=(2, 1, 0))
    assert layer_info.fusible(mixed, reads_attention=True) == 2
    assert layer_info.fusible(mixed, reads_attention=False) == 3


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("release", ALL)
def test_a_mixed_graph_is_built_strongly_typed_without_a_flag_or_refused(source, folder, release, precision):
    with simulator.installed(release):
        if release in WEAK:
            with pytest.raises(BuildFailed, match="honours loosely.*--target|bf16 needs 8.0 or later"):
                built(source, folder, precision=precision)
            return
        record = built(source, folder, precision=precision)
        header = plan_of(folder)
    assert record.precision == precision and record.details["strongly_typed"] and header["strongly_typed"]
    assert not {"BF16", "FP16", "OBEY_PRECISION_CONSTRAINTS"} & set(header["flags"])


def test_bf16_is_refused_on_a_gpu_without_it(source, folder):
    turing = fakes.DEVICE._replace(engine="tensorrt", compute_capability="7.5")
    told = "compute capability is 7.5: bf16 needs 8.0 or later .* --precision fp16"
    with simulator.installed("10.3.0"), pytest.raises(BuildFailed, match=told):
        building.build(bindings.package("tensorrt"), source, turing, contract.BuildOptions(precision="bf16"))


@pytest.mark.parametrize("release", ALL)
def test_named_nodes_stay_fp32_where_the_builder_picks_types(source, folder, release):
    named_node(source)
    with simulator.installed(release):
        if release in ("11.4.0", simulator.RTX):
            with pytest.raises(BuildFailed, match="an older TensorRT.*--target"):
                built(source, folder, precision="fp16", fp32_nodes=(NODE,))
            return
        record = built(source, folder, precision="fp16", fp32_nodes=(NODE,))
        header = plan_of(folder)
    assert {"FP16", "OBEY_PRECISION_CONSTRAINTS"} <= set(header["flags"]) and not header["strongly_typed"]
    assert header["pinned"] == [NODE] and record.details["pinned_layers"] == 1


def test_nodes_to_pin_that_are_not_there_are_an_error(source, folder):
    with simulator.installed("8.5"), pytest.raises(BuildFailed, match="none of the 1 nodes.*overflow"):
        built(source, folder, precision="fp16", fp32_nodes=("norm1",))


def test_bf16_is_not_picked_where_there_is_none(source, folder):
    with simulator.installed("8.6.1"), pytest.raises(BuildFailed, match="bf16"):
        built(source, folder, precision="bf16", fp32_nodes=(NODE,))


@pytest.mark.parametrize("release", ALL)
def test_an_operator_that_the_parser_lacks_names_its_node_and_the_way_out(source, folder, release):
    named_node(source, op_type="MatMil")
    with simulator.installed(release), pytest.raises(BuildFailed, match="node 1 .MatMil 'pick'.*--target jetpack-"):
        built(source, folder)
    assert not os.path.exists(os.path.join(folder, "r004.engine"))


def test_more_tokens_than_tensorrt_ranks_are_explained():
    with simulator.installed("10.3.0"):
        package = bindings.package("tensorrt")
        error = building.build_failed(package, "r004.onnx", "node 3 (TopK): K is 4000, more than 3840")
    assert "at most 3840 tokens: take a smaller --img-size" in str(error)


@pytest.mark.parametrize("release", ALL)
def test_int64_inputs_are_refused_on_all_releases_alike(source, folder, release):
    edited(source, lambda graph: setattr(graph.input[0].type.tensor_type, "elem_type", onnx.TensorProto.INT64))
    told = "input image.*float32 of a fixed shape|types INT64 and FLOAT.*makes float32 inputs"
    with simulator.installed(release), pytest.raises(BuildFailed, match=told):
        built(source, folder)


@pytest.mark.parametrize("release", ALL)
def test_a_file_that_is_no_graph_is_explained(source, folder, release):
    with open(os.path.join(source, "r004-b1.onnx"), "wb") as file:
        file.write(b"this is no ONNX")
    with simulator.installed(release), pytest.raises(BuildFailed, match="cannot build .*r004-b1.onnx"):
        built(source, folder)


@pytest.mark.parametrize("release", ALL)
def test_a_build_that_gives_nothing_says_what_only_the_log_knew(source, folder, release):
    with simulator.installed(release, faults="none-build=r004"):
        built(source, folder, "r000")
        with pytest.raises(BuildFailed, match="insufficient workspace.*Close other programs"):
            built(source, folder)
    assert not os.path.exists(os.path.join(folder, "r004.engine"))


@pytest.mark.parametrize("release", ALL)
def test_a_build_tells_how_far_it_is_where_the_release_can(source, folder, release):
    told = []
    with simulator.installed(release):
        built(source, folder, progress=told.append)
    assert (told[-1:] == ["Building Engine, step 10 of 10"]) == (release not in WEAK)


def test_what_is_said_of_a_foreign_cache_explains_no_failed_build(source, folder):
    cache = os.path.join(folder, "timing.cache")
    store.write_bytes(cache, b"no cache")
    with simulator.installed("8.2", faults="none-build"), pytest.raises(BuildFailed) as raised:
        built(source, folder, timing_cache=cache)
    assert "insufficient workspace" in str(raised.value) and "timing cache" not in str(raised.value)


def test_reasons_of_an_earlier_failure_are_not_told_again(source, folder):
    with simulator.installed("10.3.0", faults="none-build=r004"):
        with pytest.raises(BuildFailed):
            built(source, folder)
        assert "insufficient" in bindings.log_of(bindings.package("tensorrt")).reason()
        built(source, folder, "r000")
        assert bindings.log_of(bindings.package("tensorrt")).errors == []


@pytest.mark.parametrize("release", RELEASES)
def test_a_timing_cache_is_shared_by_builds(source, folder, release):
    cache = os.path.join(folder, "timing.cache")
    with simulator.installed(release):
        assert built(source, folder, "r000", timing_cache=cache).details["timing_cache"] == "new"
        assert built(source, folder, "r004", timing_cache=cache).details["timing_cache"] == "reused"
        assert "timing_cache" not in built(source, folder, "r004").details


@pytest.mark.parametrize("release", RELEASES)
def test_a_foreign_or_damaged_timing_cache_is_discarded_and_that_is_said(source, folder, release):
    cache = os.path.join(folder, "timing.cache")
    with simulator.installed(release, simulator.ORIN._replace(name="another")):
        built(source, folder, "r000", timing_cache=cache)
    with simulator.installed(release):
        assert built(source, folder, timing_cache=cache).details["timing_cache"].startswith("discarded")
        assert built(source, folder, timing_cache=cache).details["timing_cache"] == "reused"  # it was made anew
        with open(cache, "wb") as file:
            file.write(b"no cache")
        assert built(source, folder, timing_cache=cache).details["timing_cache"].startswith("discarded")


@pytest.mark.parametrize("release", RELEASES)
def test_a_truncated_plan_is_damaged(source, folder, release):
    with simulator.installed(release):
        record = built(source, folder)
        path = os.path.join(folder, record.file)
        with open(path, "rb") as file:
            half = file.read()[: record.bytes // 2]
        store.write_bytes(path, half)
        record = record._replace(bytes=len(half), sha256=store.sha256_of(path))
        with pytest.raises(CorruptArtifact, match="cannot be loaded: .*Build it again"):
            engine.open_engine(record, folder)


@pytest.mark.parametrize(
    "release, device, told",
    [
        ("10.13.3", None, "tensorrt 10.3.0.* this is tensorrt 10.13.3"),
        ("10.3.0", simulator.THOR, "on Orin, compute capability 8.7.*compute capability 11.0"),
        ("10.3.0", simulator.ORIN._replace(name="Orin Nano"), "Orin Nano"),
    ],
)
def test_an_engine_of_another_device_or_release_is_refused_before_tensorrt_sees_it(
    source, folder, release, device, told
):
    with simulator.installed("10.3.0"):
        record = built(source, folder)
    with simulator.installed(release, device), pytest.raises(WrongDevice, match=told + ".*infer BUNDLE --rebuild"):
        engine.open_engine(record, folder)


@pytest.mark.parametrize("release", ALL)
def test_an_execution_that_fails_says_why(source, folder, release):
    with simulator.installed(release):
        record = built(source, folder)
    with simulator.installed(release, faults="false-execution") as machine:
        with pytest.raises(BuildFailed, match="illegal memory access"):
            engine.open_engine(record, folder)
        assert machine.memory.used_bytes == 0


@pytest.mark.parametrize("waiting", ["default", "passive"])
def test_how_it_runs_is_told(source, folder, waiting):
    with simulator.installed("10.3.0"):
        record = built(source, folder)
        with engine.open_engine(record, folder, waiting=waiting) as runner:
            assert runner.modes()["cuda_graph"] == "off: libcudart is not found"
            assert runner.modes()["memory"] == "page-locked staging"
            assert ("asleep" in runner.modes()["waiting"]) == (waiting == "passive")
            runner.run(image_for(record))
        record = built(source, folder, cuda_graph=False)
        with engine.open_engine(record, folder, waiting=waiting) as runner:
            assert runner.modes()["cuda_graph"] == "off: not asked for"


def test_a_captured_graph_is_launched_for_each_run(source, folder, monkeypatch):
    class Launched:
        count = 0

    def capture(session, enqueue):
        def launch():
            Launched.count += 1
            assert enqueue()

        Launched.launch = staticmethod(launch)
        return Launched

    monkeypatch.setattr(cuda, "Graph", capture)
    with simulator.installed("10.3.0"):
        record = built(source, folder)
        with engine.open_engine(record, folder) as runner:
            assert runner.modes()["cuda_graph"] == "on"
            image = image_for(record)
            logits = image.reshape(1, 64) @ fakes.quadrant_weights("r004")
            np.testing.assert_allclose(runner.run(image), logits, rtol=1e-5)
    assert Launched.count == 1


@pytest.mark.parametrize("release", ["8.2", "10.3.0"])
def test_threads_that_share_a_runner_take_turns(source, folder, release):
    with simulator.installed(release):
        record = built(source, folder)
        wrong = []
        with engine.open_engine(record, folder) as runner:

            def work(seed):
                image = np.random.RandomState(seed).rand(*record.input_shape).astype(np.float32)
                logits = image.reshape(1, 64) @ fakes.quadrant_weights("r004")
                for _ in range(10):
                    if not np.allclose(runner.run(image), logits, rtol=1e-5):
                        wrong.append(seed)

            threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert wrong == []


def test_tensorrt_8_0_is_refused_and_the_reason_is_told(monkeypatch):
    with simulator.installed("8.2"):
        package = bindings.package("tensorrt")
        old = type(package)("tensorrt")
        old.__version__ = "8.0.1"
        with monkeypatch.context() as patch:  # undone before the stand-in is taken away
            patch.setitem(sys.modules, "tensorrt", old)
            with pytest.raises(MissingDependency, match="8.0.1 is too old.*JetPack 4.6.1"):
                registry.version("tensorrt")


def test_without_tensorrt_it_says_how_to_install_it(absent):
    absent("tensorrt")
    with pytest.raises(MissingDependency, match="nvidia-jetpack.*--system-site-packages"):
        registry.version("tensorrt")


@pytest.mark.parametrize("release", RELEASES)
def test_auto_means_tensorrt_where_it_can_be_used(release):
    with simulator.installed(release):
        assert registry.chosen("auto") == "tensorrt" and registry.chosen("onnxruntime") == "onnxruntime"
    with simulator.installed(release, faults="no-device"):
        assert registry.chosen("auto") == "onnxruntime"


def test_auto_never_means_onnxruntime_on_a_jetson(jetson_here, absent):
    jetson_here(Identity("a Jetson", "tegra234", "8.7", "36.4.3", "6.2", 8 << 30, "MAXN"))
    absent("tensorrt")
    with pytest.raises(MissingDependency, match="this is a Jetson.*apt-get install"):
        registry.chosen("auto")


def test_a_device_id_names_what_latencies_depend_on(jetson_here):
    with simulator.installed("8.2"):
        assert board.device_spec("tensorrt").id == "tensorrt-8.2.3.0-nvidia-tegra-x2"
        tx2 = Identity("NVIDIA Jetson TX2", "tegra186", "6.2", "32.7.6", "4.6.6", 8 << 30, "MAXN")
        jetson_here(tx2)
        found = board.device_spec("tensorrt")
        jetson_here(tx2._replace(power_mode="MAXQ"))
        assert board.device_spec("tensorrt").id != found.id  # tactics and latencies of one mode are no other's
    assert (found.l4t, found.jetpack, found.power_mode) == ("32.7.6", "4.6.6", "MAXN")
    assert "jetson-tx2" in found.id and "l4t-32.7.6" in found.id and found.id.endswith("maxn")
