// Least and greatest elements of a gradient's samples and channels in one scan; channels are the lanes. The order of elements
// does not matter for them, so slabs of pixels are scanned apart.
#include <limits>

#include "../hwnc_gradient.h"
#include "../kernels.h"

namespace fqt {
namespace {

constexpr int64_t lanes = 16;  // of a sample's bounds, reduced at the end
constexpr int64_t most_slabs = 16;
constexpr float infinity = std::numeric_limits<float>::infinity();

inline void widen(float v, float& lo, float& hi) {
  lo = v < lo ? v : lo;
  hi = v > hi ? v : hi;
}

struct Bounds {
  float* lo;
  float* hi;
};

// `count` samples of one pixel from `sample` on, one beside the other: their bounds and the channels' stay in registers.
template <int64_t count>
inline void scan(const GradientRangeArguments& a, const GradientRows& rows, int64_t pixel, int64_t sample, Bounds samples,
                 Bounds channels) {
  const NormGradient& of = a.gradient;
  const float *__restrict c = of.c, *__restrict a0 = of.a0, *__restrict a1 = of.a1, *__restrict alpha = a.alpha;
  float *__restrict channel_lo = channels.lo, *__restrict channel_hi = channels.hi;
  const float* g[count];
  const int16_t* y[count];
  float lo[count][lanes], hi[count][lanes];
  for (int64_t s = 0; s < count; ++s) {
    g[s] = rows.g(pixel, sample + s);
    y[s] = rows.y(pixel, sample + s);
    std::memcpy(lo[s], samples.lo + (sample + s) * lanes, sizeof(lo[s]));
    std::memcpy(hi[s], samples.hi + (sample + s) * lanes, sizeof(hi[s]));
  }
  const auto element = [&](int64_t d, int64_t lane) {
    for (int64_t s = 0; s < count; ++s) {
      const float v = (c[d] * g[s][d] - a1[d] * static_cast<float>(y[s][d])) - a0[d];
      widen(v, channel_lo[d], channel_hi[d]);
      widen(alpha[d] * v, lo[s][lane], hi[s][lane]);
    }
  };
  int64_t d = 0;
  for (; d + lanes <= of.of.channels; d += lanes) {
    for (int64_t l = 0; l < lanes; ++l) element(d + l, l);
  }
  for (; d < of.of.channels; ++d) element(d, 0);
  for (int64_t s = 0; s < count; ++s) {
    std::memcpy(samples.lo + (sample + s) * lanes, lo[s], sizeof(lo[s]));
    std::memcpy(samples.hi + (sample + s) * lanes, hi[s], sizeof(hi[s]));
  }
}

}  // namespace

namespace FQT_ISA {

void hwnc_gradient_range(const GradientRangeArguments& a, const Threads& threads) {
  const HwncGradient& of = a.gradient.of;
  const int64_t pixels = of.height * of.width, slabs = smaller(pixels, most_slabs);
  const int64_t for_samples = of.samples * lanes, stride = for_samples + of.channels;
  const GradientRows rows(of);
  const Buffer<float> lo(slabs * stride), hi(slabs * stride);
  const float start = a.pooled ? 0.0F : infinity;
  for (int64_t i = 0; i < slabs * stride; ++i) {
    lo[i] = start;
    hi[i] = -start;
  }
  parallel(threads, slabs, 1, [&](int64_t begin, int64_t end) {
    for (int64_t slab = begin; slab < end; ++slab) {
      const Bounds samples{lo.get() + slab * stride, hi.get() + slab * stride};
      const Bounds channels{samples.lo + for_samples, samples.hi + for_samples};
      for (int64_t p = pixels * slab / slabs; p < pixels * (slab + 1) / slabs; ++p) {
        int64_t n = 0;
        for (; n + 4 <= of.samples; n += 4) scan<4>(a, rows, p, n, samples, channels);
        for (; n < of.samples; ++n) scan<1>(a, rows, p, n, samples, channels);
      }
    }
  });
  for (int64_t slab = 1; slab < slabs; ++slab) {
    for (int64_t i = 0; i < stride; ++i) {
      lo[i] = lo[slab * stride + i] < lo[i] ? lo[slab * stride + i] : lo[i];
      hi[i] = hi[slab * stride + i] > hi[i] ? hi[slab * stride + i] : hi[i];
    }
  }
  for (int64_t n = 0; n < of.samples; ++n) {
    float least = lo[n * lanes], greatest = hi[n * lanes];
    for (int64_t l = 1; l < lanes; ++l) {
      least = lo[n * lanes + l] < least ? lo[n * lanes + l] : least;
      greatest = hi[n * lanes + l] > greatest ? hi[n * lanes + l] : greatest;
    }
    a.sample_lo[n] = least + 0.0F;  // -0 becomes +0
    a.sample_hi[n] = greatest + 0.0F;
  }
  for (int64_t d = 0; d < of.channels; ++d) {
    a.channel_lo[d] = lo[for_samples + d] + 0.0F;
    a.channel_hi[d] = hi[for_samples + d] + 0.0F;
  }
}

}  // namespace FQT_ISA
}  // namespace fqt
