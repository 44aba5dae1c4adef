// Into a chain and out of it: floats (samples, pixels, channels) on one side, rows of (pixel, sample) on the other.
#include "../bits.h"
#include "../kernels.h"
#include "../ordered_sums.h"
#include "../support.h"

namespace fqt {
namespace {

template <int64_t count>
inline void add_moments(const float* __restrict x, const float* __restrict origin, int64_t channels,
                        float* __restrict first, float* __restrict second) {
  for (int64_t c = 0; c < channels; ++c) {
    float sum = first[c], square = second[c];
    for (int64_t r = 0; r < count; ++r) {
      const float value = x[r * channels + c] - origin[c];
      sum += value;
      square += value * value;
    }
    first[c] = sum;
    second[c] = square;
  }
}

template <int64_t count>
inline void add_products(const EntryGradient& of, const float* __restrict center, int64_t row, float* __restrict first,
                         float* __restrict second) {
  const int64_t channels = of.channels;
  const float* g = of.g + row * channels;
  const float* x[count];
  for (int64_t r = 0; r < count; ++r) {
    const int64_t pixel = (row + r) / of.present, sample = of.index[(row + r) % of.present];
    x[r] = of.x + (sample * of.pixels + pixel) * channels;
  }
  for (int64_t c = 0; c < channels; ++c) {
    float sum = first[c], product = second[c];
    for (int64_t r = 0; r < count; ++r) {
      const float value = g[r * channels + c];
      sum += value;
      product += value * (x[r][c] - center[c]);
    }
    first[c] = sum;
    second[c] = product;
  }
}

inline void affine(const float* __restrict x, const float* __restrict a, const float* __restrict b, int64_t count,
                   float* __restrict h) {
  for (int64_t c = 0; c < count; ++c) h[c] = x[c] * a[c] + b[c];
}

inline void enter_row(const EnterArguments& a, int64_t pixel, int64_t sample) {
  const int64_t words = ceil_div(a.channels, 64), row = pixel * a.room + a.first + sample;
  const float* x = a.x + (sample * a.pixels + pixel) * a.channels;
  float h[64];
  for (int64_t word = 0; word < words; ++word) {
    const int64_t first = word * 64, count = smaller(64, a.channels - first);
    affine(x + first, a.a + first, a.b + first, count, h);
    if (a.h != nullptr) std::memcpy(a.h + row * a.channels + first, h, sizeof(float) * static_cast<size_t>(count));
    const Bits bits = bits_of_some(h, count);
    a.sign[row * words + word] = bits.sign;
    a.window[row * words + word] = bits.window;
  }
}

// One row of dL/dx; the last addition makes a zero +0.
inline void gradient_row(const float* __restrict g, const float* __restrict x, const float* __restrict c,
                         const float* __restrict a0, const float* __restrict a1, int64_t channels,
                         float* __restrict result) {
  for (int64_t i = 0; i < channels; ++i) result[i] = ((c[i] * g[i] - a1[i] * x[i]) - a0[i]) + 0.0F;
}

}  // namespace

namespace FQT_ISA {

void hwnc_entry_moments(const EntryMomentsArguments& a, const Threads& threads) {
  ordered_sums(
      a.rows, a.channels, threads,
      [&](int64_t row, float* first, float* second) {
        add_moments<1>(a.x + row * a.channels, a.x, a.channels, first, second);
      },
      [&](int64_t row, float* first, float* second) {
        add_moments<8>(a.x + row * a.channels, a.x, a.channels, first, second);
      },
      a.first, a.second);
}

void hwnc_enter(const EnterArguments& a, const Threads& threads) {
  parallel(threads, a.pixels, a.samples * a.channels, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      for (int64_t n = 0; n < a.samples; ++n) {
        fetch(a.x + (smaller(n + 4, a.samples - 1) * a.pixels + p) * a.channels, a.channels);
        if (a.h != nullptr) fetch<Use::write>(a.h + (p * a.room + a.first + n + 8) * a.channels, a.channels);
        enter_row(a, p, n);
      }
    }
  });
}

void hwnc_entry_sums(const EntrySumsArguments& a, const Threads& threads) {
  ordered_sums(
      a.entry.pixels * a.entry.present, a.entry.channels, threads,
      [&](int64_t row, float* first, float* second) { add_products<1>(a.entry, a.center, row, first, second); },
      [&](int64_t row, float* first, float* second) { add_products<8>(a.entry, a.center, row, first, second); }, a.first, a.second);
}

void hwnc_leave(const LeaveArguments& a, const Threads& threads) {
  const EntryGradient& of = a.entry;
  const Buffer<float> zeros(of.channels);
  const Buffer<int64_t> place(of.samples);
  for (int64_t n = 0; n < of.samples; ++n) place[n] = -1;
  for (int64_t j = 0; j < of.present; ++j) place[of.index[j]] = j;
  parallel(threads, of.samples * of.pixels, of.channels, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t n = row / of.pixels, p = row % of.pixels;
      const float* g = place[n] < 0 ? zeros.get() : of.g + (p * of.present + place[n]) * of.channels;
      gradient_row(g, of.x + row * of.channels, a.c, a.a0, a.a1, of.channels, a.result + row * of.channels);
    }
  });
}

}  // namespace FQT_ISA
}  // namespace fqt
