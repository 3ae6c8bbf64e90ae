"""A model that labels every patch, from its folder to label maps: compile, infer, evaluate and verify."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

import pomt_trt
from pomt_trt import infer
from tests import compiled
from tests.shared import once

pytest.importorskip("torch", reason="models are exported on the workstation")
pytest.importorskip("onnxruntime", reason="runs ONNX Runtime engines")
CLASSES = 3


def source():
    """Folder with model/, which labels patches, and data/ (six pictures, their label maps, and sizes of their own)."""
    return once("dense", _write_source)


def _write_source(folder):
    compiled.write_model(os.path.join(folder, "model"), classes=CLASSES, global_pool="")
    compiled.write_label_maps(os.path.join(folder, "data"), CLASSES)


def compile_command(work, *more, **paths):
    data = paths.get("data", os.path.join(source(), "data"))
    model = "local-dir:" + os.path.join(source(), "model")
    return ["compile", model, "--data", data, "--work", str(work)] + compiled.TIMING + list(more)


def bundle():
    """A bundle of the unreduced model."""
    return compiled.one(once("dense-compiled", _compile), "bundle-")


def _compile(work):
    code, _, err = compiled.called(*compile_command(work, "--method", "none"))
    assert code == 0, err


def images():
    return os.path.join(source(), "data", "images")


def test_a_compile_says_mean_iou():
    with open(os.path.join(os.path.dirname(bundle()), "experiment.json")) as file:
        experiment = json.load(file)["value"]
    assert experiment["accuracy_kind"] == "miou" and experiment["model"]["task"] == "segmentation"


def test_infer_writes_a_label_map_of_each_images_size(tmp_path, capsys):
    maps = str(tmp_path / "maps")
    assert infer.main([bundle(), images(), "--out", maps, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [os.path.basename(line["label_map"]) for line in lines] == ["{}.png".format(n) for n in range(6)]
    with pomt_trt.load(bundle()) as segment:
        found = segment([line["image"] for line in lines])
    for line, expected in zip(lines, found):
        with Image.open(line["label_map"]) as picture, Image.open(line["image"]) as image:
            labels = np.asarray(picture)
            assert picture.size == image.size and (labels == expected).all()
        seen = labels[labels != 255]
        assert sum(one["share"] for one in line["shares"]) == pytest.approx(1)
        for one in line["shares"]:
            assert one["share"] == pytest.approx((seen == one["index"]).mean())


def test_infer_asks_for_a_folder_and_shows_where_maps_are(tmp_path, capsys):
    picture = os.path.join(images(), "0.png")
    assert infer.main([bundle(), picture]) == 2
    assert "give --out DIR" in capsys.readouterr().err
    assert infer.main([bundle(), picture, "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "label map and shares" in out and str(tmp_path / "0.png") in out


def test_the_engine_is_as_good_as_the_host_said(capsys):
    code, out, _ = compiled.call(capsys, "evaluate", bundle(), os.path.join(source(), "data"), "--json")
    found = json.loads(out)
    assert code == 0 and found["engine"]["kind"] == found["host_kind"] == "miou"
    assert found["engine"]["accuracy"] == pytest.approx(found["host"]["accuracy"], abs=0.02) and found["host_expected"]


def test_a_mean_iou_of_fewer_images_is_held_against_no_other(capsys):
    arguments = ["evaluate", bundle(), os.path.join(source(), "data"), "--samples", "3"]
    assert json.loads(compiled.call(capsys, *arguments, "--json")[1])["host_expected"] is None
    assert "estimate cannot be compared" in compiled.call(capsys, *arguments)[1]


def test_without_label_maps_pixels_agree_with_the_unreduced_model(capsys):
    code, out, _ = compiled.call(capsys, "evaluate", bundle(), images())
    assert code == 0 and "pixel agreement with R = 0" in out and "100.00%" in out


def test_the_engine_agrees_with_the_host(capsys):
    code, out, _ = compiled.call(capsys, "verify", bundle())
    assert code == 0 and out.count("same") == 2


def test_merged_patches_have_labels_again(tmp_path, capsys):
    work = tmp_path / "work"
    tokens = ["--tokens", "13:13:1", "--rule", "fastest-within", "--max-accuracy-drop", "100", "--keep-engines"]
    assert compiled.call(capsys, *compile_command(work, "--method", "tome", *tokens))[0] == 0
    assert compiled.call(capsys, "verify", work)[1].count("same") == 4  # R = 0 and R = 4, beside host and ONNX Runtime


def test_scorers_that_were_trained_bring_patches_back(tmp_path, capsys):
    pytest.importorskip("accelerate", reason="trains, which needs Hugging Face accelerate")
    data, model = os.path.join(source(), "data"), "local-dir:" + os.path.join(source(), "model")
    asked = ["train", "cropr", model, "--data", data, "--work", tmp_path / "T", "--removed", "3", "--epochs", "1"]
    code, out, _ = compiled.call(capsys, *asked, "--batch", "3", "--threads", "1", "--validation", "0.3")
    assert code == 0 and "4 images, 2 to validate (mIoU)" in out
    trained = ["compile", "local-dir:{}".format(tmp_path / "T"), "--data", data, "--work", tmp_path / "work"]
    tokens = ["--method", "cropr", "--tokens", "10:10:1", "--rule", "fastest-within", "--max-accuracy-drop", "100"]
    assert compiled.call(capsys, *trained, *compiled.TIMING, *tokens, "--keep-engines")[0] == 0
    assert compiled.call(capsys, "verify", tmp_path / "work")[1].count("same") == 4
    assert infer.main([compiled.one(tmp_path / "work", "bundle-"), images(), "--out", str(tmp_path / "maps")]) == 0
    assert len(os.listdir(str(tmp_path / "maps"))) == 6


def test_training_needs_every_patch_back_and_label_maps(tmp_path, capsys):
    pytest.importorskip("accelerate", reason="trains, which needs Hugging Face accelerate")
    model, work = "local-dir:" + os.path.join(source(), "model"), ["--work", tmp_path / "T"]
    given = [["--data", os.path.join(source(), "data"), "--no-llf"], ["--data", images()]]
    for more, expected, message in zip(given, (2, 3), ("Leave --no-llf out", "Put label maps beside images")):
        code, _, err = compiled.call(capsys, "train", "cropr", model, *more, *work, "--removed", "3")
        assert code == expected and message in err


@pytest.mark.parametrize("method", ["pomt", "topk", "random"])
def test_methods_that_lose_patches_are_refused_by_name(method, tmp_path, capsys):
    code, _, err = compiled.call(capsys, *compile_command(tmp_path / "work", "--method", method, *compiled.TOKENS))
    assert code == 2 and "{} does not fit a model that labels every patch".format(method) in err
    assert "Choose --method none or tome or cropr" in err


def test_a_label_that_is_no_class_is_one_line(tmp_path, capsys):
    data = str(tmp_path / "data")
    shutil.copytree(os.path.join(source(), "data"), data)
    wrong = os.path.join(data, "labels", "2.png")
    with Image.open(wrong) as picture:
        labels = np.array(picture)
    labels[5, 5] = CLASSES
    Image.fromarray(labels).save(wrong)
    command = compile_command(tmp_path / "work", "--method", "none", data=data)
    for arguments in (command, ["evaluate", bundle(), data]):
        code, _, err = compiled.call(capsys, *arguments)
        assert code == 3 and "2.png holds the label 3, the model has 3 classes: 0 to 2" in err
        assert len(err.strip().splitlines()) <= 2, err
