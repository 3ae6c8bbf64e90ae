"""What single blocks cost on a device: probes, which are models made for timing blocks, built and timed.

A probe is timed as candidates are: same clock, stopping rule and reference. core/schedules/block_costs says which
probes to time and what follows from their latencies.
"""

import contextlib
import os
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from pomt_trt.core.command import on_workstation
from pomt_trt.core.errors import BuildFailed
from pomt_trt.core.progress import Progress
from pomt_trt.core.records import CHAIN, BlockLatencies, BlockLatency, Candidate, Family, Schedule
from pomt_trt.core.schedules import block_costs
from pomt_trt.core.schedules.schedule import constant
from pomt_trt.core.storage import experiment as experiments
from pomt_trt.core.storage import store
from pomt_trt.device.timing import profiling
from pomt_trt.pipeline.export import Workstation
from pomt_trt.pipeline.session import Session


def measure(session: Session, workstation: Workstation, lowest: int) -> BlockLatencies:
    """Times probes down to `lowest` tokens until the edges of steps are known; what is timed already is left.

    Raises: BuildFailed where too few probes can be built to tell what a block costs.
    """
    probes = _Probes(session, workstation)
    with Progress("blocks", 1) as progress:
        counts: Sequence[int] = block_costs.first_counts(session.experiment.model.tokens, lowest)
        while counts:
            probes.time_uniform(counts, progress)
            count = block_costs.next_count(probes.uniform_latencies())
            counts = [] if count is None or probes.has_tried(count) else [count]
        probes.time_reducing(progress)
    return probes.written()


class _Probes:
    """The probes of one session's model, form and device."""

    def __init__(self, session: Session, workstation: Workstation) -> None:
        self._session, self._workstation = session, workstation
        self._spec = session.experiment.model
        self._engines = session.engines.of(_with_probes(session))
        self._uniform: Dict[int, Candidate] = {}  # by its count in every block
        self._staircases: List[Candidate] = []  # remove tokens block by block
        self._single_cut: Optional[Candidate] = None  # removes them at once
        self._timed = 0

    def has_tried(self, count: int) -> bool:
        """Whether a uniform probe of that count was built, or failed."""
        return count in self._uniform

    def time_uniform(self, counts: Sequence[int], progress: Progress) -> None:
        """Times probes that have one count in every block."""
        depth, prefix_tokens = self._spec.depth, self._spec.prefix_tokens
        probes = [self._probe(constant(count, depth, prefix_tokens)) for count in counts]
        self._uniform.update(zip(counts, probes))
        self._time(probes, progress)

    def time_reducing(self, progress: Progress) -> None:
        """Times probes that go down the counts that were timed, block by block or at once."""
        counts = [latency.tokens for latency in self.uniform_latencies()]
        if len(counts) < 2:
            raise BuildFailed(
                "blocks could be timed at {} count, but what a reduction costs shows between two at least. Give "
                "--tokens a wider range, or leave --schedule search out.".format(len(counts))
            )
        depth, prefix_tokens = self._spec.depth, self._spec.prefix_tokens
        self._staircases = [self._probe(one) for one in block_costs.staircases(counts, depth, prefix_tokens)]
        self._single_cut = self._probe(block_costs.single_cut(counts, depth, prefix_tokens))
        self._time(list(dict.fromkeys([*self._staircases, self._single_cut])), progress)

    def uniform_latencies(self) -> Sequence[BlockLatency]:
        """What is known of blocks that remove nothing, by descending tokens."""
        profiles = [(count, self._engines.latency(probe.id)) for count, probe in sorted(self._uniform.items())]
        return [
            block_costs.plain_latency(count, self._spec.depth, profile.latency_ms, profile.latency_ci_ms)
            for count, profile in reversed(profiles)
            if profile is not None
        ]

    def written(self) -> BlockLatencies:
        """The table, written to the work folder; the engines of the probes are deleted."""
        plain, walked = tuple(self.uniform_latencies()), [one for one in map(self._timing, self._staircases) if one]
        if not walked:
            raise BuildFailed(
                "no engine that removes tokens block by block could be built: {}. Leave --schedule search out.".format(
                    "; ".join(map(self._reason, self._staircases))
                )
            )
        share, reducing = block_costs.reductions(walked, self._single_cut and self._timing(self._single_cut), plain)
        device, request = self._session.device, self._session.experiment.request
        table = BlockLatencies(
            device_id=device.id,
            engine=device.engine,
            engine_version=device.engine_version,
            form=self._engines.graph_set.form,
            method=request.method,
            batch_size=request.batch_size,
            depth=self._spec.depth,
            plain=plain,
            attention_share=share,
            reducing=reducing,
        )
        self._write(table)
        return table

    def _write(self, table: BlockLatencies) -> None:
        probes = [*self._uniform.values(), *self._staircases, *([self._single_cut] if self._single_cut else [])]
        profiles = {probe.id: self._engines.latency(probe.id) for probe in probes}
        inputs = {name: profile.engine_sha256 for name, profile in profiles.items() if profile is not None}
        path = self._session.work.blocks(table.device_id)
        if store.read_matching(path, BlockLatencies, inputs) != table:
            store.write_record(path, table, inputs)
        for name in profiles:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self._engines.engines_folder, name + ".engine"))

    def _probe(self, schedule: Schedule) -> Candidate:
        return block_costs.probe(schedule, self._session.unreduced)

    def _time(self, probes: Sequence[Candidate], progress: Progress) -> None:
        self._export([probe for probe in probes if probe.id not in self._engines.graph_set.graph_sha256])
        progress.at(self._timed, "", total=self._timed + len(probes))
        self._timed += len(probes)
        profiling.profile(self._engines, probes, progress)

    def _export(self, probes: Sequence[Candidate]) -> None:
        if not probes:
            return
        with on_workstation():
            from pomt_trt.host.graphs import block_probes

        plan, _, images = self._workstation.load()
        work = self._session.work
        graph_set = block_probes.extend(plan, self._engines.graph_set, probes, images, Path(work.root))
        self._engines = self._engines.of(graph_set)
        exported = [one for one in graph_set.candidates if one.kind == CHAIN]
        hashes = {one.id: graph_set.graph_sha256[one.id] for one in exported}
        record = graph_set._replace(candidates=tuple(exported), graph_sha256=hashes)
        store.write_record(work.chains(record.form), record, experiments.family_inputs(work))

    def _timing(self, probe: Candidate) -> Optional[block_costs.TimedProbe]:
        profile = self._engines.latency(probe.id)
        return None if profile is None else block_costs.TimedProbe(probe.schedule, profile.latency_ms)

    def _reason(self, probe: Candidate) -> str:
        failure = self._engines.failure(probe.id)
        return failure.reason if failure is not None else "unknown"


def _with_probes(session: Session) -> Family:
    """The session's graph set with the probes whose graphs are there and whole."""
    work, graph_set = session.work, session.graph_set
    probes = store.read_matching(work.chains(graph_set.form), Family, experiments.family_inputs(work))
    model = (graph_set.weights_sha256, graph_set.model_sha256)
    if probes is None or (probes.weights_sha256, probes.model_sha256) != model:
        return graph_set
    written = probes.graph_sha256.items()
    hashes = {name: sha for name, sha in written if experiments.is_file(work.graph(graph_set.form, name), sha)}
    kept = tuple(one for one in probes.candidates if one.id in hashes)
    return graph_set._replace(
        candidates=graph_set.candidates + kept, graph_sha256=dict(graph_set.graph_sha256, **hashes)
    )
