// dL/dX of fused chains: convT(q, Wb) for the kept samples by table look-up (code_products.h), then scale, offset and window.
//
// Rows are kept samples, lanes are input channels, and a step is four output channels. Tables are built once for each output
// pixel of a band of lines and four samples, and serve all taps that read the pixel; weights become indices once per call.
#include "../kernels.h"
#include "code_products.h"

namespace fqt {
namespace {

constexpr int64_t band_bytes = 1 << 18;  // of tables, which a second-level cache should hold beside the weights

// The weights as indices [block of channels][tap][step][lane], and the sums of their signs over outputs [tap][channel].
struct Weights {
  int64_t taps, steps, blocks, padded;
  Buffer<uint8_t> indices;
  Buffer<int32_t> sums;

  Weights(const HwncInputGradientArguments& a, const Threads& threads)
      : taps(a.shape.kernel_height * a.shape.kernel_width),
        steps(ceil_div(a.shape.outputs, 4)),
        blocks(ceil_div(a.shape.channels, lanes)),
        padded(blocks * lanes),
        indices(blocks * taps * steps * lanes),
        sums(taps * padded) {
    const int64_t words = ceil_div(a.shape.channels, 64), outputs = a.shape.outputs;
    parallel(threads, blocks * taps, outputs * lanes / 4, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t block = i / taps, tap = i % taps;
        int32_t* sum = sums.get() + tap * padded + block * lanes;
        expand_indices(a.weight + tap * words + block / 2, taps * words, outputs, block % 2 * 4,
                       indices.get() + i * steps * lanes, sum);
        for (int64_t c = 0; c < lanes; ++c) sum[c] = static_cast<int32_t>(2 * sum[c] - outputs);
      }
    });
  }
};

// Lines of the input that are computed together, and the lines of the output that they may need.
struct Bands {
  int64_t lines, count, most_sources;

  Bands(const ConvShape& s, int64_t line_bytes) : s_(s) {
    // A band of some lines needs these and, for all but one of the kernel's lines, `dilation` more.
    const int64_t halo = (s.kernel_height - 1) * s.dilation[0];
    const int64_t fitting = band_bytes / larger(1, line_bytes) * s.stride[0] - halo;
    lines = smaller(s.height, larger(fitting, ceil_div(halo + 1, 2)));
    count = lines == 0 ? 0 : ceil_div(s.height, lines);
    most_sources = smaller(s.out_height, (lines + halo - 1) / s.stride[0] + 1);
  }

  int64_t first(int64_t band) const { return band * lines; }
  int64_t end(int64_t band) const { return smaller(s_.height, first(band) + lines); }

  Interval sources(int64_t band) const {
    const int64_t lowest = first(band) + s_.padding[0] - (s_.kernel_height - 1) * s_.dilation[0];
    const int64_t begin = lowest <= 0 ? 0 : ceil_div(lowest, s_.stride[0]);
    const int64_t last = (end(band) - 1 + s_.padding[0]) / s_.stride[0];
    return {begin, larger(begin, smaller(s_.out_height, last + 1))};
  }

 private:
  const ConvShape& s_;
};

// For each input position along an axis and each of the kernel's positions there: the output position it comes from, or -1.
struct Sources {
  int64_t kernel;
  Buffer<int64_t> positions;

  Sources(const ConvShape& s, int64_t axis, int64_t size, int64_t kernel_size, int64_t out_size)
      : kernel(kernel_size), positions(size * kernel_size) {
    for (int64_t at = 0; at < size; ++at) {
      for (int64_t k = 0; k < kernel; ++k) {
        const int64_t offset = at + s.padding[axis] - k * s.dilation[axis];
        const bool found = offset >= 0 && offset % s.stride[axis] == 0 && offset / s.stride[axis] < out_size;
        positions[at * kernel + k] = found ? offset / s.stride[axis] : -1;
      }
    }
  }

  const int64_t* of(int64_t at) const { return positions.get() + at * kernel; }
};

