// What TensorRT brings to a plugin: a registry, a logger and dimensions, as little of them as serves the harness.
//
// A method that not every release has is written without `override`, where it is simply one more.
#pragma once

#include <NvInferRuntime.h>
#include <stdio.h>
#include <stdlib.h>

#include <memory>
#include <string>
#include <type_traits>
#include <vector>

namespace {

using Size = std::remove_reference<decltype(nvinfer1::Dims{}.d[0])>::type;  // 32 bit before TensorRT 10
std::string said;

void check(bool holds, char const* what) {
    printf("%s: %s\n", holds ? "ok" : "FAILED", what);
    if (!holds) exit(1);
}

struct Logger final : nvinfer1::ILogger {
    void log(Severity, char const* text) noexcept override { said = text; }
};

struct Dimension final : nvinfer1::IDimensionExpr, nvinfer1::apiv::VDimensionExpr {
    Size value;
    explicit Dimension(Size size) : value(size) { mImpl = this; }
    bool isConstant() const override { return true; }
    Size getConstantValue() const override { return value; }
    bool isSizeTensor() const { return false; }
};

struct Builder final : nvinfer1::IExprBuilder, nvinfer1::apiv::VExprBuilder {
    std::vector<std::unique_ptr<Dimension>> made;
    Builder() { mImpl = this; }
    nvinfer1::IDimensionExpr const* constant(Size value) override {
        made.emplace_back(new Dimension(value));
        return made.back().get();
    }
    nvinfer1::IDimensionExpr const* operation(
        nvinfer1::DimensionOperation kind, nvinfer1::IDimensionExpr const& a,
        nvinfer1::IDimensionExpr const& b) override {
        check(kind == nvinfer1::DimensionOperation::kSUB, "the only arithmetic on shapes is a difference");
        return constant(static_cast<Dimension const&>(a).value - static_cast<Dimension const&>(b).value);
    }
    nvinfer1::IDimensionExpr const* declareSizeTensor(
        int32_t, nvinfer1::IDimensionExpr const&, nvinfer1::IDimensionExpr const&) {
        return nullptr;
    }
};

#if NV_TENSORRT_MAJOR >= 10
using AnyCreator = nvinfer1::IPluginCreatorInterface;
#else
using AnyCreator = nvinfer1::IPluginCreator;
#endif

struct Registry final : nvinfer1::IPluginRegistry {
    std::vector<AnyCreator*> creators;

    bool registerCreator(nvinfer1::IPluginCreator& creator, char const* const) noexcept {
        creators.push_back(&creator);
        return true;
    }
    nvinfer1::IPluginCreator* const* getPluginCreatorList(int32_t* const) const noexcept { return nullptr; }
    nvinfer1::IPluginCreator* getPluginCreator(char const* const, char const* const, char const* const) noexcept {
        return nullptr;
    }
    void setErrorRecorder(nvinfer1::IErrorRecorder* const) noexcept override {}
    nvinfer1::IErrorRecorder* getErrorRecorder() const noexcept override { return nullptr; }
    bool deregisterCreator(nvinfer1::IPluginCreator const&) noexcept { return true; }
    bool isParentSearchEnabled() const noexcept { return false; }
    void setParentSearchEnabled(bool const) noexcept {}
    void* loadLibrary(char const*) noexcept { return nullptr; }
    void deregisterLibrary(void*) noexcept {}
#if NV_TENSORRT_MAJOR >= 10
    bool registerCreator(AnyCreator& creator, char const* const) noexcept override {
        creators.push_back(&creator);
        return true;
    }
    AnyCreator* const* getAllCreators(int32_t* const) const noexcept override { return nullptr; }
    AnyCreator* const* getAllCreatorsRecursive(int32_t* const) noexcept { return nullptr; }
    AnyCreator* getCreator(char const* const, char const* const, char const* const) noexcept override {
        return nullptr;
    }
    bool deregisterCreator(AnyCreator const&) noexcept override { return true; }
    nvinfer1::IPluginResource* acquirePluginResource(char const*, nvinfer1::IPluginResource*) noexcept override {
        return nullptr;
    }
    int32_t releasePluginResource(char const*) noexcept override { return 0; }
#endif
};

Registry& registry() {
    static Registry made;
    return made;
}

}  // namespace

extern "C" nvinfer1::IPluginRegistry* getPluginRegistry() noexcept { return &registry(); }

extern "C" nvinfer1::ILogger* getLogger() noexcept {
    static Logger logger;
    return &logger;
}
