// What the lanes of a warp hold of a small product, and the instructions that compute it.
//
//     C (16 x 8, int32)  +=  A (16 rows x 8 words)  ·  B (8 words x 8 columns)
//
// A word is 32 bits, or 4 bytes, of the sum's terms. PTX ISA, "Matrix fragments for mma.m16n8k256" (bits) and "mma.m16n8k32" (bytes):
// both have this map, for lane l:
//
//     A: word r (0 to 3) is that of row l / 4 + 8 * (r % 2), word l % 4 + 4 * (r / 2)
//     B: word r (0, 1) is that of column l / 4, word l % 4 + 4 * r
//     C: value v (0 to 3) is that of row l / 4 + 8 * (v / 2), column 2 * (l % 4) + v % 2
//
// In fragment order, the words of a lane lie side by side, and lanes follow each other: a warp loads 512 or 256 bytes in a row.
#pragma once

#include "device.h"

namespace fqt::cuda {

constexpr int fragment_rows = 16, fragment_columns = 8, fragment_words = 8;

struct Accumulator {
  int32_t value[4];
};

// Where a word of A or B, or a value of C, is.
struct Slot {
  int lane, number;
};
FQT_HOST_DEVICE Slot slot_of_a(int row, int word) { return {row % 8 * 4 + word % 4, row / 8 + 2 * (word / 4)}; }
FQT_HOST_DEVICE Slot slot_of_b(int word, int column) { return {column * 4 + word % 4, word / 4}; }
FQT_HOST_DEVICE int row_of_c(int lane, int value) { return lane / 4 + 8 * (value / 2); }
FQT_HOST_DEVICE int column_of_c(int lane, int value) { return 2 * (lane % 4) + value % 2; }

// Bits [4 * quarter, 4 * quarter + 4) as bytes of 0 or 1. The product puts bit i of the four at bit 8 * i; no two of its terms meet.
FQT_HOST_DEVICE uint32_t bytes_of_bits(uint32_t word, int quarter) {
  return (word >> (4 * quarter) & 15) * 0x00204081U & 0x01010101U;
}

#if defined(__CUDACC__)

// Adds population counts of a & b. Compiled where the tensor cores have it; elsewhere that path is not chosen (path.h).
FQT_DEVICE void multiply_bits(const Thread&, Accumulator& c, const Quad& a, const Pair& b) {
#if __CUDA_ARCH__ >= 800 && __CUDA_ARCH__ < 1000
  asm("mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+r"(c.value[0]), "+r"(c.value[1]), "+r"(c.value[2]), "+r"(c.value[3])
      : "r"(a.word[0]), "r"(a.word[1]), "r"(a.word[2]), "r"(a.word[3]), "r"(b.word[0]), "r"(b.word[1]));
#else
  __trap();
#endif
}

// Adds products of bytes, unsigned (u8) or signed (s8). Compute capability 7.5 has a quarter of it: 8 rows, 16 bytes.
#if __CUDA_ARCH__ >= 800
#define FQT_MULTIPLY_BYTES(type)                                                                                         \
  asm("mma.sync.aligned.m16n8k32.row.col.s32." type "." type ".s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};" \
      : "+r"(c.value[0]), "+r"(c.value[1]), "+r"(c.value[2]), "+r"(c.value[3])                                            \
      : "r"(a.word[0]), "r"(a.word[1]), "r"(a.word[2]), "r"(a.word[3]), "r"(b.word[0]), "r"(b.word[1]))
#else
#define FQT_MULTIPLY_BYTES(type)                                                                       \
  for (int i = 0; i < 4; ++i)                                                                          \
  asm("mma.sync.aligned.m8n8k16.row.col.s32." type "." type ".s32 {%0,%1}, {%2}, {%3}, {%0,%1};"       \
      : "+r"(c.value[i % 2 * 2]), "+r"(c.value[i % 2 * 2 + 1])                                         \
      : "r"(a.word[i]), "r"(b.word[i / 2]))
#endif

FQT_DEVICE void multiply_bytes(const Thread&, Accumulator& c, const Quad& a, const Pair& b) { FQT_MULTIPLY_BYTES("u8"); }
FQT_DEVICE void multiply_signed_bytes(const Thread&, Accumulator& c, const Quad& a, const Pair& b) { FQT_MULTIPLY_BYTES("s8"); }

#undef FQT_MULTIPLY_BYTES

#else

struct Fragments {
  Accumulator* c;
  Quad a;
  Pair b;
};

// What the instruction does, from the fragments of all lanes; term(a, b) is what two words add.
template <typename Term>
void multiply_fragments(Fragments* const* lanes, Term term) {
  for (int lane = 0; lane < warp_size; ++lane) {
    for (int v = 0; v < 4; ++v) {
      for (int word = 0; word < fragment_words; ++word) {
        const Slot a = slot_of_a(row_of_c(lane, v), word), b = slot_of_b(word, column_of_c(lane, v));
        lanes[lane]->c->value[v] += term(lanes[a.lane]->a.word[a.number], lanes[b.lane]->b.word[b.number]);
      }
    }
  }
}

inline void multiply_bits_of_warp(Fragments* const* lanes) {
  multiply_fragments(lanes, [](uint32_t a, uint32_t b) { return set_bits(a & b); });
}

template <typename Byte>
inline void multiply_bytes_of_warp(Fragments* const* lanes) {
  multiply_fragments(lanes, [](uint32_t a, uint32_t b) {
    int32_t sum = 0;
    for (int i = 0; i < 32; i += 8) sum += static_cast<Byte>(a >> i) * static_cast<Byte>(b >> i);
    return sum;
  });
}

template <auto together>
inline void multiply_together(const Thread& t, Accumulator& c, const Quad& a, const Pair& b) {
  Fragments mine{&c, a, b};
  t.exchange<together>(mine);
}

inline void multiply_bits(const Thread& t, Accumulator& c, const Quad& a, const Pair& b) {
  multiply_together<&multiply_bits_of_warp>(t, c, a, b);
}
inline void multiply_bytes(const Thread& t, Accumulator& c, const Quad& a, const Pair& b) {
  multiply_together<&multiply_bytes_of_warp<uint8_t>>(t, c, a, b);
}
inline void multiply_signed_bytes(const Thread& t, Accumulator& c, const Quad& a, const Pair& b) {
  multiply_together<&multiply_bytes_of_warp<int8_t>>(t, c, a, b);
}

#endif

}  // namespace fqt::cuda
