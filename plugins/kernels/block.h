// What a kernel body uses of the machine: its place in the grid, its threads, a barrier, and numbers in two widths.
//
// A body is a sequence of phases with sync() between them. In one phase, a thread never touches what another thread
// writes. So a body also runs on a processor, with one thread or several (tests/plugins). The tests leave out each
// sync() in turn, by its number.
#pragma once

#ifdef __CUDACC__
#define POMT_BODY __device__ __forceinline__
#define POMT_BOTH __host__ __device__ __forceinline__
#define POMT_TEXT(text) _Pragma(#text)
#define POMT_UNROLL(times) POMT_TEXT(unroll times)
#else
#define POMT_BODY inline
#define POMT_BOTH inline
#define POMT_UNROLL(times)
#include <math.h>
#include <string.h>
#endif

namespace pomt {

struct Half {
    unsigned short bits;
};

#ifdef __CUDACC__

// In the grid, x counts the blocks of an image, and y is the image.
struct Block {
    int x, image, thread, threads;
    __device__ __forceinline__ Block() : x(blockIdx.x), image(blockIdx.y), thread(threadIdx.x), threads(blockDim.x) {}
    __device__ __forceinline__ void sync(int) const { __syncthreads(); }
};

// PTX instead of cuda_fp16.h, so that NVRTC needs no headers. Compute capabilities from 5.3 on have these instructions.
POMT_BODY float read(const Half* from) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(from->bits));
    return value;
}
POMT_BODY void write(Half* to, float value) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(to->bits) : "f"(value)); }
POMT_BODY unsigned bitsOf(float value) { return __float_as_uint(value); }
POMT_BODY float floatOf(unsigned bits) { return __uint_as_float(bits); }

#else

inline unsigned bitsOf(float value) {
    unsigned bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
inline float floatOf(unsigned bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}
inline float read(const Half* from) {
    unsigned const sign = (from->bits & 0x8000u) << 16, rest = from->bits & 0x7FFFu;
    if (rest >= 0x7C00u) return floatOf(sign | 0x7F800000u | (rest & 0x3FFu) << 13);
    // Scaling by a power of two is exact, and also converts subnormal numbers.
    return floatOf(sign | bitsOf(floatOf(rest << 13) * floatOf(0x77800000u)));
}
inline void write(Half* to, float value) {
    unsigned const sign = bitsOf(value) >> 16 & 0x8000u, rest = bitsOf(value) & 0x7FFFFFFFu;
    unsigned bits;
    if (rest > 0x7F800000u) {
        bits = 0x7FFFu;
    } else if (rest >= 0x47800000u) {
        bits = 0x7C00u;  // 65536 and more; numbers between 65504 and 65536 are rounded below
    } else if (rest < 0x38800000u) {
        bits = (unsigned)nearbyintf(floatOf(rest) * 16777216.0f);  // subnormal: units of 2^-24
    } else {
        bits = (rest - 0x38000000u + 0xFFFu + (rest >> 13 & 1u)) >> 13;  // to nearest, ties to even
    }
    to->bits = (unsigned short)(sign | bits);
}

#endif

POMT_BODY float read(const float* from) { return *from; }
POMT_BODY void write(float* to, float value) { *to = value; }

// The larger; NaN where either is, as in PyTorch and ONNX.
POMT_BODY float larger(float a, float b) { return b > a || b != b ? b : a; }
// The larger; NaN only where both are.
POMT_BODY float largerNumber(float a, float b) { return b > a || a != a ? b : a; }

POMT_BOTH int ceilDiv(int a, int b) { return (a + b - 1) / b; }
POMT_BOTH int smaller(int a, int b) { return a < b ? a : b; }

}  // namespace pomt
