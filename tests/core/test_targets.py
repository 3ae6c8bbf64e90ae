"""The table of targets beside what NVIDIA's parsers list, release by release (tests/data/onnx_ops.json)."""

import json
import os

import pytest

from pomt_trt.core.errors import UsageError
from pomt_trt.core.targets import TARGETS, has_plugin, is_bare, named, of_engine
from tests.paths import TESTS

with open(os.path.join(TESTS, "data", "onnx_ops.json")) as file:
    PARSERS = json.load(file)
ON_TENSORRT = [target for target in TARGETS.values() if target.engine != "onnxruntime"]


def parser_of(target):
    """What the target's parser reads."""
    return PARSERS[("rtx-" if target.engine == "tensorrt-rtx" else "") + target.release]


@pytest.mark.parametrize("target", ON_TENSORRT, ids=lambda target: target.name)
def test_a_target_asks_for_no_operator_and_no_opset_that_its_parser_lacks(target):
    newest = parser_of(target)["max_opset"]
    assert not target.operators - set(parser_of(target)["ops"])
    assert newest is None or target.opset <= newest


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_layer_normalization_is_one_operator_only_where_the_opset_and_the_parser_have_it(target):
    parsed = target.engine == "onnxruntime" or "LayerNormalization" in parser_of(target)["ops"]
    assert ("LayerNormalization" in target.operators) == (target.opset >= 17 and parsed)


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_nothing_that_makes_shapes_dynamic_or_scatters_is_allowed_anywhere(target):
    forbidden = {"NonZero", "Loop", "If", "Scan", "ScatterND", "ScatterElements", "Scatter"}
    assert not target.operators & forbidden


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_the_ir_version_is_the_one_released_with_the_opset(target):
    assert target.ir_version == {13: 7, 17: 8}[target.opset]


@pytest.mark.parametrize("name", [target.name for target in ON_TENSORRT if target.strongly_typed])
def test_bf16_is_written_into_graphs_from_tensorrt_10_on(name):
    target = named(name)
    target.check("bf16")
    assert (target.form("bf16"), target.written("bf16"), target.lacks("bf16")) == ("op17-bf16", "bf16", "")
    assert target.form_among(["op17-fp16", "op17-bf16"], "bf16") == "op17-bf16"


@pytest.mark.parametrize(
    "name, reason",
    [
        ("jetpack-4.6.1", "TensorRT 8.2 has no bf16; nor have the GPUs of TX2 and Xavier"),
        ("jetpack-5.1", "TensorRT 8.5 has no bf16; nor have the GPUs of TX2 and Xavier"),
        ("jetpack-6.0", "TensorRT 8.6 has no bf16"),
        ("onnxruntime", "ONNX Runtime has no arithmetic in bf16 on a CPU"),
    ],
)
def test_bf16_is_refused_elsewhere_with_the_reason_and_the_way_out(name, reason):
    target = named(name)
    with pytest.raises(UsageError, match="bf16 is not for {}: {}.* --target jetpack-6.1 or up".format(name, reason)):
        target.check("bf16")
    assert target.form_among(["op17-bf16", "op17-bf16w", "op13-bf16"], "bf16") is None
    target.check("fp16")


@pytest.mark.parametrize(
    "name, opset, fp16, plugin",
    [
        ("onnxruntime", "op17", "fp16", "-plugin"),
        ("jetpack-4.6.1", "op13", "fp16", "-plugin-bare"),
        ("jetpack-5.1", "op13", "fp16", "-plugin-bare"),
        ("jetpack-6.0", "op17", "fp16w", "-plugin"),
        ("jetpack-6.2", "op17", "fp16", "-plugin-bare"),
        ("jetpack-7.2.2", "op17", "fp16", "-plugin"),
        ("tensorrt-rtx", "op17", "fp16", "-plugin"),
    ],
)
def test_a_target_names_the_forms_of_its_graphs(name, opset, fp16, plugin):
    for precision, written in (("fp32", "fp32"), ("fp16", fp16)):
        form, with_plugin = (named(name).form(precision, asked) for asked in (False, True))
        assert (form, with_plugin) == ("{}-{}".format(opset, written), form + plugin)
        assert has_plugin(with_plugin) and not has_plugin(form)
        assert is_bare(with_plugin) == (plugin == "-plugin-bare") == (not named(name).plugin_body)


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_functions_are_written_just_where_the_plugin_wins_over_them_and_the_file_can_hold_them(target):
    numbers = tuple(int(part) for part in target.release.split(".") if part)
    beaten = (9, 0) <= numbers < (10, 7)
    assert target.plugin_body == (target.ir_version >= 8 and not beaten)


