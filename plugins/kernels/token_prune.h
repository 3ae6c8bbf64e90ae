// Two operators that remove tokens from a sequence, as C functions on device memory. ../README.md has their contracts.
//
// They need CUDA only. They do not allocate, synchronise, keep state or throw. So a CUDA graph can capture them, and
// any thread can call them.
#pragma once

#ifndef __CUDACC_RTC__  // NVRTC has no headers, and defines size_t itself
#include <stddef.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum PomtType { POMT_FLOAT = 0, POMT_HALF = 1 };

// Sizes of one call. A patch is a token after the prefix.
typedef struct PomtShape {
    int batch;
    int heads;
    int tokens;      // before the call, with the prefix; at most 4096
    int head_width;  // of values; pomtTopK does not read it
    int channels;
    int prefix;   // number of first tokens, which are never removed
    int removed;  // R, net
} PomtShape;

// Number of tokens after the call; 0 for an invalid shape.
int pomtPruneTokens(const PomtShape* shape);
int pomtTopKTokens(const PomtShape* shape);

// Bytes of scratch memory for pomtPrune, aligned as by cudaMalloc.
size_t pomtPruneWorkspaceBytes(const PomtShape* shape);

typedef struct PomtPruneCall {
    const void* attention;  // (batch, heads, tokens, tokens), rows are queries
    const void* values;     // (batch, heads, tokens, head_width)
    const void* x;          // (batch, tokens, channels)
    void* out;              // (batch, pomtPruneTokens, channels): prefix, kept by descending score, mean of the others
    void* workspace;
    int attention_type;  // PomtType
    int values_type;
    int x_type;  // of x and out
} PomtPruneCall;

typedef struct PomtTopKCall {
    const void* attention;  // (batch, heads, 1, tokens): the class token's row
    const void* x;          // (batch, tokens, channels)
    void* out;              // (batch, pomtTopKTokens, channels): prefix, kept by descending score
    int attention_type;
    int x_type;
} PomtTopKCall;

// Enqueue on a cudaStream_t. Return cudaSuccess (0), cudaErrorInvalidValue (1) for an invalid shape or type, or the
// launch's error.
int pomtPrune(const PomtShape* shape, const PomtPruneCall* call, void* stream);
int pomtTopK(const PomtShape* shape, const PomtTopKCall* call, void* stream);

#ifdef __cplusplus
}
#endif
