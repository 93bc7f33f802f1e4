#!/usr/bin/env bash
# Build the engine with a sanitizer and run its tests on that:
#   native/sanitize/run.sh address|thread PYTHON [arguments of pytest]
# "address" is address and undefined behaviour. Needs gcc's sanitizer libraries; builds in build/.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
kind=$1 python=$2
shift 2
out=$root/build/sanitize-$kind

case $kind in
  address) flags="-fsanitize=address,undefined -fno-sanitize-recover=undefined" library=libasan.so ;;
  thread) flags="-fsanitize=thread" library=libtsan.so ;;
  *) echo "sanitizer '$kind': expected address or thread" >&2; exit 2 ;;
esac

# Leaks are looked for here, where there is no interpreter that keeps its memory until the end.
export UBSAN_OPTIONS=print_stacktrace=1
echo "$kind: the check without Python"
KERNEL_LEVEL=-O1 CXXFLAGS="$flags -g1 -fno-omit-frame-pointer" "$here/../check/build.sh" "$out/check"
ASAN_OPTIONS=detect_leaks=1 TSAN_OPTIONS=halt_on_error=1 "$out/check/check"

echo "$kind: the Python module"
"$python" -m pip install --quiet --disable-pip-version-check --no-deps --upgrade \
  --target "$out/package" -C "cmake.define.UNROLLED_SANITIZE=$kind" -C install.strip=false \
  -C "build-dir=$out/cmake" "$root"
native=$(echo "$out"/package/unrolled/_native*.so)

# The interpreter's own leaks are no concern; its memory comes from malloc, where bounds are watched.
# The sanitizer comes first in every process, and libstdc++ with it, whose exceptions it intercepts.
# Of libraries that were not built with the thread sanitizer it sees only half of each hand-over, so
# what they do among themselves is left out; nothing of this module's is. Tests fork with threads.
export ASAN_OPTIONS=detect_leaks=0
export TSAN_OPTIONS=halt_on_error=1:die_after_fork=0:ignore_noninstrumented_modules=1
export PYTHONMALLOC=malloc OMP_NUM_THREADS=1
# OpenMP's own hand-over cannot be seen either: the kernels run on the engine's own pool.
[ "$kind" = address ] || export OMP_THREAD_LIMIT=1
export PYTHONPATH="$here" UNROLLED_NATIVE="$native"
preload="$(${CXX:-g++} -print-file-name=$library) $(${CXX:-g++} -print-file-name=libstdc++.so.6)"
cd "$root"
LD_PRELOAD="$preload" "$python" -c "
from unrolled import _native
assert _native.__file__ == '$native', _native.__file__"
LD_PRELOAD="$preload" "$python" -m pytest -q -p no:cacheprovider \
  tests/agree/test_native.py tests/agree/test_native_fuzz.py tests/agree/test_native_binding.py \
  tests/agree/test_native_threads.py tests/agree/test_functions.py \
  tests/agree/test_low_precision.py tests/agree/test_crf.py tests/agree/test_fast_decoder.py tests/agree/test_onnx_extras.py \
  tests/test_runtime_recurrent.py tests/test_runtime_step.py tests/test_runtime_session.py "$@"
