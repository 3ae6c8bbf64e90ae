"""Engines and profiles in a work folder: what is there stays, what fails is known, what was killed goes on."""

import io
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from pomt_trt.core.errors import BuildFailed, PomtError
from pomt_trt.core.progress import Progress
from pomt_trt.core.records import TimedGroup
from pomt_trt.core.storage import store
from pomt_trt.core.storage.workfolder import locked
from pomt_trt.device.board import board
from pomt_trt.device.timing import profiling
from pomt_trt.device.timing.engine_records import Action, EngineRecords
from pomt_trt.device.timing.worker_protocol import GROUPS, Settings
from tests import fakes, paths
from tests.device.conftest import FORM

pytest.importorskip("onnxruntime", reason="builds and times ONNX Runtime engines")
ROOT = paths.ROOT
SETTINGS = Settings(threads=1, max_s=0.05)


class Told(Progress):
    """Progress that remembers, and does something when it is told a certain thing."""

    def __init__(self, when="", do=lambda: None):
        super().__init__("profile", 100, io.StringIO())
        self.notes, self.messages, self.steps, self._when, self._do = [], [], 0, when, do

    def step(self, note="", count=1):
        self.steps += count
        super().step(note, count)

    def show(self, note=""):
        self.notes.append(note)
        if note == self._when:
            self._do()

    def message(self, text):
        self.messages.append(text)


@pytest.fixture(scope="module")
def device():
    return board.device_spec("onnxruntime")


@pytest.fixture
def records(device):
    """Reads the records of Graphs, as they are now."""
    return lambda made, settings=SETTINGS: EngineRecords(made.work, made.family, device, settings)


@pytest.fixture
def run(records):
    """Profiles all candidates of Graphs; returns what was told."""

    def profile(made, settings=SETTINGS, action=Action.TIME, progress=None):
        progress = progress or Told()
        profiling.profile(records(made, settings), made.family.candidates, progress, action)
        return progress

    return profile


def _stat(pid):
    """State and parent of a process; empty where it has ended."""
    try:
        with open("/proc/{}/stat".format(pid)) as file:
            return file.read().rpartition(")")[2].split()[:2]
    except OSError:
        return []


@pytest.fixture
def kill_child(children):
    def kill():
        (child,) = children()
        os.kill(child, signal.SIGKILL)

    return kill


def stamps(folder):
    return {name: os.stat(os.path.join(folder, name)).st_mtime_ns for name in os.listdir(folder)}


def test_every_candidate_gets_an_engine_and_a_profile(graphs, run, device, records):
    made = graphs({0: "r000", 4: "r004", 8: "r004"})
    told = run(made)
    assert told.steps == 3 and told.messages == []
    for name in ("r000", "r004", "r008"):
        engine = records(made).engine(name)
        latency = records(made).latency(name)
        assert latency.engine_sha256 == engine.sha256 and latency.device_id == device.id
        assert records(made).failure(name) is None


def test_each_group_is_recorded_with_r0_in_it_and_what_was_known(graphs, run, device, monkeypatch):
    monkeypatch.setattr(profiling, "MOST", 2)
    made = graphs({0: "r000", 2: "r004", 4: "r004", 6: "r004", 8: "r004"})
    assert run(made).steps == 5
    folder = os.path.join(made.work.latencies(device.id), GROUPS)
    groups = [store.read_record(os.path.join(folder, name), TimedGroup).record for name in sorted(os.listdir(folder))]
    ids = [[member.candidate_id for member in group.members] for group in groups]
    assert {group[0] for group in ids} == {"r000"} and [group.references for group in groups] == [0, 1, 2]
    assert ids == [["r000", "r002"], ["r000", "r004", "r006"], ["r000", "r004", "r008"]]
    assert all(len(group.disturbed) == len(group.members[0].rounds_ms) for group in groups)


@pytest.fixture
def asked(monkeypatch):
    """What workers are asked for, as they are: for each group, the candidates and the known ones beside them."""
    groups = []

    class Overheard(profiling.Worker):
        def do(self, request, progress):
            groups.append(([job.candidate_id for job in request.jobs], [job.candidate_id for job in request.known]))
            return super().do(request, progress)

    monkeypatch.setattr(profiling, "Worker", Overheard)
    return groups


