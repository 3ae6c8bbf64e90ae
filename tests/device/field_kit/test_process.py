"""Steps as processes: their output, their time, and what they leave behind. And interrupts."""

import os
import signal
import sys
import time

import pytest

from pomt_trt.device.field_kit import process
from pomt_trt.device.field_kit.interrupts import OneInterrupt


def run(program, timeout_s=30.0, tick=lambda spent_s: None):
    return process.run([sys.executable, "-c", program], timeout_s, tick, dict(os.environ, ASKED="yes"))


def test_output_exit_code_and_environment_are_the_processs():
    ended = run("import os, sys; print(os.environ['ASKED']); print('é', file=sys.stderr); sys.exit(3)")
    assert (ended.code, ended.out.strip(), ended.timed_out) == (3, "yes", False) and ended.err.strip()


def test_a_process_that_is_killed_is_told_by_its_signal():
    assert run("import os; os.kill(os.getpid(), 9)").code == -9


def test_the_end_of_a_long_output_is_kept():
    out = run("print('x' * {} + 'end')".format(process.MOST_BYTES)).out
    assert len(out) == process.MOST_BYTES and out.endswith("xend\n")


def test_somebody_looks_on_while_it_runs():
    seen = []
    run("import time; time.sleep(0.2)", tick=seen.append)
    assert len(seen) > 1 and seen == sorted(seen)


def test_a_process_that_hangs_is_ended_with_all_that_it_started(tmp_path, children):
    mark = str(tmp_path / "mark")
    program = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "later = 'import sys, time; time.sleep(1.5); open(sys.argv[1], chr(119))'\n"
        "subprocess.Popen([sys.executable, '-c', later, {!r}])\n"
        "time.sleep(60)\n"
    ).format(mark)
    ended = run(program, timeout_s=0.3)
    assert ended.timed_out and ended.code == -signal.SIGKILL and ended.seconds < 20
    time.sleep(1.6)
    assert not os.path.exists(mark) and not children()


def test_an_interrupt_ends_the_process_and_goes_on(children):
    def interrupt(spent_s):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("import time; time.sleep(60)", tick=interrupt)
    assert not children()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_interrupts_and_later_ones_do_nothing(number):
    with OneInterrupt():
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
            time.sleep(1.0)
        os.kill(os.getpid(), number)
        time.sleep(0.01)


def test_no_signal_interrupts_what_has_to_be_finished():
    with OneInterrupt() as interrupt:
        interrupt.over()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)


def test_a_signal_that_was_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with OneInterrupt():
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.01)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
