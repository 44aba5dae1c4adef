// Products of a few rows of bytes with a panel of columns of bytes: 32-bit sums, exact.
//
// A panel holds `depth` terms of up to 16 * panel_vectors columns. Terms are taken `together` at a time, so that one
// instruction multiplies them and adds their products to a column's sum; a panel therefore lies in memory as
//
//     [group of `together` terms][column][term of the group]
//
// and rows as [row][term], each row a multiple of `together` terms long (the terms past the last are 0 in the panel).
//
// With VNNI a group is four bytes, and the instruction takes rows as unsigned bytes: they are stored with 128 added, and
// what that adds to a column's sum, 128 times the sum of its terms, is subtracted at the start. Without it a group is two
// bytes, widened to 16 bits: products of full-range bytes would saturate there otherwise.
#pragma once

#include "support.h"

#if defined(__AVX2__)
#include "intrinsics.h"
#endif

namespace fqt {
namespace {

constexpr int64_t vector_columns = 16;

#if defined(__AVX512VNNI__)

using RowTerm = uint8_t;
using PanelTerm = int8_t;
constexpr int64_t together = 4, block_rows = 6, panel_vectors = 4;
constexpr int64_t products_per_number = 256;  // in the time that `parallel` counts in

inline RowTerm row_term(int8_t value) { return static_cast<RowTerm>(value ^ -128); }

#else

using RowTerm = int16_t;
using PanelTerm = int16_t;
constexpr int64_t together = 2, block_rows = 4, panel_vectors = 1;
constexpr int64_t products_per_number = 32;  // in the time that `parallel` counts in

inline RowTerm row_term(int8_t value) { return value; }

#endif

constexpr int64_t panel_columns = vector_columns * panel_vectors;

// How many terms a panel of so many terms a column has room for.
constexpr int64_t panel_size(int64_t depth) { return round_up(depth, together) * panel_columns; }

inline void widen(const int8_t* from, int64_t count, RowTerm* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = row_term(from[i]);
}

// What a row holds where it has no terms, or zeros.
inline void blank(int64_t count, RowTerm* to) {
  for (int64_t i = 0; i < count; ++i) to[i] = row_term(0);
}

// A panel in memory that somebody else holds, and what its columns' sums start from.
class Panel {
 public:
  Panel(PanelTerm* terms, int32_t* start) : terms_(terms), start_(start) {}

  // From rows of terms: rows[t * stride + column], for `depth` terms and `columns` columns.
  void from_terms(const int8_t* rows, int64_t stride, int64_t depth, int64_t columns) {
    reset(depth, columns);
    for (int64_t t = 0; t < depth; t += together) {
      PanelTerm* to = group(t / together);
      if (t + together <= depth) {
        interleave(rows + t * stride, stride, columns, to);
        continue;
      }
      for (int64_t i = 0; i < depth - t; ++i) {
        for (int64_t c = 0; c < columns; ++c) to[c * together + i] = rows[(t + i) * stride + c];
      }
    }
    sum_up();
  }

  // From columns of terms: from[column * stride + t].
  void from_columns(const int8_t* from, int64_t stride, int64_t depth, int64_t columns) {
    reset(depth, columns);
    for (int64_t t = 0; t < depth; ++t) {
      PanelTerm* to = group(t / together) + t % together;
      for (int64_t c = 0; c < columns; ++c) to[c * together] = from[c * stride + t];
    }
    sum_up();
  }

  // The same memory, as it was filled before.
  Panel filled(int64_t depth, int64_t columns) const {
    Panel panel = *this;
    panel.groups_ = ceil_div(depth, together);
    panel.columns_ = columns;
    panel.vectors_ = ceil_div(columns, vector_columns);
    return panel;
  }

  int64_t groups() const { return groups_; }
  int64_t columns() const { return columns_; }
  int64_t vectors() const { return vectors_; }
  const PanelTerm* terms() const { return terms_; }
  const int32_t* start() const { return start_; }

 private:
  void reset(int64_t depth, int64_t columns) {
    *this = filled(depth, columns);
    if (columns % vector_columns != 0 || depth % together != 0) {
      std::memset(terms_, 0, sizeof(PanelTerm) * static_cast<size_t>(groups_ * group_terms()));
    }
  }

