// What a cell tells the time loop, and the contexts in which its pointwise part runs.
#pragma once

#include "gemm.h"
#include "shapes.h"

namespace UNROLLED_ISA_NS {

using unrolled::Size;

// One recurrent product of a step with the pointwise part that follows it. Per tile of `lanes` units
// the sums stand in `slots` vectors side by side: the input product adds to slots
// [x_first, x_first + x_count), the recurrent product to [h_first, h_first + h_count). A panel spans
// `tiles` tiles. x_gate and h_gate name the block of rows of weight_ih and weight_hh for each slot.
struct Phase {
  int tiles, slots;
  int x_first, x_count, h_first, h_count;
  int x_gate[4], h_gate[4];
};

// Which columns of dgates, in blocks of H, a product of the backward pass reads, and which block of
// rows of the weight each belongs to.
struct Columns {
  int first, count;
  int gate[4];
};

// Rows of state are `stride` apart and padded to whole vectors. Row r is in the sorted batch; i is
// the thread's own count of it, which indexes the pointer arrays.
template <class T>
struct ForwardStep {
  int64_t stride;
  const T* h_prev;
  T* h_next;
  T* masked_next;  // mask * h_next, or null where there is no mask
  const T* mask;
  T* c;
  T* product;  // what the second phase multiplies: r * h (GRU before) or o * tanh(c) (projection)
  T* update;   // z between the phases (GRU before)
  T* const* y;
  T* const* tape;  // null where nothing is saved
  T* const* cells;  // null where c is not wanted
  int64_t hidden, outputs;
  const unrolled::CellOptions* options;  // of a general cell
  const T* peepholes;  // three vectors for each vector of units: i f o
};

template <class T>
struct BackwardStep {
  int64_t stride;
  const T* const* dy;
  const T* const* y;
  const T* const* h_prev;
  const T* const* c_prev;
  const T* const* dcells;  // null where nothing read c
  const T* const* tape;
  T* const* dgates;
  T* dc;      // [N] rows, updated in place
  T* direct;  // dL/dh that reaches h[t-1] past the recurrent product (GRU), [N] rows
  const T* mask;
  int64_t hidden, outputs;
};

template <class T>
UNROLLED_INLINE Vec<T> get(const T* p, int width) {
  return width == kLanes<T> ? load(p) : load_first(p, width);
}
template <class T>
UNROLLED_INLINE void put(T* p, Vec<T> v, int width) {
  if (width == kLanes<T>) {
    store(p, v);
  } else {
    store_first(p, v, width);
  }
}

// The pointwise part of one row and `tiles` vectors of units from `unit` on, given their sums.
template <class T, class C, int P>
UNROLLED_ONE_COPY void apply_cell(const ForwardStep<T>& s, int64_t r, int64_t i, int64_t unit,
                                  int tiles, int64_t units, const T* sums) {
  constexpr int lanes = kLanes<T>;
  for (; tiles > 0; --tiles, unit += lanes, sums += C::phase[P].slots * lanes) {
    const int width = units - unit < lanes ? static_cast<int>(units - unit) : lanes;
    C::template forward<P>(s, r, i, unit, width, sums);
  }
}

// Writes a new h to the state, to the masked state and to the output.
template <class T>
UNROLLED_INLINE void put_hidden(const ForwardStep<T>& s, int64_t r, int64_t i, int64_t unit,
                                int width, Vec<T> h) {
  const int64_t at = r * s.stride + unit;
  store(s.h_next + at, h);
  if (s.masked_next != nullptr) store(s.masked_next + at, h * load(s.mask + at));
  put(s.y[i] + unit, h, width);
}

}  // namespace UNROLLED_ISA_NS
