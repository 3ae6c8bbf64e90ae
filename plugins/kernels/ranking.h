// Ranks patches: higher scores first, then lower indices; NaN comes last.
#pragma once

#include "layout.h"

namespace pomt {

typedef unsigned long long Place;  // higher is better; all patches have different places

// Maps a score to an integer with the same order. Equal scores have equal keys, and so have -0 and 0.
POMT_BODY unsigned keyOf(float score) {
    if (score != score) return 0;
    unsigned const bits = bitsOf(score + 0.0f);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

POMT_BODY Place placeOf(const unsigned* keys, int patch) {
    return (Place)keys[patch] << kINDEX_BITS | (unsigned)(kMOST_TOKENS - 1 - patch);
}

// A place that exactly `kept` patches reach: that of the `kept`-th best patch, or a lower one above all worse patches.
// Radix selection with four bits a step: each thread counts its patches by digit, and the sums give the digit.
template <class B>
POMT_BODY Place cutOf(const B& block, const unsigned* keys, int n, int kept, unsigned short* histogram) {
    int const count = reducers(block.threads);
    unsigned short *const parts = histogram + kBINS * block.threads, *const bins = parts + kBINS * count;
    Place cut = 0;
    for (int shift = 32 + kINDEX_BITS - kDIGIT_BITS; shift >= 0; shift -= kDIGIT_BITS) {
        for (int bin = 0; bin < kBINS; ++bin) histogram[bin * block.threads + block.thread] = 0;
        for (int j = block.thread; j < n; j += block.threads) {
            Place const ahead = placeOf(keys, j) >> shift;
            if (ahead >> kDIGIT_BITS == cut >> shift >> kDIGIT_BITS) {
                ++histogram[(int)(ahead % kBINS) * block.threads + block.thread];
            }
        }
        block.sync(5);
        for (int item = block.thread; item < kBINS * count; item += block.threads) {
            int sum = 0;
            for (int t = item % count; t < block.threads; t += count) {
                sum += histogram[item / count * block.threads + t];
            }
            parts[item] = (unsigned short)sum;
        }
        block.sync(6);
        for (int bin = block.thread; bin < kBINS; bin += block.threads) {
            int sum = 0;
            for (int r = 0; r < count; ++r) sum += parts[bin * count + r];
            bins[bin] = (unsigned short)sum;
        }
        block.sync(7);
        int bin = kBINS - 1;
        for (; bins[bin] < kept; --bin) kept -= bins[bin];
        cut |= (Place)bin << shift;
        if (bins[bin] == kept) break;  // the same for all threads; always true at the last digit
    }
    return cut;
}

// ranks[i] = number of patches that are better than the i-th of this block's share. All keys must be written before.
template <class B>
POMT_BODY const unsigned short* ranksOfShare(
    const B& block, const PomtShape& s, const unsigned* keys, unsigned short* counts) {
    int const n = patches(s), first = block.x * sharePatches(s), share = smaller(sharePatches(s), n - first);
    unsigned short* const ranks = counts + sharePatches(s) * kRANK_LANES;
    for (int item = block.thread; item < share * kRANK_LANES; item += block.threads) {
        Place const own = placeOf(keys, first + item / kRANK_LANES);
        int better = 0;
        for (int j = item % kRANK_LANES; j < n; j += kRANK_LANES) better += placeOf(keys, j) > own;
        counts[item] = (unsigned short)better;
    }
    block.sync(8);
    for (int i = block.thread; i < share; i += block.threads) {
        int better = 0;
        for (int lane = 0; lane < kRANK_LANES; ++lane) better += counts[i * kRANK_LANES + lane];
        ranks[i] = (unsigned short)better;
    }
    block.sync(9);
    return ranks;
}

}  // namespace pomt
