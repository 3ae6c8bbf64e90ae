"""The child processes of timing: `python -m pomt_trt.device.timing MODULE [ARGUMENTS]`.

MODULE is imported by name, since it may belong to a room above this one, and has a function `prepare(arguments)` whose
result core/timing_protocol.serve takes: device.timing.turns.engine_child, device.timing.worker, baselines.board_eager
and baselines.timm_eager of pomt_trt.
"""

import importlib
import sys
from typing import Sequence

from pomt_trt.core.errors import UsageError
from pomt_trt.core.timing_protocol import serve


def main(argv: Sequence[str]) -> int:
    """Serves what a module prepares; returns the process's exit code."""
    if not argv:
        sys.stderr.write("{}\n".format(__doc__))
        return UsageError.exit_code
    module, arguments = argv[0], argv[1:]
    return serve(lambda: importlib.import_module(module).prepare(arguments))  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
