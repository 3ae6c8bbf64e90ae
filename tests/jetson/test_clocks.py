"""Setting clocks, giving them back however a command ends, and leaving the power mode alone."""

import os
import shutil
import signal
import sys

import pytest

STORE, LOCK, RESTORE = "jetson_clocks --store FILE", "jetson_clocks ", "jetson_clocks --restore FILE"


def test_clocks_are_stored_before_they_are_locked_and_given_back_once(board):
    orin = board()
    assert orin.run("set_clocks").returncode == 0
    assert orin.log == [STORE, LOCK] and orin.stored.exists()
    second = orin.run("set_clocks")  # keeps what they were first
    assert second.returncode == 0 and "set already" in second.stderr and orin.log == [STORE, LOCK]
    assert orin.run("restore_clocks").returncode == 0
    assert orin.log == [STORE, LOCK, RESTORE] and not orin.stored.exists()
    again = orin.run("restore_clocks")
    assert again.returncode == 0 and "nothing to restore" in again.stderr and orin.log[3:] == []


def limits(machine):
    """Limits of the clocks of GPU and CPU."""
    return {
        str(path.relative_to(machine.root)): path.read_text().strip()
        for pattern in ("sys/class/devfreq/*g*/m*_freq", "sys/devices/system/cpu/cpufreq/*/scaling_m*_freq")
        for path in machine.root.glob(pattern)
    }


@pytest.mark.parametrize("tree", ["tx2-jetpack-4.6.6", "orin-nano-jetpack-6.2", "agx-thor-jetpack-7.2"])
def test_clocks_are_locked_and_given_back_to_the_value(board, tree):
    machine = board(tree)
    before = limits(machine)
    done = machine.run("set_clocks")
    assert done.returncode == 0 and "clocks are locked" in done.stderr, done.stderr
    locked = limits(machine)
    assert locked != before and all(value == locked[name.replace("min", "max")] for name, value in locked.items())
    assert machine.run("restore_clocks").returncode == 0 and limits(machine) == before


@pytest.mark.parametrize("broken, named", [("lock", ["cpu0 345.6 to", "gpu 114.75 to"]), ("gpu", ["gpu 114.75 to"])])
def test_clocks_that_still_move_are_never_called_locked(board, broken, named):
    """jetson_clocks prints its failure and exits with 0."""
    orin = board("tx2-jetpack-4.6.6")
    orin.broken.write_text(broken)
    done = orin.run("set_clocks")
    assert done.returncode == 4 and "may still move" in done.stderr, done.stderr
    assert all(text in done.stderr for text in named) and ("cpu0 345.6" in done.stderr) == (broken == "lock")
    assert "clocks are locked" not in done.stderr and orin.stored.exists()


def test_what_was_not_locked_is_locked_by_the_next_attempt_and_stored_only_once(board):
    orin = board()
    before = limits(orin)
    orin.broken.write_text("gpu")
    orin.run("set_clocks")
    orin.broken.unlink()
    assert orin.run("set_clocks").returncode == 0
    assert orin.log == [STORE, LOCK, LOCK]
    assert orin.run("restore_clocks").returncode == 0 and limits(orin) == before


def test_nothing_is_locked_where_what_is_there_cannot_be_stored(board):
    orin = board()
    before = limits(orin)
    orin.broken.write_text("store")
    done = orin.run("set_clocks")
    assert done.returncode == 4 and "left no state" in done.stderr
    assert orin.log == [STORE] and limits(orin) == before


def test_what_is_stored_is_kept_until_it_is_restored(board):
    orin = board()
    before = limits(orin)
    orin.run("set_clocks")
    orin.broken.write_text("restore")
    done = orin.run("restore_clocks")
    assert done.returncode == 4 and "clocks are not as they were" in done.stderr and orin.stored.exists()
    assert "gpu 612 612" in done.stderr and "gpu 306 612" in done.stderr  # both values
    orin.broken.unlink()
    assert orin.run("restore_clocks").returncode == 0
    assert limits(orin) == before and not list(orin.stored.parent.glob("pomt-trt-clocks*"))


def test_a_gpu_whose_clock_cannot_be_read_is_not_called_locked(board):
    orin = board()
    shutil.rmtree(orin.root / "sys" / "class" / "devfreq")
    done = orin.run("set_clocks")
    assert done.returncode == 4 and "the GPU's clock cannot be read back" in done.stderr


def test_a_memory_clock_below_its_highest_rate_is_said(board):
    assert "the memory's clock is at 665.6 of" in board("agx-thor-jetpack-7.2").run("set_clocks").stderr


@pytest.mark.parametrize(
    "tree, mode, command",
    [
        ("tx2-jetpack-4.6.6", "MAXP_CORE_ARM (number 3)", "sudo nvpmodel -m 0  # MAXN;"),
        ("orin-nano-jetpack-6.2", "15W (number 0)", "sudo nvpmodel -m 2  # MAXN_SUPER;"),
        ("agx-thor-jetpack-7.2", "120W (number 1)", "sudo nvpmodel -m 0  # MAXN;"),
        ("agx-orin-jetpack-6.2", "MAXN (number 0)", ""),
    ],
)
def test_the_command_for_the_mode_without_limits_is_printed_by_its_name(board, tree, mode, command):
    machine = board(tree)
    done = machine.run("power_mode")
    assert done.returncode == 0 and "power mode: " + mode in done.stderr
    assert done.stdout.startswith(command) and (command or "MAXN is set already" in done.stderr)
    assert "power mode: " + mode in machine.run("set_clocks").stderr
    assert not [line for line in machine.log if line.startswith("nvpmodel")]


