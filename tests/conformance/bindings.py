"""NVIDIA's own Python bindings, imported over stub libraries: what is really there in a release, without TensorRT.

Makes a description (classes, members, enum values, signatures) of each release from the wheel on PyPI, and
empty shared objects in place of TensorRT's libraries. On any x86-64 Linux with gcc and a network. What it cannot tell:
behaviour, and releases before 8.6.1, of which there are no wheels.
"""

import json
import os
import subprocess
import sys
from typing import Any, Dict, NamedTuple


class Wheel(NamedTuple):
    """Where a release's bindings are to be had."""

    release: str
    requirement: str
    package: str

    @property
    def major(self) -> str:
        return self.release.split(".")[0]


WHEELS = (
    Wheel("8.6.1", "tensorrt-bindings==8.6.1", "tensorrt_bindings"),
    Wheel("10.3.0", "tensorrt-cu12-bindings==10.3.0", "tensorrt_bindings"),
    Wheel("10.13.3", "tensorrt-cu12-bindings==10.13.3.9.post1", "tensorrt_bindings"),
    Wheel("10.16.1", "tensorrt-cu12-bindings==10.16.1.11", "tensorrt_bindings"),
    Wheel("11.4.0", "tensorrt-cu13-bindings==11.4.0.106", "tensorrt_bindings"),
)
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser", "nvparsers")  # the last only for 8.x
SYMBOLS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getBuilderPluginRegistry",
    "getPluginRegistry",
    "initLibNvInferPlugins",
    "getNvOnnxParserVersion",
    "_ZN11nvuffparser15createUffParserEv",
    "_ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi",
    "_ZN14nvcaffeparser117createCaffeParserEv",
    "_ZN14nvcaffeparser123shutdownProtobufLibraryEv",
)
# What pip says where there is no way to the index; a version that is not there reads otherwise.
_UNREACHABLE = ("Failed to establish a new connection", "name resolution", "Network is unreachable", "timed out")
_UNREACHABLE += ("connection broken", "Connection refused", "ProxyError")
_DESCRIBE = """
import importlib, json, sys
module = importlib.import_module(sys.argv[1])
found = {"version": module.__version__, "names": sorted(dir(module)), "classes": {}}
found["functions"] = {n: getattr(module, n).__doc__ or "" for n in dir(module) if callable(getattr(module, n))}
for name in dir(module):
    kind = getattr(module, name)
    if isinstance(kind, type):
        enum = getattr(kind, "__members__", None)
        found["classes"][name] = {
            "members": sorted(dir(kind)),
            "enum": {each: int(value) for each, value in enum.items()} if enum is not None else None,
            "docs": {member: str(getattr(getattr(kind, member), "__doc__", "")) for member in dir(kind)},
        }
print(json.dumps(found))
"""


class Unreachable(Exception):
    """There is no network, or no package index in it."""


def stubs(folder: str, major: str) -> None:
    """Compiles the libraries of a major release, empty, into a folder."""
    source = os.path.join(folder, "stubs.c")
    with open(source, "w") as file:
        file.writelines("void *{}(void) {{ return 0; }}\n".format(symbol) for symbol in SYMBOLS)
    for library in LIBRARIES:
        name = "lib{}.so.{}".format(library, major)
        output = os.path.join(folder, name)
        subprocess.run(["gcc", "-shared", "-fPIC", "-Wl,-soname," + name, "-o", output, source], check=True)


def install(wheel: Wheel, folder: str) -> None:
    """Unpacks the wheel, without what it depends on, into a folder.

    Raises: Unreachable; CalledProcessError where the index has no such wheel.
    """
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", "--retries", "1", "--timeout", "20", "--target", folder, wheel.requirement]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    said = [line for line in done.stdout.splitlines() if any(sign in line for sign in _UNREACHABLE)]
    if done.returncode and said:
        raise Unreachable(said[0])
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout)


def describe(wheel: Wheel, folder: str) -> Dict[str, Any]:
    """What the installed wheel holds, told by a process of its own."""
    variables = dict(os.environ, LD_LIBRARY_PATH=folder, PYTHONPATH=folder)
    command = [sys.executable, "-c", _DESCRIBE, wheel.package]
    done = subprocess.run(command, env=variables, stdout=subprocess.PIPE, universal_newlines=True, check=True)
    described: Dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return described
