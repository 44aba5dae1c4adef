// One bit times one bit, as bytes of ±1 in tiles.
#include "../avx512/sink.h"
#include "../kernels.h"
#include "expand.h"
#include "lines.h"

namespace fqt {
namespace {

// For fewer rows than are worthwhile, 2048 by default, bits are counted: it takes longer to make bytes of all weights.
constexpr int64_t numbers_per_row = 64;

// Columns of the product are outputs, terms are channels.
void expand_weights(const uint64_t* weight, const ConvShape& s, const Threads& threads, RightTiles& tiles) {
  const int64_t size = tiles.taps() * tiles.chunks();
  const int64_t count = ceil_div(s.outputs, tile_columns);
  const int64_t signs = tiles.chunks() * step_terms * tile_columns;
  parallel(threads, count * tiles.taps(), signs / signs_per_number, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t tile = i / tiles.taps(), tap = i % tiles.taps(), output = tile * tile_columns;
      const uint64_t* words = weight + output * size + tap * tiles.chunks();
      int8_t* out = tiles.pair(tile / 2) + tile % 2 * tile_bytes;
      for (int64_t chunk = 0; chunk < tiles.chunks(); ++chunk) {
        const int64_t terms = s.channels - chunk * step_terms;
        expand_terms(words + chunk, size, s.outputs - output, terms, out + tiles.offset(tap, chunk));
      }
    }
  });
}

class Kernel {
 public:
  static constexpr Bytes bytes = Bytes::is_signed;

  explicit Kernel(const HwncConvArguments& a)
      : a_(a),
        words_(ceil_div(a.shape.channels, 64)),
        most_(a.shape.kernel_height * a.shape.kernel_width * a.shape.channels),
        moments_(round_up(a.shape.outputs, outputs)) {}

  void expand(int64_t line, int64_t column, int64_t first, int64_t rows, int64_t chunk_bytes, uint8_t* out) const {
    const uint64_t* in = a_.x + ((line * a_.shape.width + column) * a_.shape.samples + first) * words_;
    for (int64_t word = 0; word < words_; ++word, out += chunk_bytes) {
      for (int64_t r = 0; r < rows; ++r) expand_row(in[r * words_ + word], out + r * step_terms);
    }
  }

  void begin(const RowsOfStrip& rows) {
    const ConvShape& s = a_.shape;
    count_ = rows.count;
    rows.for_each([&](int64_t i, int64_t column, int64_t sample) {
      y_rows_[i] = (rows.line * s.out_width + column) * s.samples + sample;
    });
  }

  void store(int64_t first, int64_t columns, const int32_t* sums) const {
    for (int64_t d = 0; d < columns; d += outputs, sums += outputs) {
      Sink sink(a_, most_, (first + d) / outputs, moments_);
      for (int64_t i = 0; i < count_; i += 2) {
        const __m512i even = _mm512_load_si512(sums + i * sums_stride), odd = _mm512_load_si512(sums + (i + 1) * sums_stride);
        const __m512i y = _mm512_mask_blend_epi16(0xAAAAAAAA, even, _mm512_slli_epi32(odd, 16));
        sink.take(y, y_rows_ + i, smaller(2, count_ - i));
      }
      sink.widen();
    }
  }

  void merge() const { moments_.merge(a_.shape.outputs, a_.sum, a_.square); }

 private:
  const HwncConvArguments& a_;
  int64_t words_, most_;
  Moments moments_;
  int64_t count_ = 0;
  int64_t y_rows_[Square::rows];
};

}  // namespace

namespace amx {

void hwnc_binary_conv2d(const HwncConvArguments& a, const Threads& threads) {
  const ConvShape& s = a.shape;
  if (s.out_height * s.out_width * s.samples <= threads.worthwhile / numbers_per_row) {
    avx512::hwnc_binary_conv2d(a, threads);
    return;
  }
  RightTiles weights(s.outputs, s.kernel_height * s.kernel_width, s.channels);
  expand_weights(a.weight, s, threads, weights);
  clear(a.sum, s.outputs);
  clear(a.square, s.outputs);
  const Walk walk(s, Result::outputs, s.samples);
  compute_lines(
      walk, weights, threads, [&] { return Kernel(a); }, [](const Kernel& kernel) { kernel.merge(); });
}

}  // namespace amx
}  // namespace fqt
