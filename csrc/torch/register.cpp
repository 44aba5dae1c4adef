// Registers every kernel of the table with torch, as `fqt_native::<operation>.<isa>`; and those that serve, as `fqt::<operation>`.
#include "serve.h"

#include "../cpu/kernels.h"
#include "adam.h"
#include "adam_all.h"
#include "hwnc.h"
#include "hwnc_block.h"
#include "hwnc_chain.h"
#include "hwnc_codes.h"
#include "hwnc_entry.h"
#include "hwnc_normalization.h"
#include "int8.h"
#include "pixel.h"
#include "rim.h"
#include "stem.h"
#include "stem_normalization.h"

STABLE_TORCH_LIBRARY(fqt_native, m) {
#define FQT_KERNEL(operation, arguments, isa)                                          \
  m.def((std::string(#operation "." #isa) + fqt::rim::schema_##operation).c_str());
#define FQT_COMPOSED(operation, isa) FQT_KERNEL(operation, , isa)
#include "../kernels.inc"
#undef FQT_COMPOSED
#undef FQT_KERNEL
}

STABLE_TORCH_LIBRARY_IMPL(fqt_native, CPU, m) {
#define FQT_KERNEL(operation, arguments, isa)                                          \
  m.impl(#operation "." #isa, TORCH_BOX((&fqt::rim::operation<&fqt::isa::operation>)));
#define FQT_COMPOSED(operation, isa) m.impl(#operation "." #isa, TORCH_BOX((&fqt::rim::operation<fqt::isa::Kernels>)));
#include "../kernels.inc"
#undef FQT_COMPOSED
#undef FQT_KERNEL
}

namespace fqt::rim {

bool serve(const std::string& operation, const std::string& isa) {
  using Library = torch::stable::detail::StableLibrary;
  // Never destroyed: torch forgets what a library that is gone had registered.
  static auto* const served = new Library(Library::Kind::IMPL, "fqt", "CPU", __FILE__, __LINE__);
  const auto is = [&](const char* row_operation, const char* row_isa) { return operation == row_operation && isa == row_isa; };
#define FQT_KERNEL(operation, arguments, isa)                                                     \
  if (is(#operation, #isa)) {                                                                     \
    served->impl(#operation, TORCH_BOX((&fqt::rim::operation<&fqt::isa::operation>)));            \
    return true;                                                                                  \
  }
#define FQT_COMPOSED(operation, isa)                                                              \
  if (is(#operation, #isa)) {                                                                     \
    served->impl(#operation, TORCH_BOX((&fqt::rim::operation<fqt::isa::Kernels>)));               \
    return true;                                                                                  \
  }
#include "../kernels.inc"
#undef FQT_COMPOSED
#undef FQT_KERNEL
  return false;
}

}  // namespace fqt::rim
