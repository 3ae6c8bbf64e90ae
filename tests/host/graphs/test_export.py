"""A graph set: each graph equals the one traced directly, holds the scheduled tokens, and agrees with PyTorch."""

import dataclasses

import numpy as np
import pytest
import torch

from pomt_trt.core.errors import UsageError, VerificationFailed
from pomt_trt.core.storage import store
from pomt_trt.core.targets import named
from pomt_trt.device.engines.tensorrt import layer_info
from pomt_trt.host import reducers
from pomt_trt.host.data.image_batches import normalised
from pomt_trt.host.graphs import comparison, export
from tests.host import remembered, tiny

METHODS = {
    "pomt": {"layer": 2, "removed": [0, 2, 3, 5, 12]},
    "pomt-shift": {"layer": 2, "removed": [0, 2, 3, 12]},
    "random": {"removed": [0, 2, 3, 5, 8]},
    "topk": {"removed": [0, 2, 5, 6, 7, 8, 9, 12]},
    "tome": {"removed": [0, 6, 7, 8, 9]},
    "ltmp": {"removed": [0, 9, 10, 11, 12]},
    "cropr": {"removed": [0, 5, 6, 7, 8]},
    "cropr without fusion": {"removed": [0, 6, 7, 8]},
}


@pytest.fixture(scope="module", params=[(m, o, b) for m in METHODS for o, b in ((13, 2), (17, 1))], ids=str)
def exported(request, tmp_path_factory):
    """The graph set of one method, opset and batch."""
    method, opset, batch = request.param
    how = {**METHODS[method], "llf": method == "cropr", "batch_size": batch, "opset": opset}
    return tiny.exported(tmp_path_factory.mktemp("export"), tiny.vit(), method=method.split()[0], **how)


LAST, BETWEEN = slice(-1, None), pytest.param(slice(1, -1), marks=pytest.mark.long)  # each is traced anew


@pytest.mark.parametrize("chosen", [LAST, BETWEEN], ids=["last", "between"])
def test_every_graph_equals_the_one_exported_alone(exported, chosen, tmp_path):
    for candidate in exported.family.candidates[chosen]:
        alone = export.export(exported.plan, [candidate], exported.images, tmp_path)
        assert alone.graph_sha256[candidate.id] == exported.family.graph_sha256[candidate.id], candidate.id
        assert alone.weights_sha256 == exported.family.weights_sha256


def test_graphs_hold_the_tokens_of_each_block(exported):
    """The export has read them back from each graph."""
    for candidate in exported.family.candidates:
        tokens = candidate.schedule.tokens
        if exported.plan.method == "random":
            expected = (tokens[1],) + tokens[1:]
        elif getattr(exported.plan.learned, "llf", False):
            expected = tokens[:-2] + (17, 17)  # all tokens enter the last block
        else:
            expected = tokens
        assert export.tokens_by_block(exported.plan, candidate.schedule) == expected


def test_the_record_says_what_was_written(exported):
    plan, _, _, made, folder = exported
    assert set(made.graph_sha256) == {candidate.id for candidate in made.candidates}
    for name, digest in made.graph_sha256.items():
        assert store.sha256_of(str(folder / f"{name}.onnx")) == digest
    weights = folder / "weights.bin"
    assert (made.weights_sha256, made.weights_bytes) == (store.sha256_of(str(weights)), weights.stat().st_size)
    assert (made.opset, made.ir_version) == (plan.target.opset, plan.target.ir_version)
    assert {path.name for path in folder.iterdir()} == {"weights.bin", *(f"{c.id}.onnx" for c in made.candidates)}


