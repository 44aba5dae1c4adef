// Sums of gradient codes under byte masks: how both backward products are computed.
//
// A ±1 factor is a byte mask m (all ones for +1, zero for -1). With codes q >= 0:
//
//     Σ q·(±1) = 2·Σ (q AND m) - Σ q
//
// so sixteen products are one AND and one addition of bytes. Codes above 15 are taken as two nibbles ("planes"), 16 times the
// second plus the first. Byte sums are widened before they can overflow.
#pragma once

#include "../support.h"

namespace fqt {
namespace {

using Bytes = uint8_t __attribute__((vector_size(16)));
using Shorts = uint16_t __attribute__((vector_size(16)));

constexpr int64_t byte_lanes = 16;

inline Bytes load_bytes(const uint8_t* p) {
  Bytes v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

// Even bytes and odd bytes of v as 16-bit numbers.
inline Shorts even_bytes(Bytes v) { return reinterpret_cast<Shorts>(v) & 0x00FF; }
inline Shorts odd_bytes(Bytes v) { return reinterpret_cast<Shorts>(v) >> 8; }

inline uint32_t sum(Shorts v) {
  using Ints = uint32_t __attribute__((vector_size(16)));
  const Ints pairs = (reinterpret_cast<Ints>(v) & 0xFFFF) + (reinterpret_cast<Ints>(v) >> 16);
  return pairs[0] + pairs[1] + pairs[2] + pairs[3];
}

// How codes are split, and how many terms fit each width.
struct Planes {
  int64_t count;     // 1, or 2 for codes above 15
  int64_t in_byte;   // terms that fit a byte
  int64_t in_short;  // terms that fit 16 bits

  Planes(const uint8_t* codes, int64_t size) {
    uint8_t most = 1;
    for (int64_t i = 0; i < size; ++i) most = codes[i] > most ? codes[i] : most;
    count = most > 15 ? 2 : 1;
    const int64_t largest = most > 15 ? 15 : most;
    in_byte = 255 / largest;
    in_short = 65535 / largest;
  }

  uint8_t part(uint8_t code, int64_t plane) const {
    return static_cast<uint8_t>(count == 1 ? code : plane == 0 ? code & 15 : code >> 4);
  }
};

// masks[i] = 0xFF if bit i of bits is set, else 0, for i < 64.
inline void expand_bits(uint64_t bits, uint8_t* masks) {
  for (int i = 0; i < 8; ++i) {
    // Spread eight bits over eight bytes: copy the byte, keep bit j in byte j, and turn non-zero bytes into 0xFF.
    uint64_t v = (bits >> (8 * i) & 0xFF) * 0x0101010101010101 & 0x8040201008040201;
    v = ((v & 0x7F7F7F7F7F7F7F7F) + 0x7F7F7F7F7F7F7F7F) | v;
    v = (v >> 7 & 0x0101010101010101) * 0xFF;
    std::memcpy(masks + 8 * i, &v, 8);
  }
}

}  // namespace
}  // namespace fqt
