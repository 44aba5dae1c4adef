// AMX: eight registers of 16 rows by 64 bytes ("tiles"), and products of two of them added to a third.
//
// The numbers of tiles are part of the instructions, hence template arguments. The instructions are written out: gcc's
// intrinsics take nothing but literal numbers, and do not say that loads read memory, so that gcc 12 may store afterwards, or
// never, what was to be loaded. With FQT_EMULATE_TILES the same functions are computed without AMX, for tests elsewhere.
#pragma once

#include <cstdint>
#include <cstring>

namespace fqt {
namespace {

constexpr int64_t tile_rows = 16, tile_row_bytes = 64, tile_bytes = tile_rows * tile_row_bytes;
constexpr int64_t tile_columns = 16;  // sums, of 32 bits each, in a row

// What the left operand of a product holds; the right one holds signed bytes.
enum class Bytes { is_signed, is_unsigned };

// The operand of LDTILECFG.
struct TileConfiguration {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
static_assert(sizeof(TileConfiguration) == 64, "a layout that the processor defines");

// All tiles at their full size.
inline TileConfiguration full_tiles() {
  TileConfiguration configuration{};
  configuration.palette = 1;
  for (int tile = 0; tile < 8; ++tile) {
    configuration.row_bytes[tile] = tile_row_bytes;
    configuration.rows[tile] = tile_rows;
  }
  return configuration;
}

#if !defined(FQT_EMULATE_TILES)

inline void load_configuration(const TileConfiguration& configuration) {
  __asm__ volatile("ldtilecfg %0" ::"m"(configuration));
}

inline void release_tiles() { __asm__ volatile("tilerelease" ::: "memory"); }

template <int tile>
inline void zero_tile() {
  __asm__ volatile("tilezero %%tmm%c0" ::"i"(tile));
}

// Rows `stride` bytes apart.
template <int tile>
inline void load_tile(const void* rows, int64_t stride) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(rows), "r"(stride), "i"(tile) : "memory");
}

template <int tile>
inline void store_tile(void* rows, int64_t stride) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(rows), "r"(stride), "i"(tile) : "memory");
}

// sums[m][n] += Σ over k and i < 4 of left[m][4 k + i] · right[k][4 n + i].
template <Bytes bytes, int sums, int left, int right>
inline void multiply_tiles() {
  if (bytes == Bytes::is_signed) {
    __asm__ volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(sums), "i"(left), "i"(right));
  } else {
    __asm__ volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(sums), "i"(left), "i"(right));
  }
}

#else

// The tiles of a thread. An instruction that the processor would refuse ends the program here too.
struct TileState {
  TileConfiguration configuration;
  uint8_t tile[8][tile_rows][tile_row_bytes];

  void require(bool condition) const {
    if (!condition) __builtin_trap();
  }
  void require_tile(int number) const {
    require(configuration.palette == 1 && configuration.rows[number] > 0 && configuration.row_bytes[number] > 0);
  }
};

thread_local TileState tile_state;

inline void load_configuration(const TileConfiguration& configuration) {
  tile_state = {};
  tile_state.configuration = configuration;
}

inline void release_tiles() { tile_state = {}; }

template <int tile>
inline void zero_tile() {
  tile_state.require_tile(tile);
  std::memset(tile_state.tile[tile], 0, tile_bytes);
}

template <int tile>
inline void load_tile(const void* rows, int64_t stride) {
  zero_tile<tile>();
  const TileConfiguration& configuration = tile_state.configuration;
  for (int64_t m = 0; m < configuration.rows[tile]; ++m) {
    std::memcpy(tile_state.tile[tile][m], static_cast<const uint8_t*>(rows) + m * stride, configuration.row_bytes[tile]);
  }
}

template <int tile>
inline void store_tile(void* rows, int64_t stride) {
  tile_state.require_tile(tile);
  const TileConfiguration& configuration = tile_state.configuration;
  for (int64_t m = 0; m < configuration.rows[tile]; ++m) {
    std::memcpy(static_cast<uint8_t*>(rows) + m * stride, tile_state.tile[tile][m], configuration.row_bytes[tile]);
  }
}

template <Bytes bytes, int sums, int left, int right>
inline void multiply_tiles() {
  static_assert(sums != left && sums != right && left != right, "the processor wants three tiles");
  const TileConfiguration& c = tile_state.configuration;
  tile_state.require_tile(sums);
  tile_state.require_tile(left);
  tile_state.require_tile(right);
  tile_state.require(c.rows[sums] == c.rows[left] && c.row_bytes[sums] == c.row_bytes[right] &&
                     c.row_bytes[left] == 4 * c.rows[right] && c.row_bytes[right] % 4 == 0);
  for (int64_t m = 0; m < c.rows[sums]; ++m) {
    int32_t row[tile_columns];
    std::memcpy(row, tile_state.tile[sums][m], sizeof(row));
    for (int64_t k = 0; k < c.rows[right]; ++k) {
      for (int64_t n = 0; n < c.row_bytes[right] / 4; ++n) {
        for (int64_t i = 0; i < 4; ++i) {
          const uint8_t byte = tile_state.tile[left][m][4 * k + i];
          const int32_t factor = bytes == Bytes::is_signed ? static_cast<int8_t>(byte) : int32_t{byte};
          row[n] += factor * static_cast<int8_t>(tile_state.tile[right][k][4 * n + i]);
        }
      }
    }
    std::memcpy(tile_state.tile[sums][m], row, sizeof(row));
  }
}

#endif

// The tiles of this thread while it lives. Other code (oneDNN) has configurations of its own and loads them itself, so each
// kernel does so on each of its threads, and leaves none behind.
class Tiles {
 public:
  Tiles() { load_configuration(full_tiles()); }
  ~Tiles() { release_tiles(); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
};

}  // namespace
}  // namespace fqt
