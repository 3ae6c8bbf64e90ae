"""What is said of a board: each thing that can hold, not hold, or not be known."""

import pytest

from pomt_trt.core.errors import VerificationFailed
from pomt_trt.core.field_kit import judgement, records
from pomt_trt.core.field_kit.records import HELD, NOT, UNKNOWN
from pomt_trt.core.records import Failure, Finding
from pomt_trt.core.storage import store
from tests import field as made

LOCKS, STAY = "jetson/with_clocks locks the clocks", "the clocks stay locked"
BACK = "the clocks are given back as they were"


def lines(run):
    """what -> (state, what was seen)."""
    report = judgement.judge(run)
    assert len({line.what for line in report.lines}) == len(report.lines)
    return {line.what: (line.state, line.found) for line in report.lines}


def test_a_board_on_which_everything_held_has_no_other_line():
    report = judgement.judge(made.collected())
    assert {line.state for line in report.lines} == {HELD} and report.holds
    assert len(report.lines) == 39
    judgement.require(report)


def test_the_text_names_board_engine_and_kit_and_counts_the_lines():
    text = judgement.text(judgement.judge(made.collected())).splitlines()
    assert text[0] == "NVIDIA Jetson TX2, L4T 32.7.6, JetPack 4.6.6, power mode MAXN"
    assert text[1].startswith("tensorrt 8.2.1.8 on Tegra X2; pomt-trt 0.2.0, kit for jetpack-4.6.1")
    assert text[-1] == "39 held, 0 did not, 0 are not known."
    told = "median error 1.0e-04 of the largest logit, 1e-03 allowed, 16 images"
    assert "held  digits fp16 R = 0 passes the golden gate: " + told in text


def test_the_report_is_json_for_machines():
    shown = store.to_json(judgement.judge(made.collected()))
    assert shown["lines"][0] == {
        "state": "held",
        "what": "nothing that engines need is missing",
        "found": "doctor warns of clocks",
    }


def test_what_did_not_hold_is_an_error_that_names_the_first():
    missing = made.collected()._replace(findings=(Finding("pycuda", "missing", "not installed", "jetson/install"),))
    assert lines(missing)["nothing that engines need is missing"] == (NOT, "pycuda (not installed)")
    with pytest.raises(VerificationFailed, match="1 of 39 things .* 'nothing that engines need is missing: pycuda"):
        judgement.require(judgement.judge(missing))


def changed_moment(run, when, clocks):
    return run._replace(moments=dict(run.moments, **{when: made.moment(clocks)}))


def with_steps(run, word, **changes):
    """The run with these changes in the steps whose name has the word."""
    return run._replace(steps=tuple(step._replace(**changes) if word in step.name else step for step in run.steps))


def test_clocks_that_were_refused_are_told_with_the_reason():
    refused = with_steps(made.collected(), records.CLOCKS, status=records.FAILED, error="sudo: 3 incorrect")
    found = lines(refused._replace(clocks_held=False))
    assert found[LOCKS] == (NOT, "sudo: 3 incorrect") and found[STAY] == (UNKNOWN, "they were not")


def test_clocks_that_were_to_be_left_alone_are_no_failure():
    skipped = with_steps(made.collected(), records.CLOCKS, status=records.SKIPPED)
    assert lines(skipped._replace(clocks_held=False))[LOCKS][0] == UNKNOWN


def test_clocks_whose_limits_are_apart_are_not_locked_whatever_the_script_said():
    free = dict(made.LOCKED, gpu=(1122.0, 114.0, 1122.0))
    assert lines(changed_moment(made.collected(), "locked", free))[LOCKS] == (NOT, "gpu may move from 114 to 1122 MHz")


def test_clocks_that_no_one_can_read_are_not_known_to_be_locked():
    found = lines(changed_moment(made.collected(), "locked", {}))
    assert found[LOCKS][0] == UNKNOWN and found[STAY] == (UNKNOWN, "no clock was read meanwhile")


@pytest.mark.parametrize(
    "seen, told", [((612.0, 1122.0), "gpu moved 612..1122 MHz"), ((612.0, 612.0), "gpu ran at 612 of 1122 MHz")]
)
def test_locked_clocks_that_move_or_run_below_are_told(seen, told):
    run = made.collected()
    watched = run.watched._replace(clocks_mhz=dict(run.watched.clocks_mhz, gpu=seen))
    assert lines(run._replace(watched=watched))[STAY] == (NOT, told)


def test_clocks_that_stay_locked_afterwards_are_told():
    state, found = lines(changed_moment(made.collected(), "after", made.LOCKED))[BACK]
    assert state == NOT and found == "now cpu0 2035..2035 MHz, gpu 1122..1122 MHz"


def test_rails_alarms_and_temperatures_that_cannot_be_read_are_not_known():
    run = made.collected()
    bare = made.moment(made.FREE)._replace(rails_w={}, over_current={})
    found = lines(run._replace(moments=dict(run.moments, before=bare), watched=None))
    assert found["power rails are readable"] == (UNKNOWN, "not readable (emc unknown (root))")
    assert found["temperatures are readable"][0] == found["no over-current alarm goes off"][0] == UNKNOWN


def test_over_current_alarms_are_counted():
    run = made.collected()
    found = lines(run._replace(moments=dict(run.moments, after=made.moment(made.FREE, alarms=3))))
    assert found["no over-current alarm goes off"] == (NOT, "oc1 3 times")


def replaced(run, removed, **changes):
    """With other values in the fp16 engine."""
    engines = [
        one._replace(**changes) if (one.precision, one.removed) == ("fp16", removed) else one for one in run.built
    ]
    return run._replace(built=tuple(engines))