def test_a_group_is_timed_beside_what_is_known(graphs, run, asked, monkeypatch):
    monkeypatch.setattr(profiling, "MOST", 3)
    made = graphs({0: "r000", 2: "r004", 4: "r004", 6: "r004", 8: "r004"})
    run(made)
    assert asked == [(["r000", "r002", "r004"], []), (["r006", "r008"], ["r004"])]


def test_one_candidate_is_timed_beside_three_that_are_known(graphs, run, device, asked):
    made = graphs({0: "r000", 2: "r004", 4: "r004", 6: "r004", 8: "r004"})
    run(made)
    os.unlink(made.work.latency(device.id, "r004"))
    run(made)
    assert asked[1:] == [(["r004"], ["r002", "r006", "r008"])]


@pytest.mark.parametrize("lost", ["engine", "profile"])
def test_what_has_lost_its_engine_or_profile_is_not_timed_again_for_others(graphs, run, device, asked, lost, records):
    made = graphs({0: "r000", 2: "r004", 4: "r004", 6: "r004", 8: "r004"})
    run(made)
    os.unlink(made.work.latency(device.id, "r004"))
    engine = os.path.join(made.work.engines(device.id), "r006.engine")
    os.unlink(engine if lost == "engine" else made.work.latency(device.id, "r006"))
    profiling.profile(records(made), made.family.candidates[2:3], Told())
    assert asked[1:] == [(["r004"], ["r002", "r008"])]
    assert records(made).latency("r004") is not None


def test_a_known_engine_that_is_damaged_is_left_out_and_stays_as_it_is(graphs, run, device, records):
    made = graphs({0: "r000", 2: "r004", 4: "r004"})
    run(made)
    os.unlink(made.work.latency(device.id, "r004"))
    engine = os.path.join(made.work.engines(device.id), "r002.engine")
    with open(engine, "wb") as file:
        file.write(b"{")
    run(made)
    assert records(made).latency("r004") is not None
    assert os.path.getsize(engine) == 1


def test_what_is_only_built_asks_for_nothing_that_is_known(graphs, run, asked):
    made = graphs({0: "r000", 2: "r004", 4: "r004"})
    run(made)
    made.exported_again(4, "r000")
    run(made, action=Action.BUILD)
    assert asked[1:] == [(["r004"], [])]


def test_what_is_known_is_chosen_from_all_over_the_range():
    assert profiling._spread(list(range(10)), 3) == [1, 5, 8]
    assert profiling._spread([1, 2], 3) == [1, 2] and profiling._spread([1, 2], 0) == []


def test_what_is_finished_is_skipped(graphs, run, device, monkeypatch):
    made = graphs({0: "r000", 4: "r004"})
    run(made)
    before = stamps(made.work.engines(device.id)), stamps(made.work.latencies(device.id))
    monkeypatch.setattr(profiling, "Worker", None)  # no process is started
    assert run(made).steps == 2
    assert before == (stamps(made.work.engines(device.id)), stamps(made.work.latencies(device.id)))


def test_an_engine_removed_after_its_profile_is_not_missed(graphs, run, device, records):
    made = graphs({0: "r000", 4: "r004"})
    run(made)
    os.unlink(os.path.join(made.work.engines(device.id), "r004.engine"))
    assert records(made).is_done("r004", Action.TIME)
    assert not records(made).is_done("r004", Action.BUILD)
    run(made, action=Action.BUILD)
    assert records(made).is_done("r004", Action.BUILD)


def test_a_build_has_back_what_was_cut_short_or_lost(graphs, run, device, records):
    made = graphs({0: "r000", 4: "r004"})
    run(made, action=Action.BUILD)
    open(os.path.join(made.work.engines(device.id), "r004.engine"), "w").close()
    assert not records(made).is_done("r004", Action.BUILD)
    os.unlink(os.path.join(made.work.engines(device.id), "weights.bin"))
    assert not records(made).is_done("r000", Action.BUILD)
    run(made, action=Action.BUILD)
    for name in ("r000", "r004"):
        assert records(made).is_done(name, Action.BUILD)


