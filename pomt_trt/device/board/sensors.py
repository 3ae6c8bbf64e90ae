"""Reads a Jetson's clocks, temperatures, power rails and over-current alarms from sysfs. Sets nothing.

On other machines all readings are empty. A sensor that only root may read is 'unknown (root)'; a missing or implausible
one is 'unknown'. Every function takes `root`, the folder with /sys.

Sources: NVIDIA's Jetson Linux developer guides 32.7 to 38.2 (power management, clocks, INA3221), the kernel's
documentation of devfreq, cpufreq, thermal and hwmon, and users' listings (jetson_stats issues 323, 360, 597, 825, 885,
900, 905; energymon's JetsonPowerRails; balena-jetson issue 142; NVIDIA's forum, topic 361188), read 2026-11.
"""

import glob
import os
import re
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from pomt_trt.core.system_files import text_of
from pomt_trt.device.board.jetson import SOCS, identity, soc_of

UNKNOWN, NEEDS_ROOT = "unknown", "unknown (root)"
FLOATING, LOCKED, MOVING = "floating", "locked", "locked, but moving"  # states of the clocks in a profile
MOVED = 0.02  # of its cap: a locked clock whose readings differ by more has moved
INPUTS = ("VDD_IN", "POM_5V_IN", "VIN")  # rails that feed all others; on a Thor the rail of the whole kit
PART_OF_ANOTHER = ("VDDQ_VDD2_1V8AO",)  # AGX Orin: contained in VIN_SYS_5V0
PLAUSIBLE = {"clock": (0.0, 1e5), "temperature": (-40.0, 125.0), "rail": (0.0, 500.0)}  # MHz, degrees C, W
PLAUSIBLE["count"] = (0.0, 2.0**32)


class Clock(NamedTuple):
    """A clock and its limits, which the power mode sets, or jetson_clocks more narrowly."""

    now_mhz: float
    least_mhz: float
    cap_mhz: float


class Readings(NamedTuple):
    """All sensors at one moment. `unknown` has the reason for each sensor that cannot be read."""

    clocks: Dict[str, Clock]  # gpu, cpu0 (each cpufreq policy by its first core), emc
    temperatures_c: Dict[str, float]
    rails_w: Dict[str, float]
    unknown: Dict[str, str]


class Sensor(NamedTuple):
    """A sensor. Its value is the product of the numbers in its files, times the scale."""

    kind: str  # clock, temperature, rail, count
    name: str
    files: Tuple[str, ...]
    scale: float


def read(root: str = "/") -> Readings:
    """Reads all sensors."""
    readings = Readings({}, {}, {}, {})
    if identity(root) is None:
        return readings
    for now, least, cap in _clocks(root):
        values = [_value(sensor) for sensor in (now, least, cap)]
        missing = [reason for _, reason in values if reason]
        if missing:
            readings.unknown[now.name] = missing[0]
        else:
            readings.clocks[now.name] = Clock(*[value for value, _ in values])
    for sensor in _temperatures(root) + _rails(root):
        value, reason = _value(sensor)
        if reason:
            readings.unknown[sensor.name] = reason
        else:
            (readings.temperatures_c if sensor.kind == "temperature" else readings.rails_w)[sensor.name] = value
    return readings


def floating(clocks: Dict[str, Clock]) -> Optional[bool]:
    """True if a clock of GPU or CPU may move, False after jetson_clocks; None if that is unknown."""
    if free(clocks):
        return True
    return False if "gpu" in clocks and len([name for name in clocks if name != "emc"]) > 1 else None


def free(clocks: Dict[str, Clock]) -> List[str]:
    """The clocks of GPU and CPU that may move. jetson_clocks locks the memory's in other files."""
    return [name for name, clock in sorted(clocks.items()) if name != "emc" and clock.least_mhz < clock.cap_mhz]


def over_current_events(root: str = "/") -> Dict[str, int]:
    """Count of each over-current alarm (oc1, oc2 ...) since the board started; empty if the board has no counters.

    The kernel of JetPack 4 and 5.0 calls the counters oc1_irq_cnt, later ones oc1_event_cnt.
    """
    return _alarms(root, "event_cnt") or _alarms(root, "irq_cnt")


