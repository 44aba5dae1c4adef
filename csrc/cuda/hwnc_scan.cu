// Ranges and moments of a block's gradient (fqt_core/ops/hwnc/gradient.py and moments.py): of w for each sample and of v for each
// channel, in one scan. A block scans 32 channels of a sample, in a slab of the pixels.
#include <cmath>

#include "../cpu/gradient.h"
#include "kernels.h"
#include "parts.h"
#include "places.h"
#include "reduce.h"
#include "rows.h"

namespace fqt::cuda {
namespace {

struct MeasureRange {
  using Rule = Bounds;
  struct Lens {};
  FQT_DEVICE Lens lens(const Thread&, int64_t /*sample*/, int64_t /*channel*/) const { return {}; }
  FQT_DEVICE void add(const Lens&, Two<float>& of_sample, Two<float>& of_channel, float v, float w) const {
    join<Rule>(of_sample, {w, w});
    join<Rule>(of_channel, {v, v});
  }
};

// A group's range, and places of elements in it.
struct GroupMappings {
  GlobalArray<const float> lo, hi;

  FQT_DEVICE Mapping of(const Thread& t, int64_t group) const { return {lo.load(t, group), hi.load(t, group), most_places}; }
};

struct MeasureMoments {
  using Rule = Sums;
  GroupMappings samples, channels;

  struct Lens {
    Mapping sample, channel;
  };
  FQT_DEVICE Lens lens(const Thread& t, int64_t sample, int64_t channel) const {
    return {samples.of(t, sample), channels.of(t, channel)};
  }
  FQT_DEVICE static void add_place(Two<int64_t>& to, int64_t place) { join<Rule>(to, {place, place * place}); }
  FQT_DEVICE void add(const Lens& lens, Two<int64_t>& of_sample, Two<int64_t>& of_channel, float v, float w) const {
    add_place(of_sample, place_in_range(w, lens.sample));
    add_place(of_channel, place_in_range(v, lens.channel));
  }
};

// Block (x, y): sample and slab of pixels, 32 channels.
template <typename Measure>
struct Scan {
  static constexpr int threads = threads_of_parts, blocks = 4;
  using Rule = typename Measure::Rule;
  using T = typename Rule::Value;
  struct Shared {
    PairRoom<T> warps;
    BlockRoom<T, threads> all;
  };
  Measure measure;
  BlockGradient gradient;
  GlobalArray<const float> alpha;
  int64_t slabs, tiles;
  Parts<T> of_samples, of_channels;

  FQT_DEVICE void operator()(const Thread& t, Shared& s) const {
    const int64_t n = t.block_x() / slabs, slab = t.block_x() % slabs, d = t.block_y() * warp_size + t.lane();
    const int64_t begin = gradient.pixels() * slab / slabs, end = gradient.pixels() * (slab + 1) / slabs;
    Two<T> of_sample = Rule::start(), of_channel = Rule::start();
    if (d < gradient.channels) {
      const auto lens = measure.lens(t, n, d);
      const float times = alpha.load(t, d);
      for (int64_t p = begin + t.warp(); p < end; p += warps_of_parts) {
        const float v = gradient.load(t, p, n, d);
        measure.add(lens, of_sample, of_channel, v, times * v);
      }
    }
    of_sample.first = reduce<threads>(t, s.all, of_sample.first, typename Rule::First());
    of_sample.second = reduce<threads>(t, s.all, of_sample.second, typename Rule::Second());
    if (t.index() == 0) of_samples.store(t, slab * tiles + t.block_y(), n, of_sample);
    of_channel = join_warps<Rule>(t, s.warps, of_channel);
    if (t.warp() == 0 && d < gradient.channels) of_channels.store(t, n * slabs + slab, d, of_channel);
  }
};

template <typename Measure, typename Finish>
void scan(const Measure& measure, const NormGradient& a, const float* alpha, const Finish& samples, const Finish& channels,
          const Queue& queue) {
  const int64_t tiles = ceil_div(a.of.channels, warp_size), pixels = a.of.height * a.of.width;
  const int64_t slabs = slabs_for(pixels, a.of.samples * tiles);
  using T = typename Measure::Rule::Value;
  const PartsMemory<T> of_samples(slabs * tiles, a.of.samples, queue), of_channels(a.of.samples * slabs, a.of.channels, queue);
  const Scan<Measure> kernel{measure, BlockGradient(a, queue), {alpha, a.of.channels}, slabs, tiles, of_samples.arrays(),
                             of_channels.arrays()};
  launch(kernel, {a.of.samples * slabs, tiles}, queue);
  join_parts<typename Measure::Rule>(of_samples, samples, queue);
  join_parts<typename Measure::Rule>(of_channels, channels, queue);
}

// With zeros among them that pooling leaves. Zeros become +0.
struct StoreRange {
  GlobalArray<float> lo, hi;
  bool pooled;

