// Transposing results of products (to 32-bit numbers) and codes.
#pragma once

#include "../support.h"

#if defined(__AVX2__)
#include "../intrinsics.h"
#else
#include <arm_neon.h>
#endif

namespace fqt {
namespace {

#if defined(__AVX2__)

inline __m128i load_four(const int32_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
inline __m128i load_four(const int16_t* p) {
  return _mm_cvtepi16_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}

// out[column][row] = in[row][column] of four rows and columns; rows stand `in_step` apart, columns `out_step`.
template <typename T>
inline void transpose_four(const T* in, int64_t in_step, int32_t* out, int64_t out_step) {
  const __m128i r0 = load_four(in), r1 = load_four(in + in_step);
  const __m128i r2 = load_four(in + 2 * in_step), r3 = load_four(in + 3 * in_step);
  const __m128i front02 = _mm_unpacklo_epi32(r0, r2), front13 = _mm_unpacklo_epi32(r1, r3);
  const __m128i back02 = _mm_unpackhi_epi32(r0, r2), back13 = _mm_unpackhi_epi32(r1, r3);
  const auto store = [&](int64_t column, __m128i values) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + column * out_step), values);
  };
  store(0, _mm_unpacklo_epi32(front02, front13));
  store(1, _mm_unpackhi_epi32(front02, front13));
  store(2, _mm_unpacklo_epi32(back02, back13));
  store(3, _mm_unpackhi_epi32(back02, back13));
}

inline __m256i load_eight(const int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline __m256i load_eight(const int16_t* p) {
  return _mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

// columns[c] is column c of eight rows and columns: first rows 0 .. 3 and 4 .. 7 side by side, then both halves as above.
template <typename T>
inline void columns_of_eight(const T* in, int64_t step, __m256i* columns) {
  __m256i row[8];
  for (int i = 0; i < 4; ++i) {
    const __m256i upper = load_eight(in + i * step), lower = load_eight(in + (i + 4) * step);
    row[i] = _mm256_permute2x128_si256(upper, lower, 0x20);
    row[i + 4] = _mm256_permute2x128_si256(upper, lower, 0x31);
  }
  for (int i = 0; i < 8; i += 4) {
    const __m256i front02 = _mm256_unpacklo_epi32(row[i], row[i + 2]), front13 = _mm256_unpacklo_epi32(row[i + 1], row[i + 3]);
    const __m256i back02 = _mm256_unpackhi_epi32(row[i], row[i + 2]), back13 = _mm256_unpackhi_epi32(row[i + 1], row[i + 3]);
    columns[i] = _mm256_unpacklo_epi32(front02, front13);
    columns[i + 1] = _mm256_unpackhi_epi32(front02, front13);
    columns[i + 2] = _mm256_unpacklo_epi32(back02, back13);
    columns[i + 3] = _mm256_unpackhi_epi32(back02, back13);
  }
}

inline void store_eight(int32_t* p, __m256i v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }

// out[column][row] = in[row][column] of eight columns, which stand `rows` apart in `out`.
template <typename T>
inline void transpose_columns(const T* in, int64_t step, int64_t first, int64_t end, int64_t rows, int32_t* out) {
  __m256i upper[8], lower[8];
  int64_t r = first;
  for (; r + 16 <= end; r += 16) {  // whole lines of a cache
    columns_of_eight(in + r * step, step, upper);
    columns_of_eight(in + (r + 8) * step, step, lower);
    for (int64_t c = 0; c < 8; ++c) {
      store_eight(out + c * rows + r, upper[c]);
      store_eight(out + c * rows + r + 8, lower[c]);
    }
  }
  for (; r + 8 <= end; r += 8) {
    columns_of_eight(in + r * step, step, upper);
    for (int64_t c = 0; c < 8; ++c) store_eight(out + c * rows + r, upper[c]);
  }
  for (; r + 4 <= end; r += 4) {
    transpose_four(in + r * step, step, out + r, rows);
    transpose_four(in + r * step + 4, step, out + 4 * rows + r, rows);
  }
  for (; r < end; ++r) {
    for (int64_t c = 0; c < 8; ++c) out[c * rows + r] = in[r * step + c];
  }
}

// Transposes 16 rows of 16 codes: each of four steps joins row i and row i + 8, code by code.
inline void transpose_sixteen(const uint8_t* in, int64_t in_step, uint8_t* out, int64_t out_step) {
  __m128i rows[16], joined[16];
  for (int i = 0; i < 16; ++i) rows[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i * in_step));
  for (int step = 0; step < 4; ++step) {
    for (int i = 0; i < 8; ++i) {
      joined[2 * i] = _mm_unpacklo_epi8(rows[i], rows[i + 8]);
      joined[2 * i + 1] = _mm_unpackhi_epi8(rows[i], rows[i + 8]);
    }
    for (int i = 0; i < 16; ++i) rows[i] = joined[i];
  }
  for (int i = 0; i < 16; ++i) _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i * out_step), rows[i]);
}

