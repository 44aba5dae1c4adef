// Sums of a gradient over its rows, in the specified order; channels are the lanes.
#include "../hwnc_gradient.h"
#include "../kernels.h"
#include "../ordered_sums.h"

namespace fqt {
namespace {

// The rows of g are those of (pixel, present sample), side by side.
inline const int16_t* row_of_y(const HwncGradient& of, int64_t row) {
  return of.y + (row / of.present * of.samples + of.index[row % of.present]) * of.channels;
}

// Adds `count` consecutive rows, one after the other; a channel's sums stay in registers meanwhile.
template <int64_t count>
inline void add_rows(const HwncGradient& of, const float* __restrict center, int64_t row, float* __restrict first,
                     float* __restrict second) {
  const float* g = of.g + row * of.channels;
  const int16_t* y[count];
  for (int64_t r = 0; r < count; ++r) y[r] = row_of_y(of, row + r);
  fetch_ahead(g, count * of.channels);
  for (int64_t r = 0; r < count; ++r) fetch_ahead(y[r], of.channels);
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

}  // namespace

namespace FQT_ISA {

void hwnc_gradient_sums(const GradientSumsArguments& a, const Threads& threads) {
  const HwncGradient& of = a.gradient;
  ordered_sums(
      of.height * of.width * of.present, of.channels, threads,
      [&](int64_t row, float* first, float* second) { add_rows<1>(of, a.center, row, first, second); },
      [&](int64_t row, float* first, float* second) { add_rows<8>(of, a.center, row, first, second); }, a.first, a.second);
}

}  // namespace FQT_ISA
}  // namespace fqt
