// Codes of channels' gradients, for dL/dW.
#include "../all_channels.h"
#include "../kernels.h"
#include "../some_channels.h"

namespace fqt {
namespace FQT_ISA {

void hwnc_quantize_channels(const HwncQuantizeArguments& a, const Threads& threads) {
  if (a.kept_count == a.gradient.of.channels) {
    quantize_all_channels(a, threads);
  } else {
    quantize_some_channels(a, threads);
  }
}

}  // namespace FQT_ISA
}  // namespace fqt
