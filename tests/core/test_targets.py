"""The table of targets beside what NVIDIA's parsers list, release by release (tests/data/onnx_ops.json)."""

import json
import os

import pytest

from pomt_trt.core.errors import UsageError
from pomt_trt.core.targets import TARGETS, named

with open(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "data", "onnx_ops.json")) as file:
    PARSERS = json.load(file)
ON_TENSORRT = [target for target in TARGETS.values() if target.engine == "tensorrt"]
IR_OF_OPSET = {13: 7, 17: 8}  # the IR version that ONNX released together with the opset


@pytest.mark.parametrize("target", ON_TENSORRT, ids=lambda target: target.name)
def test_every_operator_of_a_target_is_in_its_parsers_list(target):
    assert not target.operators - set(PARSERS[target.release]["ops"])


@pytest.mark.parametrize("target", ON_TENSORRT, ids=lambda target: target.name)
def test_a_target_asks_no_newer_opset_than_its_parser_reads(target):
    newest = PARSERS[target.release]["max_opset"]
    assert newest is None or target.opset <= newest


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_layer_normalization_is_one_operator_only_where_the_opset_and_the_parser_have_it(target):
    parsed = target.engine == "onnxruntime" or "LayerNormalization" in PARSERS[target.release]["ops"]
    assert ("LayerNormalization" in target.operators) == (target.opset >= 17 and parsed)


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_nothing_that_makes_shapes_dynamic_or_scatters_is_allowed_anywhere(target):
    forbidden = {"NonZero", "Loop", "If", "Scan", "ScatterND", "ScatterElements", "Scatter"}
    assert not target.operators & forbidden


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_the_ir_version_is_the_one_released_with_the_opset(target):
    assert target.ir_version == IR_OF_OPSET[target.opset]


def test_a_target_names_the_form_of_its_graphs():
    assert named("jetpack-4.6.1").form("fp16") == "op13-fp16"
    assert named("onnxruntime").form("fp32") == "op17-fp32"


def test_targets_of_one_form_read_the_same_graphs():
    by_form = {}
    for target in TARGETS.values():
        by_form.setdefault(target.form("fp32"), set()).add(target.operators)
    assert all(len(operators) == 1 for operators in by_form.values())


def test_an_unknown_target_is_refused_with_those_there_are():
    with pytest.raises(UsageError, match="'jetpack-3'.*Choose one of: jetpack-4.6.1, .*onnxruntime"):
        named("jetpack-3")
