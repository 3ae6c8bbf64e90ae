"""Tokens removed by plugins, the whole way: graphs of each flavour, engines that need the library, bundles with it.

On ONNX Runtime the nodes' functions run. TensorRT is the stand-in, and the library an empty one that its registry takes
for ours (tests/simulator/plugins.py); what the real one computes is for tests/plugins.
"""

import functools
import glob
import os
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="exports a model, which belongs to the workstation")

from pomt_trt import cli  # noqa: E402
from tests import compiled, suite, test_on_tensorrt  # noqa: E402
from tests.test_on_tensorrt import built  # noqa: E402

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not here, which makes a library")

TARGETS = ("jetpack-4.6.1", "jetpack-6.0", "jetpack-6.2", "jetpack-7.2")  # one of each form
FORMS = {"8.2": "op13-fp16-plugin-bare", "8.5": "op13-fp16-plugin-bare", "8.6.1": "op17-fp16w-plugin"}
FORMS["10.3.0"] = "op17-fp16-plugin-bare"
ON = ["--plugin", "on"]
run = functools.partial(test_on_tensorrt.run, python=sys.executable)


def library(folder, text="int nothing;"):
    """An empty library of plugins."""
    source, path = os.path.join(str(folder), "empty.c"), os.path.join(str(folder), "libpomt_plugins.so")
    with open(source, "w") as file:
        file.write(text)
    subprocess.run(["gcc", "-shared", "-fPIC", source, "-o", path], check=True)
    return path


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A work folder with plugins' graphs of every form in fp16, and native ones of one form."""
    work = str(tmp_path_factory.mktemp("plugins") / "work")
    for target in TARGETS:
        flags = ["--work", work, "--target", target, "--precision", "fp16", "--tokens", "16:16:1"]
        assert cli.main(["export"] + compiled.experiment() + flags + ON) == 0
    assert cli.main(["export"] + compiled.experiment() + flags) == 0
    assert cli.main(["accuracy", work]) == 0
    return work


@pytest.fixture
def work(exported, tmp_path):
    shutil.copytree(exported, str(tmp_path / "work"))
    return str(tmp_path / "work")


def build(release, work, *flags, **options):
    return run(release, "pomt_trt", "build", work, "--engine", "tensorrt", *flags, **options)


@pytest.mark.parametrize("release", suite.RELEASES)
def test_every_release_builds_its_flavour_with_the_plugin(work, release, tmp_path):
    build(release, work, *ON, "--plugin-library", library(tmp_path))
    header, record, folder = built(work)
    details = record["details"]
    assert header["path"].split(os.sep)[-2] == FORMS.get(release, "op17-fp16-plugin")
    assert len(header["by_plugin"]) == 1 and not header["by_function"]
    assert folder.endswith("-fp16-plugin")
    assert os.path.isfile(os.path.join(folder, details["plugin"]["file"]))
    assert details["plugin"]["file"] == "libpomt_plugins-{}.so".format(details["plugin"]["sha256"][:12])


def test_auto_takes_the_plugin_where_it_is_and_native_graphs_where_it_is_not(work, tmp_path):
    build("10.16.1", work)
    assert not built(work)[0]["by_plugin"] and "plugin" not in built(work)[1]["details"]
    shutil.rmtree(os.path.join(work, "engines"))
    build("10.16.1", work, "--plugin-library", library(tmp_path))
    assert built(work)[0]["by_plugin"]
    shutil.rmtree(os.path.join(work, "engines"))
    build("10.16.1", work, "--plugin-library", library(tmp_path), "--plugin", "off")
    assert not built(work)[0]["by_plugin"]


def test_another_library_means_another_engine(work, tmp_path):
    build("10.3.0", work, *ON, "--plugin-library", library(tmp_path))
    first = built(work)[1]["details"]["plugin"]["sha256"]
    build("10.3.0", work, *ON, "--plugin-library", library(tmp_path, "int something;"))
    assert built(work)[1]["details"]["plugin"]["sha256"] != first


def test_a_library_without_the_operators_is_refused(work, tmp_path):
    other = str(tmp_path / "libother.so")
    os.replace(library(tmp_path), other)
    said = build("10.3.0", work, *ON, "--plugin-library", other, code=4)
    assert "does not know PomtTokenPrune and PomtTokenTopK" in said and "another release" in said


def test_a_bundle_holds_its_plugins_and_is_refused_without_them(work, tmp_path):
    flags = [*ON, "--plugin-library", library(tmp_path), "--engine", "tensorrt"]
    run("10.3.0", "pomt_trt", "profile", work, *flags, "--max-seconds", "0.05")
    run("10.3.0", "pomt_trt", "select", work, *flags, "--rule", "utility", "--alpha", "1")
    run("10.3.0", "pomt_trt", "bundle", work, *flags)
    (bundle,) = glob.glob(os.path.join(work, "bundle-*"))
    picture = glob.glob(os.path.join(compiled.source(), "data", "*", "*"))[0]
    assert "predictions" in run("10.3.0", "pomt_trt.infer", bundle, picture, "--json")
    assert "not compared" in run("10.3.0", "pomt_trt", "verify", bundle)
    run("10.3.0", "pomt_trt.infer", bundle, "--rebuild")
    assert "predictions" in run("10.3.0", "pomt_trt.infer", bundle, picture, "--json")
    (kept,) = glob.glob(os.path.join(bundle, "libpomt_plugins-*.so"))
    os.unlink(kept)
    assert os.path.basename(kept) in run("10.3.0", "pomt_trt.infer", bundle, picture, code=9)


def test_onnx_runtime_compiles_and_runs_what_the_functions_say(tmp_path):
    work = str(tmp_path / "work")
    assert cli.main(compiled.compile_command(work, *ON, "--engine", "onnxruntime")) == 0
    assert glob.glob(os.path.join(work, "onnx", "op17-fp32-plugin", "r005.onnx"))
    (bundle,) = glob.glob(os.path.join(work, "bundle-*-plugin"))
    picture = glob.glob(os.path.join(compiled.source(), "data", "*", "*"))[0]
    from pomt_trt import infer

    assert infer.main([bundle, picture]) == 0


def test_a_method_without_a_plugin_is_refused(tmp_path, capsys):
    arguments = ["export"] + compiled.experiment() + ["--method", "random", "--work", str(tmp_path / "work")] + ON
    code, _, said = compiled.call(capsys, *arguments)
    assert code == 2 and "no plugin computes random" in said
