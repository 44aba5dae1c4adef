// Sums of codes under byte masks with channels in the lanes: a code is spread over a vector beforehand ("splat"), and then
// serves all channels and taps. Four rows of codes and two vectors of channels are summed together.
#pragma once

#include "bytes.h"

namespace fqt {
namespace {

constexpr int64_t rows = 4;                  // rows of codes summed together
constexpr int64_t columns = 2 * byte_lanes;  // channels summed together

// One term: a splat of each row, by its number, and the masks of the channels, by their place in bytes.
struct Pair {
  int64_t splat, mask;
};

// Splats of one row's codes, out of [code][row][16]; `out` is the row's first.
inline void spread_codes(const uint8_t* codes, int64_t count, const Planes& planes, int64_t plane, uint8_t* out) {
  for (int64_t i = 0; i < count; ++i) std::memset(out + i * rows * byte_lanes, planes.part(codes[i], plane), byte_lanes);
}

// Masks of `count` channels from bits [first, first + count) of packed words.
inline void expand_channels(const uint64_t* words, int64_t first, int64_t count, uint8_t* out) {
  uint8_t block[64];
  for (int64_t c = 0; c < count; c += 64) {
    const int64_t bits = smaller(64, count - c);
    expand_bits(extract_bits(words, first + c, bits), block);
    std::memcpy(out + c, block, static_cast<size_t>(bits));
  }
}

inline void widen(Bytes v, uint16_t* sums) {
  Shorts even, odd;
  std::memcpy(&even, sums, sizeof(even));
  std::memcpy(&odd, sums + 8, sizeof(odd));
  even += even_bytes(v);
  odd += odd_bytes(v);
  std::memcpy(sums, &even, sizeof(even));
  std::memcpy(sums + 8, &odd, sizeof(odd));
}

// sums[r][v][even or odd][8] += Σ splat AND mask over some pairs; they must fit 16 bits.
inline void masked_sums(const Pair* pairs, int64_t count, const uint8_t* splats, const uint8_t* masks, int64_t in_byte,
                        uint16_t* sums) {
  for (int64_t first = 0; first < count; first += in_byte) {
    const int64_t end = smaller(count, first + in_byte);
    Bytes a0{}, a1{}, b0{}, b1{}, c0{}, c1{}, d0{}, d1{};
    for (int64_t i = first; i < end; ++i) {
      const uint8_t* q = splats + pairs[i].splat * rows * byte_lanes;
      const uint8_t* m = masks + pairs[i].mask;
      const Bytes m0 = load_bytes(m), m1 = load_bytes(m + byte_lanes);
      const Bytes qa = load_bytes(q), qb = load_bytes(q + byte_lanes);
      a0 += qa & m0;
      a1 += qa & m1;
      b0 += qb & m0;
      b1 += qb & m1;
      const Bytes qc = load_bytes(q + 2 * byte_lanes), qd = load_bytes(q + 3 * byte_lanes);
      c0 += qc & m0;
      c1 += qc & m1;
      d0 += qd & m0;
      d1 += qd & m1;
    }
    widen(a0, sums);
    widen(a1, sums + 16);
    widen(b0, sums + 32);
    widen(b1, sums + 48);
    widen(c0, sums + 64);
    widen(c1, sums + 80);
    widen(d0, sums + 96);
    widen(d1, sums + 112);
  }
}

// out[r][c] += Σ splat AND mask over the pairs, times the worth of the plane, for `columns` channels of `present` rows, which
// stand `stride` sums apart.
inline void add_masked_sums(const Pair* pairs, int64_t count, const uint8_t* splats, const uint8_t* masks,
                            const Planes& planes, int64_t plane, int64_t present, int64_t stride, int32_t* out) {
  const int32_t worth = 1 << (4 * plane);
  for (int64_t first = 0; first < count; first += planes.in_short) {
    uint16_t sums[rows * columns] = {};
    masked_sums(pairs + first, smaller(planes.in_short, count - first), splats, masks, planes.in_byte, sums);
    for (int64_t r = 0; r < present; ++r) {
      for (int64_t v = 0; v < columns; v += byte_lanes) {
        const uint16_t* in = sums + r * columns + v;  // the even bytes of a vector stand before the odd ones
        int32_t* to = out + r * stride + v;
        for (int64_t i = 0; i < byte_lanes / 2; ++i) {
          to[2 * i] += worth * in[i];
          to[2 * i + 1] += worth * in[8 + i];
        }
      }
    }
  }
}

// Σ q·(±1) from the sum of the codes under the mask and that of all; neither step leaves 32 bits.
inline int32_t signed_sum(int32_t masked, int32_t total) { return masked - (total - masked); }

}  // namespace
}  // namespace fqt
