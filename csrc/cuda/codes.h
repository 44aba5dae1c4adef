// Gradient codes as the products want them: rows of segments, each of which begins with a word of its own.
//
//     Words::bits    planes   [bit of a code][row][segment][word]      32 codes to a word
//     Words::bytes   bytes    [row][segment][word]                     4 codes to a word, 8 words for every 32 codes begun
//
// How many bits the codes have is found on the way, and stays on the GPU: products take that many planes.
#pragma once

#include "../cpu/support.h"
#include "geometry.h"
#include "product.h"

namespace fqt::cuda {

constexpr int most_planes = 8;

// Rows of codes, side by side in memory, and in each row segments of equal length.
struct CodeRows {
  GlobalArray<const uint8_t> codes;
  int64_t rows, segments, length;

  CodeRows(const uint8_t* data, int64_t rows_, int64_t segments_, int64_t length_)
      : codes(data, rows_ * segments_ * length_), rows(rows_), segments(segments_), length(length_) {}

  // Words of a segment, each for 32 codes.
  FQT_HOST_DEVICE int64_t words() const { return ceil_div(length, half_bits); }
  // A code of segment `at` (of all rows), 0 past the end.
  FQT_DEVICE uint32_t load(const Thread& t, int64_t at, int64_t i) const {
    return i < length ? codes.load(t, at * length + i) : 0;
  }
};

struct ArrangePlanes {
  static constexpr int threads = 128, blocks = 4;
  using Shared = NoShared;
  CodeRows from;
  GlobalArray<uint32_t> planes, used;  // `used`: all bits of all codes

  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    const int64_t i = t.block_x() * threads + t.index(), words = from.words(), count = from.rows * from.segments * words;
    if (i >= count) return;
    uint32_t plane[most_planes] = {}, all = 0;
    for (int j = 0; j < half_bits; ++j) {
      const uint32_t code = from.load(t, i / words, i % words * half_bits + j);
      all |= code;
FQT_UNROLL
      for (int p = 0; p < most_planes; ++p) plane[p] |= (code >> p & 1) << j;
    }
FQT_UNROLL
    for (int p = 0; p < most_planes; ++p) planes.store(t, p * count + i, plane[p]);
    if (all != 0) used.merge(t, 0, all);
  }
};

struct ArrangeBytes {
  static constexpr int threads = 128, blocks = 4;
  using Shared = NoShared;
  CodeRows from;
  GlobalArray<uint32_t> bytes;

  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    const int64_t i = t.block_x() * threads + t.index(), words = 8 * from.words();
    if (i >= from.rows * from.segments * words) return;
    uint32_t word = 0;
    for (int j = 0; j < 4; ++j) word |= from.load(t, i / words, i % words * 4 + j) << (8 * j);
    bytes.store(t, i, word);
  }
};

struct Fill {
  static constexpr int threads = 256, blocks = 4;
  using Shared = NoShared;
  GlobalArray<uint32_t> words;
  int64_t count;

  FQT_DEVICE void operator()(const Thread& t, Shared&) const {
    const int64_t i = t.block_x() * threads + t.index();
    if (i < count) words.store(t, i, 0);
  }
};

inline void fill_with_zeros(uint32_t* words, int64_t count, const Queue& queue) {
  launch(Fill{{words, count}, count}, {ceil_div(count, Fill::threads)}, queue);
}

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

template <Words words>
Codes arrange_codes(const CodeRows& rows, const Queue& queue) {
  const int64_t count = rows.rows * rows.segments * rows.words();
  if constexpr (words == Words::bits) {
    auto *planes = queue.scratch<uint32_t>(most_planes * count), *used = queue.scratch<uint32_t>(1);
    fill_with_zeros(used, 1, queue);
    launch(ArrangePlanes{rows, {planes, most_planes * count}, {used, 1}}, {ceil_div(count, ArrangePlanes::threads)}, queue);
    return {{planes, most_planes * count}, {used, 1}, count, rows.words()};
  } else {
    auto* bytes = queue.scratch<uint32_t>(8 * count);
    launch(ArrangeBytes{rows, {bytes, 8 * count}}, {ceil_div(8 * count, ArrangeBytes::threads)}, queue);
    return {{bytes, 8 * count}, {}, 8 * count, 8 * rows.words()};
  }
}

// What holds codes on a path.
constexpr Words code_words(Path path) { return path == Path::bytes ? Words::bytes : Words::bits; }

}  // namespace fqt::cuda
