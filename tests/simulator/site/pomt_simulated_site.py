"""What the packages beside this are made of: the stand-in of the release that POMT_SIMULATED_TENSORRT names."""

import importlib.util
import os
import sys

_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_NAME = "pomt_simulator"  # of its own, so that no package of tests is taken for another's


def put_in_place(package: str) -> None:
    """Puts the stand-ins into sys.modules. Raises: ImportError where `package` is not of that release."""
    if _NAME not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            _NAME, os.path.join(_FOLDER, "__init__.py"), submodule_search_locations=[_FOLDER]
        )
        assert spec is not None and spec.loader is not None
        sys.modules[_NAME] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[_NAME])
    made = sys.modules[_NAME].modules_of_environment()
    if package not in made:
        raise ImportError("{} is not of the simulated release, which is {}".format(package, ", ".join(sorted(made))))
    sys.modules.update(made)
