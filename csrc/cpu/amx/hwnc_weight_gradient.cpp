// corr(q, Xb) for the kept output channels, from bytes of codes and of ±1 in tiles.
//
// Rows of the product are kept channels, columns input channels, terms samples; each tap sums over output pixels. Codes and
// input become operands for 64 samples of some lines of output pixels ("a band") and for one word of input channels, and serve
// all taps and rows while they are in the second cache. Sums wait in memory between bands.
#include "../avx512/affine.h"
#include "../hwnc_constants.h"
#include "../kernels.h"
#include "expand.h"
#include "strips.h"

namespace fqt {
namespace {

constexpr int64_t band_room = 1 << 20;  // bytes of operands: half of the second cache
constexpr int64_t unit_sums = Square::rows * sums_stride;
constexpr int64_t input_bytes = 2 * pair_bytes;        // of a pixel: 64 samples by 64 channels
constexpr int64_t products_per_number = 512;  // of bytes, in the time that `parallel` counts in

struct Layout {
  Axis lines, columns;
  int64_t taps, words, row_blocks, chunks;
  int64_t band, slots;  // output lines taken together, and input lines that they need

  explicit Layout(const HwncWeightGradientArguments& a)
      : lines(a.shape, 0, Result::outputs),
        columns(a.shape, 1, Result::outputs),
        taps(a.shape.kernel_height * a.shape.kernel_width),
        words(ceil_div(a.shape.channels, group_columns)),
        row_blocks(ceil_div(a.kept, Square::rows)),
        chunks(ceil_div(a.shape.samples, step_terms)),
        band(1) {
    while (band < a.shape.out_height && band_bytes(a.shape, band + 1) <= band_room) ++band;
    slots = slots_of(a.shape, band);
  }

  int64_t units() const { return taps * row_blocks; }

 private:
  int64_t slots_of(const ConvShape& s, int64_t count) const {
    return smaller(s.height, lines.span() + (count - 1) * s.stride[0]);
  }
  int64_t band_bytes(const ConvShape& s, int64_t count) const {
    return slots_of(s, count) * s.width * input_bytes + count * s.out_width * row_blocks * pair_bytes;
  }
};

// One word of input channels; some of its sums, numbered [tap][block of rows].
class Worker {
 public:
  Worker(const HwncWeightGradientArguments& a, const Layout& l, int64_t most_units)
      : a_(a),
        l_(l),
        codes_(l.row_blocks * l.band * a.shape.out_width * pair_bytes, Contents::any),
        input_(l.slots * a.shape.width * input_bytes, Contents::any),
        line_in_slot_(l.slots, Contents::any),
        ones_(a.shape.height * a.shape.width * group_columns, Contents::any),
        steps_(l.band * a.shape.out_width, Contents::any),
        sums_(most_units * unit_sums, Contents::any) {}

  void compute(int64_t word, int64_t begin, int64_t end) {
    const ConvShape& s = a_.shape;
    word_ = word;
    std::memset(sums_.get(), 0, sizeof(int32_t) * static_cast<size_t>((end - begin) * unit_sums));
    std::memset(ones_.get(), 0, sizeof(int32_t) * static_cast<size_t>(ones_.count()));
    const bool one_tap = begin / l_.row_blocks == (end - 1) / l_.row_blocks;
    const int64_t first_block = one_tap ? begin % l_.row_blocks : 0;
    const int64_t last_block = one_tap ? (end - 1) % l_.row_blocks : l_.row_blocks - 1;
    for (int64_t chunk = 0; chunk < l_.chunks; ++chunk) {
      first_sample_ = chunk * step_terms;
      samples_ = smaller(step_terms, s.samples - first_sample_);
      for (int64_t slot = 0; slot < l_.slots; ++slot) line_in_slot_[slot] = -1;
      for (int64_t line = 0; line < s.out_height; line += l_.band) {
        const Interval band{line, smaller(s.out_height, line + l_.band)};
        for (int64_t oh = line; oh < band.end; ++oh) {
          for (const Axis::Source& source : l_.lines.of(oh)) load_input(source.at);
        }
        for (int64_t block = first_block; block <= last_block; ++block) load_codes(band, block);
        add_band(band, begin, end);
      }
    }
    for (int64_t tap = begin / l_.row_blocks; tap * l_.row_blocks < end; ++tap) store(tap, begin, end);
  }

 private:
  // A line of the input, unless it is there.
  void load_input(int64_t line) {
    const ConvShape& s = a_.shape;
    const int64_t slot = line % l_.slots;
    if (line_in_slot_[slot] == line) return;
    line_in_slot_[slot] = line;
    for (int64_t w = 0; w < s.width; ++w) {
      if (!l_.columns.used(w)) continue;
      const int64_t pixel = line * s.width + w;
      int8_t* out = input_.get() + (slot * s.width + w) * input_bytes;
      expand_columns(a_.x + (pixel * s.samples + first_sample_) * l_.words + word_, l_.words, samples_, out, out + pair_bytes,
                     ones_.get() + pixel * group_columns);
    }
  }

  uint8_t* codes_of(int64_t block) const { return codes_.get() + block * l_.band * a_.shape.out_width * pair_bytes; }