def test_a_build_counts_what_it_has_built(graphs, run):
    assert run(graphs({0: "r000", 4: None, 8: "r004"}), action=Action.BUILD).steps == 3


def test_records_made_from_other_inputs_are_made_anew(graphs, run, records):
    made = graphs({0: "r000", 4: "r004"})
    run(made)
    before = records(made).engine("r004")
    made.exported_again(4, "r000")
    assert records(made).engine("r004") is None
    assert records(made).latency("r004") is None
    run(made)
    assert records(made).engine("r004").sha256 != before.sha256


def test_another_setting_is_another_latency(graphs, run, records):
    made = graphs({0: "r000"})
    run(made)
    for other in (
        SETTINGS._replace(threads=2),
        SETTINGS._replace(pace_fps=200.0),
        SETTINGS._replace(waiting="passive"),
    ):
        assert not records(made, other).is_done("r000", Action.TIME)
    run(made, other)
    assert records(made, other).latency("r000").waiting == "passive"


def test_paced_and_back_to_back_profiles_are_never_taken_for_one_another(graphs, run, records):
    made, paced = graphs({0: "r000"}), SETTINGS._replace(pace_fps=200)
    run(made, paced)
    assert records(made, paced).latency("r000").pace_fps == 200.0
    for other in (SETTINGS, SETTINGS._replace(pace_fps=100.0)):
        assert records(made, other).latency("r000") is None


def test_other_weights_make_every_engine_anew(graphs, run, records):
    """Trained again under the same path: the graphs are the same to the byte, the model is another."""
    made = graphs({0: "r000", 4: "r004"})
    run(made, action=Action.BUILD)
    os.unlink(made.work.weights(FORM))
    with open(made.work.weights(FORM), "wb") as file:
        file.write(bytes(2048))
    made.family = made.family._replace(weights_sha256=store.sha256_of(made.work.weights(FORM)))
    run(made, action=Action.BUILD)
    engine = records(made).engine("r004")
    assert engine.weights_sha256 == made.family.weights_sha256


def test_a_candidate_that_cannot_be_built_is_known_and_not_tried_again(graphs, run, monkeypatch, records):
    made = graphs({0: "r000", 4: None, 8: "r004"})
    told = run(made)
    assert told.steps == 3 and "r004 cannot be built: " in told.messages[0]
    failure = records(made).failure("r004")
    assert failure.stage == "build" and "cannot build" in failure.reason
    assert records(made).latency("r008") is not None
    monkeypatch.setattr(profiling, "Worker", None)
    run(made)


def test_a_failure_counts_until_its_graph_is_another(graphs, run, records):
    made = graphs({0: "r000", 4: None})
    run(made, action=Action.BUILD)
    made.exported_again(4, "r004")
    run(made, action=Action.BUILD)
    assert records(made).engine("r004") is not None


def test_without_r0_nothing_can_be_compared_and_the_way_out_is_told(graphs, run, device, monkeypatch):
    made = graphs({0: None, 4: "r004"})
    told = "R = 0 cannot be built, and everything is compared with it: .*delete .*r000.failed.json, and run the same"
    with pytest.raises(BuildFailed, match=told):
        run(made)
    monkeypatch.setattr(profiling, "Worker", None)
    with pytest.raises(BuildFailed, match=told):  # known, so nothing is started
        run(made)


def test_a_build_that_was_killed_is_a_failure_and_the_rest_goes_on(graphs, run, kill_child, records):
    made = graphs({0: "r000", 2: "r004", 4: "slow", 8: "r004"})
    told = run(made, progress=Told("building r004", kill_child))
    failure = records(made).failure("r004")
    assert failure.reason == "the build was ended by signal 9 (SIGKILL); if the system did it, memory ran out"
    assert told.steps == 4
    for name in ("r000", "r002", "r008"):
        assert records(made).latency(name) is not None


def test_r0_whose_build_is_killed_ends_the_run_instead_of_being_tried_forever(graphs, run, kill_child):
    made = graphs({0: "slow", 4: "r004"})
    with pytest.raises(BuildFailed, match="R = 0 cannot be built.*SIGKILL"):
        run(made, progress=Told("building r000", kill_child))


