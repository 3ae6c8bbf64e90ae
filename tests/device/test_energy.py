"""Energy of a run on a simulated supply, whose meter averages as a power chip does."""

import time

import pytest

from pomt_trt.core import store
from pomt_trt.core.records import Energy
from pomt_trt.device import energy
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
    """Readings after each visit of a group could not: each would show the mean of all."""
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


def test_it_is_a_record_that_can_be_stored(supply):
    found = measured(supply, 1.0)
    assert store.from_json(Energy, store.to_json(found)) == found