#else

inline int32x4_t load_four(const int32_t* p) { return vld1q_s32(p); }
inline int32x4_t load_four(const int16_t* p) { return vmovl_s16(vld1_s16(p)); }

// out[column][row] = in[row][column] of four rows and columns; rows stand `in_step` apart, columns `out_step`.
template <typename T>
inline void transpose_four(const T* in, int64_t in_step, int32_t* out, int64_t out_step) {
  const int32x4_t r0 = load_four(in), r1 = load_four(in + in_step);
  const int32x4_t r2 = load_four(in + 2 * in_step), r3 = load_four(in + 3 * in_step);
  const int32x4_t front02 = vzip1q_s32(r0, r2), front13 = vzip1q_s32(r1, r3);
  const int32x4_t back02 = vzip2q_s32(r0, r2), back13 = vzip2q_s32(r1, r3);
  vst1q_s32(out, vzip1q_s32(front02, front13));
  vst1q_s32(out + out_step, vzip2q_s32(front02, front13));
  vst1q_s32(out + 2 * out_step, vzip1q_s32(back02, back13));
  vst1q_s32(out + 3 * out_step, vzip2q_s32(back02, back13));
}

// out[column][row] = in[row][column] of eight columns, which stand `rows` apart in `out`.
template <typename T>
inline void transpose_columns(const T* in, int64_t step, int64_t first, int64_t end, int64_t rows, int32_t* out) {
  int64_t r = first;
  for (; r + 4 <= end; r += 4) {
    transpose_four(in + r * step, step, out + r, rows);
    transpose_four(in + r * step + 4, step, out + 4 * rows + r, rows);
  }
  for (; r < end; ++r) {
    for (int64_t c = 0; c < 8; ++c) out[c * rows + r] = in[r * step + c];
  }
}

// Transposes 16 rows of 16 codes: each of four steps joins row i and row i + 8, code by code.
inline void transpose_sixteen(const uint8_t* in, int64_t in_step, uint8_t* out, int64_t out_step) {
  uint8x16_t rows[16], joined[16];
  for (int i = 0; i < 16; ++i) rows[i] = vld1q_u8(in + i * in_step);
  for (int step = 0; step < 4; ++step) {
    for (int i = 0; i < 8; ++i) {
      joined[2 * i] = vzip1q_u8(rows[i], rows[i + 8]);
      joined[2 * i + 1] = vzip2q_u8(rows[i], rows[i + 8]);
    }
    for (int i = 0; i < 16; ++i) rows[i] = joined[i];
  }
  for (int i = 0; i < 16; ++i) vst1q_u8(out + i * out_step, rows[i]);
}

#endif

// out[column][row] = in[row][column]; rows of `in` stand `step` apart.
template <typename T>
inline void transpose(const T* in, int64_t step, int64_t rows, int64_t columns, int32_t* out) {
  constexpr int64_t band = 16;
  if (rows == 1) {
    for (int64_t c = 0; c < columns; ++c) out[c] = in[c];
    return;
  }
  const int64_t whole = columns / 8 * 8;
  for (int64_t r = 0; r < rows; r += band) {
    for (int64_t c = 0; c < whole; c += 8) {
      transpose_columns(in + c, step, r, smaller(rows, r + band), rows, out + c * rows);
    }
  }
  for (int64_t c = whole; c < columns; ++c) {
    for (int64_t r = 0; r < rows; ++r) out[c * rows + r] = in[r * step + c];
  }
}

// out[column][row] = in[row][column].
inline void transpose_codes(const uint8_t* in, int64_t in_step, int64_t rows, int64_t columns, uint8_t* out,
                            int64_t out_step) {
  const int64_t whole_rows = rows / 16 * 16, whole_columns = columns / 16 * 16;
  for (int64_t c = 0; c < whole_columns; c += 16) {
    for (int64_t r = 0; r < whole_rows; r += 16) {
      transpose_sixteen(in + r * in_step + c, in_step, out + c * out_step + r, out_step);
    }
  }
  for (int64_t c = 0; c < columns; ++c) {
    for (int64_t r = c < whole_columns ? whole_rows : 0; r < rows; ++r) out[c * out_step + r] = in[r * in_step + c];
  }
}

}  // namespace
}  // namespace fqt
