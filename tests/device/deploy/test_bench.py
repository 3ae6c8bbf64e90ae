"""A bundle's engines and a baseline taking turns in real processes, and what is said when one cannot be had."""

import json
import os
import sys

import numpy as np
import pytest

from pomt_trt.core import timing_protocol
from pomt_trt.core.errors import InputError, MissingDependency, PomtError, UsageError
from pomt_trt.core.statistics.stats import StoppingRule
from pomt_trt.core.storage import store
from pomt_trt.device.deploy import bench
from pomt_trt.device.timing import engine_process, interleaved_timing
from tests import fakes

pytest.importorskip("onnxruntime", reason="runs ONNX Runtime engines")
EAGER = """
import sys, time
from pomt_trt.core.timing_protocol import Prepared, serve
{}
sys.exit(serve(lambda: Prepared(lambda: time.sleep(0.005), {{"torch": "none", "arguments": sys.argv[1:]}})))
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
    return bench.bench(bundle, **options)


def timing(name, low, value, high, doubt=""):
    return interleaved_timing.Timing(name, value, (low, high), value, value, 0.0, ((value,),), "settled", doubt, {})


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
    assert set(bench._engines(bundle, plain, photo)) == {"chosen", "end-to-end"}


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
        engine_process._opened(engine_process._parser().parse_args([path]))
    for name in ("r000.engine", "weights.bin"):
        store.copy(os.path.join(bundle, name), str(tmp_path / name))
    store.write_record(str(tmp_path / "r000.json"), manifest.unreduced_engine)
    command = [sys.executable, "-m", "pomt_trt.device.timing.engine_process", str(tmp_path / "r000.engine")]
    with bench.contextlib.ExitStack() as stack:
        member = interleaved_timing.started(stack, "engine", command, 1, "passive")
        assert len(member.ask(2)) == 2 and member.about["candidate"] == "r000"
    with pytest.raises(UsageError, match="has no preprocessing. Give --image with a bundle"):
        engine_process._prepared(
            engine_process._parser().parse_args([str(tmp_path / "r000.engine"), "--image", "x.jpg"])
        )


def test_a_ratio_carries_both_intervals_and_any_doubt():
    found = interleaved_timing.ratio(timing("slow", 19.8, 20.0, 20.4), timing("fast", 9.9, 10.0, 10.1))
    assert found.value == 2.0 and found.doubt == ""
    assert found.ci == pytest.approx((2.0 * 0.9858, 2.0 * 1.0224), abs=1e-3)
    assert interleaved_timing.ratio(timing("a", 1, 1, 1), timing("b", 1, 1, 1, "too wide")).doubt == "too wide"
    assert interleaved_timing.ratio(timing("a", 0, 1, 2), timing("b", 0, 1, 2)).ci[0] >= 0


def test_what_is_noisy_or_beside_a_busy_neighbour_is_not_quotable():
    calm, found = {"others": 0.02, "steal": 0.0}, interleaved_timing.stats.Location(10.0, 9.8, 10.2)
    assert interleaved_timing._doubt("eager", found, calm) == ""
    assert interleaved_timing._doubt("eager", found._replace(low=9.1, high=10.1), calm) == "interval of eager is 10 %"
    assert "other processes used 38 % of the CPU" in interleaved_timing._doubt("eager", found, dict(calm, others=0.38))
    assert "the hypervisor took 9 % of the CPU" in interleaved_timing._doubt("eager", found, dict(calm, steal=0.09))


def test_members_begin_rounds_in_turn_and_drift_is_what_they_share():
    order, speed = [], [1.0]

    def member(name, level_ms):
        def ask(runs):
            order.append(name)
            speed[0] *= 1.0005
            return [level_ms * speed[0]] * runs

        return interleaved_timing.Member(name, ask)

    rule = StoppingRule(max_s=30.0)
    timings, contention = interleaved_timing.time_in_turn([member("a", 30.0), member("b", 60.0)], rule)
    assert order[2:8] == ["a", "b", "b", "a", "a", "b"] and set(contention) == {"steal", "others"}
    assert timings["b"].latency_ms / timings["a"].latency_ms == pytest.approx(2.0, rel=0.002)
    assert timings["a"].stopped == "settled" and timings["a"].rest_ms < 50


SPINNING = """
import os, sys, threading
from pomt_trt.core.timing_protocol import Prepared, serve

def spin():
    while not os.path.exists(sys.argv[1]):
        pass

def run():  # one thread at a time: of two that want Python's lock there are moments in which neither is awake
    if threading.active_count() == 1:
        threading.Thread(target=spin).start()

serve(lambda: Prepared(run, {}))
"""


def test_waits_until_the_one_before_sleeps(tmp_path):
    enough, looks = tmp_path / "enough", []

    def clock():
        looks.append(enough.exists())
        if len(looks) == 20:
            enough.touch()
        return len(looks) * 1e-6

    command = [sys.executable, "-c", SPINNING, str(enough)]
    with timing_protocol.Child("spinning", command, timing_protocol.environment("default")) as child:
        child.ask(1)
        waited_s = interleaved_timing._rest(child.pid, clock)
        assert looks[-1] and waited_s >= 19e-6
        assert interleaved_timing._rest(child.pid, clock) == pytest.approx(2e-6)  # two looks later: it sleeps already
