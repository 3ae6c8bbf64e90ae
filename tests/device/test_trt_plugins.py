"""The library of plugins: which graphs ask for it, where it is found, and that an engine is held to the one it has."""

import pytest

from pomt_trt.core.errors import CorruptArtifact, MissingDependency
from pomt_trt.core.records import DeviceSpec, Engine
from pomt_trt.device import trt_plugins
from pomt_trt.device.trt_plugins import Library
from tests import simulator

ORIN = DeviceSpec("orin", "Orin", "tensorrt", "10.3.0", "Orin (16 SM)", 12, 1 << 30)
PC = ORIN._replace(engine="onnxruntime")
SOME = Library("/somewhere/libpomt_plugins.so", "0" * 64)


@pytest.fixture
def library(tmp_path):
    path = tmp_path / "libpomt_plugins.so"
    path.write_bytes(b"plugins")
    return trt_plugins.found(str(path))


def engine(details):
    return Engine("r001", ORIN, "r001.engine", "0" * 64, 1, None, (1, 3, 4, 4), 1, 0.0, details=details)


@pytest.mark.parametrize(
    "asked, device, library, taken",
    [
        ("on", ORIN, None, (True,)),
        ("off", ORIN, SOME, (False,)),
        ("auto", ORIN, SOME, (True, False)),
        ("auto", ORIN, None, (False, True)),
        ("auto", PC, SOME, (False, True)),
    ],
)
def test_auto_prefers_graphs_with_plugins_where_tensorrt_has_the_library(asked, device, library, taken):
    assert trt_plugins.forms(asked, device, library) == taken


def test_only_tensorrt_engines_of_graphs_with_plugins_need_the_library():
    assert trt_plugins.needed("op17-fp16", ORIN, SOME) is None
    assert trt_plugins.needed("op17-fp32-plugin", PC, None) is None
    assert trt_plugins.needed("op17-fp16-plugin-bare", ORIN, SOME) == SOME
    with pytest.raises(MissingDependency, match="need libpomt_plugins.so.*make -C plugins plugins.*--plugin off"):
        trt_plugins.needed("op17-fp16-plugin-bare", ORIN, None)


def test_a_library_is_found_where_it_is_named(library, tmp_path):
    assert library.path == str(tmp_path / "libpomt_plugins.so") and len(library.sha256) == 64
    assert trt_plugins.found(str(tmp_path / "none.so")) is None


def test_an_engine_finds_the_library_that_was_kept_beside_it(library, tmp_path):
    folder = tmp_path / "engines"
    folder.mkdir()
    told = trt_plugins.keep(library, str(folder))
    assert told == trt_plugins.keep(library, str(folder))  # once is enough
    there = trt_plugins.beside(engine({"plugin": told}), str(folder))
    assert there == Library(str(folder / told["file"]), library.sha256)
    assert trt_plugins.beside(engine(None), str(folder)) is None
    (folder / told["file"]).write_bytes(b"others")
    with pytest.raises(CorruptArtifact, match="missing beside it or others.*build the engine again"):
        trt_plugins.beside(engine({"plugin": told}), str(folder))


def test_a_path_in_a_record_leads_nowhere_else(library, tmp_path):
    folder = tmp_path / "engines"
    folder.mkdir()
    with pytest.raises(CorruptArtifact):
        trt_plugins.beside(engine({"plugin": {"file": library.path, "sha256": library.sha256}}), str(folder))


def test_a_process_takes_the_plugins_of_one_library(library, monkeypatch):
    monkeypatch.setattr(trt_plugins, "_loaded", {"1" * 64: object()})
    with simulator.installed("10.3.0"):
        import tensorrt

        with pytest.raises(MissingDependency, match="already has other plugins .*process of its own"):
            trt_plugins.load(tensorrt, library)
        trt_plugins.load(tensorrt, library._replace(sha256="1" * 64))


def test_a_library_that_changed_on_the_way_is_not_loaded(library, monkeypatch):
    monkeypatch.setattr(trt_plugins, "_loaded", {})
    with simulator.installed("8.2"):
        import tensorrt

        with pytest.raises(CorruptArtifact, match="has changed"):
            trt_plugins.load(tensorrt, library._replace(sha256="2" * 64))
        with pytest.raises(MissingDependency, match="does not load.*make -C plugins"):
            trt_plugins.load(tensorrt, library)
