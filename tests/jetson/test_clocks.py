"""Setting clocks, giving them back however a command ends, and leaving the power mode alone."""

import os
import signal
import sys

import pytest

STORE, LOCK, RESTORE = "jetson_clocks --store FILE", "jetson_clocks ", "jetson_clocks --restore FILE"


def test_clocks_are_stored_before_they_are_locked(board):
    orin = board()
    assert orin.run("set_clocks").returncode == 0
    assert orin.log == [STORE, LOCK] and orin.stored.exists()


def test_setting_them_twice_keeps_what_they_were_first(board):
    orin = board()
    orin.run("set_clocks")
    second = orin.run("set_clocks")
    assert second.returncode == 0 and "set already" in second.stderr
    assert orin.log == [STORE, LOCK]


def test_restoring_gives_them_back_once(board):
    orin = board()
    orin.run("set_clocks")
    assert orin.run("restore_clocks").returncode == 0
    assert orin.log == [STORE, LOCK, RESTORE] and not orin.stored.exists()
    again = orin.run("restore_clocks")
    assert again.returncode == 0 and "nothing to restore" in again.stderr and orin.log[3:] == []


@pytest.mark.parametrize(
    "tree, mode, advice",
    [
        ("tx2-jetpack-4.6.6", "MAXP_CORE_ARM (number 3)", "For MAXN: sudo nvpmodel -m 0"),
        ("orin-nano-jetpack-6.2", "15W (number 0)", "For MAXN_SUPER: sudo nvpmodel -m 2"),
        ("agx-thor-jetpack-7.2", "120W (number 1)", "For MAXN: sudo nvpmodel -m 0"),
        ("agx-orin-jetpack-6.2", "MAXN (number 0)", None),
    ],
)
def test_the_mode_is_left_alone_and_the_command_for_a_wider_one_is_printed(board, tree, mode, advice):
    machine = board(tree)
    told = machine.run("set_clocks").stderr
    assert "power mode: " + mode in told
    assert advice in told if advice else "nvpmodel -m" not in told
    assert not [line for line in machine.log if line.startswith("nvpmodel")]


def test_a_mode_is_taken_by_its_name(board):
    orin = board("agx-orin-jetpack-6.2")
    assert "For MODE_50W: sudo nvpmodel -m 3" in orin.run("set_clocks", "--mode", "MODE_50W").stderr
    unknown = orin.run("set_clocks", "--mode", "60W")
    assert unknown.returncode == 2 and "'60W' is not in /etc/nvpmodel.conf" in unknown.stderr


def test_without_a_table_of_modes_clocks_are_set_all_the_same(board):
    orin = board()
    os.remove(orin.root / "etc" / "nvpmodel.conf")
    done = orin.run("set_clocks")
    assert done.returncode == 0 and "power mode: not known" in done.stderr and orin.log == [STORE, LOCK]


def test_a_dry_run_prints_what_would_be_done_and_does_nothing(board):
    orin = board()
    printed = orin.run("set_clocks", "--dry-run").stdout.splitlines()
    assert printed == [f"+ sudo jetson_clocks --store {orin.stored}", "+ sudo jetson_clocks"]
    orin.stored.touch()
    printed = orin.run("restore_clocks", "--dry-run").stdout.splitlines()
    assert printed == [f"+ sudo jetson_clocks --restore {orin.stored}", f"+ sudo rm {orin.stored}"]
    assert orin.log == [] and orin.stored.exists()


def test_a_machine_that_is_no_jetson_is_refused(board):
    machine = board(None)
    done = machine.run("set_clocks")
    assert done.returncode == 8 and "no Jetson" in done.stderr and machine.log == []


@pytest.mark.parametrize("script", ["set_clocks", "restore_clocks"])
def test_a_flag_that_is_not_known_is_a_usage_error(board, script):
    done = board().run(script, "--force")
    assert done.returncode == 2 and "'--force' is not known" in done.stderr


@pytest.mark.parametrize("code", [0, 3])
def test_a_command_runs_under_locked_clocks_and_its_exit_code_is_passed_on(board, code):
    orin = board()
    done = orin.run("with_clocks", "bash", "-c", f'echo "command $1" >>"$LOG"; exit {code}', "x", "a b")
    assert done.returncode == code
    assert orin.log == [STORE, LOCK, "command a b", RESTORE] and not orin.stored.exists()


def test_the_commands_output_is_its_own(board):
    done = board().run("with_clocks", "echo", "result")
    assert done.stdout == "result\n"


# One process, since bash goes on after a Ctrl-C that its child survived; pomt-trt catches it and exits with 130.
SLEEPER = """
import sys, time
try:
    open(sys.argv[1], "w").close()
    time.sleep(60)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize(
    "number, all_of_them",
    [(signal.SIGINT, True), (signal.SIGTERM, True), (signal.SIGHUP, True), (signal.SIGKILL, False)],
)
def test_clocks_are_given_back_after_a_signal(board, eventually, tmp_path, number, all_of_them):
    """Ctrl-C goes to all processes of the terminal, kill -9 to this one."""
    orin, started = board(), tmp_path / "started"
    process = orin.start("with_clocks", sys.executable, "-c", SLEEPER, started)
    eventually(started.exists, True)
    assert orin.log == [STORE, LOCK]
    (os.killpg if all_of_them else os.kill)(process.pid, number)
    eventually(lambda: (orin.log, orin.stored.exists()), ([STORE, LOCK, RESTORE], False))
    if not all_of_them:
        os.killpg(process.pid, signal.SIGTERM)  # the command is on its own now
    process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -number)


def test_under_nohup_a_hangup_ends_neither_command_nor_clocks(board, eventually, tmp_path):
    orin, started = board(), tmp_path / "started"
    command = ["sh", "-c", 'touch "$0"; while [ -e "$0" ]; do sleep 0.02; done; exit 7', started]
    process = orin.start("with_clocks", *command, before=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    eventually(started.exists, True)
    os.killpg(process.pid, signal.SIGHUP)
    assert process.poll() is None and orin.log == [STORE, LOCK]
    started.unlink()
    process.communicate(timeout=60)
    assert process.returncode == 7 and orin.log == [STORE, LOCK, RESTORE]


@pytest.mark.parametrize("answer, code", [("", 130), ('trap "exit 7" INT;', 7)])
def test_ctrl_c_is_the_commands_to_answer_from_its_first_moment_on(board, answer, code):
    orin = board()
    done = orin.run("with_clocks", "sh", "-c", answer + "kill -INT 0; sleep 60")
    assert done.returncode == code and orin.log == [STORE, LOCK, RESTORE]


def test_a_command_does_not_run_where_clocks_cannot_be_locked(board):
    orin = board()
    orin.broken.touch()
    done = orin.run("with_clocks", "touch", orin.root / "ran")
    assert done.returncode == 4 and "the command was not run" in done.stderr
    assert not (orin.root / "ran").exists() and orin.log == [STORE, LOCK, RESTORE]


def test_clocks_that_were_set_before_stay_so_afterwards(board):
    orin = board()
    orin.run("set_clocks")
    done = orin.run("with_clocks", "echo", "result")
    assert done.stdout == "result\n" and orin.log == [STORE, LOCK] and orin.stored.exists()


def test_no_command_is_a_usage_error(board):
    assert board().run("with_clocks").returncode == 2
