// Batch normalisation, the shortcut's addition and the next layer's bits, row by row; channels are the lanes.
#include "../bits.h"
#include "../kernels.h"
#include "../support.h"

namespace fqt {
namespace {

inline void affine(const float* __restrict a, const float* __restrict b, const int16_t* __restrict y, int64_t count,
                   float* __restrict h) {
  for (int64_t d = 0; d < count; ++d) h[d] = a[d] * static_cast<float>(y[d]) + b[d];
}

inline void add(const float* __restrict residual, int64_t count, float* __restrict h) {
  for (int64_t d = 0; d < count; ++d) h[d] += residual[d];
}

}  // namespace

namespace FQT_ISA {

void hwnc_affine_sign(const AffineSignArguments& a, const Threads& threads) {
  const int64_t words = ceil_div(a.channels, 64);
  parallel(threads, a.rows, a.channels, [&](int64_t begin, int64_t end) {
    float h[64];
    for (int64_t row = begin; row < end; ++row) {
      for (int64_t word = 0; word < words; ++word) {
        const int64_t first = word * 64, at = row * a.channels + first, count = smaller(64, a.channels - first);
        fetch_ahead(a.y + at, count);
        if (a.add) fetch_ahead(a.h + at, count);
        affine(a.a + first, a.b + first, a.y + at, count, h);
        if (a.add) add(a.h + at, count, h);
        if (a.h != nullptr) std::memcpy(a.h + at, h, sizeof(float) * static_cast<size_t>(count));
        const Bits bits = bits_of_some(h, count);
        a.sign[row * words + word] = bits.sign;
        a.window[row * words + word] = bits.window;
      }
    }
  });
}

}  // namespace FQT_ISA
}  // namespace fqt
