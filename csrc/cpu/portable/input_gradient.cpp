// convT(q, Wb) for the kept samples: for each input pixel and channel, a sum over (tap, output channel).
//
// Vector lanes are output channels d, which lie side by side in the codes. Weights become byte masks, laid out as
// [group][channel][tap][d], d padded to whole vectors with zeros; codes are repacked as [pixel][group][d], padded alike.
// Four input channels share each load of codes.
#include "../kernels.h"
#include "../taps.h"
#include "bytes.h"

namespace fqt {
namespace {

constexpr int64_t products_per_number = 16;  // in the time that `parallel` counts in
constexpr int64_t shared = 4;            // input channels per load of codes
constexpr int64_t pixels_together = 32;  // input pixels that are worth reading all masks

struct Layout {
  int64_t taps, channels, outputs, padded;  // channels and outputs of one group

  explicit Layout(const ConvShape& s)
      : taps(s.kernel_height * s.kernel_width),
        channels(s.channels / s.groups),
        outputs(s.outputs / s.groups),
        padded(round_up(outputs, byte_lanes)) {}
};

void expand_weights(const InputGradientArguments& a, const Layout& l, uint8_t* masks) {
  const int64_t words = ceil_div(l.channels, 64), rows = round_up(l.channels, shared);
  for (int64_t d = 0; d < a.shape.outputs; ++d) {
    const int64_t g = d / l.outputs;
    for (int64_t t = 0; t < l.taps; ++t) {
      const uint64_t* bits = a.weight + (d * l.taps + t) * words;
      uint8_t* out = masks + (g * rows * l.taps + t) * l.padded + d % l.outputs;
      for (int64_t c = 0; c < l.channels; ++c) {
        out[c * l.taps * l.padded] = static_cast<uint8_t>(-static_cast<int>(bits[c / 64] >> (c % 64) & 1));
      }
    }
  }
}

// One tap that reaches an input pixel: its number and the codes of the output pixel it comes from.
struct Source {
  int64_t tap;
  const uint8_t* codes;
  int32_t total;
};

struct Accumulators {
  Shorts wide[shared] = {};
  int64_t terms = 0;
  int64_t result[shared] = {};

  void add(Bytes s0, Bytes s1, Bytes s2, Bytes s3) {
    if (terms == 128) flush();  // a lane takes two bytes, each at most 255: 128 of these fit 16 bits
    ++terms;
    wide[0] += even_bytes(s0) + odd_bytes(s0);
    wide[1] += even_bytes(s1) + odd_bytes(s1);
    wide[2] += even_bytes(s2) + odd_bytes(s2);
    wide[3] += even_bytes(s3) + odd_bytes(s3);
  }

  void flush() {
    for (int64_t c = 0; c < shared; ++c) {
      result[c] += sum(wide[c]);
      wide[c] = Shorts{};
    }
    terms = 0;
  }
};

// Σ q AND m over all sources and d, for `shared` consecutive channels; the codes' plane stands `plane` bytes further.
void masked_sums(const Source* sources, int64_t count, int64_t plane, const uint8_t* masks, const Layout& l,
                 const Planes& planes, int64_t* result) {
  const int64_t row = l.taps * l.padded;
  int64_t room = planes.in_byte;  // vectors that may be added before bytes are widened
  Accumulators sums;
  Bytes s0{}, s1{}, s2{}, s3{};
  for (int64_t s = 0; s < count; ++s) {
    const uint8_t* q = sources[s].codes + plane;
    const uint8_t* m = masks + sources[s].tap * l.padded;
    for (int64_t d = 0; d < l.padded;) {
      if (d + room * byte_lanes < l.padded && room < planes.in_byte) {  // widen between sources where possible
        sums.add(s0, s1, s2, s3);
        s0 = s1 = s2 = s3 = Bytes{};
        room = planes.in_byte;
      }
      const int64_t end = smaller(l.padded, d + room * byte_lanes);
      room -= (end - d) / byte_lanes;
      for (; d < end; d += byte_lanes) {
        const Bytes v = load_bytes(q + d);
        s0 += v & load_bytes(m + d);
        s1 += v & load_bytes(m + row + d);
        s2 += v & load_bytes(m + 2 * row + d);
        s3 += v & load_bytes(m + 3 * row + d);
      }
    }
  }
  sums.add(s0, s1, s2, s3);
  sums.flush();
  for (int64_t c = 0; c < shared; ++c) result[c] = sums.result[c];
}

// Codes of one sample as planes [plane][pixel][group][padded], and their sums [pixel][group].
struct Sample {
  Buffer<uint8_t> parts;
  Buffer<int32_t> totals;
  int64_t plane_size;

  Sample(const ConvShape& s, const Layout& l, const Planes& planes)
      : parts(planes.count * s.out_height * s.out_width * s.groups * l.padded),
        totals(s.out_height * s.out_width * s.groups),
        plane_size(s.out_height * s.out_width * s.groups * l.padded) {}

