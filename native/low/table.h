// Fills the table of a low-precision format: what inference needs, on float32 activations. The
// packed weights are words of the size of a float. There is no projection and no backward pass.
#pragma once

#include "cells/elman.h"
#include "cells/gru.h"
#include "cells/lstm.h"
#include "kernels.h"
#include "low/forward_loop.h"
#include "low/step_layer.h"

namespace UNROLLED_ISA_NS {

template <class C>
struct LowCell {
  using type = C;
};

template <class G>
auto low_with_cell(unrolled::Cell cell, G g) {
  switch (cell) {
    case unrolled::Cell::rnn_tanh: return g(LowCell<Elman<float, false>>{});
    case unrolled::Cell::rnn_relu: return g(LowCell<Elman<float, true>>{});
    case unrolled::Cell::gru_after: return g(LowCell<GruAfter<float>>{});
    case unrolled::Cell::gru_before: return g(LowCell<GruBefore<float>>{});
    default: return g(LowCell<Lstm<float, false>>{});
  }
}

#define UNROLLED_LOW_CELL(cell, expression) \
  low_with_cell(cell, [&](auto is) { using C = typename decltype(is)::type; return expression; })

template <class F>
constexpr unrolled::Kernels<float> make_low_table() {
  unrolled::Kernels<float> t{};
  t.lanes = kLanes<float>;
  t.packed_size = [](const Size& size) {
    return UNROLLED_LOW_CELL(size.cell, (LowPlan<F, C>(size).end));
  };
  t.pack = [](const Size& size, const Weights<float>& weights, float* packed, int member,
              int members) {
    UNROLLED_LOW_CELL(size.cell, (pack_low<F, C>(size, weights, packed, member, members)));
  };
  t.panels = [](const Size& size) {
    return UNROLLED_LOW_CELL(size.cell, (LowPlan<F, C>(size).phase[0].panels));
  };
  t.forward_state = [](const Size& size, int64_t rows) {
    return ForwardState<float>(size, rows, nullptr).words;
  };
  t.forward_scratch = [](const Size& size, const Schedule& schedule, const Share& share) {
    return UNROLLED_LOW_CELL(size.cell, (LowForwardLoop<F, C>::scratch(size, schedule, share)));
  };
  t.forward = [](const unrolled::Forward<float>& call, const Share& share, float* scratch) {
    UNROLLED_LOW_CELL(call.size.cell, (LowForwardLoop<F, C>(call, share, scratch).run()));
  };
  t.step_scratch = [](const Size& size, int64_t rows) {
    return UNROLLED_LOW_CELL(size.cell, (LowStepLayer<F, C>::scratch(size, rows)));
  };
  t.step = [](const unrolled::Step<float>& call, const Share& share, float* scratch) {
    UNROLLED_LOW_CELL(call.size.cell, (LowStepLayer<F, C>(call, share, scratch).run()));
  };
  return t;
}

#undef UNROLLED_LOW_CELL

}  // namespace UNROLLED_ISA_NS
