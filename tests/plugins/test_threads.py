"""The kernels' bodies with real threads: no races, the same result, and none of the barriers is there for nothing."""

import os
import subprocess

import numpy as np
import pytest

from tests import suite
from tests.plugins import compilers

pytestmark = compilers.needs_gxx

BARRIERS = range(12)  # the numbers that bodies give to sync()
SOURCE = os.path.join(compilers.HERE, "threads.cpp")
RACE = 66  # the exit status of a program that ThreadSanitizer ends


@pytest.fixture(scope="module")
def raced():
    """The program under ThreadSanitizer, with so many threads a block that two of them reduce."""
    flags = [*compilers.SANITIZED, "-fsanitize=thread", "-DPOMT_THREADS=18"]
    return compilers.built("threads-18", *flags, SOURCE)


def run(program, *arguments):
    environment = dict(os.environ, TSAN_OPTIONS=f"halt_on_error=1 exitcode={RACE}")
    return subprocess.run([program, *arguments], capture_output=True, text=True, env=environment)


def test_threads_do_not_race_and_give_what_one_thread_gives(raced):
    alone = run(compilers.built("threads-1", "-O2", "-DPOMT_THREADS=1", SOURCE)).stdout.splitlines()
    done = run(raced)
    assert done.returncode == 0, done.stderr
    together = done.stdout.splitlines()
    np.testing.assert_allclose(np.array(together[:-1], float), np.array(alone[:-1], float), rtol=1e-6)
    assert together[-1].split() == alone[-1].split() == [str(number) for number in BARRIERS]


@pytest.mark.parametrize("number", suite.sampled(BARRIERS, (0, 11)))
def test_each_barrier_is_missed_where_it_is_left_out(raced, number):
    done = run(raced, str(number))
    assert done.returncode == RACE and "data race" in done.stderr, number
