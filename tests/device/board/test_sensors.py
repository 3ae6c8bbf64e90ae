"""What a Jetson's sensors say: made-up boards, sensors that are missing or wrong, and profiles taken meanwhile."""

import functools
import os
import shutil
import time

import pytest

from pomt_trt.core.records import LatencyProfile
from pomt_trt.core.storage import store
from pomt_trt.device.board import sensors
from tests.device.boards import copied, tree, written
from tests.device.turned import RuleOfRounds, profile, sample

BOARDS = sorted(name for name in os.listdir(tree("")) if os.path.isdir(tree(name)))
ORIN = "agx-orin-jetpack-6.2"
XAVIER = "agx-xavier-jetpack-5.1.2"  # clocks locked


@pytest.fixture
def copy(tmp_path):
    """copy(board, files) -> the root of a copy of its tree with these files."""
    return functools.partial(copied, tmp_path)


@pytest.mark.parametrize(
    "board, gpu_mhz, cap_mhz, cores, emc_mhz",
    [
        ("tx2-jetpack-4.6.6", 114.75, 1122.0, 4, 665.6),
        (XAVIER, 1377.0, 1377.0, 4, 2133.0),
        (ORIN, 306.0, 1300.5, 3, 2133.0),
        ("agx-thor-jetpack-7.2", 315.0, 1575.0, 7, 665.6),
    ],
)
def test_clocks_are_read_with_their_caps(board, gpu_mhz, cap_mhz, cores, emc_mhz):
    clocks = sensors.read(tree(board)).clocks
    assert clocks["gpu"].now_mhz == pytest.approx(gpu_mhz) and clocks["gpu"].cap_mhz == pytest.approx(cap_mhz)
    assert len([name for name in clocks if name.startswith("cpu")]) == cores
    assert clocks["emc"].now_mhz == pytest.approx(emc_mhz)


@pytest.mark.parametrize(
    "board, rails, watts",
    [
        ("tx2-jetpack-4.6.6", 6, 3.205),  # VDD_IN alone
        (XAVIER, 6, 15.58 + 1.159 + 1.938 + 0.38 + 2.05),  # the sum
        (ORIN, 4, 2.612544 + 0.870496 + 4.236944),  # VDDQ is part of VIN_SYS_5V0
        ("orin-nano-jetpack-6.2", 3, 0.972 * 5.072),
        ("agx-thor-jetpack-7.2", 4, 23.21),  # VIN, by the INA238
    ],
)
def test_power_is_read_by_rail_and_drawn_at_the_input(board, rails, watts):
    found = sensors.read(tree(board)).rails_w
    assert len(found) == rails and "NC" not in found
    assert sensors.input_watts(found) == pytest.approx(watts)


def test_no_rail_is_no_power():
    assert sensors.input_watts({}) is None


def test_a_zone_that_always_says_a_hundred_degrees_is_left_out():
    found = sensors.read(tree("tx2-jetpack-4.6.6")).temperatures_c
    assert "PMIC-Die" not in found and "thermal-fan-est" not in found and found["GPU-therm"] == 36.5


def test_zones_that_refuse_or_say_nonsense_are_unknown():
    found = sensors.read(tree(ORIN))
    assert {name: found.unknown[name] for name in ("cv0-thermal", "cv1-thermal")} == {
        "cv0-thermal": "unknown",
        "cv1-thermal": "unknown",
    }
    assert found.temperatures_c["tj-thermal"] == 48.25


@pytest.mark.parametrize("text", ["", "not a number\n", "-392\n", "900000000\n"])
def test_a_rail_that_says_nonsense_is_unknown(copy, text):
    rail = "sys/bus/i2c/drivers/ina3221x/0-0041/iio:device1/in_power0_input"
    found = sensors.read(copy("tx2-jetpack-4.6.6", {rail: text}))
    assert found.unknown["VDD_IN"] == "unknown" and "VDD_IN" not in found.rails_w


def test_what_only_root_may_read_says_so(monkeypatch):
    def refusing(path, *rest, **options):
        if "debug" in path:
            raise PermissionError(13, "Permission denied", path)
        return open(path, *rest, **options)

    monkeypatch.setattr(sensors, "open", refusing, raising=False)  # the tests may run as root
    found = sensors.read(tree(ORIN))
    assert found.unknown["emc"] == "unknown (root)" and "emc" not in found.clocks