  int64_t group_terms() const { return vectors_ * vector_columns * together; }
  PanelTerm* group(int64_t number) const { return terms_ + number * group_terms(); }

#if defined(__AVX512VNNI__)
  static void interleave(const int8_t* rows, int64_t stride, int64_t columns, int8_t* to) {
    int64_t c = 0;
    for (; c + 16 <= columns; c += 16, to += 64) {
      const auto load = [&](int64_t i) {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows + i * stride + c));
      };
      const __m128i one = load(0), two = load(1), three = load(2), four = load(3);
      const __m128i low = _mm_unpacklo_epi8(one, two), high = _mm_unpackhi_epi8(one, two);
      const __m128i lower = _mm_unpacklo_epi8(three, four), higher = _mm_unpackhi_epi8(three, four);
      const auto store = [&](int64_t i, __m128i v) { _mm_storeu_si128(reinterpret_cast<__m128i*>(to) + i, v); };
      store(0, _mm_unpacklo_epi16(low, lower));
      store(1, _mm_unpackhi_epi16(low, lower));
      store(2, _mm_unpacklo_epi16(high, higher));
      store(3, _mm_unpackhi_epi16(high, higher));
    }
    for (int64_t i = 0; c < columns; ++c, ++i) {
      for (int64_t t = 0; t < together; ++t) to[i * together + t] = rows[t * stride + c];
    }
  }

  void sum_up() {
    const __m512i ones = _mm512_set1_epi8(1);
    for (int64_t v = 0; v < vectors_; ++v) {
      __m512i sum = _mm512_setzero_si512();
      for (int64_t g = 0; g < groups_; ++g) {
        sum = _mm512_dpbusd_epi32(sum, ones, _mm512_loadu_si512(group(g) + v * vector_columns * together));
      }
      const __m512i none = _mm512_setzero_si512();
      _mm512_storeu_si512(start_ + v * vector_columns, _mm512_sub_epi32(none, _mm512_slli_epi32(sum, 7)));
    }
  }
#else
  static void interleave(const int8_t* rows, int64_t stride, int64_t columns, int16_t* to) {
    for (int64_t c = 0; c < columns; ++c) {
      to[2 * c] = rows[c];
      to[2 * c + 1] = rows[stride + c];
    }
  }

  void sum_up() {}
#endif

  PanelTerm* terms_;
  int32_t* start_;
  int64_t groups_ = 0, columns_ = 0, vectors_ = 0;
};

// All columns of a matrix, panel by panel.
class Panels {
 public:
  // make(panel, first column, columns) fills one panel.
  template <typename Make>
  Panels(int64_t depth, int64_t columns, const Threads& threads, Make make)
      : size_(panel_size(depth)),
        columns_(columns),
        terms_(count() * size_),
        start_(count() * panel_columns) {
    parallel(threads, count(), size_, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) make(memory(p), p * panel_columns, columns_of(p));
    });
    depth_ = depth;
  }

  int64_t count() const { return ceil_div(columns_, panel_columns); }
  Panel operator[](int64_t p) const { return memory(p).filled(depth_, columns_of(p)); }

 private:
  Panel memory(int64_t p) const { return {terms_.get() + p * size_, start_.get() + p * panel_columns}; }
  int64_t columns_of(int64_t p) const { return smaller(panel_columns, columns_ - p * panel_columns); }

  int64_t size_, columns_, depth_ = 0;
  Buffer<PanelTerm> terms_;
  Buffer<int32_t> start_;
};

#if defined(__AVX512VNNI__)

