"""What is expensive to make and never changed: made by one process of a test run, used by all of them."""

import fcntl
import os
from typing import Callable

FOLDER_VARIABLE = "POMT_TESTS_FOLDER"


def once(name: str, make: Callable[[str], object]) -> str:
    """The path of `name`, after `make(path)` has run in one process; others wait until it is whole.

    A `make` that fails leaves the path to the next caller, who sees the same failure.
    """
    path = os.path.join(os.environ[FOLDER_VARIABLE], name)
    with open(path + ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(path + ".whole"):
            make(path)
            open(path + ".whole", "w").close()
    return path
