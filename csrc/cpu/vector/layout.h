// Between the layout of the operations outside of chains, where samples are outermost, and that of the cores, where they stand
// beside their channels:
//
//     operations   [sample][pixel][channel] in, [sample][channel][pixel] out
//     cores        [pixel][sample][channel]
//
// With a single pixel, or where a single sample comes in, both are the same, and nothing is moved.
#pragma once

#include "../intrinsics.h"
#include "../limits.h"
#include "../support.h"

namespace fqt {
namespace {

constexpr int64_t cache_bytes = 2 << 20;  // of results on their way from a core to their place
constexpr int64_t least_rows = 1024;     // of a core's output, which are worth the preparation of its weights

// The convolution of one group.
inline ConvShape group_of(ConvShape s) {
  s.channels /= s.groups;
  s.outputs /= s.groups;
  s.groups = 1;
  return s;
}

// Whether there is anything to compute, and the cores are the faster way to do so.
inline bool served(const ConvShape& s) {
  const ConvShape group = group_of(s);
  const bool wide = s.groups == 1 || smaller(group.channels, group.outputs) >= least_group_channels;
  const bool empty = s.samples == 0 || s.height * s.width == 0 || s.kernel_height * s.kernel_width == 0;
  return wide && !empty && group.channels > 0 && group.outputs > 0;
}

// How many samples to hand to a core at once, each with `rows` rows of results, `bytes` bytes in all: as many as a cache holds, if
// these are worth a call.
inline int64_t samples_together(int64_t samples, int64_t rows, int64_t bytes) {
  const int64_t most = larger(cache_bytes / bytes, ceil_div(least_rows, rows));
  return smaller(samples, round_up(ceil_div(samples, ceil_div(samples, most)), 8));
}

// Channels [first, first + count) of words [sample][pixel][words] as [pixel][sample][words].
inline void move_words(const uint64_t* in, int64_t samples, int64_t pixels, int64_t words, int64_t first, int64_t count,
                       const Threads& threads, uint64_t* out) {
  const int64_t out_words = ceil_div(count, 64);
  parallel(threads, pixels, ceil_div(4096, samples * out_words), [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      for (int64_t n = 0; n < samples; ++n) {
        const uint64_t* from = in + (n * pixels + p) * words;
        uint64_t* to = out + (p * samples + n) * out_words;
        for (int64_t i = 0; i < out_words; ++i) to[i] = extract_bits(from, first + 64 * i, smaller(64, count - 64 * i));
      }
    }
  });
}

// The `count` codes from `first` on of each row of codes [sample][pixel][row] as [pixel][sample][count].
inline void move_codes(const uint8_t* in, int64_t samples, int64_t pixels, int64_t row, int64_t first, int64_t count,
                       const Threads& threads, uint8_t* out) {
  parallel(threads, pixels, ceil_div(16384, samples * count), [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      for (int64_t n = 0; n < samples; ++n) {
        std::memcpy(out + (p * samples + n) * count, in + (n * pixels + p) * row + first, static_cast<size_t>(count));
      }
    }
  });
}

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

// Results [pixel][sample][channel] as 32-bit numbers [sample][channel][pixel], with samples `out_step` apart.
template <typename T>
inline void move_results(const T* in, int64_t samples, int64_t pixels, int64_t channels, const Threads& threads, int32_t* out,
                         int64_t out_step) {
  constexpr int64_t together = 64;  // channels
  const int64_t parts = ceil_div(channels, together);
  parallel(threads, samples * parts, ceil_div(256, pixels), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t n = i / parts, first = i % parts * together, count = smaller(together, channels - first);
      transpose(in + n * channels + first, samples * channels, pixels, count, out + n * out_step + first * pixels);
    }
  });
}

}  // namespace
}  // namespace fqt
