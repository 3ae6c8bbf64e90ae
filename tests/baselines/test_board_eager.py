"""The eager baseline of a board: equal to timm for every kind of model, in its real process, and what it refuses."""

import json
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the eager baseline runs torch")
timm = pytest.importorskip("timm", reason="the eager baseline is compared with timm")

from pomt_trt.baselines import board_eager, plain_vit, plain_weights
from pomt_trt.core import child_process, timing_protocol
from pomt_trt.core.errors import InputError, MissingDependency, VerificationFailed
from pomt_trt.core.records import PlainModel
from pomt_trt.core.storage import bundle as bundles
from pomt_trt.core.storage import store
from pomt_trt.device.board import jetson
from pomt_trt.host.graphs import export
from tests import compiled
from tests.host import tiny

KINDS = dict(
    tiny.KINDS,
    **{
        "positions on patches alone": {"no_embed_class": True, "reg_tokens": 2},
        "average and largest": {"global_pool": "avgmax"},
        "largest, prefix included": {"global_pool": "max", "pool_include_prefix": True},
        "norm before, quick GELU": {"pre_norm": True, "act_layer": "quick_gelu"},
        "tanh GELU, norms inside": {"act_layer": "gelu_tanh", "scale_attn_norm": True, "scale_mlp_norm": True},
        "no positions": {"pos_embed": "none"},
    },
)
del KINDS["RMSNorm and SwiGLU"]  # boards have no eager baseline of these


def described(model, folder):
    """(spec, PlainModel, weights file) of a model whose R = 0 graph was exported."""
    made, spec, images = tiny.plan(model, method="none")
    export.export(made, tiny.grid(made, spec, [0]), images, folder)
    graph = next(folder.glob("onnx/*/r000.onnx"))
    return spec, plain_weights.plain_model(made.module, graph), str(graph.with_name("weights.bin"))


def images(channels=3, size=16):
    return np.random.RandomState(0).randn(3, channels, size, size).astype(np.float32)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_its_logits_are_timms(kind, fused, tmp_path, monkeypatch):
    monkeypatch.setattr(plain_vit, "FUSED", fused)
    model = tiny.vit(**KINDS[kind])
    with torch.inference_mode():
        expected = model(torch.from_numpy(images())).numpy()
    if not model.global_pool:  # logits of all tokens
        expected = expected[:, model.num_prefix_tokens :].transpose(0, 2, 1).reshape(3, 5, 4, 4)
    found = plain_vit.logits(board_eager.model_of(*described(model, tmp_path)), images())
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_a_head_on_class_token_and_mean_is_that_of_dinov2(tmp_path):
    model = tiny.dinov2(tmp_path)
    with torch.inference_mode():
        expected = model(torch.from_numpy(images())).numpy()
    found = plain_vit.logits(board_eager.model_of(*described(model, tmp_path)), images())
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("precision, dtype, off", [("fp16", "float16", 1e-2), ("bf16", "bfloat16", 8e-2)])
def test_narrow_weights_are_found_by_name_as_well(tmp_path, precision, dtype, off):
    model = tiny.vit()
    made, spec, pictures = tiny.plan(model, method="none", target="jetpack-6.2")
    export.export(made._replace(precision=precision), tiny.grid(made, spec, [0]), pictures, tmp_path)
    graph = next(tmp_path.glob("onnx/*/r000.onnx"))
    found = plain_weights.plain_model(made.module, graph)
    assert {stored.dtype for stored in found.tensors.values()} >= {dtype, "float32"}
    with torch.inference_mode():
        expected = model(torch.from_numpy(images())).numpy()
    ours = plain_vit.logits(board_eager.model_of(spec, found, str(graph.with_name("weights.bin"))), images())
    np.testing.assert_allclose(ours, expected, atol=off * np.abs(expected).max())


def test_it_calls_as_many_modules_as_timm(tmp_path):
    """A board's eager latency is mostly that of calls."""
    model = tiny.vit()
    ours = board_eager.model_of(*described(model, tmp_path))
    assert calls(ours) == pytest.approx(calls(model), abs=2)


def calls(model):
    counted = []
    hooks = [part.register_forward_hook(lambda *_: counted.append(1)) for part in model.modules()]
    with torch.inference_mode():
        model(torch.from_numpy(images()))
    for hook in hooks:
        hook.remove()
    return len(counted)


def test_what_is_not_so_plain_has_no_description_and_says_why(tmp_path, caplog):
    model = tiny.vit(act_layer="relu")
    with pytest.raises(InputError, match="its activation is ReLU, not one of GELU"):
        described(model, tmp_path)
    path = tmp_path / "plain.json"
    path.write_text("of an earlier export")
    plain_weights.write(model, next(tmp_path.glob("onnx/*/r000.onnx")), path)
    assert "no eager baseline of this model: its activation is ReLU" in caplog.text and not path.exists()


