// Between the layout of the operations outside of chains, where samples are outermost, and that of the cores, where they stand
// beside their channels:
//
//     operations   [sample][pixel][channel] in, [sample][channel][pixel] out
//     cores        [pixel][sample][channel]
//
// With a single pixel, or where a single sample comes in, both are the same, and nothing is moved.
#pragma once

#include "../limits.h"
#include "../support.h"
#include "transpose.h"

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
  parallel(threads, pixels, 4 * samples * out_words, [&](int64_t begin, int64_t end) {
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
  parallel(threads, pixels, samples * ceil_div(count, 4), [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      for (int64_t n = 0; n < samples; ++n) {
        std::memcpy(out + (p * samples + n) * count, in + (n * pixels + p) * row + first, static_cast<size_t>(count));
      }
    }
  });
}

// Results [pixel][sample][channel] as 32-bit numbers [sample][channel][pixel], with samples `out_step` apart.
template <typename T>
inline void move_results(const T* in, int64_t samples, int64_t pixels, int64_t channels, const Threads& threads, int32_t* out,
                         int64_t out_step) {
  constexpr int64_t together = 64;  // channels
  const int64_t parts = ceil_div(channels, together);
  parallel(threads, samples * parts, pixels * together, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t n = i / parts, first = i % parts * together, count = smaller(together, channels - first);
      transpose(in + n * channels + first, samples * channels, pixels, count, out + n * out_step + first * pixels);
    }
  });
}

}  // namespace
}  // namespace fqt
