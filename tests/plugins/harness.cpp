// A plugin registry, dimensions and a logger of our own around the TensorRT wrappers and the kernels' host build, so that
// real TensorRT headers are enough to create, ask, serialise, clone and run the plugins. Prints a line for each check.

#include <string>

#include "../../plugins/tensorrt/register.cpp"
#include "fake_tensorrt.h"
#include "host_kernels.cpp"

namespace {

using nvinfer1::DataType;
using nvinfer1::PluginField;
using nvinfer1::PluginFieldCollection;
using nvinfer1::PluginFieldType;
using nvinfer1::PluginTensorDesc;

// The differences between the two interfaces, as far as the checks are concerned.
#if NV_TENSORRT_MAJOR >= 10 && !defined(POMT_FORCE_V2)
constexpr char const* kINTERFACE = "IPluginV3";
using AnyPlugin = nvinfer1::IPluginV3;
using Asked = nvinfer1::DynamicPluginTensorDesc;
using OurCreator = nvinfer1::IPluginCreatorV3One;
Asked asked(PluginTensorDesc const& tensor) { return Asked{tensor, tensor.dims, tensor.dims, tensor.dims}; }
void release(AnyPlugin* plugin) { delete plugin; }
AnyPlugin* created(OurCreator& creator, PluginFieldCollection const& fields) {
    return creator.createPlugin("node", &fields, nvinfer1::TensorRTPhase::kBUILD);
}
template <class Op>
AnyPlugin* restored(OurCreator& creator, pomt::Plugin<Op>& plugin) {
    return creator.createPlugin("node", plugin.getFieldsToSerialize(), nvinfer1::TensorRTPhase::kRUNTIME);
}
template <class Op>
void checkCapabilities(pomt::Plugin<Op>& plugin) {
    for (auto type :
         {nvinfer1::PluginCapabilityType::kCORE, nvinfer1::PluginCapabilityType::kBUILD,
          nvinfer1::PluginCapabilityType::kRUNTIME}) {
        check(plugin.getCapabilityInterface(type) != nullptr, "it has each capability");
    }
}
template <class Op>
bool shapes(
    pomt::Plugin<Op>& plugin, nvinfer1::DimsExprs const* inputs, int32_t count, Builder& builder,
    nvinfer1::DimsExprs& output) {
    return plugin.getOutputShapes(inputs, count, nullptr, 0, &output, 1, builder) == 0;
}
template <class Op>
DataType outputType(pomt::Plugin<Op>& plugin, DataType const* inputs) {
    DataType type;
    plugin.getOutputDataTypes(&type, 1, inputs, Op::INPUTS);
    return type;
}
#else
constexpr char const* kINTERFACE = "IPluginV2DynamicExt";
using AnyPlugin = nvinfer1::IPluginV2;
using Asked = PluginTensorDesc;
using OurCreator = nvinfer1::IPluginCreator;
Asked asked(PluginTensorDesc const& tensor) { return tensor; }
void release(AnyPlugin* plugin) { plugin->destroy(); }
AnyPlugin* created(OurCreator& creator, PluginFieldCollection const& fields) {
    return creator.createPlugin("node", &fields);
}
template <class Op>
AnyPlugin* restored(OurCreator& creator, pomt::Plugin<Op>& plugin) {
    std::vector<char> bytes(plugin.getSerializationSize());
    plugin.serialize(bytes.data());
    check(creator.deserializePlugin("node", bytes.data(), bytes.size() - 1) == nullptr, "a plan cut short is refused");
    bytes[0] = 9;
    check(creator.deserializePlugin("node", bytes.data(), bytes.size()) == nullptr, "another format is refused");
    check(said.find("format of a plan: expected 1, found 9") != std::string::npos, "and the log names both");
    plugin.serialize(bytes.data());
    return creator.deserializePlugin("node", bytes.data(), bytes.size());
}
template <class Op>
void checkCapabilities(pomt::Plugin<Op>& plugin) {
    check(plugin.initialize() == 0, "it initialises");
}
template <class Op>
bool shapes(
    pomt::Plugin<Op>& plugin, nvinfer1::DimsExprs const* inputs, int32_t count, Builder& builder,
    nvinfer1::DimsExprs& output) {
    output = plugin.getOutputDimensions(0, inputs, count, builder);
    return output.nbDims != -1;
}
template <class Op>
DataType outputType(pomt::Plugin<Op>& plugin, DataType const* inputs) {
    return plugin.getOutputDataType(0, inputs, Op::INPUTS);
}
#endif

struct Node {
    int32_t removed, prefix;
    std::string score;
    std::vector<PluginField> fields() const {
        return {
            PluginField("R", &removed, PluginFieldType::kINT32, 1),
            PluginField("prefix", &prefix, PluginFieldType::kINT32, 1),
            PluginField("score", score.c_str(), PluginFieldType::kCHAR, (int32_t)score.size() + 1),
        };
    }
};

AnyPlugin* created(OurCreator& creator, std::vector<PluginField> const& fields) {
    return created(creator, PluginFieldCollection{(int32_t)fields.size(), fields.data()});
}

PluginTensorDesc described(std::vector<Size> const& sizes, DataType type) {
    PluginTensorDesc tensor{};
    tensor.dims.nbDims = (int32_t)sizes.size();
    for (size_t i = 0; i < sizes.size(); ++i) tensor.dims.d[i] = sizes[i];
    tensor.type = type;
    tensor.format = nvinfer1::TensorFormat::kLINEAR;
    return tensor;
}

OurCreator& creatorOf(char const* name) {
    for (auto* each : registry().creators) {
        auto* const creator = static_cast<OurCreator*>(each);
        if (std::string(creator->getPluginName()) == name) {
            check(std::string(creator->getPluginVersion()) == "1", "its version is 1");
            check(std::string(creator->getPluginNamespace()).empty(), "its namespace is empty");
            check(creator->getFieldNames()->nbFields == 3, "it asks for three attributes");
            return *creator;
        }
    }
    check(false, "the operator is registered by loading the library");
    return *static_cast<OurCreator*>(registry().creators[0]);
}

void checkRefusals(OurCreator& creator, Node const& node) {
    for (char const* name : {"R", "prefix", "score"}) {
        std::vector<PluginField> some;
        for (auto const& field : node.fields()) {
            if (std::string(field.name) != name) some.push_back(field);
        }
        check(created(creator, some) == nullptr, (std::string("a node without ") + name + " is refused").c_str());
    }
    check(created(creator, Node{0, node.prefix, node.score}.fields()) == nullptr, "R = 0 is refused");
    check(created(creator, Node{node.removed, -1, node.score}.fields()) == nullptr, "a negative prefix is refused");
    check(created(creator, Node{node.removed, node.prefix, node.score + "x"}.fields()) == nullptr, "another score is");
}

template <class Op>
void checkShapes(pomt::Plugin<Op>& plugin, std::vector<PluginTensorDesc> const& inputs, Size tokens_out) {
    Builder builder;
    std::vector<nvinfer1::DimsExprs> sizes(inputs.size());
    for (size_t i = 0; i < inputs.size(); ++i) {
        sizes[i].nbDims = inputs[i].dims.nbDims;
        for (int32_t d = 0; d < sizes[i].nbDims; ++d) sizes[i].d[d] = builder.constant(inputs[i].dims.d[d]);
    }
    nvinfer1::DimsExprs output{};
    check(shapes(plugin, sizes.data(), Op::INPUTS, builder, output), "it tells the output's shape");
    check(output.nbDims == 3 && output.d[1]->getConstantValue() == tokens_out, "which has the tokens that stay");
    check(!shapes(plugin, sizes.data(), Op::INPUTS - 1, builder, output), "too few inputs have none");
    sizes[0].nbDims = 3;
    check(!shapes(plugin, sizes.data(), Op::INPUTS, builder, output), "a wrong rank has none");
}

template <class Op>
void checkFormats(pomt::Plugin<Op>& plugin, std::vector<PluginTensorDesc> const& inputs) {
    int accepted = 0;
    for (int mask = 0; mask < 1 << (Op::INPUTS + 1); ++mask) {
        std::vector<Asked> tensors;
        for (int32_t i = 0; i <= Op::INPUTS; ++i) {
            PluginTensorDesc tensor = inputs[i < Op::INPUTS ? i : Op::INPUTS - 1];
            tensor.type = mask >> i & 1 ? DataType::kHALF : DataType::kFLOAT;
            tensors.push_back(asked(tensor));
        }
        bool all = true;
        for (int32_t pos = 0; pos <= Op::INPUTS; ++pos) {
            all = all && plugin.supportsFormatCombination(pos, tensors.data(), Op::INPUTS, 1);
        }
        accepted += all;
    }
    check(accepted == 1 << Op::INPUTS, "each input may be fp32 or fp16, and the output is as x");
    for (auto type : {DataType::kINT32, DataType::kINT8}) {
        PluginTensorDesc tensor = inputs[0];
        tensor.type = type;
        Asked const one = asked(tensor);
        check(!plugin.supportsFormatCombination(0, &one, Op::INPUTS, 1), "integers are refused");
    }
    PluginTensorDesc tensor = inputs[0];
    tensor.format = nvinfer1::TensorFormat::kCHW2;
    Asked const one = asked(tensor);
    check(!plugin.supportsFormatCombination(0, &one, Op::INPUTS, 1), "so are packed formats");
    DataType types[Op::INPUTS];
    for (auto& type : types) type = DataType::kFLOAT;
    types[Op::INPUTS - 1] = DataType::kHALF;
    check(outputType(plugin, types) == DataType::kHALF, "the output's type is that of x");
}

std::vector<float> ramp(size_t count) {
    std::vector<float> made(count);
    for (size_t i = 0; i < count; ++i) made[i] = (float)((i * 37) % 101 + 1) / 101;
    return made;
}

template <class Op>
std::vector<float> run(
    pomt::Plugin<Op>& plugin, std::vector<PluginTensorDesc> const& inputs, Size tokens_out, bool fits) {
    std::vector<std::vector<float>> arrays;
    std::vector<void const*> data;
    std::vector<Asked> tensors;
    for (auto const& input : inputs) {
        size_t count = 1;
        for (int32_t d = 0; d < input.dims.nbDims; ++d) count *= input.dims.d[d];
        arrays.push_back(ramp(count));
        tensors.push_back(asked(input));
    }
    for (auto const& array : arrays) data.push_back(array.data());
    nvinfer1::Dims const x = inputs.back().dims;
    std::vector<float> out(x.d[0] * tokens_out * x.d[2]);
    std::vector<char> workspace(plugin.getWorkspaceSize(tensors.data(), Op::INPUTS, nullptr, 0));
    void* outputs[] = {out.data()};
    int const status = plugin.enqueue(inputs.data(), nullptr, data.data(), outputs, workspace.data(), nullptr);
    check((status == 0) == fits, fits ? "it runs" : "it refuses to run");
    return out;
}

template <class Op>
void checkOperator(Node const& node, std::vector<PluginTensorDesc> const& inputs) {
    printf("%s\n", Op::NAME);
    OurCreator& creator = creatorOf(Op::NAME);
    checkRefusals(creator, node);
    AnyPlugin* const first = created(creator, node.fields());
    check(first != nullptr, "it is created from a node's attributes");
    auto& plugin = static_cast<pomt::Plugin<Op>&>(*first);
    Size const tokens_out = inputs.back().dims.d[1] - node.removed;
    checkCapabilities(plugin);
    checkShapes(plugin, inputs, tokens_out);
    checkFormats(plugin, inputs);
    std::vector<float> const out = run(plugin, inputs, tokens_out, true);
    AnyPlugin* const second = restored(creator, plugin);
    check(second != nullptr, "a plan gives it back");
    check(run(static_cast<pomt::Plugin<Op>&>(*second), inputs, tokens_out, true) == out, "and it computes the same");
    auto* const third = static_cast<pomt::Plugin<Op>&>(*second).clone();
    release(second);
    check(run(static_cast<pomt::Plugin<Op>&>(*third), inputs, tokens_out, true) == out, "as does a clone of it");
    release(third);
    auto wrong = inputs;
    wrong[0].dims.d[3] += 1;
    run(plugin, wrong, tokens_out, false);
    check(said.find("tokens of x: expected") != std::string::npos, "and says which sizes do not fit");
    release(first);
}

}  // namespace

int main() {
    printf("TensorRT %d.%d, %s\n", NV_TENSORRT_MAJOR, NV_TENSORRT_MINOR, kINTERFACE);
    auto const kind = DataType::kFLOAT;
    checkOperator<pomt::TokenPruneOp>(
        Node{5, 1, "pomt"},
        {described({2, 3, 14, 14}, kind), described({2, 3, 14, 6}, kind), described({2, 14, 8}, kind)});
    checkOperator<pomt::TokenTopKOp>(
        Node{5, 1, "class"}, {described({2, 3, 1, 14}, kind), described({2, 14, 8}, kind)});
    printf("all checks hold\n");
}
