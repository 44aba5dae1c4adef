# The kernels of csrc/cuda, compiled by nvcc. Sets `fqt_cuda_objects`, empty without them.
#
# FQT_CUDA: 1 builds them, auto where nvcc is found, 0 (the default) not: for eight targets that takes minutes, which a machine
# without a GPU need not spend. `make cuda` and the CUDA image ask for them.
set(FQT_CUDA "0" CACHE STRING "Build the CUDA kernels: 0, 1, or auto (where nvcc is found)")
set_property(CACHE FQT_CUDA PROPERTY STRINGS 0 1 auto)
set(FQT_CUDA_TARGETS "75-real;80-real;86-real;89-real;90-real;100-real;120-real;120-virtual" CACHE STRING
    "Compute capabilities that CUDA kernels are compiled for; -virtual: code that later GPUs' drivers compile")

set(fqt_cuda_objects)
if(FQT_CUDA STREQUAL "auto")
  include(CheckLanguage)
  check_language(CUDA)
elseif(FQT_CUDA)
  set(CMAKE_CUDA_COMPILER nvcc)
endif()
if(FQT_CUDA AND CMAKE_CUDA_COMPILER)
  set(CMAKE_CUDA_ARCHITECTURES ${FQT_CUDA_TARGETS})
  set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
  set(CMAKE_CUDA_STANDARD 17)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  set(CMAKE_CUDA_VISIBILITY_PRESET hidden)
  set(CMAKE_CUDA_FLAGS_RELEASE "-O3 -DNDEBUG")
  enable_language(CUDA)
  find_package(CUDAToolkit REQUIRED)
  file(GLOB cuda_sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_LIST_DIR}/cuda/*.cu")
  add_library(fqt_cuda OBJECT ${cuda_sources})
  # Rounding is specified operation by operation: no fused multiply-add. constexpr functions serve both sides. Spilled registers
  # are a warning.
  target_compile_options(fqt_cuda PRIVATE --fmad=false --expt-relaxed-constexpr -Xptxas=--warn-on-spills -Xcompiler=-Wall,-Wextra
                                          $<$<BOOL:${FQT_WERROR}>:-Werror=all-warnings>)
  set(fqt_cuda_objects $<TARGET_OBJECTS:fqt_cuda>)
endif()
