// corr(q, Xb) for the kept output channels: for each tap, kept channel and input channel, a sum over pixels.
//
// Vector lanes are input channels c: the input's bits become byte masks [pixel][group][c], c padded to whole blocks. A code is
// spread over a vector beforehand ("splat"), and then serves all taps and input channels. Four kept channels and two vectors
// of input channels are summed together:
//
//     for each tap, pixel inside:   sums[d][c] += splat[d][output pixel] AND mask[input pixel][c]      4 x 32 products
#include "../kernels.h"
#include "bytes.h"

namespace fqt {
namespace {

constexpr int64_t rows = 4;                     // kept channels summed together
constexpr int64_t columns = 2 * byte_lanes;     // input channels summed together

struct Layout {
  int64_t taps, channels, padded, pixels, out_pixels;  // channels of one group

  explicit Layout(const ConvShape& s)
      : taps(s.kernel_height * s.kernel_width),
        channels(s.channels / s.groups),
        padded(round_up(channels, columns)),
        pixels(s.height * s.width),
        out_pixels(s.out_height * s.out_width) {}
};

// For each tap, the pairs (output pixel, input pixel) that it joins, as offsets into splats and masks.
struct Pairs {
  struct Pair {
    int64_t output, input;
  };
  Buffer<Pair> pairs;
  Buffer<int64_t> count;
  int64_t most;

  Pairs(const ConvShape& s, const Layout& l) : pairs(l.taps * l.out_pixels), count(l.taps), most(l.out_pixels) {
    for (int64_t kh = 0; kh < s.kernel_height; ++kh) {
      for (int64_t kw = 0; kw < s.kernel_width; ++kw) {
        const int64_t tap = kh * s.kernel_width + kw;
        const int64_t dh = kh * s.dilation[0] - s.padding[0], dw = kw * s.dilation[1] - s.padding[1];
        const Interval oh_range = outputs_inside(dh, s.stride[0], s.height, s.out_height);
        const Interval ow_range = outputs_inside(dw, s.stride[1], s.width, s.out_width);
        for (int64_t oh = oh_range.begin; oh < oh_range.end; ++oh) {
          for (int64_t ow = ow_range.begin; ow < ow_range.end; ++ow) {
            const int64_t pixel = (oh * s.stride[0] + dh) * s.width + ow * s.stride[1] + dw;
            pairs[tap * most + count[tap]++] = {oh * s.out_width + ow, pixel * s.groups * l.padded};
          }
        }
      }
    }
  }

  const Pair* of(int64_t tap) const { return pairs.get() + tap * most; }
};

void expand_input(const uint64_t* x, const ConvShape& s, const Layout& l, uint8_t* masks) {
  const int64_t words = ceil_div(s.channels, 64);
  uint8_t block[64];
  for (int64_t p = 0; p < l.pixels; ++p) {
    for (int64_t g = 0; g < s.groups; ++g) {
      uint8_t* out = masks + (p * s.groups + g) * l.padded;
      for (int64_t c = 0; c < l.channels; c += 64) {
        const int64_t bits = smaller(64, l.channels - c);
        expand_bits(extract_bits(x + p * words, g * l.channels + c, bits), block);
        std::memcpy(out + c, block, static_cast<size_t>(bits));
      }
    }
  }
}

// Up to `rows` consecutive kept channels of one group of inputs.
struct Block {
  int64_t first, count, group;
};

// Codes of one block and sample, spread over vectors: [plane][pixel][row][16].
void spread_codes(const WeightGradientArguments& a, const Layout& l, const Planes& planes, const Block& b, int64_t n,
                  uint8_t* splats) {
  for (int64_t r = 0; r < b.count; ++r) {
    const uint8_t* codes = a.codes + ((b.first + r) * a.shape.samples + n) * l.out_pixels;
    for (int64_t plane = 0; plane < planes.count; ++plane) {
      for (int64_t p = 0; p < l.out_pixels; ++p) {
        std::memset(splats + ((plane * l.out_pixels + p) * rows + r) * byte_lanes, planes.part(codes[p], plane), byte_lanes);
      }
    }
  }
}

inline void widen(Bytes v, uint16_t* sums) {
  Shorts even, odd;
  std::memcpy(&even, sums, sizeof(even));
  std::memcpy(&odd, sums + 8, sizeof(odd));
  even += even_bytes(v);
  odd += odd_bytes(v);
  std::memcpy(sums, &even, sizeof(even));
  std::memcpy(sums + 8, &odd, sizeof(odd));
}

// sums[r][v][even or odd][8] += Σ splat AND mask over some pairs of a tap; they must fit 16 bits.
void masked_sums(const Pairs::Pair* pairs, int64_t count, const uint8_t* splats, const uint8_t* masks, int64_t in_byte,
                 uint16_t* sums) {
  for (int64_t first = 0; first < count; first += in_byte) {
    const int64_t end = smaller(count, first + in_byte);
    Bytes a0{}, a1{}, b0{}, b1{}, c0{}, c1{}, d0{}, d1{};
    for (int64_t i = first; i < end; ++i) {
      const uint8_t* q = splats + pairs[i].output * rows * byte_lanes;
      const uint8_t* m = masks + pairs[i].input;
      const Bytes m0 = load_bytes(m), m1 = load_bytes(m + byte_lanes);
      const Bytes qa = load_bytes(q), qb = load_bytes(q + byte_lanes);
      a0 += qa & m0;
      a1 += qa & m1;
      b0 += qb & m0;
      b1 += qb & m1;
      const Bytes qc = load_bytes(q + 2 * byte_lanes), qd = load_bytes(q + 3 * byte_lanes);
      c0 += qc & m0;
      c1 += qc & m1;
      d0 += qd & m0;
      d1 += qd & m1;
    }
    widen(a0, sums);
    widen(a1, sums + 16);
    widen(b0, sums + 32);
    widen(b1, sums + 48);
    widen(c0, sums + 64);
    widen(c1, sums + 80);
    widen(d0, sums + 96);
    widen(d1, sums + 112);
  }
}

class Worker {
 public:
  Worker(const WeightGradientArguments& a, const Layout& l, const Planes& planes, const Pairs& pairs)
      : a_(a),
        l_(l),
        planes_(planes),
        pairs_(pairs),
        masks_(l.pixels * a.shape.groups * l.padded),
        splats_(planes.count * l.out_pixels * rows * byte_lanes) {}

