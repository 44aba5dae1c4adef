// Sums over rows in the order that the reference fixes: 64 rows one after the other in float32, and these sums one after the other in
// float64. So a channel's second sum is a chain of additions; a block brings what it needs into shared memory, all threads together.
#pragma once

#include "../cpu/support.h"
#include "device.h"

namespace fqt::cuda {

constexpr int64_t rows_per_sum = 64;  // ROWS_PER_SUM of the reference

struct Terms {
  float first, second;
};

// Two sums at once: source.terms(t, row, channel).
template <typename Source>
struct SumRuns {
  static constexpr int threads = 128, blocks = 4;
  using Shared = NoShared;
  Source source;
  int64_t rows, channels, runs;
  GlobalArray<float> first, second;  // [run][channel]

  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    const int64_t i = t.block_x() * threads + t.index();
    if (i >= runs * channels) return;
    const int64_t c = i % channels, begin = i / channels * rows_per_sum, end = smaller(rows, begin + rows_per_sum);
    Terms sum{0.0F, 0.0F};
    for (int64_t row = begin; row < end; ++row) {
      const Terms terms = source.terms(t, row, c);
      sum.first += terms.first;
      sum.second += terms.second;
    }
    first.store(t, i, sum.first);
    second.store(t, i, sum.second);
  }
};

// Block (x, y): 32 channels, one of the two sums.
struct AddRuns {
  static constexpr int threads = 256, blocks = 4;
  static constexpr int together = 32;  // runs
  struct Shared {
    SharedArray<float, together * warp_size> tile;
  };
  GlobalArray<const float> of_runs[2];
  GlobalArray<double> sums[2];
  int64_t runs, channels;

  FQT_DEVICE void operator()(const Thread& t, Shared& s) const {
    const bool second = t.block_y() != 0;
    const GlobalArray<const float>& from = second ? of_runs[1] : of_runs[0];
    const int64_t c = t.block_x() * warp_size + t.lane();
    double sum = 0.0;
    for (int64_t begin = 0; begin < runs; begin += together) {
      const auto count = static_cast<int>(smaller(together, runs - begin));
      for (int i = t.warp(); i < count; i += threads / warp_size) {
        s.tile.store(t, i * warp_size + t.lane(), c < channels ? from.load(t, (begin + i) * channels + c) : 0.0F);
      }
      t.barrier();
      if (t.warp() == 0) {
        for (int i = 0; i < count; ++i) sum += static_cast<double>(s.tile.load(t, i * warp_size + t.lane()));
      }
      t.barrier();
    }
    if (t.warp() == 0 && c < channels) (second ? sums[1] : sums[0]).store(t, c, sum);
  }
};

template <typename Source>
void ordered_sums(const Source& source, int64_t rows, int64_t channels, double* first, double* second, const Queue& queue) {
  const int64_t runs = ceil_div(rows, rows_per_sum), count = runs * channels;
  auto *firsts = queue.scratch<float>(count), *seconds = queue.scratch<float>(count);
  const SumRuns<Source> kernel{source, rows, channels, runs, {firsts, count}, {seconds, count}};
  launch(kernel, {ceil_div(count, kernel.threads)}, queue);
  const AddRuns add{{{firsts, count}, {seconds, count}}, {{first, channels}, {second, channels}}, runs, channels};
  launch(add, {ceil_div(channels, warp_size), 2}, queue);
}

}  // namespace fqt::cuda