def test_being_killed_while_timing_is_said_and_keeps_what_is_built(graphs, run, kill_child, records):
    made = graphs({0: "r000", 4: "r004"})
    told = "process that timed r000 to r004 ended with signal 9 .*close other programs; then run the same command again"
    with pytest.raises(BuildFailed, match=told):
        run(made, SETTINGS._replace(max_s=30.0), progress=Told("built r004", kill_child))
    for name in ("r000", "r004"):
        assert records(made).engine(name) is not None
        assert records(made).failure(name) is None
    assert run(made).steps == 2


def test_an_error_of_the_child_is_raised_with_its_exit_code(graphs, run):
    made = graphs({0: "r000"})
    shutil.copy(os.path.join(fakes.GRAPHS, "r004-b1.onnx"), made.work.graph(FORM, "r000"))
    with pytest.raises(PomtError, match="r000.onnx is not the file that was exported") as raised:
        run(made)
    assert raised.value.exit_code == 9


def test_an_interrupt_ends_the_child_in_the_middle_of_its_build(graphs, run, capfd, children, records):
    def interrupt():
        raise KeyboardInterrupt

    made = graphs({0: "slow"})
    with pytest.raises(KeyboardInterrupt):
        run(made, progress=Told("building r000", interrupt))
    assert not children() and capfd.readouterr().err == ""
    assert records(made).engine("r000") is None


PARENT = """
import sys
from pomt_trt.core.records import Family
from pomt_trt.core.storage import store
from pomt_trt.core.progress import Progress
from pomt_trt.core.records import TimedGroup
from pomt_trt.core.storage.workfolder import WorkFolder, locked
from pomt_trt.device.board import board
from pomt_trt.device.timing import profiling
from pomt_trt.device.timing.engine_records import EngineRecords, Settings

class Told(Progress):
    def show(self, note=""):
        print(note, flush=True)

work = WorkFolder(sys.argv[1])
family = store.read_record(work.family("op13-fp32"), Family).record
with locked(work.root), Told("profile", 1) as progress:
    records = EngineRecords(work, family, board.device_spec("onnxruntime"), Settings(threads=1, max_s=0.05))
    profiling.profile(records, family.candidates, progress)
"""


def is_part_there(folder):
    """Whether a build's unfinished files lie there."""
    return any(name.startswith(".part-") for name in os.listdir(folder))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc, and only Linux ends children so")
def test_kill_9_of_the_run_loses_the_candidate_in_flight_only(graphs, run, device):
    made = graphs({0: "r000", 4: "slow"})
    store.write_record(made.work.family(FORM), made.family)
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, made.work.root], stdout=subprocess.PIPE, env=dict(os.environ, PYTHONPATH=ROOT)
    )
    with parent:
        for line in parent.stdout:
            if line == b"building r004\n":
                break
        (child,) = [int(name) for name in os.listdir("/proc") if _stat(name)[1:2] == [str(parent.pid)]]
        engines, begun_s = made.work.engines(device.id), time.time()
        while not is_part_there(engines) and time.time() - begun_s < 60:  # the build says that it begins, then begins
            time.sleep(0.001)
        parent.kill()
        ended_s = time.time()
        while _stat(child)[:1] not in ([], ["Z"]) and time.time() - ended_s < 60:
            time.sleep(0.01)
    assert _stat(child)[:1] in ([], ["Z"]) and is_part_there(engines)  # it ended, and not because the build was over
    before = stamps(engines)["r000.engine"]
    with locked(made.work.root):
        run(made)
    assert stamps(engines)["r000.engine"] == before
    assert sorted(os.listdir(engines)) == ["r000.engine", "r000.json", "r004.engine", "r004.json", "weights.bin"]


@pytest.mark.parametrize("weights_bytes, size", [(0, 12), (300000, 12), (30 << 20, 8), (88 << 20, 2), (4 << 30, 2)])
def test_a_group_is_as_large_as_memory_allows(weights_bytes, size):
    assert profiling.group_size(weights_bytes) == size
