"""Members that take turns by a clock that only runs turn: their order, and who stops when."""

import pytest

from pomt_trt.core.statistics.stats import StoppingRule
from pomt_trt.device.timing.turns.sampler import fitting_runs
from tests.device.turned import RuleOfRounds, bursts, sample


def test_members_take_turns_and_each_round_starts_with_another(made, clocks):
    reference, a, b = made("r000", 5), made("a", 4), made("b", 3)
    sample([reference, a, b], {}, RuleOfRounds({5: 4, 4: 4, 3: 4}), clocks)
    order = bursts(made.log)[3:]  # after the warm-up
    assert len(order) >= 12 - 3  # neighbours may be the same across rounds
    assert {"a", "b", "r000"} == set(order[:3]) == set(order[3:6])
    starts = [order[number : number + 3] for number in (0, 3, 6)]
    assert starts == [["r000", "a", "b"], ["a", "b", "r000"], ["b", "r000", "a"]]
    assert len(reference.rounds_ms) == len(a.rounds_ms) == len(b.rounds_ms) == 4


@pytest.mark.parametrize("run_ms, runs", [(50, 2), (4, 2), (3, 3), (1.6, 6), (0.1, 8), (0.0, 8)])
def test_a_burst_has_as_many_runs_as_fit_within_two_and_eight(run_ms, runs):
    assert fitting_runs(run_ms, burst_ms=10.0) == runs


def test_a_settled_member_sits_out_and_references_are_in_every_round(made, clocks):
    reference, quick, slow = made("r000", 5), made("quick", 4), made("slow", 3)
    stopped = sample([quick, slow], {reference: 5}, RuleOfRounds({4: 2, 3: 6}), clocks)
    assert stopped == {"quick": "settled", "slow": "settled"}
    assert [len(member.rounds_ms) for member in (quick, slow, reference)] == [2, 6, 6]


def test_without_references_the_first_member_is_in_every_round(made, clocks):
    reference, other = made("r000", 5), made("a", 4)
    sample([reference, other], {}, RuleOfRounds({5: 3, 4: 6}), clocks)
    assert len(reference.rounds_ms) == len(other.rounds_ms) == 6


def test_the_rule_is_told_each_members_own_time(made, clocks):
    rule = RuleOfRounds({5: 3, 2: 3})
    reference, other = made("r000", 5), made("a", 2)
    sample([reference, other], {}, rule, clocks)
    last = {round(first): spent_s for first, _, _, spent_s in rule.seen}
    assert last[5] == pytest.approx(3 * 3 * 0.005) and last[2] == pytest.approx(3 * 6 * 0.002)


def test_a_group_of_none_is_not_timed(made, clocks):
    reference = made("r000", 5)
    assert sample([], {reference: 5}, RuleOfRounds({}), clocks) == {} and reference.rounds_ms == []


def test_constant_times_settle_and_noise_ends_at_the_cap(made, clocks):
    reference = made("r000", 2)
    wild = made("wild", lambda run: (run * 7919 % 13 + 1) ** 2)
    stopped = sample([reference, wild], {}, StoppingRule(max_s=3.0), clocks)
    assert stopped == {"r000": "settled", "wild": "time cap"}


def test_progress_counts_the_settled(made, clocks):
    told = []
    reference = made("r000", 5)
    sample([reference], {}, RuleOfRounds({5: 2}), clocks, progress=told.append)
    assert told == ["0 of 1 settled", "1 of 1 settled"]


class Disturbed:
    """The first rounds are disturbed, as many as are said."""

    def __init__(self, rounds):
        self.left = rounds

    def __call__(self):
        self.left -= 1
        return self.left >= 0


def test_disturbed_rounds_are_no_samples_and_are_waited_out(made, clocks):
    rule, reference = RuleOfRounds({5: 4}), made("r000", lambda run: 9.0 if run < 12 else 5.0)
    assert sample([reference], {}, rule, clocks, watch=Disturbed(4)) == {"r000": "settled"}
    assert len(reference.rounds_ms) == 8 and [rounds for _, rounds, _, _ in rule.seen] == [1, 2, 3, 4]


def test_a_machine_that_stays_disturbed_is_waited_for_as_long_as_the_rule_times(made, clocks):
    reference = made("r000", 5)
    stopped = sample([reference], {}, StoppingRule(max_s=0.5), clocks, watch=Disturbed(10**6))
    assert stopped == {"r000": "time cap"} and len(reference.rounds_ms) * 3 * 0.005 == pytest.approx(1.0, abs=0.05)