def test_clocks_are_locked_where_no_clock_of_gpu_or_cpu_may_move(copy):
    assert sensors.floating(sensors.read(tree(XAVIER)).clocks) is False
    assert sensors.floating(sensors.read(tree(ORIN)).clocks) is True
    one_core = copy(XAVIER, {"sys/devices/system/cpu/cpufreq/policy4/scaling_min_freq": "1190400\n"})
    assert sensors.floating(sensors.read(one_core).clocks) is True


def test_without_the_gpus_clock_nothing_is_called_locked(copy):
    root = copy(XAVIER)
    shutil.rmtree(os.path.join(root, "sys/class/devfreq"))
    assert sensors.floating(sensors.read(root).clocks) is None


def test_off_a_jetson_nothing_is_read(tmp_path):
    assert sensors.read(str(tmp_path)) == sensors.Readings({}, {}, {}, {})
    sampler = sensors.Sampler(str(tmp_path))
    sampler.sample()
    assert sampler.summary() == {}


@pytest.mark.parametrize("board", BOARDS)
def test_a_sampler_gives_every_zone_its_turn(board):
    sampler, known = sensors.Sampler(tree(board)), sensors.read(tree(board))
    for _ in range(10):
        sampler.sample()
    assert sampler.summary()["max_temperature_c"] == max(known.temperatures_c.values())


@pytest.mark.parametrize("board", BOARDS)
def test_the_meter_reads_the_rails_that_are_what_is_drawn(board):
    known = sensors.read(tree(board)).rails_w
    assert sensors.power_meter(tree(board))() == pytest.approx(sensors.input_watts(known))


def test_there_is_no_meter_without_a_rail_and_it_says_when_it_cannot_be_read(copy):
    root = copy("tx2-jetpack-4.6.6")
    meter = sensors.power_meter(root)
    shutil.rmtree(os.path.join(root, "sys/bus"))
    assert meter() is None and sensors.power_meter(root) is None


def test_a_sample_takes_less_than_a_millisecond():
    sampler = sensors.Sampler(tree("agx-thor-jetpack-7.2"))  # has most clocks; files only, no slow bus
    took_s = []
    for _ in range(30):
        started_s = time.process_time()
        sampler.sample()
        took_s.append(time.process_time() - started_s)
    assert min(took_s) < 1e-3


GPU_CLOCK = "sys/class/devfreq/17000000.gv11b/cur_freq"  # of the Xavier, locked at 1377 MHz


def test_the_lowest_clock_is_kept(copy):
    sampler = sensors.Sampler(copy(XAVIER, {GPU_CLOCK: "918000000\n"}))  # throttled
    sampler.sample()
    sampler.sample()
    found = sampler.summary()
    assert found["clock_ratio"] == pytest.approx(918 / 1377)
    assert found["clocks"] == "locked" and found["caps_mhz"]["gpu"] == 1377.0


@pytest.mark.parametrize("then_mhz, state, moved", [(1377, "locked", []), (1300, "locked, but moving", ["gpu"])])
def test_clocks_that_are_called_locked_and_move_are_named(copy, then_mhz, state, moved):
    root = copy(XAVIER)
    sampler = sensors.Sampler(root)
    sampler.sample()
    written(root, {GPU_CLOCK: "{}000000\n".format(then_mhz)})
    sampler.sample()
    found = sampler.summary()
    assert (found["clocks"], found["moved"]) == (state, moved)


def test_clocks_that_are_free_to_move_are_not_said_to_be_locked_when_they_do(copy):
    root = copy(ORIN)
    sampler = sensors.Sampler(root)
    sampler.sample()
    written(root, {"sys/class/devfreq/17000000.gpu/cur_freq": "1300500000\n"})
    sampler.sample()
    assert (sampler.summary()["clocks"], sampler.summary()["moved"]) == ("floating", [])


ALARMS = "sys/class/hwmon/hwmon9/"


@pytest.fixture
def alarming(copy):
    """alarming(board, counter) -> (root, a function that sets how often oc3 went off)."""

    def make(board, counter="event_cnt"):
        counters = ["{}{}_{}".format(ALARMS, name, counter) for name in ("oc1", "oc2", "oc3")]
        root = copy(board, dict.fromkeys(counters, "0\n"))
        written(root, {ALARMS + "name": "soctherm_oc\n"})
        return root, lambda count: written(root, {counters[2]: "{}\n".format(count)})

    return make


