// PomtTokenPrune: replaces the patches with the lowest scores by their mean.
#pragma once

#include "op.h"

namespace pomt {

struct TokenPruneOp {
    static constexpr char const* NAME = "PomtTokenPrune";
    static constexpr char const* SCORE = "pomt";
    static constexpr int32_t INPUTS = 3;  // attention (B, H, N, N), values (B, H, N, dh), x (B, N, C)
    static constexpr int32_t RANKS[INPUTS] = {4, 4, 3};

    static PomtShape shape(nvinfer1::Dims const* inputs) {
        PomtShape shape{};
        shape.batch = static_cast<int>(inputs[2].d[0]);
        shape.heads = static_cast<int>(inputs[0].d[1]);
        shape.tokens = static_cast<int>(inputs[2].d[1]);
        shape.head_width = static_cast<int>(inputs[1].d[3]);
        shape.channels = static_cast<int>(inputs[2].d[2]);
        return shape;
    }

    static int tokensOut(PomtShape const& shape) { return pomtPruneTokens(&shape); }

    static size_t workspaceBytes(PomtShape const& shape) { return pomtPruneWorkspaceBytes(&shape); }

    static int enqueue(
        PomtShape const& shape, int const* types, void const* const* inputs, void* output, void* workspace,
        void* stream) {
        PomtPruneCall const call{inputs[0], inputs[1], inputs[2], output, workspace, types[0], types[1], types[2]};
        return pomtPrune(&shape, &call, stream);
    }
};

constexpr int32_t TokenPruneOp::RANKS[];

}  // namespace pomt
