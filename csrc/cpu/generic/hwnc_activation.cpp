// Batch normalisation, the shortcut's addition and the next layer's bits, row by row; channels are the lanes.
#include "../kernels.h"
#include "../support.h"

namespace fqt {
namespace {

// h[0 .. count) of one row from channel `first` on; the addition of a missing residual is left out, not made with 0.
inline void affine(const AffineSignArguments& a, const int16_t* y, const float* residual, int64_t first, int64_t count,
                   float* h) {
  for (int64_t d = 0; d < count; ++d) {
    h[d] = a.a[first + d] * static_cast<float>(y[d]) + a.b[first + d];
  }
  if (residual == nullptr) return;
  for (int64_t d = 0; d < count; ++d) h[d] += residual[d];
}

struct Bits {
  uint64_t sign = 0, window = 0;
};

inline Bits bits_of(const float* h, int64_t count) {
  uint32_t sign[2] = {}, window[2] = {};
  for (int half = 0; half < 2; ++half) {
    const int64_t end = smaller(32, count - 32 * half);
    for (int64_t d = 0; d < end; ++d) {
      const float v = h[32 * half + d];
      sign[half] |= (v >= 0.0F ? uint32_t{1} : 0) << d;
      window[half] |= (v < 1.0F && v > -1.0F ? uint32_t{1} : 0) << d;
    }
  }
  return {sign[0] | static_cast<uint64_t>(sign[1]) << 32, window[0] | static_cast<uint64_t>(window[1]) << 32};
}

}  // namespace

namespace FQT_ISA {

void hwnc_affine_sign(const AffineSignArguments& a, const Threads& threads) {
  const int64_t words = ceil_div(a.channels, 64);
  parallel(threads, a.rows, 256, [&](int64_t begin, int64_t end) {
    float local[64];
    for (int64_t row = begin; row < end; ++row) {
      for (int64_t first = 0; first < a.channels; first += 64) {
        const int64_t at = row * a.channels + first, count = smaller(64, a.channels - first);
        float* h = a.h == nullptr ? local : a.h + at;
        affine(a, a.y + at, a.residual == nullptr ? nullptr : a.residual + at, first, count, h);
        const Bits bits = bits_of(h, count);
        a.sign[row * words + first / 64] = bits.sign;
        a.window[row * words + first / 64] = bits.window;
      }
    }
  });
}

}  // namespace FQT_ISA
}  // namespace fqt
