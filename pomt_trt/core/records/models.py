"""Records of a model: its shape, its input, its weights and its training."""

from typing import Any, Dict, NamedTuple, Optional, Tuple

from pomt_trt.core.records.measurements import TOP1

CLASSIFICATION, SEGMENTATION = "classification", "segmentation"  # tasks: a class an image, or a class a pixel
FEATURES = "features"  # a vector an image, and no classes
BINARY, MULTILABEL = "binary", "multilabel"  # a probability of one label, or of each of several, by a sigmoid
REGRESSION = "regression"  # values


class Preprocessing(NamedTuple):
    """How an image file becomes the model's input (timm's data config); mean and std are for values in 0..1."""

    height: int
    width: int
    channels: int  # 3: RGB, 1: grey
    mean: Tuple[float, ...]
    std: Tuple[float, ...]
    interpolation: str = "bicubic"  # nearest, bilinear, bicubic, lanczos
    crop_pct: float = 1.0
    crop_mode: str = "center"  # center, squash, border
    exif: bool = False  # turned by its EXIF orientation first, which timm does not


class ModelSpec(NamedTuple):
    """A vision transformer: its counts, its input and its classes."""

    name: str  # as the user gave it: a timm name, local-dir:PATH, digits or scenes
    architecture: str
    weights: str  # random (seed 0), pretrained, checkpoint or local-dir
    depth: int
    width: int
    heads: int
    patch_tokens: int
    prefix_tokens: int
    classes: int  # outputs of the model: classes, labels, values, or the dimension of features
    preprocessing: Preprocessing
    head: Optional[str] = None  # file of a separate linear head (DINOv2), or None for the model's own
    labels: Tuple[str, ...] = ()  # names of the classes, where known
    task: str = CLASSIFICATION  # or another one; segmentation: logits (B, classes, rows, columns), one a patch

    @property
    def tokens(self) -> int:
        """Tokens entering block 0, prefix included."""
        return self.patch_tokens + self.prefix_tokens

    @property
    def random_weights(self) -> bool:
        """True where the weights are not trained, so that accuracy can only be agreement."""
        return self.weights.startswith("random")


class StoredTensor(NamedTuple):
    """One parameter of the model in weights.bin."""

    offset: int  # bytes
    shape: Tuple[int, ...]  # as stored
    dtype: str  # float32, float16 or bfloat16
    transposed: bool  # the parameter is the transpose of what is stored


class PlainModel(NamedTuple):
    """What torch alone needs, besides the ModelSpec, to run the weights of a vision transformer (board_eager).

    Names and shapes of the parameters tell the rest: patch size, LayerScale, registers, norms, biases.
    """

    weights_sha256: str  # of the weights.bin that `tensors` points into
    norm_eps: float  # of every LayerNorm
    activation: str  # gelu, gelu_tanh, quick_gelu
    pooling: str  # token, avg, avgmax, max, token_and_avg; "": none, since the head reads every patch
    pools_prefix: bool  # avg, avgmax and max include the prefix tokens
    tensors: Dict[str, StoredTensor]  # by timm's parameter name


class ClassOrder(NamedTuple):
    """How the names of classes in the data were mapped to indices of the model's outputs (core/data/class_order)."""

    reading: str  # labels, wnids, numbers, natural, string, file
    kind: str  # of names: folder, CSV label
    in_data: int  # number of different names in the data
    names: Tuple[str, ...]  # in the model's order; with natural, string and file, all names of the model


class TrainingEpoch(NamedTuple):
    """One pass over the training images."""

    losses: Dict[str, float]  # the loss and its terms, means over the steps
    accuracy: float  # on the validation images, with the model as it will be deployed


class Training(NamedTuple):
    """The training of a learned method's parameters."""

    method: str
    model: str  # as the user gave it
    model_sha256: str  # of the model before training, see host/models/loading
    data: str  # folder or CSV file, or the name of a bundled model
    data_sha256: str  # of names, labels and sizes of its files; of bundled images, of the pixels
    images: int  # trained on
    validation_images: int
    seed: int
    settings: Dict[str, Any]  # of the method and of the training loop
    processes: int
    epochs: Tuple[TrainingEpoch, ...]
    unreduced_accuracy: float  # on the validation images, with all tokens, before training
    accuracy_before: float  # with the method's initial parameters
    accuracy_after: float
    seconds: float
    versions: Dict[str, str]
    accuracy_kind: str = TOP1
    class_order: Optional[ClassOrder] = None  # None: the data have no names of classes, or release 0.2 made this


class SurveyedModel(NamedTuple):
    """Whether a model of timm is accepted, and with which methods."""

    name: str
    family: str  # the file of timm that builds it
    kind: Optional[str]  # its class; None: not built
    reason: Optional[str]  # why it is refused; None: it is accepted
    methods: Tuple[str, ...]
    lacks: Dict[str, str]  # method -> why the model cannot have it
