"""How many CPU threads this process may use: its affinity, and the CPU quota of its cgroups (version 1 and 2).

Sources: sched_getaffinity(2), proc_pid_mountinfo(5), cgroups(7); the kernel's documents on cgroup v2
(cpu.max) and on CFS bandwidth control (cpu.cfs_quota_us, cpu.cfs_period_us).
"""

import os
import re
from typing import Iterator, NamedTuple, Optional, Tuple

from pomt_trt.core.system_files import text_of


class Cpus(NamedTuple):
    """The CPUs that the operating system gives this process."""

    machine: int  # CPUs of the machine that are online
    allowed: int  # CPUs of the affinity mask
    quota: Optional[float]  # CPU time a second that the cgroups allow; None: no limit

    @property
    def threads(self) -> int:
        """Threads that can run at once without being throttled: at least 1."""
        within_quota = self.allowed if self.quota is None else min(self.allowed, int(self.quota))
        return max(1, within_quota)

    @property
    def why(self) -> str:
        """Why the number of threads is what it is, in words."""
        limits = []
        if self.allowed < self.machine:
            limits.append("the affinity mask allows {}".format(self.allowed))
        if self.quota is not None:
            limits.append("the cgroup CPU quota is {:g}".format(self.quota))
        return " and ".join(limits) or "no limit is set"


class _Cgroup(NamedTuple):
    """One cgroup hierarchy: the folder of this process's cgroup (own), and the mount point (top)."""

    version: int
    top: str
    own: str


def usable(root: str = "/") -> Cpus:
    """The CPUs that this process may use now.

    Args:
        root: folder that holds /proc and /sys; the affinity is always that of this process.
    """
    machine = os.cpu_count() or 1
    has_affinity = hasattr(os, "sched_getaffinity")  # Linux has it, macOS does not
    return Cpus(machine, len(os.sched_getaffinity(0)) if has_affinity else machine, _quota(root))


def _quota(root: str) -> Optional[float]:
    """The smallest quota of the process's cgroups and all their ancestors, in CPUs; None without a quota."""
    quotas = [_quota_of(cgroup.version, folder) for cgroup in _cgroups(root) for folder in _from_own_to_top(cgroup)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _cgroups(root: str) -> Iterator[_Cgroup]:
    """Every mounted hierarchy that can limit CPU time."""
    paths = dict(_paths(root))
    for line in text_of(root, "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, options) = before.split(), (after.split() + [""] * 3)[0:3:2]
        version = {"cgroup2": 2, "cgroup": 1}.get(kind)
        if version is None or len(fields) < 5 or version not in paths or (version == 1 and not _has_cpu(options)):
            continue
        top = os.path.join(root, fields[4].lstrip("/"))
        yield _Cgroup(version, top, os.path.join(top, _below(fields[3], paths[version])))


def _paths(root: str) -> Iterator[Tuple[int, str]]:
    """(version, path in its hierarchy) of the process's cgroups: lines `0::/path` (v2) and `4:cpu,cpuacct:/path`."""
    for line in text_of(root, "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            yield 2, path
        elif _has_cpu(controllers):
            yield 1, path


def _has_cpu(names: str) -> bool:
    return "cpu" in names.split(",")


def _below(mounted: str, path: str) -> str:
    """A cgroup's path relative to the mounted one; "" where it is outside, as in some containers."""
    inside = path == mounted or path.startswith(mounted.rstrip("/") + "/")
    return path[len(mounted.rstrip("/")) :].strip("/") if inside else ""


def _from_own_to_top(cgroup: _Cgroup) -> Iterator[str]:
    folder = cgroup.own.rstrip("/")
    while len(folder) > len(cgroup.top.rstrip("/")):
        yield folder
        folder = os.path.dirname(folder)
    yield cgroup.top


def _quota_of(version: int, folder: str) -> Optional[float]:
    """CPUs that one cgroup allows: the quota over the period, both in microseconds."""
    if version == 2:
        words = text_of(folder, "cpu.max").split()
    else:
        words = [text_of(folder, "cpu.cfs_{}_us".format(name)).strip() for name in ("quota", "period")]
    if len(words) != 2 or not all(re.fullmatch("[1-9][0-9]*", word) for word in words):  # max, -1, or not there
        return None
    return int(words[0]) / int(words[1])
