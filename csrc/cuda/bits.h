// Rows of floats become rows of bits: a warp takes 32 channels of a row, half a word.
#pragma once

#include "../cpu/support.h"
#include "device.h"

namespace fqt::cuda {

constexpr int word_bits = 64;

FQT_HOST_DEVICE bool is_positive(float x) { return x >= 0.0F; }
FQT_HOST_DEVICE bool is_inside(float x) { return x < 1.0F && x > -1.0F; }

// Words of a row are a multiple of two halves; those of channels past the last are zero.
FQT_HOST_DEVICE int64_t halves_for(int64_t channels) { return 2 * ceil_div(channels, word_bits); }

// source.value(t, row, channel), and the row of the result that it goes to, source.place(row); `window` may not be there.
template <typename Source>
struct PackRows {
  static constexpr int threads = 256, blocks = 4;
  using Shared = NoShared;
  Source source;
  GlobalArray<uint32_t> sign, window;
  int64_t rows, channels;

  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    const int64_t halves = halves_for(channels), half = t.block_x() * (threads / warp_size) + t.warp();
    if (half >= rows * halves) return;
    const int64_t row = half / halves, c = half % halves * warp_size + t.lane();
    const bool there = c < channels;
    const float v = there ? source.value(t, row, c) : 0.0F;
    const uint32_t signs = t.ballot(there && is_positive(v)), inside = t.ballot(there && is_inside(v));
    if (t.lane() != 0) return;
    const int64_t at = source.place(row) * halves + half % halves;
    sign.store(t, at, signs);
    if (window) window.store(t, at, inside);
  }
};

// `room`: how many rows the results have.
template <typename Source>
void pack_rows(const Source& source, uint64_t* sign, uint64_t* window, int64_t rows, int64_t room, int64_t channels,
               const Queue& queue) {
  const int64_t each = halves_for(channels);
  const auto halves = [&](uint64_t* words) { return GlobalArray<uint32_t>(reinterpret_cast<uint32_t*>(words), room * each); };
  const PackRows<Source> kernel{source, halves(sign), halves(window), rows, channels};
  launch(kernel, {ceil_div(rows * each, kernel.threads / warp_size)}, queue);
}

}  // namespace fqt::cuda
