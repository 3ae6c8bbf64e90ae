// Launches the kernels on a GPU: libpomt_kernels.so.

#include <cuda_runtime_api.h>

#include "entry.h"
#include "kernels.cuh"

namespace {

using namespace pomt;

struct CudaLauncher {
    cudaStream_t stream;

    template <class A, class V>
    int score(const PomtShape& s, const A* attention, const V* values, float* workspace) const {
        dim3 const grid(scoreBlocks(s, kSCORE_THREADS), s.batch);
        scoreKernel<<<grid, kSCORE_THREADS, scoreSharedBytes(kSCORE_THREADS), stream>>>(
            s, attention, values, workspace);
        return cudaPeekAtLastError();
    }

    template <class X>
    int prune(const PomtShape& s, const float* workspace, const X* x, X* out) const {
        dim3 const grid(kSELECT_BLOCKS, s.batch);
        pruneKernel<<<grid, kSELECT_THREADS, pruneSharedBytes(s, kSELECT_THREADS), stream>>>(s, workspace, x, out);
        return cudaPeekAtLastError();
    }

    template <class A, class X>
    int topk(const PomtShape& s, const A* attention, const X* x, X* out) const {
        dim3 const grid(kSELECT_BLOCKS, s.batch);
        topkKernel<<<grid, kSELECT_THREADS, topkSharedBytes(s), stream>>>(s, attention, x, out);
        return cudaPeekAtLastError();
    }
};

}  // namespace

extern "C" int pomtPrune(const PomtShape* shape, const PomtPruneCall* call, void* stream) {
    return prune(CudaLauncher{(cudaStream_t)stream}, *shape, *call);
}

extern "C" int pomtTopK(const PomtShape* shape, const PomtTopKCall* call, void* stream) {
    return topk(CudaLauncher{(cudaStream_t)stream}, *shape, *call);
}
