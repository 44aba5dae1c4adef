// Registers every CUDA kernel of the table with torch, as `fqt_native::<operation>.cuda`: on the current stream of the current GPU.
// Scratch memory comes from torch's allocator, which keeps it for the stream, so a step allocates nothing anew.
#define FQT_RIM_CUDA

#include "../cuda/kernels.h"
#include "adam.h"
#include "hwnc.h"
#include "hwnc_entry.h"
#include "hwnc_normalization.h"
#include "int8.h"
#include "pixel.h"
#include "rim.h"

namespace fqt::rim {
namespace {

using cuda::Path;
using cuda::path_for;
static_assert(path_for(7) == Path::bytes && path_for(8) == Path::bits && path_for(9) == Path::bits && path_for(10) == Path::bytes);

class Scratch {
 public:
  explicit Scratch(int32_t device) : device_(torch::headeronly::DeviceType::CUDA, device) {}
  static void* allocate(void* owner, size_t bytes) {
    auto& self = *static_cast<Scratch*>(owner);
    const std::vector<int64_t> size{static_cast<int64_t>(bytes)};
    self.tensors_.push_back(torch::stable::empty(size, ScalarType::Byte, std::nullopt, self.device_));
    return self.tensors_.back().mutable_data_ptr();
  }

 private:
  torch::stable::Device device_;
  std::vector<Tensor> tensors_;
};

// What the rim calls as the kernel.
template <auto operation, typename Arguments>
void on_gpu(const Arguments& a, const Threads& /*of the CPU*/) {
  const int32_t device = torch::stable::accelerator::getCurrentDeviceIndex();
  Scratch scratch(device);
  operation(a, {current_stream(), cuda::path_of(device), &Scratch::allocate, &scratch});
}

}  // namespace
}  // namespace fqt::rim

STABLE_TORCH_LIBRARY_FRAGMENT(fqt_native, m) {
#define FQT_CUDA(operation, arguments) m.def((std::string(#operation ".cuda") + fqt::rim::schema_##operation).c_str());
#define FQT_CUDA_PRODUCT FQT_CUDA
#include "../cuda/kernels.inc"
#undef FQT_CUDA_PRODUCT
#undef FQT_CUDA
}

STABLE_TORCH_LIBRARY_IMPL(fqt_native, CUDA, m) {
#define FQT_CUDA(operation, arguments) \
  m.impl(#operation ".cuda", TORCH_BOX((&fqt::rim::operation<&fqt::rim::on_gpu<&fqt::cuda::operation, fqt::arguments>>)));
#define FQT_CUDA_PRODUCT FQT_CUDA
#include "../cuda/kernels.inc"
#undef FQT_CUDA_PRODUCT
#undef FQT_CUDA
}
