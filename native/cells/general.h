// The cells of ONNX's recurrent operators with everything that those may ask for: activations f, g
// and h of one's own, clip, and in the LSTM peepholes and coupled gates. Inference only: each takes
// the layout of its standard cell and replaces its forward step; nothing here writes a tape.
//
// `clip` bounds the sums that f and g act on, peepholes included. The LSTM's h acts on c as it is,
// which is how ONNX Runtime reads "the input of activations".
#pragma once

#include "cells/activation.h"
#include "cells/elman.h"
#include "cells/gru.h"
#include "cells/lstm.h"

namespace UNROLLED_ISA_NS {

// h = f(W_ih x + b_ih + W_hh h[t-1] + b_hh).
template <class T>
struct GeneralElman : Elman<T, false> {
  using V = Vec<T>;

  template <int P>
  static UNROLLED_INLINE void forward(const ForwardStep<T>& s, int64_t r, int64_t i, int64_t unit,
                                      int width, const T* slots) {
    const unrolled::CellOptions& by = *s.options;
    put_hidden(s, r, i, unit, width, activate_clipped<T>(by.f, load(slots), by.clip));
  }
};

// r and z by f, n by g.
template <class T>
struct GeneralGruAfter : GruAfter<T> {
  using V = Vec<T>;

  template <int P>
  static UNROLLED_INLINE void forward(const ForwardStep<T>& s, int64_t r, int64_t i, int64_t unit,
                                      int width, const T* slots) {
    constexpr int lanes = kLanes<T>;
    const unrolled::CellOptions& by = *s.options;
    const V reset = activate_clipped<T>(by.f, load(slots + lanes), by.clip);
    const V update = activate_clipped<T>(by.f, load(slots + 2 * lanes), by.clip);
    const V sum = load(slots) + reset * load(slots + 3 * lanes);
    const V candidate = activate_clipped<T>(by.g, sum, by.clip);
    const V h_prev = load(s.h_prev + r * s.stride + unit);
    put_hidden(s, r, i, unit, width, candidate + update * (h_prev - candidate));
  }
};

template <class T>
struct GeneralGruBefore : GruBefore<T> {
  using V = Vec<T>;

  template <int P>
  static UNROLLED_INLINE void forward(const ForwardStep<T>& s, int64_t r, int64_t i, int64_t unit,
                                      int width, const T* slots) {
    const unrolled::CellOptions& by = *s.options;
    const int64_t at = r * s.stride + unit;
    const V h_prev = load(s.h_prev + at);
    if constexpr (P == 0) {
      store(s.product + at, activate_clipped<T>(by.f, load(slots), by.clip) * h_prev);
      store(s.update + at, activate_clipped<T>(by.f, load(slots + kLanes<T>), by.clip));
    } else {
      const V candidate = activate_clipped<T>(by.g, load(slots), by.clip);
      put_hidden(s, r, i, unit, width, candidate + load(s.update + at) * (h_prev - candidate));
    }
  }
};

// i = f(a_i + p_i * c[t-1]), f = f(a_f + p_f * c[t-1]) or 1 - i, c = f * c[t-1] + i * g(a_g),
// h = f(a_o + p_o * c) * h(c)  (peepholes: Gers and Schmidhuber 2000).
template <class T>
struct GeneralLstm : Lstm<T, false> {
  using V = Vec<T>;
  static constexpr int peepholes = 3;

  template <int P>
  static UNROLLED_INLINE void forward(const ForwardStep<T>& s, int64_t r, int64_t i, int64_t unit,
                                      int width, const T* slots) {
    constexpr int lanes = kLanes<T>;
    const unrolled::CellOptions& by = *s.options;
    T* c_at = s.c + r * s.stride + unit;
    const V c_prev = load(c_at);
    V a_in = load(slots), a_forget = load(slots + lanes), a_out = load(slots + 3 * lanes);
    const T* weights = s.peepholes + peepholes * unit;
    if (by.peepholes) {
      a_in += load(weights) * c_prev;
      a_forget += load(weights + lanes) * c_prev;
    }
    const V in = activate_clipped<T>(by.f, a_in, by.clip);
    const V forget = by.input_forget ? T(1) - in : activate_clipped<T>(by.f, a_forget, by.clip);
    const V candidate = activate_clipped<T>(by.g, load(slots + 2 * lanes), by.clip);
    const V c = forget * c_prev + in * candidate;
    store(c_at, c);
    if (by.peepholes) a_out += load(weights + 2 * lanes) * c;
    const V out = activate_clipped<T>(by.f, a_out, by.clip);
    put_hidden(s, r, i, unit, width, out * activate<T>(by.h, c));
    if (s.cells != nullptr) put(s.cells[i] + unit, c, width);
  }
};

}  // namespace UNROLLED_ISA_NS
