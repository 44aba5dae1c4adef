// Blocks of 32 channels in the bytes of a vector, or of two.
//
// Channel c of a block stands in byte 2c if c < 16, else in byte 2(c - 16) + 1. So the even bytes, widened to 16 bits, are
// channels 0 .. 15 in order, and the odd bytes are channels 16 .. 31.
//
// An instruction set defines Lanes (32 bytes), Codes and Table (16 bytes), and what is done with them; the gradient products
// (code_products.h) are written in these terms.
#pragma once

#if defined(__AVX2__)
#include "../avx2/lanes.h"
#else
#include "../neon/lanes.h"
#endif