def over_current_throttles(root: str = "/") -> Dict[str, bool]:
    """Whether each over-current alarm slows the clocks down; empty if the board does not say."""
    return {name: bool(value) for name, value in _alarms(root, "throt_en").items()}


def input_watts(rails_w: Dict[str, float]) -> Optional[float]:
    """The board's power: of the rail that feeds all others, else of all rails together; None without rails."""
    names = _feeding(list(rails_w))
    return sum(rails_w[name] for name in names) if names else None


def power_meter(root: str = "/") -> Optional[Callable[[], Optional[float]]]:
    """A function that reads the board's power in watts (None: not readable now); None if the board has no rail."""
    if identity(root) is None:
        return None
    rails = {sensor.name: sensor for sensor in _rails(root) if not _value(sensor)[1]}
    chosen = [rails[name] for name in _feeding(list(rails))]
    return (lambda: _sum(chosen)) if chosen else None


def _feeding(names: List[str]) -> List[str]:
    """The rails whose sum is the board's power."""
    for name in INPUTS:
        if name in names:
            return [name]
    return [name for name in names if name not in PART_OF_ANOTHER]


def _sum(rails: List[Sensor]) -> Optional[float]:
    values = [_value(rail) for rail in rails]
    return None if any(reason for _, reason in values) else sum(value for value, _ in values)


class Sampler:
    """Samples clocks and temperatures while an engine is timed.

    A sample reads all clocks and one of the temperatures, in turns, since a temperature comes over a slow bus. So it
    takes less than a millisecond. It does not read power, since the board idles meanwhile (see device/board/energy).
    """

    def __init__(self, root: str = "/") -> None:
        self._root, self._state = root, read(root)
        caps = {name: clock.cap_mhz for name, clock in self._state.clocks.items() if name != "emc" and clock.cap_mhz}
        self._clocks = [(now, caps[now.name]) for now, _, _ in _clocks(root) if now.name in caps]
        self._zones = [sensor for sensor in _temperatures(root) if sensor.name in self._state.temperatures_c]
        self._alarms = over_current_events(root)
        self._samples = 0
        self._ratios: Dict[str, List[float]] = {}  # clock -> its readings over its cap
        self._temperatures_c: List[float] = []

    def sample(self) -> None:
        """Takes one sample."""
        for sensor, cap_mhz in self._clocks:
            value, reason = _value(sensor)
            if not reason:
                self._ratios.setdefault(sensor.name, []).append(value / cap_mhz)
        if self._zones:
            value, reason = _value(self._zones[self._samples % len(self._zones)])
            if not reason:
                self._temperatures_c.append(value)
        self._samples += 1

    def summary(self) -> Dict[str, Any]:
        """The samples so far; empty if this is no Jetson.

        Returns: clocks (FLOATING, LOCKED, MOVING or unknown), moved (names of locked clocks that moved), caps_mhz,
        clock_ratio (the lowest reading of GPU and CPU clocks over its cap), max_temperature_c, over_current (alarm ->
        count since the start), over_current_throttles (alarm -> whether it slows the clocks), unknown (name -> reason).
        """
        if not (self._state.clocks or self._state.unknown):
            return {}
        moved = [name for name, ratios in sorted(self._ratios.items()) if max(ratios) - min(ratios) > MOVED]
        state = {None: UNKNOWN, True: FLOATING, False: MOVING if moved else LOCKED}[floating(self._state.clocks)]
        alarms = {name: count - self._alarms.get(name, 0) for name, count in over_current_events(self._root).items()}
        return {
            "clocks": state,
            "moved": moved if state == MOVING else [],
            "caps_mhz": {name: clock.cap_mhz for name, clock in self._state.clocks.items()},
            "clock_ratio": min((min(ratios) for ratios in self._ratios.values()), default=None),
            "max_temperature_c": max(self._temperatures_c, default=None),
            "over_current": {name: count for name, count in alarms.items() if count > 0},
            "over_current_throttles": over_current_throttles(self._root),
            "unknown": dict(self._state.unknown),
        }


def _alarms(root: str, what: str) -> Dict[str, int]:
    """Alarm -> number in its file oc*_WHAT. Up to Orin the chip is called soctherm_oc."""
    numbers = {}
    for path in _below(root, "sys/class/hwmon/hwmon*/oc*_" + what):
        value, reason = _value(Sensor("count", "", (path,), 1.0))
        if not reason:
            numbers[os.path.basename(path).split("_")[0]] = int(value)
    return numbers


