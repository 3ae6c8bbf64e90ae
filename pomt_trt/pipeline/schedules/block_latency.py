"""Chains in the work folder, built and timed -> what single blocks cost on this device.

Makes BlockLatencies (latency/<device>/blocks.json), with the workstation for the graphs and the profiler for the times:
the same clock, rule and reference as for candidates. Leaves out which chains tell most, and what follows from them
(core/schedules/block_costs).
"""

import contextlib
import os
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from pomt_trt.core.command import on_workstation
from pomt_trt.core.errors import BuildFailed
from pomt_trt.core.progress import Progress
from pomt_trt.core.records import (
    CHAIN,
    BlockLatencies,
    BlockLatency,
    Candidate,
    DeviceSpec,
    Family,
    LatencyProfile,
    Schedule,
)
from pomt_trt.core.schedules import block_costs
from pomt_trt.core.schedules.schedule import constant
from pomt_trt.core.storage import experiment as known
from pomt_trt.core.storage import store
from pomt_trt.device.timing import profiling
from pomt_trt.device.timing.profiling import Settings
from pomt_trt.pipeline.stages import Stage, Workstation


def measure(
    stage: Stage, device: DeviceSpec, settings: Settings, workstation: Workstation, lowest: int
) -> BlockLatencies:
    """Times chains down to `lowest` tokens until the edges of steps are known; what is timed already is left.

    Raises: BuildFailed where too few chains can be had to tell what a block costs.
    """
    table = _Table(stage, device, settings, workstation)
    with Progress("blocks", 1) as progress:
        counts: Sequence[int] = block_costs.first_counts(stage.experiment.model.tokens, lowest)
        while counts:
            table.time_plain(counts, progress)
            count = block_costs.next_count(table.plain())
            counts = [] if count is None or table.has_tried(count) else [count]
        table.time_walks(progress)
    return table.written()


class _Table:
    """The chains of one model, form and device."""

    def __init__(self, stage: Stage, device: DeviceSpec, settings: Settings, workstation: Workstation) -> None:
        self._stage, self._device, self._settings, self._workstation = stage, device, settings, workstation
        self._spec = stage.experiment.model
        self._family = _chains_there(stage)
        self._walks: List[Candidate] = []
        self._plunge: Optional[Candidate] = None
        self._plain: Dict[int, Candidate] = {}
        self._timed = 0

    def has_tried(self, count: int) -> bool:
        """Whether a chain of that count was built, or could not be."""
        return count in self._plain

    def time_plain(self, counts: Sequence[int], progress: Progress) -> None:
        """Chains of one count each."""
        chains = [self._chain(constant(n, self._spec.depth, self._spec.prefix_tokens)) for n in counts]
        self._plain.update(zip(counts, chains))
        self._time(chains, progress)

    def time_walks(self, progress: Progress) -> None:
        """Chains that go down the counts that were timed, block by block or at once."""
        counts = [one.tokens for one in self.plain()]
        if len(counts) < 2:
            raise BuildFailed(
                "blocks could be timed at {} count, but what a reduction costs shows between two at least. Give "
                "--tokens a wider range, or leave --schedule search out.".format(len(counts))
            )
        depth, prefix = self._spec.depth, self._spec.prefix_tokens
        self._walks = [self._chain(walk) for walk in block_costs.staircases(counts, depth, prefix)]
        self._plunge = self._chain(block_costs.single_cut(counts, depth, prefix))
        self._time(list(dict.fromkeys([*self._walks, self._plunge])), progress)

    def plain(self) -> Sequence[BlockLatency]:
        """What is known of blocks that remove nothing, by descending tokens."""
        timed = [(n, self._latency(chain)) for n, chain in sorted(self._plain.items(), reverse=True)]
        return [
            block_costs.plain_latency(n, self._spec.depth, found.latency_ms, found.latency_ci_ms)
            for n, found in timed
            if found is not None
        ]

    def written(self) -> BlockLatencies:
        """The table, in the work folder too; the chains' engines are no longer needed, and are deleted."""
        plain, walked = tuple(self.plain()), [one for one in map(self._timing, self._walks) if one is not None]
        if not walked:
            raise BuildFailed(
                "no engine that removes tokens block by block could be built: {}. Leave --schedule search out.".format(
                    "; ".join(self._reason(walk) for walk in self._walks)
                )
            )
        plunged = None if self._plunge is None else self._timing(self._plunge)
        share, reducing = block_costs.reductions(walked, plunged, plain)
        table = BlockLatencies(
            device_id=self._device.id,
            engine=self._device.engine,
            engine_version=self._device.engine_version,
            form=self._family.form,
            method=self._stage.experiment.request.method,
            batch_size=self._stage.experiment.request.batch_size,
            depth=self._spec.depth,
            plain=plain,
            attention_share=share,
            reducing=reducing,
        )
        chains = [*self._plain.values(), *self._walks, *([self._plunge] if self._plunge else [])]
        inputs = {chain.id: found.engine_sha256 for chain in chains for found in [self._latency(chain)] if found}
        path = self._stage.work.blocks(self._device.id)
        if store.read_matching(path, BlockLatencies, inputs) != table:
            store.write_record(path, table, inputs)
        for chain in chains:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self._stage.work.engines(self._device.id), chain.id + ".engine"))
        return table

    def _chain(self, schedule: Schedule) -> Candidate:
        return block_costs.probe(schedule, self._stage.candidates[0])

    def _time(self, chains: Sequence[Candidate], progress: Progress) -> None:
        self._export([chain for chain in chains if chain.id not in self._family.graph_sha256])
        progress.at(self._timed, "", total=self._timed + len(chains))
        self._timed += len(chains)
        profiling.profile(self._stage.work, self._family, chains, self._device, self._settings, progress)

    def _export(self, chains: Sequence[Candidate]) -> None:
        if not chains:
            return
        with on_workstation():
            from pomt_trt.host.graphs import block_probes as host_chains
        plan, _, images = self._workstation.load()
        work = self._stage.work
        self._family = host_chains.extend(plan, self._family, chains, images, Path(work.root))
        made = [one for one in self._family.candidates if one.kind == CHAIN]
        hashes = {one.id: self._family.graph_sha256[one.id] for one in made}
        record = self._family._replace(candidates=tuple(made), graph_sha256=hashes)
        store.write_record(work.chains(record.form), record, known.family_inputs(work))

    def _timing(self, chain: Candidate) -> Optional[block_costs.TimedProbe]:
        found = self._latency(chain)
        return None if found is None else block_costs.TimedProbe(chain.schedule, found.latency_ms)

    def _latency(self, chain: Candidate) -> Optional[LatencyProfile]:
        return profiling.latency_of(self._stage.work, self._family, chain.id, self._device, self._settings)

    def _reason(self, chain: Candidate) -> str:
        failure = profiling.failure_of(self._stage.work, self._family, chain.id, self._device, self._settings)
        return failure.reason if failure is not None else "unknown"


def _chains_there(stage: Stage) -> Family:
    """The stage's family with the chains whose graphs are there and whole."""
    work, family = stage.work, stage.family
    there = store.read_matching(work.chains(family.form), Family, known.family_inputs(work))
    if there is None or (there.weights_sha256, there.model_sha256) != (family.weights_sha256, family.model_sha256):
        return family
    written = there.graph_sha256.items()
    hashes = {name: digest for name, digest in written if known.is_file(work.graph(family.form, name), digest)}
    kept = [one for one in there.candidates if one.id in hashes]
    return family._replace(candidates=family.candidates + tuple(kept), graph_sha256=dict(family.graph_sha256, **hashes))
