// An operator as IPluginV3 (core, build and runtime in one object), with its creator: for TensorRT 10 and later.
#pragma once

#include <new>

#include "op.h"

namespace pomt {

template <class Op>
class Plugin final : public nvinfer1::IPluginV3,
                     public nvinfer1::IPluginV3OneCore,
                     public nvinfer1::IPluginV3OneBuild,
                     public nvinfer1::IPluginV3OneRuntime {
 public:
    explicit Plugin(Attributes const& attributes) : mAttributes(attributes) {}

    nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept override {
        switch (type) {
            case nvinfer1::PluginCapabilityType::kCORE:
                return static_cast<nvinfer1::IPluginV3OneCore*>(this);
            case nvinfer1::PluginCapabilityType::kBUILD:
                return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
            case nvinfer1::PluginCapabilityType::kRUNTIME:
                return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
        }
        return nullptr;
    }
    nvinfer1::IPluginV3* clone() noexcept override { return new (std::nothrow) Plugin(mAttributes); }
    nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext*) noexcept override { return clone(); }

    char const* getPluginName() const noexcept override { return Op::NAME; }
    char const* getPluginVersion() const noexcept override { return kVERSION; }
    char const* getPluginNamespace() const noexcept override { return kNAMESPACE; }

    int32_t getNbOutputs() const noexcept override { return 1; }
    int32_t getOutputDataTypes(
        nvinfer1::DataType* outputs, int32_t, nvinfer1::DataType const* inputs, int32_t count) const noexcept override {
        outputs[0] = inputs[count - 1];
        return 0;
    }
    int32_t getOutputShapes(
        nvinfer1::DimsExprs const* inputs, int32_t count, nvinfer1::DimsExprs const*, int32_t,
        nvinfer1::DimsExprs* outputs, int32_t, nvinfer1::IExprBuilder& builder) noexcept override {
        return outputShape<Op>(mAttributes, inputs, count, builder, outputs[0]) ? 0 : 1;
    }
    bool supportsFormatCombination(
        int32_t pos, nvinfer1::DynamicPluginTensorDesc const* tensors, int32_t inputs,
        int32_t outputs) noexcept override {
        return supports<Op>(pos, tensors, inputs, outputs);
    }
    int32_t configurePlugin(
        nvinfer1::DynamicPluginTensorDesc const*, int32_t, nvinfer1::DynamicPluginTensorDesc const*,
        int32_t) noexcept override {
        return 0;
    }
    int32_t onShapeChange(
        nvinfer1::PluginTensorDesc const* inputs, int32_t, nvinfer1::PluginTensorDesc const*,
        int32_t) noexcept override {
        return fits<Op>(shapeOf<Op>(mAttributes, inputs), inputs) ? 0 : 1;
    }
    size_t getWorkspaceSize(
        nvinfer1::DynamicPluginTensorDesc const* inputs, int32_t, nvinfer1::DynamicPluginTensorDesc const*,
        int32_t) const noexcept override {
        return Op::workspaceBytes(shapeOf<Op>(mAttributes, inputs));
    }
    int32_t enqueue(
        nvinfer1::PluginTensorDesc const* inputs, nvinfer1::PluginTensorDesc const*, void const* const* data,
        void* const* outputs, void* workspace, cudaStream_t stream) noexcept override {
        return pomt::enqueue<Op>(mAttributes, inputs, data, outputs, workspace, stream);
    }

    // The fields are a node's attributes, so that createPlugin reads a plan like a graph.
    nvinfer1::PluginFieldCollection const* getFieldsToSerialize() noexcept override {
        using nvinfer1::PluginField;
        using nvinfer1::PluginFieldType;
        int32_t const length = static_cast<int32_t>(std::strlen(Op::SCORE)) + 1;
        mFields[0] = PluginField("R", &mAttributes.removed, PluginFieldType::kINT32, 1);
        mFields[1] = PluginField("prefix", &mAttributes.prefix, PluginFieldType::kINT32, 1);
        mFields[2] = PluginField("score", Op::SCORE, PluginFieldType::kCHAR, length);
        mCollection = nvinfer1::PluginFieldCollection{3, mFields};
        return &mCollection;
    }

 private:
    Attributes mAttributes;
    nvinfer1::PluginField mFields[3];
    nvinfer1::PluginFieldCollection mCollection{};
};

template <class Op>
class Creator final : public nvinfer1::IPluginCreatorV3One {
 public:
    char const* getPluginName() const noexcept override { return Op::NAME; }
    char const* getPluginVersion() const noexcept override { return kVERSION; }
    char const* getPluginNamespace() const noexcept override { return kNAMESPACE; }
    nvinfer1::PluginFieldCollection const* getFieldNames() noexcept override { return fieldNames(); }

    nvinfer1::IPluginV3* createPlugin(
        char const*, nvinfer1::PluginFieldCollection const* fields, nvinfer1::TensorRTPhase) noexcept override {
        Attributes attributes{};
        return readAttributes<Op>(fields, attributes) ? new (std::nothrow) Plugin<Op>(attributes) : nullptr;
    }
};

}  // namespace pomt
