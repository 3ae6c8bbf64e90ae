"""One process at a time writes in a work folder, and finds it tidy."""

import contextlib
import errno
import os
import subprocess
import sys

import pytest

from pomt_trt.core.errors import WorkFolderUnusable
from pomt_trt.core.storage import store
from pomt_trt.core.storage.workfolder import disk_bytes, locked
from tests.paths import ROOT

HOLD = """
import sys
from pomt_trt.core.storage import store
from pomt_trt.core.storage.workfolder import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    {}
"""


@contextlib.contextmanager
def holder(folder, then="sys.stdin.readline()"):
    """Another process that holds the lock of `folder`, until it is told to go on."""
    environment = dict(os.environ, PYTHONPATH=ROOT)
    command = [sys.executable, "-c", HOLD.format(then), str(folder)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    with child:
        try:
            assert child.stdout.readline() == b"held\n"
            yield child
        finally:
            child.kill()


def sorted_names(folder):
    return sorted(name for name in os.listdir(str(folder)) if name != ".lock")


def test_a_folder_held_by_another_process_is_refused_with_its_number(tmp_path):
    with holder(tmp_path) as child:
        message = "in use by process {}. Wait for it, or".format(child.pid)
        with pytest.raises(WorkFolderUnusable, match=message), locked(str(tmp_path)):
            pass
    with locked(str(tmp_path)):  # the lock went with the process
        pass


def test_a_lock_is_given_back_at_the_end_and_after_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), locked(str(tmp_path)):
            raise ZeroDivisionError
    with locked(str(tmp_path)):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())


def test_what_a_killed_process_left_unfinished_is_removed_with_the_next_lock(tmp_path):
    (tmp_path / "engines").mkdir()
    (tmp_path / "engines" / "r056.engine").write_bytes(b"whole")
    unfinished = """
    with store.replacing(sys.argv[1] + "/engines/r056.engine") as temporary:
        open(temporary, "w").write("half")
        print("writing", flush=True)
        sys.stdin.readline()"""
    with holder(tmp_path, unfinished) as child:
        assert child.stdout.readline() == b"writing\n"
        child.kill()
        child.wait()
    assert len(sorted_names(tmp_path / "engines")) == 2
    (tmp_path / ".part-bundle").mkdir()
    (tmp_path / ".part-bundle" / "file").write_bytes(b"half")
    with locked(str(tmp_path)):
        assert sorted_names(tmp_path / "engines") == ["r056.engine"] and sorted_names(tmp_path) == ["engines"]
    assert (tmp_path / "engines" / "r056.engine").read_bytes() == b"whole"


def test_weights_with_a_second_name_are_copied_with_the_next_lock(tmp_path):
    """As in a folder of 0.2, whose weights.bin lay beside graphs, engines and in the bundle as one file."""
    names = [tmp_path / folder / "weights.bin" for folder in ("onnx", "engines", "bundle")]
    for name in names:
        name.parent.mkdir()
    names[0].write_bytes(b"weights")
    for name in names[1:]:
        os.link(str(names[0]), str(name))
    with locked(str(tmp_path)):
        pass
    assert [(name.read_bytes(), name.stat().st_nlink) for name in names] == [(b"weights", 1)] * 3
    assert len({name.stat().st_ino for name in names}) == 3


def test_other_files_may_have_a_second_name(tmp_path):
    (tmp_path / "r000.engine").write_bytes(b"engine")
    os.link(str(tmp_path / "r000.engine"), str(tmp_path / "second"))
    with locked(str(tmp_path)):
        assert os.path.samefile(str(tmp_path / "r000.engine"), str(tmp_path / "second"))


def test_unfinished_files_of_a_work_folder_inside_this_one_are_its_own(tmp_path):
    inner = tmp_path / "inner"
    with locked(str(inner)), store.replacing(str(inner / "onnx" / "file")), locked(str(tmp_path)):
        assert len(sorted_names(inner / "onnx")) == 1


def test_a_file_system_without_locks_is_not_called_in_use(tmp_path, monkeypatch):
    import fcntl

    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    message = "cannot be locked: No locks available. Choose a --work folder on"
    with pytest.raises(WorkFolderUnusable, match=message), locked(str(tmp_path)):
        pass


def test_what_a_folder_takes_on_the_disk_is_what_du_says(tmp_path):
    (tmp_path / "engines").mkdir()
    (tmp_path / "engines" / "weights.bin").write_bytes(bytes(range(256)) * 4096)
    (tmp_path / "small").write_bytes(b"x")
    blocks = subprocess.check_output(["du", "--summarize", "--block-size=512", str(tmp_path)])
    assert disk_bytes(str(tmp_path)) == int(blocks.split()[0]) * 512 > 1 << 20
