// PomtTokenTopK: drops the patches that the class token attends to least.
#pragma once

#include "op.h"

namespace pomt {

struct TokenTopKOp {
    static constexpr char const* NAME = "PomtTokenTopK";
    static constexpr char const* SCORE = "class";
    static constexpr int32_t INPUTS = 2;  // the class token's attention (B, H, 1, N), x (B, N, C)
    static constexpr int32_t RANKS[INPUTS] = {4, 3};

    static PomtShape shape(nvinfer1::Dims const* inputs) {
        PomtShape shape{};
        shape.batch = static_cast<int>(inputs[1].d[0]);
        shape.heads = static_cast<int>(inputs[0].d[1]);
        shape.tokens = static_cast<int>(inputs[1].d[1]);
        shape.channels = static_cast<int>(inputs[1].d[2]);
        return shape;
    }

    static int tokensOut(PomtShape const& shape) { return pomtTopKTokens(&shape); }

    static size_t workspaceBytes(PomtShape const&) { return 0; }

    static int enqueue(
        PomtShape const& shape, int const* types, void const* const* inputs, void* output, void*, void* stream) {
        PomtTopKCall const call{inputs[0], inputs[1], output, types[0], types[1]};
        return pomtTopK(&shape, &call, stream);
    }
};

constexpr int32_t TokenTopKOp::RANKS[];

}  // namespace pomt
