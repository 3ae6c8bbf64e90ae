"""The stand-in plugin registry: whose turn it is in each release, and which nodes the library makes nothing of."""

import pytest

from tests import simulator
from tests.simulator import graphs, plugins

RIGHT = {"R": 3, "prefix": 1, "score": "class", "plugin_version": "1", "plugin_namespace": ""}


@pytest.fixture
def load(monkeypatch):
    """load(is_loaded) says whether this process has loaded the library."""
    return lambda is_loaded=True: monkeypatch.setattr(plugins, "loaded", lambda: is_loaded)


@pytest.fixture
def library(load):
    load()


@pytest.fixture
def node(graph):
    """Writes a graph of one node, with these attributes changed (None leaves one out); returns its path."""

    def write(functions=(), **changes):
        attributes = {name: value for name, value in dict(RIGHT, **changes).items() if value is not None}
        node = graphs.op("PomtTokenTopK", ["x", "x"], ["y"], "pomt_trt", **attributes)
        return graph([node], (1, 4), functions=functions)

    return write


def ways(session, path):
    """(by_plugin, by_function) of the plan of a graph."""
    header = session.header(path)
    return len(header["by_plugin"]), len(header["by_function"])


def test_a_function_beats_the_plugin_from_9_0_to_10_6_only(session, library, node):
    expected = (0, 1) if session.board.table.release == "10.3.0" else (1, 0)
    assert ways(session, node(functions=["PomtTokenTopK"])) == expected


def test_from_10_15_on_a_function_gives_way_only_to_a_node_that_names_a_namespace(session, library, node):
    release = session.board.table.release
    expected = (0, 1) if release in ("10.3.0", "10.16.1", "11.4.0", simulator.RTX) else (1, 0)
    assert ways(session, node(functions=["PomtTokenTopK"], plugin_namespace=None)) == expected


def test_a_function_is_taken_where_there_is_no_plugin_from_9_0_on(session, node):
    path = node(functions=["PomtTokenTopK"])
    if session.board.table.release.startswith("8."):
        assert not session.parser(session.network()).parse_from_file(path)
        assert "Plugin not found" in session.errors
    else:
        assert ways(session, path) == (0, 1)


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"R": None}, "attributes R"),
        ({"R": 0}, "attributes R"),
        ({"prefix": None}, "attributes prefix"),
        ({"prefix": -1}, "attributes prefix"),
        ({"score": None}, "attributes score"),
        ({"score": "pomt"}, "attributes score"),
        ({"plugin_version": "2"}, "Plugin not found"),
        ({"plugin_namespace": "pomt"}, "Plugin not found"),
    ],
)
def test_a_node_with_wrong_fields_is_refused(session, library, node, changes, named):
    assert not session.parser(session.network()).parse_from_file(node(**changes))
    assert named in session.errors


def test_a_plan_is_not_opened_without_its_plugin(session, load, library, node):
    plan = session.built(node())
    load(False)
    assert session.engine(plan) is None
    assert "Cannot find plugin: PomtTokenTopK" in session.errors
