"""NVRTC from NVIDIA's wheels: compiles CUDA for boards that today's nvcc no longer knows, with no GPU and no driver.

Finds what setup.cfg's [dev] has installed. A check that the kernels compile there, not what a board runs: it builds its
own, with its own nvcc.
"""

import ctypes
import glob
import os
import site

SOURCE = """
#include "kernels.cuh"
namespace pomt {
template __global__ void scoreKernel(PomtShape, const float*, const float*, float*);
template __global__ void scoreKernel(PomtShape, const Half*, const Half*, float*);
template __global__ void pruneKernel(PomtShape, const float*, const float*, float*);
template __global__ void pruneKernel(PomtShape, const float*, const Half*, Half*);
template __global__ void topkKernel(PomtShape, const float*, const float*, float*);
template __global__ void topkKernel(PomtShape, const Half*, const Half*, Half*);
}
"""


def library():
    """Path of the oldest installed NVRTC that is 11 or 12; None where there is none. 13 has left sm_62 and sm_72."""
    places = [os.path.join(place, "nvidia", "cuda_nvrtc", "lib") for place in site.getsitepackages()]
    found = [path for place in places for path in glob.glob(os.path.join(place, "libnvrtc.so.1[12]*"))]
    return min(found, default=None)


class Nvrtc:
    """A loaded NVRTC."""

    def __init__(self, path):
        self._library = ctypes.CDLL(path)

    def cubin(self, folder, compute_capability):
        """Machine code (bytes) of the kernels whose sources lie in `folder`, such as for compute capability 62.

        Raises: AssertionError with what the compiler said.
        """
        program = ctypes.c_void_p()
        source = SOURCE.encode()
        self._call("nvrtcCreateProgram", ctypes.byref(program), source, b"kernels.cu", 0, None, None)
        options = ["--std=c++14", f"--gpu-architecture=sm_{compute_capability}", "-I" + folder]
        options += ["--device-as-default-execution-space"]  # for token_prune.h's declarations, which nothing here calls
        words = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
        failed = self._library.nvrtcCompileProgram(program, len(options), words)
        assert not failed, self._read(program, "ProgramLog").decode()
        return self._read(program, "CUBIN")

    def _read(self, program, what):
        size = ctypes.c_size_t()
        self._call(f"nvrtcGet{what}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self._call(f"nvrtcGet{what}", program, buffer)
        return buffer.raw

    def _call(self, name, *arguments):
        status = getattr(self._library, name)(*arguments)
        assert not status, f"{name}: {status}"
