#!/usr/bin/env bash
# Build FOLDER/check, the check of the engine without Python, for the generic instruction set alone:
#   native/check/build.sh FOLDER        CXX, CXXFLAGS, LDFLAGS, KERNEL_LEVEL from the environment
set -euo pipefail
native=$(cd "$(dirname "$0")/.." && pwd)
out=$1
mkdir -p "$out"
common="-std=gnu++20 -Wall -Wextra -Werror -Wno-maybe-uninitialized -I$native ${CXXFLAGS:-}"
kernel="${KERNEL_LEVEL:--O3} -ffp-contract=fast -fno-math-errno -fno-trapping-math -fno-exceptions -fno-rtti"
for source in kernels_f32 kernels_f64 kernels_bf16 kernels_int8; do
  # shellcheck disable=SC2086
  ${CXX:-g++} $common $kernel -DUNROLLED_ISA_NS=isa_generic -c "$native/isa/$source.cpp" \
    -o "$out/$source.o" &
done
for source in engine openmp pool dispatch check/check; do
  # shellcheck disable=SC2086
  ${CXX:-g++} $common -O2 -c "$native/$source.cpp" -o "$out/$(basename "$source").o"
done
for job in $(jobs -p); do wait "$job"; done
# shellcheck disable=SC2086
${CXX:-g++} ${CXXFLAGS:-} ${LDFLAGS:-} -pthread \
  "$out"/{kernels_{f32,f64,bf16,int8},engine,openmp,pool,dispatch,check}.o -o "$out/check" -ldl
