"""Describes this machine: what is missing on it, and the command that helps.

Nothing needs to be installed. Only ONNX Runtime and TensorRT are imported, since they may be installed and not load.
"""

import importlib
import importlib.util
import os
import platform
import re
import shutil
import sys
import time
from typing import Any, Callable, List, Optional, Tuple

from pomt_trt.core import cpus
from pomt_trt.core.errors import MissingDependency
from pomt_trt.core.records import Finding
from pomt_trt.core.statistics.stability import Bounds
from pomt_trt.core.system_files import memory_bytes, text_of
from pomt_trt.core.targets import PRECISIONS, of_engine
from pomt_trt.core.text_table import aligned
from pomt_trt.device.board import board, sensors
from pomt_trt.device.board.jetson import Identity, identity
from pomt_trt.device.engines import registry

GIB = float(1 << 30)
LEAST_FREE_GIB = 2.5  # of memory and of disk: enough for an exhaustive run on DeiT-S
WATCH_S = 0.5
HOST_PACKAGES = (
    ("torch", "torch"),
    ("timm", "timm"),
    ("onnx", "onnx"),
    ("safetensors", "safetensors"),
    ("scikit-learn", "sklearn"),
    ("matplotlib", "matplotlib"),
)


def examine(root: str = "/", pause: Callable[[float], Any] = time.sleep) -> Tuple[Finding, ...]:
    """All findings, in reading order.

    Args:
        root: folder with /proc, /sys and /etc.
        pause: waits so many seconds, while contention is watched.
    """
    module = identity(root)
    jetson = module is not None
    findings = [_python(), _system(), _processor(root), _memory(root), _disk(), _jetson(module)]
    findings += [_needed("numpy", "numpy"), _needed("Pillow", "PIL")]
    findings += _engines(jetson)
    findings += [_host_package(name, module, jetson) for name, module in HOST_PACKAGES]
    findings += _board(root) if jetson else [_governor(root)]
    findings += [_load(root), _contention(root, pause)]
    return tuple(findings)


def check(findings: Tuple[Finding, ...]) -> None:
    """Raises MissingDependency if no engine can run here because something is missing."""
    missing = [finding for finding in findings if finding.state == "missing"]
    if missing:
        raise MissingDependency(
            "engines cannot run here for want of: {}. Do this: {}.".format(
                ", ".join(finding.name for finding in missing), "; ".join(finding.remedy for finding in missing)
            )
        )


def table(findings: Tuple[Finding, ...]) -> str:
    """The findings as text: a line for each, and its remedy on the next line."""
    rows = []
    for finding in findings:
        rows += [(finding.state, finding.name, finding.value)]
        rows += [("", "", "-> " + finding.remedy)] if finding.remedy else []
    return "\n".join(aligned(rows))


def _judged(name: str, good: bool, value: str, remedy: str) -> Finding:
    """A finding that is ok, or a warning with its remedy."""
    return Finding(name, "ok", value) if good else Finding(name, "warning", value, remedy)


def _python() -> Finding:
    host = "" if sys.version_info >= (3, 10) else " (runs engines; exporting models needs 3.10 or later)"
    return Finding("python", "ok", platform.python_version() + host)


def _system() -> Finding:
    value = "{} {} {}".format(platform.system(), platform.release(), platform.machine())
    remedy = "profile on Linux: elsewhere disturbances of a measurement are not seen"
    return _judged("system", platform.system() == "Linux", value, remedy)


def _processor(root: str) -> Finding:
    usable = cpus.usable(root)
    value = "{}, {} cores; {} by default: {}"
    threads = "{} thread{}".format(usable.threads, "" if usable.threads == 1 else "s")
    return Finding("processor", "ok", value.format(board.processor(), usable.machine, threads, usable.why))


def _memory(root: str) -> Finding:
    total, free = (memory_bytes(root, key) for key in ("MemTotal", "MemAvailable"))
    if total is None or free is None:
        return Finding("memory", "ok", "not known")
    value = "{:.1f} GiB, {:.1f} available".format(total / GIB, free / GIB)
    remedy = "close other programs: profiling takes up to {:.1f} GiB".format(LEAST_FREE_GIB)
    return _judged("memory", free / GIB >= LEAST_FREE_GIB, value, remedy)


def _disk() -> Finding:
    free = shutil.disk_usage(os.getcwd()).free / GIB
    value = "{:.1f} GiB free in the current folder".format(free)
    remedy = "free some space, or put the work folder on another disk with --work"
    return _judged("disk", free >= LEAST_FREE_GIB, value, remedy)


