// The forward product outside of chains: the core of chains (hwnc_binary_conv2d) for a group of channels and some samples at a
// time, whose results become 32-bit numbers on their way to their place.
#include "../kernels.h"
#include "layout.h"

namespace fqt {
namespace FQT_ISA {

void binary_conv2d(const ForwardArguments& a, const Threads& threads) {
  const ConvShape& s = a.shape;
  ConvShape part = group_of(s);
  const int64_t taps = s.kernel_height * s.kernel_width;
  if (!served(s) || part.channels * taps > most_forward_terms) {
    portable::binary_conv2d(a, threads);
    return;
  }
  const int64_t pixels = s.height * s.width, out_pixels = s.out_height * s.out_width;
  const int64_t x_words = ceil_div(s.channels, 64), words = ceil_div(part.channels, 64);
  const int64_t together = samples_together(s.samples, out_pixels, out_pixels * part.outputs * int64_t{sizeof(int16_t)});
  const bool moved = s.groups > 1 || (pixels > 1 && s.samples > 1);
  const Buffer<uint64_t> x(moved ? pixels * together * words : 0);
  const Buffer<int16_t> y(out_pixels * together * part.outputs);
  const Buffer<int64_t> moments(2 * part.outputs);  // which chains want
  for (int64_t g = 0; g < s.groups; ++g) {
    const uint64_t* weight = a.weight + g * part.outputs * taps * words;
    for (int64_t first = 0; first < s.samples; first += together) {
      part.samples = smaller(together, s.samples - first);
      const uint64_t* some = a.x + first * pixels * x_words;
      if (moved) move_words(some, part.samples, pixels, x_words, g * part.channels, part.channels, threads, x.get());
      hwnc_binary_conv2d({part, moved ? x.get() : some, weight, y.get(), moments.get(), moments.get() + part.outputs}, threads);
      move_results(y.get(), part.samples, out_pixels, part.outputs, threads,
                   a.y + (first * s.outputs + g * part.outputs) * out_pixels, s.outputs * out_pixels);
    }
  }
}

void binary_linear(const ForwardArguments& a, const Threads& threads) { binary_conv2d(a, threads); }

}  // namespace FQT_ISA
}  // namespace fqt
