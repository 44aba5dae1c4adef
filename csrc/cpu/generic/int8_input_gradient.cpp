// convT(codes, weight) of bytes: rows of codes times panels of the weight, one column for each tap and input channel, added up
// where the taps meet. One thread takes a whole sample.
#include "../int8_block.h"
#include "../kernels.h"

namespace fqt {
namespace {

constexpr int64_t code_bytes = 16 << 10;  // of the rows of codes that are multiplied with each panel in turn

// Adds the sums of a panel's columns, of which the first is number `first`, to the input pixels that output pixel `place` sees.
void scatter(const ConvShape& s, int64_t place, int64_t first, int64_t columns, const int32_t* sums, int32_t* sample) {
  const int64_t top = place / s.out_width * s.stride[0] - s.padding[0];
  const int64_t left = place % s.out_width * s.stride[1] - s.padding[1];
  for (int64_t done = 0; done < columns;) {
    const int64_t tap = (first + done) / s.channels, channel = (first + done) % s.channels;
    const int64_t count = smaller(s.channels - channel, columns - done);
    const int64_t h = top + tap / s.kernel_width * s.dilation[0], w = left + tap % s.kernel_width * s.dilation[1];
    if (h >= 0 && h < s.height && w >= 0 && w < s.width) {
      int32_t* __restrict to = sample + (h * s.width + w) * s.channels + channel;
      for (int64_t c = 0; c < count; ++c) to[c] += sums[done + c];
    }
    done += count;
  }
}

}  // namespace

namespace FQT_ISA {

void int8_input_gradient(const Int8InputArguments& a, const Threads& threads) {
  const ConvShape& s = a.shape;
  const int64_t columns = s.kernel_height * s.kernel_width * s.channels, stride = round_up(s.outputs, together);
  const int64_t out_pixels = s.out_height * s.out_width, sample_size = s.height * s.width * s.channels;
  const Panels weight(s.outputs, columns, threads, [&](Panel panel, int64_t first, int64_t count) {
    panel.from_terms(a.weight + first, columns, s.outputs, count);
  });
  const int64_t row_bytes = larger(1, stride * static_cast<int64_t>(sizeof(RowTerm)));
  const int64_t at_once = round_up(larger(1, code_bytes / row_bytes), block_rows);
  const int64_t work = products_of(s, 1, s.outputs);
  parallel(threads, s.samples, larger(work / products_per_number, sample_size), [&](int64_t begin, int64_t end) {
    const Buffer<RowTerm> codes(at_once * stride);
    for (int64_t n = begin; n < end; ++n) {
      int32_t* sample = a.result + n * sample_size;
      std::memset(sample, 0, sizeof(int32_t) * static_cast<size_t>(sample_size));
      for (int64_t place = 0; place < out_pixels; place += at_once) {
        const int64_t count = smaller(at_once, out_pixels - place);
        for (int64_t i = 0; i < count; ++i) {
          widen(a.codes + (n * out_pixels + place + i) * s.outputs, s.outputs, codes.get() + i * stride);
        }
        for (int64_t p = 0; p < weight.count(); ++p) {
          const Panel panel = weight[p];
          multiply(codes.get(), stride, count, panel, [&](int64_t i, const int32_t* sums) {
            scatter(s, place + i, p * panel_columns, panel.columns(), sums, sample);
          });
        }
      }
    }
  });
}

}  // namespace FQT_ISA
}  // namespace fqt
