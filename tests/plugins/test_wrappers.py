"""The TensorRT wrappers: they compile against each set of real headers found here, and the harness drives them.

Headers are NVIDIA's and never in this repository. They are looked for where packages put them and in the folders that
TENSORRT_INCLUDE names (parted by colons); where there are none, these tests are skipped.
"""

import glob
import os
import pathlib
import re
import subprocess

import pytest

from tests.plugins import compilers

pytestmark = compilers.needs_gxx

PLACES = ["/usr/include/*-linux-gnu", "/usr/include", "/usr/local/tensorrt*/include", "/usr/local/TensorRT*/include"]
CUDA_TYPES = """#pragma once
typedef struct CUstream_st* cudaStream_t;
typedef struct CUevent_st* cudaEvent_t;
typedef enum cudaError { cudaSuccess = 0 } cudaError_t;
"""


def found():
    """Folders with TensorRT's headers."""
    named = filter(None, os.environ.get("TENSORRT_INCLUDE", "").split(os.pathsep))
    places = [*named, *(folder for place in PLACES for folder in sorted(glob.glob(place)))]
    return [folder for folder in places if os.path.isfile(os.path.join(folder, "NvInferRuntime.h"))]


@pytest.fixture(params=found() or [None])
def headers(request):
    if request.param is None:
        pytest.skip("no NvInferRuntime.h here: set TENSORRT_INCLUDE to a folder that holds TensorRT's headers")
    return request.param


@pytest.fixture
def includes(headers, tmp_path):
    """Compiler flags for TensorRT's headers and the three types of CUDA's that they need."""
    (tmp_path / "cuda_runtime_api.h").write_text(CUDA_TYPES)
    return ["-Wno-deprecated-declarations", "-isystem", headers, "-isystem", str(tmp_path)]


@pytest.mark.parametrize("interface", [[], ["-DPOMT_FORCE_V2"]], ids=["newest", "v2"])
def test_the_harness_holds(includes, interface, tmp_path):
    source, program = os.path.join(compilers.HERE, "harness.cpp"), str(tmp_path / "harness")
    flags = [*compilers.STRICT, *compilers.SANITIZED, "-fsanitize=address,undefined", *interface, *includes]
    compilers.command(["g++", *flags, source, "-o", program])
    said = compilers.command([program])
    print(said)
    assert "FAILED" not in said and said.endswith("all checks hold\n") and said.count("ok: ") > 60


@pytest.mark.parametrize("standard", ["c++14", "c++17"])
def test_the_library_compiles_without_a_warning(includes, standard):
    source = os.path.join(compilers.PLUGINS, "tensorrt", "register.cpp")
    compilers.command(["g++", *compilers.STRICT, f"-std={standard}", "-fsyntax-only", *includes, source])


def texts(folder):
    return {path.name: path.read_text() for path in (pathlib.Path(compilers.PLUGINS) / folder).iterdir()}


def test_kernels_know_no_tensorrt_and_wrappers_no_launch():
    assert all("NvInfer" not in text and "tensorrt/" not in text for text in texts("kernels").values())
    assert all("<<<" not in text and ".cuh" not in text for text in texts("tensorrt").values())


def test_one_place_asks_which_tensorrt_this_is():
    asking = [path for path, text in texts("tensorrt").items() if re.search(r"^#\s*if", text, re.M)]
    assert asking == ["register.cpp"]


def test_no_header_of_nvidias_is_in_the_repository():
    listed = subprocess.run(["git", "ls-files"], stdout=subprocess.PIPE, text=True, cwd=compilers.ROOT)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    assert not [path for path in listed.stdout.split() if os.path.basename(path).startswith("Nv")]
