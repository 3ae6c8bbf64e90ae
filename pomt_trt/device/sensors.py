"""What a Jetson's clocks, temperatures and power rails are.

Makes Readings, and the summary of a Sampler, from sysfs; on any machine, off a Jetson they are empty. Needs no library
and no root: what only root may read is 'unknown (root)', a sensor that is missing or wrong 'unknown'. Every function
takes `root`, below which /sys lies. Leaves out what is too slow (core/verdict); and sets nothing, see jetson/.

Sources: NVIDIA's Jetson Linux developer guides 32.7 to 38.2 (power management, clocks, INA3221), the kernel's
documentation of devfreq, cpufreq, thermal and hwmon, and users' listings (jetson_stats issues 323, 360, 825, 885, 900;
energymon's JetsonPowerRails; balena-jetson issue 142), read 2026-11.
"""

import glob
import os
import re
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from pomt_trt.device.jetson import SOCS, identity, soc_of, text_of

UNKNOWN, NEEDS_ROOT = "unknown", "unknown (root)"
INPUTS = ("VDD_IN", "POM_5V_IN", "VIN")  # rails that feed all others: of the module, on a Thor of the whole kit
PART_OF_ANOTHER = ("VDDQ_VDD2_1V8AO",)  # AGX Orin: contained in VIN_SYS_5V0
PLAUSIBLE = {"clock": (0.0, 1e5), "temperature": (-40.0, 125.0), "rail": (0.0, 500.0)}  # MHz, degrees C, W


class Clock(NamedTuple):
    """One clock and the limits set for it: of the power mode, or narrower ones, as jetson_clocks sets."""

    now_mhz: float
    least_mhz: float
    cap_mhz: float


class Readings(NamedTuple):
    """A board at one moment; what could not be had stands in `unknown` with the reason."""

    clocks: Dict[str, Clock]  # gpu, cpu0 (each cpufreq policy by its first core), emc
    temperatures_c: Dict[str, float]
    rails_w: Dict[str, float]
    unknown: Dict[str, str]


class Sensor(NamedTuple):
    """Where one value stands: the product of the numbers in the files, times the scale."""

    kind: str  # clock, temperature, rail
    name: str
    files: Tuple[str, ...]
    scale: float


def read(root: str = "/") -> Readings:
    """All that this board tells of itself now; everything is empty where it is no Jetson."""
    found = Readings({}, {}, {}, {})
    if identity(root) is None:
        return found
    for now, least, cap in _clocks(root):
        values = [_value(sensor) for sensor in (now, least, cap)]
        missing = [reason for _, reason in values if reason]
        if missing:
            found.unknown[now.name] = missing[0]
        else:
            found.clocks[now.name] = Clock(*[value for value, _ in values])
    for sensor in _temperatures(root) + _rails(root):
        value, reason = _value(sensor)
        if reason:
            found.unknown[sensor.name] = reason
        else:
            (found.temperatures_c if sensor.kind == "temperature" else found.rails_w)[sensor.name] = value
    return found


def floating(clocks: Dict[str, Clock]) -> Optional[bool]:
    """True where clocks of GPU or CPU may move, False after jetson_clocks; None where neither can be told."""
    judged = [clock for name, clock in clocks.items() if name != "emc"]
    if any(clock.least_mhz < clock.cap_mhz for clock in judged):
        return True
    return False if "gpu" in clocks and len(judged) > 1 else None


def input_watts(rails_w: Dict[str, float]) -> Optional[float]:
    """What is drawn: on the rail that feeds all others, or where none is measured, on all together."""
    for name in INPUTS:
        if name in rails_w:
            return rails_w[name]
    return sum(watts for name, watts in rails_w.items() if name not in PART_OF_ANOTHER) if rails_w else None


class Sampler:
    """What the board did while one engine was timed.

    A sample reads the clocks, and one temperature and one rail in turn, since each of these is a conversation on a slow
    bus: below a millisecond together. Off a Jetson it reads nothing.
    """

    def __init__(self, root: str = "/") -> None:
        self._state = read(root)
        known = {name: clock.cap_mhz for name, clock in self._state.clocks.items() if name != "emc" and clock.cap_mhz}
        self._clocks = [(now, known[now.name]) for now, _, _ in _clocks(root) if now.name in known]
        self._zones = [sensor for sensor in _temperatures(root) if sensor.name in self._state.temperatures_c]
        self._rails = [sensor for sensor in _rails(root) if sensor.name in self._state.rails_w]
        self._samples = 0
        self._ratios: List[float] = []
        self._seen_c: List[float] = []
        self._seen_w: Dict[str, List[float]] = {}

    def sample(self) -> None:
        """Takes one sample."""
        for sensor, cap_mhz in self._clocks:
            value, reason = _value(sensor)
            if not reason:
                self._ratios.append(value / cap_mhz)
        for sensors in (self._zones, self._rails):
            if sensors:
                self._keep(sensors[self._samples % len(sensors)])
        self._samples += 1

    def _keep(self, sensor: Sensor) -> None:
        value, reason = _value(sensor)
        if not reason:
            (self._seen_c if sensor.kind == "temperature" else self._seen_w.setdefault(sensor.name, [])).append(value)

    def summary(self) -> Dict[str, Any]:
        """What was seen so far; empty off a Jetson.

        Returns: clocks (locked, floating or unknown), caps_mhz, clock_ratio (least clock of GPU and CPU over its cap),
        max_temperature_c, rails_w (means), watts (drawn in all), unknown (name -> reason).
        """
        if not (self._state.clocks or self._state.unknown):
            return {}
        state = {None: UNKNOWN, True: "floating", False: "locked"}[floating(self._state.clocks)]
        rails_w = {name: sum(values) / len(values) for name, values in self._seen_w.items()}
        return {
            "clocks": state,
            "caps_mhz": {name: clock.cap_mhz for name, clock in self._state.clocks.items()},
            "clock_ratio": min(self._ratios) if self._ratios else None,
            "max_temperature_c": max(self._seen_c) if self._seen_c else None,
            "rails_w": rails_w,
            "watts": input_watts(rails_w),
            "unknown": dict(self._state.unknown),
        }