def _jetson(module: Optional[Identity]) -> Finding:
    if module is None:
        return Finding("jetson", "ok", "no: engines run on ONNX Runtime here")
    if module.l4t is None:
        remedy = "mount that file into the container, or reinstall the package nvidia-l4t-core"
        return Finding("jetson", "warning", module.module + ", /etc/nv_tegra_release not readable", remedy)
    value = "{}, L4T {}".format(module.module, module.l4t)
    if tuple(int(part) for part in module.l4t.split(".")[:2]) < (32, 7):
        value += ": its TensorRT is older than 8.2, which is needed (JetPack 4.6 has 8.0)"
        return Finding("jetson", "missing", value, "flash JetPack 4.6.1 (L4T 32.7.1) or later")
    value += ", JetPack {}, compute capability {}, power mode {}".format(
        *(word or "not known" for word in (module.jetpack, module.compute_capability, module.power_mode))
    )
    return Finding("jetson", "ok", value)


def _board(root: str) -> List[Finding]:
    """Clocks and sensors of a Jetson."""
    readings = sensors.read(root)
    distinct = {clock: name for name, clock in reversed(list(readings.clocks.items()))}  # most cores have equal clocks
    clocks = sorted((name, clock) for clock, name in distinct.items())
    words = ["{} {:.0f} of {:.0f} MHz".format(name, clock.now_mhz, clock.cap_mhz) for name, clock in clocks]
    floating = sensors.floating(readings.clocks)
    state = {True: "floating: ", False: "locked: ", None: "whether they are locked is not known: "}[floating]
    value = state + ", ".join(words or ["none seen"])
    remedy = "time engines under jetson/with_clocks, which locks them meanwhile"
    return [_judged("clocks", floating is False, value, remedy), _sensors(readings), _over_current(root)]


def _sensors(readings: sensors.Readings) -> Finding:
    """Power, the highest temperature, and the sensors that cannot be read."""
    watts = sensors.input_watts(readings.rails_w)
    words = ["draws {:.1f} W".format(watts)] if watts is not None else []
    if readings.temperatures_c:
        hottest = max(readings.temperatures_c, key=lambda name: readings.temperatures_c[name])
        words.append("hottest: {} {:.1f} degrees".format(hottest, readings.temperatures_c[hottest]))
    words += ["{} {}".format(name, reason) for name, reason in readings.unknown.items()]
    return Finding("sensors", "ok", ", ".join(words) or "none seen")


def _over_current(root: str) -> Finding:
    """Over-current alarms since the board started. After an alarm some boards stay slow until a restart."""
    counts = sensors.over_current_events(root)
    if not counts:
        return Finding("over-current", "ok", "not counted here")
    alarms = ["{} {} times".format(name, count) for name, count in sorted(counts.items()) if count]
    if not alarms:
        return Finding("over-current", "ok", "no alarm since the board started")
    remedy = "a stronger power supply, or a power mode of fewer watts (jetson/power_mode NAME); then restart the board"
    return Finding("over-current", "warning", "alarms since the board started: " + ", ".join(alarms), remedy)


def _engines(jetson: bool) -> List[Finding]:
    """The libraries that run engines. One is needed, on a Jetson preferably TensorRT."""
    tensorrt, cuda = _version("tensorrt"), _version("pycuda")
    remedy = "sudo apt-get install nvidia-jetpack (in a virtual environment made with --system-site-packages)"
    both = bool(tensorrt and cuda)
    return [
        _onnxruntime(spare=both),
        _usable_tensorrt(jetson) if both else _jetson_package("tensorrt", tensorrt, jetson, remedy),
        _jetson_package("pycuda", cuda, jetson, "jetson/install: what builds it differs from JetPack to JetPack"),
    ] + ([] if jetson else [_tensorrt_rtx()])


def _onnxruntime(spare: bool) -> Finding:
    """ONNX Runtime and its features. With `spare`, TensorRT can run engines instead."""
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError as error:
        absent = importlib.util.find_spec("onnxruntime") is None
        value = "not installed" if absent else "installed, but does not load: {}".format(error)
        return Finding("onnxruntime", "warning" if spare else "missing", value, "pip install onnxruntime")
    pool = "each engine has a thread pool of its own (one for all from 1.21 on)"
    if hasattr(runtime, "set_global_thread_pool_sizes"):
        pool = "engines can share one thread pool"
    return Finding("onnxruntime", "ok", "{}, {}".format(getattr(runtime, "__version__", "version not known"), pool))


