"""The table of flags of `pomt-trt train`: those of every method, and those of each.

Values are checked where the training is set up (host/training), which also serves Python callers.
"""

from pomt_trt.core.flags import deployment, table
from pomt_trt.core.flags.flag import Flag, Group

_WEIGHTS = Group(
    "model",
    (table.CHECKPOINT._replace(check=None), table.PRETRAINED, table.IMG_SIZE, table.LABELS._replace(check=None)),
)
_TRAINING = Group(
    "training",
    (
        Flag(
            "--data",
            "labelled images: class folders, a CSV, or images/ and labels/; " + table.EXIF,
            "DIR",
            absent="a bundled model's own",
        ),
        table.CLASS_ORDER._replace(check=None),
        Flag("--validation", "share of the images to validate with", "SHARE", float, 0.1),
        Flag("--no-augment", "no random crop, mirroring or tint", type=bool, default=False),
        Flag("--epochs", "passes over the images", "N", int, absent="ltmp 1, cropr 50"),
        Flag("--batch", "images a step and process", "B", int, 128),
        Flag("--mixed-precision", "what the model computes in", default="no", choices=("no", "fp16", "bf16")),
        Flag("--workers", "processes that read images", "N", int, 0),
        deployment.THREADS._replace(
            help="CPU threads of each process that trains", absent="torch's choice", check=None
        ),
        table.SEED,
    ),
)
_LTMP = Group(
    "LTMP",
    (
        Flag("--reduction-target", "share of the computation that is left, 0..1", "R", float, 0.75),
        Flag("--tau", "width of the slope by which thresholds learn", "T", float, 0.5),
        Flag("--merge-rate", "learning rate of merge thresholds", "LR", float, 5e-3),
        Flag("--prune-rate", "learning rate of prune thresholds", "LR", float, 5e-6),
        Flag("--first-merge", "first merge threshold, a cosine", "T", float, 0.9),
        Flag("--first-prune", "first prune threshold, a share of the attention", "T", float, 0.0),
        Flag("--calibration-images", "images that token counts are taken from", "N", int, 1000),
    ),
)
_CROPR = Group(
    "Cropr",
    (
        Flag("--removed", "tokens cut off after each scored block", "R", int, required=True),
        Flag("--no-llf", "no last layer fusion: tokens that are cut off do not come back", type=bool, default=False),
        Flag("--freeze-backbone", "train the scorers only", type=bool, default=False),
        Flag("--learning-rate", "highest learning rate, for 256 images a step", "LR", float, 1e-3),
        Flag("--weight-decay", "weight decay of matrices", "W", float, 0.05),
    ),
)
_COMMON = (table.MODEL._replace(check=None), _WEIGHTS, table.WORK, _TRAINING)
LTMP = (*_COMMON, _LTMP, deployment.JSON)
CROPR = (*_COMMON, _CROPR, deployment.JSON)