def _clocks(root: str) -> List[Tuple[Sensor, Sensor, Sensor]]:
    """(now, least, cap) of the GPU, of each policy of the CPU, and of the memory."""
    names = SOCS.get(soc_of(root) or "", ("", ()))[1]
    gpu = next((path for path in _below(root, "sys/class/devfreq/*") if os.path.basename(path) in names), None)
    found = [] if gpu is None else [_clock("gpu", gpu, ("cur_freq", "min_freq", "max_freq"), 1e-6)]
    cpu = ("scaling_cur_freq", "scaling_min_freq", "scaling_max_freq")
    for path in _below(root, "sys/devices/system/cpu/cpufreq/policy*"):
        found.append(_clock("cpu" + os.path.basename(path)[len("policy") :], path, cpu, 1e-3))
    thor = os.path.join(root, "sys/class/devfreq/bwmgr")
    if os.path.isdir(thor):
        return found + [_clock("emc", thor, ("cur_freq", "min_freq", "max_freq"), 1e-6)]
    debug = os.path.join(root, "sys/kernel/debug/bpmp/debug/clk/emc")  # not even its being there is shown to others
    return found + [_clock("emc", debug, ("rate", "min_rate", "max_rate"), 1e-6)]


def _clock(name: str, folder: str, files: Tuple[str, str, str], scale: float) -> Tuple[Sensor, Sensor, Sensor]:
    now, least, cap = (Sensor("clock", name, (os.path.join(folder, file),), scale) for file in files)
    return now, least, cap


def _temperatures(root: str) -> List[Sensor]:
    """Thermal zones, but PMIC-Die: it always says 100 degrees."""
    zones = [(_line(path, "type"), path) for path in _below(root, "sys/class/thermal/thermal_zone*")]
    return [Sensor("temperature", name, (os.path.join(path, "temp"),), 1e-3) for name, path in zones if _measures(name)]


def _measures(name: str) -> bool:
    return name not in ("", "PMIC-Die") and not name.endswith("fan-est")


def _rails(root: str) -> List[Sensor]:
    """INA3221 by NVIDIA's old driver (mW) and by the kernel's (mA, mV); INA238 (uW), which a Thor has at its input."""
    found = []
    for path in _below(root, "sys/bus/i2c/drivers/ina3221x/*/iio:device*"):
        for channel in range(3):
            name, file = _line(path, "rail_name_{}".format(channel)), "in_power{}_input".format(channel)
            found.append(Sensor("rail", name, (os.path.join(path, file),), 1e-3))
    for path in _below(root, "sys/class/hwmon/hwmon*"):
        chip = _line(path, "name")
        if chip == "ina3221":
            for channel in (1, 2, 3):
                files = ["{}{}_input".format(what, channel) for what in ("curr", "in")]
                name = _line(path, "in{}_label".format(channel))
                found.append(Sensor("rail", name, tuple(os.path.join(path, file) for file in files), 1e-6))
        elif chip == "ina238":
            found.append(Sensor("rail", _line(path, "label") or "VIN", (os.path.join(path, "power1_input"),), 1e-6))
    return [sensor for sensor in found if sensor.name not in ("", "NC")]  # NC: not connected


def _value(sensor: Sensor) -> Tuple[float, str]:
    """(value, ""), or (0, why it is not known)."""
    product = sensor.scale
    try:
        for path in sensor.files:
            with open(path) as file:
                product *= int(file.read())
    except PermissionError:
        return 0.0, NEEDS_ROOT
    except (OSError, ValueError):  # a zone of a part that is switched off refuses to be read
        return 0.0, UNKNOWN
    low, high = PLAUSIBLE[sensor.kind]
    return (product, "") if low <= product <= high else (0.0, UNKNOWN)


def _below(root: str, pattern: str) -> List[str]:
    """Existing paths, in the order of the numbers in them."""
    found = glob.glob(os.path.join(glob.escape(root), pattern))
    return sorted(found, key=lambda path: [int(part) for part in re.findall(r"\d+", path[len(root) :])])


def _line(folder: str, name: str) -> str:
    return text_of(folder, name).strip()
