// convT(q, Wb) for the kept samples, from bytes of codes and of ±1 in tiles.
#include "../avx512/affine.h"
#include "../hwnc_constants.h"
#include "../kernels.h"
#include "expand.h"
#include "lines.h"

namespace fqt {
namespace {

// Columns of the product are input channels, terms are output channels. ones [tap][channel] counts weights that are +1.
void expand_weights(const uint64_t* weight, const ConvShape& s, const Threads& threads, RightTiles& tiles, int32_t* ones) {
  const int64_t taps = tiles.taps(), words = tiles.groups();
  const int64_t signs = tiles.chunks() * step_terms * group_columns;
  parallel(threads, taps * words, signs / signs_per_number, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t tap = i / words, word = i % words;
      for (int64_t chunk = 0; chunk < tiles.chunks(); ++chunk) {
        const int64_t first = chunk * step_terms, offset = tiles.offset(tap, chunk);
        expand_columns(weight + (first * taps + tap) * words + word, taps * words, smaller(step_terms, s.outputs - first),
                       tiles.pair(2 * word) + offset, tiles.pair(2 * word + 1) + offset, ones + i * group_columns);
      }
    }
  });
}

// convT(1, Wb), [kind of line][kind of column][channel].
struct Constants {
  AxisTaps lines, columns;
  int64_t channels;
  Buffer<float> data;

  Constants(const ConvShape& s, const int32_t* ones)
      : lines(s, 0),
        columns(s, 1),
        channels(round_up(s.channels, group_columns)),
        data(lines.kinds() * columns.kinds() * channels) {
    input_constants(s, lines, columns, ones, channels, data.get());
  }
  const float* of(int64_t line, int64_t column) const {
    return data.get() + (lines.kind(line) * columns.kinds() + columns.kind(column)) * channels;
  }
};

class Kernel {
 public:
  static constexpr Bytes bytes = Bytes::is_unsigned;

  Kernel(const HwncInputGradientArguments& a, const Constants& constants)
      : a_(a), constants_(constants), words_(ceil_div(a.shape.channels, 64)) {}

  void expand(int64_t line, int64_t column, int64_t first, int64_t rows, int64_t chunk_bytes, uint8_t* out) const {
    const ConvShape& s = a_.shape;
    const uint8_t* codes = a_.codes + ((line * s.out_width + column) * a_.kept + first) * s.outputs;
    for (int64_t d = 0; d < s.outputs; d += step_terms, out += chunk_bytes) {
      const __mmask64 present = _cvtu64_mask64(_bzhi_u64(~uint64_t{0}, static_cast<uint32_t>(smaller(64, s.outputs - d))));
      for (int64_t r = 0; r < rows; ++r) {
        _mm512_store_si512(out + r * step_terms, _mm512_maskz_loadu_epi8(present, codes + r * s.outputs + d));
      }
    }
  }

  void begin(const RowsOfStrip& rows) {
    const ConvShape& s = a_.shape;
    count_ = rows.count;
    constants_of_rows_ = constants_.of(rows.line, rows.strip.first);  // columns of a strip are of one kind
    rows.for_each([&](int64_t i, int64_t column, int64_t r) {
      const int64_t pixel = rows.line * s.width + column;
      rows_[i] = {a_.window + (pixel * s.samples + a_.index[r]) * words_, a_.result + (pixel * a_.kept + r) * s.channels,
                  a_.scale[r], a_.offset[r]};
    });
  }

  void store(int64_t first, int64_t columns, const int32_t* sums) const {
    for (int64_t c = first; c < first + columns; c += tile_columns, sums += tile_columns) {
      const __m512 constant = _mm512_load_ps(constants_of_rows_ + c);
      for (int64_t i = 0; i < count_; ++i) {
        const Row& row = rows_[i];
        const auto inside = static_cast<__mmask16>(row.window[c / 64] >> (c % 64));
        const __m512i product = _mm512_load_si512(sums + i * sums_stride);
        store_floats(row.result + c, a_.shape.channels - c, Affine(row.scale, row.offset)(product, constant, inside));
      }
    }
  }

 private:
  struct Row {
    const uint64_t* window;
    float* result;
    float scale, offset;
  };

  const HwncInputGradientArguments& a_;
  const Constants& constants_;
  int64_t words_;
  const float* constants_of_rows_ = nullptr;
  int64_t count_ = 0;
  Row rows_[Square::rows];
};

}  // namespace

namespace amx {

void hwnc_input_gradient(const HwncInputGradientArguments& a, const Threads& threads) {
  const ConvShape& s = a.shape;
  RightTiles weights(s.channels, s.kernel_height * s.kernel_width, s.outputs);
  const Buffer<int32_t> ones(weights.taps() * weights.groups() * group_columns);
  expand_weights(a.weight, s, threads, weights, ones.get());
  const Constants constants(s, ones.get());
  const Walk walk(s, Result::inputs, a.kept);
  compute_lines(
      walk, weights, threads, [&] { return Kernel(a, constants); }, [](const Kernel&) {});
}

}  // namespace amx
}  // namespace fqt
