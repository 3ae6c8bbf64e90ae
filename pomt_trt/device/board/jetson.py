"""Identifies a Jetson by the files of Linux for Tegra. Needs no library and no root rights.

Every function takes `root`, the folder with /proc, /etc and /var.

Sources: NVIDIA's Jetson Linux developer guides 32.7 to 38.2, JetPack release notes, and users' listings, read 2026-11.
"""

import re
from typing import Dict, NamedTuple, Optional, Tuple

from pomt_trt.core.system_files import memory_bytes, text_of

# SoC -> compute capability, and the GPU's name in /sys/class/devfreq (an Orin's changed with JetPack 6)
SOCS: Dict[str, Tuple[str, Tuple[str, ...]]] = {
    "tegra210": ("5.3", ("57000000.gpu",)),  # Nano, TX1
    "tegra186": ("6.2", ("17000000.gp10b",)),  # TX2
    "tegra194": ("7.2", ("17000000.gv11b",)),  # Xavier
    "tegra234": ("8.7", ("17000000.ga10b", "17000000.gpu")),  # Orin
    "tegra264": ("11.0", ("gpu-gpc-0",)),  # Thor
}
# L4T -> JetPack; the longest matching prefix counts
JETPACKS: Dict[str, str] = {
    "32.6": "4.6",
    "32.7": "4.6.1 or later",
    "32.7.1": "4.6.1",
    "32.7.2": "4.6.2",
    "32.7.3": "4.6.3",
    "32.7.4": "4.6.4",
    "32.7.5": "4.6.5",
    "32.7.6": "4.6.6",
    "35.1": "5.0.2",
    "35": "5.1",
    "35.3.1": "5.1.1",
    "35.4.1": "5.1.2",
    "35.5": "5.1.3",
    "35.6.0": "5.1.4",
    "35.6": "5.1.5 or later",
    "36": "6.0",
    "36.4": "6.2.1 or later",
    "36.4.0": "6.1",
    "36.4.3": "6.2",
    "36.5": "6.2.2",
    "38": "7.0",
    "38.4": "7.1",
    "39": "7.2",
    "39.2.1": "7.2.1",
}


class Identity(NamedTuple):
    """A Jetson. None: its files do not say."""

    module: str
    soc: Optional[str]
    compute_capability: Optional[str]
    l4t: Optional[str]
    jetpack: Optional[str]
    memory_bytes: Optional[int]
    power_mode: Optional[str]  # its name for nvpmodel


def identity(root: str = "/") -> Optional[Identity]:
    """This Jetson; None on another machine."""
    soc, l4t = soc_of(root), _l4t(root)
    model = text_of(root, "proc/device-tree/model").strip("\0\n ")
    if soc is None and l4t is None and "jetson" not in model.lower():
        return None
    return Identity(
        module=model or "a Jetson",
        soc=soc,
        compute_capability=SOCS[soc][0] if soc else None,
        l4t=l4t,
        jetpack=_jetpack(l4t) if l4t else None,
        memory_bytes=memory_bytes(root),
        power_mode=_power_mode(root),
    )


def soc_of(root: str) -> Optional[str]:
    """Such as tegra234, from 'nvidia,p3701-0000<NUL>nvidia,tegra234'."""
    match = re.search(r"nvidia,(tegra\d+)", text_of(root, "proc/device-tree/compatible"))
    return match.group(1) if match and match.group(1) in SOCS else None


def _l4t(root: str) -> Optional[str]:
    """Such as 32.7.1, from '# R32 (release), REVISION: 7.1, ...', or else from the package nvidia-l4t-core."""
    match = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", text_of(root, "etc/nv_tegra_release"))
    if match:
        return "{}.{}".format(*match.groups())
    for package in text_of(root, "var/lib/dpkg/status").split("\n\n"):
        if re.search(r"^Package: nvidia-l4t-core$", package, re.MULTILINE):
            version = re.search(r"^Version: ([\d.]+)", package, re.MULTILINE)
            return version.group(1) if version else None
    return None


def _jetpack(l4t: str) -> Optional[str]:
    parts = l4t.split(".")
    prefixes = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((JETPACKS[prefix] for prefix in prefixes if prefix in JETPACKS), None)


def _power_mode(root: str) -> Optional[str]:
    """The mode's name in /etc/nvpmodel.conf, by the number that nvpmodel stores, else by the default number."""
    conf = text_of(root, "etc/nvpmodel.conf")
    stored = re.search(r"pmode:(\d+)", text_of(root, "var/lib/nvpmodel/status"))
    number = stored or re.search(r"<\s*PM_CONFIG DEFAULT=(\d+)", conf)
    if number is None:
        return None
    names: Dict[str, str] = dict(re.findall(r"^<\s*POWER_MODEL ID=(\d+) NAME=([^\s>]+)", conf, re.MULTILINE))
    return names.get(str(int(number.group(1))), "mode {}".format(int(number.group(1))))
