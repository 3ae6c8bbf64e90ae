"""The order of classes through the command: said, recorded, kept by evaluate, and never changed under a work folder."""

import contextlib
import json
import os

import pytest

pytest.importorskip("timm", reason="compiles a model")

from pomt_trt.core.records import Experiment  # noqa: E402
from pomt_trt.core.storage import store  # noqa: E402
from pomt_trt.core.storage.bundle import open_bundle  # noqa: E402
from tests import compiled  # noqa: E402
from tests.compiled import call, one  # noqa: E402

NATURAL = ["c1", "c2", "c3", "c10", "c20"]
SAID = "classes: 5 folders, in natural order: c1, c2, ... c20"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("classes") / "data")
    compiled.write_pictures(folder)
    for number, name in enumerate(NATURAL):
        os.rename(os.path.join(folder, str(number)), os.path.join(folder, name))
    return folder


def command(name, work, data, *more):
    arguments = compiled.experiment()
    arguments[2] = data
    timing = compiled.TIMING if name == "compile" else []
    return [name] + arguments + ["--method", "none"] + timing + ["--work", str(work)] + list(more)


@pytest.fixture(scope="module")
def work(data, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("classes") / "work")
    code, out, err = compiled.called(*command("compile", folder, data, "--json"))
    assert code == 0, err
    with open(os.path.join(folder, "out.json"), "w") as file:
        json.dump([json.loads(out), err], file)
    return folder


def evaluated(capsys, work, data, *more):
    code, out, err = call(capsys, "evaluate", one(work, "bundle-"), data, "--json", *more)
    assert code == 0, err
    return json.loads(out), err


def test_compile_says_and_records_how_classes_were_read(work):
    with open(os.path.join(work, "out.json")) as file:
        selection, err = json.load(file)
    assert SAID in err.splitlines() and SAID in selection["notes"]
    experiment = store.read_record(os.path.join(work, "experiment.json"), Experiment).record
    assert experiment.class_order == open_bundle(one(work, "bundle-")).class_order
    assert (experiment.class_order.reading, list(experiment.class_order.names)) == ("natural", NATURAL)


def test_export_says_it_even_where_nothing_is_made_anew(work, data, capsys):
    code, out, err = call(capsys, *command("export", work, data))
    assert code == 0 and SAID in err.splitlines()


def test_evaluate_reads_classes_as_compile_did(work, data, capsys):
    found, err = evaluated(capsys, work, data)
    assert SAID in err.splitlines() and found["class_order"]["names"] == NATURAL
    assert found["engine"]["accuracy"] == found["host"]["accuracy"] and found["host_expected"]


def test_evaluate_knows_the_place_of_some_of_the_classes(work, data, tmp_path, capsys):
    for name in ("c3", "c20"):
        os.symlink(os.path.join(data, name), str(tmp_path / name))
    found, err = evaluated(capsys, work, str(tmp_path))
    assert "classes: 2 folders, in natural order of 5 names: c1, c2, ... c20" in err.splitlines()
    assert found["class_order"]["names"] == NATURAL


def test_evaluate_takes_another_order_where_it_is_asked_for(work, data, capsys):
    found, err = evaluated(capsys, work, data, "--class-order", "string")
    assert "classes: 5 folders, in string order: c1, c10, ... c3" in err.splitlines()
    assert found["class_order"]["names"] == sorted(NATURAL)


def test_another_order_is_another_experiment(work, data, tmp_path, capsys):
    code, _, err = call(capsys, *command("compile", work, data, "--class-order", "string"))
    assert code == 2 and "its class order is None, you ask for string" in err
    (tmp_path / "order.txt").write_text("\n".join(NATURAL))
    asked = command("export", tmp_path / "w", data, "--class-order", tmp_path / "order.txt")
    assert call(capsys, *asked)[0] == 0
    (tmp_path / "order.txt").write_text("\n".join(sorted(NATURAL)))
    code, _, err = call(capsys, *asked)
    assert code == 2 and "another experiment: its class order sha256 is" in err


def test_accuracies_of_another_order_are_never_mixed_in(work, data, tmp_path, capsys):
    """A work folder of 0.2, which read these names in string order and recorded nothing."""
    folder = str(tmp_path / "work")
    assert call(capsys, *command("export", folder, data))[0] == 0
    path = os.path.join(folder, "experiment.json")
    family = one(os.path.join(folder, "onnx"), "op17")
    with rewritten(path) as body:
        del body["value"]["class_order"], body["value"]["request"]["class_order"]
        del body["value"]["request"]["class_order_sha256"]
    with rewritten(os.path.join(family, "family.json")) as body:
        body["inputs"]["experiment"] = store.sha256_of(path)
    code, _, err = call(capsys, "accuracy", folder)
    assert code == 8
    assert "was made with classes in the order c1, c10, c2, c20; now the data are read as c1, c2, c3, c10." in err


@contextlib.contextmanager
def rewritten(path):
    """A JSON file's content, written back at the end."""
    with open(path) as file:
        body = json.load(file)
    yield body
    with open(path, "w") as file:
        json.dump(body, file)


def test_an_order_without_its_file_or_without_data_is_refused(data, tmp_path, capsys):
    code, _, err = call(capsys, *command("export", tmp_path / "w", data, "--class-order", "nowhere.txt"))
    assert code == 3 and "--class-order nowhere.txt is no file here. Check the path." in err
    code, _, err = call(capsys, "export", "digits", "--class-order", "string", "--work", tmp_path / "w")
    assert code == 2 and "--class-order is given without --data" in err
    train = ["train", "ltmp", "digits", "--class-order", "string", "--work", tmp_path / "t"]
    code, _, err = call(capsys, *train)
    assert code == 2 and "--class-order is given without --data" in err


def test_the_names_of_the_classes_reach_the_bundle(work):
    assert list(open_bundle(one(work, "bundle-")).model.labels) == NATURAL


def test_an_input_that_is_no_square_and_turned_pictures_are_the_bundles_too(data, tmp_path, capsys):
    from PIL import Image

    import pomt_trt

    asked = ["--img-size", "16x24", "--exif"]
    code, _, err = call(capsys, *command("compile", tmp_path / "w", data, *asked))
    assert code == 0, err
    picture, exif = Image.open(os.path.join(data, "c1", "0.png")).resize((40, 20)), Image.Exif()
    exif[0x0112] = 6
    picture.rotate(90, expand=True).save(str(tmp_path / "turned.png"), exif=exif)
    picture.save(str(tmp_path / "upright.png"))
    with pomt_trt.load(one(tmp_path / "w", "bundle-")) as predictor:
        look = predictor.bundle.model.preprocessing
        assert (look.height, look.width, look.exif) == (16, 24, True)
        upright, turned = predictor([str(tmp_path / "upright.png"), str(tmp_path / "turned.png")])
    assert (upright == turned).all()
