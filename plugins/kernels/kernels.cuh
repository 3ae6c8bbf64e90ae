// The bodies as kernels, without launches. The tests compile this file with NVRTC.
#pragma once

#include "selection.h"

namespace pomt {

template <class A, class V>
__global__ void __launch_bounds__(kSCORE_THREADS)
    scoreKernel(PomtShape s, const A* __restrict__ attention, const V* __restrict__ values, float* workspace) {
    extern __shared__ unsigned shared[];
    scoreBody(Block(), s, attention, values, workspace, (float*)shared);
}

template <class X>
__global__ void __launch_bounds__(kSELECT_THREADS)
    pruneKernel(PomtShape s, const float* __restrict__ workspace, const X* __restrict__ x, X* __restrict__ out) {
    extern __shared__ unsigned shared[];
    pruneBody(Block(), s, workspace, x, out, shared);
}

template <class A, class X>
__global__ void __launch_bounds__(kSELECT_THREADS)
    topkKernel(PomtShape s, const A* __restrict__ attention, const X* __restrict__ x, X* __restrict__ out) {
    extern __shared__ unsigned shared[];
    topkBody(Block(), s, attention, x, out, shared);
}

}  // namespace pomt
