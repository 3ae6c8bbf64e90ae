// Runs both operators with POMT_THREADS real threads a block and prints what comes out: threads [BARRIER TO LEAVE OUT]
//
// The last line names the barriers that were met. Under ThreadSanitizer a missing barrier ends the program.

#include <stdio.h>
#include <stdlib.h>

#include "host_kernels.cpp"

namespace {

std::vector<float> numbers(size_t count, unsigned seed) {
    std::vector<float> made(count);
    for (auto& number : made) {
        seed = seed * 1664525u + 1013904223u;
        number = (float)(seed >> 8) / (1 << 24);
    }
    return made;
}

void print(const std::vector<float>& values) {
    for (float value : values) printf("%.9g\n", value);
}

}  // namespace

int main(int count, char** arguments) {
    if (count > 1) pomtDroppedBarrier = atoi(arguments[1]);
    PomtShape const shape{1, 2, 19, 6, 20, 1, 7};
    std::vector<float> const attention = numbers(2 * 19 * 19, 1), values = numbers(2 * 19 * 6, 2),
                             x = numbers(19 * 20, 3);
    std::vector<float> out(12 * 20), workspace(pomtPruneWorkspaceBytes(&shape) / sizeof(float));
    PomtPruneCall const prune{attention.data(), values.data(), x.data(), out.data(), workspace.data(), 0, 0, 0};
    if (pomtPrune(&shape, &prune, nullptr)) return 1;
    print(out);
    PomtTopKCall const topk{attention.data(), x.data(), out.data(), 0, 0};
    if (pomtTopK(&shape, &topk, nullptr)) return 1;
    print(out);
    for (int number = 0; number < 32; ++number) {
        if (pomtSeenBarriers >> number & 1) printf("%d ", number);
    }
    printf("\n");
}
