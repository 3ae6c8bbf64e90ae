"""Files of a work folder and a bundle: no room for a copy, and a bundle that cannot be written."""

import ctypes
import glob
import os
import shutil

import pytest

pytest.importorskip("torch", reason="compiles a model, which belongs to the workstation")

from pomt_trt.core.storage.bundle import open_bundle  # noqa: E402
from tests import compiled, fakes  # noqa: E402
from tests.compiled import call, files  # noqa: E402

WEIGHTS = "onnx/op17-fp32/weights.bin"
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1  # linux/prctl.h, linux/capability.h


def no_room_for_weights(work):
    """Graphs and engines fit, weights.bin does not."""
    return fakes.files_at_most(os.path.getsize(os.path.join(work, WEIGHTS)) // 2)


def test_no_room_beside_the_engines_is_said_and_the_same_command_goes_on(work, capsys):
    shutil.rmtree(os.path.join(work, "engines"))
    with no_room_for_weights(work):
        code, out, err = call(capsys, "build", work, "--threads", "1")
    assert (code, out) == (12, "") and "cannot write" in err and "weights.bin: File too large. Choose another" in err
    assert not compiled.leftovers(work) and not glob.glob(os.path.join(work, "engines/*/*"))
    assert call(capsys, "build", work, "--threads", "1")[0] == 0


def test_no_room_in_a_bundle_is_said_and_leaves_none_by_halves(work, capsys):
    bundle = compiled.one(work, "bundle-")
    shutil.rmtree(bundle)
    with no_room_for_weights(work):
        code, out, err = call(capsys, "bundle", work, "--threads", "1")
    assert (code, out) == (12, "") and "cannot write" in err and "weights.bin" in err
    assert not compiled.leftovers(work) and not os.path.exists(bundle)
    assert call(capsys, "bundle", work, "--threads", "1")[0] == 0
    open_bundle(bundle)


def heeding_permissions():
    """In a child before it starts: root, too, may then write only where the mode lets it."""
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)


def infer(*arguments):
    return compiled.run(*arguments, module="pomt_trt.infer", preexec_fn=heeding_permissions)


@pytest.fixture
def read_only(work):
    """A bundle that nobody may write to, nor to the folder that it is in."""
    bundle = compiled.one(work, "bundle-")
    for path in [os.path.join(bundle, name) for name in os.listdir(bundle)]:
        os.chmod(path, 0o444)
    for folder in (bundle, work):
        os.chmod(folder, 0o555)
    yield bundle
    for folder in (bundle, work):
        os.chmod(folder, 0o755)


def test_a_read_only_bundle_is_inferred_from_and_evaluated(read_only):
    data, before = os.path.join(compiled.source(), "data"), files(read_only)
    code, out, err = compiled.run("evaluate", read_only, data, "--json", preexec_fn=heeding_permissions)
    assert code == 0 and '"top1"' in out, err
    code, out, err = infer(read_only, data, "--json")
    assert code == 0 and len(out.splitlines()) == 10, err
    code, out, err = infer(read_only, "--rebuild")
    assert code == 12 and "no permission to write" in err
    assert files(read_only) == before
