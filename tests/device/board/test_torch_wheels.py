"""Which torch is named on which machine."""

import pytest

from pomt_trt.device.board import torch_wheels
from tests.device.boards import written


@pytest.mark.parametrize("release, wheel", [
    ("# R32 (release), REVISION: 7.6, GCID: 1", "torch-1.10.0-cp36-cp36m-linux_aarch64.whl"),
    ("# R35 (release), REVISION: 4.1, GCID: 1", "Python 3.8"),
    ("# R36 (release), REVISION: 4.3, GCID: 1", "https://pypi.jetson-ai-lab.io/jp6/cu126"),
    ("# R38 (release), REVISION: 2.0, GCID: 1", "https://download.pytorch.org/whl/cu130"),
    ("# R99 (release), REVISION: 1.0, GCID: 1", "NVIDIA's wheel for this JetPack"),
])  # fmt: skip
def test_a_jetson_gets_the_wheel_of_its_jetpack(tmp_path, release, wheel):
    assert wheel in torch_wheels.advice(written(tmp_path, {"etc/nv_tegra_release": release}))


def test_elsewhere_it_is_the_host_extra(tmp_path):
    assert torch_wheels.advice(str(tmp_path)) == "pip install 'pomt-trt[host]'"