@pytest.mark.parametrize("plugin", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_targets_of_one_form_read_the_same_graphs(precision, plugin):
    by_form = {}
    for target in TARGETS.values():
        if target.lacks(precision):
            continue
        graphs = target.opset, target.ir_version, target.operators, target.written(precision), plugin
        by_form.setdefault(target.form(precision, plugin), set()).add(graphs)
    assert all(len(graphs) == 1 for graphs in by_form.values())


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_fp16_is_written_into_graphs_from_tensorrt_10_on(target):
    strong = target.engine != "tensorrt" or int(target.release.split(".")[0]) >= 10
    assert target.written("fp16") == ("fp16" if strong else "fp32")
    assert target.written("fp32") == "fp32"


@pytest.mark.parametrize(
    "engine, version, name",
    [
        ("onnxruntime", "1.31.1", "onnxruntime"),
        ("tensorrt", "8.2.1.8", "jetpack-4.6.1"),
        ("tensorrt", "8.4.1.5", "jetpack-4.6.1"),
        ("tensorrt", "8.5.2.2", "jetpack-5.1"),
        ("tensorrt", "8.6.2.3", "jetpack-6.0"),
        ("tensorrt", "10.3.0.30", "jetpack-6.1"),
        ("tensorrt", "10.7.0.post1", "jetpack-6.1"),
        ("tensorrt", "10.16.2.10", "jetpack-7.2"),
        ("tensorrt", "11.4.1", "jetpack-7.2.2"),
        ("tensorrt-rtx", "1.7.1.116", "tensorrt-rtx"),
    ],
)
def test_an_engine_library_is_the_newest_target_that_is_no_newer(engine, version, name):
    assert of_engine(engine, version) == named(name)


def test_a_library_older_than_all_targets_is_refused():
    with pytest.raises(UsageError, match="tensorrt 8.0.1 is older than what graphs are made for. Update it"):
        of_engine("tensorrt", "8.0.1")


@pytest.mark.parametrize(
    "name, forms, precision, chosen",
    [
        ("jetpack-6.2", ["op13-fp32", "op17-fp32"], "fp32", "op17-fp32"),
        ("jetpack-6.2", ["op13-fp32", "op13-fp16", "op17-fp16w"], "fp32", "op13-fp32"),
        ("jetpack-6.2", ["op17-fp16", "op17-fp16w", "op17-fp32"], "fp16", "op17-fp16"),
        ("jetpack-6.2", ["op13-fp16", "op17-fp16w"], "fp16", None),
        ("jetpack-6.0", ["op13-fp16", "op17-fp16", "op17-fp16w"], "fp16", "op17-fp16w"),
        ("jetpack-4.6.1", ["op17-fp32", "op17-fp16"], "fp32", None),
        ("jetpack-4.6.1", ["op17-fp16w", "op13-fp16"], "fp16", "op13-fp16"),
        ("jetpack-6.2", ["op17-fp16-plugin-bare", "op17-fp16-plugin"], "fp16", None),
    ],
)
def test_a_target_runs_the_newest_fp32_graphs_that_it_reads_and_others_of_its_own_form(name, forms, precision, chosen):
    assert named(name).form_among(forms, precision) == chosen


@pytest.mark.parametrize(
    "name, chosen", [("jetpack-6.2", "op17-fp32-plugin-bare"), ("jetpack-7.2", "op17-fp32-plugin")]
)
def test_a_target_takes_graphs_with_plugins_of_its_own_form_alone(name, chosen):
    forms = ["op17-fp32", "op13-fp32-plugin-bare", "op17-fp32-plugin", "op17-fp32-plugin-bare"]
    assert named(name).form_among(forms, "fp32", plugin=True) == chosen
    forms.remove(chosen)
    assert named(name).form_among(forms, "fp32", plugin=True) is None


def test_an_unknown_target_is_refused_with_those_there_are():
    with pytest.raises(UsageError, match="'jetpack-3'.*Choose one of: jetpack-4.6.1, .*onnxruntime"):
        named("jetpack-3")
