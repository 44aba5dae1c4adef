// corr(codes, x) of bytes: rows are output channels, terms output pixels of all samples, columns taps and input channels. A
// thread takes panels of columns; 32 bits hold the sums of some pixels, 64 bits those of all.
#include "../int8_block.h"
#include "../kernels.h"

namespace fqt {
namespace {

constexpr int64_t chunk = 1024;  // output pixels at a time

// What output pixels begin .. begin + count - 1 see in columns first .. first + columns - 1: rows of panel_columns bytes.
void gather(const Int8WeightArguments& a, int64_t begin, int64_t count, int64_t first, int64_t columns, int8_t* rows) {
  const ConvShape& s = a.shape;
  const int64_t out_pixels = s.out_height * s.out_width;
  for (int64_t done = 0; done < columns;) {
    const int64_t tap = (first + done) / s.channels, channel = (first + done) % s.channels;
    const int64_t width = smaller(s.channels - channel, columns - done);
    const int64_t dh = tap / s.kernel_width * s.dilation[0] - s.padding[0];
    const int64_t dw = tap % s.kernel_width * s.dilation[1] - s.padding[1];
    for (int64_t i = 0; i < count; ++i) {
      const int64_t n = (begin + i) / out_pixels, place = (begin + i) % out_pixels;
      const int64_t h = place / s.out_width * s.stride[0] + dh, w = place % s.out_width * s.stride[1] + dw;
      int8_t* to = rows + i * panel_columns + done;
      if (h < 0 || h >= s.height || w < 0 || w >= s.width) {
        std::memset(to, 0, static_cast<size_t>(width));
      } else {
        std::memcpy(to, a.x + ((n * s.height + h) * s.width + w) * s.channels + channel, static_cast<size_t>(width));
      }
    }
    done += width;
  }
}

}  // namespace

namespace FQT_ISA {

void int8_weight_gradient(const Int8WeightArguments& a, const Threads& threads) {
  const ConvShape& s = a.shape;
  const int64_t terms = s.samples * s.out_height * s.out_width, stride = round_up(terms, together);
  const int64_t columns = s.kernel_height * s.kernel_width * s.channels;
  const Buffer<RowTerm> codes(s.outputs * stride);
  parallel(threads, s.outputs, terms, [&](int64_t begin, int64_t end) {
    for (int64_t d = begin; d < end; ++d) widen(a.codes + d * terms, terms, codes.get() + d * stride);
  });
  const int64_t work = terms * s.outputs * panel_columns;
  parallel(threads, ceil_div(columns, panel_columns), work / products_per_number, [&](int64_t begin, int64_t end) {
    const Buffer<int8_t> rows(chunk * panel_columns);
    const Buffer<PanelTerm> memory(panel_size(chunk));
    const Buffer<int32_t> start(panel_columns);
    Panel panel(memory.get(), start.get());
    for (int64_t p = begin; p < end; ++p) {
      const int64_t first = p * panel_columns, width = smaller(panel_columns, columns - first);
      for (int64_t d = 0; d < s.outputs; ++d) {
        std::memset(a.result + d * columns + first, 0, sizeof(int64_t) * static_cast<size_t>(width));
      }
      for (int64_t t = 0; t < terms; t += chunk) {
        const int64_t count = smaller(chunk, terms - t);
        gather(a, t, count, first, width, rows.get());
        panel.from_terms(rows.get(), panel_columns, count, width);
        multiply(codes.get() + t, stride, s.outputs, panel, [&](int64_t d, const int32_t* sums) {
          int64_t* __restrict to = a.result + d * columns + first;
          for (int64_t c = 0; c < width; ++c) to[c] += sums[c];
        });
      }
    }
  });
}

}  // namespace FQT_ISA
}  // namespace fqt
