// Gated recurrent unit (Cho et al. 2014), gates in the order r z n:
//   h = (1 - z) * n + z * h[t-1],
// with the reset gate after the recurrent product, n = tanh(W_in x + b_in + r * (W_hn h[t-1] + b_hn)),
// as in cuDNN and PyTorch, or before it, n = tanh(W_in x + b_in + W_hn (r * h[t-1]) + b_hn).
#pragma once

#include "cells/cell.h"
#include "functions.h"

namespace UNROLLED_ISA_NS {

template <class T>
struct GruAfter {
  using V = Vec<T>;
  static constexpr int phases = 1;
  // Slots: n from the input, r, z, n from the state.
  static constexpr Phase phase[2] = {{1, 4, 0, 3, 1, 3, {2, 0, 1}, {0, 1, 2}}};
  static constexpr int gates = 4;  // dn (input side), dr, dz, dn (state side)
  static constexpr Columns x_columns = {0, 3, {2, 0, 1}}, h_columns = {1, 3, {0, 1, 2}};
  static constexpr int tape_columns = 4;  // r z n, and W_hn h[t-1] + b_hn
  static constexpr bool has_c = false, has_direct = true, projected = false, two_phase = false;
  static constexpr int peepholes = 0;

  template <int P>
  static UNROLLED_INLINE void forward(const ForwardStep<T>& s, int64_t r, int64_t i, int64_t unit,
                                      int width, const T* slots) {
    constexpr int lanes = kLanes<T>;
    const V reset = sigmoid<T>(load(slots + lanes));
    const V update = sigmoid<T>(load(slots + 2 * lanes));
    const V from_state = load(slots + 3 * lanes);
    const V candidate = tanh<T>(load(slots) + reset * from_state);
    const V h = candidate + update * (load(s.h_prev + r * s.stride + unit) - candidate);
    put_hidden(s, r, i, unit, width, h);
    if (s.tape != nullptr) {
      T* tape = s.tape[i] + unit;
      put(tape, reset, width);
      put(tape + s.hidden, update, width);
      put(tape + 2 * s.hidden, candidate, width);
      put(tape + 3 * s.hidden, from_state, width);
    }
  }

  static UNROLLED_INLINE void backward(const BackwardStep<T>& s, int64_t r, int64_t i, int64_t unit,
                                       int width, V dh, V&) {
    const T* tape = s.tape[i] + unit;
    const int64_t H = s.hidden;
    const V reset = get(tape, width), update = get(tape + H, width);
    const V candidate = get(tape + 2 * H, width), from_state = get(tape + 3 * H, width);
    const V dn = dh * (T(1) - update) * (T(1) - candidate * candidate);
    const V h_prev = get(s.h_prev[i] + unit, width);
    T* dgates = s.dgates[i] + unit;
    put(dgates, dn, width);
    put(dgates + H, dn * from_state * reset * (T(1) - reset), width);
    put(dgates + 2 * H, dh * (h_prev - candidate) * update * (T(1) - update), width);
    put(dgates + 3 * H, dn * reset, width);
    store(s.direct + r * s.stride + unit, dh * update);
  }
};

template <class T>
struct GruBefore {
  using V = Vec<T>;
  static constexpr int phases = 2;
  static constexpr Phase phase[2] = {{2, 2, 0, 2, 0, 2, {0, 1}, {0, 1}},
                                     {4, 1, 0, 1, 0, 1, {2}, {2}}};
  static constexpr int gates = 3;  // dr dz dn
  static constexpr Columns x_columns = {0, 3, {0, 1, 2}}, h_columns = {0, 2, {0, 1}};
  static constexpr int tape_columns = 4;  // r z n, and r * h[t-1]
  static constexpr bool has_c = false, has_direct = true, projected = false, two_phase = true;
  static constexpr int peepholes = 0;

  template <int P>
  static UNROLLED_INLINE void forward(const ForwardStep<T>& s, int64_t r, int64_t i, int64_t unit,
                                      int width, const T* slots) {
    constexpr int lanes = kLanes<T>;
    const int64_t at = r * s.stride + unit;
    const V h_prev = load(s.h_prev + at);
    T* tape = s.tape != nullptr ? s.tape[i] + unit : nullptr;
    if constexpr (P == 0) {
      const V reset = sigmoid<T>(load(slots));
      const V update = sigmoid<T>(load(slots + lanes));
      const V kept = s.mask != nullptr ? h_prev * load(s.mask + at) : h_prev;
      store(s.product + at, reset * kept);
      store(s.update + at, update);
      if (tape != nullptr) {
        put(tape, reset, width);
        put(tape + s.hidden, update, width);
        put(tape + 3 * s.hidden, reset * kept, width);
      }
    } else {
      const V candidate = tanh<T>(load(slots));
      put_hidden(s, r, i, unit, width, candidate + load(s.update + at) * (h_prev - candidate));
      if (tape != nullptr) put(tape + 2 * s.hidden, candidate, width);
    }
  }

  // First half: dn and dz. The second half follows the product dn W_hn.
  static UNROLLED_INLINE void backward(const BackwardStep<T>& s, int64_t r, int64_t i, int64_t unit,
                                       int width, V dh, V&) {
    const T* tape = s.tape[i] + unit;
    const int64_t H = s.hidden;
    const V update = get(tape + H, width), candidate = get(tape + 2 * H, width);
    const V h_prev = get(s.h_prev[i] + unit, width);
    T* dgates = s.dgates[i] + unit;
    put(dgates + H, dh * (h_prev - candidate) * update * (T(1) - update), width);
    put(dgates + 2 * H, dh * (T(1) - update) * (T(1) - candidate * candidate), width);
    store(s.direct + r * s.stride + unit, dh * update);
  }

  // dproduct is dL/d(r * m * h[t-1]).
  static UNROLLED_INLINE void backward_reset(const BackwardStep<T>& s, int64_t r, int64_t i,
                                             int64_t unit, int width, V dproduct) {
    const int64_t at = r * s.stride + unit;
    const V reset = get(s.tape[i] + unit, width);
    const V h_prev = get(s.h_prev[i] + unit, width);
    const V mask = s.mask != nullptr ? load(s.mask + at) : splat<T>(1);
    put(s.dgates[i] + unit, dproduct * mask * h_prev * reset * (T(1) - reset), width);
    store(s.direct + at, load(s.direct + at) + dproduct * mask * reset);
  }
};

}  // namespace UNROLLED_ISA_NS
