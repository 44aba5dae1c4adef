// What kernels are written in: one source for nvcc and, in tests, for the host's compiler. docs/cuda.md draws the structure.
//
// A kernel is a struct:  static constexpr int threads, blocks     a block's threads; how many blocks a multiprocessor should hold
//                        struct Shared                            its shared memory, made of SharedArray
//                        FQT_DEVICE void operator()(Thread& t, Shared& s) const
//
// All it knows of the machine is: Thread (place, barrier, exchange within a warp), GlobalArray and SharedArray (memory), launch, and
// the products of fragments (fragments.h). On a GPU these are what they stand for (gpu.h), and cost nothing. On a CPU
// (emulator/emulator.h) the threads of a block are fibers: each access is checked against the array's bounds and against what
// other threads did to the same word since the last barrier.
#pragma once

#include <cstddef>
#include <cstdint>

#include "queue.h"

namespace fqt::cuda {

constexpr int warp_size = 32;

// Neighbouring words, which are loaded and stored at once; the first one's number is a multiple of how many they are.
struct alignas(8) Pair {
  uint32_t word[2];
};
struct alignas(16) Quad {
  uint32_t word[4];
};

struct Grid {
  int64_t x = 1, y = 1, z = 1;
};

struct NoShared {};

}  // namespace fqt::cuda

#if defined(__CUDACC__)
#include "gpu.h"
#else
#include "emulator/emulator.h"
#endif
