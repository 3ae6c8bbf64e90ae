"""A group of engines by a clock that only runs turn: bursts, and profiles with drift and references."""

import pytest

from pomt_trt.device.timing.turns.engine_group import BURST_MS
from tests import fakes
from tests.device.turned import RuleOfRounds, profile, sample


def test_one_run_of_each_burst_is_not_counted(made, clocks):
    cold = made("a", lambda run: 9.0 if made.log[-1:] != ["a"] else 4.0)  # another engine has used the caches
    reference = made("r000", 5)
    sample([cold], {reference: 5}, RuleOfRounds({4: 5}), clocks)
    assert {round(sample, 6) for row in cold.rounds_ms for sample in row} == {4.0}


@pytest.mark.parametrize("share, runs", [(5.0, 2), (0.16, 6), (0.01, 8)])
def test_a_burst_lasts_about_as_long_as_is_wanted(made, clocks, share, runs):
    reference = made("r000", share * BURST_MS)
    sample([reference], {}, RuleOfRounds({round(share * BURST_MS): 2}), clocks)
    assert [len(row) for row in reference.rounds_ms] == [runs, runs]


def test_members_sampled_in_different_parts_of_a_group_are_told_in_one_state_of_the_machine(made, clock, clocks):
    def slower(ms):
        return lambda run: ms * (1.0 if clock() < 100.5 else 1.4)

    reference, early, late = made("r000", slower(5)), made("a", slower(4)), made("b", slower(3))
    sample([early, late], {reference: 5}, RuleOfRounds({4: 5, 3: 200}), clocks)
    assert len(early.rounds_ms) == 5 and len(late.rounds_ms) == 200
    mine, other = (profile(*members).latency_ms for members in ([early, reference, late], [late, reference, early]))
    assert mine / other == pytest.approx(4 / 3, rel=0.02)


def test_a_machine_that_slows_down_shows_in_the_drift_and_not_in_the_latency(made, clock, clocks):
    def slower(ms):
        return lambda run: ms * (1.2 if clock() > 101.0 else 1.0)

    reference, member = made("r000", slower(5)), made("a", slower(4))
    sample([member], {reference: 5}, RuleOfRounds({4: 60}), clocks)
    found = profile(member, reference)
    assert (found.drift[0], found.drift[-1]) == (pytest.approx(1.0), pytest.approx(1.2))
    assert found.contention["drift"] == pytest.approx(0.2, abs=0.01) and found.verdict == "stable"
    assert found.latency_ms == pytest.approx(4.0, rel=0.01)  # at the machine's fast state
    assert found.p90_ms == pytest.approx(4.8)  # raw stays raw


def test_a_later_group_is_relative_to_what_is_known(made, clocks):
    later, member = made("r000", 6), made("a", 4)  # everything is 20 % slower than when r000 took 5
    known = {later: 5.0}
    sample([member], known, RuleOfRounds({4: 20}), clocks)
    found = profile(member, references=known)
    assert found.tie == pytest.approx(5 / 6)
    assert found.latency_ms == pytest.approx(4 * 5 / 6) and found.p50_ms == pytest.approx(4)  # raw stays raw
    assert found.latency_ci_ms[0] < found.latency_ms < found.latency_ci_ms[1] and found.verdict == "stable"


def test_what_several_known_engines_say_together_makes_the_interval_narrower(made, clocks):
    one, several = {made("r000", 5): 5.0}, {made("r000", 5): 5.0, made("b", 3): 3.0, made("c", 2): 2.0}
    member = made("a", 4)
    sample([member], {**one, **several}, RuleOfRounds({4: 20}), clocks)
    wide, narrow = (profile(member, references=known) for known in (one, several))
    assert (wide.latency_ms, narrow.latency_ms) == pytest.approx((4, 4))
    assert narrow.latency_ci_ms[1] < wide.latency_ci_ms[1]


@pytest.mark.parametrize("disturbed, verdict", [([True] * 14 + [False] * 6, "stable"), ([True] * 20, "contended")])
def test_disturbed_rounds_count_only_where_there_are_no_others(made, clocks, disturbed, verdict):
    reference, member = made("r000", 5), made("a", lambda run: 4.0 if run > 44 else 12.0)
    sample([member], {reference: 5}, RuleOfRounds({4: 20, 12: 20}), clocks)
    found = profile(member, reference, disturbed=disturbed)
    assert found.verdict == verdict and len(found.rounds_ms) == (disturbed.count(False) or 20)
    assert (abs(found.latency_ms - 4) < 0.1) is (verdict == "stable")


def test_a_profile_names_engine_modes_and_raw_samples(made, clocks):
    reference = made("r000", 5)
    sample([reference], {}, RuleOfRounds({5: 10}), clocks)
    found = profile(reference, stopped="time cap")
    assert (found.candidate_id, found.device_id, found.engine_sha256) == ("r000", fakes.DEVICE.id, "0" * 64)
    assert (found.threads, found.waiting, found.stopped) == (2, "default", "time cap")
    assert found.rounds_ms == tuple(tuple(row) for row in reference.rounds_ms)
    assert found.latency_ms == pytest.approx(5) and found.p99_ms == pytest.approx(5)
