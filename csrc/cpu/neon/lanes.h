// 32 bytes in two vectors, for products by table look-up (lookup/lanes.h says which channel stands where).
#pragma once

#include <arm_neon.h>

#include "../support.h"

namespace fqt {
namespace {

constexpr int64_t lanes = 32;

struct Lanes {
  uint8x16_t low, high;
};
using Table = uint8x16_t;
using Codes = uint8x16_t;

inline Lanes zero() { return {vdupq_n_u8(0), vdupq_n_u8(0)}; }
inline Lanes load(const void* p) {
  const auto* bytes = static_cast<const uint8_t*>(p);
  return {vld1q_u8(bytes), vld1q_u8(bytes + 16)};
}
inline void store(void* p, Lanes v) {
  auto* bytes = static_cast<uint8_t*>(p);
  vst1q_u8(bytes, v.low);
  vst1q_u8(bytes + 16, v.high);
}
inline void prefetch(const uint8_t* p) { __builtin_prefetch(p); }

// Has a value in registers at this point: compilers neither load it again later nor put off the additions that lead to it.
inline void keep(Lanes& v) { asm("" : "+w"(v.low), "+w"(v.high)); }

inline Lanes add_bytes(Lanes a, Lanes b) { return {vaddq_u8(a.low, b.low), vaddq_u8(a.high, b.high)}; }
inline Lanes subtract_bytes(Lanes a, Lanes b) { return {vsubq_u8(a.low, b.low), vsubq_u8(a.high, b.high)}; }
inline Lanes larger_bytes(Lanes a, Lanes b) { return {vmaxq_u8(a.low, b.low), vmaxq_u8(a.high, b.high)}; }

inline Table load_table(const uint8_t* p) { return vld1q_u8(p); }
inline Lanes look_up(Table table, Lanes index) { return {vqtbl1q_u8(table, index.low), vqtbl1q_u8(table, index.high)}; }

// Bytes with index -1 become 0.
inline Lanes look_up_in_halves(Lanes tables, Lanes index) {
  return {vqtbl1q_u8(tables.low, index.low), vqtbl1q_u8(tables.high, index.high)};
}
inline Lanes join(Codes low, Codes high) { return {low, high}; }
inline Lanes twice(const int8_t* p) {
  const uint8x16_t v = vreinterpretq_u8_s8(vld1q_s8(p));
  return {v, v};
}
inline Lanes all(int64_t byte) {
  const uint8x16_t v = vdupq_n_u8(static_cast<uint8_t>(byte));
  return {v, v};
}
inline Lanes low_nibbles(Lanes v) {
  const uint8x16_t nibble = vdupq_n_u8(15);
  return {vandq_u8(v.low, nibble), vandq_u8(v.high, nibble)};
}
inline Lanes high_nibbles(Lanes v) { return {vshrq_n_u8(v.low, 4), vshrq_n_u8(v.high, 4)}; }

// The first `count` of 16 codes, then zeros; no codes at all if p is null.
inline Codes load_codes(const uint8_t* p, int64_t count) {
  if (p == nullptr) return vdupq_n_u8(0);
  if (count >= 16) return vld1q_u8(p);
  uint8_t codes[16] = {};
  std::memcpy(codes, p, static_cast<size_t>(count));
  return vld1q_u8(codes);
}

inline int32_t sum_of_codes(const uint8_t* codes, int64_t count) {
  uint32x4_t sum = vdupq_n_u32(0);
  for (int64_t i = 0; i < count; i += 16) sum = vpadalq_u16(sum, vpaddlq_u8(load_codes(codes + i, count - i)));
  return static_cast<int32_t>(vaddvq_u32(sum));
}

inline uint16x8_t shorts(uint8x16_t v) { return vreinterpretq_u16_u8(v); }
inline uint8x16_t bytes(uint16x8_t v) { return vreinterpretq_u8_u16(v); }

// Sums of 16 bits, in two ways: odd bytes alone, and whole pairs, even + 256 · odd, from which the even ones follow at the end.
inline void add_pairs(Lanes v, Lanes& pairs, Lanes& odd) {
  pairs = {bytes(vaddq_u16(shorts(pairs.low), shorts(v.low))), bytes(vaddq_u16(shorts(pairs.high), shorts(v.high)))};
  odd = {bytes(vsraq_n_u16(shorts(odd.low), shorts(v.low), 8)), bytes(vsraq_n_u16(shorts(odd.high), shorts(v.high), 8))};
}
inline Lanes even_sums(Lanes pairs, Lanes odd) {
  return {bytes(vsubq_u16(shorts(pairs.low), vshlq_n_u16(shorts(odd.low), 8))),
          bytes(vsubq_u16(shorts(pairs.high), vshlq_n_u16(shorts(odd.high), 8)))};
}
inline Lanes even_bytes(Lanes v) {
  const uint16x8_t even = vdupq_n_u16(0xFF);
  return {bytes(vandq_u16(shorts(v.low), even)), bytes(vandq_u16(shorts(v.high), even))};
}
inline Lanes odd_bytes(Lanes v) { return {bytes(vshrq_n_u16(shorts(v.low), 8)), bytes(vshrq_n_u16(shorts(v.high), 8))}; }

// out[c] += value of channel c << shift, of 16-bit values of channels 0 .. 15 and 16 .. 31.
inline void add_to_channels(Lanes first, Lanes second, int shift, int32_t* out) {
  const int32x4_t places = vdupq_n_s32(shift);
  const auto add = [&](uint16x4_t values, int32_t* to) {
    vst1q_s32(to, vaddq_s32(vld1q_s32(to), vreinterpretq_s32_u32(vshlq_u32(vmovl_u16(values), places))));
  };
  const auto add_eight = [&](uint8x16_t values, int32_t* to) {
    add(vget_low_u16(shorts(values)), to);
    add(vget_high_u16(shorts(values)), to + 4);
  };
  add_eight(first.low, out);
  add_eight(first.high, out + 8);
  add_eight(second.low, out + 16);
  add_eight(second.high, out + 24);
}

// Bits of half a word (32 channels) in lane order: -1 where the bit is set, else 0.
inline Lanes spread_bits(const uint8_t* half) {
  alignas(16) constexpr uint8_t low_byte[16] = {0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0, 2};
  alignas(16) constexpr uint8_t high_byte[16] = {1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3};
  alignas(16) constexpr uint8_t bit[16] = {1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 32, 32, 64, 64, 128, 128};
  uint32_t bits;
  std::memcpy(&bits, half, sizeof(bits));
  const uint8x16_t all_bits = vreinterpretq_u8_u32(vdupq_n_u32(bits)), tested = vld1q_u8(bit);
  return {vtstq_u8(vqtbl1q_u8(all_bits, vld1q_u8(low_byte)), tested),
          vtstq_u8(vqtbl1q_u8(all_bits, vld1q_u8(high_byte)), tested)};
}

// 2 · sum - total, of eight channels.
inline Lanes products(const int32_t* sums, int32_t total) {
  const auto four = [&](const int32_t* p) {
    return vreinterpretq_u8_s32(vsubq_s32(vshlq_n_s32(vld1q_s32(p), 1), vdupq_n_s32(total)));
  };
  return {four(sums), four(sums + 4)};
}

// float(2 · sum - total) · scale + float(constant) · offset, of eight channels.
inline Lanes affine(const int32_t* sums, int32_t total, const float* constants, float scale, float offset) {
  const Lanes v = products(sums, total);
  const auto four = [&](uint8x16_t values, const float* constant) {
    const float32x4_t scaled = vmulq_n_f32(vcvtq_f32_s32(vreinterpretq_s32_u8(values)), scale);
    return vreinterpretq_u8_f32(vaddq_f32(scaled, vmulq_n_f32(vld1q_f32(constant), offset)));
  };
  return {four(v.low, constants), four(v.high, constants + 4)};
}

// Of eight values of 32 bits those whose bit is set, else 0.
inline Lanes where_set(uint8_t bits, Lanes values) {
  alignas(16) constexpr uint32_t bit[8] = {1, 2, 4, 8, 16, 32, 64, 128};
  const uint32x4_t all_bits = vdupq_n_u32(bits);
  const auto four = [&](uint8x16_t v, const uint32_t* p) {
    return vandq_u8(v, vreinterpretq_u8_u32(vtstq_u32(all_bits, vld1q_u32(p))));
  };
  return {four(values.low, bit), four(values.high, bit + 4)};
}

}  // namespace
}  // namespace fqt
