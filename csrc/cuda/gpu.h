// The machine of device.h on a GPU.
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "device.h"

#define FQT_DEVICE __device__ __forceinline__
#define FQT_HOST_DEVICE __host__ __device__ __forceinline__
// Before a loop: so that arrays which it indexes stay in registers, or so that it does not need more of them.
#define FQT_UNROLL _Pragma("unroll")
#define FQT_NO_UNROLL _Pragma("unroll 1")

namespace fqt::cuda {

class Thread {
 public:
  FQT_DEVICE int index() const { return static_cast<int>(threadIdx.x); }
  FQT_DEVICE int lane() const { return index() % warp_size; }
  FQT_DEVICE int warp() const { return index() / warp_size; }
  FQT_DEVICE int64_t block_x() const { return blockIdx.x; }
  FQT_DEVICE int64_t block_y() const { return blockIdx.y; }
  FQT_DEVICE int64_t block_z() const { return blockIdx.z; }
  FQT_DEVICE void barrier() const { __syncthreads(); }

  // Among the 32 lanes of a warp, all of which must come here.
  FQT_DEVICE uint32_t ballot(bool vote) const { return __ballot_sync(~0U, vote); }
  template <typename T>
  FQT_DEVICE T from_lane_xor(T value, int mask) const {
    return __shfl_xor_sync(~0U, value, mask);
  }
  // The value of the lane `distance` below, or one's own if there is none.
  template <typename T>
  FQT_DEVICE T from_lane_below(T value, int distance) const {
    return __shfl_up_sync(~0U, value, static_cast<unsigned>(distance));
  }
};

FQT_DEVICE void atomic_add(int64_t* to, int64_t value) {
  static_assert(sizeof(int64_t) == sizeof(unsigned long long));
  atomicAdd(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(value));
}
template <typename T>
FQT_DEVICE void atomic_add(T* to, T value) {
  atomicAdd(to, value);
}

// `count` elements from `data` on; only the emulator keeps the count.
template <typename T>
class GlobalArray {
 public:
  GlobalArray() = default;
  GlobalArray(T* data, int64_t /*count*/) : data_(data) {}
  FQT_DEVICE explicit operator bool() const { return data_ != nullptr; }
  FQT_DEVICE T load(const Thread&, int64_t i) const { return data_[i]; }
  FQT_DEVICE Pair load2(const Thread&, int64_t i) const { return *reinterpret_cast<const Pair*>(data_ + i); }
  FQT_DEVICE void store(const Thread&, int64_t i, T value) const { data_[i] = value; }
  FQT_DEVICE void store2(const Thread&, int64_t i, Pair value) const { *reinterpret_cast<Pair*>(data_ + i) = value; }
  FQT_DEVICE void add(const Thread&, int64_t i, T value) const { atomic_add(data_ + i, value); }
  FQT_DEVICE void merge(const Thread&, int64_t i, T bits) const { atomicOr(data_ + i, bits); }

 private:
  T* data_ = nullptr;
};

template <typename T, int count>
class SharedArray {
 public:
  FQT_DEVICE T load(const Thread&, int i) const { return data_[i]; }
  FQT_DEVICE Quad load4(const Thread&, int i) const { return *reinterpret_cast<const Quad*>(data_ + i); }
  FQT_DEVICE void store(const Thread&, int i, T value) { data_[i] = value; }
  FQT_DEVICE void add(const Thread&, int i, T value) { atomic_add(data_ + i, value); }

 private:
  alignas(16) T data_[count];
};

FQT_DEVICE int set_bits(uint64_t word) { return __popcll(word); }
FQT_DEVICE uint32_t float_bits(float value) { return __float_as_uint(value); }

template <typename Kernel>
__global__ void __launch_bounds__(Kernel::threads, Kernel::blocks) run(const Kernel kernel) {
  __shared__ typename Kernel::Shared shared;
  Thread thread;
  kernel(thread, shared);
}

template <typename Kernel>
void launch(const Kernel& kernel, const Grid& grid, const Queue& queue) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  if (grid.x > INT32_MAX || grid.y > 65535 || grid.z > 65535) throw std::runtime_error("too many blocks for one launch");
  const dim3 blocks(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y), static_cast<unsigned>(grid.z));
  run<<<blocks, Kernel::threads, 0, static_cast<cudaStream_t>(queue.stream)>>>(kernel);
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(error));
}

}  // namespace fqt::cuda
