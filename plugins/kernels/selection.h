// From scores to the new sequence: prefix, kept patches by descending score, and for pomtPrune the mean of the others.
#pragma once

#include "ranking.h"
#include "scores.h"

namespace pomt {

struct __attribute__((may_alias)) Chunk {
    alignas(16) unsigned words[4];
};

// Copies a row with `lanes` threads, 16 bytes at a time if the rows are aligned.
template <class T>
POMT_BODY void copyRow(const T* from, T* to, int size, int lane, int lanes) {
    if (((size_t)from | (size_t)to | size * sizeof(T)) % sizeof(Chunk) == 0) {
        int const count = (int)(size * sizeof(T) / sizeof(Chunk));
        for (int c = lane; c < count; c += lanes) ((Chunk*)to)[c] = ((const Chunk*)from)[c];
    } else {
        for (int c = lane; c < size; c += lanes) to[c] = from[c];
    }
}

// Copies the prefix and this block's kept patches. The number of threads is a multiple of kROW_LANES, or below it.
template <class X, class B>
POMT_BODY void writeRows(
    const B& block, const PomtShape& s, int kept, const unsigned short* ranks, const X* x, X* out) {
    int const lanes = smaller(kROW_LANES, block.threads), lane = block.thread % lanes;
    int const group = block.thread / lanes, groups = block.threads / lanes;
    int const first = block.x * sharePatches(s), share = smaller(sharePatches(s), patches(s) - first);
    size_t const row = s.channels;
    for (int i = block.x + kSELECT_BLOCKS * group; i < s.prefix; i += kSELECT_BLOCKS * groups) {
        copyRow(x + i * row, out + i * row, s.channels, lane, lanes);
    }
    for (int i = group; i < share; i += groups) {
        if (ranks[i] < kept) {
            copyRow(x + (s.prefix + first + i) * row, out + (s.prefix + ranks[i]) * row, s.channels, lane, lanes);
        }
    }
}

// Writes the mean of all patches below the cut, for this block's channels.
template <class X, class B>
POMT_BODY void writeMean(
    const B& block, const PomtShape& s, const unsigned* keys, Place cut, const X* x, X* to, float* sums) {
    int const columns = shareChannels(s), lanes = meanLanes(s, block.threads), first = block.x * columns;
    for (int item = block.thread; item < columns * lanes; item += block.threads) {
        int const column = first + item % columns;
        X const* const patch = x + (size_t)s.prefix * s.channels + column;
        float sum = 0;
        if (column < s.channels) {
            POMT_UNROLL(8)
            for (int j = item / columns; j < patches(s); j += lanes) {
                sum += placeOf(keys, j) < cut ? read(patch + (size_t)j * s.channels) : 0.0f;
            }
        }
        sums[item] = sum;
    }
    block.sync(10);
    for (int column = block.thread; column < smaller(columns, s.channels - first); column += block.threads) {
        float sum = 0;
        for (int lane = 0; lane < lanes; ++lane) sum += sums[lane * columns + column];
        write(to + first + column, sum / (s.removed + 1));
    }
}

// keys[j] of received[j] / max over patches of received + softmax over tokens of strength, from the workspace.
template <class B>
POMT_BODY void pruneKeys(const B& block, const PomtShape& s, const float* workspace, unsigned* keys, float* sums) {
    int const n = patches(s);
    float const *const parts = workspace + block.image * workspaceFloats(s), *const strength = parts + tiles(s) * n;
    float const lowest = floatOf(0xFF800000u);  // minus infinity
    Maxima const none = {lowest, lowest};
    Maxima most = none;
    for (int j = block.thread; j < n; j += block.threads) {
        float received = 0;
        for (int tile = 0; tile < tiles(s); ++tile) received += parts[tile * n + j];
        keys[j] = bitsOf(received);  // only this thread reads it before it is a key
        most.received = largerNumber(most.received, received);
    }
    for (int t = block.thread; t < s.tokens; t += block.threads) {
        most.strength = largerNumber(most.strength, strength[t]);
    }
    most = reduced(block, 1, most, none, (Maxima*)sums, Largest());
    float total = 0;
    for (int t = block.thread; t < s.tokens; t += block.threads) total += expf(strength[t] - most.strength);
    total = reduced(block, 3, total, 0.0f, sums + 2 * (block.threads + reducers(block.threads)), Sum());
    for (int j = block.thread; j < n; j += block.threads) {
        float const weight = expf(strength[s.prefix + j] - most.strength) / total;
        keys[j] = keyOf(floatOf(keys[j]) / most.received + weight);
    }
}

// Second launch of pomtPrune: kSELECT_BLOCKS blocks an image.
template <class X, class B>
POMT_BODY void pruneBody(
    const B& block, const PomtShape& s, const float* workspace, const X* x, X* out, unsigned* shared) {
    unsigned* const keys = shared;
    float* const sums = (float*)(keys + keyWords(s));
    unsigned short* const histogram = (unsigned short*)(sums + sumWords(s, block.threads));
    unsigned short* const counts = histogram + histogramShorts(block.threads);
    int const kept = keptByPrune(s);
    x += (size_t)block.image * s.tokens * s.channels;
    out += (size_t)block.image * (s.tokens - s.removed) * s.channels;
    pruneKeys(block, s, workspace, keys, sums);
    Place const cut = cutOf(block, keys, patches(s), kept, histogram);
    writeRows(block, s, kept, ranksOfShare(block, s, keys, counts), x, out);
    writeMean(block, s, keys, cut, x, out + (size_t)(s.prefix + kept) * s.channels, sums);
}

// The one launch of pomtTopK: kSELECT_BLOCKS blocks an image.
template <class A, class X, class B>
POMT_BODY void topkBody(const B& block, const PomtShape& s, const A* attention, const X* x, X* out, unsigned* shared) {
    unsigned* const keys = shared;
    unsigned short* const counts = (unsigned short*)(keys + keyWords(s));
    for (int j = block.thread; j < patches(s); j += block.threads) {
        keys[j] = keyOf(classScore(s, attention, block.image, j));
    }
    block.sync(11);
    x += (size_t)block.image * s.tokens * s.channels;
    out += (size_t)block.image * (s.tokens - s.removed) * s.channels;
    writeRows(block, s, keptByTopK(s), ranksOfShare(block, s, keys, counts), x, out);
}

}  // namespace pomt
