// Least and greatest elements of a gradient's samples and channels in one scan; channels are the lanes. The order of elements
// does not matter for them, so each thread has bounds of its own.
#include <cmath>
#include <initializer_list>
#include <limits>

#include "../hwnc_gradient.h"
#include "../kernels.h"

namespace fqt {
namespace {

constexpr int64_t lanes = 16;  // of a sample's bounds, reduced at the end
constexpr int64_t block = 64;  // channels
constexpr int64_t together = 4;  // samples
constexpr int64_t most_slabs = 64;  // threads that there are bounds for
constexpr float infinity = std::numeric_limits<float>::infinity();

struct Bounds {
  float* lo;
  float* hi;
};

inline void widen(float v, float& lo, float& hi) {
  lo = v < lo ? v : lo;
  hi = v > hi ? v : hi;
}

inline void widen_lanes(const float (&w)[block], float* __restrict lo, float* __restrict hi) {
  for (int64_t l = 0; l < lanes; ++l) {
    float least = lo[l], greatest = hi[l];
    for (int64_t i = 0; i < block / lanes; ++i) widen(w[i * lanes + l], least, greatest);
    lo[l] = least;
    hi[l] = greatest;
  }
}

// Channels first .. first + span - 1 of `count` samples of one pixel: what the samples have in common is loaded once.
template <int64_t count>
inline void scan_block(const GradientRangeArguments& a, const float* const (&g)[count], const int16_t* const (&y)[count],
                       int64_t first, int64_t span, Bounds samples, float* __restrict channel_lo,
                       float* __restrict channel_hi) {
  const NormGradient& of = a.gradient;
  const float *c = of.c + first, *a0 = of.a0 + first, *a1 = of.a1 + first, *alpha = a.alpha + first;
  float w[count][block];
  for (int64_t d = 0; d < span; ++d) {
    float lo = channel_lo[d], hi = channel_hi[d];
    for (int64_t s = 0; s < count; ++s) {
      const float v = (c[d] * g[s][first + d] - a1[d] * static_cast<float>(y[s][first + d])) - a0[d];
      widen(v, lo, hi);
      w[s][d] = alpha[d] * v;
    }
    channel_lo[d] = lo;
    channel_hi[d] = hi;
  }
  for (int64_t s = 0; s < count; ++s) {
    for (int64_t d = span; d < block; ++d) w[s][d] = w[s][0];
    widen_lanes(w[s], samples.lo + s * lanes, samples.hi + s * lanes);
  }
}

// `count` samples of one pixel from `sample` on.
template <int64_t count>
inline void scan(const GradientRangeArguments& a, const GradientRows& rows, int64_t pixel, int64_t sample, Bounds samples,
                 Bounds channels) {
  const int64_t size = a.gradient.of.channels;
  const float* g[count];
  const int16_t* y[count];
  for (int64_t s = 0; s < count; ++s) {
    g[s] = rows.g(pixel, sample + s);
    y[s] = rows.y(pixel, sample + s);
    fetch_ahead(g[s], size);
    fetch_ahead(y[s], size);
  }
  const Bounds own{samples.lo + sample * lanes, samples.hi + sample * lanes};
  for (int64_t first = 0; first < size; first += block) {
    scan_block(a, g, y, first, smaller(block, size - first), own, channels.lo + first, channels.hi + first);
  }
}

inline float larger_reach(float one, float other) { return one < other ? other : one; }

// The greatest of |lo| and |hi - lo|; what is not a number is infinite.
inline float reach(const float* lo, const float* hi, int64_t count) {
  float greatest = 0.0F;
  for (int64_t i = 0; i < count; ++i) {
    for (const float extent : {std::fabs(lo[i]), std::fabs(hi[i] - lo[i])}) {
      greatest = larger_reach(greatest, extent <= std::numeric_limits<float>::max() ? extent : infinity);
    }
  }
  return greatest;
}

}  // namespace

namespace FQT_ISA {

void hwnc_gradient_range(const GradientRangeArguments& a, const Threads& threads) {
  const HwncGradient& of = a.gradient.of;
  // Runs of samples of one pixel, and slabs of them; a thread uses the bounds of its first slab for all of its own.
  const int64_t in_pixel = ceil_div(of.samples, together), runs = of.height * of.width * in_pixel;
  const int64_t slabs = smaller(runs, most_slabs), for_samples = of.samples * lanes, stride = for_samples + of.channels;
  const GradientRows rows(of);
  const Buffer<float> lo(slabs * stride, Contents::any), hi(slabs * stride, Contents::any);
  const Buffer<bool> used(slabs);
  const float start = a.pooled ? 0.0F : infinity;
  parallel(threads, slabs, ceil_div(runs, larger(1, slabs)) * together * of.channels, [&](int64_t begin, int64_t end) {
    const Bounds samples{lo.get() + begin * stride, hi.get() + begin * stride};
    const Bounds channels{samples.lo + for_samples, samples.hi + for_samples};
    used[begin] = true;
    for (int64_t i = 0; i < stride; ++i) {
      samples.lo[i] = start;
      samples.hi[i] = -start;
    }
    for (int64_t run = runs * begin / slabs; run < runs * end / slabs; ++run) {
      const int64_t p = run / in_pixel, first = run % in_pixel * together, last = smaller(of.samples, first + together);
      if (last - first == together) {
        scan<together>(a, rows, p, first, samples, channels);
      } else {
        for (int64_t n = first; n < last; ++n) scan<1>(a, rows, p, n, samples, channels);
      }
    }
  });
  for (int64_t slab = 1; slab < slabs; ++slab) {
    if (!used[slab]) continue;
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
  *a.reach = larger_reach(reach(a.sample_lo, a.sample_hi, of.samples), reach(a.channel_lo, a.channel_hi, of.channels));
}

}  // namespace FQT_ISA
}  // namespace fqt
