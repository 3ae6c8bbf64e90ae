"""A bundle's engines and a baseline taking turns in real processes, and what is said when one cannot be had."""

import json
import os

import numpy as np
import pytest

from pomt_trt.core.errors import InputError, MissingDependency, PomtError, UsageError
from pomt_trt.core.storage import store
from pomt_trt.device.deploy import bench
from pomt_trt.device.timing.turns import child_turns, engine_child
from tests import fakes

pytest.importorskip("onnxruntime", reason="runs ONNX Runtime engines")
EAGER = """
import time
from pomt_trt.core.timing_protocol import Prepared
{}
def prepare(arguments):
    return Prepared(lambda: time.sleep(0.005), {{"torch": "none", "arguments": arguments}})
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return fakes.quadrant_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("photo") / "p.png")
    fakes.picture(2).save(path)
    return path


@pytest.fixture
def baseline(tmp_path, monkeypatch):
    """Puts a module of this text in eager's place."""

    def place(line="", packages=()):
        (tmp_path / "stand_in_for_eager.py").write_text(EAGER.format(line))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        program = bench.Baseline("stand_in_for_eager", packages, ("onnxruntime",))
        monkeypatch.setattr(bench, "BASELINES", {"eager": (program,)})

    return place


def run(bundle, photo, **options):
    options = dict({"threads": (1,), "waitings": ("passive",), "max_s": 0.3, "image": photo}, **options)
    return bench.bench(bundle, bench.Options(**options))


def test_times_both_engines_end_to_end_and_the_baseline(bundle, photo, baseline):
    baseline()
    result = run(bundle, photo)
    (setting,) = result.settings
    timings = {timing.name: timing for timing in setting.timings}
    assert set(timings) == {"chosen", "end-to-end", "unreduced", "eager"}
    assert timings["chosen"].about["candidate"] == "r004" and timings["unreduced"].about["candidate"] == "r000"
    assert timings["eager"].about["arguments"] == ["--bundle", bundle, "--threads", "1", "--waiting", "passive"]
    fastest_ms = {timing.name: min(map(min, timing.rounds_ms)) for timing in setting.timings}
    assert fastest_ms["eager"] >= 5 and fastest_ms["end-to-end"] > fastest_ms["chosen"]
    assert len({len(timing.rounds_ms) for timing in setting.timings}) == 1  # they took turns
    assert [(r.slower, r.faster) for r in setting.ratios] == list(bench.PAIRS)
    assert setting.ratios[0].value == timings["eager"].latency_ms / timings["chosen"].latency_ms
    assert result.not_measured == {} and (result.chosen, result.tokens) == ("r004", (17, 13))


def test_every_number_of_threads_with_every_kind_of_waiting_is_a_setting(bundle, photo):
    result = run(bundle, photo, against=(), threads=(1, 2), waitings=("default", "passive"), max_s=0.05)
    made = [(setting.threads, setting.waiting) for setting in result.settings]
    assert made == [(1, "default"), (1, "passive"), (2, "default"), (2, "passive")]
    for setting in result.settings:
        told = {(timing.about["threads"], timing.about["waiting"]) for timing in setting.timings}
        assert told == {(setting.threads, setting.waiting)}


def test_a_result_is_json_and_a_table(bundle, photo, baseline):
    baseline()
    result = run(bundle, photo)
    assert json.loads(json.dumps(store.to_json(result)))["settings"][0]["ratios"][0]["slower"] == "eager"
    text = bench.table(result)
    for expected in ("r004 (13 of 17 tokens left)", "1 thread, passive waiting", "eager / chosen", "reads " + photo):
        assert expected in text


def test_a_baseline_that_is_not_installed_is_said_and_the_rest_goes_on(bundle, photo, baseline):
    baseline(packages=("no_such_package",))
    result = run(bundle, photo)
    assert result.not_measured["eager"].startswith("no_such_package is not installed here. Install with: pip install")
    assert [(r.slower, r.faster) for r in result.settings[0].ratios] == [("unreduced", "chosen")]
    assert "eager: not measured: no_such_package" in bench.table(result)


