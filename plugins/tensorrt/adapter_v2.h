// An operator as IPluginV2DynamicExt, with its creator: for TensorRT 8. Later releases deprecate this interface.
#pragma once

#include <new>

#include "op.h"

namespace pomt {

constexpr int32_t kFORMAT = 1;  // version of the serialised data: kFORMAT, R, prefix, 32 bits each

template <class Op>
class Plugin final : public nvinfer1::IPluginV2DynamicExt {
 public:
    explicit Plugin(Attributes const& attributes) : mAttributes(attributes) {}

    nvinfer1::IPluginV2DynamicExt* clone() const noexcept override { return new (std::nothrow) Plugin(*this); }
    void destroy() noexcept override { delete this; }
    int32_t initialize() noexcept override { return 0; }
    void terminate() noexcept override {}

    char const* getPluginType() const noexcept override { return Op::NAME; }
    char const* getPluginVersion() const noexcept override { return kVERSION; }
    char const* getPluginNamespace() const noexcept override { return kNAMESPACE; }
    void setPluginNamespace(char const*) noexcept override {}  // one library, one namespace

    int32_t getNbOutputs() const noexcept override { return 1; }
    nvinfer1::DataType getOutputDataType(
        int32_t, nvinfer1::DataType const* inputs, int32_t count) const noexcept override {
        return inputs[count - 1];
    }
    nvinfer1::DimsExprs getOutputDimensions(
        int32_t, nvinfer1::DimsExprs const* inputs, int32_t count, nvinfer1::IExprBuilder& builder) noexcept override {
        nvinfer1::DimsExprs output{};
        if (!outputShape<Op>(mAttributes, inputs, count, builder, output)) output.nbDims = -1;
        return output;
    }
    bool supportsFormatCombination(
        int32_t pos, nvinfer1::PluginTensorDesc const* tensors, int32_t inputs, int32_t outputs) noexcept override {
        return supports<Op>(pos, tensors, inputs, outputs);
    }
    void configurePlugin(
        nvinfer1::DynamicPluginTensorDesc const*, int32_t, nvinfer1::DynamicPluginTensorDesc const*,
        int32_t) noexcept override {}
    size_t getWorkspaceSize(
        nvinfer1::PluginTensorDesc const* inputs, int32_t, nvinfer1::PluginTensorDesc const*,
        int32_t) const noexcept override {
        return Op::workspaceBytes(shapeOf<Op>(mAttributes, inputs));
    }
    int32_t enqueue(
        nvinfer1::PluginTensorDesc const* inputs, nvinfer1::PluginTensorDesc const*, void const* const* data,
        void* const* outputs, void* workspace, cudaStream_t stream) noexcept override {
        return pomt::enqueue<Op>(mAttributes, inputs, data, outputs, workspace, stream);
    }

    size_t getSerializationSize() const noexcept override { return 3 * sizeof(int32_t); }
    void serialize(void* buffer) const noexcept override {
        int32_t const numbers[] = {kFORMAT, mAttributes.removed, mAttributes.prefix};
        std::memcpy(buffer, numbers, sizeof numbers);
    }

 private:
    Attributes mAttributes;
};

template <class Op>
class Creator final : public nvinfer1::IPluginCreator {
 public:
    char const* getPluginName() const noexcept override { return Op::NAME; }
    char const* getPluginVersion() const noexcept override { return kVERSION; }
    char const* getPluginNamespace() const noexcept override { return kNAMESPACE; }
    void setPluginNamespace(char const*) noexcept override {}
    nvinfer1::PluginFieldCollection const* getFieldNames() noexcept override { return fieldNames(); }

    nvinfer1::IPluginV2* createPlugin(char const*, nvinfer1::PluginFieldCollection const* fields) noexcept override {
        Attributes attributes{};
        return readAttributes<Op>(fields, attributes) ? new (std::nothrow) Plugin<Op>(attributes) : nullptr;
    }

    nvinfer1::IPluginV2* deserializePlugin(char const*, void const* data, size_t length) noexcept override {
        int32_t numbers[3] = {};
        if (length != sizeof numbers) return complain(Op::NAME, "bytes of a plan", sizeof numbers, length), nullptr;
        std::memcpy(numbers, data, sizeof numbers);
        if (numbers[0] != kFORMAT) return complain(Op::NAME, "format of a plan", kFORMAT, numbers[0]), nullptr;
        return new (std::nothrow) Plugin<Op>(Attributes{numbers[1], numbers[2]});
    }
};

}  // namespace pomt
