"""Which machine this is, and what disturbs it while it is being timed.

Makes a DeviceSpec and readings of contention from /proc. On the machine that runs engines. Leaves out judgement: what
is too much is said by core/statistics/stability.
"""

import os
import platform
import re
from typing import Any, Dict, NamedTuple, Optional

from pomt_trt.core import cpus
from pomt_trt.core.records import DeviceSpec
from pomt_trt.core.targets import PLUGIN, has_plugin
from pomt_trt.device.board.jetson import identity, text_of
from pomt_trt.device.engines import registry
from pomt_trt.device.engines.traits import traits


def device_spec(engine: str) -> DeviceSpec:
    """This machine with the given engine library.

    Raises: MissingDependency where the library, or the CUDA device that it needs, is not there.
    """
    version = registry.version(engine)
    found = identity()
    made = DeviceSpec(
        id="",
        machine=platform.machine(),
        engine=engine,
        engine_version=version,
        processor=processor(),
        cores=cpus.usable().machine,  # the machine's, whatever this process may use: threads are recorded apart
        memory_bytes=_memory_bytes(),
        power_mode=found.power_mode if found else None,
        l4t=found.l4t if found else None,
        jetpack=found.jetpack if found else None,
    )
    if traits(engine).on_gpu:
        made = _with_gpu(made, found.module if found else None)
    return made._replace(id=_device_id(made, found.module if found else None))


def in_form(device: DeviceSpec, form: str, precision: str) -> DeviceSpec:
    """The device as folders of engines are named that differ in precision, or in whether plugins remove tokens.

    What is measured in one says nothing of another.
    """
    kind = ("" if precision == "fp32" else "-" + precision) + (PLUGIN if has_plugin(form) else "")
    return device._replace(id=device.id + kind)


def _with_gpu(device: DeviceSpec, module: Optional[str]) -> DeviceSpec:
    """A Jetson's memory is the GPU's and the processor's, elsewhere it is the GPU's own that counts.

    Its module belongs to the GPU's name, since CUDA calls all Orins alike. The number of multiprocessors does not:
    power modes switch some off.
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
    """The CPU's name with family and model (x86), or implementer and part (ARM), since several processors share a name.

    It decides which kernels an engine holds.
    """
    fields: Dict[str, str] = {}
    for line in text_of("/", "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    name = fields.get("model name") or platform.processor() or platform.machine()
    detail = [fields[key] for key in ("cpu family", "model", "CPU implementer", "CPU part") if key in fields]
    return " ".join([name] + (["({})".format("/".join(detail))] if detail else []))


class Reading(NamedTuple):
    """Counters that only grow, at one moment."""

    cpu_ticks: int  # of the whole machine, all states
    steal_ticks: int  # taken by the hypervisor
    busy_ticks: int  # used by anybody, this process included
    own_ticks: int  # used by this process
    involuntary: int  # context switches forced on this process's threads
    wall_s: float


def read(clock: Any) -> Reading:
    """The counters now. `clock` gives seconds."""
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
    """What happened between two readings.

    Returns: steal (share of CPU time the hypervisor took), others (share of CPU time other processes used),
    involuntary_per_s (forced context switches a second).
    """
    ticks = max(1, after.cpu_ticks - before.cpu_ticks)
    others = (after.busy_ticks - before.busy_ticks) - (after.own_ticks - before.own_ticks)
    switches = after.involuntary - before.involuntary  # a thread that has ended takes its own along
    return {
        "steal": (after.steal_ticks - before.steal_ticks) / ticks,
        "others": max(0.0, others / ticks),
        "involuntary_per_s": max(0.0, switches / max(1e-9, after.wall_s - before.wall_s)),
    }


def _involuntary_switches() -> int:
    total = 0
    for thread in _listed("/proc/self/task"):
        status = text_of("/", "proc/self/task/{}/status".format(thread))
        found = re.search(r"nonvoluntary_ctxt_switches:\s*(\d+)", status)
        total += int(found.group(1)) if found else 0
    return total


def _memory_bytes() -> int:
    found = re.search(r"MemTotal:\s*(\d+) kB", text_of("/", "proc/meminfo"))
    return int(found.group(1)) * 1024 if found else 0


def _listed(folder: str) -> Any:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")
