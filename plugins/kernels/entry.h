// The C functions of token_prune.h without the launches: they check the shape and choose the types.
//
// token_prune.cu includes it for a GPU, the tests for a processor. Each passes a Launcher with the functions
// score<A, V>, prune<X> and topk<A, X>, which return 0 or an error.
#pragma once

#include "layout.h"

namespace pomt {

constexpr int kINVALID = 1;  // cudaErrorInvalidValue

template <class Launcher, class A>
int scoreValues(const Launcher& launcher, const PomtShape& s, const PomtPruneCall& call) {
    A const* const attention = (A const*)call.attention;
    return call.values_type == POMT_HALF
               ? launcher.score(s, attention, (Half const*)call.values, (float*)call.workspace)
               : launcher.score(s, attention, (float const*)call.values, (float*)call.workspace);
}

template <class Launcher>
int prune(const Launcher& launcher, const PomtShape& s, const PomtPruneCall& call) {
    if (!possiblePrune(s) || pruneSharedBytes(s, kSELECT_THREADS) > kMOST_SHARED_BYTES) return kINVALID;
    if (!possibleType(call.attention_type) || !possibleType(call.values_type) || !possibleType(call.x_type)) {
        return kINVALID;
    }
    int const failed = call.attention_type == POMT_HALF ? scoreValues<Launcher, Half>(launcher, s, call)
                                                        : scoreValues<Launcher, float>(launcher, s, call);
    if (failed) return failed;
    float const* const workspace = (float const*)call.workspace;
    return call.x_type == POMT_HALF ? launcher.prune(s, workspace, (Half const*)call.x, (Half*)call.out)
                                    : launcher.prune(s, workspace, (float const*)call.x, (float*)call.out);
}

template <class Launcher, class A>
int topkRows(const Launcher& launcher, const PomtShape& s, const PomtTopKCall& call) {
    A const* const attention = (A const*)call.attention;
    return call.x_type == POMT_HALF ? launcher.topk(s, attention, (Half const*)call.x, (Half*)call.out)
                                    : launcher.topk(s, attention, (float const*)call.x, (float*)call.out);
}

template <class Launcher>
int topk(const Launcher& launcher, const PomtShape& s, const PomtTopKCall& call) {
    if (!possibleTopK(s) || !possibleType(call.attention_type) || !possibleType(call.x_type)) return kINVALID;
    return call.attention_type == POMT_HALF ? topkRows<Launcher, Half>(launcher, s, call)
                                            : topkRows<Launcher, float>(launcher, s, call);
}

}  // namespace pomt

extern "C" {

int pomtPruneTokens(const PomtShape* shape) { return pomt::possiblePrune(*shape) ? shape->tokens - shape->removed : 0; }

int pomtTopKTokens(const PomtShape* shape) { return pomt::possibleTopK(*shape) ? shape->tokens - shape->removed : 0; }

size_t pomtPruneWorkspaceBytes(const PomtShape* shape) {
    return pomt::possiblePrune(*shape) ? sizeof(float) * shape->batch * pomt::workspaceFloats(*shape) : 0;
}
}
