// A convolution of bytes: patches of some output pixels at a time, times panels of the weight.
#include "../int8_block.h"
#include "../kernels.h"

namespace fqt {
namespace {

constexpr int64_t patch_bytes = 48 << 10;  // of the patches that are multiplied with each panel in turn

// The taps of output pixel `place` of sample n, tap by tap, channels side by side.
void gather_patch(const Int8ForwardArguments& a, int64_t n, int64_t place, RowTerm* to) {
  const ConvShape& s = a.shape;
  const int64_t top = place / s.out_width * s.stride[0] - s.padding[0];
  const int64_t left = place % s.out_width * s.stride[1] - s.padding[1];
  for (int64_t kh = 0; kh < s.kernel_height; ++kh) {
    const int64_t h = top + kh * s.dilation[0];
    for (int64_t kw = 0; kw < s.kernel_width; ++kw, to += s.channels) {
      const int64_t w = left + kw * s.dilation[1];
      if (h < 0 || h >= s.height || w < 0 || w >= s.width) {
        for (int64_t c = 0; c < s.channels; ++c) to[c] = row_term(a.fill);
      } else {
        widen(a.x + ((n * s.height + h) * s.width + w) * s.channels, s.channels, to);
      }
    }
  }
}

}  // namespace

namespace FQT_ISA {

void int8_conv2d(const Int8ForwardArguments& a, const Threads& threads) {
  const ConvShape& s = a.shape;
  const int64_t depth = s.kernel_height * s.kernel_width * s.channels, stride = round_up(depth, together);
  const int64_t out_pixels = s.out_height * s.out_width;
  const Panels weight(depth, s.outputs, threads, [&](Panel panel, int64_t first, int64_t columns) {
    panel.from_columns(a.weight + first * depth, depth, depth, columns);
  });
  const int64_t row_bytes = larger(1, stride * static_cast<int64_t>(sizeof(RowTerm)));
  const int64_t at_once = round_up(larger(1, patch_bytes / row_bytes), block_rows);
  parallel(threads, s.samples * out_pixels, depth * s.outputs / products_per_number, [&](int64_t begin, int64_t end) {
    const Buffer<RowTerm> patches(at_once * stride);
    for (int64_t row = begin; row < end; row += at_once) {
      const int64_t count = smaller(at_once, end - row);
      for (int64_t i = 0; i < count; ++i) {
        gather_patch(a, (row + i) / out_pixels, (row + i) % out_pixels, patches.get() + i * stride);
      }
      for (int64_t p = 0; p < weight.count(); ++p) {
        const Panel panel = weight[p];
        int32_t* y = a.y + row * s.outputs + p * panel_columns;
        multiply(patches.get(), stride, count, panel, [&](int64_t i, const int32_t* sums) {
          std::memcpy(y + i * s.outputs, sums, sizeof(int32_t) * static_cast<size_t>(panel.columns()));
        });
      }
    }
  });
}

}  // namespace FQT_ISA
}  // namespace fqt