def test_an_engine_that_was_not_built_is_told_with_the_reason():
    failure = Failure("r000", "build", "TensorRT cannot build it")
    found = lines(replaced(made.collected(), 0, engine=None, failure=failure))
    assert found["digits fp16 R = 0 is built"] == (NOT, "TensorRT cannot build it")
    assert "digits fp16 R = 0 passes the golden gate" not in found


def test_an_engine_that_the_gate_refused_is_told_so():
    failure = Failure("r053", "gate", "the engine's logits differ")
    found = lines(replaced(made.collected(), 53, engine=None, failure=failure))
    assert found["digits fp16 R = 53 passes the golden gate"] == (NOT, "the engine's logits differ")


def test_a_gate_is_judged_by_its_numbers():
    what = "digits fp16 R = 0 passes the golden gate"
    for gate, state in (
        (records.Gate(0.5, 2e-2, 16), NOT),
        (records.Gate(0.0, 2e-2, 0), UNKNOWN),
        (records.Gate(float("nan"), 2e-2, 16), UNKNOWN),
        (None, UNKNOWN),
    ):
        assert lines(replaced(made.collected(), 0, gate=gate))[what][0] == state


def test_attention_that_could_be_fused_is_told_and_silent_inspectors_too():
    what = "digits fp16 R = 0 is fused as it can be"
    assert lines(replaced(made.collected(), 0, shortfall="in 2 of 12"))[what] == (NOT, "in 2 of 12")
    assert lines(replaced(made.collected(), 0, layers=0))[what] == (UNKNOWN, "the inspector told no layers")


def retimed(run, way, **changes):
    """With these changes in how R = 0 ran in fp16 in one way."""
    key = ("fp16", 0, way)
    timed = [one._replace(**changes) if (one.precision, one.removed, one.way) == key else one for one in run.timed]
    return run._replace(timed=tuple(timed))


NO_LIBRARY = "off: libcudart is not found"
CONTENDED = {"profile": made.profile(1.0, "contended")}
QUICK, QUICKER = {"profile": made.profile(0.9)}, {"profile": made.profile(0.7)}


@pytest.mark.parametrize(
    "way, changes, what, told",
    [
        (records.DEFAULT, CONTENDED, " R = 0 is timed without disturbance", "1.000 ms, 0.990 .. 1.010: contended"),
        (records.DEFAULT, {"cuda_graph": NO_LIBRARY}, " R = 0 runs as a CUDA graph", NO_LIBRARY),
        (records.NO_GRAPH, QUICK, " R = 0 is no slower as a CUDA graph", "1.000 ms instead of 0.900 ms without"),
        (
            records.OTHER_STAGING,
            QUICK,
            " R = 0 is no slower by page-locked staging",
            "1.000 ms instead of 0.900 ms by pageable staging",
        ),
        (records.DEFAULT, QUICKER, " is faster with R = 53", "0.800 ms instead of 0.700 ms"),
    ],
)
def test_what_the_times_show_is_judged(way, changes, what, told):
    assert lines(retimed(made.collected(), way, **changes))["digits fp16" + what] == (NOT, told)


@pytest.mark.parametrize(
    "way, what, state",
    [
        (records.NO_GRAPH, "digits fp16 R = 0 is no slower as a CUDA graph", HELD),
        (records.DEFAULT, "digits fp16 is faster with R = 53", UNKNOWN),
    ],
)
def test_differences_within_the_noise_are_none(way, what, state):
    noisy = made.profile(0.8)._replace(latency_ci_ms=(0.5, 1.5))
    assert lines(retimed(made.collected(), way, profile=noisy))[what][0] == state


@pytest.mark.parametrize("ours, state", [(1.0, HELD), (1.06, NOT), (0.94, NOT)])
def test_our_time_of_the_gpu_is_held_against_trtexecs(ours, state):
    run = made.collected()._replace(ratios=(records.Ratio("digits", "tensorrt-x", ours, 1.0),))
    assert lines(run)["digits is timed as trtexec times it, tensorrt-x"][0] == state
    nothing = run._replace(ratios=(records.Ratio("digits", "tensorrt-x", ours, 0.0),))
    assert lines(nothing)["digits is timed as trtexec times it, tensorrt-x"][0] == NOT


def test_what_a_failed_step_should_have_shown_did_not_hold_with_its_reason():
    run = with_steps(made.collected(), "digits fp16", status=records.FAILED, error="it was killed")
    left = run._replace(
        built=tuple(one for one in run.built if one.precision == "fp32"),
        timed=tuple(one for one in run.timed if one.precision == "fp32"),
    )
    found = lines(left)
    assert found["digits fp16 is built"] == found["digits fp16 is timed"] == (NOT, "it was killed")
    assert found["step 'build digits fp16' ran"] == (NOT, "failed: it was killed")


def test_an_interrupted_run_without_anything_is_still_told():
    bare = made.collected()._replace(moments={}, watched=None, device=None, clocks_held=False, findings=())
    run = with_steps(bare, "", status=records.SKIPPED, seconds=0.0, error="interrupted")
    run = run._replace(interrupted=True, built=(), timed=(), ratios=())
    report = judgement.judge(run)
    assert "no engine library" in report.title and report.title.endswith(", interrupted")
    assert HELD not in [line.state for line in report.lines] and not report.holds


def test_texts_of_an_archive_cannot_steer_a_terminal():
    finding = Finding("\x1b[2J", "missing", "a\nheld  everything" + "x" * 1000)
    text = judgement.text(judgement.judge(made.collected()._replace(findings=(finding,), machine="\x1b[31m")))
    assert "\x1b" not in text and "\nheld  everything" not in text and "x" * 401 not in text
