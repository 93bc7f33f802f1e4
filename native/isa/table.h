// Fills the kernel table of one value type for the instruction set being compiled.
#pragma once

#include "functions.h"
#include "kernels.h"

#define UNROLLED_STRING_OF(x) #x
#define UNROLLED_STRING(x) UNROLLED_STRING_OF(x)

namespace UNROLLED_ISA_NS {

template <class T, class F>
UNROLLED_INLINE void map(const T* x, T* y, int64_t n, F f) {
  constexpr int lanes = kLanes<T>;
  int64_t i = 0;
  for (; i + lanes <= n; i += lanes) store(y + i, f(load(x + i)));
  if (i < n) {
    const int rest = static_cast<int>(n - i);
    store_first(y + i, f(load_first(x + i, rest)), rest);
  }
}

template <class T>
void unary(unrolled::Unary op, const T* x, T* y, int64_t n) {
  using V = Vec<T>;
  switch (op) {
    case unrolled::Unary::exp:
      return map(x, y, n, [](V v) UNROLLED_LAMBDA { return exp<T>(v); });
    case unrolled::Unary::tanh:
      return map(x, y, n, [](V v) UNROLLED_LAMBDA { return tanh<T>(v); });
    case unrolled::Unary::sigmoid:
      return map(x, y, n, [](V v) UNROLLED_LAMBDA { return sigmoid<T>(v); });
  }
}

template <class T>
unrolled::Kernels<T> make_table() {
  return {UNROLLED_STRING(UNROLLED_ISA_NS), kLanes<T>, unary<T>};
}

}  // namespace UNROLLED_ISA_NS
