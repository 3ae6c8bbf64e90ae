"""The deployed command and class, on real engines and files; in a process of its own what depends on one."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from pomt_trt.core.data.images import open_image
from pomt_trt.core.errors import InputError
from pomt_trt.device.deploy import preprocess
from pomt_trt.device.deploy.classifier import Classifier
from pomt_trt.device.engines.engine import open_engine
from pomt_trt.infer import load, main
from tests import compiled, fakes

pytest.importorskip("onnxruntime", reason="runs ONNX Runtime engines")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """batch -> path of a bundle."""
    folder = tmp_path_factory.mktemp("bundles")
    return {batch: fakes.quadrant_bundle(folder, batch) for batch in (1, 4)}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of six pictures: classes 0, 1, 2, 3, 0, 1."""
    folder = tmp_path_factory.mktemp("pictures")
    for index in range(6):
        fakes.picture(index % 4).save(str(folder / "{}.png".format(index)))
    return folder


def start(*arguments, **options):
    return compiled.start(*arguments, module="pomt_trt.infer", warnings="error", **options)


def finished(process, given=None):
    """(exit code, stdout, stderr) of a process; never a traceback."""
    out, err = process.communicate(given, timeout=60)
    assert b"Traceback" not in err, err.decode()
    return process.returncode, (out or b"").decode(), err.decode()


@pytest.fixture
def infer(capsys):
    """Runs the command in this process: (exit code, stdout, stderr)."""

    def run(*arguments):
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def lines_of(out):
    return [json.loads(line) for line in out.splitlines()]


def test_json_gives_a_line_for_each_image_in_the_order_given(infer, bundles, pictures):
    code, out, err = infer(bundles[1], pictures / "3.png", pictures / "1.png", "--json", "--top-k", "2")
    lines = lines_of(out)
    assert code == 0 and [os.path.basename(line["image"]) for line in lines] == ["3.png", "1.png"]
    assert set(lines[0]) == {"image", "predictions", "latency_ms"} and lines[0]["latency_ms"] > 0
    best, second = lines[0]["predictions"]
    assert (best["label"], best["index"]) == ("lower right", 3)
    assert set(best) == {"label", "index", "probability"} and 1 > best["probability"] > second["probability"] > 0


def test_a_table_shows_image_latency_and_labels(infer, bundles, pictures):
    code, out, err = infer(bundles[1], pictures, "--top-k", "1")
    lines = out.splitlines()
    assert code == 0 and lines[0].split() == ["image", "latency_ms", "predictions"] and len(lines) == 7
    assert lines[1].startswith(str(pictures / "0.png")) and "upper left 9" in lines[1]


@pytest.mark.parametrize("batch", [1, 4])
def test_the_summary_tells_the_engine_from_end_to_end(infer, bundles, pictures, batch):
    code, out, err = infer(bundles[batch], pictures)
    summary = err.splitlines()
    assert summary[0] == "6 images in batches of up to {}".format(batch)
    for line, title in zip(summary[1:], ("engine ", "end to end ")):
        assert line.startswith(title) and "images/s" in line and "mean" in line and "p50" in line and "p95" in line


