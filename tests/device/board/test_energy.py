"""Energy of a run on a simulated supply, whose meter averages as a power chip does."""

import time

import pytest

from pomt_trt.cli import tables
from pomt_trt.core.progress import Silent
from pomt_trt.core.records import Energy, Row
from pomt_trt.core.statistics import stability
from pomt_trt.device.board import board, energy, sensors
from pomt_trt.device.timing import profiling, worker
from pomt_trt.device.timing.engine_records import EngineRecords
from pomt_trt.device.timing.worker_process import Outcome
from pomt_trt.device.timing.worker_protocol import Settings
from tests.simulator.power import Supply

IDLE_W, RUN_S = 3.0, 0.004


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """A sixth of the time, with a chip that averages over a sixth."""
    for name in ("STEP_S", "SETTLE_S", "BLOCK_S"):
        monkeypatch.setattr(energy, name, getattr(energy, name) / 6)


@pytest.fixture
def supply():
    return Supply(IDLE_W, average_s=0.4 / 6)


def measured(supply, watts, images=1):
    return energy.measure(lambda: supply.run(watts, RUN_S), supply.meter, images)


def test_energy_of_a_run_is_power_above_idle_times_its_time(supply):
    found = measured(supply, 10.0, images=4)
    assert found.idle_w == pytest.approx(IDLE_W) and found.busy_w == pytest.approx(13.0, abs=1.5)
    assert found.energy_mj == pytest.approx((found.busy_w - found.idle_w) * found.run_ms)
    low, high = found.energy_ci_mj
    assert low <= found.energy_mj <= high and found.runs > 10 and found.images == 4


def test_engines_of_equal_latency_and_unequal_power_are_told_apart(supply):
    """Readings after each burst of a group could not: each would show the mean of all."""
    frugal, hungry = measured(supply, 4.0), measured(supply, 12.0)
    assert hungry.energy_ci_mj[0] > frugal.energy_ci_mj[1]
    assert hungry.energy_mj / frugal.energy_mj == pytest.approx(3.0, rel=0.25)


def test_idle_power_is_measured_before_each_engine_and_not_the_last_ones(supply):
    supply.run(50.0, 0.1)
    assert measured(supply, 5.0).idle_w == pytest.approx(IDLE_W)


def test_a_meter_that_stops_answering_gives_no_energy(supply):
    until = time.perf_counter() + 0.7
    meter = lambda: supply.meter() if time.perf_counter() < until else None  # noqa: E731
    assert energy.measure(lambda: time.sleep(RUN_S), meter, 1) is None


def test_a_run_that_fails_ends_the_measurement_and_its_thread(supply):
    def failing():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        energy.measure(failing, supply.meter, 1)


def test_the_real_measurement_is_longer_than_a_chips_average_and_than_three_seconds(monkeypatch):
    monkeypatch.undo()
    assert energy.BLOCKS * energy.BLOCK_S > 3 and energy.BLOCK_S > 0.4 < energy.SETTLE_S


class Here:
    """A worker whose work is done in this process, where sensors can be stand-ins."""

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def do(self, request, progress):
        worker.Group(request, lambda event, **details: None).work()
        return Outcome(0, None, ())


@pytest.fixture
def profiled(graphs, monkeypatch, supply):
    """A work folder with two profiles, and a board on which they were taken."""
    pytest.importorskip("onnxruntime", reason="runs ONNX Runtime engines")
    made, settings = graphs({0: "r000", 4: "r004", 8: None}), Settings(threads=1, max_s=0.05)
    records = EngineRecords(made.work, made.family, board.device_spec("onnxruntime"), settings)
    profiling.profile(records, made.family.candidates, Silent())
    monkeypatch.setattr(sensors, "power_meter", lambda: supply.meter)
    monkeypatch.setattr(profiling, "Worker", Here)
    return records, made.family.candidates


def test_profiles_get_the_energy_of_their_engines_and_keep_all_else(profiled):
    records, _ = profiled
    before = records.latency("r004")
    assert before.energy is None and profiling.energies(*profiled) == {}
    profiling.measure_energy(*profiled)
    found = profiling.energies(*profiled)
    assert sorted(found) == ["r000", "r004"]  # r008 has no engine
    after = records.latency("r004")
    assert after == before._replace(energy=found["r004"])
    assert found["r004"].idle_w == found["r004"].busy_w == IDLE_W  # the simulated supply does not know of this engine
    assert found["r004"].runs > 10 and found["r004"].images == 1


def test_what_is_measured_is_not_measured_again(profiled, monkeypatch):
    profiling.measure_energy(*profiled)
    monkeypatch.setattr(profiling, "Worker", None)
    profiling.measure_energy(*profiled)


def test_where_no_rail_can_be_read_there_is_no_energy(profiled, monkeypatch):
    monkeypatch.setattr(sensors, "power_meter", lambda: None)
    profiling.measure_energy(*profiled)
    assert profiling.energies(*profiled) == {}


def test_a_line_for_people_names_both_powers_and_the_interval():
    found = Energy(120.0, (100.0, 140.0), 3.0, 15.0, 10.0, 360, 4)
    told = stability.energy(found)
    assert told == "120.0 mJ a run of 4 images [100.0, 140.0], above 3.0 W of the idle board (15.0 W while it runs)"


def test_energy_stands_only_in_rows_where_it_was_measured():
    rows = [Row("r000", 17, 17, 0, 2.0, (1.9, 2.1)), Row("r004", 17, 13, 4, 1.0, (0.9, 1.1))]
    found = {"r004": Energy(120.0, (100.0, 140.0), 3.0, 15.0, 10.0, 360, 1)}
    first, second = tables.rows(rows, energies=found).splitlines()
    assert "mJ" not in first and "120.0 mJ a run [100.0, 140.0]" in second
    assert "mJ" not in tables.rows(rows)
