// How a call divides its work and memory. This depends on the shape alone, so that all devices give the same results.
#pragma once

#include "block.h"
#include "token_prune.h"

namespace pomt {

constexpr int kMOST_TOKENS = 4096;  // keeps shared memory below 48 KB, so that no opt-in is needed
constexpr int kINDEX_BITS = 12;     // log2 of kMOST_TOKENS
constexpr int kMOST_BATCH = 65535;  // gridDim.y
constexpr int kMOST_CHANNELS = 16384;
constexpr int kMOST_TILES = 32;  // number of parts in which rows of attention are summed
constexpr int kSCORE_THREADS = 256;
constexpr int kSTRENGTH_LANES = 32;  // threads that share a token's values
constexpr int kSELECT_THREADS = 512;
constexpr int kSELECT_BLOCKS = 16;  // of an image; each finds the cut itself and writes its share
constexpr int kREDUCED = 16;        // values that one thread adds up in the first step of a reduction
constexpr int kRANK_LANES = 8;      // threads that compute the rank of one patch
constexpr int kROW_LANES = 32;      // threads that copy one row
constexpr int kDIGIT_BITS = 4;      // of one step of the radix selection
constexpr int kBINS = 1 << kDIGIT_BITS;
constexpr size_t kMOST_SHARED_BYTES = 48 << 10;

POMT_BOTH int reducers(int threads) { return ceilDiv(threads, kREDUCED); }
POMT_BOTH int patches(const PomtShape& s) { return s.tokens - s.prefix; }
// Patches that are kept; the shape is valid if there is at least one.
POMT_BOTH int keptByPrune(const PomtShape& s) { return patches(s) - s.removed - 1; }
POMT_BOTH int keptByTopK(const PomtShape& s) { return patches(s) - s.removed; }

// Scoring: a block sums one tile of rows for one chunk of columns, or finds the strength of a few tokens.
POMT_BOTH int tileRows(const PomtShape& s) { return ceilDiv(patches(s), kMOST_TILES); }
POMT_BOTH int tiles(const PomtShape& s) { return ceilDiv(patches(s), tileRows(s)); }
POMT_BOTH int chunks(const PomtShape& s) { return ceilDiv(patches(s), kSCORE_THREADS); }
POMT_BOTH int receivedBlocks(const PomtShape& s) { return tiles(s) * chunks(s); }
POMT_BOTH int strengthTokens(int threads) { return threads < kSTRENGTH_LANES ? 1 : threads / kSTRENGTH_LANES; }
POMT_BOTH int scoreBlocks(const PomtShape& s, int threads) {
    return receivedBlocks(s) + ceilDiv(s.tokens, strengthTokens(threads));
}
POMT_BOTH size_t scoreSharedBytes(int threads) { return sizeof(float) * strengthTokens(threads) * kSTRENGTH_LANES; }

// Workspace of an image: partial sums of received attention (tiles, patches), then the strength of tokens (tokens).
POMT_BOTH size_t workspaceFloats(const PomtShape& s) { return (size_t)tiles(s) * patches(s) + s.tokens; }

// Selection: a block writes the rows of its share of patches, and the mean for its share of channels.
POMT_BOTH int sharePatches(const PomtShape& s) { return ceilDiv(patches(s), kSELECT_BLOCKS); }
POMT_BOTH int shareChannels(const PomtShape& s) { return ceilDiv(s.channels, kSELECT_BLOCKS); }
POMT_BOTH int meanLanes(const PomtShape& s, int threads) {
    return threads < shareChannels(s) ? 1 : threads / shareChannels(s);
}

// The regions of its shared memory: keys; sums (reductions, then the mean); histogram; counts and ranks.
POMT_BOTH size_t keyWords(const PomtShape& s) { return patches(s); }
POMT_BOTH size_t sumWords(const PomtShape& s, int threads) {
    size_t const reductions = 3 * ((size_t)threads + reducers(threads));
    size_t const mean = (size_t)shareChannels(s) * meanLanes(s, threads);
    return reductions > mean ? reductions : mean;
}
POMT_BOTH size_t rankShorts(const PomtShape& s) { return (size_t)sharePatches(s) * (kRANK_LANES + 1); }
POMT_BOTH size_t histogramShorts(int threads) { return (size_t)kBINS * (threads + reducers(threads) + 1); }
POMT_BOTH size_t pruneSharedBytes(const PomtShape& s, int threads) {
    return 4 * (keyWords(s) + sumWords(s, threads)) + 2 * (histogramShorts(threads) + rankShorts(s));
}
POMT_BOTH size_t topkSharedBytes(const PomtShape& s) { return 4 * keyWords(s) + 2 * rankShorts(s); }

POMT_BOTH bool possible(const PomtShape& s) {
    return s.batch >= 1 && s.batch <= kMOST_BATCH && s.heads >= 1 && s.channels >= 1 && s.channels <= kMOST_CHANNELS &&
           s.tokens <= kMOST_TOKENS && s.prefix >= 0 && s.removed >= 1;
}
POMT_BOTH bool possiblePrune(const PomtShape& s) { return possible(s) && s.head_width >= 1 && keptByPrune(s) >= 1; }
POMT_BOTH bool possibleTopK(const PomtShape& s) { return possible(s) && keptByTopK(s) >= 1; }
POMT_BOTH bool possibleType(int type) { return type == POMT_FLOAT || type == POMT_HALF; }

}  // namespace pomt
