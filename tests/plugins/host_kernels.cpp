// The kernels' bodies on a processor, behind the same C functions.
//
// A block is POMT_THREADS threads that wait for one another at real barriers, or, where that is 1, one thread. Its
// shared memory is from the heap, exactly as large as a launch would ask for, and full of ones, so that reading too far
// is seen by a sanitizer, and reading too early is a NaN. Each number of a barrier has an object of its own: of one
// that is met twice in a row, ThreadSanitizer would take the second meeting for the first where a thread leaves late.

#include <pthread.h>

#include <thread>
#include <vector>

#include "../../plugins/kernels/entry.h"
#include "../../plugins/kernels/selection.h"

#ifndef POMT_THREADS
#define POMT_THREADS 1
#endif

constexpr int kBARRIERS = 12;

extern "C" {
int pomtDroppedBarrier = -1;  // the number of the barrier that is left out
int pomtSeenBarriers = 0;     // one bit for each number that was met
}

namespace {

using namespace pomt;

struct HostBlock {
    int x, image, thread, threads;
    pthread_barrier_t* barriers;

    void sync(int number) const {
        if (thread == 0) pomtSeenBarriers |= 1 << number;
        if (threads > 1 && number != pomtDroppedBarrier) pthread_barrier_wait(barriers + number);
    }
};

template <class Body>
void runBlock(int x, int image, size_t shared_bytes, const Body& body) {
    std::vector<unsigned> shared((shared_bytes + 3) / 4, 0xFFFFFFFFu);
    if (POMT_THREADS == 1) return body(HostBlock{x, image, 0, 1, nullptr}, shared.data());
    pthread_barrier_t barriers[kBARRIERS];
    for (auto& barrier : barriers) pthread_barrier_init(&barrier, nullptr, POMT_THREADS);
    std::vector<std::thread> threads;
    for (int t = 0; t < POMT_THREADS; ++t) {
        threads.emplace_back([&, t] { body(HostBlock{x, image, t, POMT_THREADS, barriers}, shared.data()); });
    }
    for (auto& thread : threads) thread.join();
    for (auto& barrier : barriers) pthread_barrier_destroy(&barrier);
}

template <class Body>
int runGrid(int blocks, int images, size_t shared_bytes, const Body& body) {
    for (int image = 0; image < images; ++image) {
        for (int x = 0; x < blocks; ++x) runBlock(x, image, shared_bytes, body);
    }
    return 0;
}

struct HostLauncher {
    template <class A, class V>
    int score(const PomtShape& s, const A* attention, const V* values, float* workspace) const {
        return runGrid(
            scoreBlocks(s, POMT_THREADS), s.batch, scoreSharedBytes(POMT_THREADS),
            [&](const HostBlock& block, unsigned* shared) {
                scoreBody(block, s, attention, values, workspace, (float*)shared);
            });
    }

    template <class X>
    int prune(const PomtShape& s, const float* workspace, const X* x, X* out) const {
        return runGrid(
            kSELECT_BLOCKS, s.batch, pruneSharedBytes(s, POMT_THREADS),
            [&](const HostBlock& block, unsigned* shared) { pruneBody(block, s, workspace, x, out, shared); });
    }

    template <class A, class X>
    int topk(const PomtShape& s, const A* attention, const X* x, X* out) const {
        return runGrid(kSELECT_BLOCKS, s.batch, topkSharedBytes(s), [&](const HostBlock& block, unsigned* shared) {
            topkBody(block, s, attention, x, out, shared);
        });
    }
};

}  // namespace

extern "C" int pomtPrune(const PomtShape* shape, const PomtPruneCall* call, void*) {
    return prune(HostLauncher(), *shape, *call);
}

extern "C" int pomtTopK(const PomtShape* shape, const PomtTopKCall* call, void*) {
    return topk(HostLauncher(), *shape, *call);
}

extern "C" float pomtWiden(unsigned short bits) {
    Half const half{bits};
    return read(&half);
}

extern "C" unsigned short pomtNarrow(float value) {
    Half half;
    write(&half, value);
    return half.bits;
}
