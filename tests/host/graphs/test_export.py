"""A graph set: each graph equals the one traced directly, holds the scheduled tokens, and agrees with PyTorch."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from pomt_trt.core.errors import UsageError, VerificationFailed
from pomt_trt.core.storage import store
from pomt_trt.core.targets import named
from pomt_trt.device.engines.tensorrt import layer_info
from pomt_trt.host import reducers
from pomt_trt.host.data.image_batches import normalised
from pomt_trt.host.graphs import comparison, export, graph_checks, graph_set
from tests.host import remembered, tiny

METHODS = {
    "pomt": {"layer": 2, "removed": [0, 2, 3, 5, 12]},
    "random": {"removed": [0, 2, 3, 5, 8]},
    "topk": {"removed": [0, 2, 5, 6, 7, 8, 9, 12]},
    "tome": {"removed": [0, 6, 7, 8, 9]},
    "ltmp": {"removed": [0, 9, 10, 11, 12]},
    "cropr": {"removed": [0, 5, 6, 7, 8]},
    "cropr without fusion": {"removed": [0, 6, 7, 8]},
}


@pytest.fixture(scope="module", params=[(m, o, b) for m in METHODS for o, b in ((13, 2), (17, 1))], ids=str)
def exported(request, tmp_path_factory):
    """(plan, images, candidates, folder of graphs, graph set) of one method, opset and batch."""
    method, opset, batch = request.param
    work = tmp_path_factory.mktemp("export")
    kwargs = dict(METHODS[method])
    removed, llf = kwargs.pop("removed"), method == "cropr"
    plan, spec, images = tiny.plan(tiny.vit(), method.split()[0], batch_size=batch, opset=opset, llf=llf, **kwargs)
    grid = tiny.grid(plan, spec, removed)
    made = export.export(plan, grid, images, work)
    return plan, images, grid, work / "onnx" / made.form, made


def constants_of(model):
    return {t.name: numpy_helper.to_array(t).tolist() for t in model.graph.initializer if not t.external_data}


def direct(plan, candidate, images, folder):
    """The graph of a candidate that is traced by itself."""
    beside = onnx.load(str(folder / "r000.onnx"), load_external_data=False)
    located = [tensor for tensor in beside.graph.initializer if tensor.external_data]
    traced = export._traced(plan, candidate.schedule, images)
    own = export._constants(plan, candidate.schedule)
    counts = export._counts(plan, candidate.schedule)
    base = graph_set.template([traced], [counts], located, set(own))
    graph = graph_set.instantiate(base, counts, own)
    graph_set.share_integers(graph)
    return graph


LAST, BETWEEN = slice(-1, None), pytest.param(slice(1, -1), marks=pytest.mark.long)  # each is traced anew


@pytest.mark.parametrize("chosen", [LAST, BETWEEN], ids=["last", "between"])
def test_every_graph_equals_the_one_traced_at_that_count(exported, chosen):
    plan, images, grid, folder, _ = exported
    for candidate in grid[chosen]:
        found = onnx.load(str(folder / f"{candidate.id}.onnx"), load_external_data=False)
        expected = direct(plan, candidate, images, folder)
        assert list(found.graph.node) == list(expected.graph.node), candidate.id
        assert constants_of(found) == constants_of(expected), candidate.id
        assert (found.ir_version, found.opset_import) == (expected.ir_version, expected.opset_import)
        names = {tensor.name for tensor in found.graph.initializer}
        assert names == {tensor.name for tensor in expected.graph.initializer}


def test_the_tokens_of_each_block_are_read_back(exported):
    plan, _, grid, folder, _ = exported
    for candidate in grid:
        path = str(folder / f"{candidate.id}.onnx")
        graph = onnx.shape_inference.infer_shapes(onnx.load(path), data_prop=True).graph
        found = graph_checks.tokens_by_block(graph, graph_checks.static_shapes(graph), candidate.schedule.depth)
        tokens = candidate.schedule.tokens
        if plan.method == "random":
            assert found == (tokens[1],) + tokens[1:]
        elif plan.learned is not None and getattr(plan.learned, "llf", False):
            assert found == tokens[:-2] + (17, 17), "all tokens enter the last block"
        else:
            assert found == tokens
        assert found == export.tokens_by_block(plan, candidate.schedule)


def test_every_graph_agrees_with_pytorch(exported):
    plan, images, grid, folder, _ = exported
    batch = normalised(images.pixels(tiny.IMAGES), images.preprocessing)
    for candidate in grid:
        module = plan.reduced(candidate.schedule)
        logits, margins = comparison.logits_and_margins(module, batch, plan.batch_size)
        assert comparison.compare(folder / f"{candidate.id}.onnx", batch, logits, margins, plan.batch_size) < 1e-4


def test_the_record_says_what_was_written(exported):
    plan, _, grid, folder, made = exported
    assert made.candidates == tuple(grid) and set(made.graph_sha256) == {candidate.id for candidate in grid}
    for name, digest in made.graph_sha256.items():
        assert store.sha256_of(str(folder / f"{name}.onnx")) == digest
    weights = folder / "weights.bin"
    assert (made.weights_sha256, made.weights_bytes) == (store.sha256_of(str(weights)), weights.stat().st_size)
    assert (made.opset, made.ir_version) == (plan.target.opset, plan.target.ir_version)
    assert {path.name for path in folder.iterdir()} == {"weights.bin", *(f"{c.id}.onnx" for c in grid)}


def test_the_same_export_writes_the_same_bytes(tmp_path):
    hashes = []
    for folder, removed in (("once", [0, 2, 4]), ("again", [0, 1, 2, 4, 7])):
        plan, spec, images = tiny.plan(tiny.vit(), layer=1)
        remembered.forget()
        made = export.export(plan, tiny.grid(plan, spec, removed), images, tmp_path / folder)
        hashes.append((made.weights_sha256, [made.graph_sha256[name] for name in ("r000", "r002", "r004")]))
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("changes", [{}, {"reg_tokens": 4}, {"class_token": False}, {"img_size": (16, 24)}])
def test_logits_of_patches_export_in_their_grid(changes, precision, tmp_path):
    model = tiny.vit(global_pool="", **changes)
    made, spec, images = tiny.plan(model, "none", batch_size=2, precision=precision)
    candidates = tiny.grid(made, spec, [0])
    export.export(made, candidates, images, tmp_path)
    path = tmp_path / "onnx" / f"op17-{precision}" / "r000.onnx"
    batch = torch.cat(list(images.batches(3)))[:3]
    rows, columns = model.patch_embed.grid_size
    with torch.inference_mode():
        tokens = model(batch)[:, model.num_prefix_tokens :].numpy()  # (3, rows * columns, 5)
    found = comparison.run_onnx(path, batch.numpy(), 2)
    assert found.shape == (3, 5, rows, columns)
    expected = tokens.reshape(3, rows, columns, 5).transpose(0, 3, 1, 2)
    assert np.abs(found - expected).max() < (1e-4 if precision == "fp32" else 2e-2) * np.abs(expected).max()
    export.write_golden(made, candidates[0].schedule, images, tmp_path / "golden.npz")
    assert np.load(tmp_path / "golden.npz")["logits"].shape == (tiny.IMAGES, 5, rows, columns)


@pytest.mark.parametrize("method", ["tome", "cropr"])
@pytest.mark.parametrize("changes", [{}, {"reg_tokens": 2, "class_token": False}])
def test_patches_come_back_in_their_place(method, changes, tmp_path):
    """In graphs as in PyTorch; with nothing removed the logits are timm's, and they change little by little."""
    made, spec, images = tiny.plan(tiny.vit(global_pool="", **changes), method)
    candidates = tiny.grid(made, spec, [0, 2, 4, 6])
    export.export(made, candidates, images, tmp_path)  # compares all four
    batch = torch.cat(list(images.batches(8)))
    with torch.inference_mode():
        unreduced, *others = (made.reduced(one.schedule)(batch) for one in candidates)
        plain = made.module(batch)[:, spec.prefix_tokens :].transpose(1, 2).reshape(8, 5, 4, 4)
    assert torch.allclose(unreduced, plain, atol=1e-5)
    errors = [(other - plain).norm() / plain.norm() for other in others]
    shuffled = plain.flatten(2)[:, :, torch.randperm(16, generator=torch.Generator().manual_seed(0))].view_as(plain)
    assert errors[0] < 0.7 * (shuffled - plain).norm() / plain.norm()


