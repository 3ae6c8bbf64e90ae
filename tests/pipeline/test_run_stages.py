"""Which of the graphs in a work folder a device gets."""

import pytest

from pomt_trt.core.errors import UsageError
from pomt_trt.pipeline.run_stages import form_for
from tests import fakes

HERE = fakes.DEVICE._replace(engine="onnxruntime", engine_version="1.31.1")
TX2 = fakes.DEVICE._replace(engine="tensorrt", engine_version="8.2.1.8")
ORIN = fakes.DEVICE._replace(engine="tensorrt", engine_version="10.3.0")


@pytest.mark.parametrize(
    "device, forms, precision, chosen",
    [
        (HERE, ["op13-fp32", "op17-fp32"], None, "op17-fp32"),
        (HERE, ["op17-fp16"], None, "op17-fp16"),
        (HERE, ["op17-fp16", "op17-fp32"], "fp32", "op17-fp32"),
        (TX2, ["op13-fp16", "op17-fp16", "op17-fp32"], None, "op13-fp16"),
        (ORIN, ["op13-fp16", "op17-fp16", "op17-fp16w"], None, "op17-fp16"),
        (ORIN, ["op13-fp32", "op17-fp16"], "fp32", "op13-fp32"),
        (ORIN, ["op17-fp32", "op17-bf16"], "bf16", "op17-bf16"),
        (HERE, ["op17-fp32", "op17-bf16"], None, "op17-fp32"),
    ],
)
def test_a_device_gets_what_it_runs_best_of_the_precision_asked_for_or_there(device, forms, precision, chosen):
    assert form_for(forms, device, precision) == chosen


def test_where_both_precisions_are_there_one_has_to_be_named():
    with pytest.raises(UsageError, match="op17-fp32.*op17-fp16.*Say which are meant: --precision fp32 or fp16"):
        form_for(["op17-fp16", "op17-fp32"], HERE)
    with pytest.raises(UsageError, match="Say which are meant: --precision fp32 or fp16 or bf16"):
        form_for(["op17-bf16", "op17-fp16", "op17-fp32"], ORIN)


@pytest.mark.parametrize("device, reason", [(TX2, "TensorRT 8.2 has no bf16"), (HERE, "no arithmetic in bf16")])
def test_bf16_is_refused_where_nothing_computes_in_it(device, reason):
    with pytest.raises(UsageError, match="--precision bf16 is not for .*" + reason):
        form_for(["op17-bf16"], device, "bf16")


def test_where_no_graph_can_be_read_the_export_that_makes_them_is_told():
    told = "jetpack-4.6.1 reads op13-fp16. Export them: .* --target jetpack-4.6.1 --precision fp16"
    with pytest.raises(UsageError, match=told):
        form_for(["op17-fp16", "op13-fp32"], TX2, "fp16")
