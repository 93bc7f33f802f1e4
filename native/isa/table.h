// Fills the kernel table of one value type for the instruction set being compiled.
#pragma once

#include "cells/elman.h"
#include "cells/general.h"
#include "cells/gru.h"
#include "cells/lstm.h"
#include "decoder/parts.h"
#include "functions.h"
#include "kernels.h"
#include "recurrence.h"
#include "recurrence_backward.h"
#include "step.h"
#include "weight_gradients.h"

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
    case unrolled::Unary::elu:
      return map(x, y, n, [](V v) UNROLLED_LAMBDA { return elu<T>(v, T(1)); });
    case unrolled::Unary::softplus:
      return map(x, y, n, [](V v) UNROLLED_LAMBDA { return softplus<T>(v); });
    case unrolled::Unary::softsign:
      return map(x, y, n, [](V v) UNROLLED_LAMBDA { return softsign<T>(v); });
  }
}

template <class C>
struct Is {
  using type = C;
};

// Calls f with the policy of a cell that can be trained.
template <class T, class F>
auto with_cell(unrolled::Cell cell, F f) {
  switch (cell) {
    case unrolled::Cell::rnn_tanh: return f(Is<Elman<T, false>>{});
    case unrolled::Cell::rnn_relu: return f(Is<Elman<T, true>>{});
    case unrolled::Cell::lstm: return f(Is<Lstm<T, false>>{});
    case unrolled::Cell::lstm_projected: return f(Is<Lstm<T, true>>{});
    case unrolled::Cell::gru_after: return f(Is<GruAfter<T>>{});
    case unrolled::Cell::gru_before: return f(Is<GruBefore<T>>{});
    default: __builtin_trap();  // a general cell, which has no backward pass
  }
}

// Calls f with the policy of any cell, general ones included.
template <class T, class F>
auto with_any_cell(unrolled::Cell cell, F f) {
  switch (cell) {
    case unrolled::Cell::general_rnn: return f(Is<GeneralElman<T>>{});
    case unrolled::Cell::general_lstm: return f(Is<GeneralLstm<T>>{});
    case unrolled::Cell::general_gru_after: return f(Is<GeneralGruAfter<T>>{});
    case unrolled::Cell::general_gru_before: return f(Is<GeneralGruBefore<T>>{});
    default: return with_cell<T>(cell, f);
  }
}

#define UNROLLED_CELL(T, cell, expression) \
  with_cell<T>(cell, [&](auto is) { using C = typename decltype(is)::type; return expression; })
#define UNROLLED_ANY_CELL(T, cell, expression) \
  with_any_cell<T>(cell, [&](auto is) { using C = typename decltype(is)::type; return expression; })

template <class T>
constexpr unrolled::Kernels<T> make_table() {
  using unrolled::Kernels;
  Kernels<T> t{};
  t.lanes = kLanes<T>;
  t.unary = unary<T>;
  t.packed_size = [](const Size& size) {
    return UNROLLED_ANY_CELL(T, size.cell, (Plan<T, C>(size).end));
  };
  t.pack = [](const Size& size, const Weights<T>& weights, T* packed, int member, int members) {
    UNROLLED_ANY_CELL(T, size.cell, (pack<T, C>(size, weights, packed, member, members)));
  };
  t.tape_width = [](const Size& size) {
    return UNROLLED_CELL(T, size.cell, C::tape_columns * size.hidden);
  };
  t.panels = [](const Size& size) {
    return UNROLLED_ANY_CELL(T, size.cell, (Plan<T, C>(size).phase[0].panels));
  };
  t.backward_panels = [](const Size& size) { return panels_of(tiles_of<T>(size.outputs)); };
  t.forward_state = [](const Size& size, int64_t rows) {
    return ForwardState<T>(size, rows, nullptr).words;
  };
  t.forward_scratch = [](const Size& size, const Schedule& schedule, const Share& share) {
    return UNROLLED_ANY_CELL(T, size.cell, (ForwardLoop<T, C>::scratch(size, schedule, share)));
  };
  t.forward = [](const Forward<T>& call, const Share& share, T* scratch) {
    UNROLLED_ANY_CELL(T, call.size.cell, (ForwardLoop<T, C>(call, share, scratch).run()));
  };
  t.step_scratch = [](const Size& size, int64_t rows) {
    return StepState<T>(size, rows, nullptr).words;
  };
  t.step = [](const Step<T>& call, const Share& share, T* scratch) {
    UNROLLED_ANY_CELL(T, call.size.cell, (StepLayer<T, C>(call, share, scratch).run()));
  };
  t.packed_backward_size = [](const Size& size, bool dx) {
    return UNROLLED_CELL(T, size.cell, (BackwardPlan<T, C>(size, dx).end));
  };
  t.pack_backward = [](const Size& size, const Weights<T>& weights, bool dx, T* packed, int member,
                       int members) {
    UNROLLED_CELL(T, size.cell, (pack_backward<T, C>(size, weights, dx, packed, member, members)));
  };
  t.backward_state = [](const Size& size, const Schedule& schedule) {
    return UNROLLED_CELL(T, size.cell, (BackwardState<T, C>(size, schedule, nullptr).words));
  };
  t.backward_scratch = [](const Size& size, const Schedule& schedule) {
    unrolled::Backward<T> call{};
    call.size = size;
    call.schedule = schedule;
    const Share all{0, 1, 0, 1, nullptr};
    return UNROLLED_CELL(T, size.cell,
                         (BackwardLoop<T, C>(call, all, nullptr).words() +
                          GradientBlock<T, C>(call, 0, 1, nullptr, 0).words()));
  };
  t.blocks = [](const Size& size, const Schedule& schedule) {
    return UNROLLED_CELL(T, size.cell,
                         (BackwardState<T, C>(size, schedule, nullptr).blocks(schedule)));
  };
  t.flow_parts = [](const Size& size) {
    return UNROLLED_CELL(T, size.cell, (BackwardLoop<T, C>::flow_parts(size)));
  };
  t.backward_steps = [](const Backward<T>& call, const Share& share, T* scratch, int64_t block) {
    UNROLLED_CELL(T, call.size.cell, (BackwardLoop<T, C>(call, share, scratch).steps(block)));
  };
  t.backward_finish = [](const Backward<T>& call, const Share& share, T* scratch) {
    UNROLLED_CELL(T, call.size.cell, (BackwardLoop<T, C>(call, share, scratch).finish()));
  };
  t.input_gradient = [](const Backward<T>& call, int member, int members, T* scratch, int64_t block) {
    UNROLLED_CELL(T, call.size.cell,
                  (GradientBlock<T, C>(call, member, members, scratch, block).input_gradient()));
  };
  t.weight_gradient = [](const Backward<T>& call, int member, int members, T* scratch,
                         int64_t block) {
    UNROLLED_CELL(T, call.size.cell,
                  (GradientBlock<T, C>(call, member, members, scratch, block).weight_gradient()));
  };
  t.decoder = decoder_parts<T>();
  return t;
}

#undef UNROLLED_CELL
#undef UNROLLED_ANY_CELL

}  // namespace UNROLLED_ISA_NS