def test_folders_are_walked_in_order_without_hidden_or_other_files(infer, bundles, tmp_path):
    for name in ("b/2.PNG", "b/1.jpg", "a.png", "b/.hidden.png", ".cache/3.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        fakes.picture(0).save(str(tmp_path / name), format="PNG")
    code, out, _ = infer(bundles[1], tmp_path, "--json")
    assert code == 0
    assert [os.path.relpath(line["image"], str(tmp_path)) for line in lines_of(out)] == ["a.png", "b/1.jpg", "b/2.PNG"]


def test_a_path_on_stdin_is_answered_before_the_next_is_written(bundles, pictures):
    process = start(bundles[1], "-", "--json", stdin=subprocess.PIPE)
    for name, end in (("2.png", b"\r\n\n"), ("3.png", b"\n")):
        process.stdin.write(str(pictures / name).encode() + end)
        process.stdin.flush()
        assert json.loads(process.stdout.readline().decode())["image"].endswith(name)
    code, out, _ = finished(process, str(pictures / "0.png").encode())  # without an end of line
    assert code == 0 and [line["predictions"][0]["index"] for line in lines_of(out)] == [0]


def test_a_bad_image_is_one_line_and_the_rest_go_on(infer, bundles, pictures, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"broken")
    files = [pictures / "0.png", tmp_path / "broken.jpg", tmp_path / "absent.png", pictures / "1.png"]
    for batch in (1, 4):
        code, out, err = infer(bundles[batch], "--json", *files)
        assert code == 11 and [line["predictions"][0]["index"] for line in lines_of(out)] == [0, 1]
        errors = [line for line in err.splitlines() if line.startswith("pomt-trt: ")]
        assert len(errors) == 3 and "broken.jpg: not an image" in errors[0] and "absent.png: no such file" in errors[1]
        assert "2 of 4 images failed" in errors[2] and "Leave them out or replace them" in errors[2]


def test_no_image_at_all_and_none_that_is_usable_are_exit_3(infer, bundles, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    code, out, err = infer(bundles[1], tmp_path)
    assert code == 3 and "no image in {}".format(tmp_path) in err and "Give image files" in err
    assert infer(bundles[1], "-")[0] == 3
    code, out, err = infer(bundles[1], tmp_path / "absent.png", "--json")
    assert code == 3 and out == "" and "1 of 1 images failed" in err


def test_a_bundle_that_cannot_be_used_is_one_line_and_its_exit_code(infer, bundles, pictures, tmp_path):
    code, out, err = infer(tmp_path / "absent", pictures)
    assert code == 3 and out == "" and err.count("\n") == 1 and err.startswith("pomt-trt: there is no bundle folder")
    damaged = fakes.quadrant_bundle(tmp_path)
    with open(os.path.join(damaged, "r004.engine"), "r+b") as file:
        file.seek(10)
        file.write(b"\xff\xff")
    code, out, err = infer(damaged, pictures)
    assert code == 9 and err.count("\n") == 1 and "r004.engine" in err


def test_says_that_weights_are_random(infer, pictures, tmp_path, caplog):
    bundle = fakes.quadrant_bundle(tmp_path, model=fakes.quadrant_model(weights="random (seed 0)"))
    assert infer(bundle, pictures / "0.png")[0] == 0
    assert "the weights of quadrants are random" in caplog.text and "--checkpoint" in caplog.text


def test_numbers_stand_in_for_labels_that_nobody_gave(infer, pictures, tmp_path):
    bundle = fakes.quadrant_bundle(tmp_path, model=fakes.quadrant_model(labels=()))
    assert lines_of(infer(bundle, pictures / "2.png", "--json")[1])[0]["predictions"][0]["label"] == "2"


def test_odd_names_and_labels_survive_an_ascii_terminal(tmp_path):
    bundle = fakes.quadrant_bundle(tmp_path, model=fakes.quadrant_model(labels=("caf\u00e9\x1b[31m", "b", "c", "d")))
    name = os.fsencode(str(tmp_path)) + b"/n\xff\x1b[31m\n.png"
    with open(name, "wb") as file:
        fakes.picture(0).save(file, format="PNG")
    plain = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    code, out, err = finished(start(bundle, tmp_path, env=plain))
    assert code == 0 and "\x1b" not in out and len(out.splitlines()) == 2 and "caf\\xe9" in out
    assert finished(start(bundle, tmp_path, "--json", env=plain))[0] == 0
    os.rename(name, name + b".gone.png")
    code, out, err = finished(start(bundle, os.fsdecode(name), env=plain))
    assert code == 3 and "\x1b" not in err and "no such file" in err


@pytest.fixture
def reading(bundles, pictures):
    """The command that reads paths from stdin, after its first answer."""
    process = start(bundles[1], "-", "--json", stdin=subprocess.PIPE)
    process.stdin.write((str(pictures / "0.png") + "\n").encode())
    process.stdin.flush()
    process.stdout.readline()
    return process


def test_a_reader_that_stops_early_is_no_failure(reading, pictures):
    reading.stdout.close()
    reading.stdin.write((str(pictures / "1.png") + "\n").encode() * 50)
    reading.stdin.close()
    assert reading.wait(60) == 0 and b"Broken" not in reading.stderr.read()
    reading.stderr.close()


def test_a_full_disk_is_explained(bundles, pictures):
    with open("/dev/full", "w") as full:
        code, _, err = finished(start(bundles[1], pictures, "--json", stdout=full))
    assert code == 12 and "disk is full" in err and err.count("\n") == 1


def test_ctrl_c_is_one_line_and_130(reading):
    time.sleep(0.1)
    reading.send_signal(signal.SIGINT)
    _, err = reading.communicate(timeout=60)
    assert reading.returncode == 130 and err == b"pomt-trt: interrupted\n"


def test_many_images_are_counted_in_a_log(infer, bundles, pictures):
    code, out, err = infer(bundles[1], *[pictures] * 20, "--json")
    assert code == 0 and "120/120" in err


@pytest.mark.parametrize("wrong", [["--top-k", "0"], ["--top-k", "x"], ["--threads", "-1"], ["--bogus"]])
def test_wrong_usage_is_exit_2(wrong, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["bundle", "image"] + wrong)
    assert stopped.value.code == 2


def test_the_classifier_takes_paths_pictures_and_arrays_alike(bundles, pictures):
    paths = [pictures / "{}.png".format(index) for index in range(6)]
    opened = [open_image(str(path)) for path in paths]
    for bundle in bundles.values():
        with load(bundle) as classifier:
            arrays = np.stack([preprocess.read(str(path), classifier.bundle.model.preprocessing) for path in paths])
            expected = classifier(arrays)
            assert expected.shape == (6, 4) and expected.dtype == np.float32
            assert expected.argmax(axis=1).tolist() == [0, 1, 2, 3, 0, 1]
            assert np.abs(expected.sum(axis=1) - 1).max() < 1e-6
            for images in (paths, map(str, paths), tuple(opened), list(arrays)):
                assert (classifier(images) == expected).all()
            assert (classifier(str(paths[2])) == expected[2:3]).all() and (classifier(opened[1]) == expected[1:2]).all()


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 9])
def test_any_number_of_images_is_padded_to_the_engines_batch(bundles, count):
    images = np.random.RandomState(0).randint(0, 256, (count, 8, 8, 1), np.uint8)
    with load(bundles[1]) as single, load(bundles[4]) as batched:
        assert batched(images).shape == (count, 4)
        assert np.abs(single(images) - batched(images)).max(initial=0) < 1e-6


