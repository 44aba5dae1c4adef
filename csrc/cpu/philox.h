// Philox-4x32-10 for many blocks at once; key and counter as fqt_core/random.py lays them out.
#pragma once

#include <cstdint>

#if defined(__AVX2__)
#include "intrinsics.h"
#endif

namespace fqt {
namespace {

constexpr int philox_rounds = 10;

// A sequence of numbers, with the key of every round.
struct PhiloxKey {
  uint32_t step, layer, purpose;
  uint32_t rounds[philox_rounds][2];

  PhiloxKey(const uint32_t (&key)[2], uint32_t step_, uint32_t layer_, uint32_t purpose_)
      : step(step_), layer(layer_), purpose(purpose_) {
    for (uint32_t i = 0; i < philox_rounds; ++i) {
      rounds[i][0] = key[0] + i * 0x9E3779B9;
      rounds[i][1] = key[1] + i * 0xBB67AE85;
    }
  }
};

constexpr uint32_t philox_multipliers[2] = {0xD2511F53, 0xCD9E8D57};

#if defined(__AVX2__)

// A 64-bit lane holds one word of one block in its low half; the high half is arbitrary. So a product, which reads only low
// halves, is the next low word as it stands, and a round needs no shuffles.
#if defined(__AVX512F__)

struct PhiloxWords {
  __m512i v;

  static PhiloxWords all(uint32_t word) { return {_mm512_set1_epi32(static_cast<int32_t>(word))}; }
  // Blocks first .. first + 7 in the order that `write` takes.
  static PhiloxWords counters(uint32_t first) {
    return {_mm512_add_epi32(all(first).v, _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7))};
  }
  static PhiloxWords product(PhiloxWords a, PhiloxWords b) { return {_mm512_mul_epu32(a.v, b.v)}; }
  static PhiloxWords high_xor(PhiloxWords product, PhiloxWords a, PhiloxWords b) {
    return {_mm512_ternarylogic_epi64(_mm512_srli_epi64(product.v, 32), a.v, b.v, 0x96)};
  }
  // Of as many blocks as two vectors have: those at even places, and those at odd ones.
  static PhiloxWords even(const uint32_t* counters) { return {_mm512_loadu_si512(counters)}; }
  static PhiloxWords odd(const uint32_t* counters) { return {_mm512_srli_epi64(even(counters).v, 32)}; }
  // Low halves of a, low halves of b above them.
  static __m512i join(PhiloxWords a, PhiloxWords b) {
    return _mm512_mask_shuffle_epi32(a.v, 0xAAAA, b.v, _MM_PERM_CCAA);
  }
  static void write_half(__m512i words, float* u) {
    _mm512_storeu_ps(u, _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_srli_epi32(words, 8)), _mm512_set1_ps(0x1p-24F)));
  }
  static void write(PhiloxWords c0, PhiloxWords c1, PhiloxWords c2, PhiloxWords c3, float* u) {
    const __m512i low = join(c0, c1), high = join(c2, c3);
    write_half(_mm512_unpacklo_epi64(low, high), u);
    write_half(_mm512_unpackhi_epi64(low, high), u + 16);
  }
};

constexpr int64_t philox_width = 8;  // blocks in a vector

#else

struct PhiloxWords {
  __m256i v;

  static PhiloxWords all(uint32_t word) { return {_mm256_set1_epi32(static_cast<int32_t>(word))}; }
  // Blocks first .. first + 3 in the order that `write` takes.
  static PhiloxWords counters(uint32_t first) {
    return {_mm256_add_epi32(all(first).v, _mm256_setr_epi64x(0, 2, 1, 3))};
  }
  static PhiloxWords product(PhiloxWords a, PhiloxWords b) { return {_mm256_mul_epu32(a.v, b.v)}; }
  static PhiloxWords high_xor(PhiloxWords product, PhiloxWords a, PhiloxWords b) {
    return {_mm256_xor_si256(_mm256_xor_si256(_mm256_srli_epi64(product.v, 32), a.v), b.v)};
  }
  // Of as many blocks as two vectors have: those at even places, and those at odd ones.
  static PhiloxWords even(const uint32_t* counters) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(counters))};
  }
  static PhiloxWords odd(const uint32_t* counters) { return {_mm256_srli_epi64(even(counters).v, 32)}; }
  // Low halves of a, low halves of b above them.
  static __m256i join(PhiloxWords a, PhiloxWords b) {
    return _mm256_blend_epi32(a.v, _mm256_shuffle_epi32(b.v, 0xA0), 0xAA);
  }
  static void write_half(__m256i words, float* u) {
    _mm256_storeu_ps(u, _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_srli_epi32(words, 8)), _mm256_set1_ps(0x1p-24F)));
  }
  static void write(PhiloxWords c0, PhiloxWords c1, PhiloxWords c2, PhiloxWords c3, float* u) {
    const __m256i low = join(c0, c1), high = join(c2, c3);
    write_half(_mm256_unpacklo_epi64(low, high), u);
    write_half(_mm256_unpackhi_epi64(low, high), u + 8);
  }
};

