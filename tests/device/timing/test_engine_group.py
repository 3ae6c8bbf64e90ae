"""A group of engines by a clock that only runs turn: bursts, and profiles with drift and references."""

import pytest

from pomt_trt.device.timing.engine_group import BURST_MS
from tests import fakes
from tests.device.turned import QUIET, RuleOfRounds, profile, sample


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
    assert found.contention["drift"] == pytest.approx(0.2, abs=0.01) and found.verdict == "drifting"
    assert found.latency_ms == pytest.approx(4.0, rel=0.01)  # at the machine's fast state
    assert found.p90_ms == pytest.approx(4.8)  # raw stays raw


def test_a_later_group_is_tied_to_what_is_known(made, clocks):
    later, member = made("r000", 6), made("a", 4)  # everything is 20 % slower than when r000 took 5
    known = {later: 5.0}
    sample([member], known, RuleOfRounds({4: 20}), clocks)
    found = profile(member, references=known)
    assert found.tie == pytest.approx(5 / 6)
    assert found.latency_ms == pytest.approx(4 * 5 / 6) and found.p50_ms == pytest.approx(4)  # raw stays raw
    assert found.latency_ci_ms[0] <= found.latency_ms <= found.latency_ci_ms[1]
    assert found.contention["drift"] == pytest.approx(1 / 6) and found.verdict == "drifting"
    assert profile(member, later).tie == 1.0 and profile(member, later).verdict == "stable"


def test_one_known_engine_that_is_off_does_not_move_the_others(made, clocks):
    odd = made("r000", lambda run: 6.0 if run < 70 else 9.0)
    known = {odd: 5.0, made("b", 3): 3.0, made("c", 2): 2.0}
    member = made("a", 4)
    sample([member], known, RuleOfRounds({4: 40}), clocks)
    assert profile(member, references=known).latency_ms == pytest.approx(4)


def test_a_member_much_faster_or_slower_than_what_is_known_has_no_tail_of_its_own(made, clocks):
    known = {made("r000", 5): 2.0}  # the machine is two and a half times slower than it was
    member = made("a", 4)
    sample([member], known, RuleOfRounds({4: 20}), clocks)
    found = profile(member, references=known)
    assert found.latency_ms == pytest.approx(1.6) and found.contention["tail"] == 0.0


@pytest.mark.parametrize("seen", [{"steal": 0.1}, {"involuntary_per_s": 500.0}])
def test_contention_that_was_seen_is_the_verdict(made, clocks, seen):
    reference = made("r000", 5)
    sample([reference], {}, RuleOfRounds({5: 20}), clocks)
    assert profile(reference).verdict == "stable"
    found = profile(reference, contention=dict(QUIET, **seen))
    assert found.verdict == "contended" and list(seen.items())[0] in found.contention.items()


def test_many_disturbed_runs_are_contention(made, clocks):
    reference, member = made("r000", 5), made("a", lambda run: 8.0 if run % 3 == 0 else 4.0)
    sample([member], {reference: 5}, RuleOfRounds({4: 40, 8: 40}), clocks)
    found = profile(member, reference)
    assert found.contention["tail"] > 0.25 and found.verdict == "contended"


def test_a_profile_names_engine_modes_and_raw_samples(made, clocks):
    reference = made("r000", 5)
    sample([reference], {}, RuleOfRounds({5: 10}), clocks)
    found = profile(reference, stopped="time cap")
    assert (found.candidate_id, found.device_id, found.engine_sha256) == ("r000", fakes.DEVICE.id, "0" * 64)
    assert (found.threads, found.waiting, found.stopped) == (2, "default", "time cap")
    assert found.rounds_ms == tuple(tuple(row) for row in reference.rounds_ms)
    assert found.latency_ms == pytest.approx(5) and found.p99_ms == pytest.approx(5)
