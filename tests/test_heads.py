"""Models whose outputs are no choice between classes: from compile to the bundle, evaluate, infer and Python."""

import csv
import json
import os

import numpy as np
import pytest

import pomt_trt
from pomt_trt import infer
from pomt_trt.core.records import Experiment
from pomt_trt.core.storage import store
from tests import compiled

IMAGES = 10
HEADS = {  # task -> outputs of the head, accuracy kind with labels, labels of an image by its number
    "features": (0, "knn", lambda number: [str(number % 2)]),
    "binary": (1, "auroc", lambda number: [str(number % 2)]),
    "multilabel": (3, "auroc", lambda number: ["0", "2"][: number % 3]),
    "regression": (1, "r2", lambda number: [str(number * 1.5)]),
}
CASES = ["features", "multilabel"] + [pytest.param(task, marks=pytest.mark.long) for task in ("binary", "regression")]


def pictures(folder, labels):
    """A flat folder with labels.csv; returns the images' paths in the file's order."""
    compiled.write_pictures(str(folder / "flat"), classes=1, each=IMAGES)
    paths = [str(folder / "flat" / "0" / "{}.png".format(number)) for number in range(IMAGES)]
    with open(str(folder / "flat" / "0" / "labels.csv"), "w", newline="") as file:
        csv.writer(file).writerows([["image", "label"]] + [[path] + labels(n) for n, path in enumerate(paths)])
    return paths


@pytest.fixture(params=CASES)
def made(request, tmp_path, capsys):
    """(task, work folder, bundle, images) of a compiled model."""
    outputs, _, labels = HEADS[request.param]
    compiled.write_model(str(tmp_path / "model"), outputs)
    paths, work = pictures(tmp_path, labels), tmp_path / "work"
    name = "local-dir:{}".format(tmp_path / "model")
    arguments = ["compile", name, "--data", os.path.dirname(paths[0]), "--layer", 1, "--work", work]
    code, _, err = compiled.call(capsys, *arguments, "--task", request.param, *compiled.TOKENS, *compiled.TIMING)
    assert code == 0, err
    return request.param, work, compiled.one(work, "bundle-"), paths


def test_it_is_compiled_evaluated_and_deployed(made, tmp_path, capsys):
    task, work, bundle, paths = made
    assert store.read_record(str(work / "experiment.json"), Experiment).record.accuracy_kind == HEADS[task][1]
    check_evaluation(task, compiled.call(capsys, "evaluate", bundle, os.path.dirname(paths[0]), "--json"))
    with pomt_trt.load(bundle, threads=1) as predictor:
        rows = predictor(paths)
    check_rows(task, rows)
    out = ["--out", str(tmp_path / "f.npy")] if task == "features" else []
    assert infer.main([bundle, *paths, "--json", *out]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    check_answers(task, answers, rows)
    if out:
        assert np.allclose(np.load(out[1]), rows, atol=1e-6)
    assert infer.main([bundle, *paths, *out]) == 0 and len(capsys.readouterr().out.splitlines()) == IMAGES + 1


def check_evaluation(task, called):
    code, out, err = called
    assert code == 0, err
    engine = json.loads(out)["engine"]
    assert engine["kind"] == HEADS[task][1] and engine["drop_ci"][0] <= engine["drop"] <= engine["drop_ci"][1]
    assert [one["kind"] for one in engine["others"]] == {"knn": [], "auroc": ["f1"], "r2": ["mae"]}[engine["kind"]]


def check_rows(task, rows):
    assert rows.shape == (IMAGES, 24 if task == "features" else HEADS[task][0]) and rows.dtype == np.float32
    assert np.abs(rows - rows[0]).max() > 1e-3, "the images are not told apart"
    if task in ("binary", "multilabel"):
        assert 0 < rows.min() and rows.max() < 1 and np.abs(rows.sum(axis=1) - 1).max() > 1e-3


def check_answers(task, answers, rows):
    if task == "features":
        assert [one["row"] for one in answers] == list(range(IMAGES))
    elif task == "binary":
        assert np.allclose([one["probability"] for one in answers], rows[:, 0], atol=1e-6)
    elif task == "multilabel":
        for one, row in zip(answers, rows):
            assert [p["probability"] for p in one["predictions"]] == pytest.approx(sorted(row, reverse=True), abs=1e-6)
    else:
        assert np.allclose([one["values"][0]["value"] for one in answers], rows[:, 0], atol=1e-5)


def test_features_go_to_json_where_no_file_is_given_and_to_no_folder(capsys, tmp_path):
    work = tmp_path / "work"
    compiled.write_model(str(tmp_path / "model"), 0)
    name = "local-dir:{}".format(tmp_path / "model")
    code, _, err = compiled.call(
        capsys, "compile", name, "--samples", 8, "--work", work, "--layer", 1, *compiled.TOKENS, *compiled.TIMING
    )
    assert code == 0, err
    bundle, paths = compiled.one(work, "bundle-"), pictures(tmp_path, lambda number: [])
    assert infer.main([bundle, paths[0], "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["features"]) == 24
    assert infer.main([bundle, paths[0], "--out", str(tmp_path / "maps")]) == 2
    assert "is not the name of a .npy file" in capsys.readouterr().err