@pytest.mark.parametrize("board, counter", [(ORIN, "event_cnt"), (XAVIER, "irq_cnt")])
def test_over_current_alarms_are_counted_under_either_name(alarming, board, counter):
    root, went_off = alarming(board, counter)
    went_off(17)
    assert sensors.over_current_events(root) == {"oc1": 0, "oc2": 0, "oc3": 17}


def test_where_no_alarm_is_counted_nothing_is_claimed():
    assert sensors.over_current_events(tree("tx2-jetpack-4.6.6")) == {}
    assert sensors.over_current_throttles(tree("tx2-jetpack-4.6.6")) == {}


def test_which_alarms_slow_the_board_down_is_read():
    thor = tree("agx-thor-jetpack-7.2")
    assert sensors.over_current_events(thor) == {"oc1": 0, "oc2": 0, "oc3": 1}
    assert sensors.over_current_throttles(thor) == {"oc1": False, "oc2": True, "oc3": True}


def test_a_profile_during_which_an_alarm_went_off_is_throttled_and_counts_it(made, clocks, alarming):
    root, went_off = alarming(XAVIER)
    went_off(5)  # before: that is another profile's affair
    reference = made("r000", 5, sampler=sensors.Sampler(root))
    sample([reference], {}, RuleOfRounds({5: 12}), clocks)
    assert profile(reference).verdict == "stable" and profile(reference).contention["over_current"] == {}
    went_off(7)
    found = profile(reference)
    assert found.verdict == "throttled" and found.contention["over_current"] == {"oc3": 2}


def test_a_sensor_that_fails_meanwhile_does_not_end_the_timing(copy):
    root = copy(XAVIER)
    sampler = sensors.Sampler(root)
    shutil.rmtree(os.path.join(root, "sys"))
    sampler.sample()
    found = sampler.summary()
    assert (found["clock_ratio"], found["over_current"], found["max_temperature_c"]) == (None, {}, None)


def timed(made, clocks, root, ms=5):
    """The profile of an engine of 5 ms, timed on a board."""
    reference = made("r000", ms, sampler=sensors.Sampler(root))
    sample([reference], {}, RuleOfRounds({5: 12}), clocks)
    return profile(reference)


def test_a_profile_says_what_the_board_did(made, clocks):
    found = timed(made, clocks, tree(XAVIER))
    assert found.verdict == "stable"
    assert found.contention["clocks"] == "locked" and found.contention["clock_ratio"] == 1.0
    assert not {"watts", "rails_w", "energy_mj"} & set(found.contention)  # the board idles between visits
    assert store.from_json(LatencyProfile, store.to_json(found)) == found


def test_a_profile_under_floating_clocks_says_so(made, clocks):
    assert timed(made, clocks, tree(ORIN)).verdict == "floating"


def test_a_profile_under_locked_clocks_that_sink_is_throttled(made, clocks, copy):
    assert timed(made, clocks, copy(XAVIER, {GPU_CLOCK: "918000000\n"})).verdict == "throttled"


@pytest.mark.parametrize("mhz, verdict", [(1300, "floating"), (918, "throttled")])
def test_a_profile_under_locked_clocks_that_move_says_so(made, clocks, copy, mhz, verdict):
    root = copy(XAVIER)

    def sinking(number):
        if number == 20:
            written(root, {GPU_CLOCK: "{}000000\n".format(mhz)})
        return 5

    found = timed(made, clocks, root, sinking)
    assert found.verdict == verdict and found.contention["clocks"] == "locked, but moving"
    assert found.contention["moved"] == ["gpu"]


def test_sampling_is_not_in_the_samples(made, clocks):
    class Slow:
        def sample(self):
            clocks.sleep(0.2)

        def summary(self):
            return {}

    reference = made("r000", 5, sampler=Slow())
    rule = RuleOfRounds({5: 3})
    sample([reference], {}, rule, clocks)
    assert {round(ms, 6) for row in reference.rounds_ms for ms in row} == {5.0}
    assert rule.seen[-1][3] == pytest.approx(3 * 3 * 0.005)
