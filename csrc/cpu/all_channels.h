// Codes of all channels' gradients, for dL/dW. A channel's elements are counted by pixel of the product, then sample; four of
// them share a block of random numbers. Channels are the lanes, each with a block of its own, and the codes of four rows
// (pixel, sample) are put together in 32 bits. So floats stay where they are, and of what is transposed there is a quarter.
#pragma once

#include "hwnc_gradient.h"
#include "rounding.h"

namespace fqt {
namespace {

constexpr int64_t block_rows = 4;  // that share a block of random numbers
constexpr int64_t run_rows = 128, run_blocks = run_rows / block_rows;
constexpr int64_t band_channels = 64, band_vectors = band_channels / philox_lanes;

// Some channels side by side: their ranges, and where their numbers start.
struct ChannelBand {
  int64_t first, count;
  float lo[band_vectors][philox_lanes] = {}, scale[band_vectors][philox_lanes] = {};
  float inverse[band_vectors][philox_lanes] = {};
  uint32_t start[band_vectors][philox_lanes] = {};

  // `blocks`: of random numbers, for a channel.
  ChannelBand(const HwncQuantizeArguments& a, int64_t number, int64_t blocks)
      : first(number * band_channels), count(smaller(band_channels, a.kept_count - first)) {
    for (int64_t i = 0; i < count; ++i) {
      const int64_t channel = first + i, vector = i / philox_lanes, lane = i % philox_lanes;
      const Mapping map(a.lo[channel], a.hi[channel], static_cast<float>(a.levels));
      lo[vector][lane] = map.lo;
      scale[vector][lane] = map.scale;
      inverse[vector][lane] = map.inverse;
      start[vector][lane] = static_cast<uint32_t>(channel * blocks);
    }
  }
};

class ChannelRun {
 public:
  ChannelRun(const HwncQuantizeArguments& a, const GradientRows& rows, const PhiloxKey& key)
      : a_(a),
        rows_(rows),
        key_(key),
        samples_(a.gradient.of.samples),
        all_rows_(a.out_height * a.out_width * samples_),
        levels_(static_cast<float>(a.levels)) {}

  // Rows from `first_row` on, a multiple of run_rows.
  void compute(const ChannelBand& band, int64_t first_row) {
    const int64_t count = smaller(run_rows, all_rows_ - first_row);
    for (int64_t block = 0; block < ceil_div(count, block_rows); ++block) {
      const int64_t row = first_row + block * block_rows;
      for (int64_t r = 0; r < smaller(block_rows, all_rows_ - row); ++r) {
        product_run(a_, rows_, nullptr, (row + r) / samples_, (row + r) % samples_, band.first, band.count, v_[r]);
      }
      for (int64_t vector = 0; vector < ceil_div(band.count, philox_lanes); ++vector) {
        quantize_block(band, vector, static_cast<uint32_t>(row / block_rows), block);
      }
    }
    for (int64_t i = 0; i < band.count; ++i) store(band.first + i, codes_[i], first_row, count);
  }

 private:
  void quantize_block(const ChannelBand& band, int64_t vector, uint32_t number, int64_t block) {
    uint32_t blocks[philox_lanes], packed[philox_lanes] = {};
    float u[block_rows][philox_lanes];
    for (int64_t l = 0; l < philox_lanes; ++l) blocks[l] = band.start[vector][l] + number;
    philox_uniform_of(key_, blocks, u);
    const float levels = levels_;
    for (int64_t r = 0; r < block_rows; ++r) {
      const float* v = v_[r] + vector * philox_lanes;
      for (int64_t l = 0; l < philox_lanes; ++l) {
        const int32_t code =
            quantize(v[l], u[r][l], band.lo[vector][l], band.scale[vector][l], band.inverse[vector][l], levels);
        packed[l] |= static_cast<uint32_t>(code) << (8 * r);
      }
    }
    for (int64_t l = 0; l < philox_lanes; ++l) codes_[vector * philox_lanes + l][block] = packed[l];
  }

  // The codes of one channel to their places; those past the last sample of a pixel are zero.
  void store(int64_t channel, const uint32_t* codes, int64_t first_row, int64_t count) const {
    const int64_t padded = round_up(samples_, 4);
    const auto* bytes = reinterpret_cast<const uint8_t*>(codes);
    int64_t pixel = first_row / samples_, sample = first_row % samples_;
    for (int64_t at = 0; at < count; ++pixel, sample = 0) {
      const int64_t run = smaller(samples_ - sample, count - at);
      uint8_t* out = a_.codes + (pixel * a_.kept_count + channel) * padded;
      std::memcpy(out + sample, bytes + at, static_cast<size_t>(run));
      if (sample + run == samples_) std::memset(out + samples_, 0, static_cast<size_t>(padded - samples_));
      at += run;
    }
  }

  const HwncQuantizeArguments& a_;
  const GradientRows& rows_;
  const PhiloxKey& key_;
  int64_t samples_, all_rows_;
  float levels_;
  float v_[block_rows][band_channels] = {};
  uint32_t codes_[band_channels][run_blocks];  // of four rows, the first in the lowest byte, which comes first in memory
};

inline void quantize_all_channels(const HwncQuantizeArguments& a, const Threads& threads) {
  const GradientRows rows(a.gradient.of);
  const PhiloxKey key(a.key, a.step, a.layer, a.purpose);
  const int64_t all_rows = a.out_height * a.out_width * a.gradient.of.samples, runs = ceil_div(all_rows, run_rows);
  const int64_t numbers = 2 * run_rows * smaller(band_channels, a.kept_count);
  parallel(threads, ceil_div(a.kept_count, band_channels) * runs, numbers, [&](int64_t from, int64_t to) {
    ChannelRun run(a, rows, key);
    for (int64_t i = from; i < to;) {
      const ChannelBand band(a, i / runs, ceil_div(all_rows, block_rows));
      for (const int64_t last = smaller(to, (i / runs + 1) * runs); i < last; ++i) run.compute(band, i % runs * run_rows);
    }
  });
}

}  // namespace
}  // namespace fqt
