// corr(q, Xb) outside of chains: the core of chains (hwnc_weight_gradient) for a group of channels and some of its kept ones at
// a time, and the way of its results to their place.
#include "../kernels.h"
#include "layout.h"

namespace fqt {
namespace {

constexpr int64_t least_kept = 64;  // kept channels that are worth the preparation of the input

// Codes [kept][sample][pixel] of the rows `kept` as [pixel][kept][sample], where samples end in zeros.
void move_rows(const WeightGradientArguments& a, const int64_t* kept, int64_t count, const Threads& threads, uint8_t* out) {
  constexpr int64_t together = 64;  // pixels
  const int64_t pixels = a.shape.out_height * a.shape.out_width, samples = a.shape.samples, row = round_up(samples, 4);
  parallel(threads, ceil_div(pixels, together) * count, together * samples, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t first = item / count * together, i = item % count;
      transpose_codes(a.codes + kept[i] * samples * pixels + first, pixels, samples, smaller(together, pixels - first),
                      out + (first * count + i) * row, count * row);
    }
  });
}

// Which rows of codes are of which group, in order.
struct Members {
  Buffer<int64_t> rows;   // by group
  Buffer<int64_t> begin;  // [group], where its rows begin; and where the last one's end

  explicit Members(const WeightGradientArguments& a) : rows(a.kept), begin(a.shape.groups + 1) {
    const int64_t of_group = a.shape.outputs / a.shape.groups;
    for (int64_t i = 0; i < a.kept; ++i) ++begin[a.index[i] / of_group + 1];
    for (int64_t g = 0; g < a.shape.groups; ++g) begin[g + 1] += begin[g];
    const Buffer<int64_t> next(a.shape.groups);
    for (int64_t i = 0; i < a.kept; ++i) {
      const int64_t g = a.index[i] / of_group;
      rows[begin[g] + next[g]++] = i;
    }
  }
};

}  // namespace

namespace FQT_ISA {

void conv2d_weight_gradient(const WeightGradientArguments& a, const Threads& threads) {
  const ConvShape& s = a.shape;
  if (!served(s)) {
    portable::conv2d_weight_gradient(a, threads);
    return;
  }
  ConvShape part = group_of(s);
  const int64_t pixels = s.height * s.width, out_pixels = s.out_height * s.out_width, taps = s.kernel_height * s.kernel_width;
  const int64_t words = ceil_div(s.channels, 64), group_words = ceil_div(part.channels, 64), row_size = part.channels * taps;
  const bool x_moved = s.groups > 1 || (pixels > 1 && s.samples > 1);
  const bool codes_moved = s.groups > 1 || out_pixels > 1 || s.samples % 4 != 0, results_moved = s.groups > 1 || taps > 1;
  const int64_t fitting = larger(least_kept, cache_bytes / (row_size * int64_t{sizeof(int32_t)}) / 8 * 8);
  const int64_t together = codes_moved || results_moved ? smaller(a.kept, fitting) : a.kept;
  const Members members(a);
  const Buffer<uint64_t> x(x_moved ? pixels * s.samples * group_words : 0);
  const Buffer<uint8_t> codes(codes_moved ? out_pixels * together * round_up(s.samples, 4) : 0);
  const Buffer<int32_t> results(results_moved ? together * row_size : 0);
  for (int64_t g = 0; g < s.groups; ++g) {
    if (members.begin[g] == members.begin[g + 1]) continue;
    if (x_moved) move_words(a.x, s.samples, pixels, words, g * part.channels, part.channels, threads, x.get());
    for (int64_t first = members.begin[g]; first < members.begin[g + 1]; first += together) {
      const int64_t count = smaller(together, members.begin[g + 1] - first);
      const int64_t* kept = members.rows.get() + first;
      if (codes_moved) move_rows(a, kept, count, threads, codes.get());
      part.outputs = count;
      hwnc_weight_gradient({part, x_moved ? x.get() : a.x, codes_moved ? codes.get() : a.codes + first * s.samples, count,
                            nullptr, nullptr, nullptr, results_moved ? results.get() : a.result + first * row_size},
                           threads);
      if (!results_moved) continue;
      parallel(threads, count, row_size, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          transpose(results.get() + i * row_size, part.channels, taps, part.channels, a.result + kept[i] * row_size);
        }
      });
    }
  }
}

}  // namespace FQT_ISA
}  // namespace fqt
