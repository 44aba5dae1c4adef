// Declares every kernel of the table as fqt::cuda::<operation>(arguments, queue). All pointers are of the GPU, and work is queued,
// not waited for.
#pragma once

#include "../cpu/adam_arguments.h"
#include "../cpu/arguments.h"
#include "../cpu/hwnc_arguments.h"
#include "../cpu/int8_arguments.h"
#include "../cpu/pixel_arguments.h"
#include "queue.h"

#define FQT_CUDA(operation, arguments)                       \
  namespace fqt::cuda {                                      \
  void operation(const arguments& a, const Queue& queue);    \
  }
#define FQT_CUDA_PRODUCT FQT_CUDA
#include "kernels.inc"
#undef FQT_CUDA_PRODUCT
#undef FQT_CUDA
