"""The records that one stage writes and the next one reads: frozen, without logic beyond properties.

Units are in the names: *_ms, *_s, *_bytes, *_mhz. A count called tokens includes the prefix. Accuracies are fractions.
Intervals are (low, high). core/storage/store reads and writes records.
"""

# What is imported here is imported from here.
# mypy: implicit-reexport
# ruff: noqa: F401
from pomt_trt.core.records.candidates import CHAIN, GRID, SEARCHED, Candidate, Experiment, Family, Request, Schedule
from pomt_trt.core.records.engines import Builds, DeviceSpec, Engine, Failure, Finding
from pomt_trt.core.records.measurements import (
    ACCURACY_TITLES,
    AGREEMENT,
    AUROC,
    COSINE,
    F1,
    FIDELITY,
    KNN,
    MAE,
    MIOU,
    PIXEL_AGREEMENT,
    R2,
    SIDE_AGREEMENT,
    TOP1,
    AccuracyEstimate,
    BlockLatencies,
    BlockLatency,
    EagerLatencies,
    Energy,
    Interval,
    LatencyProfile,
    Metric,
    ReductionLatency,
    Sensitivity,
    TimedGroup,
    TimedMember,
)
from pomt_trt.core.records.models import (
    BINARY,
    CLASSIFICATION,
    FEATURES,
    MULTILABEL,
    REGRESSION,
    SEGMENTATION,
    ClassOrder,
    ModelSpec,
    PlainModel,
    Preprocessing,
    StoredTensor,
    SurveyedModel,
    Training,
    TrainingEpoch,
)
from pomt_trt.core.records.selections import Bundle, Comparison, Contender, Row, Selection, Step
