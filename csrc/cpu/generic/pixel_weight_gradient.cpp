// Σ q · Xb over kept pixel rows, for each row of codes, tap and input channel: codes bit by bit, by AND and popcount.
//
// For a tap and 4096 kept rows at a time, the input's bits become blocks [block of channels][word of kept rows][channel]
// (bit_counts.h); kept rows whose tap falls into the padding have bits 0 and are not counted:
//
//     Σ bit · (±1) = 2 · popcount(bits AND x) - popcount(bits AND inside)
#include "../bit_counts.h"
#include "../kernels.h"

namespace fqt {
namespace {

constexpr int64_t bits_per_number = 64;  // in the time that `parallel` counts in
constexpr int64_t chunk_words = 128;      // 4096 kept rows: a block takes 8 kB
constexpr int64_t rows_together = 64;     // rows of codes per task
constexpr int64_t chunk = chunk_words * word_rows;

class Worker {
 public:
  Worker(const PixelWeightArguments& a, const uint32_t* planes, int64_t words)
      : a_(a),
        planes_(planes),
        words_(words),
        channels_(a.shape.channels / a.shape.groups),
        all_blocks_(ceil_div(channels_, block_columns)),
        blocks_(a.shape.groups * all_blocks_ * chunk_words * block_columns),
        inside_(chunk_words * block_columns) {}

  // Results of rows first .. last - 1 for one tap.
  void compute(int64_t tap, int64_t first, int64_t last) {
    const int64_t taps = a_.shape.kernel_height * a_.shape.kernel_width;
    const Buffer<int32_t> sums((last - first) * all_blocks_ * block_columns);
    for (int64_t begin = 0; begin < a_.kept; begin += chunk) {
      load(tap, begin);
      for (int64_t r = first; r < last; ++r) add(r, begin, sums.get() + (r - first) * all_blocks_ * block_columns);
    }
    for (int64_t r = first; r < last; ++r) {
      const int32_t* row = sums.get() + (r - first) * all_blocks_ * block_columns;
      for (int64_t c = 0; c < channels_; ++c) a_.result[(r * channels_ + c) * taps + tap] = row[c];
    }
  }

 private:
  // The input's bits at a tap of kept rows begin .. begin + chunk - 1.
  void load(int64_t tap, int64_t begin) {
    const ConvShape& s = a_.shape;
    const int64_t in_words = ceil_div(s.channels, 64), out_pixels = s.out_height * s.out_width;
    const int64_t dh = tap / s.kernel_width * s.dilation[0] - s.padding[0];
    const int64_t dw = tap % s.kernel_width * s.dilation[1] - s.padding[1];
    count_ = ceil_div(smaller(chunk, a_.kept - begin), word_rows);
    for (int64_t w = 0; w < count_; ++w) {
      const uint64_t* rows[word_rows] = {};
      uint32_t inside = 0;
      for (int64_t i = 0; i < smaller(word_rows, a_.kept - begin - w * word_rows); ++i) {
        const int64_t at = a_.index[begin + w * word_rows + i], place = at % out_pixels;
        const int64_t h = place / s.out_width * s.stride[0] + dh, v = place % s.out_width * s.stride[1] + dw;
        if (h < 0 || h >= s.height || v < 0 || v >= s.width) continue;
        rows[i] = a_.x + ((at / out_pixels * s.height + h) * s.width + v) * in_words;
        inside |= uint32_t{1} << i;
      }
      for (int64_t c = 0; c < block_columns; ++c) inside_[w * block_columns + c] = inside;
      for (int64_t g = 0; g < s.groups; ++g) transpose(rows, g, w);
    }
  }

  void transpose(const uint64_t* const (&rows)[word_rows], int64_t group, int64_t word) {
    for (int64_t c = 0; c < channels_; c += 32) {
      const int64_t count = smaller(32, channels_ - c);
      uint32_t bits[32] = {};
      for (int64_t i = 0; i < word_rows; ++i) {
        if (rows[i] != nullptr) bits[i] = static_cast<uint32_t>(extract_bits(rows[i], group * channels_ + c, count));
      }
      transpose_bits(bits);
      for (int64_t b = c / block_columns; b < smaller(all_blocks_, c / block_columns + 2); ++b) {
        uint32_t* out = blocks_.get() + ((group * all_blocks_ + b) * chunk_words + word) * block_columns;
        std::memcpy(out, bits + (b * block_columns - c), sizeof(uint32_t) * block_columns);
      }
    }
  }

  void add(int64_t row, int64_t begin, int32_t* sums) const {
    const uint32_t* planes = planes_ + row * a_.bits * words_ + begin / word_rows;
    int32_t inside[8 * block_columns] = {};
    count_bits<Common>(planes, a_.bits, words_, inside_.get(), count_, inside);
    const int64_t group = a_.output[row] / (a_.shape.outputs / a_.shape.groups);
    for (int64_t b = 0; b < all_blocks_; ++b) {
      int32_t counts[8 * block_columns] = {};
      const uint32_t* block = blocks_.get() + (group * all_blocks_ + b) * chunk_words * block_columns;
      count_bits<Common>(planes, a_.bits, words_, block, count_, counts);
      int32_t* out = sums + b * block_columns;
      for (int64_t p = 0; p < a_.bits; ++p) {
        for (int64_t c = 0; c < block_columns; ++c) {
          const int64_t at = p * block_columns + c;
          out[c] += (2 * counts[at] - inside[at]) * (1 << p);
        }
      }
    }
  }

  const PixelWeightArguments& a_;
  const uint32_t* planes_;
  int64_t words_, channels_, all_blocks_;  // channels and blocks of one group
  Buffer<uint32_t> blocks_;                // [group][block][word][channel]
  Buffer<uint32_t> inside_;                // [word][block_columns times the same]
  int64_t count_ = 0;                      // words of the chunk in hand
};

}  // namespace

namespace FQT_ISA {

void pixel_weight_gradient(const PixelWeightArguments& a, const Threads& threads) {
  const int64_t words = ceil_div(a.kept, word_rows), blocks = ceil_div(a.rows, rows_together);
  const Buffer<uint32_t> planes(a.rows * a.bits * words);
  parallel(threads, a.rows, a.kept, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      pack_planes(a.codes + r * a.kept, a.kept, a.bits, planes.get() + r * a.bits * words, words);
    }
  });
  const int64_t count = a.shape.kernel_height * a.shape.kernel_width * blocks;
  const int64_t bits = smaller(a.rows, rows_together) * a.kept * a.bits * (a.shape.channels / a.shape.groups);
  parallel(threads, count, bits / bits_per_number, [&](int64_t begin, int64_t end) {
    Worker worker(a, planes.get(), words);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i % blocks * rows_together;
      worker.compute(i / blocks, first, smaller(a.rows, first + rows_together));
    }
  });
}

}  // namespace FQT_ISA
}  // namespace fqt
