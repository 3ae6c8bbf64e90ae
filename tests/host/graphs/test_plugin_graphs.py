"""Plugins' nodes in exported graphs: three flavours that say the same, each as its target's parser wants it."""

import functools
import shutil

import numpy as np
import onnx
import pytest
from onnx import inliner

from pomt_trt.core.errors import UsageError, VerificationFailed
from pomt_trt.core.targets import PLUGIN_DOMAIN, TARGETS, named
from pomt_trt.host.graphs import comparison, export, graph_checks, plugin_graphs
from tests.host import tiny
from tests.simulator import tables

ATTRIBUTES = {"R", "prefix", "score", "plugin_version", "plugin_namespace"}
REMOVED = {"pomt": [0, 6], "topk": [0, 8]}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A function that exports a tiny model of a kind once: (folder of the graphs, plan, grid), all left alone."""

    @functools.cache
    def export_once(method, kind="plain", target="onnxruntime", precision="fp32", plugin=False):
        module = tiny.vit(**tiny.KINDS[kind])
        plan, spec, images = tiny.plan(module, method, batch_size=2, target=target, precision=precision)
        plan = plan._replace(layer=1 if method == "pomt" else None, plugin=plugin)
        grid = tiny.grid(plan, spec, REMOVED[method])
        folder = tmp_path_factory.mktemp("plugins")
        export.export(plan, grid, images, folder)
        return folder / "onnx" / plan.form, plan, grid

    return export_once


def logits(folder, candidate):
    images = np.random.RandomState(0).randn(2, 3, 16, 16).astype(np.float32)
    return comparison.run_onnx(folder / f"{candidate.id}.onnx", images, 2)


def loaded(folder, candidate, weights=False):
    return onnx.load(str(folder / f"{candidate.id}.onnx"), load_external_data=weights)


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
    native, _, grid = exported(method, kind, precision=precision)
    plugin, _, _ = exported(method, kind, precision=precision, plugin=True)
    for candidate in grid:
        np.testing.assert_array_equal(logits(native, candidate), logits(plugin, candidate))


@pytest.mark.parametrize("method, operator, acting", [("pomt", "PomtTokenPrune", 1), ("topk", "PomtTokenTopK", 4)])
def test_each_node_says_all_that_a_parser_asks_for(exported, method, operator, acting):
    folder, _, grid = exported(method, plugin=True)
    model = loaded(folder, grid[1])
    found = nodes(model)
    assert [node.op_type for node in found] == [operator] * acting
    tokens = grid[1].schedule.tokens
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
    folder, plan, grid = exported(method, target=alike[target.form("fp32", True)], plugin=True)
    path = folder / f"{grid[1].id}.onnx"
    onnx.checker.check_model(str(path), full_check=True)
    graph_checks.check(str(path), target, export.tokens_by_block(plan, grid[1].schedule))
    assert bool(loaded(folder, grid[1]).functions) == target.plugin_body


@pytest.mark.parametrize("target", [target for target in TARGETS.values() if target.release], ids=lambda t: t.name)
def test_every_parser_takes_the_operators_of_what_it_reads(exported, target):
    alike = {each.form("fp32", True): each.name for each in TARGETS.values()}
    release = ("rtx-" if target.engine == "tensorrt-rtx" else "") + target.release
    takes = set(tables.parser_limits(release)["ops"])
    for method in ("pomt", "topk"):
        folder, _, grid = exported(method, target=alike[target.form("fp32", True)], plugin=True)
        model = loaded(folder, grid[1])
        assert {node.op_type for node in model.graph.node if not node.domain} <= takes
        if not target.release.startswith("8."):  # which reads no functions
            assert {node.op_type for function in model.functions for node in function.node} <= takes


def test_the_flavour_without_plugins_is_the_function_written_out(exported, tmp_path):
    plugin, _, grid = exported("pomt", plugin=True)
    inlined = inliner.inline_local_functions(loaded(plugin, grid[1], weights=True))
    onnx.checker.check_model(inlined, full_check=True)
    (tmp_path / f"{grid[1].id}.onnx").write_bytes(inlined.SerializeToString())
    assert not nodes(inlined) and not inlined.functions
    np.testing.assert_array_equal(logits(exported("pomt")[0], grid[1]), logits(tmp_path, grid[1]))


@pytest.mark.parametrize("target, functions", [("jetpack-6.2", True), ("jetpack-7.2", False)])
def test_functions_where_they_must_not_be_or_missing_are_refused(exported, tmp_path, target, functions):
    folder, _, grid = exported("pomt", target=target, plugin=True)
    shutil.copytree(folder, tmp_path / "copy")
    path = tmp_path / "copy" / f"{grid[1].id}.onnx"
    model = loaded(folder, grid[1])
    del model.functions[:]
    if functions:
        model.functions.extend(plugin_graphs.functions(model, {"pomt"}))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(VerificationFailed, match="wants none" if functions else "wants them all"):
        graph_checks.check(str(path), named(target), grid[1].schedule.tokens)


def test_a_ranking_that_is_no_removal_of_ours_is_refused(exported):
    folder, _, grid = exported("pomt")
    model = loaded(folder, grid[1])
    for node in model.graph.node:
        if node.op_type == "Softmax":  # of what is ranked, nothing is attention any more
            node.op_type = "LogSoftmax"
    with pytest.raises(VerificationFailed, match="in a way that no plugin knows. Use --plugin off"):
        plugin_graphs.with_plugin(model, 1, True)


@pytest.mark.parametrize("method", ["random", "none"])
def test_methods_without_a_plugin_are_refused(method):
    plan, spec, _ = tiny.plan(tiny.vit(), method)
    with pytest.raises(UsageError, match="Use --plugin off, or --method pomt or topk"):
        tiny.grid(plan._replace(plugin=True), spec, [0])


def test_a_precision_that_no_plugin_computes_in_is_refused():
    plan, spec, _ = tiny.plan(tiny.vit(), target="jetpack-6.2", precision="bf16")
    with pytest.raises(UsageError, match="plugins take fp32 and fp16, not bf16. Use --plugin off"):
        tiny.grid(plan._replace(plugin=True), spec, [0])
