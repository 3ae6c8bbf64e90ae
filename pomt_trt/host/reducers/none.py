"""None: the model as it is. With it, R = 0 needs no special case elsewhere."""

from pomt_trt.host.reducers.common.contract import Reducer


class NoReduction(Reducer):
    """Takes R = 0 alone."""

    method = "none"
    lost_for_patches = None

    @classmethod
    def most_removable(cls, patch_tokens: int) -> int:
        return 0
