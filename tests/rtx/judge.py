"""What a TensorRT makes of a graph: at which stage it stops, how it says so, and of which kind the error is.

Runs on a real package and on the stand-in alike: `outcome` in this process, or the whole corpus by TensorRT-RTX in a
process of its own, since a real TensorRT may end it: `python -m tests.rtx.judge FOLDER` prints all outcomes as JSON.
"""

import json
import os
import sys
from typing import Any, NamedTuple


class Outcome(NamedTuple):
    """How far a graph got."""

    stage: str  # parse, build, or built: all of it
    way: str  # what the call gave: False, None, an exception's name; empty where it was built
    kind: str  # the parser's ErrorCode, or "log" where only the log says why; empty where it was built
    said: str  # the first error, for people

    @property
    def decision(self) -> tuple[str, str, str]:
        """What a stand-in has to share."""
        return self.stage, self.way, self.kind


def outcome(trt: Any, path: str) -> Outcome:
    """Parses and builds a graph as our own code does: explicit batch, strongly typed where the release can."""
    said: list[str] = []
    log = _log(trt, said)
    builder = trt.Builder(log)
    kinds, flags = trt.NetworkDefinitionCreationFlag, 0
    for name in ("EXPLICIT_BATCH", "STRONGLY_TYPED"):
        flags |= 1 << int(getattr(kinds, name)) if hasattr(kinds, name) else 0
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, log)
    try:
        parsed = parser.parse_from_file(path)
    except Exception as error:
        return Outcome("parse", type(error).__name__, "exception", str(error))
    if not parsed:
        errors = [parser.get_error(number) for number in range(parser.num_errors)]
        kind = errors[0].code().name if errors else "log"
        return Outcome("parse", repr(parsed), kind, errors[0].desc() if errors else "; ".join(said[:1]))
    try:
        plan = builder.build_serialized_network(network, builder.create_builder_config())
    except Exception as error:
        return Outcome("build", type(error).__name__, "exception", str(error))
    if plan is None:
        return Outcome("build", repr(plan), "log", "; ".join(said[:1]))
    return Outcome("built", "", "", "")


def _log(trt: Any, said: list[str]) -> Any:
    class Log(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                said.append(" ".join(msg.split()))

    return Log()


def main(folder: str) -> None:
    """Asks TensorRT-RTX about the corpus."""
    import tensorrt_rtx

    from tests.rtx import corpus

    found = {}
    for number, (name, make) in enumerate(corpus.GRAPHS.items()):
        place = os.path.join(folder, str(number))
        os.makedirs(place)
        found[name] = outcome(tensorrt_rtx, make(place))
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