template <int64_t rows, int64_t vectors>
inline void block(const RowTerm* a, int64_t stride, const Panel& panel, int32_t* sums) {
  __m512i sum[rows][vectors];
  for (int64_t v = 0; v < vectors; ++v) {
    const __m512i start = _mm512_loadu_si512(panel.start() + v * vector_columns);
    for (int64_t r = 0; r < rows; ++r) sum[r][v] = start;
  }
  const int8_t* terms = panel.terms();
  for (int64_t g = 0; g < panel.groups(); ++g, terms += vectors * vector_columns * together) {
    __m512i column[vectors];
    for (int64_t v = 0; v < vectors; ++v) column[v] = _mm512_loadu_si512(terms + v * vector_columns * together);
    for (int64_t r = 0; r < rows; ++r) {
      int32_t four;
      std::memcpy(&four, a + r * stride + g * together, sizeof four);
      const __m512i row = _mm512_set1_epi32(four);
      for (int64_t v = 0; v < vectors; ++v) sum[r][v] = _mm512_dpbusd_epi32(sum[r][v], row, column[v]);
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t v = 0; v < vectors; ++v) _mm512_storeu_si512(sums + r * panel_columns + v * vector_columns, sum[r][v]);
  }
}

#elif defined(__AVX2__)

template <int64_t rows, int64_t vectors>
inline void block(const RowTerm* a, int64_t stride, const Panel& panel, int32_t* sums) {
  static_assert(vectors == 1, "two registers hold the columns of a panel");
  __m256i sum[rows][2];
  for (int64_t r = 0; r < rows; ++r) sum[r][0] = sum[r][1] = _mm256_setzero_si256();
  const auto* terms = reinterpret_cast<const __m256i*>(panel.terms());
  for (int64_t g = 0; g < panel.groups(); ++g, terms += 2) {
    const __m256i low = _mm256_loadu_si256(terms), high = _mm256_loadu_si256(terms + 1);
    for (int64_t r = 0; r < rows; ++r) {
      int32_t two;
      std::memcpy(&two, a + r * stride + g * together, sizeof two);
      const __m256i row = _mm256_set1_epi32(two);
      sum[r][0] = _mm256_add_epi32(sum[r][0], _mm256_madd_epi16(row, low));
      sum[r][1] = _mm256_add_epi32(sum[r][1], _mm256_madd_epi16(row, high));
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t half = 0; half < 2; ++half) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums + r * panel_columns) + half, sum[r][half]);
    }
  }
}

#else

template <int64_t rows, int64_t vectors>
inline void block(const RowTerm* a, int64_t stride, const Panel& panel, int32_t* sums) {
  int32_t sum[rows][vectors * vector_columns] = {};
  const int16_t* terms = panel.terms();
  for (int64_t g = 0; g < panel.groups(); ++g, terms += vectors * vector_columns * together) {
    for (int64_t r = 0; r < rows; ++r) {
      const int32_t one = a[r * stride + 2 * g], two = a[r * stride + 2 * g + 1];
      for (int64_t c = 0; c < vectors * vector_columns; ++c) sum[r][c] += one * terms[2 * c] + two * terms[2 * c + 1];
    }
  }
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < vectors * vector_columns; ++c) sums[r * panel_columns + c] = sum[r][c];
  }
}

#endif

template <int64_t rows>
inline void block_of_rows(const RowTerm* a, int64_t stride, const Panel& panel, int32_t* sums) {
#if defined(__AVX512VNNI__)
  switch (panel.vectors()) {
    case 1: return block<rows, 1>(a, stride, panel, sums);
    case 2: return block<rows, 2>(a, stride, panel, sums);
    case 3: return block<rows, 3>(a, stride, panel, sums);
    default: return block<rows, 4>(a, stride, panel, sums);
  }
#else
  block<rows, 1>(a, stride, panel, sums);
#endif
}

// Calls take(row, sums) for each of `count` rows (row r begins at a + r * stride): its products with the panel's columns.
template <typename Take>
inline void multiply(const RowTerm* a, int64_t stride, int64_t count, const Panel& panel, Take take) {
  int32_t sums[block_rows * panel_columns];
  int64_t r = 0;
  for (; r + block_rows <= count; r += block_rows) {
    block_of_rows<block_rows>(a + r * stride, stride, panel, sums);
    for (int64_t i = 0; i < block_rows; ++i) take(r + i, sums + i * panel_columns);
  }
  for (; r < count; ++r) {
    block_of_rows<1>(a + r * stride, stride, panel, sums);
    take(r, sums);
  }
}

}  // namespace
}  // namespace fqt
