"""Timing at a camera's pace, and CPU time, by clocks that only runs turn."""

import pytest

from pomt_trt.device.timing.turns.engine_group import PACED_RUNS
from tests.device.turned import MODES, RuleOfRounds, bursts, profile, sample

PACED = MODES._replace(pace_fps=20.0)  # as the members are
WARM = 2  # runs before the first burst


def gaps_ms(member_s):
    return [round(1e3 * (after - before), 6) for before, after in zip(member_s, member_s[1:])]


def test_paced_runs_begin_at_the_cameras_rate_and_sleep_in_between(made, clocks, naps):
    reference = made("r000", 5, pace_fps=20.0)
    sample([reference], {}, RuleOfRounds({5: 1}), clocks)
    assert gaps_ms(made.began_s[WARM:]) == [50.0, 50.0, 50.0]  # the first of the four is not counted
    assert naps == pytest.approx([0.045] * 3)
    assert [[round(ms, 6) for ms in row] for row in reference.rounds_ms] == [[5.0, 5.0, 5.0]]  # no gap in them


def test_back_to_back_runs_never_sleep(made, clocks, naps):
    reference = made("r000", 5)
    sample([reference], {}, RuleOfRounds({5: 3}), clocks)
    assert naps == [] and reference.overran == []
    assert profile(reference).pace_fps is None and "missed" not in profile(reference).contention


@pytest.mark.parametrize("ms", [0.1, 5, 500])
def test_a_paced_burst_has_few_runs_however_long_they_take(made, clocks, ms):
    reference = made("r000", ms, pace_fps=20.0)
    sample([reference], {}, RuleOfRounds({round(ms): 4}), clocks)
    assert [len(row) for row in reference.rounds_ms] == [PACED_RUNS] * 4


def test_paced_members_take_turns_and_settle_apart_as_others_do(made, clocks):
    reference, quick, slow = (made(name, ms, pace_fps=20.0) for name, ms in (("r000", 5), ("quick", 4), ("slow", 3)))
    rule = RuleOfRounds({4: 2, 3: 6})
    stopped = sample([quick, slow], {reference: 5}, rule, clocks)
    assert stopped == {"quick": "settled", "slow": "settled"}
    assert [len(member.rounds_ms) for member in (quick, slow, reference)] == [2, 6, 6]
    assert bursts(made.log)[3:9] == ["r000", "quick", "slow", "quick", "slow", "r000"]


def test_the_rule_counts_the_gaps_as_time_spent(made, clocks):
    rule, reference = RuleOfRounds({5: 2}), made("r000", 5, pace_fps=20.0)
    sample([reference], {}, rule, clocks)
    assert [spent_s for _, _, _, spent_s in rule.seen] == pytest.approx([0.155, 0.310])


def test_after_a_run_that_overruns_the_next_begins_at_once_and_the_camera_does_not_wait(made, clocks):
    reference = made("r000", lambda run: 70.0 if run == WARM + 1 else 5.0, pace_fps=20.0)  # the first that is counted
    sample([reference], {}, RuleOfRounds({70: 1, 5: 1}), clocks)
    assert gaps_ms(made.began_s[WARM:]) == [50.0, 70.0, 30.0]
    assert reference.overran == [True, False, False]


def test_the_share_of_runs_that_overran_is_in_the_contention(made, clocks):
    reference = made("r000", lambda run: 70.0 if run == WARM + 1 else 5.0, pace_fps=20.0)
    sample([reference], {}, RuleOfRounds({70: 4, 5: 4}), clocks)
    found = profile(reference, modes=PACED)
    assert found.contention["missed"] == pytest.approx(1 / 12) and found.pace_fps == 20.0


def test_an_engine_slower_than_the_camera_misses_every_image(made, clocks, naps):
    reference = made("r000", 60, pace_fps=20.0)
    sample([reference], {}, RuleOfRounds({60: 3}), clocks)
    found = profile(reference, modes=PACED)
    assert naps == [] and found.contention["missed"] == 1.0 and found.latency_ms == pytest.approx(60)


def test_a_slow_run_that_is_not_counted_is_no_miss(made, clocks):
    cold = made("a", lambda run: 60.0 if run == WARM else 5.0, pace_fps=20.0)
    sample([cold], {}, RuleOfRounds({5: 1}), clocks)
    assert cold.overran == [False, False, False] and gaps_ms(made.began_s[WARM:]) == [60.0, 40.0, 50.0]


def test_drift_is_taken_out_of_paced_times_too(made, clock, clocks):
    def slower(ms):
        return lambda run: ms * (1.2 if clock() > 110.0 else 1.0)

    reference, member = made("r000", slower(5), pace_fps=20.0), made("a", slower(4), pace_fps=20.0)
    sample([member], {reference: 5}, RuleOfRounds({4: 60}), clocks)
    found = profile(member, reference, modes=PACED)
    assert found.latency_ms == pytest.approx(4.0, rel=0.01) and found.contention["drift"] > 0.1


@pytest.mark.parametrize("pace_fps", [None, 20.0])
def test_cpu_time_is_that_of_one_counted_run(made, clocks, pace_fps):
    reference = made("r000", 5, cpu_share=2.0, pace_fps=pace_fps)  # two threads
    sample([reference], {}, RuleOfRounds({5: 4}), clocks)
    assert reference.cpu_ms == pytest.approx([10.0] * 4)
    assert profile(reference).cpu_ms == pytest.approx(10.0)


def test_cpu_time_is_the_median_of_the_rounds(made, clocks):
    reference = made("r000", lambda run: 90.0 if run in (WARM + 1, WARM + 2) else 5.0)  # one round is disturbed
    sample([reference], {}, RuleOfRounds({90: 5, 5: 5}), clocks)
    assert max(reference.cpu_ms) == pytest.approx(90.0)
    assert profile(reference).cpu_ms == pytest.approx(5.0)


def test_what_threads_spin_in_the_gaps_is_cpu_time_of_the_runs(made, clocks, cpu):
    def spinning(seconds):
        clocks.sleep(seconds)
        cpu.used_s += 0.002

    reference = made("r000", 5, pace_fps=20.0, clocks=clocks._replace(sleep=spinning))
    sample([reference], {}, RuleOfRounds({5: 2}), clocks)
    assert reference.cpu_ms == pytest.approx([7.0, 7.0])