def test_weights_that_are_not_the_models_are_never_described(tmp_path):
    model = tiny.vit()
    described(model, tmp_path)
    with torch.no_grad():
        model.blocks[1].attn.qkv.weight[0, 0] += 1
    with pytest.raises(InputError, match="holds another blocks.1.attn.qkv.weight"):
        plain_weights.plain_model(model, next(tmp_path.glob("onnx/*/r000.onnx")))


@pytest.fixture
def bundle(work):
    return compiled.one(work, "bundle-")


@pytest.fixture
def in_this_process(monkeypatch):
    """torch takes the number of its pools once a process; the child sets it, tests in this process must not."""
    before = torch.get_num_threads()
    monkeypatch.setattr(torch, "set_num_interop_threads", lambda count: None)
    for name in timing_protocol.PASSIVE:
        monkeypatch.delenv(name, raising=False)
    yield
    torch.set_num_threads(before)


def prepared(bundle):
    return board_eager.prepare(["--bundle", bundle, "--threads", "1"])


def child_without(library, bundle, waiting):
    """The real child, where a library cannot be imported."""
    program = (
        "import sys; sys.modules[{!r}] = None; from pomt_trt.device.timing import __main__; "
        "sys.exit(__main__.main(['pomt_trt.baselines.board_eager', *sys.argv[1:]]))"
    ).format(library)
    command = [sys.executable, "-c", program, "--bundle", bundle, "--threads", "1", "--waiting", waiting]
    return child_process.Child("eager", command, child_process.environment(waiting))


def test_a_real_child_answers_and_tells_what_it_runs_without_timm(bundle):
    with child_without("timm", bundle, "passive") as child:
        about = child.about
        assert len(child.burst(3)) == 3
    assert (about["torch"], about["device"], about["dtype"]) == (str(torch.__version__), "cpu", "float32")
    assert (about["engine_precision"], about["fused_attention"], about["tf32"]) == ("fp32", True, False)
    assert about["golden_error"] < 1e-5 and about["variables"] == timing_protocol.PASSIVE


def test_without_torch_it_names_what_to_install(bundle):
    with pytest.raises(MissingDependency, match="torch, which cannot be imported here.*pip install"):
        child_without("torch", bundle, "default")


def test_on_a_jetson_whose_torch_sees_no_gpu_it_refuses_and_names_the_wheel(bundle, monkeypatch, in_this_process):
    board = jetson.Identity("NVIDIA Jetson Orin Nano", "tegra234", "8.7", "36.4.3", "6.2", 8 << 30, "15W")
    monkeypatch.setattr(jetson, "identity", lambda root="/": board)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MissingDependency, match="sees no GPU on NVIDIA Jetson Orin Nano.*jetson-ai-lab.io/jp6"):
        prepared(bundle)
    monkeypatch.setattr(jetson, "identity", lambda root="/": None)
    with pytest.raises(MissingDependency, match="sees no GPU on this machine"):
        board_eager.device_beside("tensorrt")
    assert board_eager.device_beside("onnxruntime").type == "cpu"


def test_beside_an_engine_on_a_gpu_it_runs_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert board_eager.device_beside("tensorrt").type == "cuda"
    assert board_eager.device_beside("onnxruntime").type == "cpu"


def repacked(bundle, without=(), **changed):
    """The bundle without some files, and with others replaced by these bytes."""
    manifest = bundles.open_bundle(bundle)
    sources = {name: "{}/{}".format(bundle, name) for name in manifest.files if name not in without}
    for name, data in changed.items():
        sources["plain.json"] = "{}.{}".format(bundle, name)
        store.write_bytes(sources["plain.json"], data)
    bundles.pack(bundle, manifest, sources)
    return bundle


def test_a_bundle_without_the_description_is_refused_with_the_reason(bundle, in_this_process):
    with pytest.raises(InputError, match="holds no plain.json.*Export and bundle it again"):
        prepared(repacked(bundle, without=("plain.json",)))


def test_weights_of_another_export_and_models_that_differ_are_refused(bundle, in_this_process):
    stored = store.read_record(bundle + "/plain.json", PlainModel)
    for change, error, said in (
        ({"weights_sha256": "0" * 64}, InputError, "belongs to other weights"),
        ({"pooling": "max"}, VerificationFailed, "differ from timm's by .* is allowed"),
    ):
        store.write_record(bundle + ".changed", stored.record._replace(**change))
        with open(bundle + ".changed", "rb") as file:
            changed = repacked(bundle, plain=file.read())
        with pytest.raises(error, match=said):
            prepared(changed)


def test_bench_has_it_beside_the_engines_where_timm_is_not_installed(bundle, monkeypatch):
    from pomt_trt.device.deploy import bench

    find = bench.importlib.util.find_spec
    monkeypatch.setattr(bench.importlib.util, "find_spec", lambda name: None if name == "timm" else find(name))
    result = bench.bench(bundle, bench.Options(threads=(1,), waitings=("passive",), max_s=0.3))
    timings = {timing.name: timing for timing in result.settings[0].timings}
    assert result.not_measured == {} and timings["eager"].about["golden_error"] < 1e-5
    assert json.loads(json.dumps(store.to_json(result)))["settings"][0]["timings"]
