"""Latencies from all recorded groups, in a work folder with real engines and groups that are made up."""

import os

import numpy as np
import pytest

from pomt_trt.core.records import LatencyProfile, TimedGroup, TimedMember
from pomt_trt.core.storage import store
from pomt_trt.device.board import board
from pomt_trt.device.timing import profiling, settling
from pomt_trt.device.timing.engine_records import EngineRecords
from pomt_trt.device.timing.worker_protocol import GROUPS, Settings, next_group, timing_inputs
from tests.device.timing.test_profiling import Told

pytest.importorskip("onnxruntime", reason="builds and times ONNX Runtime engines")
SETTINGS = Settings(threads=1, max_s=0.05)
TRUTH_MS = {"r000": 5.0, "r002": 4.0, "r004": 3.0}


@pytest.fixture
def records(graphs):
    """Three candidates with engines and profiles, whose groups are removed."""
    made = graphs({0: "r000", 2: "r004", 4: "r004"})
    records = EngineRecords(made.work, made.family, board.device_spec("onnxruntime"), SETTINGS)
    profiling.profile(records, made.family.candidates, Told())
    folder = os.path.join(records.latency_folder, GROUPS)
    for name in os.listdir(folder):
        os.unlink(os.path.join(folder, name))
    return EngineRecords(made.work, made.family, board.device_spec("onnxruntime"), SETTINGS)


def recorded(records, ids, slower=1.0, disturbed=False, references=0, seed=0):
    """Writes a group in which all of these took their true latency, slowed down by a factor."""
    rng = np.random.RandomState(seed)
    rounds = {name: TRUTH_MS[name] * slower * (1 + 0.002 * rng.randn(20, 3)) for name in ids}
    members = [TimedMember(name, records.engine(name).sha256, _rows(rounds[name])) for name in ids]
    path = next_group(os.path.join(records.latency_folder, GROUPS))
    group = TimedGroup(tuple(members), references, (disturbed,) * 20)
    store.write_record(path, group, timing_inputs(SETTINGS))


def _rows(times):
    return tuple(tuple(row) for row in times.tolist())


def settled(records):
    """candidate -> its profile after all groups were looked at."""
    settling.settle(records, "r000")
    return {name: records.latency(name) for name in TRUTH_MS}


def test_all_groups_are_looked_at_together(records):
    recorded(records, ["r000", "r002"])
    recorded(records, ["r000", "r004"], slower=1.05, references=1)
    found = settled(records)
    assert {name: profile.latency_ms for name, profile in found.items()} == pytest.approx(TRUTH_MS, rel=0.005)
    assert {profile.verdict for profile in found.values()} == {"stable"}


def test_a_first_group_that_was_disturbed_is_put_right_by_a_later_one(records):
    recorded(records, ["r000", "r002", "r004"], slower=2.4, disturbed=True)
    before = settled(records)
    assert before["r000"].latency_ms == pytest.approx(12, rel=0.01)
    assert {profile.verdict for name, profile in before.items() if name != "r000"} == {"contended"}
    recorded(records, ["r000", "r002"])
    after = settled(records)
    assert after["r000"].latency_ms == pytest.approx(5, rel=0.005) and after["r002"].verdict == "stable"
    assert after["r004"].verdict == "contended" and after["r004"].latency_ms == pytest.approx(3, rel=0.02)


def test_r0_that_only_disturbed_groups_know_has_an_interval_that_holds_all_of_them(records):
    recorded(records, ["r000", "r002", "r004"], slower=2.4, disturbed=True)
    recorded(records, ["r000", "r002", "r004"], slower=1.2, disturbed=True)
    low, high = settled(records)["r000"].latency_ci_ms
    assert low < 6 and high > 12 and records.latency("r000").verdict == "contended"


def test_r0_that_was_only_a_reference_keeps_the_latency_that_others_are_relative_to(records):
    before = records.latency("r000").latency_ms
    recorded(records, ["r000", "r002", "r004"], references=1)
    found = settled(records)
    assert found["r000"].latency_ms == before
    assert found["r002"].latency_ms / before == pytest.approx(0.8, rel=0.005)


def test_a_profile_without_a_group_keeps_its_ratio_to_r0(records):
    ratio = records.latency("r004").latency_ms / records.latency("r000").latency_ms
    recorded(records, ["r000", "r002"])
    found = settled(records)
    assert found["r004"].latency_ms / found["r000"].latency_ms == pytest.approx(ratio, rel=0.02)


def test_what_changes_nothing_is_not_written(records):
    recorded(records, ["r000", "r002", "r004"])
    settled(records)
    stamps = {name: os.stat(_path(records, name)).st_mtime_ns for name in TRUTH_MS}
    settled(records)
    assert stamps == {name: os.stat(_path(records, name)).st_mtime_ns for name in TRUTH_MS}


def test_groups_of_other_settings_and_of_engines_that_are_gone_do_not_count(records):
    recorded(records, ["r000", "r002", "r004"])
    path = next_group(os.path.join(records.latency_folder, GROUPS))
    stranger = TimedMember("r000", "f" * 64, ((50.0, 50.0),) * 20)
    store.write_record(path, TimedGroup((stranger,), 0, (False,) * 20), timing_inputs(SETTINGS))
    other = TimedMember("r000", records.engine("r000").sha256, ((50.0, 50.0),) * 20)
    path = next_group(os.path.join(records.latency_folder, GROUPS))
    store.write_record(path, TimedGroup((other,), 0, (False,) * 20), timing_inputs(SETTINGS._replace(threads=2)))
    assert settled(records)["r000"].latency_ms == pytest.approx(5, rel=0.005)
    assert settling.group_counts(records) == {"r000": 1, "r002": 1, "r004": 1}


def test_without_groups_nothing_is_known_of_them(records):
    before = records.latency("r002")
    assert settled(records)["r002"] == before and settling.clean_groups(records, "r000") is None


def test_clean_groups_are_told_by_candidate(records):
    recorded(records, ["r000", "r002"])
    recorded(records, ["r000", "r004"], disturbed=True)
    settled(records)
    (group,) = settling.clean_groups(records, "r000")
    assert group["r000"][0] - group["r002"][0] == pytest.approx(np.log(5 / 4), abs=0.005)


def _path(records, name):
    path = records.work.latency(records.device.id, name)
    assert store.read_record(path, LatencyProfile)
    return path