// Computes bands of up to four kept samples.
class Worker {
 public:
  Worker(const HwncInputGradientArguments& a, const Weights& weights, const Planes& planes, const Bands& bands,
         const Sources& lines, const Sources& columns)
      : a_(a),
        s_(a.shape),
        weights_(weights),
        planes_(planes),
        bands_(bands),
        lines_(lines),
        columns_(columns),
        products_(products_for(planes)),
        pixel_bytes_(weights.steps * step_bytes),
        plane_bytes_(bands.most_sources * s_.out_width * pixel_bytes_),
        tables_(planes.count * plane_bytes_),
        totals_(bands.most_sources * s_.out_width * table_rows),
        segments_(weights.taps * ceil_div(weights.steps, steps_together)),
        reached_(weights.taps),
        before_(weights.taps),
        sums_(table_rows * weights.padded),
        constants_(weights.padded) {}

  void compute(int64_t band, int64_t first) {
    first_ = first;
    rows_ = smaller(table_rows, a_.kept - first);
    sources_ = bands_.sources(band);
    build();
    for (int64_t h = bands_.first(band); h < bands_.end(band); ++h) {
      for (int64_t w = 0; w < s_.width; ++w) pixel(h, w);
    }
  }

 private:
  const uint8_t* codes_of(int64_t pixel) const { return a_.codes + (pixel * a_.kept + first_) * s_.outputs; }

  void build() {
    const int64_t first_pixel = sources_.begin * s_.out_width, pixels = (sources_.end - sources_.begin) * s_.out_width;
    for (int64_t p = 0; p < pixels; ++p) {
      const uint8_t* codes = codes_of(first_pixel + p);
      const uint8_t* ahead = codes_of(first_pixel + smaller(p + 4, pixels - 1));  // rows stand too far apart to be foreseen
      for (int64_t r = 0; r < rows_; ++r) prefetch(ahead + r * s_.outputs);
      for (int64_t plane = 0; plane < planes_.count; ++plane) {
        uint8_t* tables = tables_.get() + plane * plane_bytes_ + p * pixel_bytes_;
        build_tables(codes, rows_, s_.outputs, s_.outputs, plane, tables);
      }
      for (int64_t r = 0; r < rows_; ++r) totals_[p * table_rows + r] = sum_of_codes(codes + r * s_.outputs, s_.outputs);
    }
  }

  void pixel(int64_t h, int64_t w) {
    find_sources(h, w);
    if (a_.integers == nullptr) {
      for (int64_t r = 0; r < rows_; ++r) prefetch(window(h * s_.width + w, r));
    }
    std::memset(sums_.get(), 0, sizeof(int32_t) * static_cast<size_t>(sums_.count()));
    for (int64_t begin = 0; begin < count_;) {
      int64_t end = begin, steps = 0;
      while (end < count_ && steps + segments_[end].steps <= steps_together) steps += segments_[end++].steps;
      for (int64_t plane = 0; plane < planes_.count; ++plane) {
        for (int64_t block = 0; block < weights_.blocks; ++block) {
          const int64_t indices = block * weights_.taps * weights_.steps * lanes;
          products_(segments_.get() + begin, end - begin, plane * plane_bytes_, indices, static_cast<int>(4 * plane),
                    sums_.get() + block * lanes, weights_.padded);
        }
      }
      begin = end;
    }
    for (int64_t r = 0; r < rows_; ++r) finish(h * s_.width + w, r);
  }