  // The codes of a band for one block of rows.
  void load_codes(const Interval& band, int64_t block) {
    const ConvShape& s = a_.shape;
    const int64_t row_bytes = round_up(s.samples, 4), first_row = block * Square::rows;
    const int64_t rows = smaller(Square::rows, a_.kept - first_row);
    const __mmask64 present = _cvtu64_mask64(_bzhi_u64(~uint64_t{0}, static_cast<uint32_t>(samples_)));
    uint8_t* out = codes_of(block);
    for (int64_t pixel = band.begin * s.out_width; pixel < band.end * s.out_width; ++pixel, out += pair_bytes) {
      const uint8_t* codes = a_.codes + (pixel * a_.kept + first_row) * row_bytes + first_sample_;
      for (int64_t r = 0; r < rows; ++r) {
        _mm512_store_si512(out + r * tile_row_bytes, _mm512_maskz_loadu_epi8(present, codes + r * row_bytes));
      }
    }
  }

  // The output pixels of a band that a tap joins with a pixel of the input.
  int64_t find_steps(const Interval& band, int64_t tap) {
    const ConvShape& s = a_.shape;
    const int64_t top = tap / s.kernel_width * s.dilation[0] - s.padding[0];
    const int64_t left = tap % s.kernel_width * s.dilation[1] - s.padding[1];
    const Interval lines = outputs_inside(top, s.stride[0], s.height, s.out_height);
    const Interval columns = outputs_inside(left, s.stride[1], s.width, s.out_width);
    int64_t count = 0;
    for (int64_t oh = larger(band.begin, lines.begin); oh < smaller(band.end, lines.end); ++oh) {
      const int64_t in_line = (oh * s.stride[0] + top) % l_.slots * s.width + left;
      for (int64_t ow = columns.begin; ow < columns.end; ++ow) {
        const int64_t out_pixel = (oh - band.begin) * s.out_width + ow;
        steps_[count++] = {out_pixel * pair_bytes, (in_line + ow * s.stride[1]) * input_bytes};
      }
    }
    return count;
  }

  void add_band(const Interval& band, int64_t begin, int64_t end) {
    int64_t tap = -1, steps = 0;
    for (int64_t unit = begin; unit < end; ++unit) {
      if (tap != unit / l_.row_blocks) {
        tap = unit / l_.row_blocks;
        steps = find_steps(band, tap);
      }
      if (steps == 0) continue;
      const int64_t block = unit % l_.row_blocks;
      int32_t* sums = sums_.get() + (unit - begin) * unit_sums;
      if (a_.kept - block * Square::rows <= Flat::rows) {
        add<Flat>({codes_of(block), input_.get(), pair_bytes}, steps, sums);
        continue;
      }
      for (int64_t c = 0; c < smaller(group_columns, a_.shape.channels - word_ * group_columns); c += Square::columns) {
        add<Square>({codes_of(block), input_.get() + c / Square::columns * pair_bytes, 0}, steps, sums + c);
      }
    }
  }

  template <typename Block>
  void add(const Operands& operands, int64_t steps, int32_t* sums) const {
    Block::load(sums);
    Block::template add<Bytes::is_unsigned>(operands, steps_.get(), steps);
    Block::store(sums);
  }

  // The units of a tap among [begin, end).
  void store(int64_t tap, int64_t begin, int64_t end) const {
    const ConvShape& s = a_.shape;
    const int64_t first_channel = word_ * group_columns;
    float constants[group_columns];
    weight_constants(s, tap, ones_.get(), group_columns, constants);
    for (int64_t block = 0; block < l_.row_blocks; ++block) {
      const int64_t unit = tap * l_.row_blocks + block;
      if (unit < begin || unit >= end) continue;
      const int64_t first_row = block * Square::rows, rows = smaller(Square::rows, a_.kept - first_row);
      for (int64_t i = 0; i < rows; ++i) {
        const int32_t* sums = sums_.get() + (unit - begin) * unit_sums + i * sums_stride;
        const Affine affine(a_.scale[first_row + i], a_.offset[first_row + i]);
        float* out = a_.result + ((first_row + i) * l_.taps + tap) * s.channels;
        for (int64_t c = 0; c < group_columns && first_channel + c < s.channels; c += tile_columns) {
          const __m512 value = affine(_mm512_load_si512(sums + c), _mm512_loadu_ps(constants + c), 0xFFFF);
          store_floats(out + first_channel + c, s.channels - first_channel - c, value);
        }
      }
    }
  }

  const HwncWeightGradientArguments& a_;
  const Layout& l_;
  Buffer<uint8_t> codes_;  // [block of rows][output pixel of the band][row][64 samples]
  Buffer<int8_t> input_;   // [slot: line modulo slots][column][four tiles]
  Buffer<int64_t> line_in_slot_;
  Buffer<int32_t> ones_;  // [pixel][channel]: how many samples are +1
  Buffer<Step> steps_;
  Buffer<int32_t> sums_;
  int64_t word_ = 0, first_sample_ = 0, samples_ = 0;
};

}  // namespace

namespace amx {

void hwnc_weight_gradient(const HwncWeightGradientArguments& a, const Threads& threads) {
  const Layout l(a);
  const int64_t work = unit_sums * l.chunks * step_terms * a.shape.out_height * a.shape.out_width;
  parallel(threads, l.words * l.units(), work / products_per_number, [&](int64_t first, int64_t last) {
    const Tiles tiles;
    Worker worker(a, l, smaller(l.units(), last - first));
    for (int64_t i = first; i < last;) {
      const int64_t word = i / l.units(), begin = i % l.units(), end = smaller(l.units(), begin + last - i);
      worker.compute(word, begin, end);
      i += end - begin;
    }
  });
}

}  // namespace amx
}  // namespace fqt