def test_any_mode_is_found_by_its_name(board):
    orin = board("agx-orin-jetpack-6.2")
    assert orin.run("power_mode", "MODE_50W").stdout.startswith("sudo nvpmodel -m 3  # MODE_50W")
    unknown = orin.run("power_mode", "60W")
    assert unknown.returncode == 2 and "mode '60W' is not in" in unknown.stderr and unknown.stdout == ""


def test_where_no_mode_is_without_limits_a_name_is_asked_for(board):
    orin = board()
    (orin.root / "etc" / "nvpmodel.conf").write_text("< POWER_MODEL ID=4 NAME=MODE_20W_6CORE >\n")
    done = orin.run("power_mode")
    assert done.returncode == 0 and done.stdout == "" and "MODE_20W_6CORE" in done.stderr and "NAME" in done.stderr
    assert orin.run("power_mode", "MODE_20W_6CORE").stdout.startswith("sudo nvpmodel -m 4  # MODE_20W_6CORE")


def test_without_a_table_of_modes_clocks_are_set_all_the_same(board):
    orin = board()
    os.remove(orin.root / "etc" / "nvpmodel.conf")
    assert orin.run("power_mode").returncode == 4
    done = orin.run("set_clocks")
    assert done.returncode == 0 and "power mode: not known" in done.stderr and orin.log == [STORE, LOCK]


def test_a_dry_run_prints_what_would_be_done_and_does_nothing(board):
    orin = board()
    printed = orin.run("set_clocks", "--dry-run").stdout.splitlines()
    assert printed == [f"+ sudo jetson_clocks --store {orin.stored}", "+ sudo jetson_clocks"]
    orin.stored.touch()
    printed = orin.run("restore_clocks", "--dry-run").stdout.splitlines()
    removed = f"+ sudo rm -f {orin.stored} {orin.stored}.limits"
    assert printed == [f"+ sudo jetson_clocks --restore {orin.stored}", removed]
    assert orin.log == [] and orin.stored.exists()


def test_a_machine_that_is_no_jetson_is_refused(board):
    machine = board(None)
    done = machine.run("set_clocks")
    assert done.returncode == 8 and "no Jetson" in done.stderr and machine.log == []


@pytest.mark.parametrize("script", ["power_mode", "set_clocks", "restore_clocks"])
def test_a_flag_that_is_not_known_is_a_usage_error(board, script):
    done = board().run(script, "--force")
    assert done.returncode == 2 and "'--force' is not known" in done.stderr


@pytest.mark.parametrize("code", [0, 3])
def test_a_command_runs_under_locked_clocks_and_its_exit_code_is_passed_on(board, code):
    orin = board()
    done = orin.run("with_clocks", "bash", "-c", f'echo "command $1" >>"$LOG"; echo out; exit {code}', "x", "a b")
    assert done.returncode == code and done.stdout == "out\n"
    assert orin.log == [STORE, LOCK, "command a b", RESTORE] and not orin.stored.exists()


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


@pytest.mark.parametrize("broken", ["loud", "lock", "gpu"])
def test_a_command_does_not_run_where_clocks_cannot_be_locked(board, broken):
    orin = board()
    before = limits(orin)
    orin.broken.write_text(broken)
    done = orin.run("with_clocks", "touch", orin.root / "ran")
    assert done.returncode == 4 and "the command was not run" in done.stderr
    assert not (orin.root / "ran").exists() and limits(orin) == before


@pytest.mark.parametrize("code, told", [(0, 4), (3, 3)])
def test_clocks_that_cannot_be_given_back_are_an_error_of_a_command_that_went_well(board, code, told):
    orin = board()
    done = orin.run("with_clocks", "sh", "-c", f"echo restore >{orin.broken}; exit {code}")
    assert done.returncode == told and "clocks are not as they were" in done.stderr and orin.stored.exists()


def test_clocks_that_were_set_before_stay_so_afterwards(board):
    orin = board()
    orin.run("set_clocks")
    done = orin.run("with_clocks", "echo", "result")
    assert done.stdout == "result\n" and orin.log == [STORE, LOCK] and orin.stored.exists()


def test_a_command_does_not_run_where_clocks_were_set_and_move_all_the_same(board):
    orin = board()
    orin.run("set_clocks")
    (orin.root / "sys/class/devfreq/17000000.gpu/min_freq").write_text("306000000\n")
    done = orin.run("with_clocks", "touch", orin.root / "ran")
    assert done.returncode == 4 and "may move all the same: gpu 306 to 612 MHz" in done.stderr
    assert not (orin.root / "ran").exists() and orin.stored.exists()


@pytest.mark.parametrize("script", ["set_clocks", "restore_clocks"])
def test_where_clocks_cannot_be_read_nothing_is_claimed(board, script):
    orin = board()
    orin.run("set_clocks")
    orin.program("python3", "#!/bin/sh\necho 'no such file' >&2\nexit 2\n")
    done = orin.run(script)
    assert done.returncode == 4 and orin.stored.exists()
    assert "clocks are set already" not in done.stderr and "clocks are as they were" not in done.stderr


def test_no_command_is_a_usage_error(board):
    assert board().run("with_clocks").returncode == 2
