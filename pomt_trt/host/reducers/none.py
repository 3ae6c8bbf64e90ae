"""None: the model as it is, under the same contract, so that R = 0 needs no special case elsewhere."""

from pomt_trt.host.reducers.common.contract import Reducer


class NoReduction(Reducer):
    """Plans no step for R = 0, and refuses any other R."""

    method = "none"
    lost_for_patches = None

    @classmethod
    def most_removable(cls, patch_tokens: int) -> int:
        return 0
