"""How to install torch for the eager baseline. Up to JetPack 6 it must be NVIDIA's wheel: PyPI's does not use the GPU.

Sources: NVIDIA's forum, "PyTorch for Jetson" (JetPack 4 and 5), the index of NVIDIA's Jetson AI Lab
(JetPack 6), both read 2026-11; JetPack 7 takes PyTorch's own wheels for CUDA 13 (not tried).
"""

from typing import Dict

from pomt_trt.device.board import jetson

FORUM = "https://forums.developer.nvidia.com/t/pytorch-for-jetson/72048"
WHEELS: Dict[str, str] = {  # JetPack's first number -> how to install
    "4": "download torch-1.10.0-cp36-cp36m-linux_aarch64.whl from {}, then: pip install FILE".format(FORUM),
    "5": "download NVIDIA's torch 2.1.0 for Python 3.8 from {}, then: pip install FILE".format(FORUM),
    "6": "pip install torch --index-url https://pypi.jetson-ai-lab.io/jp6/cu126",
    "7": "pip install torch --index-url https://download.pytorch.org/whl/cu130",
}


def advice(root: str = "/") -> str:
    """How to install torch on this machine, in one line.

    Args:
        root: folder with /proc and /etc.
    """
    board = jetson.identity(root)
    if board is None:
        return "pip install 'pomt-trt[host]'"
    major = (board.jetpack or "").split(".")[0]
    return WHEELS.get(major, "NVIDIA's wheel for this JetPack, from {}".format(FORUM))
