// The table of functions that one instruction set offers. Every set fills the same table from the
// same sources; nothing here has a body, so the header is safe to include from any of them.
#pragma once

#include "shapes.h"

namespace unrolled {

// Elementwise functions that are also offered on whole arrays, so that their accuracy can be tested.
enum class Unary : int { exp, tanh, sigmoid, elu, softplus, softsign };

// Sizes count values of T. `scratch` is private to the calling thread, `state` to a direction.
template <class T>
struct Kernels {
  int lanes;  // values of T in one vector register
  void (*unary)(Unary op, const T* x, T* y, int64_t n);

  int64_t (*packed_size)(const Size&);
  void (*pack)(const Size&, const Weights<T>&, T* packed, int member, int members);
  int64_t (*tape_width)(const Size&);
  int64_t (*panels)(const Size&);  // of a step's product: the most threads that can share it
  int64_t (*backward_panels)(const Size&);

  int64_t (*forward_state)(const Size&, int64_t rows);
  int64_t (*forward_scratch)(const Size&, const Schedule&, const Share&);
  void (*forward)(const Forward<T>&, const Share&, T* scratch);

  int64_t (*step_scratch)(const Size&, int64_t rows);
  void (*step)(const Step<T>&, const Share& share, T* scratch);

  int64_t (*packed_backward_size)(const Size&, bool dx);
  void (*pack_backward)(const Size&, const Weights<T>&, bool dx, T* packed, int member, int members);
  int64_t (*backward_state)(const Size&, const Schedule&);
  int64_t (*backward_scratch)(const Size&, const Schedule&);
  // The backward pass goes through blocks of steps, numbered from the last steps to the first.
  int64_t (*blocks)(const Size&, const Schedule&);
  int64_t (*flow_parts)(const Size&);
  void (*backward_steps)(const Backward<T>&, const Share&, T* scratch, int64_t block);
  void (*backward_finish)(const Backward<T>&, const Share&, T* scratch);
  void (*input_gradient)(const Backward<T>&, int member, int members, T* scratch, int64_t block);
  void (*weight_gradient)(const Backward<T>&, int member, int members, T* scratch, int64_t block);
};

}  // namespace unrolled
