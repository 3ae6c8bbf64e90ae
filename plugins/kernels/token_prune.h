// Two ways to remove tokens from a sequence, as plain C functions over memory of the device that they run on.
//
// Knows CUDA only. Nothing here allocates, synchronises, keeps state or throws: whatever a call needs is in its
// arguments, so that it may be captured in a CUDA graph and called from any thread. The contract of each is in
// ../README.md.
#pragma once

#ifndef __CUDACC_RTC__  // NVRTC has no headers of its own, and knows size_t
#include <stddef.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum PomtType { POMT_FLOAT = 0, POMT_HALF = 1 };

// Sizes of one call. A patch is a token behind the prefix.
typedef struct PomtShape {
    int batch;
    int heads;
    int tokens;      // entering, prefix included; at most 4096
    int head_width;  // of values; not read by pomtTopK
    int channels;
    int prefix;   // tokens that are never removed and come first
    int removed;  // R, net
} PomtShape;

// tokens leaving, or 0 where the shape cannot be.
int pomtPruneTokens(const PomtShape* shape);
int pomtTopKTokens(const PomtShape* shape);

// Bytes of scratch memory that pomtPrune needs, aligned as cudaMalloc does; a function of the shape alone.
size_t pomtPruneWorkspaceBytes(const PomtShape* shape);

typedef struct PomtPruneCall {
    const void* attention;  // (batch, heads, tokens, tokens), rows are queries
    const void* values;     // (batch, heads, tokens, head_width)
    const void* x;          // (batch, tokens, channels)
    void* out;              // (batch, pomtPruneTokens, channels): prefix, kept by descending score, mean of the others
    void* workspace;
    int attention_type;  // PomtType
    int values_type;
    int x_type;  // of out, too
} PomtPruneCall;

typedef struct PomtTopKCall {
    const void* attention;  // (batch, heads, 1, tokens): the class token's row
    const void* x;          // (batch, tokens, channels)
    void* out;              // (batch, pomtTopKTokens, channels): prefix, kept by descending score
    int attention_type;
    int x_type;
} PomtTopKCall;

// Enqueue on a cudaStream_t. Return cudaSuccess (0), cudaErrorInvalidValue (1) for what cannot be, or the launch's
// error.
int pomtPrune(const PomtShape* shape, const PomtPruneCall* call, void* stream);
int pomtTopK(const PomtShape* shape, const PomtTopKCall* call, void* stream);

#ifdef __cplusplus
}
#endif
