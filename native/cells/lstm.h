// Long short-term memory (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000), gates in
// the order i f g o:
//   c = f * c[t-1] + i * g,   h = o * tanh(c),
// and with a projection (Sak et al. 2014) h = W_hr (o * tanh(c)).
#pragma once

#include "cells/cell.h"
#include "functions.h"

namespace UNROLLED_ISA_NS {

template <class T, bool Projected>
struct Lstm {
  using V = Vec<T>;
  static constexpr int phases = Projected ? 2 : 1;
  static constexpr Phase phase[2] = {{1, 4, 0, 4, 0, 4, {0, 1, 2, 3}, {0, 1, 2, 3}},
                                     {4, 1, 0, 0, 0, 1, {0}, {0}}};
  static constexpr int gates = 4;
  static constexpr Columns x_columns = {0, 4, {0, 1, 2, 3}}, h_columns = {0, 4, {0, 1, 2, 3}};
  static constexpr int tape_columns = Projected ? 6 : 5;  // i f g o c, and o * tanh(c)
  static constexpr bool has_c = true, has_direct = false, projected = Projected, two_phase = false;
  static constexpr int peepholes = 0;

  template <int P>
  static UNROLLED_INLINE void forward(const ForwardStep<T>& s, int64_t r, int64_t i, int64_t unit,
                                      int width, const T* slots) {
    constexpr int lanes = kLanes<T>;
    if constexpr (P == 1) {
      put_hidden(s, r, i, unit, width, load(slots));
      return;
    }
    const int64_t at = r * s.stride + unit;
    const V in = sigmoid<T>(load(slots));
    const V forget = sigmoid<T>(load(slots + lanes));
    const V candidate = tanh<T>(load(slots + 2 * lanes));
    const V out = sigmoid<T>(load(slots + 3 * lanes));
    const V c = forget * load(s.c + at) + in * candidate;
    store(s.c + at, c);
    const V h = out * tanh<T>(c);
    if constexpr (Projected) {
      store(s.product + at, h);
    } else {
      put_hidden(s, r, i, unit, width, h);
    }
    if (s.cells != nullptr) put(s.cells[i] + unit, c, width);
    if (s.tape != nullptr) {
      T* tape = s.tape[i] + unit;
      put(tape, in, width);
      put(tape + s.hidden, forget, width);
      put(tape + 2 * s.hidden, candidate, width);
      put(tape + 3 * s.hidden, out, width);
      put(tape + 4 * s.hidden, c, width);
      if constexpr (Projected) put(tape + 5 * s.hidden, h, width);
    }
  }

  // On return `through_c` holds dL/dc of this step.
  static UNROLLED_INLINE void backward(const BackwardStep<T>& s, int64_t r, int64_t i, int64_t unit,
                                       int width, V dh, V& through_c) {
    const T* tape = s.tape[i] + unit;
    const int64_t H = s.hidden;
    const V in = get(tape, width), forget = get(tape + H, width), candidate = get(tape + 2 * H, width);
    const V out = get(tape + 3 * H, width), squashed = tanh<T>(get(tape + 4 * H, width));
    T* dc_at = s.dc + r * s.stride + unit;
    V dc = load(dc_at) + dh * out * (T(1) - squashed * squashed);
    if (s.dcells != nullptr) dc += get(s.dcells[i] + unit, width);
    through_c = dc;
    store(dc_at, dc * forget);
    T* dgates = s.dgates[i] + unit;
    put(dgates, dc * candidate * in * (T(1) - in), width);
    put(dgates + H, dc * get(s.c_prev[i] + unit, width) * forget * (T(1) - forget), width);
    put(dgates + 2 * H, dc * in * (T(1) - candidate * candidate), width);
    put(dgates + 3 * H, dh * squashed * out * (T(1) - out), width);
  }
};

}  // namespace UNROLLED_ISA_NS
