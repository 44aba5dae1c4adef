// Products of codes, taken bit by bit, with ±1: numbers of set bits.
//
// A block of 16 columns keeps its bits as [word][column], 32 rows to a word. The bits of a row of codes, one plane for each bit
// of a code, lie in words of 32 as well. A word is spread over a vector, joined with that of 16 columns, and the set bits of
// each column are counted in its own lane, so that no sum across lanes is needed:
//
//     for each word i:   counts[plane][column] += popcount(plane[i] OP block[i][column])      OP: XOR, or AND
#pragma once

#include "support.h"

#if defined(__AVX2__)
#include "intrinsics.h"
#endif

namespace fqt {
namespace {

constexpr int64_t block_columns = 16;
constexpr int64_t word_rows = 32;

#if defined(__AVX512F__)

struct CountLanes {
  using V = __m512i;
  static constexpr int64_t width = 16;
  static constexpr int64_t words_per_sum = int64_t{1} << 26;  // 32 bits a word: lanes hold 32 bits

  static V zero() { return _mm512_setzero_si512(); }
  static V all(uint32_t word) { return _mm512_set1_epi32(static_cast<int32_t>(word)); }
  static V load(const uint32_t* p) { return _mm512_loadu_si512(p); }
  static V differ(V a, V b) { return _mm512_xor_si512(a, b); }
  static V common(V a, V b) { return _mm512_and_si512(a, b); }
  static V add_bits(V sum, V x) { return _mm512_add_epi32(sum, _mm512_popcnt_epi32(x)); }
  static V total(V sum) { return sum; }
  static void add_to(int32_t* p, V v) { _mm512_storeu_si512(p, _mm512_add_epi32(_mm512_loadu_si512(p), v)); }
};

#elif defined(__AVX2__)

// Sums are of bytes, each of which grows by at most 8 with a word.
struct CountLanes {
  using V = __m256i;
  static constexpr int64_t width = 8;
  static constexpr int64_t words_per_sum = 31;

  static V zero() { return _mm256_setzero_si256(); }
  static V all(uint32_t word) { return _mm256_set1_epi32(static_cast<int32_t>(word)); }
  static V load(const uint32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
  static V differ(V a, V b) { return _mm256_xor_si256(a, b); }
  static V common(V a, V b) { return _mm256_and_si256(a, b); }
  static V add_bits(V sum, V x) {
    const V bits_of = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,  //
                                       0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const V nibble = _mm256_set1_epi8(15);
    const V low = _mm256_shuffle_epi8(bits_of, _mm256_and_si256(x, nibble));
    const V high = _mm256_shuffle_epi8(bits_of, _mm256_and_si256(_mm256_srli_epi16(x, 4), nibble));
    return _mm256_add_epi8(sum, _mm256_add_epi8(low, high));
  }
  static V total(V sum) {
    return _mm256_madd_epi16(_mm256_maddubs_epi16(sum, _mm256_set1_epi8(1)), _mm256_set1_epi16(1));
  }
  static void add_to(int32_t* p, V v) {
    V* at = reinterpret_cast<V*>(p);
    _mm256_storeu_si256(at, _mm256_add_epi32(_mm256_loadu_si256(at), v));
  }
};

#else

// Sums are of bytes, each of which grows by at most 8 with a word.
struct CountLanes {
  using V = uint32_t __attribute__((vector_size(16)));
  static constexpr int64_t width = 4;
  static constexpr int64_t words_per_sum = 31;

