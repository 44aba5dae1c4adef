// Sums of the places of a gradient's elements within their ranges, and of the squares, of samples and channels in one scan.
// Integer sums come out the same in whatever order they are taken; fqt_core/ops/hwnc/moments.py specifies the places.
#include "../gradient.h"
#include "../hwnc_gradient.h"
#include "../kernels.h"

namespace fqt {
namespace {

constexpr int64_t block = 64;  // channels
constexpr int64_t most_slabs = 16;
constexpr float top = 65535.0F;

inline uint32_t place(float x, float lo, float scale, float inverse) {
  // Adding and subtracting 1.5 * 2**23 rounds to the nearest integer, ties to even, as rint does for such numbers.
  constexpr float magic = 12582912.0F;
  float v = ((x - lo) * scale) * inverse;
  v = (v + magic) - magic;
  v = v < top ? v : top;
  v = v > 0.0F ? v : 0.0F;
  return static_cast<uint32_t>(static_cast<int32_t>(v));
}

// Mappings of many groups, each field side by side.
struct Mappings {
  Buffer<float> lo, scale, inverse;

  Mappings(const float* low, const float* high, int64_t count) : lo(count), scale(count), inverse(count) {
    for (int64_t i = 0; i < count; ++i) {
      const Mapping map(low[i], high[i], top);
      lo[i] = map.lo;
      scale[i] = map.scale;
      inverse[i] = map.inverse;
    }
  }

  uint32_t place_of(float x, int64_t group) const { return place(x, lo[group], scale[group], inverse[group]); }
};

struct Sums {
  uint64_t* first;
  uint64_t* second;
};

void scan_row(const GradientMomentsArguments& a, const float* g, const int16_t* y, int64_t sample, const Mappings& samples,
              const Mappings& channels, Sums of_samples, Sums of_channels) {
  float v[block];
  uint64_t first = 0, second = 0;
  const float lo = samples.lo[sample], scale = samples.scale[sample], inverse = samples.inverse[sample];
  for (int64_t begin = 0; begin < a.gradient.of.channels; begin += block) {
    const int64_t count = smaller(block, a.gradient.of.channels - begin);
    normalize_run(a.gradient, g, y, begin, count, v);
    const float* __restrict alpha = a.alpha + begin;
    const float* __restrict channel_lo = channels.lo.get() + begin;
    const float* __restrict channel_scale = channels.scale.get() + begin;
    const float* __restrict channel_inverse = channels.inverse.get() + begin;
    uint64_t* __restrict channel_first = of_channels.first + begin;
    uint64_t* __restrict channel_second = of_channels.second + begin;
    for (int64_t d = 0; d < count; ++d) {
      const uint64_t own = place(v[d], channel_lo[d], channel_scale[d], channel_inverse[d]);
      channel_first[d] += own;
      channel_second[d] += own * own;
      const uint64_t common = place(alpha[d] * v[d], lo, scale, inverse);
      first += common;
      second += common * common;
    }
  }
  of_samples.first[sample] += first;
  of_samples.second[sample] += second;
}

}  // namespace

namespace FQT_ISA {

void hwnc_gradient_moments(const GradientMomentsArguments& a, const Threads& threads) {
  const HwncGradient& of = a.gradient.of;
  const int64_t pixels = of.height * of.width, slabs = smaller(pixels, most_slabs);
  const int64_t stride = 2 * (of.samples + of.channels);
  const GradientRows rows(of);
  const Mappings samples(a.sample_lo, a.sample_hi, of.samples), channels(a.channel_lo, a.channel_hi, of.channels);
  const Buffer<uint64_t> sums(slabs * stride);
  parallel(threads, slabs, ceil_div(pixels, larger(1, slabs)) * of.samples * of.channels, [&](int64_t begin, int64_t end) {
    for (int64_t slab = begin; slab < end; ++slab) {
      uint64_t* own = sums.get() + slab * stride;
      const Sums of_samples{own, own + of.samples};
      const Sums of_channels{own + 2 * of.samples, own + 2 * of.samples + of.channels};
      for (int64_t p = pixels * slab / slabs; p < pixels * (slab + 1) / slabs; ++p) {
        for (int64_t n = 0; n < of.samples; ++n) {
          scan_row(a, rows.g(p, n), rows.y(p, n), n, samples, channels, of_samples, of_channels);
        }
      }
    }
  });
  const auto total = [&](int64_t at, int64_t groups, int64_t* result) {
    for (int64_t i = 0; i < groups; ++i) {
      uint64_t sum = 0;
      for (int64_t slab = 0; slab < slabs; ++slab) sum += sums[slab * stride + at + i];
      result[i] = static_cast<int64_t>(sum);
    }
  };
  total(0, of.samples, a.sample_first);
  total(of.samples, of.samples, a.sample_second);
  total(2 * of.samples, of.channels, a.channel_first);
  total(2 * of.samples + of.channels, of.channels, a.channel_second);
  // The zeros that pooling leaves.
  for (int64_t n = 0; n < of.samples; ++n) {
    const int64_t zero = samples.place_of(0.0F, n), count = a.zeros * of.channels;
    a.sample_first[n] += count * zero;
    a.sample_second[n] += count * zero * zero;
  }
  for (int64_t d = 0; d < of.channels; ++d) {
    const int64_t zero = channels.place_of(0.0F, d), count = a.zeros * of.samples;
    a.channel_first[d] += count * zero;
    a.channel_second[d] += count * zero * zero;
  }
}

}  // namespace FQT_ISA
}  // namespace fqt