def test_says_what_images_the_classifier_takes(bundles):
    with load(bundles[1]) as classifier:
        with pytest.raises(InputError, match=r"float32 and shape \(1, 8, 8, 1\).*uint8 \(n, 8, 8, 1\).*Give paths"):
            classifier(np.zeros((1, 8, 8, 1), np.float32))
        with pytest.raises(InputError, match=r"\(1, 9, 8, 1\)"):
            classifier(np.zeros((1, 9, 8, 1), np.uint8))
        with pytest.raises(InputError, match="int is no image. Give a path"):
            classifier([3])
        with pytest.raises(InputError, match="absent.png: no such file"):
            classifier(["absent.png"])
    with load(bundles[4]) as classifier, pytest.raises(InputError, match="do not fit together"):
        classifier([np.zeros((8, 8, 1), np.uint8), np.zeros((9, 8, 1), np.uint8)])


def test_logits_that_are_not_finite_fail_that_image_only(pictures, capsys, monkeypatch, bundles):
    class Broken:
        input_shape = (1, 1, 8, 8)

        def run(self, batch):
            return np.full((1, 4), np.nan if batch[0, 0, 0, 0] > batch[0, 0, 7, 7] else 1.0, np.float32)

        def close(self):
            pass

    bundle = load(bundles[1]).bundle
    monkeypatch.setattr("pomt_trt.infer.load", lambda *_, **__: Classifier(bundle, Broken()))
    assert main([bundles[1], str(pictures), "--json"]) == 11
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 4 and err.count("not finite") == 2 and "pomt-trt verify" in err


def test_the_call_is_the_bare_engines_with_softmax(bundles):
    image = Image.fromarray(np.random.RandomState(0).randint(0, 256, (8, 8), np.uint8))
    with load(bundles[1]) as classifier:
        batch = classifier.normalised([image])
        with open_engine(classifier.bundle.engine, bundles[1]) as runner:
            logits = runner.run(batch)
        assert (classifier.logits(batch) == logits).all()
        exponent = np.exp(logits - logits.max())
        assert np.abs(classifier([image]) - exponent / exponent.sum()).max() < 1e-6
