// Pixel rows of a gradient: their sums of squares, and the kept ones gathered. Pixels are the lanes, as they lie side by side.
#include "../kernels.h"
#include "../support.h"

namespace fqt {
namespace {

constexpr int64_t chunk = 256;  // pixels per piece: sums and the squares' source stay in the first cache

void gather_by_row(const GatherArguments& a, int64_t begin, int64_t end) {
  for (int64_t j = begin; j < end; ++j) {
    const float* in = a.g + a.index[j] / a.pixels * a.channels * a.pixels + a.index[j] % a.pixels;
    float* out = a.rows + j * a.channels;
    for (int64_t d = 0; d < a.channels; ++d) out[d] = in[d * a.pixels] * a.factor[j];
  }
}

void gather_channel(const GatherArguments& a, int64_t channel) {
  float* out = a.rows + channel * a.kept;
  for (int64_t j = 0; j < a.kept; ++j) {
    const int64_t sample = a.index[j] / a.pixels, pixel = a.index[j] % a.pixels;
    out[j] = a.g[(sample * a.channels + channel) * a.pixels + pixel] * a.factor[j];
  }
}

}  // namespace

namespace FQT_ISA {

void pixel_square_sums(const SquareSumsArguments& a, const Threads& threads) {
  const int64_t pieces = ceil_div(a.pixels, chunk);
  parallel(threads, a.samples * pieces, smaller(chunk, a.pixels) * a.channels, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t sample = i / pieces, first = i % pieces * chunk, count = smaller(chunk, a.pixels - first);
      double* __restrict sums = a.sums + sample * a.pixels + first;
      for (int64_t p = 0; p < count; ++p) sums[p] = 0.0;
      for (int64_t d = 0; d < a.channels; ++d) {
        const float* __restrict g = a.g + (sample * a.channels + d) * a.pixels + first;
        for (int64_t p = 0; p < count; ++p) sums[p] += static_cast<double>(g[p]) * static_cast<double>(g[p]);
      }
    }
  });
}

void pixel_gather(const GatherArguments& a, const Threads& threads) {
  if (a.by_row) {
    parallel(threads, a.kept, a.channels, [&](int64_t begin, int64_t end) { gather_by_row(a, begin, end); });
  } else {
    parallel(threads, a.channels, a.kept, [&](int64_t begin, int64_t end) {
      for (int64_t d = begin; d < end; ++d) gather_channel(a, d);
    });
  }
}

}  // namespace FQT_ISA
}  // namespace fqt
