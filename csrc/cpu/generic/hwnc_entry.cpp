// Into a chain and out of it: floats (samples, pixels, channels) on one side, rows of (pixel, sample) on the other.
#include <limits>

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
inline void add_products(const EntrySumsArguments& a, int64_t row, float* __restrict first, float* __restrict second) {
  const int64_t channels = a.entry.channels;
  const float* __restrict g = a.entry.g + row * channels;
  const float* __restrict center = a.center;
  const float* x[count];
  for (int64_t r = 0; r < count; ++r) {
    const int64_t pixel = (row + r) / a.entry.present, sample = a.entry.index[(row + r) % a.entry.present];
    x[r] = a.entry.x + (sample * a.entry.pixels + pixel) * channels;
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

// One row of dL/dx; the last addition makes a zero +0.
inline void gradient_row(const EntryGradient& of, const float* g_row, const float* x_row, const LeaveArguments& a,
                         float* __restrict result) {
  const float* __restrict g = g_row;
  const float* __restrict x = x_row;
  const float* __restrict c = a.c;
  const float* __restrict a0 = a.a0;
  const float* __restrict a1 = a.a1;
  for (int64_t i = 0; i < of.channels; ++i) result[i] = ((c[i] * g[i] - a1[i] * x[i]) - a0[i]) + 0.0F;
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
  const int64_t words = ceil_div(a.channels, 64);
  parallel(threads, a.pixels, 1, [&](int64_t begin, int64_t end) {
    float h[64];
    for (int64_t p = begin; p < end; ++p) {
      for (int64_t n = 0; n < a.samples; ++n) {
        const float* x = a.x + (n * a.pixels + p) * a.channels;
        const int64_t row = p * a.samples + n;
        for (int64_t word = 0; word < words; ++word) {
          const int64_t first = word * 64, count = smaller(64, a.channels - first);
          affine(x + first, a.a + first, a.b + first, count, h);
          if (a.h != nullptr) {
            std::memcpy(a.h + row * a.channels + first, h, sizeof(float) * static_cast<size_t>(count));
          }
          for (int64_t c = count; c < 64; ++c) h[c] = std::numeric_limits<float>::quiet_NaN();  // no bits
          const Bits bits = bits_of(h);
          a.sign[row * words + word] = bits.sign;
          a.window[row * words + word] = bits.window;
        }
      }
    }
  });
}

void hwnc_entry_sums(const EntrySumsArguments& a, const Threads& threads) {
  ordered_sums(
      a.entry.pixels * a.entry.present, a.entry.channels, threads,
      [&](int64_t row, float* first, float* second) { add_products<1>(a, row, first, second); },
      [&](int64_t row, float* first, float* second) { add_products<8>(a, row, first, second); }, a.first, a.second);
}

void hwnc_leave(const LeaveArguments& a, const Threads& threads) {
  const EntryGradient& of = a.entry;
  const Buffer<float> zeros(of.channels);
  const Buffer<int64_t> place(of.samples);
  for (int64_t n = 0; n < of.samples; ++n) place[n] = -1;
  for (int64_t j = 0; j < of.present; ++j) place[of.index[j]] = j;
  parallel(threads, of.samples * of.pixels, 64, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t n = row / of.pixels, p = row % of.pixels;
      const float* g = place[n] < 0 ? zeros.get() : of.g + (p * of.present + place[n]) * of.channels;
      gradient_row(of, g, of.x + row * of.channels, a, a.result + row * of.channels);
    }
  });
}

}  // namespace FQT_ISA
}  // namespace fqt