def test_cropr_without_fusion_is_refused_where_patches_are_labelled():
    made, spec, _ = tiny.plan(tiny.vit(global_pool=""), "cropr", llf=False)
    with pytest.raises(UsageError, match="without last layer fusion it drops patches"):
        made.reduced(tiny.grid(made, spec, [3])[0].schedule)


@pytest.mark.parametrize("kind", [*tiny.KINDS, "DINOv2 with a head"])
def test_every_kind_of_model_exports_and_agrees_with_pytorch(kind, tmp_path):
    model = tiny.dinov2(tmp_path) if kind.startswith("DINOv2") else tiny.vit(**tiny.KINDS[kind])
    plan, spec, images = tiny.plan(model, layer=1, opset=13 if "pooling" in kind else 17)
    grid = tiny.grid(plan, spec, [0, 6])
    made = export.export(plan, grid, images, tmp_path)
    batch = normalised(images.pixels(3), images.preprocessing)
    path = tmp_path / "onnx" / made.form / "r006.onnx"
    found = comparison.run_onnx(path, batch.numpy(), 1)
    with torch.no_grad():
        expected = plan.reduced(grid[1].schedule)(batch).numpy()
    assert found.shape == (3, spec.classes)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    with torch.no_grad():
        plain = plan.module(batch).numpy()
    unreduced = comparison.run_onnx(path.with_name("r000.onnx"), batch.numpy(), 1)
    np.testing.assert_allclose(unreduced, plain, rtol=1e-3, atol=1e-4 * np.abs(plain).max())


