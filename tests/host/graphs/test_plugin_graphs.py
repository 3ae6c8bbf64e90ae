"""Plugins' nodes in exported graphs: three flavours that say the same, each as its target's parser wants it."""

import functools
import shutil

import numpy as np
import onnx
import pytest
from onnx import inliner

from pomt_trt.core.errors import UsageError, VerificationFailed
from pomt_trt.core.targets import PLUGIN_DOMAIN, TARGETS, named
from pomt_trt.host.graphs import graph_checks, plugin_graphs
from tests.host import tiny
from tests.simulator import tables

ATTRIBUTES = {"R", "prefix", "score", "plugin_version", "plugin_namespace"}
REMOVED = {"pomt": [0, 6], "topk": [0, 8]}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A function that exports a tiny model of a kind once."""

    @functools.cache
    def export_once(method, kind="plain", target="onnxruntime", precision="fp32", plugin=False):
        how = {"target": target, "precision": precision, "plugin": plugin, "batch_size": 2}
        how["layer"] = 1 if method == "pomt" else None
        folder = tmp_path_factory.mktemp("plugins")
        return tiny.exported(folder, tiny.vit(**tiny.KINDS[kind]), REMOVED[method], method, **how)

    return export_once


def nodes(model):
    return [node for node in model.graph.node if node.domain == PLUGIN_DOMAIN]


def attributes(node):
    return {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}


@pytest.mark.parametrize(
    "method, kind, precision",
    [
        ("pomt", "plain", "fp32"),
        ("pomt", "plain", "fp16"),
        ("pomt", "registers", "fp32"),
        ("pomt", "average pooling, no class token", "fp32"),
        ("topk", "plain", "fp32"),
        ("topk", "plain", "fp16"),
        ("topk", "distilled", "fp32"),
    ],
)
def test_the_functions_give_the_logits_of_the_native_graph(exported, method, kind, precision):
    native, plugin = (exported(method, kind, precision=precision, plugin=each) for each in (False, True))
    for candidate in native.family.candidates:
        np.testing.assert_array_equal(native.logits(candidate), plugin.logits(candidate))


@pytest.mark.parametrize("method, operator, acting", [("pomt", "PomtTokenPrune", 1), ("topk", "PomtTokenTopK", 4)])
def test_each_node_says_all_that_a_parser_asks_for(exported, method, operator, acting):
    made = exported(method, plugin=True)
    model = made.graph(made.reduced)
    found = nodes(model)
    assert [node.op_type for node in found] == [operator] * acting
    tokens = made.reduced.schedule.tokens
    removed = [before - after for before, after in zip(tokens, tokens[1:]) if before != after]
    assert [attributes(node)["R"] for node in found] == removed
    for node in found:
        told = attributes(node)
        assert set(told) == ATTRIBUTES and told["prefix"] == 1 and told["plugin_namespace"] == b""
        assert told["plugin_version"] == b"1"
    (function,) = model.functions
    assert set(function.attribute) == ATTRIBUTES
    assert not [node for node in model.graph.node if node.op_type == "TopK"]


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("method", ["pomt", "topk"])
def test_every_target_gets_the_flavour_that_it_takes(exported, method, name):
    target = named(name)
    alike = {each.form("fp32", True): each.name for each in TARGETS.values()}  # one target a form
    made = exported(method, target=alike[target.form("fp32", True)], plugin=True)
    path = str(made.path(made.reduced))
    onnx.checker.check_model(path, full_check=True)
    graph_checks.check(path, target, made.reduced.schedule.tokens)
    assert bool(made.graph(made.reduced).functions) == target.plugin_body


@pytest.mark.parametrize("target", [target for target in TARGETS.values() if target.release], ids=lambda t: t.name)
def test_every_parser_takes_the_operators_of_what_it_reads(exported, target):
    alike = {each.form("fp32", True): each.name for each in TARGETS.values()}
    release = ("rtx-" if target.engine == "tensorrt-rtx" else "") + target.release
    takes = set(tables.parser_limits(release)["ops"])
    for method in ("pomt", "topk"):
        made = exported(method, target=alike[target.form("fp32", True)], plugin=True)
        model = made.graph(made.reduced)
        assert {node.op_type for node in model.graph.node if not node.domain} <= takes
        if not target.release.startswith("8."):  # which reads no functions
            assert {node.op_type for function in model.functions for node in function.node} <= takes


def test_the_flavour_without_plugins_is_the_function_written_out(exported, tmp_path):
    plugin = exported("pomt", plugin=True)
    inlined = inliner.inline_local_functions(plugin.graph(plugin.reduced, weights=True))
    onnx.checker.check_model(inlined, full_check=True)
    written_out = plugin._replace(folder=tmp_path)
    written_out.path(plugin.reduced).write_bytes(inlined.SerializeToString())
    assert not nodes(inlined) and not inlined.functions
    np.testing.assert_array_equal(exported("pomt").logits(plugin.reduced), written_out.logits(plugin.reduced))


@pytest.mark.parametrize("target, functions", [("jetpack-6.2", True), ("jetpack-7.2", False)])
def test_functions_where_they_must_not_be_or_missing_are_refused(exported, tmp_path, target, functions):
    made = exported("pomt", target=target, plugin=True)
    shutil.copytree(made.folder, tmp_path / "copy")
    path = tmp_path / "copy" / f"{made.reduced.id}.onnx"
    model = made.graph(made.reduced)
    del model.functions[:]
    if functions:
        model.functions.extend(plugin_graphs.functions(model, {"pomt"}))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(VerificationFailed, match="wants none" if functions else "wants them all"):
        graph_checks.check(str(path), named(target), made.reduced.schedule.tokens)


def test_a_ranking_that_is_no_removal_of_ours_is_refused(exported):
    made = exported("pomt")
    model = made.graph(made.reduced)
    for node in model.graph.node:
        if node.op_type == "Softmax":  # of what is ranked, nothing is attention any more
            node.op_type = "LogSoftmax"
    with pytest.raises(VerificationFailed, match="in a way that no plugin knows. Use --plugin off"):
        plugin_graphs.with_plugin(model, 1, True)


@pytest.mark.parametrize("method", ["random", "none"])
def test_methods_without_a_plugin_are_refused(method):
    plan, spec, _ = tiny.plan(tiny.vit(), method, plugin=True)
    with pytest.raises(UsageError, match="Use --plugin off, or --method pomt or topk"):
        tiny.grid(plan, spec, [0])


def test_a_precision_that_no_plugin_computes_in_is_refused():
    plan, spec, _ = tiny.plan(tiny.vit(), target="jetpack-6.2", precision="bf16", plugin=True)
    with pytest.raises(UsageError, match="plugins take fp32 and fp16, not bf16. Use --plugin off"):
        tiny.grid(plan, spec, [0])
