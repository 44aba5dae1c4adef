// Declares every kernel of the table as fqt::<isa>::<operation>(arguments, threads).
#pragma once

#include "adam_arguments.h"
#include "arguments.h"
#include "hwnc_arguments.h"
#include "int8_arguments.h"
#include "pixel_arguments.h"
#include "stem_arguments.h"

#define FQT_KERNEL(operation, arguments, isa)                                \
  namespace fqt::isa {                                                       \
  void operation(const arguments& a, const Threads& threads);                \
  }
#define FQT_COMPOSED(operation, isa)
#include "../kernels.inc"
#undef FQT_COMPOSED
#undef FQT_KERNEL
