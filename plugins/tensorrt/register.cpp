// libpomt_plugins.so: registers the operators when it is loaded.
//
// Only this file depends on the TensorRT release. POMT_FORCE_V2 selects the older interface on a release with both.

#include <NvInferVersion.h>

#if NV_TENSORRT_MAJOR >= 10 && !defined(POMT_FORCE_V2)
#include "adapter_v3.h"
#else
#include "adapter_v2.h"
#endif
#include "token_prune_op.h"
#include "token_topk_op.h"

namespace {

using TokenPruneCreator = pomt::Creator<pomt::TokenPruneOp>;
using TokenTopKCreator = pomt::Creator<pomt::TokenTopKOp>;

REGISTER_TENSORRT_PLUGIN(TokenPruneCreator);
REGISTER_TENSORRT_PLUGIN(TokenTopKCreator);

}  // namespace
