// The operands of hwnc_forward.cpp, laid out in the order in which its innermost loop reads them: words of taps outermost, rows
// or outputs side by side. So it makes no difference which rows they are, samples of a pixel or pixels of a sample.
#pragma once

#include "../hwnc_product.h"
#include "../intrinsics.h"
#include "../kernels.h"
#include "sink.h"

namespace fqt {
namespace {

constexpr int64_t rows = 4;                // of a block
constexpr int64_t panel_bytes = 20 << 10;  // of gathered input: it stays in the first cache
constexpr int64_t most_rows = 24 * rows;

struct Layout {
  int64_t words, taps, blocks;  // words of a tap; blocks of outputs
  bool paired;

  explicit Layout(const ConvShape& s)
      : words(ceil_div(s.channels, 64)),
        taps(s.kernel_height * s.kernel_width),
        blocks(ceil_div(s.outputs, outputs)),
        paired(words % 2 == 0) {}

  int64_t panel_rows() const {
    return larger(rows, smaller(most_rows, panel_bytes / (8 * larger(1, taps * words)) / rows * rows));
  }
};

// One word, or a pair of words, of four rows side by side.
inline void copy_word(const uint64_t* const* in, int64_t word, uint64_t* out) {
  for (int64_t r = 0; r < rows; ++r) out[r] = in[r][word];
}
inline void copy_pair(const uint64_t* const* in, int64_t word, uint64_t* out, uint64_t* out_both) {
  const auto two_rows = [=](int64_t low, int64_t high) {
    const __m128i* const at_low = reinterpret_cast<const __m128i*>(in[low] + word);
    const __m128i* const at_high = reinterpret_cast<const __m128i*>(in[high] + word);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(at_low)), _mm_loadu_si128(at_high), 1);
  };
  const __m256i even = two_rows(0, 2), odd = two_rows(1, 3);
  const __m256i first = _mm256_unpacklo_epi64(even, odd), second = _mm256_unpackhi_epi64(even, odd);
  _mm256_store_si256(reinterpret_cast<__m256i*>(out), first);
  _mm256_store_si256(reinterpret_cast<__m256i*>(out_both), _mm256_xor_si256(first, second));
}

// All words of four rows of length `count`, `step` apart in `out`.
inline void copy_words(const uint64_t* const* in, int64_t count, bool paired, uint64_t* out, int64_t step) {
  if (paired) {
    for (int64_t i = 0; i < count; i += 2) copy_pair(in, i, out + i * step, out + (i + 1) * step);
  } else {
    for (int64_t i = 0; i < count; ++i) copy_word(in, i, out + i * step);
  }
}

// [block][tap][word][vector][lane]; output 2 * lane + vector. The last output stands in for those past it.
void pack_weights(const uint64_t* weight, const ConvShape& s, const Layout& l, const Threads& threads, uint64_t* packed) {
  const int64_t size = l.taps * l.words;
  parallel(threads, l.blocks, 2 * size * outputs, [&](int64_t begin, int64_t end) {
    const uint64_t* in[rows];
    for (int64_t i = begin * outputs; i < end * outputs; i += rows) {
      const int64_t block = i / outputs, vector = i % outputs / lanes, lane = i % lanes;
      for (int64_t r = 0; r < rows; ++r) {
        in[r] = weight + smaller(block * outputs + 2 * (lane + r) + vector, s.outputs - 1) * size;
      }
      copy_words(in, size, l.paired, packed + block * size * outputs + vector * lanes + lane, outputs);
    }
  });
}

// Gathers the input of a panel to [block of rows][tap inside][word][row], and notes where its rows of y are. The last row
// stands in for those past it.
void gather(const HwncConvArguments& a, const Layout& l, const Panel& panel, uint64_t* x, int64_t* y_rows) {
  const ConvShape& s = a.shape;
  const int64_t x_step = panel.taps() * l.words * rows, padded = round_up(panel.count, rows);
  int64_t x_rows[most_rows];
  for_each_row(s, panel, [&](int64_t i, int64_t x_row, int64_t y_row) {
    x_rows[i] = x_row * l.words;
    y_rows[i] = y_row;
  });
  for (int64_t i = panel.count; i < padded; ++i) x_rows[i] = x_rows[i - 1];
  for (int64_t tap = 0; tap < panel.taps(); ++tap, x += l.words * rows) {
    const int64_t h = tap / panel.columns.taps() * s.dilation[0], w = tap % panel.columns.taps() * s.dilation[1];
    const uint64_t* pixel = a.x + (h * s.width + w) * s.samples * l.words;
    uint64_t* out = x;
    for (int64_t i = 0; i < padded; i += rows, out += x_step) {
      const bool whole = i + rows <= panel.count;
      if (l.words == 1 && whole && x_rows[i + rows - 1] - x_rows[i] == rows - 1) {  // rows rise, so these are adjacent
        std::memcpy(out, pixel + x_rows[i], rows * sizeof(*out));
        continue;
      }
      const uint64_t* in[rows];
      for (int64_t r = 0; r < rows; ++r) in[r] = pixel + x_rows[i + r];
      copy_words(in, l.words, l.paired, out, rows);
    }
  }
}

}  // namespace
}  // namespace fqt