  // Segments, totals and constants of the taps that reach a pixel.
  void find_sources(int64_t h, int64_t w) {
    const int64_t* lines = lines_.of(h);
    const int64_t* columns = columns_.of(w);
    int64_t reached = 0;
    count_ = 0;
    for (int64_t r = 0; r < table_rows; ++r) total_[r] = 0;
    for (int64_t kh = 0; kh < s_.kernel_height; ++kh) {
      if (lines[kh] < 0) continue;
      for (int64_t kw = 0; kw < s_.kernel_width; ++kw) {
        if (columns[kw] < 0) continue;
        const int64_t tap = kh * s_.kernel_width + kw, p = (lines[kh] - sources_.begin) * s_.out_width + columns[kw];
        const uint8_t* tables = tables_.get() + p * pixel_bytes_;
        const uint8_t* indices = weights_.indices.get() + tap * weights_.steps * lanes;
        for (int64_t step = 0; step < weights_.steps; step += steps_together) {
          segments_[count_++] = {tables + step * step_bytes, indices + step * lanes,
                                 smaller(steps_together, weights_.steps - step)};
        }
        for (int64_t r = 0; r < table_rows; ++r) total_[r] += totals_[p * table_rows + r];
        reached_[reached++] = tap;
      }
    }
    // Most pixels are reached by the same taps as the one before.
    const size_t size = sizeof(int64_t) * static_cast<size_t>(reached);
    if (reached == reached_before_ && std::memcmp(reached_.get(), before_.get(), size) == 0) return;
    std::memcpy(before_.get(), reached_.get(), size);
    reached_before_ = reached;
    for (int64_t c = 0; c < weights_.padded; ++c) {
      int32_t sum = 0;
      for (int64_t i = 0; i < reached; ++i) sum += weights_.sums[reached_[i] * weights_.padded + c];
      constants_[c] = static_cast<float>(sum);
    }
  }

  const uint8_t* window(int64_t pixel, int64_t r) const {
    const int64_t words = ceil_div(s_.channels, 64);
    return reinterpret_cast<const uint8_t*>(a_.window + (pixel * s_.samples + a_.index[first_ + r]) * words);
  }

  void finish(int64_t pixel, int64_t r) {
    const int64_t row = first_ + r, at = (pixel * a_.kept + row) * s_.channels;
    const int32_t* sums = sums_.get() + r * weights_.padded;
    if (a_.integers != nullptr) {
      store_integers(sums, total_[r], s_.channels, a_.integers + at);
      return;
    }
    const uint8_t* bits = window(pixel, r);
    const float scale = a_.scale[row], offset = a_.offset[row];
    float* out = a_.result + at;
    for (int64_t c = 0; c < s_.channels; c += 8) {
      const Lanes values = affine(sums + c, total_[r], constants_.get() + c, scale, offset);
      store_some(out + c, s_.channels - c, where_set(bits[c / 8], values));
    }
  }

  const HwncInputGradientArguments& a_;
  const ConvShape& s_;
  const Weights& weights_;
  const Planes& planes_;
  const Bands& bands_;
  const Sources& lines_;
  const Sources& columns_;
  AddProducts products_;
  int64_t pixel_bytes_, plane_bytes_;
  Buffer<uint8_t> tables_;          // [plane][output pixel of the band][step][row][16]
  Buffer<int32_t> totals_;          // [output pixel of the band][row], sums of codes
  Buffer<Segment> segments_;        // of one pixel
  Buffer<int64_t> reached_, before_;  // taps of this pixel, and of that whose constants are at hand
  Buffer<int32_t> sums_;            // [row][padded channel]
  Buffer<float> constants_;         // [padded channel]
  int32_t total_[table_rows] = {};
  int64_t first_ = 0, rows_ = 0, count_ = 0, reached_before_ = -1;
  Interval sources_{0, 0};
};

}  // namespace

namespace FQT_ISA {

void hwnc_input_gradient(const HwncInputGradientArguments& a, const Threads& threads) {
  const ConvShape& s = a.shape;
  const Planes planes(a.codes, s.out_height * s.out_width * a.kept * s.outputs);
  const Weights weights(a, threads);
  const Bands bands(s, planes.count * s.out_width * weights.steps * step_bytes);
  const Sources lines(s, 0, s.height, s.kernel_height, s.out_height), columns(s, 1, s.width, s.kernel_width, s.out_width);
  const int64_t groups = ceil_div(a.kept, table_rows);
  const int64_t count = groups * bands.count;
  parallel_products(threads, count, products_of(s, a.kept, s.outputs), products_per_number, [&](int64_t begin, int64_t end) {
    Worker worker(a, weights, planes, bands, lines, columns);
    for (int64_t i = begin; i < end; ++i) worker.compute(i / groups, i % groups * table_rows);
  });
}

}  // namespace FQT_ISA
}  // namespace fqt
