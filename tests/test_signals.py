"""Signals that whoever starts us has had ignored: the product goes on ignoring them, and no test depends on it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests import compiled, fakes
from tests.conftest import INHERITED

FAILING = """
import subprocess, sys

def test_it_leaves_a_process_with_pipes():
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    assert sleeper.pid == 0

def test_another_goes_on():
    pass
"""


def ignoring(*numbers):
    """For preexec_fn: the child has these ignored."""
    return lambda: [signal.signal(number, signal.SIG_IGN) for number in numbers]


def test_the_suites_own_process_goes_on_ignoring_them_and_its_children_do_not(tmp_path):
    """pytest under nohup: a test that hangs it up, and one that hangs up a child."""
    (tmp_path / "conftest.py").write_text("from tests.conftest import *")
    (tmp_path / "test_it.py").write_text(
        "import os, signal, subprocess\n"
        "def test_hangup():\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    assert subprocess.run(['sh', '-c', 'kill -HUP $$; sleep 9']).returncode == -signal.SIGHUP\n"
    )
    done = pytest_in(tmp_path, preexec_fn=ignoring(*INHERITED))
    assert done.returncode == 0, done.stdout


def test_a_failed_test_takes_its_processes_with_it_and_no_other_test(tmp_path):
    (tmp_path / "conftest.py").write_text("from tests.conftest import *")
    (tmp_path / "test_it.py").write_text(FAILING)
    done = pytest_in(tmp_path)
    assert "1 failed, 1 passed, 1 error" in done.stdout and "leaves child processes behind" in done.stdout


def pytest_in(folder, **options):
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", str(folder)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "universal_newlines": True}
    return subprocess.run(command, env=dict(os.environ, PYTHONPATH=compiled.ROOT), cwd=str(folder), **pipes, **options)


@pytest.mark.parametrize("ignored", [True, False])
def test_infer_outlives_a_hangup_under_nohup_only(ignored, tmp_path):
    bundle = fakes.quadrant_bundle(tmp_path)
    fakes.picture(0).save(str(tmp_path / "0.png"))
    options = {"stdin": subprocess.PIPE, "preexec_fn": ignoring(signal.SIGHUP) if ignored else None}
    process = compiled.start(bundle, "-", "--json", module="pomt_trt.infer", **options)
    path = (str(tmp_path / "0.png") + "\n").encode()
    process.stdin.write(path)
    process.stdin.flush()
    assert b"upper left" in process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    time.sleep(0.1)
    out, _ = process.communicate(path if ignored else None, timeout=60)
    assert (process.returncode, len(out.splitlines())) == ((0, 1) if ignored else (-signal.SIGHUP, 0))
