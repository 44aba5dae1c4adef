// The gradient of some samples added to that of all.
#include "../kernels.h"
#include "../support.h"

namespace fqt {
namespace FQT_ISA {

void hwnc_add_rows(const AddRowsArguments& a, const Threads& threads) {
  parallel(threads, a.pixels, a.kept * a.channels, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      for (int64_t j = 0; j < a.kept; ++j) {
        float* target = a.target + (p * a.samples + a.index[j]) * a.channels;
        const float* row = a.rows + (p * a.kept + j) * a.channels;
        for (int64_t c = 0; c < a.channels; ++c) target[c] += row[c];
      }
    }
  });
}

}  // namespace FQT_ISA
}  // namespace fqt