  void load(const uint8_t* codes, const ConvShape& s, const Layout& l, const Planes& planes) {
    for (int64_t i = 0; i < s.out_height * s.out_width * s.groups; ++i) {
      int32_t total = 0;
      for (int64_t d = 0; d < l.outputs; ++d) total += codes[i * l.outputs + d];
      totals[i] = total;
      for (int64_t plane = 0; plane < planes.count; ++plane) {
        uint8_t* out = parts.get() + plane * plane_size + i * l.padded;
        for (int64_t d = 0; d < l.outputs; ++d) out[d] = planes.part(codes[i * l.outputs + d], plane);
      }
    }
  }
};

// Some lines of one sample's input, and for each pixel and one group of channels the taps that reach it.
class Band {
 public:
  Band(const InputGradientArguments& a, const Layout& l, const Planes& planes, const uint8_t* masks)
      : a_(a),
        l_(l),
        planes_(planes),
        masks_(masks),
        sources_(lines(a.shape) * a.shape.width * l.taps),
        count_(lines(a.shape) * a.shape.width) {}

  // Lines per band: enough pixels to be worth reading all masks.
  static int64_t lines(const ConvShape& s) { return smaller(s.height, ceil_div(pixels_together, s.width)); }

  void compute(const Sample& sample, int64_t n, int64_t first_line) {
    const ConvShape& s = a_.shape;
    const int64_t pixels = (smaller(s.height, first_line + lines(s)) - first_line) * s.width;
    for (int64_t g = 0; g < s.groups; ++g) {
      for (int64_t p = 0; p < pixels; ++p) find(sample, g, first_line + p / s.width, p % s.width, p);
      for (int64_t c = 0; c < l_.channels; c += shared) {
        int32_t* out = a_.result + ((n * s.channels + g * l_.channels + c) * s.height + first_line) * s.width;
        for (int64_t p = 0; p < pixels; ++p) pixel(sample, g, c, p, out + p);
      }
    }
  }

 private:
  void find(const Sample& sample, int64_t group, int64_t h, int64_t w, int64_t p) {
    const ConvShape& s = a_.shape;
    int64_t count = 0;
    for (int64_t kh = 0; kh < s.kernel_height; ++kh) {
      const int64_t oh = source_of(h, kh, 0, s, s.out_height);
      if (oh < 0) continue;
      for (int64_t kw = 0; kw < s.kernel_width; ++kw) {
        const int64_t ow = source_of(w, kw, 1, s, s.out_width);
        if (ow < 0) continue;
        const int64_t at = (oh * s.out_width + ow) * s.groups + group;
        sources_[p * l_.taps + count++] = {kh * s.kernel_width + kw, sample.parts.get() + at * l_.padded,
                                           sample.totals[at]};
      }
    }
    count_[p] = count;
  }

  void pixel(const Sample& sample, int64_t g, int64_t c, int64_t p, int32_t* out) const {
    const uint8_t* m = masks_ + (g * round_up(l_.channels, shared) + c) * l_.taps * l_.padded;
    const Source* sources = sources_.get() + p * l_.taps;
    int64_t total = 0, low[shared], high[shared] = {};
    for (int64_t i = 0; i < count_[p]; ++i) total += sources[i].total;
    masked_sums(sources, count_[p], 0, m, l_, planes_, low);
    if (planes_.count == 2) masked_sums(sources, count_[p], sample.plane_size, m, l_, planes_, high);
    const int64_t channels = smaller(shared, l_.channels - c), step = a_.shape.height * a_.shape.width;
    for (int64_t i = 0; i < channels; ++i) out[i * step] = static_cast<int32_t>(2 * (low[i] + 16 * high[i]) - total);
  }

  const InputGradientArguments& a_;
  const Layout& l_;
  const Planes& planes_;
  const uint8_t* masks_;
  Buffer<Source> sources_;  // [pixel][up to taps]
  Buffer<int64_t> count_;   // [pixel]
};

}  // namespace

namespace portable {

void conv2d_input_gradient(const InputGradientArguments& a, const Threads& threads) {
  const ConvShape& s = a.shape;
  const Layout l(s);
  const int64_t size = s.out_height * s.out_width * s.outputs;
  const Planes planes(a.codes, s.samples * size);
  const Buffer<uint8_t> masks(s.groups * round_up(l.channels, shared) * l.taps * l.padded);
  expand_weights(a, l, masks.get());
  const int64_t bands = ceil_div(s.height, Band::lines(s));
  parallel_products(threads, s.samples * bands, products_of(s, s.samples, s.outputs), products_per_number,
                    [&](int64_t begin, int64_t end) {
    Sample sample(s, l, planes);
    Band band(a, l, planes, masks.get());
    int64_t loaded = -1;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t n = i / bands;
      if (n != loaded) sample.load(a.codes + n * size, s, l, planes);
      loaded = n;
      band.compute(sample, n, i % bands * Band::lines(s));
    }
  });
}

}  // namespace portable
}  // namespace fqt