def test_the_same_export_writes_the_same_bytes(tmp_path):
    hashes = []
    for folder, removed in (("once", [0, 2, 4]), ("again", [0, 1, 2, 4, 7])):
        remembered.forget()
        made = tiny.exported(tmp_path / folder, tiny.vit(), removed, layer=1).family
        hashes.append((made.weights_sha256, [made.graph_sha256[name] for name in ("r000", "r002", "r004")]))
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("changes", [{}, {"reg_tokens": 4}, {"class_token": False}, {"img_size": (16, 24)}])
def test_logits_of_patches_export_in_their_grid(changes, precision, tmp_path):
    model = tiny.vit(global_pool="", **changes)
    made = tiny.exported(tmp_path, model, [0], "none", batch_size=2, precision=precision)
    unreduced = made.family.candidates[0]
    rows, columns = model.patch_embed.grid_size
    with torch.inference_mode():
        tokens = model(made.batch[:3])[:, model.num_prefix_tokens :].numpy()  # (3, rows * columns, 5)
    found = made.logits(unreduced, made.batch[:3])
    expected = tokens.reshape(3, rows, columns, 5).transpose(0, 3, 1, 2)
    assert found.shape == (3, 5, rows, columns)
    assert np.abs(found - expected).max() < (1e-4 if precision == "fp32" else 2e-2) * np.abs(expected).max()
    export.write_golden(made.plan, unreduced.schedule, made.images, tmp_path / "golden.npz")
    assert np.load(tmp_path / "golden.npz")["logits"].shape == (tiny.IMAGES, 5, rows, columns)


@pytest.mark.parametrize("method", ["tome", "cropr"])
@pytest.mark.parametrize("changes", [{}, {"reg_tokens": 2, "class_token": False}])
def test_patches_come_back_in_their_place(method, changes, tmp_path):
    """In graphs as in PyTorch; with nothing removed the logits are timm's, and they change little by little."""
    made = tiny.exported(tmp_path, tiny.vit(global_pool="", **changes), [0, 2, 4, 6], method)  # compares all four
    with torch.inference_mode():
        unreduced, *others = (made.plan.reduced(one.schedule)(made.batch) for one in made.family.candidates)
        plain = made.plan.module(made.batch)[:, made.spec.prefix_tokens :].transpose(1, 2).reshape(8, 5, 4, 4)
    assert torch.allclose(unreduced, plain, atol=1e-5)
    errors = [(other - plain).norm() / plain.norm() for other in others]
    shuffled = plain.flatten(2)[:, :, torch.randperm(16, generator=torch.Generator().manual_seed(0))].view_as(plain)
    assert errors[0] < 0.7 * (shuffled - plain).norm() / plain.norm()


def test_cropr_without_fusion_is_refused_where_patches_are_labelled():
    made, spec, _ = tiny.plan(tiny.vit(global_pool=""), "cropr", llf=False)
    with pytest.raises(UsageError, match="without last layer fusion it drops patches"):
        made.reduced(tiny.grid(made, spec, [3])[0].schedule)


@pytest.mark.parametrize("kind", [*tiny.KINDS, "DINOv2 with a head"])
def test_every_kind_of_model_exports_and_agrees_with_timm(kind, tmp_path):
    """The export compares both graphs with ours in PyTorch."""
    model = tiny.dinov2(tmp_path) if kind.startswith("DINOv2") else tiny.vit(**tiny.KINDS[kind])
    made = tiny.exported(tmp_path, model, [0, 6], layer=1, opset=13 if "pooling" in kind else 17)
    with torch.no_grad():
        plain = made.plan.module(made.batch).numpy()
    found = made.logits(made.family.candidates[0])
    np.testing.assert_allclose(found, plain, rtol=1e-3, atol=1e-4 * np.abs(plain).max())


def test_topk_exports_where_few_tokens_are_left_for_many_blocks(tmp_path):
    made = tiny.exported(tmp_path, tiny.vit(depth=8), [8, 9, 10, 11], "topk").family
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
    """Two graphs of one's own."""
    return tiny.exported(tmp_path, tiny.vit(), [0, 6], layer=1)


