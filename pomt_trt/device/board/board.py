"""The DeviceSpec of this machine, and counters in /proc of what other programs use.

core/statistics/stability decides how much contention is too much.
"""

import glob
import os
import platform
import re
from typing import Any, Dict, NamedTuple, Optional

from pomt_trt.core import cpus
from pomt_trt.core.records import DeviceSpec
from pomt_trt.core.system_files import memory_bytes, text_of
from pomt_trt.core.targets import PLUGIN, has_plugin
from pomt_trt.device.board.jetson import identity
from pomt_trt.device.engines import registry
from pomt_trt.device.engines.traits import traits


def device_spec(engine: str) -> DeviceSpec:
    """This machine with an engine library.

    Raises: MissingDependency if the library, or the CUDA device that it needs, is missing.
    """
    version = registry.version(engine)
    jetson = identity()
    device = DeviceSpec(
        id="",
        machine=platform.machine(),
        engine=engine,
        engine_version=version,
        processor=processor(),
        cores=cpus.usable().machine,  # of the machine, even if this process may use fewer
        memory_bytes=memory_bytes("/") or 0,
        power_mode=jetson.power_mode if jetson else None,
        l4t=jetson.l4t if jetson else None,
        jetpack=jetson.jetpack if jetson else None,
    )
    if traits(engine).on_gpu:
        device = _with_gpu(device, jetson.module if jetson else None)
    return device._replace(id=_device_id(device, jetson.module if jetson else None))


def in_form(device: DeviceSpec, form: str, precision: str) -> DeviceSpec:
    """The device with an id of its own for each precision, and for graphs with plugins.

    Their engines and latencies go into separate folders.
    """
    suffix = ("" if precision == "fp32" else "-" + precision) + (PLUGIN if has_plugin(form) else "")
    return device._replace(id=device.id + suffix)


def _with_gpu(device: DeviceSpec, module: Optional[str]) -> DeviceSpec:
    """The device with its GPU in place of its processor.

    The name has the Jetson's module, since CUDA gives all Orins one name. It has no number of multiprocessors, since
    power modes switch some off. The memory is the GPU's, which a Jetson shares with the processor.
    """
    from pomt_trt.device.engines.tensorrt import cuda

    gpu = cuda.gpu()
    return device._replace(
        processor=gpu.name + (" ({})".format(module) if module else ""),
        compute_capability=gpu.compute_capability,
        memory_bytes=device.memory_bytes if device.l4t else gpu.memory_bytes,
    )


def _device_id(device: DeviceSpec, module: Optional[str]) -> str:
    """Engine, version and processor; on a Jetson module and memory, L4T and power mode as well."""
    words = [device.engine, device.engine_version]
    if module is None:
        words += [device.processor] + ([] if device.compute_capability else ["{}c".format(device.cores)])
    else:
        gib = "{}gb".format(int(round(device.memory_bytes / float(1 << 30))))
        words += [module, gib, "l4t", device.l4t or "unknown", device.power_mode or "mode-unknown"]
    return _slug("-".join(words))


def processor() -> str:
    """The CPU's name with family and model (x86), or implementer and part (ARM).

    Why: several processors share a name, and an engine holds kernels for one processor.
    """
    fields: Dict[str, str] = {}
    for line in text_of("/", "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    name = fields.get("model name") or platform.processor() or platform.machine()
    detail = [fields[key] for key in ("cpu family", "model", "CPU implementer", "CPU part") if key in fields]
    return " ".join([name] + (["({})".format("/".join(detail))] if detail else []))


class Reading(NamedTuple):
    """Values of counters that only grow."""

    cpu_ticks: int  # of the whole machine, all states
    steal_ticks: int  # taken by the hypervisor
    busy_ticks: int  # used by all processes
    own_ticks: int  # used by this process
    involuntary: int  # context switches forced on this process's threads
    wall_s: float


def read(clock: Any) -> Reading:
    """Reads the counters. `clock` gives seconds."""
    fields = [int(text) for text in text_of("/", "proc/stat").split("\n")[0].split()[1:9]] or [0] * 8
    user, nice, system, idle, iowait, irq, softirq, steal = fields
    times = os.times()
    own = int((times.user + times.system) * os.sysconf("SC_CLK_TCK"))
    return Reading(
        cpu_ticks=sum(fields),
        steal_ticks=steal,
        busy_ticks=user + nice + system + irq + softirq,
        own_ticks=own,
        involuntary=_involuntary_switches(),
        wall_s=clock(),
    )


def contention(before: Reading, after: Reading) -> Dict[str, float]:
    """Contention between two readings.

    Returns: steal (share of CPU time that the hypervisor took), others (share of CPU time that other processes used),
    involuntary_per_s (forced context switches in a second).
    """
    ticks = max(1, after.cpu_ticks - before.cpu_ticks)
    others = (after.busy_ticks - before.busy_ticks) - (after.own_ticks - before.own_ticks)
    switches = after.involuntary - before.involuntary  # may be negative: a thread that ends takes its count along
    return {
        "steal": (after.steal_ticks - before.steal_ticks) / ticks,
        "others": max(0.0, others / ticks),
        "involuntary_per_s": max(0.0, switches / max(1e-9, after.wall_s - before.wall_s)),
    }


def _involuntary_switches() -> int:
    statuses = "".join(text_of("/", path) for path in glob.glob("/proc/self/task/*/status"))
    return sum(map(int, re.findall(r"nonvoluntary_ctxt_switches:\s*(\d+)", statuses)))


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")