def _clocks(root: str) -> List[Tuple[Sensor, Sensor, Sensor]]:
    """(now, least, cap) of the GPU, of each CPU policy, and of the memory."""
    names = SOCS.get(soc_of(root) or "", ("", ()))[1]
    gpu = next((path for path in _below(root, "sys/class/devfreq/*") if os.path.basename(path) in names), None)
    clocks = [] if gpu is None else [_clock("gpu", gpu, ("cur_freq", "min_freq", "max_freq"), 1e-6)]
    cpu = ("scaling_cur_freq", "scaling_min_freq", "scaling_max_freq")
    for path in _below(root, "sys/devices/system/cpu/cpufreq/policy*"):
        clocks.append(_clock("cpu" + os.path.basename(path)[len("policy") :], path, cpu, 1e-3))
    thor = os.path.join(root, "sys/class/devfreq/bwmgr")
    if os.path.isdir(thor):
        return clocks + [_clock("emc", thor, ("cur_freq", "min_freq", "max_freq"), 1e-6)]
    debug = os.path.join(root, "sys/kernel/debug/bpmp/debug/clk/emc")  # only root sees it
    return clocks + [_clock("emc", debug, ("rate", "min_rate", "max_rate"), 1e-6)]


def _clock(name: str, folder: str, files: Tuple[str, str, str], scale: float) -> Tuple[Sensor, Sensor, Sensor]:
    now, least, cap = (Sensor("clock", name, (os.path.join(folder, file),), scale) for file in files)
    return now, least, cap


def _temperatures(root: str) -> List[Sensor]:
    """The thermal zones, without PMIC-Die, which always reads 100 degrees."""
    zones = [(_line(path, "type"), path) for path in _below(root, "sys/class/thermal/thermal_zone*")]
    measuring = [zone for zone in zones if zone[0] not in ("", "PMIC-Die") and not zone[0].endswith("fan-est")]
    return [Sensor("temperature", name, (os.path.join(path, "temp"),), 1e-3) for name, path in measuring]


def _rails(root: str) -> List[Sensor]:
    """Power rails of the INA3221 by NVIDIA's old driver (mW) or the kernel's (mA, mV), and of a Thor's INA238 (uW)."""
    rails = []
    for path in _below(root, "sys/bus/i2c/drivers/ina3221x/*/iio:device*"):
        for channel in range(3):
            name, file = _line(path, "rail_name_{}".format(channel)), "in_power{}_input".format(channel)
            rails.append(Sensor("rail", name, (os.path.join(path, file),), 1e-3))
    for path in _below(root, "sys/class/hwmon/hwmon*"):
        chip = _line(path, "name")
        if chip == "ina3221":
            for channel in (1, 2, 3):
                files = ["{}{}_input".format(what, channel) for what in ("curr", "in")]
                name = _line(path, "in{}_label".format(channel))
                rails.append(Sensor("rail", name, tuple(os.path.join(path, file) for file in files), 1e-6))
        elif chip == "ina238":
            rails.append(Sensor("rail", _line(path, "label") or "VIN", (os.path.join(path, "power1_input"),), 1e-6))
    return [rail for rail in rails if rail.name not in ("", "NC")]  # NC: not connected


def _value(sensor: Sensor) -> Tuple[float, str]:
    """(value, ""), or (0, reason)."""
    product = sensor.scale
    try:
        for path in sensor.files:
            with open(path) as file:
                product *= int(file.read())
    except PermissionError:
        return 0.0, NEEDS_ROOT
    except (OSError, ValueError):  # the zone of a part that is switched off cannot be read
        return 0.0, UNKNOWN
    low, high = PLAUSIBLE[sensor.kind]
    return (product, "") if low <= product <= high else (0.0, UNKNOWN)


def _below(root: str, pattern: str) -> List[str]:
    """Existing paths, ordered by the numbers in them."""
    paths = glob.glob(os.path.join(glob.escape(root), pattern))
    return sorted(paths, key=lambda path: [int(part) for part in re.findall(r"\d+", path[len(root) :])])


def _line(folder: str, name: str) -> str:
    return text_of(folder, name).strip()
