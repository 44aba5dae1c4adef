// Codes of some samples' gradients, for dL/dX. A sample's elements are counted by pixel of the product, then channel, and cut
// into pieces that start with a fresh block of random numbers.
#include "../hwnc_gradient.h"
#include "../kernels.h"
#include "../rounding.h"

namespace fqt {
namespace {

constexpr int64_t piece = 512;

}  // namespace

namespace FQT_ISA {

void hwnc_quantize_samples(const HwncQuantizeArguments& a, const Threads& threads) {
  const int64_t channels = a.gradient.of.channels, size = a.out_height * a.out_width * channels;
  const int64_t pieces = ceil_div(size, piece), blocks = ceil_div(size, 4);
  const GradientRows rows(a.gradient.of);
  const PhiloxKey key(a.key, a.step, a.layer, a.purpose);
  const float levels = static_cast<float>(a.levels);
  parallel(threads, pieces * a.kept_count, 2 * piece, [&](int64_t begin, int64_t end) {
    float w[piece], buffer[uniform_room(piece)];
    uint8_t codes[piece];
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i % a.kept_count, sample = a.kept[row];
      const int64_t first = i / a.kept_count * piece, count = smaller(piece, size - first);
      const auto for_each_run = [&](auto use) {
        for (int64_t at = 0; at < count;) {
          const int64_t pixel = (first + at) / channels, channel = (first + at) % channels;
          const int64_t run = smaller(channels - channel, count - at);
          use(pixel, channel, at, run);
          at += run;
        }
      };
      for_each_run([&](int64_t pixel, int64_t channel, int64_t at, int64_t run) {
        product_run(a, rows, a.alpha, pixel, sample, channel, run, w + at);
      });
      const float* u = draw_uniform(key, sample * blocks, first, count, buffer);
      quantize_run(w, u, count, Mapping(a.lo[row], a.hi[row], levels), levels, codes);
      for_each_run([&](int64_t pixel, int64_t channel, int64_t at, int64_t run) {
        std::memcpy(a.codes + (pixel * a.kept_count + row) * channels + channel, codes + at, static_cast<size_t>(run));
      });
    }
  });
}

}  // namespace FQT_ISA
}  // namespace fqt
