"""What is remembered of the engines that were built for a candidate beside the one that is kept.

Makes Builds, on the machine that runs engines, for libraries whose builds vary. Leaves out which one is kept
(device/timing/worker), and what follows from their spread (core/search/search_state).
"""

import os
from typing import Dict, Tuple

from pomt_trt.core.records import Builds
from pomt_trt.core.storage import store
from pomt_trt.device.timing.worker_protocol import Job, Request, inputs_of


def remember(job: Job, request: Request, latency_ms: float) -> None:
    """Adds one that was built and is not kept; NaN for one that failed."""
    path = os.path.join(str(request.latency), job.candidate_id + ".builds.json")
    inputs = inputs_of(job, request)
    before = others(path, inputs)
    store.write_record(path, Builds(job.candidate_id, request.device.id, before + (latency_ms,)), inputs)


def others(path: str, inputs: Dict[str, str]) -> Tuple[float, ...]:
    """Latency in ms of those remembered in a file; NaN for one that failed."""
    there = store.read_matching(path, Builds, inputs)
    return there.others_ms if there is not None else ()