  FQT_DEVICE void store(const Thread& t, int64_t group, Two<float> range) const {
    if (pooled) join<Bounds>(range, {0.0F, 0.0F});
    lo.store(t, group, range.first + 0.0F);
    hi.store(t, group, range.second + 0.0F);
  }
};

// With the places of `zeros` zeros.
struct StoreMoments {
  GroupMappings groups;
  int64_t zeros;
  GlobalArray<int64_t> first, second;

  FQT_DEVICE void store(const Thread& t, int64_t group, const Two<int64_t>& moments) const {
    const int64_t zero = place_in_range(0.0F, groups.of(t, group));
    first.store(t, group, moments.first + zeros * zero);
    second.store(t, group, moments.second + zeros * zero * zero);
  }
};

// The greatest of |lo| and |hi - lo| of all groups; what is not a number is infinite.
struct Reach {
  static constexpr int threads = 256, blocks = 1;
  using Shared = BlockRoom<float, threads>;
  struct Groups {
    GlobalArray<const float> lo, hi;
    int64_t count;
  };
  Groups of[2];
  GlobalArray<float> reach;

  FQT_DEVICE static float larger_of(float one, float extent) {
    const float size = fabsf(extent) < infinity ? fabsf(extent) : infinity;
    return one < size ? size : one;
  }
  FQT_DEVICE void operator()(const Thread& t, Shared& s) const {
    float greatest = 0.0F;
FQT_UNROLL
    for (int kind = 0; kind < 2; ++kind) {
      for (int64_t i = t.index(); i < of[kind].count; i += threads) {
        const float lo = of[kind].lo.load(t, i), hi = of[kind].hi.load(t, i);
        greatest = larger_of(larger_of(greatest, lo), hi - lo);
      }
    }
    greatest = reduce<threads>(t, s, greatest, Greatest());
    if (t.index() == 0) reach.store(t, 0, greatest);
  }
};

}  // namespace

void hwnc_gradient_range(const GradientRangeArguments& a, const Queue& queue) {
  const int64_t samples = a.gradient.of.samples, channels = a.gradient.of.channels;
  scan(MeasureRange{}, a.gradient, a.alpha, StoreRange{{a.sample_lo, samples}, {a.sample_hi, samples}, a.pooled},
       StoreRange{{a.channel_lo, channels}, {a.channel_hi, channels}, a.pooled}, queue);
  const Reach reach{{{{a.sample_lo, samples}, {a.sample_hi, samples}, samples},
                     {{a.channel_lo, channels}, {a.channel_hi, channels}, channels}},
                    {a.reach, 1}};
  launch(reach, {1}, queue);
}

void hwnc_gradient_moments(const GradientMomentsArguments& a, const Queue& queue) {
  const int64_t samples = a.gradient.of.samples, channels = a.gradient.of.channels;
  const GroupMappings of_samples{{a.sample_lo, samples}, {a.sample_hi, samples}};
  const GroupMappings of_channels{{a.channel_lo, channels}, {a.channel_hi, channels}};
  const StoreMoments store_samples{of_samples, a.zeros * channels, {a.sample_first, samples}, {a.sample_second, samples}};
  const StoreMoments store_channels{of_channels, a.zeros * samples, {a.channel_first, channels}, {a.channel_second, channels}};
  scan(MeasureMoments{of_samples, of_channels}, a.gradient, a.alpha, store_samples, store_channels, queue);
}

}  // namespace fqt::cuda
