// Gradient codes as the products want them: rows of segments, each of which begins with a word of its own.
//
//     Words::bits    planes   [bit of a code][row][segment][word]      32 codes to a word
//     Words::bytes   bytes    [row][segment][word]                     4 codes to a word, 8 words for every 32 codes begun
//
// How many bits the codes have is found on the way, and stays on the GPU: products take that many planes.
#pragma once

#include "../cpu/support.h"
#include "byte_rows.h"
#include "geometry.h"
#include "product.h"

namespace fqt::cuda {

constexpr int most_planes = 8;

// The lowest bits of four bytes, side by side: the product brings bit 8 * i to bit 24 + i, and no two of its terms meet.
FQT_HOST_DEVICE uint32_t low_bits_of_bytes(uint32_t bytes) { return (bytes & 0x01010101U) * 0x01020408U >> 24; }

// Rows of codes, side by side in memory, and in each row segments of equal length. Only the lowest bits of a code count.
struct CodeRows {
  ByteRows<uint8_t> codes;
  int64_t rows, segments, length;
  uint32_t mask;

  CodeRows(const uint8_t* data, int64_t rows_, int64_t segments_, int64_t length_, int64_t bits = most_planes)
      : codes(data, rows_ * segments_, length_), rows(rows_), segments(segments_), length(length_),
        mask(((1U << bits) - 1) * 0x01010101U) {}

  // Words of a segment, each for 32 codes.
  FQT_HOST_DEVICE int64_t words() const { return ceil_div(length, half_bits); }
  // Codes i to i + 3 of segment `at` (of all rows), a byte each, 0 past the end.
  FQT_DEVICE uint32_t load4(const Thread& t, int64_t at, int64_t i) const {
    return i < length ? codes.load(t, at, i / 4) & mask : 0;
  }
};

// Rows of codes as chains have them, (pixels, rows, samples): a row is one segment, pixel by pixel. There are a multiple of 4 samples.
struct CodesOfPixels {
  static constexpr int64_t segments = 1;
  ByteRows<uint8_t> codes;  // of (pixel, row)
  int64_t rows, samples, length;

  CodesOfPixels(const uint8_t* data, int64_t pixels, int64_t rows_, int64_t samples_)
      : codes(data, pixels * rows_, samples_), rows(rows_), samples(samples_), length(pixels * samples_) {}

  FQT_HOST_DEVICE int64_t words() const { return ceil_div(length, half_bits); }
  FQT_DEVICE uint32_t load4(const Thread& t, int64_t row, int64_t i) const {
    return i < length ? codes.load(t, i / samples * rows + row, i % samples / 4) : 0;
  }
};

template <typename From>
struct ArrangePlanes {
  static constexpr int threads = 128, blocks = 4;
  using Shared = NoShared;
  From from;
  GlobalArray<uint32_t> planes, used;  // `used`: all bits of all codes

  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    const int64_t i = t.block_x() * threads + t.index(), words = from.words(), count = from.rows * from.segments * words;
    if (i >= count) return;
    uint32_t plane[most_planes] = {}, all = 0;
    for (int j = 0; j < half_bits; j += 4) {
      const uint32_t codes = from.load4(t, i / words, i % words * half_bits + j);
      all |= codes;
FQT_UNROLL
      for (int p = 0; p < most_planes; ++p) plane[p] |= low_bits_of_bytes(codes >> p) << j;
    }
    all |= all >> 16;
    all = (all | all >> 8) & 255;
FQT_UNROLL
    for (int p = 0; p < most_planes; ++p) planes.store(t, p * count + i, plane[p]);
    if (all != 0) used.merge(t, 0, all);
  }
};

template <typename From>
struct ArrangeBytes {
  static constexpr int threads = 128, blocks = 4;
  using Shared = NoShared;
  From from;
  GlobalArray<uint32_t> bytes;

  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    const int64_t i = t.block_x() * threads + t.index(), words = 8 * from.words();
    if (i >= from.rows * from.segments * words) return;
    bytes.store(t, i, from.load4(t, i / words, i % words * 4));
  }
};

// Arranged codes.
struct Codes {
  GlobalArray<const uint32_t> words, used;
  int64_t per_plane, per_segment;  // words

  // Of planes that have a bit anywhere, at least 1.
  FQT_DEVICE int planes(const Thread& t) const {
    if (!used) return 1;
    const uint32_t all = used.load(t, 0);
    int count = 1;
    while (count < most_planes && all >> count != 0) ++count;
    return count;
  }
};

template <Words words, typename From>
Codes arrange_codes(const From& rows, const Queue& queue) {
  const int64_t count = rows.rows * rows.segments * rows.words();
  if constexpr (words == Words::bits) {
    auto *planes = queue.scratch<uint32_t>(most_planes * count), *used = queue.scratch<uint32_t>(1);
    fill_with_zeros(used, 1, queue);
    const ArrangePlanes<From> kernel{rows, {planes, most_planes * count}, {used, 1}};
    launch(kernel, {ceil_div(count, kernel.threads)}, queue);
    return {{planes, most_planes * count}, {used, 1}, count, rows.words()};
  } else {
    auto* bytes = queue.scratch<uint32_t>(8 * count);
    const ArrangeBytes<From> kernel{rows, {bytes, 8 * count}};
    launch(kernel, {ceil_div(8 * count, kernel.threads)}, queue);
    return {{bytes, 8 * count}, {}, 8 * count, 8 * rows.words()};
  }
}

// What holds codes on a path.
constexpr Words code_words(Path path) { return path == Path::bytes ? Words::bytes : Words::bits; }

}  // namespace fqt::cuda
