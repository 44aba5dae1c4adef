// Sums over rows in the order that the reference fixes: rows_per_sum rows one after the other in float32, and these sums one
// after the other in float64. Channels are the lanes, so neither vectors nor threads change the order.
#pragma once

#include "support.h"

namespace fqt {
namespace {

constexpr int64_t rows_per_sum = 64;  // ROWS_PER_SUM of the reference

// Onto the sums of channels begin … end - 1. Sums that start from +0 are never -0, so the zero rows that the reference adds change
// nothing.
inline void add_partial_sums(const float* partial, int64_t chunks, int64_t channels, int64_t begin, int64_t end,
                             double* sums) {
  for (int64_t i = 0; i < chunks; ++i) {
    for (int64_t d = begin; d < end; ++d) sums[d] += static_cast<double>(partial[i * channels + d]);
  }
}

// Two sums at once. add(row, first, second) adds one row to the sums of all channels, add_several(row, first, second) eight.
template <typename Add, typename AddSeveral>
void ordered_sums(int64_t rows, int64_t channels, const Threads& threads, Add add, AddSeveral add_several, double* first,
                  double* second) {
  constexpr int64_t several = 8;
  const int64_t chunks = ceil_div(rows, rows_per_sum);
  const Buffer<float> firsts(chunks * channels, Contents::any), seconds(chunks * channels, Contents::any);
  parallel(threads, chunks, rows_per_sum * channels, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      float* __restrict one = firsts.get() + i * channels;
      float* __restrict two = seconds.get() + i * channels;
      for (int64_t d = 0; d < channels; ++d) one[d] = two[d] = 0.0F;
      int64_t row = i * rows_per_sum;
      const int64_t last = smaller(rows, row + rows_per_sum);
      for (; row + several <= last; row += several) add_several(row, one, two);
      for (; row < last; ++row) add(row, one, two);
    }
  });
  parallel(threads, channels, 2 * chunks, [&](int64_t begin, int64_t end) {
    for (int64_t d = begin; d < end; ++d) first[d] = second[d] = 0.0;
    add_partial_sums(firsts.get(), chunks, channels, begin, end, first);
    add_partial_sums(seconds.get(), chunks, channels, begin, end, second);
  });
}

}  // namespace
}  // namespace fqt
