"""What is expensive to make and never changed: made by one process of a test run, used by all of them."""

import atexit
import fcntl
import os
import shutil
import tempfile
from typing import Callable

FOLDER_VARIABLE = "POMT_TESTS_FOLDER"


def folder() -> str:
    """The folder of this test run. The first process that asks makes it, and removes it when it ends."""
    if FOLDER_VARIABLE not in os.environ:
        os.environ[FOLDER_VARIABLE] = tempfile.mkdtemp(prefix="pomt-trt-tests-")
        atexit.register(shutil.rmtree, os.environ[FOLDER_VARIABLE], ignore_errors=True)
    return os.environ[FOLDER_VARIABLE]


def once(name: str, make: Callable[[str], object]) -> str:
    """The path of `name`, after `make(path)` has run in one process; others wait until it is whole.

    Where `make` fails, the next caller tries again and sees the same failure.
    """
    path = os.path.join(folder(), name)
    with open(path + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(path + ".whole"):
            shutil.rmtree(path, ignore_errors=True)  # what a failed attempt has left
            make(path)
            open(path + ".whole", "w").close()
    return path
