"""What a work folder holds of one device's engines: records of engines, latencies, builds and failures.

A record is read once. It answers None where it is stale: made from another graph, device or setting than today's.
"""

import copy
import enum
import math
import os
from typing import Any, Callable, Dict, Iterable, Optional, Tuple, TypeVar

from pomt_trt.core.records import DeviceSpec, Engine, Failure, Family, LatencyProfile
from pomt_trt.core.storage import store
from pomt_trt.core.storage.workfolder import WEIGHTS, WorkFolder
from pomt_trt.device.engines.tensorrt.plugin_files import needed
from pomt_trt.device.timing.worker_protocol import GROUPS, Settings, engine_inputs, latency_inputs, other_builds_ms

T = TypeVar("T")


class Action(enum.Enum):
    """What is to be done with a candidate."""

    BUILD = "build"  # an engine, unless it is there
    TIME = "time"  # an engine and a latency profile, unless they are there
    RETIME = "retime"  # a new latency profile in place of the one that is there
    REBUILD = "rebuild"  # a second engine, built without a timing cache; the faster of the two is kept


class EngineRecords:
    """One device's records of one graph set's engines, under given settings.

    A process that writes records calls `renew` afterwards. Copies made by `within` and `of` share what was read.
    """

    def __init__(self, work: WorkFolder, graph_set: Family, device: DeviceSpec, settings: Settings) -> None:
        """Raises MissingDependency where engines of these graphs need plugins that are not here."""
        self.work, self.graph_set, self.device, self.settings = work, graph_set, device, settings
        self.plugin = needed(graph_set.form, device, settings.plugin_library)
        self._read: Dict[Tuple[str, str], Any] = {}

    def within(self, max_s: float) -> "EngineRecords":
        """The same with another limit of the timing of one candidate, which makes no record stale."""
        other = copy.copy(self)
        other.settings = self.settings._replace(max_s=max_s)
        return other

    def of(self, graph_set: Family) -> "EngineRecords":
        """The same for this graph set with more candidates."""
        other = copy.copy(self)
        other.graph_set = graph_set
        return other

    @property
    def engines_folder(self) -> str:
        """Where the engine files lie."""
        return self.work.engines(self.device.id)

    @property
    def latency_folder(self) -> str:
        """Where the latency profiles lie."""
        return self.work.latencies(self.device.id)

    def renew(self, candidate_ids: Optional[Iterable[str]] = None) -> None:
        """Reads the records of these candidates anew when they are next asked for; None: of all.

        A group, once recorded, does not change.
        """
        renewed = None if candidate_ids is None else set(candidate_ids)
        for key in [key for key in self._read if key[0] != GROUPS and (renewed is None or key[1] in renewed)]:
            del self._read[key]

    def engine(self, candidate_id: str) -> Optional[Engine]:
        """The record of a candidate's engine. The engine's file may be gone: see is_done with BUILD."""
        return self.once("engine", candidate_id, lambda: self._read_engine(candidate_id))

    def failure(self, candidate_id: str) -> Optional[Failure]:
        """Why a candidate has no engine, where a build was tried."""
        return self.once("failure", candidate_id, lambda: self._read_failure(candidate_id))

    def latency(self, candidate_id: str) -> Optional[LatencyProfile]:
        """The latency profile of a candidate's engine."""
        return self.once("latency", candidate_id, lambda: self._read_latency(candidate_id))

    def builds_ms(self, candidate_id: str) -> Tuple[float, ...]:
        """Latency in ms of each engine that was built for a candidate, the one that is kept first.

        () where no latency is known; math.inf for a rebuild that failed.
        """
        return self.once("builds", candidate_id, lambda: self._read_builds_ms(candidate_id))

    def is_done(self, candidate_id: str, action: Action) -> bool:
        """Whether nothing is left to do. RETIME and REBUILD are never done; a candidate that fails is done."""
        if action in (Action.RETIME, Action.REBUILD):
            return False
        if self.failure(candidate_id) is not None:
            return True
        if action is Action.TIME:
            return self.latency(candidate_id) is not None
        engine = self.engine(candidate_id)
        return engine is not None and self._has_files(engine)

    def _has_files(self, engine: Engine) -> bool:
        """Whether an engine's files are there and not cut short. Their content is checked when the engine is opened."""
        path = os.path.join(self.engines_folder, engine.file)
        whole = os.path.isfile(path) and os.path.getsize(path) == engine.bytes
        return whole and (engine.weights_sha256 is None or os.path.isfile(os.path.join(self.engines_folder, WEIGHTS)))

    def _read_engine(self, candidate_id: str) -> Optional[Engine]:
        path = self.work.engine_record(self.device.id, candidate_id)
        return store.read_matching(path, Engine, self._engine_inputs(candidate_id))

    def _read_failure(self, candidate_id: str) -> Optional[Failure]:
        path = self.work.failure(self.device.id, candidate_id)
        return store.read_matching(path, Failure, self._engine_inputs(candidate_id))

    def _read_latency(self, candidate_id: str) -> Optional[LatencyProfile]:
        engine = self.engine(candidate_id)
        if engine is None:
            return None
        inputs = latency_inputs(engine.sha256, self.settings)
        return store.read_matching(self.work.latency(self.device.id, candidate_id), LatencyProfile, inputs)

    def _read_builds_ms(self, candidate_id: str) -> Tuple[float, ...]:
        latency = self.latency(candidate_id)
        if latency is None:
            return ()
        path = self.work.builds(self.device.id, candidate_id)
        others_ms = other_builds_ms(path, self._engine_inputs(candidate_id))
        return (latency.latency_ms,) + tuple(math.inf if math.isnan(ms) else ms for ms in others_ms)

    def _engine_inputs(self, candidate_id: str) -> Dict[str, str]:
        hashes = (self.graph_set.graph_sha256[candidate_id], self.graph_set.weights_sha256)
        return engine_inputs(hashes, self.device, self.settings, self.graph_set.precision, self.plugin)

    def once(self, kind: str, name: str, read: Callable[[], T]) -> T:
        """What `read` returned when it was first called for this, until `renew`."""
        key = (kind, name)
        if key not in self._read:
            self._read[key] = read()
        value: T = self._read[key]
        return value
