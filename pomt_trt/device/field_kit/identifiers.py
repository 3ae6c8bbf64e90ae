"""Collects names, addresses, serial numbers and paths of this machine and its users, so that they can be removed.

core/field_kit/personal removes them from texts. Needs no root rights: what cannot be read here is in no text either.
"""

import glob
import os
import platform
import re
from typing import Dict, List, Sequence, Tuple

from pomt_trt.core.field_kit.personal import Identifiers
from pomt_trt.core.system_files import text_of

FIRST_PERSON = 1000  # user ids below belong to the system
# Sources: /sys of a Jetson and of a PC; NVIDIA's device trees; Documentation/ABI of Linux for dmi, mmc and net.
SERIAL_FILES = (
    "proc/device-tree/serial-number",
    "proc/device-tree/chosen/*serial*",
    "proc/device-tree/chosen/*mac*",
    "proc/device-tree/chosen/*ecid*",
    "proc/device-tree/chosen/plugin-manager/**/*serial*",
    "sys/firmware/devicetree/base/serial-number",
    "sys/class/dmi/id/*serial*",
    "sys/class/dmi/id/*uuid*",
    "sys/class/dmi/id/*asset_tag*",
    "sys/class/net/*/address",
    "sys/block/*/device/serial",
    "sys/block/*/device/cid",
    "sys/class/mmc_host/*/*/serial",
    "sys/class/mmc_host/*/*/cid",
    "sys/module/tegra_fuse/parameters/*uid*",
    "sys/devices/platform/tegra-fuse/*id*",
    "sys/devices/soc0/serial_number",
    "etc/machine-id",
    "var/lib/dbus/machine-id",
    "proc/sys/kernel/random/boot_id",
)
MEANINGLESS = frozenset({"none", "default string", "to be filled by o.e.m.", "not specified", "00:00:00:00:00:00"})
NAME_VARIABLES = ("USER", "LOGNAME", "SUDO_USER", "USERNAME", "HOSTNAME", "HOST")
ADDRESS_VARIABLES = ("SSH_CLIENT", "SSH_CONNECTION")
LOCAL = re.compile(r"(ip6-)?(localhost|loopback|localnet|mcastprefix|allnodes|allrouters|allhosts)(\.localdomain)?$")


def of_this_machine(
    root: str, environment: Dict[str, str], paths: Sequence[Tuple[str, str]], versions: Sequence[str]
) -> Identifiers:
    """Collects everything.

    Args:
        root: folder with /proc, /sys and /etc.
        environment: environment variables of the process.
        paths: (folder that texts may name, its replacement).
        versions: of libraries, which look like IP addresses and must stay.
    """
    people, homes = _accounts(root)
    homes += [home for home in [environment.get("HOME", "/")] if home.count("/") > 1]
    names = people + _hosts(root) + [environment.get(name, "") for name in NAME_VARIABLES]
    words = [word for name in ADDRESS_VARIABLES for word in environment.get(name, "").split()]
    addresses = [word for word in words if "." in word or ":" in word]
    homes.append(os.getcwd())
    serials = _unique(_serials(root) + addresses)
    return Identifiers(_unique(names), serials, tuple(paths), _unique(homes), tuple(versions))


def _accounts(root: str) -> Tuple[List[str], List[str]]:
    """(login names and full names, home folders) of the users."""
    names: List[str] = []
    homes: List[str] = []
    for line in text_of(root, "etc/passwd").splitlines():
        fields = line.split(":")
        if len(fields) < 7 or not fields[2].isdigit() or not FIRST_PERSON <= int(fields[2]) < 65000:
            continue
        full = fields[4].split(",")  # name, office and telephones
        names += [fields[0]] + full + full[0].split()
        homes.append(fields[5])
    return names, [home for home in homes if home.count("/") > 1]


def _hosts(root: str) -> List[str]:
    """Names of this machine and of other machines in its files, with and without their domains."""
    names = [text_of(root, "etc/hostname"), text_of(root, "proc/sys/kernel/hostname"), platform.node()]
    names += [text_of(root, "proc/sys/kernel/domainname").replace("(none)", "")]
    for line in text_of(root, "etc/hosts").splitlines():
        names += line.split("#")[0].split()[1:]
    names = [name.strip() for name in names if name.strip() and not LOCAL.match(name.strip())]
    return names + [name.split(".")[0] for name in names]


def _serials(root: str) -> List[str]:
    serials: List[str] = re.findall(r"^Serial\s*:\s*(\S+)", text_of(root, "proc/cpuinfo"), re.MULTILINE)
    for pattern in SERIAL_FILES:
        for path in glob.glob(os.path.join(glob.escape(root), pattern), recursive=True):
            if os.path.isfile(path):
                serials += text_of(root, path).replace("\0", "\n").split("\n")
    serials = [serial.strip() for serial in serials if serial.strip().lower() not in MEANINGLESS]
    return serials + [re.sub("[:-]", "", serial) for serial in serials]


def _unique(words: Sequence[str]) -> Tuple[str, ...]:
    return tuple(sorted({word.strip() for word in words if word.strip()}))
