// fqt::<isa>::Kernels, for operations that are put together from others (FQT_COMPOSED in ../kernels.inc): for each of these the best
// kernel up to this instruction set. What a set lacks, the one below it has.
#pragma once

#include "../cpu/kernels.h"

#define FQT_BEST_KERNELS(isa)                                                                        \
  namespace fqt::isa {                                                                               \
  struct Kernels {                                                                                   \
    static constexpr auto hwnc_binary_conv2d = &fqt::isa::hwnc_binary_conv2d;                        \
    static constexpr auto hwnc_max_pool2d = &fqt::isa::hwnc_max_pool2d;                              \
    static constexpr auto hwnc_normalization = &fqt::isa::hwnc_normalization;                        \
    static constexpr auto hwnc_affine_sign = &fqt::isa::hwnc_affine_sign;                            \
    static constexpr auto hwnc_gradient_sums = &fqt::isa::hwnc_gradient_sums;                        \
    static constexpr auto hwnc_normalization_gradient = &fqt::isa::hwnc_normalization_gradient;      \
    static constexpr auto hwnc_gradient_range = &fqt::isa::hwnc_gradient_range;                      \
    static constexpr auto select_groups = &fqt::isa::select_groups;                                  \
    static constexpr auto kept_ranges = &fqt::isa::kept_ranges;                                      \
    static constexpr auto hwnc_quantize_samples = &fqt::isa::hwnc_quantize_samples;                  \
    static constexpr auto hwnc_quantize_channels = &fqt::isa::hwnc_quantize_channels;                \
    static constexpr auto hwnc_input_gradient = &fqt::isa::hwnc_input_gradient;                      \
    static constexpr auto hwnc_weight_gradient = &fqt::isa::hwnc_weight_gradient;                    \
    static constexpr auto adam_binary_ = &fqt::isa::adam_binary_;                                    \
  };                                                                                                 \
  }
FQT_BEST_KERNELS(portable)
#if defined(FQT_WITH_NEON)
namespace fqt::neon {
using namespace portable;
}
FQT_BEST_KERNELS(neon)
#elif defined(FQT_WITH_AVX2) && defined(FQT_WITH_AVX512)
namespace fqt::avx2 {
using namespace portable;
}
FQT_BEST_KERNELS(avx2)
namespace fqt::avx512 {
using namespace avx2;
}
FQT_BEST_KERNELS(avx512)
#if defined(FQT_WITH_AMX)
namespace fqt::amx {
using namespace avx512;
}
FQT_BEST_KERNELS(amx)
#endif
#endif
#undef FQT_BEST_KERNELS
