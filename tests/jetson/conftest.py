"""A made-up board for the scripts: a copy of its tree, and stand-ins for what only a Jetson has."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent.parent
SCRIPTS = REPOSITORY / "jetson"
TREES = REPOSITORY / "tests" / "data" / "jetson"

# As NVIDIA's: it sets limits in sysfs, asks before it overwrites, fails where there is nothing to restore, and exits
# with 0 after most failures. $BROKEN names one: lock, gpu (only the GPU's clock stays free), store, restore, loud (1).
JETSON_CLOCKS = """#!/usr/bin/env bash
echo "jetson_clocks $*" >>"$LOG"
broken=$(cat "$BROKEN" 2>/dev/null)
[ "$broken" != loud ] || exit 1
limits() { ls "$ROOT"/sys/class/devfreq/*g*/min_freq "$ROOT"/sys/devices/system/cpu/cpufreq/policy*/scaling_min_freq; }
case ${1:-lock} in
    --store)
        if [ -e "$2" ]; then echo "already exists. Can I overwrite it? Y/N:"; exit 1; fi
        [ "$broken" = store ] || for file in $(limits); do echo "$file:$(cat "$file")" >>"$2"; done
        ;;
    --restore)
        [ -e "$2" ] || exit 1
        [ "$broken" = restore ] || while IFS=: read -r file value; do echo "$value" >"$file"; done <"$2"
        ;;
    lock)
        for file in $(limits); do
            case $broken:$file in
                lock:* | gpu:*devfreq*) echo "Failed to max GPU frequency!" ;;
                *) cat "${file/min_freq/max_freq}" >"$file" ;;
            esac
        done
        ;;
esac
exit 0
"""
SUDO = """#!/usr/bin/env bash
echo "sudo $1" >>"$LOG"
if [ "$1" = -v ]; then exit; fi
exec "$@"
"""


class Board:
    """Runs scripts on a made-up board; `log` is what they had others do."""

    def __init__(self, folder, tree):
        self.root, self.bin = folder / "root", folder / "bin"
        self.stored, self._log, self.broken = self.root / "run" / "pomt-trt-clocks", folder / "log", folder / "broken"
        self.root.mkdir()
        if tree is not None:
            shutil.copytree(TREES / tree, self.root, dirs_exist_ok=True)
        (self.root / "run").mkdir()
        self.bin.mkdir()
        self.program("jetson_clocks", JETSON_CLOCKS)
        self.program("sudo", SUDO)
        self.program("id", "#!/bin/sh\necho 1000\n")
        self.program("nvpmodel", '#!/bin/sh\necho "nvpmodel $*" >>"$LOG"\n')
        self.program("apt-get", '#!/bin/sh\necho "apt-get $*" >>"$LOG"\n')
        self.environment = dict(
            os.environ,
            ROOT=str(self.root),
            LOG=str(self._log),
            BROKEN=str(self.broken),
            PATH="{}:{}".format(self.bin, os.environ["PATH"]),
        )

    def program(self, name, text):
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    @property
    def log(self):
        """What was done as root, without who did it."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [line.replace(" " + str(self.stored), " FILE") for line in lines if not line.startswith("sudo ")]

    def start(self, script, *arguments, before=None):
        return subprocess.Popen(
            [str(SCRIPTS / script), *map(str, arguments)],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=before,
        )

    def run(self, script, *arguments):
        process = self.start(script, *arguments)
        try:
            output, errors = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return subprocess.CompletedProcess(script, process.returncode, output, errors)


@pytest.fixture
def board(tmp_path):
    """Makes a Board of a tree's name; None is a machine that is no Jetson."""
    made = []

    def make(tree="orin-nano-jetpack-6.2"):
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Board(folder, tree))
        return made[-1]

    return make


@pytest.fixture
def eventually():
    """Waits until something has a value."""

    def wait(value, wanted, seconds=60.0):
        until = time.monotonic() + seconds
        while value() != wanted and time.monotonic() < until:
            time.sleep(0.02)
        assert value() == wanted

    return wait
