// Sums of products with the inputs of a convolution's outputs, in the order that fqt_core/ops/stem.py fixes.
#include "../float_lanes.h"
#include "../kernels.h"
#include "../ordered_sums.h"
#include "../padded_image.h"

namespace fqt {
namespace {

// Σ u uᵀ of up to `piece` pixels: pixels are the lanes.
class Moments {
 public:
  static constexpr int64_t lanes = 16, piece = lanes * rows_per_sum;  // LANES of the reference
  static constexpr int64_t stride = piece + lanes;  // no power of two, which would put all patches into one set of the cache

  explicit Moments(const PaddedImage& geometry)
      : geometry_(geometry), rows_(round_up(geometry.inputs(), sum_rows)), patches_(rows_ * stride) {}

  // Of `count` outputs from `first` on, to result[inputs][inputs], of which the part above the diagonal is filled.
  void compute(const float* image, const ConvShape& s, int64_t first, int64_t count, float* result) {
    gather(image, s, first, count);
    const int64_t inputs = geometry_.inputs(), used = round_up(count, lanes);
    for (int64_t i = 0; i < inputs; i += sum_rows) {
      for (int64_t j = i; j < inputs; j += sum_vectors) {
        float sums[sum_rows][sum_vectors][lanes];
        for (int64_t lane = 0; lane < lanes; lane += float_lanes) multiply(i, j, lane, used, sums);
        for (int64_t r = 0; r < smaller(sum_rows, inputs - i); ++r) {
          for (int64_t c = 0; c < smaller(sum_vectors, inputs - j); ++c) result[(i + r) * inputs + j + c] = halve(sums[r][c]);
        }
      }
    }
  }

 private:
  // Inputs side by side, [input][pixel], with zeros up to a multiple of the lanes.
  void gather(const float* image, const ConvShape& s, int64_t first, int64_t count) {
    const int64_t column = first % s.out_width, step = s.stride[1];
    for (int64_t i = 0; i < geometry_.inputs(); ++i) {
      const float* from = image + geometry_.input()[i];
      float *to = patches_.get() + i * stride, *const end = to + count;
      const int64_t* output = geometry_.output() + first;
      for (int64_t width = smaller(count, s.out_width - column); width > 0; width = smaller(end - to, s.out_width)) {
        copy(from + *output, step, width, to);
        output += width;
        to += width;
      }
      for (int64_t p = count; p % lanes != 0; ++p) *to++ = 0.0F;
    }
  }

  static void copy(const float* __restrict from, int64_t step, int64_t count, float* __restrict to) {
    if (step == 1) {
      for (int64_t x = 0; x < count; ++x) to[x] = from[x];
    } else {
      for (int64_t x = 0; x < count; ++x) to[x] = from[x * step];
    }
  }

  void multiply(int64_t i, int64_t j, int64_t lane, int64_t count, float (&sums)[sum_rows][sum_vectors][lanes]) const {
    Floats sum[sum_rows][sum_vectors] = {};
    const float *one = patches_.get() + i * stride + lane, *other = patches_.get() + j * stride + lane;
    for (int64_t p = 0; p < count; p += lanes) {
      Floats left[sum_rows];
      for (int64_t r = 0; r < sum_rows; ++r) left[r] = load(one + r * stride + p);
      for (int64_t c = 0; c < sum_vectors; ++c) {
        const Floats right = load(other + c * stride + p);
        for (int64_t r = 0; r < sum_rows; ++r) sum[r][c] += left[r] * right;
      }
    }
    for (int64_t r = 0; r < sum_rows; ++r) {
      for (int64_t c = 0; c < sum_vectors; ++c) store(sum[r][c], sums[r][c] + lane);
    }
  }

  static float halve(float (&sums)[lanes]) {
    for (int64_t half = lanes / 2; half > 0; half /= 2) {
      for (int64_t lane = 0; lane < half; ++lane) sums[lane] += sums[half + lane];
    }
    return sums[0];
  }

  const PaddedImage& geometry_;
  int64_t rows_;
  Buffer<float> patches_;
};

// Σ g uᵀ of one sample, float64 [input][output]: outputs are the lanes.
class Products {
 public:
  Products(const StemProductsArguments& a, const PaddedImage& geometry)
      : a_(a), geometry_(geometry), stride_(padded(a.shape.outputs)), rows_(rows_per_sum * stride_) {}

  static int64_t padded(int64_t outputs) { return round_up(outputs, sum_vectors * float_lanes); }

  void compute(const float* image, int64_t place, double* sums) {
    const int64_t pixels = a_.shape.out_height * a_.shape.out_width, inputs = geometry_.inputs();
    for (int64_t i = 0; i < inputs * stride_; ++i) sums[i] = 0.0;
    for (int64_t first = 0; first < pixels; first += rows_per_sum) {
      const int64_t count = smaller(rows_per_sum, pixels - first);
      gather(place, first, count);
      int64_t i = 0;
      for (; i + sum_rows <= inputs; i += sum_rows) add<sum_rows>(image, i, first, count, sums);
      for (; i < inputs; ++i) add<1>(image, i, first, count, sums);
    }
  }

