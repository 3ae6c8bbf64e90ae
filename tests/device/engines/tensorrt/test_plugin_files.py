"""The library of plugins: which graphs ask for it, where it is found, and that an engine is held to the one it has."""

import pytest

from pomt_trt.core.errors import CorruptArtifact, MissingDependency
from pomt_trt.core.records import DeviceSpec, Engine
from pomt_trt.device.engines.tensorrt import plugin_files
from pomt_trt.device.engines.tensorrt.plugin_files import Library
from tests import simulator

ORIN = DeviceSpec("orin", "Orin", "tensorrt", "10.3.0", "Orin (16 SM)", 12, 1 << 30)
PC = ORIN._replace(engine="onnxruntime")
SOME = Library("/somewhere/libpomt_plugins.so", "0" * 64)


@pytest.fixture
def library(tmp_path):
    path = tmp_path / "libpomt_plugins.so"
    path.write_bytes(b"plugins")
    return plugin_files.found(str(path))


@pytest.fixture
def registered(monkeypatch):
    """The libraries that this process has registered: none."""
    monkeypatch.setattr(plugin_files, "registered", {})
    return plugin_files.registered


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
    assert plugin_files.forms(asked, device, library) == taken


def test_only_tensorrt_engines_of_graphs_with_plugins_need_the_library():
    assert plugin_files.needed("op17-fp16", ORIN, SOME) is None
    assert plugin_files.needed("op17-fp32-plugin", PC, None) is None
    assert plugin_files.needed("op17-fp16-plugin-bare", ORIN, SOME) == SOME
    with pytest.raises(MissingDependency, match="need libpomt_plugins.so.*make -C plugins plugins.*--plugin off"):
        plugin_files.needed("op17-fp16-plugin-bare", ORIN, None)


def test_a_library_is_found_where_it_is_named(library, tmp_path):
    assert library.path == str(tmp_path / "libpomt_plugins.so") and len(library.sha256) == 64
    assert plugin_files.found(str(tmp_path / "none.so")) is None


def test_an_engine_finds_the_library_that_was_kept_beside_it(library, tmp_path):
    folder = tmp_path / "engines"
    folder.mkdir()
    told = plugin_files.keep(library, str(folder))
    assert told == plugin_files.keep(library, str(folder))  # once is enough
    there = plugin_files.beside(engine({"plugin": told}), str(folder))
    assert there == Library(str(folder / told["file"]), library.sha256)
    assert plugin_files.beside(engine(None), str(folder)) is None
    (folder / told["file"]).write_bytes(b"others")
    with pytest.raises(CorruptArtifact, match="missing beside it or changed.*build the engine again"):
        plugin_files.beside(engine({"plugin": told}), str(folder))


def test_a_path_in_a_record_leads_nowhere_else(library, tmp_path):
    folder = tmp_path / "engines"
    folder.mkdir()
    with pytest.raises(CorruptArtifact):
        plugin_files.beside(engine({"plugin": {"file": library.path, "sha256": library.sha256}}), str(folder))


def test_a_process_takes_the_plugins_of_one_library(library, registered):
    registered["1" * 64] = object()
    with simulator.installed("10.3.0"):
        import tensorrt

        with pytest.raises(MissingDependency, match="already has other plugins .*process of its own"):
            plugin_files.register(tensorrt, library)
        plugin_files.register(tensorrt, library._replace(sha256="1" * 64))


def test_a_library_that_changed_on_the_way_is_not_loaded(library, registered):
    with simulator.installed("8.2"):
        import tensorrt

        with pytest.raises(CorruptArtifact, match="has changed"):
            plugin_files.register(tensorrt, library._replace(sha256="2" * 64))
        with pytest.raises(MissingDependency, match="does not load.*make -C plugins"):
            plugin_files.register(tensorrt, library)
