// The table of functions that one instruction set offers. Every set fills the same table from the
// same sources; nothing here has a body, so the header is safe to include from any of them.
#pragma once

#include <cstdint>

namespace unrolled {

// Elementwise functions that are also offered on whole arrays, so that their accuracy can be tested.
enum class Unary : int { exp, tanh, sigmoid };

template <class T>
struct Kernels {
  const char* name;
  int lanes;  // values of T in one vector register
  void (*unary)(Unary op, const T* x, T* y, int64_t n);
};

}  // namespace unrolled
