# The kernels of csrc/cpu, free of Python and torch: what the extension is made of (../CMakeLists.txt), and what tests build for
# other processors (../tests/csrc). Sets `fqt_kernel_sources`, which are compiled for the baseline, and `fqt_isa_objects`, which
# are compiled for one instruction set each; both link `fqt_flags`.
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O3 -DNDEBUG")

# For checks: on a user's machine a warning of a newer compiler must not cost the native kernels.
option(FQT_WERROR "Treat the compiler's warnings as errors" OFF)

# For tests: reads beyond a buffer and undefined operations end the process.
option(FQT_SANITIZE "Build with the address and undefined-behaviour sanitizers" OFF)

add_library(fqt_flags INTERFACE)
target_compile_options(
  fqt_flags
  INTERFACE -Wall
            -Wextra
            $<$<BOOL:${FQT_WERROR}>:-Werror>
            # Rounding is specified operation by operation: no fused multiply-add.
            -ffp-contract=off
            # No code looks at errno or at floating-point exceptions; both stand in the way of vector code.
            -fno-math-errno
            -fno-trapping-math)
if(FQT_SANITIZE)
  set(sanitizers -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g1 -O1)
  target_compile_options(fqt_flags INTERFACE ${sanitizers})
  target_link_options(fqt_flags INTERFACE ${sanitizers})
endif()

# One object library per instruction set: fqt_isa(name [SHARED folders...] [FLAGS flags...]) compiles cpu/<name>/*.cpp and the
# sources in the shared folders into the namespace of that name, with private flags: `generic` for any set, `vector` for all that
# have fast products, `lookup` for those whose gradient products look up tables of bytes. Nothing else may see those flags. A set
# that the compiler does not know is left out.
include(CheckCXXCompilerFlag)
set(fqt_isa_objects)
function(fqt_isa name)
  cmake_parse_arguments(ARG "" "" "SHARED;FLAGS" ${ARGN})
  string(TOUPPER "${name}" upper)
  if(ARG_FLAGS)
    string(REPLACE ";" " " joined "${ARG_FLAGS}")
    check_cxx_compiler_flag("${joined}" FQT_HAS_${upper})
    if(NOT FQT_HAS_${upper})
      return()
    endif()
  endif()
  set(patterns)
  foreach(folder IN ITEMS ${name} ${ARG_SHARED})
    list(APPEND patterns "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/cpu/${folder}/*.cpp")
  endforeach()
  file(GLOB sources CONFIGURE_DEPENDS ${patterns})
  add_library(fqt_${name} OBJECT ${sources})
  target_link_libraries(fqt_${name} PRIVATE fqt_flags)
  target_compile_options(fqt_${name} PRIVATE ${ARG_FLAGS})
  target_compile_definitions(fqt_${name} PRIVATE FQT_ISA=${name})
  target_compile_definitions(fqt_flags INTERFACE FQT_WITH_${upper})
  list(APPEND fqt_isa_objects $<TARGET_OBJECTS:fqt_${name}>)
  set(fqt_isa_objects "${fqt_isa_objects}" PARENT_SCOPE)
endfunction()

fqt_isa(portable SHARED generic)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  fqt_isa(avx2 SHARED generic vector lookup FLAGS -mavx2 -mbmi2 -mpopcnt)
  set(avx512_flags -mavx512f -mavx512dq -mavx512bw -mavx512vl -mavx512vbmi -mavx512vnni -mavx512vpopcntdq -mbmi2 -mpopcnt
                   -mprefer-vector-width=512)
  fqt_isa(avx512 SHARED generic vector FLAGS ${avx512_flags})
  fqt_isa(amx FLAGS ${avx512_flags} -mamx-tile -mamx-int8)
  if(TARGET fqt_amx)
    # For tests on machines without AMX: the same kernels run, slowly, wherever AVX-512 does, on tiles in memory.
    get_target_property(sources fqt_amx SOURCES)
    add_library(fqt_amx_emulated OBJECT EXCLUDE_FROM_ALL ${sources})
    target_link_libraries(fqt_amx_emulated PRIVATE fqt_flags)
    target_compile_options(fqt_amx_emulated PRIVATE ${avx512_flags})
    target_compile_definitions(fqt_amx_emulated PRIVATE FQT_ISA=amx FQT_EMULATE_TILES)
  endif()
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64|ARM64")
  # Every such processor has it, so no flag asks for it. GNU's first pass of scheduling has more values in flight than there are
  # registers, and spills the sums of the innermost loops.
  check_cxx_compiler_flag(-fno-schedule-insns FQT_HAS_SCHEDULE_INSNS)
  if(FQT_HAS_SCHEDULE_INSNS)
    set(neon_flags -fno-schedule-insns)
  endif()
  fqt_isa(neon SHARED generic vector lookup FLAGS ${neon_flags})
endif()

set(fqt_kernel_sources)
foreach(source IN ITEMS features memory pool)
  list(APPEND fqt_kernel_sources "${CMAKE_CURRENT_LIST_DIR}/cpu/${source}.cpp")
endforeach()
find_package(Threads REQUIRED)
target_link_libraries(fqt_flags INTERFACE Threads::Threads)