  static V zero() { return V{}; }
  static V all(uint32_t word) { return V{} + word; }
  static V load(const uint32_t* p) {
    V v;
    std::memcpy(&v, p, sizeof(v));
    return v;
  }
  static V differ(V a, V b) { return a ^ b; }
  static V common(V a, V b) { return a & b; }
  static V add_bits(V sum, V x) {
    x -= x >> 1 & 0x55555555;
    x = (x & 0x33333333) + (x >> 2 & 0x33333333);
    return sum + ((x + (x >> 4)) & 0x0F0F0F0F);
  }
  static V total(V sum) {
    sum = (sum & 0x00FF00FF) + (sum >> 8 & 0x00FF00FF);
    return (sum + (sum >> 16)) & 0xFFFF;
  }
  static void add_to(int32_t* p, V v) {
    for (int64_t i = 0; i < width; ++i) p[i] += static_cast<int32_t>(v[i]);
  }
};

#endif

struct Differ {
  static CountLanes::V join(CountLanes::V a, CountLanes::V b) { return CountLanes::differ(a, b); }
};
struct Common {
  static CountLanes::V join(CountLanes::V a, CountLanes::V b) { return CountLanes::common(a, b); }
};

// Adds to counts[plane][column]; planes stand `stride` words apart, counts of planes block_columns.
template <typename Join, int planes>
inline void count_planes(const uint32_t* plane, int64_t stride, const uint32_t* block, int64_t words, int32_t* counts) {
  using L = CountLanes;
  for (int64_t first = 0; first < words; first += L::words_per_sum) {
    const int64_t end = smaller(words, first + L::words_per_sum);
    for (int64_t c = 0; c < block_columns; c += L::width) {
      L::V sums[planes];
      for (int p = 0; p < planes; ++p) sums[p] = L::zero();
      for (int64_t i = first; i < end; ++i) {
        const L::V columns = L::load(block + i * block_columns + c);
        for (int p = 0; p < planes; ++p) {
          sums[p] = L::add_bits(sums[p], Join::join(columns, L::all(plane[p * stride + i])));
        }
      }
      for (int p = 0; p < planes; ++p) L::add_to(counts + p * block_columns + c, L::total(sums[p]));
    }
  }
}

// The same for any number of planes.
template <typename Join>
inline void count_bits(const uint32_t* plane, int64_t planes, int64_t stride, const uint32_t* block, int64_t words,
                       int32_t* counts) {
  int64_t p = 0;
  for (; p + 4 <= planes; p += 4) {
    count_planes<Join, 4>(plane + p * stride, stride, block, words, counts + p * block_columns);
  }
  for (; p + 2 <= planes; p += 2) {
    count_planes<Join, 2>(plane + p * stride, stride, block, words, counts + p * block_columns);
  }
  for (; p < planes; ++p) {
    count_planes<Join, 1>(plane + p * stride, stride, block, words, counts + p * block_columns);
  }
}

// Bit i of a[j] becomes bit j of a[i]. (Hacker's Delight, 7-3.)
inline void transpose_bits(uint32_t (&a)[32]) {
  uint32_t mask = 0x0000FFFF;
  for (int j = 16; j != 0; j >>= 1, mask ^= mask << j) {
    for (int k = 0; k < 32; k = (k + j + 1) & ~j) {
      const uint32_t t = ((a[k] >> j) ^ a[k + j]) & mask;
      a[k + j] ^= t;
      a[k] ^= t << j;
    }
  }
}

// The planes of `count` codes, ceil(count / 32) words each, `stride` words apart; bits past the last code are 0.
inline void pack_planes(const uint8_t* codes, int64_t count, int64_t planes, uint32_t* words, int64_t stride) {
  for (int64_t first = 0; first < count; first += word_rows) {
    uint64_t bytes[4] = {};
    std::memcpy(bytes, codes + first, static_cast<size_t>(smaller(word_rows, count - first)));
    for (int64_t p = 0; p < planes; ++p) {
      uint32_t word = 0;
      for (int i = 0; i < 4; ++i) {
        // A product brings eight bytes, each 0 or 1, together in its top byte, a bit each.
        const uint64_t bits = (bytes[i] >> p & 0x0101010101010101) * 0x0102040810204080 >> 56;
        word |= static_cast<uint32_t>(bits) << (8 * i);
      }
      words[p * stride + first / word_rows] = word;
    }
  }
}

}  // namespace
}  // namespace fqt
