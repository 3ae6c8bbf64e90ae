"""Becomes the stand-in of the release that POMT_SIMULATED_TENSORRT names; see tests/simulator."""

import importlib.util
import os
import sys

_FOLDER = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_NAME = "pomt_simulator"  # of its own, so that no package of tests is taken for another's

_spec = importlib.util.spec_from_file_location(
    _NAME, os.path.join(_FOLDER, "__init__.py"), submodule_search_locations=[_FOLDER]
)
assert _spec is not None and _spec.loader is not None
sys.modules[_NAME] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sys.modules[_NAME])
sys.modules.update(sys.modules[_NAME].modules_of_environment())
