"""Engines and latencies of a session's candidates, and which of those in the work folder have to be made anew."""

import contextlib
import glob
import os
import shutil
from typing import Any, Dict, Sequence

from pomt_trt.core.errors import PomtError
from pomt_trt.core.progress import Progress, Silent
from pomt_trt.core.records import Candidate, Engine, LatencyProfile
from pomt_trt.core.storage import store
from pomt_trt.device.board.sensors import Clock, floating
from pomt_trt.device.timing import profiling
from pomt_trt.device.timing.engine_records import Action
from pomt_trt.device.timing.worker_protocol import GROUPS
from pomt_trt.pipeline.session import Session

UNSETTLED = ("floating", "throttled")  # verdicts of profiles that locked clocks would change


def build_lost(session: Session, candidates: Sequence[Candidate]) -> bool:
    """Builds engines whose files were removed, and times those again that are not the same to the byte.

    Returns: whether there were any.
    """
    lost = [one for one in candidates if not session.engines.is_done(one.id, Action.BUILD)]
    if lost:
        with Progress("build", len(lost)) as progress:
            profiling.profile(session.engines, lost, progress, Action.BUILD)
        profiling.profile(session.engines, lost, Silent())
    return bool(lost)


def forget_damaged(session: Session) -> None:
    """Deletes engines that are not the files that their records describe, so that they are built and timed anew."""
    for candidate in session.candidates:
        path = os.path.join(session.engines.engines_folder, candidate.id + ".engine")
        record = session.work.engine_record(session.device.id, candidate.id)
        if os.path.isfile(path) and os.path.isfile(record) and not _describes(record, path):
            os.unlink(record)
            os.unlink(path)
            session.engines.renew([candidate.id])


def forget_unsettled(session: Session, clocks: Dict[str, Clock]) -> None:
    """Deletes profiles that were taken under floating clocks or in throttling, where the clocks are locked now.

    Where that of R = 0 goes, all go, those of searched candidates and of block probes too: they are relative to it.

    Args:
        clocks: the board's, as they are now.
    """
    if floating(clocks) is not False:
        return
    paths = glob.glob(os.path.join(glob.escape(session.engines.latency_folder), "*.json"))
    verdicts = {path: getattr(_readable(path, LatencyProfile), "verdict", None) for path in paths}
    unsettled = [path for path, verdict in verdicts.items() if verdict in UNSETTLED]
    reference = session.work.latency(session.device.id, session.unreduced.id)
    for path in paths if reference in unsettled else unsettled:
        for each in (path, path[: -len(".json")] + ".builds.json"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(each)
    if unsettled:
        shutil.rmtree(os.path.join(session.engines.latency_folder, GROUPS), ignore_errors=True)
        session.engines.renew()


def _describes(record: str, path: str) -> bool:
    engine = _readable(record, Engine)
    return engine is not None and engine.sha256 == store.sha256_of(path)


def _readable(path: str, kind: Any) -> Any:
    """The record in a file; None where it is another kind of record, or damaged."""
    try:
        return store.read_record(path, kind).record
    except PomtError:
        return None
