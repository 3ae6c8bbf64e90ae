"""What is said of a board: each thing that can hold, not hold, or not be known."""

import pytest

from pomt_trt.core.errors import VerificationFailed
from pomt_trt.core.field_kit import judgement, records
from pomt_trt.core.field_kit.records import HELD, NOT, UNKNOWN
from pomt_trt.core.records import Failure, Finding
from pomt_trt.core.storage import store
from tests import field as made

RUN = made.collected()
LOCKS, STAY = "jetson/with_clocks locks the clocks", "the clocks stay locked"
BACK = "the clocks are given back as they were"


def lines(run):
    """what -> (state, what was seen)."""
    report = judgement.judge(run)
    assert len({line.what for line in report.lines}) == len(report.lines)
    return {line.what: (line.state, line.found) for line in report.lines}


def test_a_board_on_which_everything_held_has_no_other_line():
    report = judgement.judge(RUN)
    assert {line.state for line in report.lines} == {HELD}
    assert len(report.lines) == 39
    judgement.require(report)


def test_the_text_names_board_engine_and_kit_and_counts_the_lines():
    text = judgement.text(judgement.judge(RUN)).splitlines()
    assert text[0] == "NVIDIA Jetson TX2, L4T 32.7.6, JetPack 4.6.6, power mode MAXN"
    assert text[1].startswith("tensorrt 8.2.1.8 on Tegra X2; pomt-trt 0.2.0, kit for jetpack-4.6.1")
    assert text[-1] == "39 held, 0 did not, 0 are not known."
    told = "median error 1.0e-04 of the largest logit, 1e-03 allowed, 16 images"
    assert "held  digits fp16 R = 0 passes the golden gate: " + told in text


def test_the_report_is_json_for_machines():
    shown = store.to_json(judgement.judge(RUN))
    assert shown["lines"][0] == {
        "state": "held",
        "what": "nothing that engines need is missing",
        "found": "doctor warns of clocks",
    }


def test_what_did_not_hold_is_an_error_that_names_the_first():
    missing = RUN._replace(findings=(Finding("pycuda", "missing", "not installed", "jetson/install"),))
    assert lines(missing)["nothing that engines need is missing"] == (NOT, "pycuda (not installed)")
    with pytest.raises(VerificationFailed, match="1 of 39 things .* 'nothing that engines need is missing: pycuda"):
        judgement.require(judgement.judge(missing))


REFUSED = {"status": records.FAILED, "error": "sudo: 3 incorrect"}


def with_steps(word, run=RUN, **changes):
    """The run with these changes in the steps whose name has the word."""
    return run._replace(steps=tuple(step._replace(**changes) if word in step.name else step for step in run.steps))


def with_moment(when, **changes):
    """With these changes in what sensors read at one moment."""
    return RUN._replace(moments=dict(RUN.moments, **{when: RUN.moments[when]._replace(**changes)}))


def with_gpu_at(low_mhz, high_mhz):
    """With other readings of the GPU's clock under lock."""
    clocks = dict(RUN.watched.clocks_mhz, gpu=(low_mhz, high_mhz))
    return RUN._replace(watched=RUN.watched._replace(clocks_mhz=clocks))


def with_engine(removed, **changes):
    """With these changes in what building one engine in fp16 gave."""
    key = ("fp16", removed)
    engines = [one._replace(**changes) if (one.precision, one.removed) == key else one for one in RUN.built]
    return RUN._replace(built=tuple(engines))


def with_time(way, **changes):
    """With these changes in how R = 0 ran in fp16 in one way."""
    key = ("fp16", 0, way)
    timed = [one._replace(**changes) if (one.precision, one.removed, one.way) == key else one for one in RUN.timed]
    return RUN._replace(timed=tuple(timed))


def with_ratio(ours_ms, theirs_ms):
    """With these times of the GPU."""
    return RUN._replace(ratios=(records.Ratio("digits", "tensorrt-x", ours_ms, theirs_ms),))


APART = dict(made.LOCKED, gpu=(1122.0, 114.0, 1122.0))
ALARMS, UNREAD = "no over-current alarm goes off", "not readable (emc unknown (root))"
R0 = "digits fp16 R = 0 "
BUILT, GATE, FUSED = R0 + "is built", R0 + "passes the golden gate", R0 + "is fused as it can be"
QUIET, GRAPH = R0 + "is timed without disturbance", R0 + "runs as a CUDA graph"
QUICK_GRAPH = R0 + "is no slower as a CUDA graph"
STAGING, GAIN = R0 + "is no slower by page-locked staging", "digits fp16 is faster with R = 53"
RATIO = "digits is timed as trtexec times it, tensorrt-x"
NO_LIBRARY = "off: libcudart is not found"
NOISY = made.profile(0.8)._replace(latency_ci_ms=(0.5, 1.5))


