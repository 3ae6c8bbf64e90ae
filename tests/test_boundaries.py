"""What each room may import: read from the source, and tried where torch and its like are not there."""

import ast
import os
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PACKAGE = os.path.join(ROOT, "pomt_trt")
BLOCKED = ("torch", "timm", "onnx", "tensorrt", "tensorrt_rtx", "pycuda", "matplotlib", "sklearn")
BLOCKED += ("safetensors", "accelerate")

# room -> what its files may import besides the standard library and themselves, at the top or inside functions ("lazy")
HOST_LIBRARIES = {"accelerate", "torch", "timm", "onnx", "onnxruntime", "numpy", "PIL", "safetensors", "sklearn"}
ROOMS = {
    "core": ({"core"}, set()),
    "device": ({"core", "device", "numpy", "PIL"}, {"onnxruntime", "tensorrt", "tensorrt_rtx", "pycuda", "polygraphy"}),
    "host": ({"core", "host"} | HOST_LIBRARIES, set()),
    "report": ({"core", "report"}, {"matplotlib"}),
    "baselines": ({"core", "device", "numpy"}, {"torch", "baselines"}),
    "pipeline": ({"core", "device", "pipeline"}, {"host", "report", "baselines"}),
    "cli": ({"core", "cli"}, {"pipeline", "device"}),
    "infer": ({"core", "device", "numpy"}, {"PIL", "pipeline"}),
    "__main__": ({"cli"}, set()),
    "__init__": (set(), {"core", "pipeline", "device", "host"}),
}
# single files that may import more at the top than their room: what is only ever run where torch is
FILES = {
    "baselines/plain_vit.py": {"torch"},
    "baselines/plain_weights.py": {"host"} | HOST_LIBRARIES,
    "baselines/timm_eager.py": {"host"} | HOST_LIBRARIES,
}
# core is numbers and files: only what computes on arrays needs numpy, and only inside the functions that do where a
# machine without numpy must get this far (pomt-trt doctor)
CORE_WITH_NUMPY = ("statistics/", "search/", "metrics/", "schedules/block_costs", "schedules/schedule_pareto")
CORE_WITH_PILLOW = "data/images"  # one decoder for host and device, which may not import each other


def sources():
    """path below pomt_trt of every module."""
    found = []
    for folder, folders, names in os.walk(PACKAGE):
        folders[:] = [name for name in folders if name != "__pycache__"]
        found += [os.path.relpath(os.path.join(folder, name), PACKAGE) for name in names if name.endswith(".py")]
    return sorted(found)


def room_of(path):
    return path.split(os.sep)[0].replace(".py", "")


def imports(path):
    """(name, lazy) of all imports of one module; relative to pomt_trt where they are ours."""
    with open(os.path.join(PACKAGE, path), encoding="utf-8") as file:
        tree = ast.parse(file.read())
    found = []

    def visit(node, lazy):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                found.extend((alias.name, lazy) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, "{} imports relatively".format(path)
                found.extend((_full(child.module, alias.name), lazy) for alias in child.names)
            visit(child, lazy or isinstance(child, (ast.FunctionDef, ast.Lambda)))

    visit(tree, False)
    return [(name[len("pomt_trt.") :] if name.startswith("pomt_trt.") else name, lazy) for name, lazy in found]


def _full(module, name):
    """pomt_trt.core + stats -> pomt_trt.core.statistics.stats; numpy + array -> numpy."""
    return "{}.{}".format(module, name) if module.split(".")[0] == "pomt_trt" else module


def is_standard(name):
    known = getattr(sys, "stdlib_module_names", None)
    if known is not None:
        return name.split(".")[0] in known
    return not any(name.split(".")[0] == other for other in (*HOST_LIBRARIES, "matplotlib", *ROOMS))


def allowed(name, names):
    return any(name == one or name.startswith(one + ".") for one in names)


@pytest.mark.parametrize("path", sources())
def test_a_module_imports_only_what_its_room_may(path):
    room = room_of(path)
    if room == "zoo":
        return
    top, lazy = ROOMS[room]
    below = path.replace(os.sep, "/")[len("core/") :]
    top = top | FILES.get(path.replace(os.sep, "/"), set())
    if room == "core" and below.startswith(CORE_WITH_NUMPY):
        top = top | {"numpy"}
    if room == "core" and below.startswith(CORE_WITH_PILLOW):
        top = top | {"numpy", "PIL"}
    for name, is_lazy in imports(path):
        if is_standard(name) or name in ("__version__", "pomt_trt"):
            continue
        permitted = top | lazy if is_lazy else top
        assert allowed(name, permitted), "pomt_trt/{} imports {}{}".format(path, name, " lazily" if is_lazy else "")


def on_both_machines():
    """Module names of all that runs on a board."""
    elsewhere = ("host", "report", "zoo", "__main__")
    paths = [path for path in sources() if room_of(path) not in elsewhere and path.replace(os.sep, "/") not in FILES]
    names = ["pomt_trt." + path[: -len(".py")].replace(os.sep, ".") for path in paths]
    return sorted(name[: -len(".__init__")] if name.endswith(".__init__") else name for name in names)


def test_a_board_needs_nothing_of_the_workstation():
    """Each module of the 3.6 rooms, imported where torch, timm, onnx, tensorrt and pycuda cannot be."""
    program = (
        "import sys, importlib\n"
        "for name in {!r}: sys.modules[name] = None\n"
        "for name in {!r}: importlib.import_module(name)\n"
        "assert not [n for n in sys.modules if n.startswith(('pomt_trt.host', 'pomt_trt.report'))]\n"
        "assert 'onnxruntime' not in sys.modules, 'onnxruntime is imported before it is needed'\n"
    ).format(BLOCKED, on_both_machines())
    environment = dict(os.environ, PYTHONPATH=ROOT)
    done = subprocess.run([sys.executable, "-c", program], env=environment, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("command", [["doctor", "--json"], ["--version"], ["compile", "--help"]])
def test_the_command_starts_where_nothing_is_installed(command):
    program = (
        "import sys\nfor name in {!r}: sys.modules[name] = None\nfrom pomt_trt import cli\nsys.exit(cli.main({!r}))\n"
    ).format(BLOCKED + ("numpy", "PIL", "onnxruntime"), command)
    environment = dict(os.environ, PYTHONPATH=ROOT)
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert b"Traceback" not in done.stderr and done.returncode in (0, 4), done.stderr.decode()
    assert done.stdout


def test_no_modules_import_each_other_in_a_circle():
    modules = {path[: -len(".py")].replace(os.sep, ".").replace(".__init__", ""): path for path in sources()}

    def imported(module):
        names = [name for name, _ in imports(modules[module])]
        found = {next((name for name in (full, full.rpartition(".")[0]) if name in modules), module) for full in names}
        return found - {module}

    def reached(module):
        found, left = set(), [module]
        while left:
            new = imported(left.pop()) - found
            found |= new
            left += new
        return found

    assert "device.engines.onnxruntime" in reached("device.timing.worker"), "imports inside functions count"
    assert [module for module in modules if module in reached(module)] == []
