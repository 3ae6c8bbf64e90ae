"""pomt-trt verify on a compiled work folder, and on its bundle."""

import json
import os
import shutil

import pytest

pytest.importorskip("torch", reason="compiles a model of timm's")
pytest.importorskip("onnxruntime", reason="runs ONNX Runtime engines")

from pomt_trt.core.records import Engine
from pomt_trt.core.storage import store
from tests import compiled
from tests.compiled import call


def test_a_compiled_folder_and_its_bundle_are_right(work, capsys):
    code, out, _ = call(capsys, "verify", work, "--json")
    found = json.loads(out)
    assert code == 0 and found["not_compared"] == {}
    assert {check["candidate_id"] for check in found["checks"]} >= {"r000"}
    assert {check["against"].split()[0] for check in found["checks"]} == {"host", "onnxruntime"}
    assert max(check["parity"]["error"] for check in found["checks"]) < 1e-4
    code, out, _ = call(capsys, "verify", compiled.one(work, "bundle-"))
    assert code == 0 and "DIFFERS" not in out


def test_a_folder_without_engines_says_what_to_do(work, capsys):
    shutil.rmtree(os.path.join(work, "engines"))
    code, _, err = call(capsys, "verify", work)
    assert code == 3 and "holds no engine of this machine to compare. Build: pomt-trt build WORK" in err


def test_engines_of_another_device_are_named_and_not_compared(work, capsys):
    engines = os.path.join(work, "engines", os.listdir(os.path.join(work, "engines"))[0])
    for name in os.listdir(engines):
        if name.startswith("r") and name.endswith(".json"):
            stored = store.read_record(os.path.join(engines, name), Engine)
            device = stored.record.device._replace(id="elsewhere", processor="another processor")
            store.write_record(os.path.join(engines, name), stored.record._replace(device=device), stored.inputs)
    assert call(capsys, "verify", work)[0] == 3
