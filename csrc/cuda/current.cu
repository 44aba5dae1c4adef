#include "current.h"

#if defined(__CUDACC__)

#include <cuda_runtime.h>

#include <atomic>
#include <stdexcept>
#include <string>

namespace fqt::cuda {
namespace {

void check(cudaError_t error) {
  if (error != cudaSuccess) throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(error));
}

}  // namespace

Path path_of(int device) {
  constexpr int most_devices = 64;
  static std::atomic<int> majors[most_devices];  // 0: not asked yet
  if (device < 0 || device >= most_devices) throw std::runtime_error("CUDA: more devices than expected");
  int major = majors[device].load();
  if (major == 0) {
    check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
    majors[device].store(major);
  }
  return path_for(major);
}

int64_t fetch(const int64_t* number, void* stream) {
  int64_t value = 0;
  const auto queue = static_cast<cudaStream_t>(stream);
  check(cudaMemcpyAsync(&value, number, sizeof(value), cudaMemcpyDeviceToHost, queue));
  check(cudaStreamSynchronize(queue));
  return value;
}

}  // namespace fqt::cuda

#endif