def _usable_tensorrt(jetson: bool) -> Finding:
    """Tries TensorRT with pycuda: whether they load, are new enough, and find a GPU."""
    try:
        version = registry.version("tensorrt")
        target = of_engine("tensorrt", version)
        precisions = ", ".join(one for one in PRECISIONS if not target.lacks(one))
        return Finding("tensorrt", "ok", "{}, engines can run on it ({})".format(version, precisions))
    except ImportError as error:  # numpy is missing, which has its own finding
        return Finding("tensorrt", "ok", "not tried: {}".format(error))
    except MissingDependency as error:
        return Finding("tensorrt", "missing" if jetson else "warning", "installed, but not usable", str(error))


def _tensorrt_rtx() -> Finding:
    """TensorRT-RTX, which builds engines for RTX GPUs, also without a GPU."""
    name = "tensorrt-rtx"
    if importlib.util.find_spec("tensorrt_rtx") is None:
        return Finding(name, "ok", "not installed; not needed here")
    try:
        version = registry.installed(name)
    except (ImportError, MissingDependency) as error:
        return Finding(name, "warning", "installed, but does not load", str(error))
    try:
        registry.version(name)
        return Finding(name, "ok", "{}, engines can be built and run on it".format(version))
    except (ImportError, MissingDependency) as error:
        return Finding(name, "ok", "{}, builds engines ahead of time; none can run here: {}".format(version, error))


def _jetson_package(name: str, version: Optional[str], jetson: bool, remedy: str) -> Finding:
    absent = "not installed: no TensorRT engines" if jetson else "not installed; not needed here"
    return _judged(name, bool(version) or not jetson, version or absent, remedy)


def _needed(name: str, module: str) -> Finding:
    version = _version(name, module)
    return Finding(name, "ok", version) if version else Finding(name, "missing", "not installed", "pip install " + name)


def _host_package(name: str, module: str, jetson: bool) -> Finding:
    version = _version(name, module)
    if version or jetson or sys.version_info < (3, 10):
        return Finding(name, "ok", version or "not installed; not needed where engines only run")
    if name == "matplotlib":
        return Finding(name, "warning", "not installed: no figures", "pip install 'pomt-trt[report]'")
    return Finding(name, "warning", "not installed; compile and export need it", "pip install 'pomt-trt[host]'")


def _version(name: str, module: str = "") -> Optional[str]:
    """The installed version, without importing the package; None if it is not installed."""
    try:
        if importlib.util.find_spec(module or name) is None:
            return None
    except ValueError:  # it is imported already and has no spec
        pass
    try:
        if sys.version_info >= (3, 8):
            return str(importlib.import_module("importlib.metadata").version(name))
        return str(importlib.import_module("pkg_resources").get_distribution(name).version)
    except Exception:  # neither library documents its errors; the package is installed anyway
        return "version not known"


def _governor(root: str) -> Finding:
    governor = text_of(root, "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip()
    if governor in ("", "performance"):
        return Finding("clock governor", "ok", governor or "not visible here (a virtual machine or container)")
    remedy = "sudo cpupower frequency-set -g performance"
    return Finding("clock governor", "warning", governor + ": clocks may move while engines are timed", remedy)


def _load(root: str) -> Finding:
    match = re.match(r"[\d.]+", text_of(root, "proc/loadavg"))
    if not match:
        return Finding("load", "ok", "not known")
    load, cores = float(match.group()), cpus.usable(root).machine
    value = "{:.2f} on average over the last minute, {} cores".format(load, cores)
    remedy = "wait until other programs have finished: latencies will be contended"
    return _judged("load", load <= cores, value, remedy)


def _contention(root: str, pause: Callable[[float], Any]) -> Finding:
    if not text_of(root, "proc/stat") or platform.system() != "Linux":
        return Finding("contention", "ok", "not known")
    before = board.read(time.perf_counter)
    pause(WATCH_S)
    contention = board.contention(before, board.read(time.perf_counter))
    steal, others = contention["steal"], contention["others"]
    value = "in {} s the hypervisor took {:.0f} %, other programs {:.0f} %".format(WATCH_S, 100 * steal, 100 * others)
    quiet = steal <= Bounds().steal and others <= Bounds().others
    return _judged("contention", quiet, value, "profile on a quieter machine: latencies will be contended")