def test_topk_exports_where_few_tokens_are_left_for_many_blocks(tmp_path):
    plan, spec, images = tiny.plan(tiny.vit(depth=8), "topk")
    grid = tiny.grid(plan, spec, [8, 9, 10, 11])
    assert export._probes(plan, grid) == [candidate.schedule for candidate in grid]
    made = export.export(plan, grid, images, tmp_path)
    assert set(made.graph_sha256) == {"r008", "r009", "r010", "r011"}


@pytest.mark.parametrize("method", ["topk", "tome", "ltmp", "cropr"])
@pytest.mark.parametrize(("tokens", "depth"), [(17, 4), (37, 12), (197, 12), (257, 24)])
def test_counts_that_are_alike_between_probes_are_alike_in_the_whole_group(method, tokens, depth):
    known = tiny.learned(method, depth)
    plan = export.Plan(torch.nn.Identity(), method, None, 1, 0, named("onnxruntime"), learned=known)
    grid = export.candidates(plan, tokens, depth, 1, range(tokens * 3 // 4))
    for group in export._groups(plan, grid):
        probes = export._probes(plan, group)
        assert len(probes) <= 16
        few, all_counts = (
            np.array([export._counts(plan, schedule) for schedule in schedules])
            for schedules in (probes, [candidate.schedule for candidate in group])
        )
        assert np.array_equal(alike(few), alike(all_counts))


def alike(counts):
    """(counts, counts): whether two move in proportion between schedules, or one never moves; exact in integers."""
    moves = (counts - counts[0]).T  # (counts, schedules)
    products = moves @ moves.T
    return products**2 == np.outer(np.diag(products), np.diag(products))


@pytest.fixture
def pair(tmp_path):
    """A plan, its images, and the folder of two graphs."""
    plan, spec, images = tiny.plan(tiny.vit(), layer=1)
    made = export.export(plan, tiny.grid(plan, spec, [0, 6]), images, tmp_path)
    return plan, images, made.candidates, tmp_path / "onnx" / made.form


@pytest.mark.parametrize("method", [method for method in reducers.METHODS if method != "none"])
def test_engines_may_fuse_attention_in_all_blocks_whose_weights_the_graph_does_not_read(method, tmp_path):
    """Fusible are the blocks in which only the product with the values reads the softmax."""
    plan, spec, images = tiny.plan(tiny.vit(), method)
    made = export.export(plan, tiny.grid(plan, spec, [0, 6]), images, tmp_path)
    for candidate in made.candidates:
        graph = onnx.load(str(tmp_path / "onnx" / made.form / f"{candidate.id}.onnx"), load_external_data=False).graph
        weights = [node.output[0] for node in graph.node if node.op_type == "Softmax"]
        readers = [{node.op_type for node in graph.node if name in node.input} for name in weights]
        assert readers.count({"MatMul"}) == layer_info.fusible(candidate.schedule, made.reads_attention), candidate.id
        assert (readers.count({"MatMul"}) == 4) == (candidate.id == "r000" or method not in ("pomt", "ltmp"))


def compare(pair, **changes):
    plan, images, candidates, folder = pair
    batch = normalised(images.pixels(4), images.preprocessing)
    logits, margins = comparison.logits_and_margins(plan.reduced(candidates[1].schedule), batch, 1)
    given = {"expected": logits, "margins": margins, **{name: change(logits) for name, change in changes.items()}}
    return comparison.compare(folder / "r006.onnx", batch, given["expected"], given["margins"], 1)


def test_tampered_weights_or_logits_make_compare_fail(pair):
    assert compare(pair) < comparison.TOLERANCE["fp32"]
    path = pair[3] / "weights.bin"
    data = bytearray(path.read_bytes())
    weights = onnx.load(str(pair[3] / "r006.onnx"), load_external_data=False).graph.initializer
    place = next({e.key: e.value for e in t.external_data} for t in weights if t.name == "head.bias")
    data[int(place["offset"]) : int(place["offset"]) + 4] = np.float32(100).tobytes()
    path.write_bytes(bytes(data))
    with pytest.raises(VerificationFailed, match=r"r006.onnx: logits .* differ .* 1e-04 is allowed. Update torch"):
        compare(pair)


@pytest.mark.parametrize("change", [lambda logits: logits * 1.001, lambda logits: logits * np.nan])
def test_logits_that_are_off_or_not_numbers_make_compare_fail(pair, change):
    with pytest.raises(VerificationFailed, match="differ from PyTorch's"):
        compare(pair, expected=change)


def test_images_whose_cut_is_a_toss_up_are_left_out(pair):
    def one_wrong(logits):
        return logits + np.array([[1.0]] + [[0.0]] * 3, np.float32)

    def first_unclear(logits):
        return np.array([1e-7, 1, 1, 1])

    with pytest.raises(VerificationFailed):
        compare(pair, expected=one_wrong)
    assert compare(pair, expected=one_wrong, margins=first_unclear) < comparison.TOLERANCE["fp32"]


def test_a_graph_that_disagrees_fails_the_export(tmp_path, monkeypatch):
    plan, spec, images = tiny.plan(tiny.vit(), layer=1)
    honest = comparison.logits_and_margins

    def off(*arguments):
        logits, margins = honest(*arguments)
        return logits + 1, margins

    monkeypatch.setattr(comparison, "logits_and_margins", off)
    with pytest.raises(VerificationFailed, match="r000.onnx"):
        export.export(plan, tiny.grid(plan, spec, [0, 6]), images, tmp_path)


def test_a_weights_file_of_another_graph_set_is_noticed(pair, tmp_path):
    plan, spec, images = tiny.plan(tiny.vit(embed_dim=12), layer=1)
    export.export(plan, tiny.grid(plan, spec, [0, 6]), images, tmp_path / "other")
    shutil.copy(tmp_path / "other" / "onnx" / "op17-fp32" / "weights.bin", pair[3])
    with pytest.raises(Exception, match="(?i)external|weights|out of bounds"):
        compare(pair)


@pytest.mark.parametrize("batch_size", [1, 3, 4])
def test_the_last_batch_is_padded(batch_size, tmp_path):
    plan, spec, images = tiny.plan(tiny.vit(), layer=1, batch_size=batch_size)
    export.export(plan, tiny.grid(plan, spec, [0]), images, tmp_path)
    batch = normalised(images.pixels(5), images.preprocessing)
    found = comparison.run_onnx(tmp_path / "onnx" / "op17-fp32" / "r000.onnx", batch.numpy(), batch_size)
    with torch.no_grad():
        np.testing.assert_allclose(found, plan.module(batch).numpy(), rtol=1e-4, atol=1e-4)


def test_golden_holds_real_pixels_and_the_logits_of_the_unreduced_model(tmp_path):
    plan, spec, images = tiny.plan(tiny.vit(), layer=1)
    many = dataclasses.replace(images, stored=np.concatenate([images.stored] * 9))  # 72 pictures
    export.write_golden(plan, tiny.grid(plan, spec, [0])[0].schedule, many, tmp_path / "golden.npz")
    with np.load(tmp_path / "golden.npz") as golden:
        assert golden["pixels"].dtype == np.uint8 and np.array_equal(golden["pixels"], many.stored[:64])
        with torch.no_grad():
            expected = plan.module(normalised(golden["pixels"], spec.preprocessing)).numpy()
        np.testing.assert_allclose(golden["logits"], expected, rtol=1e-4, atol=1e-5)


def test_nothing_unfinished_is_left_where_the_disk_is_full(tmp_path, monkeypatch):
    import errno
    import os

    plan, spec, images = tiny.plan(tiny.vit(), layer=1)

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(store.WorkFolderUnusable, match="the disk is full. Free some space"):
        export.export(plan, tiny.grid(plan, spec, [0]), images, tmp_path)
    assert [path for path in Path(tmp_path).rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("method", "layer", "removed", "message"),
    [
        ("pomt", 2, [0, 1, 15], r"--tokens goes down to 2 of 17: pomt cannot .* Let it end higher"),
        ("pomt", 4, [0, 1], r"layer 4 is out of range: the model has 4 blocks. Choose --layer 0 to 3"),
        ("nosuch", None, [0], "there is no method 'nosuch'"),
        ("topk", 1, [0, 4], "the layer given to topk is 1. Give none to"),
        ("none", None, [0, 1], "none cannot remove 1 of 17 tokens"),
    ],
)
def test_what_cannot_be_removed_is_refused(method, layer, removed, message):
    plan, spec, _ = tiny.plan(tiny.vit(), method, layer=layer)
    with pytest.raises(UsageError, match=message):
        tiny.grid(plan, spec, removed)
