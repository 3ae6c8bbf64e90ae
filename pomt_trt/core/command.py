"""How a command ends: its exit code, and one line for what a user can mend.

Any machine. Leaves out what the command does.
"""

import os
import sys
from typing import Callable

from pomt_trt.core.errors import PomtError


def exit_code_of(run: Callable[[], None], complain: Callable[[str], None], interrupted: str) -> int:
    """Runs a command and turns whatever ends it into its exit code.

    Args:
        complain: writes one line to stderr.
        interrupted: that line after Ctrl-C.
    """
    try:
        run()
        return 0
    except PomtError as error:
        complain(str(error))
        return error.exit_code
    except BrokenPipeError:  # the reader (head, less) has seen enough, which is no failure
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at exit fails again
        return 0
    except KeyboardInterrupt:
        complain(interrupted)
        return 130