def test_eager_is_timm_on_a_workstations_processor_and_torch_alone_elsewhere(monkeypatch):
    monkeypatch.setattr(bench.importlib.util, "find_spec", lambda name: name)
    assert bench._program("eager", "onnxruntime") == "pomt_trt.baselines.timm_eager"
    assert bench._program("eager", "tensorrt") == "pomt_trt.baselines.board_eager"
    monkeypatch.setattr(bench.importlib.util, "find_spec", lambda name: None if name == "timm" else name)
    assert bench._program("eager", "onnxruntime") == "pomt_trt.baselines.board_eager"
    monkeypatch.setattr(bench.importlib.util, "find_spec", lambda name: None)
    for engine in ("onnxruntime", "tensorrt"):
        with pytest.raises(MissingDependency, match="^torch is not installed here. Install with: "):
            bench._program("eager", engine)


def test_a_baseline_that_cannot_start_is_tried_once_and_said(bundle, photo, baseline):
    baseline(line="raise ValueError('no such model')")
    result = run(bundle, photo, waitings=("default", "passive"), max_s=0.05)
    assert "eager ended with exit code 1: ValueError: no such model" in result.not_measured["eager"]
    assert len(result.settings) == 2


def test_a_member_that_dies_while_it_is_timed_ends_the_bench(bundle, photo, baseline):
    baseline(line="import os\ntime.sleep = lambda seconds: os._exit(3)")
    with pytest.raises(PomtError, match="eager ended with exit code 3"):
        run(bundle, photo)


def test_where_nothing_was_removed_there_is_one_engine(bundle, photo):
    manifest = bench.open_bundle(bundle)
    plain = manifest._replace(engine=manifest.unreduced_engine)
    assert set(bench._Bench(bundle, plain, bench.Options(), {}).programs(photo)) == {"chosen", "end-to-end"}


def test_explains_what_cannot_be_asked(bundle, photo, tmp_path):
    with pytest.raises(UsageError, match="no baseline 'fast'. Choose of: eager"):
        run(bundle, photo, against=("fast",))
    with pytest.raises(UsageError, match="no waiting 'patient'. Choose of: default, passive"):
        run(bundle, photo, waitings=("patient",))
    for threads in ((), (0,)):
        with pytest.raises(UsageError, match="make no setting"):
            run(bundle, photo, threads=threads)
    with pytest.raises(InputError, match="holds no golden.npz .* Give one: --image FILE"):
        run(bundle, None)
    with pytest.raises(InputError, match="absent.png"):
        run(bundle, str(tmp_path / "absent.png"), against=())


def test_a_picture_is_made_of_the_first_golden_input(bundle, tmp_path):
    manifest = bench.open_bundle(bundle)
    np.savez(str(tmp_path / "golden.npz"), pixels=np.zeros((2, 8, 8, 1), np.uint8))
    path, described = bench._photo(str(tmp_path), manifest._replace(files={"golden.npz": {}}), str(tmp_path))
    with bench.Image.open(path) as image:
        assert image.size == (500, 375) and image.mode == "L"
    assert "500 x 375" in described


def test_one_engine_file_is_timed_by_its_record(bundle, tmp_path):
    manifest = bench.open_bundle(bundle)
    path = os.path.join(bundle, "r000.engine")
    with pytest.raises(InputError, match="r000.json does not exist"):
        engine_child.prepare([path])
    for name in ("r000.engine", "weights.bin"):
        store.copy(os.path.join(bundle, name), str(tmp_path / name))
    store.write_record(str(tmp_path / "r000.json"), manifest.unreduced_engine)
    program = ("pomt_trt.device.timing.turns.engine_child", str(tmp_path / "r000.engine"))
    with bench.contextlib.ExitStack() as stack:
        member = child_turns.started(stack, "engine", program, 1, "passive")
        assert len(member.burst(2)) == 2 and member.about["candidate"] == "r000"
    with pytest.raises(UsageError, match="has no preprocessing. Give --image with a bundle"):
        engine_child.prepare([str(tmp_path / "r000.engine"), "--image", "x.jpg"])
