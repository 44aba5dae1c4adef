// CPUID says what the processor has; XCR0 says which registers the operating system saves. Both must agree: a processor
// with AVX-512 under a kernel that does not save its registers would lose data, not crash. Linux saves tiles of AMX only for
// processes that have asked for it.
#include "features.h"

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace fqt {
namespace {

#if defined(__x86_64__)

struct Leaf {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;

  explicit Leaf(uint32_t number, uint32_t sub = 0) {
    if (__get_cpuid_count(number, sub, &eax, &ebx, &ecx, &edx) == 0) eax = ebx = ecx = edx = 0;
  }
};

constexpr bool has(uint32_t word, int bit) { return (word >> bit & 1) != 0; }

// State components that the operating system has enabled (register XCR0); 0 without XSAVE.
uint64_t enabled_state() {
  if (!has(Leaf(1).ecx, 27)) return 0;  // OSXSAVE
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<uint64_t>(high) << 32 | low;
}

bool has_avx2() {
  constexpr uint64_t state = 0x6;  // SSE and AVX registers
  const Leaf one(1), seven(7);
  return (enabled_state() & state) == state && has(one.ecx, 28) && has(one.ecx, 23) &&  // AVX, POPCNT
         has(seven.ebx, 5) && has(seven.ebx, 8);                                        // AVX2, BMI2
}

bool has_avx512() {
  constexpr uint64_t state = 0xE6;  // and the mask registers, the upper halves, the upper sixteen
  const Leaf seven(7);
  return has_avx2() && (enabled_state() & state) == state && has(seven.ebx, 16) && has(seven.ebx, 17) &&
         has(seven.ebx, 30) && has(seven.ebx, 31) &&                         // F, DQ, BW, VL
         has(seven.ecx, 1) && has(seven.ecx, 11) && has(seven.ecx, 14);      // VBMI, VNNI, VPOPCNTDQ
}

#if defined(FQT_EMULATE_TILES)

// Tests run the kernels without AMX (cpu/amx/tiles.h).
bool has_amx() { return has_avx512(); }

#elif defined(__linux__)

bool request_tiles() {
  constexpr long request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}

bool has_amx() {
  constexpr uint64_t state = 0x60000;  // configuration and data of tiles
  const Leaf seven(7);
  const bool there = has_avx512() && (enabled_state() & state) == state &&  //
                     has(seven.edx, 24) && has(seven.edx, 25);               // TILE, INT8
  static const bool permitted = there && request_tiles();
  return permitted;
}

#else

bool has_amx() { return false; }

#endif

#else

bool has_avx2() { return false; }
bool has_avx512() { return false; }
bool has_amx() { return false; }

#endif

// Every 64-bit ARM processor has it, and every system saves its registers.
bool has_neon() {
#if defined(__aarch64__)
  return true;
#else
  return false;
#endif
}

}  // namespace

bool usable(const char* name) {
  if (std::strcmp(name, "portable") == 0) return true;
  if (std::strcmp(name, "neon") == 0) return has_neon();
  if (std::strcmp(name, "avx2") == 0) return has_avx2();
  if (std::strcmp(name, "avx512") == 0) return has_avx512();
  if (std::strcmp(name, "amx") == 0) return has_amx();
  return false;
}

}  // namespace fqt
