"""Files in which Linux describes the machine: /proc, /sys and /etc, or a copy of them."""

import os


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
