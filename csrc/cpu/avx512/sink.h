// Where the integers of a forward product go.
#pragma once

#include "../hwnc_arguments.h"
#include "../hwnc_product.h"
#include "../intrinsics.h"

namespace fqt {
namespace {

constexpr int64_t lanes = 8, outputs = 2 * lanes;  // of a sink

// Stores integers y of some rows for one block of outputs, and adds up what their moments are.
class Sink {
 public:
  // |y| <= most, so that `pairs_` pairs of rows leave room in 32 bits.
  Sink(const HwncConvArguments& a, int64_t most, int64_t block, const Moments& moments)
      : y_(a.y + block * outputs),
        step_(a.shape.outputs),
        mask_(static_cast<__mmask16>((1U << smaller(outputs, a.shape.outputs - block * outputs)) - 1)),
        full_(mask_ == 0xFFFF),
        pairs_(larger(1, INT32_MAX / larger(1, 2 * most * most))),
        sums_(moments.sum() + block * outputs),
        squares_(moments.square() + block * outputs) {}

  // Two rows, of which `count` (1 or 2) are there, in 16-bit lanes (output 0 of the first, of the second, output 1 of the
  // first, of the second, ...).
  void take(__m512i y, const int64_t* y_rows, int64_t count) {
    store(y_rows[0], y);
    if (count == 2) {
      store(y_rows[1], _mm512_srli_epi32(y, 16));
    } else {
      y = _mm512_maskz_mov_epi16(0x55555555, y);
    }
    sum_ = _mm512_dpwssd_epi32(sum_, y, _mm512_set1_epi16(1));
    square_ = _mm512_dpwssd_epi32(square_, y, y);
    if (++taken_ == pairs_) widen();
  }
  void widen() {
    add(sums_, sum_);
    add(squares_, square_);
    sum_ = square_ = _mm512_setzero_si512();
    taken_ = 0;
  }

 private:
  void store(int64_t row, __m512i y) {
    if (full_) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(y_ + row * step_), _mm512_cvtepi32_epi16(y));
    } else {
      _mm256_mask_storeu_epi16(y_ + row * step_, mask_, _mm512_cvtepi32_epi16(y));
    }
  }
  static void add(int64_t* to, __m512i values) {
    const __m512i low = _mm512_cvtepi32_epi64(_mm512_castsi512_si256(values));
    const __m512i high = _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(values, 1));
    _mm512_store_si512(to, _mm512_add_epi64(_mm512_load_si512(to), low));
    _mm512_store_si512(to + lanes, _mm512_add_epi64(_mm512_load_si512(to + lanes), high));
  }

  int16_t* y_;
  int64_t step_;
  __mmask16 mask_;
  bool full_;
  int64_t pairs_, taken_ = 0;
  int64_t *sums_, *squares_;
  __m512i sum_ = _mm512_setzero_si512(), square_ = _mm512_setzero_si512();
};

}  // namespace
}  // namespace fqt
