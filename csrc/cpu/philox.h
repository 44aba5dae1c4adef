// Philox-4x32-10 for many blocks at once; key and counter as fqt_core/random.py lays them out.
#pragma once

#include <cstdint>

namespace fqt {
namespace {

struct PhiloxKey {
  uint32_t key[2];
  uint32_t step, layer, purpose;
};

constexpr int64_t philox_lanes = 8;

// Uniform numbers in [0, 1) of blocks first .. first + philox_lanes - 1, four each, in order.
inline void philox_uniform(const PhiloxKey& key, uint64_t first, float* u) {
  uint32_t c0[philox_lanes], c1[philox_lanes], c2[philox_lanes], c3[philox_lanes];
  for (int64_t i = 0; i < philox_lanes; ++i) {
    c0[i] = static_cast<uint32_t>(first) + static_cast<uint32_t>(i);
    c1[i] = key.step;
    c2[i] = key.layer;
    c3[i] = key.purpose;
  }
  uint32_t k0 = key.key[0], k1 = key.key[1];
  for (int round = 0; round < 10; ++round) {
    for (int64_t i = 0; i < philox_lanes; ++i) {
      const uint64_t product0 = uint64_t{0xD2511F53} * c0[i];
      const uint64_t product1 = uint64_t{0xCD9E8D57} * c2[i];
      c0[i] = static_cast<uint32_t>(product1 >> 32) ^ c1[i] ^ k0;
      c1[i] = static_cast<uint32_t>(product1);
      c2[i] = static_cast<uint32_t>(product0 >> 32) ^ c3[i] ^ k1;
      c3[i] = static_cast<uint32_t>(product0);
    }
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  for (int64_t i = 0; i < philox_lanes; ++i) {
    u[4 * i + 0] = static_cast<float>(static_cast<int32_t>(c0[i] >> 8)) * 0x1p-24F;
    u[4 * i + 1] = static_cast<float>(static_cast<int32_t>(c1[i] >> 8)) * 0x1p-24F;
    u[4 * i + 2] = static_cast<float>(static_cast<int32_t>(c2[i] >> 8)) * 0x1p-24F;
    u[4 * i + 3] = static_cast<float>(static_cast<int32_t>(c3[i] >> 8)) * 0x1p-24F;
  }
}

}  // namespace
}  // namespace fqt