  void load(int64_t n) {
    expand_input(a_.x + n * l_.pixels * ceil_div(a_.shape.channels, 64), a_.shape, l_, masks_.get());
  }

  // Adds the sample's share to the results of a block.
  void add(const Block& b, int64_t n) {
    spread_codes(a_, l_, planes_, b, n, splats_.get());
    for (int64_t tap = 0; tap < l_.taps; ++tap) {
      int64_t totals[rows] = {};
      for (int64_t i = 0; i < pairs_.count[tap]; ++i) {
        for (int64_t r = 0; r < b.count; ++r) {
          totals[r] += a_.codes[((b.first + r) * a_.shape.samples + n) * l_.out_pixels + pairs_.of(tap)[i].output];
        }
      }
      for (int64_t c = 0; c < l_.channels; c += columns) {
        for (int64_t plane = 0; plane < planes_.count; ++plane) add_columns(b, tap, c, plane, plane == 0 ? totals : nullptr);
      }
    }
  }

 private:
  void add_columns(const Block& b, int64_t tap, int64_t c, int64_t plane, const int64_t* totals) {
    const uint8_t* masks = masks_.get() + b.group * l_.padded + c;
    const uint8_t* splats = splats_.get() + plane * l_.out_pixels * rows * byte_lanes;
    const int64_t weight = 2 << (4 * plane), channels = smaller(columns, l_.channels - c);
    for (int64_t first = 0; first == 0 || first < pairs_.count[tap]; first += planes_.in_short) {
      uint16_t sums[rows * columns] = {};
      const int64_t count = smaller(planes_.in_short, pairs_.count[tap] - first);
      masked_sums(pairs_.of(tap) + first, count, splats, masks, planes_.in_byte, sums);
      for (int64_t r = 0; r < b.count; ++r) {
        int32_t* out = a_.result + ((b.first + r) * l_.channels + c) * l_.taps + tap;
        for (int64_t i = 0; i < channels; ++i) {
          // Byte i of vector v = i / 16 went to the even or odd half.
          const int64_t at = r * columns + i / byte_lanes * byte_lanes + i % 2 * 8 + i % byte_lanes / 2;
          const int64_t total = totals != nullptr && first == 0 ? totals[r] : 0;
          out[i * l_.taps] += static_cast<int32_t>(weight * sums[at] - total);
        }
      }
    }
  }

  const WeightGradientArguments& a_;
  const Layout& l_;
  const Planes& planes_;
  const Pairs& pairs_;
  Buffer<uint8_t> masks_;
  Buffer<uint8_t> splats_;
};

}  // namespace

namespace portable {

void conv2d_weight_gradient(const WeightGradientArguments& a, const Threads& threads) {
  const ConvShape& s = a.shape;
  const Layout l(s);
  const Planes planes(a.codes, a.kept * s.samples * l.out_pixels);
  const Pairs pairs(s, l);
  const Buffer<Block> blocks(a.kept);
  int64_t count = 0;
  for (int64_t i = 0; i < a.kept; ++i) {
    const int64_t group = a.index[i] / (s.outputs / s.groups);
    if (count > 0 && blocks[count - 1].count < rows && blocks[count - 1].group == group) {
      ++blocks[count - 1].count;
    } else {
      blocks[count++] = {i, 1, group};
    }
  }
  std::memset(a.result, 0, sizeof(int32_t) * static_cast<size_t>(a.kept * l.channels * l.taps));
  parallel(threads, count, 1, [&](int64_t begin, int64_t end) {
    Worker worker(a, l, planes, pairs);
    for (int64_t n = 0; n < s.samples; ++n) {
      worker.load(n);
      for (int64_t b = begin; b < end; ++b) worker.add(blocks[b], n);
    }
  });
}

}  // namespace portable
}  // namespace fqt
