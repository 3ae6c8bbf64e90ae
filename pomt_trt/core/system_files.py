"""Files in which Linux describes the machine: /proc, /sys and /etc, or a copy of them."""

import os
import re
from typing import Optional


def text_of(root: str, path: str) -> str:
    """The text of a file; empty if it cannot be read.

    Args:
        root: folder with the file.
        path: of the file, relative to `root`.
    """
    try:
        with open(os.path.join(root, path), errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def memory_bytes(root: str, key: str = "MemTotal") -> Optional[int]:
    """A line of /proc/meminfo; None if it cannot be read."""
    match = re.search(r"^{}:\s*(\d+) kB".format(key), text_of(root, "proc/meminfo"), re.MULTILINE)
    return int(match.group(1)) * 1024 if match else None