 private:
  void gather(int64_t place, int64_t first, int64_t count) {
    const int64_t outputs = a_.shape.outputs;
    const float* g = a_.g + (first * a_.present + place) * outputs;
    for (int64_t p = 0; p < count; ++p, g += a_.present * outputs) {
      float* __restrict to = rows_.get() + p * stride_;
      fetch(g + 8 * a_.present * outputs, outputs);
      for (int64_t d = 0; d < outputs; ++d) to[d] = g[d];
    }
  }

  template <int64_t rows>
  void add(const float* image, int64_t i, int64_t first, int64_t count, double* sums) const {
    const float* from[rows];
    for (int64_t r = 0; r < rows; ++r) from[r] = image + geometry_.input()[i + r];
    for (int64_t d = 0; d < stride_; d += sum_vectors * float_lanes) {
      Floats sum[rows][sum_vectors] = {};
      add_products(from, geometry_.output() + first, count, rows_.get() + d, stride_, sum);
      for (int64_t r = 0; r < rows; ++r) {
        float values[sum_vectors * float_lanes];
        for (int64_t v = 0; v < sum_vectors; ++v) store(sum[r][v], values + v * float_lanes);
        double* __restrict to = sums + (i + r) * stride_ + d;
        for (int64_t c = 0; c < sum_vectors * float_lanes; ++c) to[c] += static_cast<double>(values[c]);
      }
    }
  }

  const StemProductsArguments& a_;
  const PaddedImage& geometry_;
  int64_t stride_;
  Buffer<float> rows_;  // of g, [pixel][output], filled up with zeros
};

// Calls compute(first, count) for some samples after the others, so that what they leave for the next step stays small.
template <typename Compute>
void in_rounds(int64_t samples, int64_t bytes_each, Compute compute) {
  constexpr int64_t bytes = 16 << 20, least = 16;
  const int64_t most = larger(least, bytes / larger(1, bytes_each));
  for (int64_t first = 0; first < samples; first += most) compute(first, smaller(most, samples - first));
}

inline void clear(double* sums, int64_t count) {
  for (int64_t i = 0; i < count; ++i) sums[i] = 0;
}

}  // namespace

namespace FQT_ISA {

void stem_moments(const StemMomentsArguments& a, const Threads& threads) {
  const ConvShape& s = a.shape;
  const PaddedImage geometry(s, s.out_height);
  const int64_t inputs = geometry.inputs(), pairs = inputs * inputs, pixels = s.out_height * s.out_width;
  const int64_t pieces = ceil_div(pixels, Moments::piece), each = pieces * pairs;
  clear(a.moments, pairs);
  in_rounds(s.samples, each * static_cast<int64_t>(sizeof(float)), [&](int64_t first, int64_t count) {
    const Buffer<float> partial(count * each);
    parallel(threads, count, pixels * pairs / products_per_number, [&](int64_t begin, int64_t end) {
      Moments moments(geometry);
      const Buffer<float> image(geometry.size(), Contents::any);
      for (int64_t n = begin; n < end; ++n) {
        geometry.load(a.images + (first + n) * s.channels * s.height * s.width, a.origin, 0, image.get());
        for (int64_t i = 0; i < pieces; ++i) {
          const int64_t pixel = i * Moments::piece;
          moments.compute(image.get(), s, pixel, smaller(Moments::piece, pixels - pixel), partial.get() + n * each + i * pairs);
        }
      }
    });
    parallel(threads, pairs, count * pieces, [&](int64_t begin, int64_t end) {
      add_partial_sums(partial.get(), count * pieces, pairs, begin, end, a.moments);
    });
  });
  for (int64_t i = 0; i < inputs; ++i) {
    for (int64_t j = 0; j < i; ++j) a.moments[i * inputs + j] = a.moments[j * inputs + i];
  }
}

void stem_products(const StemProductsArguments& a, const Threads& threads) {
  const ConvShape& s = a.shape;
  const PaddedImage geometry(s, s.out_height);
  const int64_t inputs = geometry.inputs(), stride = Products::padded(s.outputs), each = inputs * stride;
  clear(a.products, s.outputs * inputs);
  in_rounds(a.present, each * static_cast<int64_t>(sizeof(double)), [&](int64_t first, int64_t count) {
    const Buffer<double> sums(count * each, Contents::any);
    const int64_t work = products_of(s, 1, s.outputs) / products_per_number;
    parallel(threads, count, work, [&](int64_t begin, int64_t end) {
      Products products(a, geometry);
      const Buffer<float> image(geometry.size(), Contents::any);
      for (int64_t j = begin; j < end; ++j) {
        geometry.load(a.images + a.index[first + j] * s.channels * s.height * s.width, a.origin, 0, image.get());
        products.compute(image.get(), first + j, sums.get() + j * each);
      }
    });
    parallel(threads, s.outputs, count * inputs, [&](int64_t begin, int64_t end) {
      for (int64_t j = 0; j < count; ++j) {
        for (int64_t d = begin; d < end; ++d) {
          for (int64_t i = 0; i < inputs; ++i) a.products[d * inputs + i] += sums[j * each + i * stride + d];
        }
      }
    });
  });
}

}  // namespace FQT_ISA
}  // namespace fqt
