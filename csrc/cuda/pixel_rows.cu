// Pixel rows of a gradient (fqt_core/ops/pixel/rows.py), and random numbers (fqt_core/ops/uniform.py).
#include "../cpu/gradient.h"
#include "device.h"
#include "kernels.h"
#include "random.h"

namespace fqt::cuda {
namespace {

// A thread gives the numbers of one block of random numbers.
struct UniformNumbers {
  static constexpr int threads = 256, blocks = 4;
  using Shared = NoShared;
  GlobalArray<const int64_t> groups;
  GlobalArray<float> numbers;
  PhiloxKey key;
  int64_t count, size, per_group;

  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    const int64_t i = t.block_x() * threads + t.index(), row = i / per_group, begin = i % per_group * 4;
    if (row >= count) return;
    Uniform uniform(key, groups.load(t, row) * per_group);
    for (int64_t j = begin; j < smaller(begin + 4, size); ++j) numbers.store(t, row * size + j, uniform.number(j));
  }
};

// A pixel's channels one after the other; neighbouring threads take neighbouring pixels. Squares are exact in float64.
struct SquareSums {
  static constexpr int threads = 128, blocks = 4;
  using Shared = NoShared;
  GlobalArray<const float> g;
  GlobalArray<double> sums;
  int64_t channels, pixels, count;

  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    const int64_t i = t.block_x() * threads + t.index();
    if (i >= count) return;
    double sum = 0.0;
    for (int64_t d = 0; d < channels; ++d) {
      const double value = g.load(t, (i / pixels * channels + d) * pixels + i % pixels);
      sum += value * value;
    }
    sums.store(t, i, sum);
  }
};

// Block (x, y): 32 kept rows, 32 channels. Kept rows rise, so they are read side by side, and turned in shared memory if rows of
// channels are wanted.
struct Gather {
  static constexpr int threads = 256, blocks = 4;
  static constexpr int tile = 32, stride = tile + 1;
  struct Shared {
    SharedArray<float, tile * stride> values;  // [channel][row]
  };
  GlobalArray<const float> g;
  GlobalArray<const int64_t> index;
  GlobalArray<const float> factor;
  GlobalArray<float> rows;
  int64_t channels, pixels, kept;
  bool by_row;

  FQT_DEVICE void operator()(const Thread& t, Shared& s) const {
    const int64_t first_row = t.block_x() * tile, first_channel = t.block_y() * tile, j = first_row + t.lane();
    if (j < kept) {
      const int64_t at = index.load(t, j);
      for (int i = t.warp(); i < tile && first_channel + i < channels; i += threads / warp_size) {
        const int64_t d = first_channel + i;
        const float value = g.load(t, (at / pixels * channels + d) * pixels + at % pixels) * factor.load(t, j);
        if (by_row) {
          s.values.store(t, i * stride + t.lane(), value);
        } else {
          rows.store(t, d * kept + j, value);
        }
      }
    }
    t.barrier();
    const int64_t d = first_channel + t.lane();
    if (!by_row || d >= channels) return;
    for (int i = t.warp(); i < tile && first_row + i < kept; i += threads / warp_size) {
      rows.store(t, (first_row + i) * channels + d, s.values.load(t, t.lane() * stride + i));
    }
  }
};

// Each float32 operation is one of the reference's, in its order.
struct Dither {
  static constexpr int threads = 256, blocks = 4;
  using Shared = NoShared;
  GlobalArray<const float> values, lo, hi, sign, offset;
  GlobalArray<const uint8_t> level;
  GlobalArray<uint8_t> codes;
  int64_t size, offsets, count;
  float levels;

  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    constexpr float magic = 12582912.0F;  // adding 1.5 * 2**23 and taking it off again rounds to integers
    const int64_t i = t.block_x() * threads + t.index(), group = i / size, j = i % size;
    if (i >= count) return;
    const Mapping map(lo.load(t, group), hi.load(t, group), levels);
    const float u = sign.load(t, j) * offset.load(t, group * offsets + level.load(t, j)), top = levels + 1.0F;
    float v = ((values.load(t, i) - map.lo) * map.scale) * map.inverse;
    v = v > -1.0F ? v : -1.0F;
    v = v < top ? v : top;
    v = ((v + u) + magic) - magic;
    v = v > 0.0F ? v : 0.0F;
    v = v < levels ? v : levels;
    codes.store(t, i, static_cast<uint8_t>(static_cast<int32_t>(v)));
  }
};

}  // namespace

void uniform_numbers(const UniformArguments& a, const Queue& queue) {
  if (a.count * a.size == 0) return;
  const int64_t per_group = ceil_div(a.size, 4);
  const PhiloxKey key{a.key[0], a.key[1], a.step, a.layer, a.purpose};
  const UniformNumbers kernel{{a.groups, a.count}, {a.numbers, a.count * a.size}, key, a.count, a.size, per_group};
  launch(kernel, {ceil_div(a.count * per_group, UniformNumbers::threads)}, queue);
}

void pixel_square_sums(const SquareSumsArguments& a, const Queue& queue) {
  const int64_t count = a.samples * a.pixels;
  const SquareSums kernel{{a.g, count * a.channels}, {a.sums, count}, a.channels, a.pixels, count};
  launch(kernel, {ceil_div(count, SquareSums::threads)}, queue);
}

void pixel_gather(const GatherArguments& a, const Queue& queue) {
  const Gather kernel{{a.g, a.samples * a.channels * a.pixels}, {a.index, a.kept}, {a.factor, a.kept},
                      {a.rows, a.kept * a.channels}, a.channels, a.pixels, a.kept, a.by_row};
  launch(kernel, {ceil_div(a.kept, Gather::tile), ceil_div(a.channels, Gather::tile)}, queue);
}

void quantize_dithered(const DitherArguments& a, const Queue& queue) {
  const int64_t count = a.groups * a.size;
  const Dither kernel{{a.values, count}, {a.lo, a.groups}, {a.hi, a.groups}, {a.sign, a.size}, {a.offset, a.groups * a.offsets},
                      {a.level, a.size}, {a.codes, count}, a.size, a.offsets, count, static_cast<float>(a.levels)};
  launch(kernel, {ceil_div(count, Dither::threads)}, queue);
}

}  // namespace fqt::cuda
