"""Our plugins and the real registry, without a GPU: the parser alone needs one, and ends the process without it.

The library is compiled with the kernels' bodies for a processor, against NVIDIA's headers where they are found here
(tests/plugins/test_wrappers.py says where), and linked to TensorRT-RTX itself.
"""

import glob
import json
import os
import shutil
import subprocess
import sys

import pytest

from pomt_trt.core.errors import MissingDependency
from pomt_trt.device.engines.tensorrt import plugin_files
from tests.plugins import compilers, test_wrappers
from tests.rtx import fields


def native_library(trt):
    """The path of TensorRT-RTX's own library."""
    import tensorrt_rtx_libs

    (path,) = glob.glob(os.path.join(os.path.dirname(tensorrt_rtx_libs.__file__), "libtensorrt_rtx.so.*"))
    return path


@pytest.fixture(scope="module")
def plugins(trt, tmp_path_factory):
    """Path of our library, linked to TensorRT-RTX."""
    newest = [folder for folder in test_wrappers.found() if "MAJOR 1" in version(folder)]
    if not newest or shutil.which("g++") is None:
        pytest.skip("no headers of TensorRT 10 or later here: set TENSORRT_INCLUDE to a folder that holds them")
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "cuda_runtime_api.h").write_text(test_wrappers.CUDA_TYPES)
    path = str(folder / "libpomt_plugins.so")
    sources = [os.path.join(compilers.PLUGINS, "tensorrt", "register.cpp")]
    sources.append(os.path.join(compilers.HERE, "host_kernels.cpp"))
    flags = ["-std=c++14", "-O1", "-shared", "-fPIC", "-pthread", "-isystem", newest[-1], "-isystem", str(folder)]
    compilers.command(["g++", *flags, *sources, native_library(trt), "-o", path])
    return path


def version(folder):
    with open(os.path.join(folder, "NvInferVersion.h")) as file:
        return file.read()


def test_the_registry_makes_our_plugins_of_right_fields_and_none_of_wrong_ones(plugins):
    program = [sys.executable, "-m", "tests.rtx.fields", plugins]
    variables = dict(os.environ, LD_LIBRARY_PATH=os.path.dirname(native_library(None)))
    done = subprocess.run(program, cwd=compilers.ROOT, env=variables, stdout=subprocess.PIPE, text=True, check=True)
    for name, found in json.loads(done.stdout.splitlines()[-1]).items():
        assert found["right"], name
        assert not any(found["wrong"]), (name, dict(zip(map(str, fields.WRONG), found["wrong"])))


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not here, which makes a library")
def test_a_library_that_registers_nothing_is_refused_by_the_real_registry(trt, tmp_path, monkeypatch):
    source, path = str(tmp_path / "empty.c"), str(tmp_path / "libempty.so")
    with open(source, "w") as file:
        file.write("int nothing;")
    subprocess.run(["gcc", "-shared", "-fPIC", source, "-o", path], check=True)
    monkeypatch.setattr(plugin_files, "registered", {})
    told = "TensorRT-RTX 1.7.1.* does not know PomtTokenPrune and PomtTokenTopK"
    with pytest.raises(MissingDependency, match=told):
        plugin_files.register(trt, plugin_files.found(path))
