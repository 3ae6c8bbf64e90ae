"""What a Jetson's sensors say: made-up boards, sensors that are missing or wrong, and profiles taken meanwhile."""

import os
import shutil
import time

import pytest

from pomt_trt.core import store
from pomt_trt.core.records import LatencyProfile
from pomt_trt.device import latency, sensors
from pomt_trt.device.latency import Modes
from tests.device.test_jetson import tree
from tests.device.turned import RuleOfRounds, profile

BOARDS = sorted(name for name in os.listdir(tree("")) if os.path.isdir(tree(name)))
ORIN = "agx-orin-jetpack-6.2"
XAVIER = "agx-xavier-jetpack-5.1.2"  # clocks locked


@pytest.fixture
def copy(tmp_path):
    """copy(board) -> a function that writes a file of a copy of its tree; without a name it gives the root."""

    def copied(board):
        root = shutil.copytree(tree(board), str(tmp_path / board))

        def write(name=None, text=""):
            if name is not None:
                with open(os.path.join(root, name), "w") as file:
                    file.write(text)
            return root

        return write

    return copied


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
    write = copy("tx2-jetpack-4.6.6")
    root = write("sys/bus/i2c/drivers/ina3221x/0-0041/iio:device1/in_power0_input", text)
    found = sensors.read(root)
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
    one_core = copy(XAVIER)("sys/devices/system/cpu/cpufreq/policy4/scaling_min_freq", "1190400\n")
    assert sensors.floating(sensors.read(one_core).clocks) is True


def test_without_the_gpus_clock_nothing_is_called_locked(copy):
    root = copy(XAVIER)()
    shutil.rmtree(os.path.join(root, "sys/class/devfreq"))
    assert sensors.floating(sensors.read(root).clocks) is None


def test_off_a_jetson_nothing_is_read(tmp_path):
    assert sensors.read(str(tmp_path)) == sensors.Readings({}, {}, {}, {})
    sampler = sensors.Sampler(str(tmp_path))
    sampler.sample()
    assert sampler.summary() == {}


@pytest.mark.parametrize("board", BOARDS)
def test_a_sampler_gives_every_rail_and_zone_its_turn(board):
    sampler, known = sensors.Sampler(tree(board)), sensors.read(tree(board))
    for _ in range(10):
        sampler.sample()
    found = sampler.summary()
    assert found["rails_w"] == pytest.approx(known.rails_w)
    assert found["max_temperature_c"] == max(known.temperatures_c.values())
    assert found["watts"] == pytest.approx(sensors.input_watts(known.rails_w))


def test_a_sample_takes_less_than_a_millisecond():
    sampler = sensors.Sampler(tree("agx-thor-jetpack-7.2"))  # has most clocks; files only, no slow bus
    took_s = []
    for _ in range(30):
        started_s = time.process_time()
        sampler.sample()
        took_s.append(time.process_time() - started_s)
    assert min(took_s) < 1e-3


def test_the_lowest_clock_and_the_mean_power_are_kept(copy):
    write = copy(XAVIER)
    sampler = sensors.Sampler(write())
    sampler.sample()
    write("sys/class/devfreq/17000000.gv11b/cur_freq", "918000000\n")  # throttled
    sampler.sample()
    write("sys/class/devfreq/17000000.gv11b/cur_freq", "1377000000\n")
    write("sys/class/hwmon/hwmon3/curr1_input", "1640\n")  # twice as much
    for _ in range(5):
        sampler.sample()
    found = sampler.summary()
    assert found["clock_ratio"] == pytest.approx(918 / 1377)
    assert found["rails_w"]["GPU"] == pytest.approx((15.58 + 2 * 15.58) / 2)
    assert found["clocks"] == "locked" and found["caps_mhz"]["gpu"] == 1377.0


def test_a_sensor_that_fails_meanwhile_does_not_end_the_timing(copy):
    root = copy(XAVIER)()
    sampler = sensors.Sampler(root)
    shutil.rmtree(os.path.join(root, "sys"))
    sampler.sample()
    found = sampler.summary()
    assert (found["clock_ratio"], found["watts"], found["max_temperature_c"]) == (None, None, None)


def timed(made, clocks, root, **modes):
    """The profile of an engine of 5 ms, timed on a board."""
    reference = made("r000", 5)._replace(sampler=sensors.Sampler(root))
    latency.time_group([reference], [], RuleOfRounds({5: 12}), clocks, modes.get("pace_fps"))
    return profile(reference, modes=Modes(2, "default", 3.0, **modes))


def test_a_profile_says_what_the_board_did_and_what_a_run_costs(made, clocks):
    found = timed(made, clocks, tree(XAVIER))
    assert found.verdict == "stable"
    assert found.contention["clocks"] == "locked" and found.contention["clock_ratio"] == 1.0
    assert found.contention["energy_mj"] == pytest.approx(21.107 * 5.0)
    assert store.from_json(LatencyProfile, store.to_json(found)) == found


def test_a_profile_under_floating_clocks_says_so(made, clocks):
    assert timed(made, clocks, tree(ORIN)).verdict == "floating"


def test_a_profile_under_locked_clocks_that_sink_is_throttled(made, clocks, copy):
    write = copy(XAVIER)
    write("sys/class/devfreq/17000000.gv11b/cur_freq", "918000000\n")
    assert timed(made, clocks, write()).verdict == "throttled"


def test_a_paced_profile_gives_no_energy_since_the_board_idles_in_between(made, clocks):
    found = timed(made, clocks, tree(XAVIER), pace_fps=30.0)
    assert "energy_mj" not in found.contention and found.contention["watts"] == pytest.approx(21.107)


def test_sampling_is_not_in_the_samples(made, clocks):
    class Slow:
        def sample(self):
            clocks.sleep(0.2)

        def summary(self):
            return {}

    reference = made("r000", 5)._replace(sampler=Slow())
    rule = RuleOfRounds({5: 3})
    latency.time_group([reference], [], rule, clocks)
    assert {round(ms, 6) for row in reference.rounds_ms for ms in row} == {5.0}
    assert rule.seen[-1][3] == pytest.approx(3 * 3 * 0.005)