@pytest.mark.parametrize("method", [method for method in reducers.METHODS if method != "none"])
def test_engines_may_fuse_attention_in_all_blocks_whose_weights_the_graph_does_not_read(method, tmp_path):
    """Fusible are the blocks in which only the product with the values reads the softmax."""
    made = tiny.exported(tmp_path, tiny.vit(), [0, 6], method)
    for candidate in made.family.candidates:
        graph = made.graph(candidate).graph
        weights = [node.output[0] for node in graph.node if node.op_type == "Softmax"]
        readers = [{node.op_type for node in graph.node if name in node.input} for name in weights]
        assert readers.count({"MatMul"}) == layer_info.fusible(candidate.schedule, made.family.reads_attention)
        assert (readers.count({"MatMul"}) == 4) == (candidate.id == "r000" or method not in ("pomt", "ltmp"))


def compare(pair, change=lambda logits: logits, margins=None):
    logits, own = pair.expected(pair.reduced)
    margins = own if margins is None else margins
    return comparison.compare(pair.path(pair.reduced), pair.batch, change(logits), margins, 1)


def test_tampered_weights_make_compare_fail(pair):
    assert compare(pair) < comparison.TOLERANCE["fp32"]
    path = pair.folder / "weights.bin"
    data = bytearray(path.read_bytes())
    weights = pair.graph(pair.reduced).graph.initializer
    place = next({e.key: e.value for e in t.external_data} for t in weights if t.name == "head.bias")
    data[int(place["offset"]) : int(place["offset"]) + 4] = np.float32(100).tobytes()
    path.write_bytes(bytes(data))
    with pytest.raises(VerificationFailed, match=r"r006.onnx: logits .* differ .* 1e-04 is allowed. Update torch"):
        compare(pair)


@pytest.mark.parametrize("factor", [1.001, np.nan])
def test_logits_that_are_off_or_not_numbers_make_compare_fail(pair, factor):
    with pytest.raises(VerificationFailed, match="differ from PyTorch's"):
        compare(pair, lambda logits: logits * factor)


def test_images_whose_cut_is_a_toss_up_are_left_out(pair):
    wrong = np.zeros((tiny.IMAGES, 1), np.float32)
    wrong[0] = 1
    with pytest.raises(VerificationFailed):
        compare(pair, lambda logits: logits + wrong)
    unclear = np.where(wrong[:, 0], 1e-7, 1)
    assert compare(pair, lambda logits: logits + wrong, unclear) < comparison.TOLERANCE["fp32"]


def test_a_graph_that_disagrees_fails_the_export(tmp_path, monkeypatch):
    honest = comparison.logits_and_margins

    def off(*arguments):
        logits, margins = honest(*arguments)
        return logits + 1, margins

    monkeypatch.setattr(comparison, "logits_and_margins", off)
    with pytest.raises(VerificationFailed, match="r000.onnx"):
        tiny.exported(tmp_path, tiny.vit(), [0, 6], layer=1)


@pytest.mark.parametrize("batch_size", [1, 3, 4])
def test_the_last_batch_is_padded(batch_size, tmp_path):
    made = tiny.exported(tmp_path, tiny.vit(), [0], layer=1, batch_size=batch_size)
    found = made.logits(made.family.candidates[0], made.batch[:5])
    with torch.no_grad():
        np.testing.assert_allclose(found, made.plan.module(made.batch[:5]).numpy(), rtol=1e-4, atol=1e-4)


def test_golden_holds_real_pixels_and_the_logits_of_the_unreduced_model(tmp_path):
    plan, spec, images = tiny.plan(tiny.vit(), layer=1)
    many = dataclasses.replace(images, stored=np.concatenate([images.stored] * 9))  # 72 pictures
    export.write_golden(plan, tiny.grid(plan, spec, [0])[0].schedule, many, tmp_path / "golden.npz")
    with np.load(tmp_path / "golden.npz") as golden:
        assert golden["pixels"].dtype == np.uint8 and np.array_equal(golden["pixels"], many.stored[:64])
        with torch.no_grad():
            expected = plan.module(normalised(golden["pixels"], spec.preprocessing)).numpy()
        np.testing.assert_allclose(golden["logits"], expected, rtol=1e-4, atol=1e-5)


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
