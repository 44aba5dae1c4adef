// How fast this machine's units compute products at best: the innermost instructions of the kernels (csrc/cpu) on registers alone,
// in as many independent sums as hide their latency. Nothing is loaded or stored.
//
//     peaks UNIT...        prints for each unit its name and GMAC/s of one thread, a line each
//
// benchmarks/peaks.py compiles and runs this. Functions have an instruction set each by attribute, and are called only for units that
// are asked for, so that the program starts on any processor.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>

#if defined(__x86_64__)
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace {

constexpr int64_t rounds_per_call = 1 << 17;
constexpr int calls = 60;  // the fastest counts

// A value that compilers must have, and take for another one from here on, so that they compute it in every round.
#if defined(__x86_64__)
#define FQT_NEW(value) asm volatile("" : "+v"(value))
#elif defined(__aarch64__)
#define FQT_NEW(value) asm volatile("" : "+w"(value))
#endif

// A unit computes `rounds` rounds and returns products per round. Sums and operands have a name each, for compilers keep arrays of
// vectors in memory.
using Run = int64_t (*)(int64_t rounds);

// step(sum, one operand, other operand) for eight sums of four by two operands.
#define FQT_EIGHT(step)                                                                                                  \
  step(s0, a0, b0) step(s1, a1, b0) step(s2, a2, b0) step(s3, a3, b0) step(s4, a0, b1) step(s5, a1, b1) step(s6, a2, b1) \
      step(s7, a3, b1)

#if defined(__x86_64__) || defined(__aarch64__)

// What any compiler's baseline has: csrc/cpu/portable/bits.h.
using Words = uint64_t __attribute__((vector_size(16)));
using Bytes = uint8_t __attribute__((vector_size(16)));

inline Bytes bits_per_byte(Words x) {
  x -= x >> 1 & 0x5555555555555555;
  x = (x & 0x3333333333333333) + (x >> 2 & 0x3333333333333333);
  return reinterpret_cast<Bytes>((x + (x >> 4)) & 0x0F0F0F0F0F0F0F0F);
}

int64_t portable_count(int64_t rounds) {
  Words a{1, 2}, b0{3, 4}, b1{5, 6}, b2{7, 8}, b3{9, 10};
  Bytes s0{}, s1{}, s2{}, s3{};
  for (int64_t i = 0; i < rounds; ++i) {
    FQT_NEW(a);
    s0 += bits_per_byte(a ^ b0);
    s1 += bits_per_byte(a ^ b1);
    s2 += bits_per_byte(a ^ b2);
    s3 += bits_per_byte(a ^ b3);
    FQT_NEW(s0);
    FQT_NEW(s1);
    FQT_NEW(s2);
    FQT_NEW(s3);
  }
  return 4 * 128;
}

// csrc/cpu/portable/masked_sums.h.
int64_t portable_select(int64_t rounds) {
  Bytes a0{1}, a1{2}, a2{3}, a3{4}, b0{}, b1{}, s0{}, s1{}, s2{}, s3{}, s4{}, s5{}, s6{}, s7{};
  for (int64_t i = 0; i < rounds; ++i) {
    FQT_NEW(b0);
    FQT_NEW(b1);
#define FQT_STEP(s, a, b) \
  s += a & b;             \
  FQT_NEW(s);
    FQT_EIGHT(FQT_STEP)
#undef FQT_STEP
  }
  return 8 * 16;
}

#endif

#if defined(__aarch64__)

int64_t neon_count(int64_t rounds) {
  uint8x16_t s0 = vdupq_n_u8(0), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
  uint8x16_t a0 = s0, a1 = s0, a2 = s0, a3 = s0, b0 = vdupq_n_u8(1), b1 = b0;
  for (int64_t i = 0; i < rounds; ++i) {
    FQT_NEW(b0);
    FQT_NEW(b1);
#define FQT_STEP(s, a, b)                         \
  s = vaddq_u8(s, vcntq_u8(veorq_u8(a, b)));      \
  FQT_NEW(s);
    FQT_EIGHT(FQT_STEP)
#undef FQT_STEP
  }
  return 8 * 128;
}

int64_t neon_lookup(int64_t rounds) {
  uint8x16_t s0 = vdupq_n_u8(0), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
  uint8x16_t a0 = s0, a1 = s0, a2 = s0, a3 = s0, b0 = vdupq_n_u8(1), b1 = b0;
  for (int64_t i = 0; i < rounds; ++i) {
    FQT_NEW(b0);
    FQT_NEW(b1);
#define FQT_STEP(s, a, b)                 \
  s = vaddq_u8(s, vqtbl1q_u8(a, b));      \
  FQT_NEW(s);
    FQT_EIGHT(FQT_STEP)
#undef FQT_STEP
  }
  return 8 * 16 * 4;
}

#endif

#if defined(__x86_64__)

// Codes times bits and bits times bits alike: 32 channels or outputs, four products each.
__attribute__((target("avx2"))) int64_t avx2_lookup(int64_t rounds) {
  __m256i s0 = _mm256_setzero_si256(), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
  __m256i a0 = _mm256_set1_epi8(1), a1 = a0, a2 = a0, a3 = a0, b0 = _mm256_set1_epi8(2), b1 = b0;
  for (int64_t i = 0; i < rounds; ++i) {
    FQT_NEW(b0);
    FQT_NEW(b1);
#define FQT_STEP(s, a, b)                             \
  s = _mm256_add_epi8(s, _mm256_shuffle_epi8(a, b));  \
  FQT_NEW(s);                                         \
  FQT_NEW(a);
    FQT_EIGHT(FQT_STEP)
#undef FQT_STEP
  }
  return 8 * 32 * 4;
}

#define FQT_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512vpopcntdq")))

FQT_AVX512 int64_t avx512_count(int64_t rounds) {
  __m512i s0 = _mm512_setzero_si512(), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
  __m512i a0 = _mm512_set1_epi64(1), a1 = a0, a2 = a0, a3 = a0, b0 = _mm512_set1_epi64(2), b1 = b0;
  for (int64_t i = 0; i < rounds; ++i) {
    FQT_NEW(b0);
    FQT_NEW(b1);
#define FQT_STEP(s, a, b)                                                  \
  s = _mm512_add_epi64(s, _mm512_popcnt_epi64(_mm512_xor_si512(a, b)));    \
  FQT_NEW(s);                                                              \
  FQT_NEW(a);
    FQT_EIGHT(FQT_STEP)
#undef FQT_STEP
  }
  return 8 * 512;
}

// Two words at a time through an adder of bits: csrc/cpu/avx512/hwnc_forward.cpp.
FQT_AVX512 int64_t avx512_count_pairs(int64_t rounds) {
  struct Counter {
    __m512i ones, twos;
  };
  const __m512i zero = _mm512_setzero_si512();
  Counter s0{zero, zero}, s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
  __m512i a0 = _mm512_set1_epi64(1), a1 = a0, a2 = a0, a3 = a0, b0 = _mm512_set1_epi64(2), b1 = b0;
  for (int64_t i = 0; i < rounds; ++i) {
    FQT_NEW(b0);
    FQT_NEW(b1);
#define FQT_STEP(s, a, b)                                                                                     \
  {                                                                                                           \
    const __m512i first = _mm512_xor_si512(a, b), sum = _mm512_ternarylogic_epi64(s.ones, a, b, 0x96);        \
    const __m512i carry = _mm512_ternarylogic_epi64(first, s.ones, sum, 0xD4);                                \
    s.twos = _mm512_add_epi64(s.twos, _mm512_popcnt_epi64(carry));                                            \
    s.ones = sum;                                                                                             \
    FQT_NEW(s.ones);                                                                                          \
    FQT_NEW(s.twos);                                                                                          \
    FQT_NEW(a);                                                                                               \
  }
    FQT_EIGHT(FQT_STEP)
#undef FQT_STEP
  }
  return 8 * 2 * 512;
}

FQT_AVX512 int64_t avx512_lookup(int64_t rounds) {
  __m512i s0 = _mm512_setzero_si512(), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
  __m512i a0 = _mm512_set1_epi8(1), a1 = a0, a2 = a0, a3 = a0, b0 = _mm512_set1_epi8(2), b1 = b0;
  for (int64_t i = 0; i < rounds; ++i) {
    FQT_NEW(b0);
    FQT_NEW(b1);
#define FQT_STEP(s, a, b)                             \
  s = _mm512_add_epi8(s, _mm512_shuffle_epi8(a, b));  \
  FQT_NEW(s);                                         \
  FQT_NEW(a);
    FQT_EIGHT(FQT_STEP)
#undef FQT_STEP
  }
  return 8 * 64 * 4;
}

// No kernel uses it: what it would reach, with codes of 8 bits.
FQT_AVX512 int64_t avx512_vnni(int64_t rounds) {
  __m512i s0 = _mm512_setzero_si512(), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0, s6 = s0, s7 = s0;
  __m512i a0 = _mm512_set1_epi8(1), a1 = a0, a2 = a0, a3 = a0, b0 = _mm512_set1_epi8(2), b1 = b0;
  for (int64_t i = 0; i < rounds; ++i) {
#define FQT_STEP(s, a, b)                 \
  s = _mm512_dpbusd_epi32(s, a, b);       \
  FQT_NEW(s);
    FQT_EIGHT(FQT_STEP)
#undef FQT_STEP
  }
  return 8 * 64;
}

// Four products of tiles, two by two, as in csrc/cpu/amx/block.h. Written out like the kernels' (csrc/cpu/amx/tiles.h says why).
int64_t amx_tiles(int64_t rounds) {
  constexpr long request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  if (syscall(SYS_arch_prctl, request_permission, tile_data) != 0) return 0;
  alignas(64) uint8_t configuration[64] = {1};
  for (int tile = 0; tile < 8; ++tile) {
    configuration[16 + 2 * tile] = 64;  // bytes of a row
    configuration[48 + tile] = 16;      // rows
  }
  asm volatile("ldtilecfg %0" ::"m"(configuration));
  asm volatile("tilezero %%tmm0\n\ttilezero %%tmm1\n\ttilezero %%tmm2\n\ttilezero %%tmm3" ::);
  asm volatile("tilezero %%tmm4\n\ttilezero %%tmm5\n\ttilezero %%tmm6\n\ttilezero %%tmm7" ::);
  for (int64_t i = 0; i < rounds; ++i) {
    asm volatile(
        "tdpbusd %%tmm6, %%tmm4, %%tmm0\n\ttdpbusd %%tmm7, %%tmm4, %%tmm1\n\t"
        "tdpbusd %%tmm6, %%tmm5, %%tmm2\n\ttdpbusd %%tmm7, %%tmm5, %%tmm3" ::);
  }
  asm volatile("tilerelease" ::);
  return 4 * 16 * 16 * 64;
}

#endif

struct Unit {
  const char* name;
  Run run;
};

constexpr Unit units[] = {
#if defined(__x86_64__) || defined(__aarch64__)
    {"portable_count", portable_count},
    {"portable_select", portable_select},
#endif
#if defined(__aarch64__)
    {"neon_count", neon_count},
    {"neon_lookup", neon_lookup},
#endif
#if defined(__x86_64__)
    {"avx2_lookup", avx2_lookup},
    {"avx512_count", avx512_count},
    {"avx512_count_pairs", avx512_count_pairs},
    {"avx512_lookup", avx512_lookup},
    {"avx512_vnni", avx512_vnni},
    {"amx_tiles", amx_tiles},
#endif
};

double seconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// GMAC/s of the fastest call.
double measure(Run run) {
  double best = 0.0;
  for (int call = 0; call < calls; ++call) {
    const double begin = seconds();
    const auto products = static_cast<double>(run(rounds_per_call) * rounds_per_call);
    const double found = products / (seconds() - begin) * 1e-9;
    best = found > best ? found : best;
  }
  return best;
}

}  // namespace

int main(int count, char** names) {
  for (int i = 1; i < count; ++i) {
    bool known = false;
    for (const Unit& unit : units) {
      if (std::strcmp(unit.name, names[i]) != 0) continue;
      std::printf("%s %.3f\n", unit.name, measure(unit.run));
      known = true;
    }
    if (!known) {
      std::fprintf(stderr, "unknown unit %s\n", names[i]);
      return 1;
    }
  }
  return 0;
}