@pytest.mark.parametrize(
    "run, what, state, told",
    [
        (with_steps(records.CLOCKS, RUN._replace(clocks_held=False), **REFUSED), LOCKS, NOT, "sudo: 3 incorrect"),
        (RUN._replace(clocks_held=False), STAY, UNKNOWN, "they were not"),
        (with_steps(records.CLOCKS, RUN._replace(clocks_held=False), status=records.SKIPPED), LOCKS, UNKNOWN, ""),
        (with_moment("locked", clocks_mhz=APART), LOCKS, NOT, "gpu may move from 114 to 1122 MHz"),
        (with_moment("locked", clocks_mhz={}), LOCKS, UNKNOWN, "no clock of GPU or processor can be read"),
        (with_moment("locked", clocks_mhz={}), STAY, UNKNOWN, "no clock was read meanwhile"),
        (with_gpu_at(612.0, 1122.0), STAY, NOT, "gpu moved 612..1122 MHz"),
        (with_gpu_at(612.0, 612.0), STAY, NOT, "gpu ran at 612 of 1122 MHz"),
        (with_moment("after", clocks_mhz=made.LOCKED), BACK, NOT, "now cpu0 2035..2035 MHz, gpu 1122..1122 MHz"),
        (with_moment("before", rails_w={}), "power rails are readable", UNKNOWN, UNREAD),
        (RUN._replace(watched=None), "temperatures are readable", UNKNOWN, UNREAD),
        (with_moment("before", over_current={}), ALARMS, UNKNOWN, "no counter is readable"),
        (with_moment("after", over_current={"oc1": 3}), ALARMS, NOT, "oc1 3 times"),
        (with_engine(0, engine=None, failure=Failure("r000", "build", "no tactic")), BUILT, NOT, "no tactic"),
        (with_engine(0, engine=None, failure=Failure("r000", "gate", "logits differ")), GATE, NOT, "logits differ"),
        (with_engine(0, gate=records.Gate(0.5, 2e-2, 16)), GATE, NOT, "5.0e-01 of the largest logit, 2e-02 allowed"),
        (with_engine(0, gate=records.Gate(0.0, 2e-2, 0)), GATE, UNKNOWN, "no image could be compared"),
        (with_engine(0, gate=records.Gate(float("nan"), 2e-2, 16)), GATE, UNKNOWN, "no image could be compared"),
        (with_engine(0, gate=None), GATE, UNKNOWN, "no image could be compared"),
        (with_engine(0, shortfall="in 2 of 12"), FUSED, NOT, "in 2 of 12"),
        (with_engine(0, layers=0), FUSED, UNKNOWN, "the inspector told no layers"),
        (with_time(records.DEFAULT, profile=made.profile(1.0, "contended")), QUIET, NOT, "0.990 .. 1.010: contended"),
        (with_time(records.DEFAULT, cuda_graph=NO_LIBRARY), GRAPH, NOT, NO_LIBRARY),
        (with_time(records.NO_GRAPH, profile=made.profile(0.9)), QUICK_GRAPH, NOT, "instead of 0.900 ms without"),
        (with_time(records.NO_GRAPH, profile=NOISY), QUICK_GRAPH, HELD, ""),
        (with_time(records.OTHER_STAGING, profile=made.profile(0.9)), STAGING, NOT, "of 0.900 ms by pageable staging"),
        (with_time(records.DEFAULT, profile=made.profile(0.7)), GAIN, NOT, "0.800 ms instead of 0.700 ms"),
        (with_time(records.DEFAULT, profile=NOISY), GAIN, UNKNOWN, "their intervals overlap"),
        (with_ratio(1.0, 1.0), RATIO, HELD, "ratio 1.000"),
        (with_ratio(1.06, 1.0), RATIO, NOT, "ratio 1.060"),
        (with_ratio(0.94, 1.0), RATIO, NOT, "ratio 0.940"),
        (with_ratio(1.0, 0.0), RATIO, NOT, "ratio inf"),
    ],
)
def test_each_thing_holds_or_not_or_is_not_known_with_the_reason(run, what, state, told):
    found = lines(run)[what]
    assert found[0] == state and told in found[1]


def test_an_engine_that_was_not_built_has_no_gate():
    assert GATE not in lines(with_engine(0, engine=None, failure=Failure("r000", "build", "no tactic")))


def test_what_a_failed_step_should_have_shown_did_not_hold_with_its_reason():
    run = with_steps("digits fp16", status=records.FAILED, error="it was killed")
    left = run._replace(
        built=tuple(one for one in run.built if one.precision == "fp32"),
        timed=tuple(one for one in run.timed if one.precision == "fp32"),
    )
    found = lines(left)
    assert found["digits fp16 is built"] == found["digits fp16 is timed"] == (NOT, "it was killed")
    assert found["step 'build digits fp16' ran"] == (NOT, "failed: it was killed")


def test_an_interrupted_run_without_anything_is_still_told():
    bare = RUN._replace(moments={}, watched=None, device=None, clocks_held=False, findings=())
    run = with_steps("", bare, status=records.SKIPPED, seconds=0.0, error="interrupted")
    run = run._replace(interrupted=True, built=(), timed=(), ratios=())
    report = judgement.judge(run)
    assert "no engine library" in report.title and report.title.endswith(", interrupted")
    assert {line.state for line in report.lines} == {NOT, UNKNOWN}


def test_texts_of_an_archive_cannot_steer_a_terminal():
    finding = Finding("\x1b[2J", "missing", "a\nheld  everything" + "x" * 1000)
    text = judgement.text(judgement.judge(RUN._replace(findings=(finding,), machine="\x1b[31m")))
    assert "\x1b" not in text and "\nheld  everything" not in text and "x" * 401 not in text
