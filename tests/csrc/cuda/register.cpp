// Registers the emulated CUDA kernels with torch, for CPU tensors, as `fqt_cuda_emulated::<operation>.<path>`: the rim's checks, the
// kernels' own launches. Operations that do not depend on the path have `any`.
#define FQT_RIM_EMULATED

#include <memory>
#include <string>
#include <vector>

#include "../../../csrc/cuda/kernels.h"
#include "../../../csrc/torch/adam.h"
#include "../../../csrc/torch/hwnc_entry.h"
#include "../../../csrc/torch/hwnc_normalization.h"
#include "../../../csrc/torch/int8.h"
#include "../../../csrc/torch/pixel.h"
#include "../../../csrc/torch/rim.h"

namespace {

using fqt::cuda::Path;
using fqt::cuda::Queue;

// Memory for one operation, full of what nobody has written.
class Scratch {
 public:
  static void* allocate(void* owner, size_t bytes) {
    constexpr size_t alignment = 512;  // of torch's allocator
    auto& blocks = static_cast<Scratch*>(owner)->blocks_;
    blocks.emplace_back(bytes + alignment, 0xA5);
    const auto first = reinterpret_cast<uintptr_t>(blocks.back().data());
    return reinterpret_cast<void*>((first + alignment - 1) / alignment * alignment);
  }

 private:
  std::vector<std::vector<uint8_t>> blocks_;
};

// What the rim calls as the kernel.
template <auto operation, Path path, typename Arguments>
void emulated(const Arguments& a, const fqt::Threads&) {
  Scratch scratch;
  constexpr int64_t little = 1 << 16;  // so that there are several pieces
  operation(a, Queue{nullptr, path, &Scratch::allocate, &scratch, little});
}

}  // namespace

STABLE_TORCH_LIBRARY(fqt_cuda_emulated, m) {
#define DEFINE(operation, path) m.def((std::string(#operation "." #path) + fqt::rim::schema_##operation).c_str());
#define FQT_CUDA(operation, arguments) DEFINE(operation, any)
#define FQT_CUDA_PRODUCT(operation, arguments) DEFINE(operation, bits) DEFINE(operation, bytes) DEFINE(operation, words)
#include "../../../csrc/cuda/kernels.inc"
#undef FQT_CUDA
#undef FQT_CUDA_PRODUCT
}

STABLE_TORCH_LIBRARY_IMPL(fqt_cuda_emulated, CPU, m) {
#define IMPLEMENT(operation, arguments, name, path) \
  m.impl(#operation "." #name, TORCH_BOX((&fqt::rim::operation<&emulated<&fqt::cuda::operation, path, fqt::arguments>>)));
#define FQT_CUDA(operation, arguments) IMPLEMENT(operation, arguments, any, Path::words)
#define FQT_CUDA_PRODUCT(operation, arguments)        \
  IMPLEMENT(operation, arguments, bits, Path::bits)   \
  IMPLEMENT(operation, arguments, bytes, Path::bytes) \
  IMPLEMENT(operation, arguments, words, Path::words)
#include "../../../csrc/cuda/kernels.inc"
}
