// convT(q, Wb) outside of chains: the core of chains (hwnc_input_gradient) for a group of channels and some kept samples at a
// time, and the way of its results to their place.
#include "../kernels.h"
#include "layout.h"

namespace fqt {
namespace FQT_ISA {

void conv2d_input_gradient(const InputGradientArguments& a, const Threads& threads) {
  const ConvShape& s = a.shape;
  if (!served(s)) {
    portable::conv2d_input_gradient(a, threads);
    return;
  }
  ConvShape part = group_of(s);
  const int64_t pixels = s.height * s.width, out_pixels = s.out_height * s.out_width;
  const int64_t group_weights = part.outputs * s.kernel_height * s.kernel_width * ceil_div(part.channels, 64);
  const bool codes_moved = s.groups > 1 || (out_pixels > 1 && s.samples > 1), results_moved = s.groups > 1 || pixels > 1;
  const int64_t fitting = samples_together(s.samples, pixels, pixels * part.channels * int64_t{sizeof(int32_t)});
  const int64_t together = results_moved ? fitting : s.samples;
  const Buffer<uint8_t> codes(codes_moved ? out_pixels * together * part.outputs : 0);
  const Buffer<int32_t> results(results_moved ? pixels * together * part.channels : 0);
  for (int64_t g = 0; g < s.groups; ++g) {
    for (int64_t first = 0; first < s.samples; first += together) {
      const int64_t count = smaller(together, s.samples - first);
      const uint8_t* some = a.codes + first * out_pixels * s.outputs;
      int32_t* out = a.result + (first * s.channels + g * part.channels) * pixels;
      if (codes_moved) move_codes(some, count, out_pixels, s.outputs, g * part.outputs, part.outputs, threads, codes.get());
      part.samples = count;
      hwnc_input_gradient({part, codes_moved ? codes.get() : some, a.weight + g * group_weights, nullptr, nullptr, nullptr,
                           nullptr, count, nullptr, results_moved ? results.get() : out},
                          threads);
      if (results_moved) move_results(results.get(), count, pixels, part.channels, threads, out, s.channels * pixels);
    }
  }
}

}  // namespace FQT_ISA
}  // namespace fqt
