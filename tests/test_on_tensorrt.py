"""The whole way on every release of TensorRT, in processes of its own over the stand-ins: from graphs to predictions.

It shows our bookkeeping: each release gets graphs of its form and builds them its way; engines run nowhere else.
A real Python 3.6 takes the board's part for TensorRT 8.2 where scripts/test has made one.
"""

import glob
import json
import os
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="exports a model, which belongs to the workstation")

from pomt_trt import cli  # noqa: E402
from tests import compiled, simulator, suite  # noqa: E402

TARGETS = ("jetpack-4.6.1", "jetpack-6.0", "jetpack-6.2")  # one of each form
FORMS = {"8.2": "op13-fp16", "8.5": "op13-fp16", "8.6.1": "op17-fp16w"}  # any other: op17-fp16
PYTHON36 = os.path.join(compiled.ROOT, ".venv36", "bin", "python")


def run(release, *arguments, **options):
    """What a module prints on a board with this release."""
    variables = simulator.environment(release, options.get("faults", ""))
    oldest = PYTHON36 if release == "8.2" and os.path.exists(PYTHON36) else sys.executable
    command = [options.get("python", oldest), "-m"] + [str(argument) for argument in arguments]
    environment = dict(os.environ, OMP_NUM_THREADS="1", **variables)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "universal_newlines": True}
    done = subprocess.run(command, cwd=compiled.ROOT, env=environment, timeout=240, **pipes)
    assert done.returncode == options.get("code", 0), done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def profile(release, work, *more, **options):
    return run(release, "pomt_trt", "profile", work, "--engine", "tensorrt", "--max-seconds", "0.05", *more, **options)


def built(work, name="r001"):
    """(plan header, record, folder) of the one engine of a candidate."""
    (engine,) = glob.glob(os.path.join(work, "engines", "*", name + ".engine"))
    with open(engine, "rb") as file, open(engine[: -len("engine")] + "json") as record:
        return simulator.plan_header(file.read()), json.load(record)["value"], os.path.dirname(engine)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A work folder with graphs of every form in fp16 and the accuracy of its candidates."""
    work = str(tmp_path_factory.mktemp("exported") / "work")
    for target in TARGETS:
        flags = ["--work", work, "--target", target, "--precision", "fp16"] + compiled.TOKENS
        assert cli.main(["export"] + compiled.experiment() + flags) == 0
    assert cli.main(["accuracy", work]) == 0
    return work


@pytest.fixture(scope="module", params=suite.RELEASES)
def profiled(request, exported, tmp_path_factory):
    """A release and a work folder that was profiled with it."""
    work = str(tmp_path_factory.mktemp("profiled") / "work")
    shutil.copytree(exported, work)
    profile(request.param, work)
    return request.param, work


def test_a_board_gets_from_graphs_to_predictions(profiled):
    release, work = profiled
    run(release, "pomt_trt", "select", work)
    run(release, "pomt_trt", "bundle", work)
    (bundle,) = glob.glob(os.path.join(work, "bundle-*"))
    picture = glob.glob(os.path.join(compiled.source(), "data", "*", "*"))[0]
    said = run(release, "pomt_trt.infer", bundle, picture, "--json")
    assert len(json.loads(said.splitlines()[0])["predictions"]) == 5
    other = "10.3.0" if release != "10.3.0" else "8.5"
    assert "Build it here" in run(other, "pomt_trt.infer", bundle, picture, code=8)


def test_every_release_builds_graphs_of_its_form_in_its_way(profiled):
    release, work = profiled
    header, record, _ = built(work, "r000")
    form = FORMS.get(release, "op17-fp16")
    assert header["path"].split(os.sep)[-2] == form
    assert header["strongly_typed"] == (form == "op17-fp16") and "TF32" not in header["flags"]
    assert ("FP16" in header["flags"]) == (form != "op17-fp16") == bool(header["pinned"])
    precisions = {layer["name"]: layer["precision"] for layer in header["layers"]}
    assert {precisions[name] for name in header["pinned"]} <= {"FLOAT"}
    assert {"FLOAT", "HALF"} <= set(precisions.values())
    assert record["details"]["fused_attention"] == len(header["fused"]) == (0 if release in ("8.2", "8.5") else 4)


@pytest.mark.long
def test_an_orin_builds_and_runs_graphs_in_bf16(exported, tmp_path):
    work = str(tmp_path / "work")
    shutil.copytree(exported, work)
    flags = ["--work", work, "--target", "jetpack-6.2", "--precision", "bf16"] + compiled.TOKENS
    assert cli.main(["export"] + compiled.experiment() + flags) == 0
    profile("10.3.0", work, "--precision", "bf16")
    header, told, folder = built(work, "r000")
    assert folder.endswith("-bf16")
    assert header["path"].split(os.sep)[-2] == "op17-bf16" and header["strongly_typed"] and len(header["fused"]) == 4
    assert {"FLOAT", "HALF", "BF16"} <= {layer["precision"] for layer in header["layers"]}
    assert told["precision"] == "bf16" and told["details"]["gate"]["allowed"] == 8e-2
    assert 1e-4 < told["details"]["gate"]["error"] < 8e-2
    for release in ("8.5", "8.6.1"):
        assert "has no bf16" in run(release, "pomt_trt", "profile", work, "--precision", "bf16", code=2)


def test_how_much_builds_differ_is_found_by_building_r0_and_two_others_three_times(profiled):
    built = {}
    for path in glob.glob(os.path.join(profiled[1], "latency", "*", "*.builds.json")):
        with open(path) as file:
            value = json.load(file)["value"]
        built[value["candidate_id"]] = 1 + len(value["others_ms"])
    assert built["r000"] >= 3 and sum(count >= 3 for count in built.values()) >= 3


def test_killed_and_refused_builds_and_wrong_engines_cost_their_candidates_only(exported, tmp_path):
    work = str(tmp_path / "work")
    shutil.copytree(exported, work)
    faults = "out-of-memory=r001,none-build=r005,nan-logits=r009,foreign-cache"
    said = profile("10.3.0", work, faults=faults)
    assert "SIGKILL" in said and "Could not find any implementation" in said and "not finite" in said
    timed = {os.path.basename(path).split(".")[0] for path in glob.glob(os.path.join(work, "latency", "*", "*.json"))}
    assert timed == {"r000"}
