// What all operators share, for either plugin interface: attributes, types, shapes, messages.
//
// A template parameter Op is a struct with the static members NAME, SCORE, INPUTS (their number), RANKS (of each input),
// shape(...), tokensOut(...), workspaceBytes(...) and enqueue(...), see token_prune_op.h. Its last input is x. Its
// only output is x with fewer tokens, of x's type.
#pragma once

#include <NvInferRuntime.h>

#include <cstdint>
#include <cstdio>
#include <cstring>

#include "../kernels/token_prune.h"

namespace pomt {

constexpr char const* kVERSION = "1";
constexpr char const* kNAMESPACE = "";  // the parsers of some releases search no other

// The attributes of a node, which must have all of them.
struct Attributes {
    int32_t removed;  // R
    int32_t prefix;
};

// Reports to TensorRT's log, where callers find the reason.
inline void complain(char const* op, char const* what, int64_t expected, int64_t found) {
    char text[256];
    std::snprintf(
        text, sizeof text, "%s: %s: expected %lld, found %lld", op, what, (long long)expected, (long long)found);
    if (getLogger() != nullptr) getLogger()->log(nvinfer1::ILogger::Severity::kERROR, text);
}

inline nvinfer1::PluginTensorDesc const& plain(nvinfer1::PluginTensorDesc const& tensor) { return tensor; }
inline nvinfer1::PluginTensorDesc const& plain(nvinfer1::DynamicPluginTensorDesc const& tensor) { return tensor.desc; }

// Names and types of the attributes. The parser passes only these.
inline nvinfer1::PluginFieldCollection const* fieldNames() {
    using nvinfer1::PluginField;
    using nvinfer1::PluginFieldType;
    static PluginField const fields[] = {
        PluginField("R", nullptr, PluginFieldType::kINT32, 1),
        PluginField("prefix", nullptr, PluginFieldType::kINT32, 1),
        PluginField("score", nullptr, PluginFieldType::kCHAR, 1),
    };
    static nvinfer1::PluginFieldCollection const collection{3, fields};
    return &collection;
}

inline nvinfer1::PluginField const* field(nvinfer1::PluginFieldCollection const* fields, char const* name) {
    for (int32_t i = 0; fields != nullptr && i < fields->nbFields; ++i) {
        if (std::strcmp(fields->fields[i].name, name) == 0) return fields->fields + i;
    }
    return nullptr;
}

inline bool readInteger(
    char const* op, nvinfer1::PluginFieldCollection const* fields, char const* name, int32_t& value) {
    nvinfer1::PluginField const* const found = field(fields, name);
    if (found == nullptr || found->data == nullptr || found->type != nvinfer1::PluginFieldType::kINT32) {
        complain(op, name, 1, 0);  // one integer expected, none found
        return false;
    }
    value = *static_cast<int32_t const*>(found->data);
    return true;
}

// False, with the reason in the log, if an attribute is missing or invalid, or names another score.
template <class Op>
bool readAttributes(nvinfer1::PluginFieldCollection const* fields, Attributes& attributes) {
    if (!readInteger(Op::NAME, fields, "R", attributes.removed)) return false;
    if (!readInteger(Op::NAME, fields, "prefix", attributes.prefix)) return false;
    nvinfer1::PluginField const* const score = field(fields, "score");
    size_t const length = std::strlen(Op::SCORE);  // the field's length may count the NUL at the end
    bool const known = score != nullptr && score->data != nullptr && score->length >= (int32_t)length &&
                       std::memcmp(score->data, Op::SCORE, length) == 0 &&
                       (score->length == (int32_t)length || static_cast<char const*>(score->data)[length] == '\0');
    if (!known) complain(Op::NAME, Op::SCORE, 1, 0);
    if (attributes.removed < 1) complain(Op::NAME, "R of at least", 1, attributes.removed);
    if (attributes.prefix < 0) complain(Op::NAME, "prefix of at least", 0, attributes.prefix);
    return known && attributes.removed >= 1 && attributes.prefix >= 0;
}

// Any input is fp32 or fp16; the output has the type of x. Reads no tensor after `pos`.
template <class Op, class Tensor>
bool supports(int32_t pos, Tensor const* tensors, int32_t inputs, int32_t outputs) {
    if (inputs != Op::INPUTS || outputs != 1) return false;
    nvinfer1::PluginTensorDesc const& tensor = plain(tensors[pos]);
    if (tensor.format != nvinfer1::TensorFormat::kLINEAR) return false;
    if (pos == Op::INPUTS) return tensor.type == plain(tensors[Op::INPUTS - 1]).type;
    return tensor.type == nvinfer1::DataType::kFLOAT || tensor.type == nvinfer1::DataType::kHALF;
}

inline int pomtType(nvinfer1::DataType type) { return type == nvinfer1::DataType::kHALF ? POMT_HALF : POMT_FLOAT; }

// The output's shape as expressions; false if the inputs are not those of the operator.
template <class Op>
bool outputShape(
    Attributes const& attributes, nvinfer1::DimsExprs const* inputs, int32_t count, nvinfer1::IExprBuilder& builder,
    nvinfer1::DimsExprs& output) {
    if (count != Op::INPUTS) return complain(Op::NAME, "inputs", Op::INPUTS, count), false;
    for (int32_t i = 0; i < count; ++i) {
        if (inputs[i].nbDims != Op::RANKS[i]) return complain(Op::NAME, "rank", Op::RANKS[i], inputs[i].nbDims), false;
    }
    output = inputs[count - 1];
    output.d[1] =
        builder.operation(nvinfer1::DimensionOperation::kSUB, *output.d[1], *builder.constant(attributes.removed));
    return output.d[1] != nullptr;
}

template <class Op, class Tensor>
PomtShape shapeOf(Attributes const& attributes, Tensor const* inputs) {
    nvinfer1::Dims dims[Op::INPUTS];
    for (int32_t i = 0; i < Op::INPUTS; ++i) dims[i] = plain(inputs[i]).dims;
    PomtShape shape = Op::shape(dims);
    shape.prefix = attributes.prefix;
    shape.removed = attributes.removed;
    return shape;
}

// True if the sizes fit together; else the log says which do not.
template <class Op>
bool fits(PomtShape const& shape, nvinfer1::PluginTensorDesc const* inputs) {
    nvinfer1::Dims const attention = inputs[0].dims, x = inputs[Op::INPUTS - 1].dims;
    if (x.d[1] != attention.d[3]) return complain(Op::NAME, "tokens of x", attention.d[3], x.d[1]), false;
    if (x.d[0] != attention.d[0]) return complain(Op::NAME, "batch of x", attention.d[0], x.d[0]), false;
    if (Op::tokensOut(shape) == 0) {
        return complain(Op::NAME, "R that leaves a patch", shape.tokens - shape.prefix - 2, shape.removed), false;
    }
    return true;
}

template <class Op>
int32_t enqueue(
    Attributes const& attributes, nvinfer1::PluginTensorDesc const* inputs, void const* const* data,
    void* const* outputs, void* workspace, cudaStream_t stream) {
    PomtShape const shape = shapeOf<Op>(attributes, inputs);
    if (!fits<Op>(shape, inputs)) return 1;
    int types[Op::INPUTS];
    for (int32_t i = 0; i < Op::INPUTS; ++i) types[i] = pomtType(inputs[i].type);
    int const status = Op::enqueue(shape, types, data, outputs[0], workspace, stream);
    if (status != 0) complain(Op::NAME, "status of CUDA", 0, status);
    return status;
}

}  // namespace pomt
