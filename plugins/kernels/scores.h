// Scores of patches: received attention (in partial sums), strength of a token's values, and class attention.
#pragma once

#include "layout.h"

namespace pomt {

// parts[image][tile][j] = sum over the tile's rows i of the largest over heads of attention[i][j], patches only.
// A thread reads a column, so that neighbouring threads read neighbouring numbers.
template <class A, class B>
POMT_BODY void scoreReceived(const B& block, const PomtShape& s, const A* attention, float* workspace) {
    int const n = patches(s), tile = block.x / chunks(s), chunk = block.x % chunks(s);
    int const first = tile * tileRows(s), last = smaller(first + tileRows(s), n);
    int const end = smaller((chunk + 1) * kSCORE_THREADS, n);
    size_t const row = s.tokens, head = row * s.tokens;
    A const* const patch = attention + (size_t)block.image * s.heads * head + s.prefix * row + s.prefix;
    for (int j = chunk * kSCORE_THREADS + block.thread; j < end; j += block.threads) {
        float sum = 0;
        for (int i = first; i < last; ++i) {
            A const* const at = patch + i * row + j;
            float most = read(at);
            POMT_UNROLL(4)
            for (int h = 1; h < s.heads; ++h) most = larger(most, read(at + h * head));
            sum += most;
        }
        workspace[block.image * workspaceFloats(s) + (size_t)tile * n + j] = sum;
    }
}

// strength[image][t] = sum over channels of a head of the largest over heads of values[t], for the block's tokens.
template <class V, class B>
POMT_BODY void scoreStrength(const B& block, const PomtShape& s, const V* values, float* workspace, float* sums) {
    int const count = strengthTokens(block.threads), first = (block.x - receivedBlocks(s)) * count;
    size_t const head = (size_t)s.tokens * s.head_width;
    for (int item = block.thread; item < count * kSTRENGTH_LANES; item += block.threads) {
        int const token = first + item / kSTRENGTH_LANES;
        float sum = 0;
        for (int d = item % kSTRENGTH_LANES; token < s.tokens && d < s.head_width; d += kSTRENGTH_LANES) {
            V const* const at = values + block.image * s.heads * head + (size_t)token * s.head_width + d;
            float most = read(at);
            POMT_UNROLL(4)
            for (int h = 1; h < s.heads; ++h) most = larger(most, read(at + h * head));
            sum += most;
        }
        sums[item] = sum;
    }
    block.sync(0);
    float* const strength = workspace + block.image * workspaceFloats(s) + (size_t)tiles(s) * patches(s);
    for (int token = block.thread; token < smaller(count, s.tokens - first); token += block.threads) {
        float sum = 0;
        for (int lane = 0; lane < kSTRENGTH_LANES; ++lane) sum += sums[token * kSTRENGTH_LANES + lane];
        strength[first + token] = sum;
    }
}

// First launch of pomtPrune: scoreBlocks(s, threads) blocks an image.
template <class A, class V, class B>
POMT_BODY void scoreBody(
    const B& block, const PomtShape& s, const A* attention, const V* values, float* workspace, float* shared) {
    if (block.x < receivedBlocks(s)) {
        scoreReceived(block, s, attention, workspace);
    } else {
        scoreStrength(block, s, values, workspace, shared);
    }
}

// The class token's attention to patch j, mean over heads.
template <class A>
POMT_BODY float classScore(const PomtShape& s, const A* attention, int image, int j) {
    A const* const at = attention + (size_t)image * s.heads * s.tokens + s.prefix + j;
    float sum = 0;
    for (int h = 0; h < s.heads; ++h) sum += read(at + (size_t)h * s.tokens);
    return sum / s.heads;
}

struct Maxima {
    float received;
    float strength;
};
struct Largest {
    POMT_BODY Maxima operator()(Maxima a, Maxima b) const {
        return {largerNumber(a.received, b.received), largerNumber(a.strength, b.strength)};
    }
};
struct Sum {
    POMT_BODY float operator()(float a, float b) const { return a + b; }
};

// Reduces the values `own` of all threads to one, in two steps with a fixed order. slots holds threads + reducers.
template <class T, class Op, class B>
POMT_BODY T reduced(const B& block, int barrier, T own, T none, T* slots, Op op) {
    T* const few = slots + block.threads;
    int const count = reducers(block.threads);
    slots[block.thread] = own;
    block.sync(barrier);
    for (int r = block.thread; r < count; r += block.threads) {
        T part = none;
        for (int t = r; t < block.threads; t += count) part = op(part, slots[t]);
        few[r] = part;
    }
    block.sync(barrier + 1);
    T all = none;
    for (int r = 0; r < count; ++r) all = op(all, few[r]);
    return all;
}

}  // namespace pomt
