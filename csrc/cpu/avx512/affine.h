// What becomes of the products of codes and signs: floats, each operation rounded by itself.
#pragma once

#include "../intrinsics.h"
#include "../support.h"

namespace fqt {
namespace {

// scale · product + offset · constant of one row, zero outside.
struct Affine {
  __m512 scale, offset;

  Affine(float scale_, float offset_) : scale(_mm512_set1_ps(scale_)), offset(_mm512_set1_ps(offset_)) {}

  __m512 operator()(__m512i product, __m512 constant, __mmask16 inside) const {
    const __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(product), scale);
    return _mm512_maskz_add_ps(inside, scaled, _mm512_mul_ps(constant, offset));
  }
};

// Stores the first `count` numbers.
inline void store_floats(float* out, int64_t count, __m512 v) {
  if (count >= 16) {
    _mm512_storeu_ps(out, v);
  } else {
    _mm512_mask_storeu_ps(out, static_cast<__mmask16>(_bzhi_u32(0xFFFF, static_cast<uint32_t>(count))), v);
  }
}

}  // namespace
}  // namespace fqt
