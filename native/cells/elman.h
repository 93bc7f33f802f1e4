// The vanilla recurrent cell (Elman 1990): h = f(W_ih x + b_ih + W_hh h[t-1] + b_hh), f tanh or relu.
#pragma once

#include "cells/cell.h"
#include "functions.h"

namespace UNROLLED_ISA_NS {

template <class T, bool Relu>
struct Elman {
  using V = Vec<T>;
  static constexpr int phases = 1;
  static constexpr Phase phase[2] = {{4, 1, 0, 1, 0, 1, {0}, {0}}};
  static constexpr int gates = 1;  // columns of dgates, in blocks of H
  static constexpr Columns x_columns = {0, 1, {0}}, h_columns = {0, 1, {0}};
  static constexpr int tape_columns = 0;  // the output is all that backward needs
  static constexpr bool has_c = false, has_direct = false, projected = false, two_phase = false;
  static constexpr int peepholes = 0;

  template <int P>
  static UNROLLED_INLINE void forward(const ForwardStep<T>& s, int64_t r, int64_t i, int64_t unit,
                                      int width, const T* slots) {
    const V a = load(slots);
    put_hidden(s, r, i, unit, width, Relu ? at_least(a, V{}) : tanh<T>(a));
  }

  // dh arrives as the sum of what came through the output and through time.
  static UNROLLED_INLINE void backward(const BackwardStep<T>& s, int64_t, int64_t i, int64_t unit,
                                       int width, V dh, V&) {
    const V h = get(s.y[i] + unit, width);
    put(s.dgates[i] + unit, Relu ? (h > V{} ? dh : V{}) : dh * (T(1) - h * h), width);
  }
};

}  // namespace UNROLLED_ISA_NS