constexpr int64_t philox_width = 4;  // blocks in a vector

#endif

constexpr int64_t philox_lanes = 2 * philox_width;  // two vectors: each waits for its products while the other computes

// The state of `philox_lanes` blocks.
struct PhiloxState {
  static constexpr int vectors = 2;
  PhiloxWords c0[vectors], c1[vectors], c2[vectors], c3[vectors];

  // The counters are in `c0` already.
  void run(const PhiloxKey& key) {
    using Words = PhiloxWords;
    for (int i = 0; i < vectors; ++i) {
      c1[i] = Words::all(key.step);
      c2[i] = Words::all(key.layer);
      c3[i] = Words::all(key.purpose);
    }
    const Words m0 = Words::all(philox_multipliers[0]), m1 = Words::all(philox_multipliers[1]);
    for (const auto& round : key.rounds) {
      const Words key0 = Words::all(round[0]), key1 = Words::all(round[1]);
      for (int i = 0; i < vectors; ++i) {
        const Words product0 = Words::product(c0[i], m0), product1 = Words::product(c2[i], m1);
        c0[i] = Words::high_xor(product1, c1[i], key0);
        c1[i] = product1;
        c2[i] = Words::high_xor(product0, c3[i], key1);
        c3[i] = product0;
      }
    }
  }
};

// Uniform numbers in [0, 1) of blocks first .. first + philox_lanes - 1, four each, in order.
inline void philox_uniform(const PhiloxKey& key, uint64_t first, float* u) {
  PhiloxState s;
  for (int i = 0; i < PhiloxState::vectors; ++i) {
    s.c0[i] = PhiloxWords::counters(static_cast<uint32_t>(first) + static_cast<uint32_t>(philox_width * i));
  }
  s.run(key);
  for (int i = 0; i < PhiloxState::vectors; ++i) {
    PhiloxWords::write(s.c0[i], s.c1[i], s.c2[i], s.c3[i], u + 4 * philox_width * i);
  }
}

// Uniform numbers of `philox_lanes` blocks anywhere: u[i][lane] is number i of a lane's block.
inline void philox_uniform_of(const PhiloxKey& key, const uint32_t (&blocks)[philox_lanes], float (&u)[4][philox_lanes]) {
  PhiloxState s;
  s.c0[0] = PhiloxWords::even(blocks);
  s.c0[1] = PhiloxWords::odd(blocks);
  s.run(key);
  PhiloxWords::write_half(PhiloxWords::join(s.c0[0], s.c0[1]), u[0]);
  PhiloxWords::write_half(PhiloxWords::join(s.c1[0], s.c1[1]), u[1]);
  PhiloxWords::write_half(PhiloxWords::join(s.c2[0], s.c2[1]), u[2]);
  PhiloxWords::write_half(PhiloxWords::join(s.c3[0], s.c3[1]), u[3]);
}

#else

constexpr int64_t philox_lanes = 8;

// Uniform numbers in [0, 1) of `philox_lanes` blocks anywhere: u[i][lane] is number i of a lane's block.
inline void philox_uniform_of(const PhiloxKey& key, const uint32_t (&blocks)[philox_lanes], float (&u)[4][philox_lanes]) {
  uint32_t c[4][philox_lanes];
  for (int64_t i = 0; i < philox_lanes; ++i) {
    c[0][i] = blocks[i];
    c[1][i] = key.step;
    c[2][i] = key.layer;
    c[3][i] = key.purpose;
  }
  for (const auto& round : key.rounds) {
    for (int64_t i = 0; i < philox_lanes; ++i) {
      const uint64_t product0 = uint64_t{philox_multipliers[0]} * c[0][i];
      const uint64_t product1 = uint64_t{philox_multipliers[1]} * c[2][i];
      c[0][i] = static_cast<uint32_t>(product1 >> 32) ^ c[1][i] ^ round[0];
      c[1][i] = static_cast<uint32_t>(product1);
      c[2][i] = static_cast<uint32_t>(product0 >> 32) ^ c[3][i] ^ round[1];
      c[3][i] = static_cast<uint32_t>(product0);
    }
  }
  for (int64_t word = 0; word < 4; ++word) {
    for (int64_t i = 0; i < philox_lanes; ++i) {
      u[word][i] = static_cast<float>(static_cast<int32_t>(c[word][i] >> 8)) * 0x1p-24F;
    }
  }
}

// The same of blocks first .. first + philox_lanes - 1, four each, in order.
inline void philox_uniform(const PhiloxKey& key, uint64_t first, float* u) {
  uint32_t blocks[philox_lanes];
  float numbers[4][philox_lanes];
  for (int64_t i = 0; i < philox_lanes; ++i) blocks[i] = static_cast<uint32_t>(first) + static_cast<uint32_t>(i);
  philox_uniform_of(key, blocks, numbers);
  for (int64_t i = 0; i < philox_lanes; ++i) {
    for (int64_t word = 0; word < 4; ++word) u[4 * i + word] = numbers[word][i];
  }
}

#endif

}  // namespace
}  // namespace fqt
