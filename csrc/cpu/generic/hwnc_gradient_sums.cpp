// Sums of a gradient over its rows, in the specified order; channels are the lanes.
#include "../hwnc_gradient.h"
#include "../kernels.h"

namespace fqt {
namespace {

constexpr int64_t rows_per_sum = 64;  // ROWS_PER_SUM of the reference
constexpr int64_t unroll = 8;         // rows that are added while a channel's sums stay in registers

// The rows of g are those of (pixel, present sample), side by side.
inline const int16_t* row_of_y(const HwncGradient& of, int64_t row) {
  return of.y + (row / of.present * of.samples + of.index[row % of.present]) * of.channels;
}

// Adds `count` consecutive rows, one after the other.
template <int64_t count>
inline void add_rows(const HwncGradient& of, const float* __restrict center, int64_t row, float* __restrict first,
                     float* __restrict second) {
  const float* g = of.g + row * of.channels;
  const int16_t* y[count];
  for (int64_t r = 0; r < count; ++r) y[r] = row_of_y(of, row + r);
  for (int64_t d = 0; d < of.channels; ++d) {
    float sum = first[d], product = second[d];
    for (int64_t r = 0; r < count; ++r) {
      const float value = g[r * of.channels + d];
      sum += value;
      product += value * (static_cast<float>(y[r][d]) - center[d]);
    }
    first[d] = sum;
    second[d] = product;
  }
}

// Sums that start from +0 are never -0, so the zero rows that the reference adds change nothing.
void add_partial_sums(const float* partial, int64_t chunks, int64_t channels, int64_t begin, int64_t end, double* sums) {
  for (int64_t d = begin; d < end; ++d) sums[d] = 0.0;
  for (int64_t i = 0; i < chunks; ++i) {
    for (int64_t d = begin; d < end; ++d) sums[d] += static_cast<double>(partial[i * channels + d]);
  }
}

}  // namespace

namespace FQT_ISA {

void hwnc_gradient_sums(const GradientSumsArguments& a, const Threads& threads) {
  const HwncGradient& of = a.gradient;
  const int64_t rows = of.height * of.width * of.present, chunks = ceil_div(rows, rows_per_sum);
  const Buffer<float> first(chunks * of.channels), second(chunks * of.channels);
  parallel(threads, chunks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      float* sums = first.get() + i * of.channels;
      float* products = second.get() + i * of.channels;
      int64_t row = i * rows_per_sum;
      const int64_t last = smaller(rows, row + rows_per_sum);
      for (; row + unroll <= last; row += unroll) add_rows<unroll>(of, a.center, row, sums, products);
      for (; row < last; ++row) add_rows<1>(of, a.center, row, sums, products);
    }
  });
  parallel(threads, of.channels, 64, [&](int64_t begin, int64_t end) {
    add_partial_sums(first.get(), chunks, of.channels, begin, end, a.first);
    add_partial_sums(second.get(), chunks, of.channels, begin, end, a.second);
  });
}

}  // namespace FQT_ISA
}  // namespace fqt
