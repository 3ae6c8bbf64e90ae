"""The kernels compile for every board: by NVRTC for those that nvcc has left behind, by nvcc where there is one."""

import os
import shutil
import subprocess

import pytest

from tests.plugins import compilers, nvrtc

KERNELS = os.path.join(compilers.PLUGINS, "kernels")
CUBIN_MAGIC, CUDA_MACHINE = b"\x7fELF", 190


@pytest.mark.skipif(nvrtc.library() is None, reason="no NVRTC 11 or 12: pip install -e '.[dev]' on x86-64 Linux")
@pytest.mark.parametrize("compute_capability", [62, 72, 87])
def test_nvrtc_makes_machine_code_for_each_board(compute_capability):
    cubin = nvrtc.Nvrtc(nvrtc.library()).cubin(KERNELS, compute_capability)
    assert cubin[:4] == CUBIN_MAGIC and int.from_bytes(cubin[18:20], "little") == CUDA_MACHINE
    for kernel in (b"scoreKernel", b"pruneKernel", b"topkKernel"):
        assert kernel in cubin


@pytest.mark.skipif(nvrtc.library() is None, reason="no NVRTC 11 or 12: pip install -e '.[dev]' on x86-64 Linux")
def test_nvrtc_says_what_is_wrong(tmp_path):
    (tmp_path / "kernels.cuh").write_text("int x = ;")
    with pytest.raises(AssertionError, match="expected an expression"):
        nvrtc.Nvrtc(nvrtc.library()).cubin(str(tmp_path), 62)


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not here")
def test_nvcc_builds_the_library_for_what_it_knows(tmp_path):
    listed = compilers.command(["nvcc", "--list-gpu-code"]).split()
    known = [name[3:] for name in ("sm_87", "sm_90", "sm_110") if name in listed]
    assert known
    said = compilers.command(["make", "-C", compilers.PLUGINS, "kernels", f"BUILD={tmp_path}", "SM=" + " ".join(known)])
    assert "warning" not in said
    exported = subprocess.run(
        ["nm", "--dynamic", "--defined-only", str(tmp_path / "libpomt_kernels.so")], stdout=subprocess.PIPE, check=True
    ).stdout.decode()
    names = {line.split()[-1] for line in exported.splitlines()}
    assert names == {"pomtPrune", "pomtTopK", "pomtPruneTokens", "pomtTopKTokens", "pomtPruneWorkspaceBytes"}
