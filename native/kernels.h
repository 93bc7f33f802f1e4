// The table of functions that one instruction set offers. Every set fills the same table from the
// same sources; nothing here has a body, so the header is safe to include from any of them.
#pragma once

#include "shapes.h"

namespace unrolled {

// Elementwise functions that are also offered on whole arrays, so that their accuracy can be tested.
enum class Unary : int { exp, tanh, sigmoid, elu, softplus, softsign };

// What a step of a decoder is made of; `decoder/parts.h` says what each computes.
template <class T>
struct DecoderParts {
  int64_t (*matrix_size)(int64_t depth, int64_t columns);
  void (*pack_matrix)(const T* source, int64_t depth, int64_t columns, T* packed);
  void (*multiply)(const T* packed, int64_t depth, int64_t columns, const T* const* rows,
                   int64_t count, const T* in, int64_t in_stride, T* out, int64_t out_stride);
  void (*score)(const T* query, const T* v, const T* keys, int64_t stride, int64_t steps,
                int64_t width, T* scores);
  void (*softmax)(T* x, int64_t n);
  void (*log_softmax)(T* x, int64_t n, T* scratch);
  void (*add_weighted)(const T* weights, const T* rows, int64_t stride, int64_t steps,
                       int64_t width, T* out);
  void (*add)(const T* x, T* y, int64_t n);
  void (*pointwise)(Cell cell, const T* given, const T* held, int64_t hidden, T* h, T* c);
};

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

  DecoderParts<T> decoder;
};

}  // namespace unrolled
