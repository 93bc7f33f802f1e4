// One time step of one layer for a block of rows, without a schedule and without memory of its own.
//
// Every sum is the same chain as in the time loop (bias, then the input's products, then the
// state's, k by k), so a step gives the same bits as the sequence that holds it. One row is a product
// of a matrix and a vector: its time is that of reading the weights. Several panels are read at once,
// because one panel alone has too few independent sums to hide the latency of a multiply-add.
#pragma once

#include "cells/cell.h"
#include "packing.h"
#include "team.h"

namespace UNROLLED_ISA_NS {

using unrolled::Step;

constexpr int kPanelsAtOnce = kAccumulators >= 24 ? 4 : 2;

template <class T>
struct StepState {
  T *h, *h_next, *c, *product, *update;
  const T **x_rows, **h_rows, **product_rows;
  T** y_rows;
  int64_t stride, words;

  StepState(const Size& size, int64_t rows, T* block) {
    stride = row_stride<T>(size.hidden > size.outputs ? size.hidden : size.outputs);
    Carver carver(block);
    T** const arrays[] = {&h, &h_next, &c, &product, &update};
    for (T** array : arrays) *array = carver.template take<T>(rows * stride);
    x_rows = carver.template take<const T*>(rows);
    h_rows = carver.template take<const T*>(rows);
    product_rows = carver.template take<const T*>(rows);
    y_rows = carver.template take<T*>(rows);
    words = carver.template values<T>();
  }
};

template <class T, class C>
class StepLayer {
 public:
  StepLayer(const Step<T>& call, const Share& share, T* scratch)
      : call_(call), share_(share), plan_(call.size), state_(call.size, call.rows, scratch) {}

  void run() {
    // Where panels are shared, every member needs all rows' pointers, and they are all the same.
    if (share_.member == 0) point();
    for (int64_t i = share_.member; i < call_.rows; i += share_.members) begin(i);
    wait(share_.barrier, share_.members);
    ForwardStep<T> context{};
    context.stride = state_.stride;
    context.h_prev = state_.h;
    context.h_next = state_.h_next;
    context.c = state_.c;
    context.product = state_.product;
    context.update = state_.update;
    context.y = state_.y_rows;
    context.hidden = call_.size.hidden;
    context.outputs = call_.size.outputs;
    context.options = call_.options;
    context.peepholes = call_.packed + plan_.peepholes;
    products<0>(context, state_.h_rows);
    wait(share_.barrier, share_.members);
    if constexpr (C::phases == 2) {
      products<1>(context, state_.product_rows);
      wait(share_.barrier, share_.members);
    }
    for (int64_t i = share_.member; i < call_.rows; i += share_.members) finish(i);
    // The next layer divides the same scratch memory otherwise.
    wait(share_.barrier, share_.members);
  }

 private:
  static constexpr int lanes = kLanes<T>;

  int64_t state_row(int64_t i) const { return call_.index != nullptr ? call_.index[i] : i; }

  void point() {
    for (int64_t i = 0; i < call_.rows; ++i) {
      state_.x_rows[i] = call_.x.data + i * call_.x.batch;
      state_.y_rows[i] = call_.y.data + i * call_.y.batch;
      state_.h_rows[i] = state_.h + i * state_.stride;
      state_.product_rows[i] = state_.product + i * state_.stride;
    }
  }

  // The caller's rows end with the last unit; the cell reads and writes whole vectors.
  void begin(int64_t i) {
    const int64_t r = state_row(i);
    take(state_.h + i * state_.stride, call_.h.data + r * call_.h.batch, call_.size.outputs);
    if (C::has_c)
      take(state_.c + i * state_.stride, call_.c.data + r * call_.c.batch, call_.size.hidden);
  }

  void finish(int64_t i) {
    const int64_t r = state_row(i), P = call_.size.outputs;
    give(call_.h_n.data + r * call_.h_n.batch, state_.h_next + i * state_.stride, P);
    if (C::has_c)
      give(call_.c_n.data + r * call_.c_n.batch, state_.c + i * state_.stride, call_.size.hidden);
    if (!call_.residual) return;
    const T* x = call_.x.data + i * call_.x.batch;
    T* y = call_.y.data + i * call_.y.batch;
    for (int64_t j = 0; j < P; ++j) y[j] += x[j];
  }

  static void take(T* to, const T* from, int64_t width) {
    int64_t j = 0;
    for (; j + lanes <= width; j += lanes) store(to + j, load(from + j));
    if (j < width) store(to + j, load_first(from + j, static_cast<int>(width - j)));
  }

  static void give(T* to, const T* from, int64_t width) {
    int64_t j = 0;
    for (; j + lanes <= width; j += lanes) store(to + j, load(from + j));
    if (j < width) store_first(to + j, load(from + j), static_cast<int>(width - j));
  }

  template <int P>
  void products(const ForwardStep<T>& context, const T* const* from) {
    const Range panels = part_of(plan_.phase[P].panels, share_.member, share_.members);
    const int64_t groups = (panels.end - panels.begin + kPanelsAtOnce - 1) / kPanelsAtOnce;
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t first = panels.begin + (call_.backward ? groups - 1 - g : g) * kPanelsAtOnce;
      const int64_t last = first + kPanelsAtOnce;
      panel_group<P>(context, from, first, last < panels.end ? last : panels.end);
    }
  }

  template <int P>
  void panel_group(const ForwardStep<T>& context, const T* const* from, int64_t panel,
                   int64_t end) {
    if (call_.rows == 1) {
      const int64_t full = plan_.phase[P].tiles / C::phase[P].tiles;
      const int64_t whole = full < end ? full : end;
      if (panel + kPanelsAtOnce <= whole) return one_row<P, kPanelsAtOnce>(context, from[0], panel);
      if constexpr (kPanelsAtOnce > 2)
        for (; panel + 2 <= whole; panel += 2) one_row<P, 2>(context, from[0], panel);
      for (; panel < whole; ++panel) one_row<P, 1>(context, from[0], panel);
    }
    for (; panel < end; ++panel) rows_of_panel<P>(context, from, panel);
  }

  // One row and `count` whole panels, their sums in registers from the bias to the cell.
  template <int P, int count>
  void one_row(const ForwardStep<T>& context, const T* from, int64_t panel) {
    constexpr Phase phase = C::phase[P];
    constexpr int width = phase.tiles * phase.slots;
    constexpr int x_width = phase.tiles * phase.x_count, h_width = phase.tiles * phase.h_count;
    const PhasePlan<T>& plan = plan_.phase[P];
    const int64_t x_panel = plan.x_depth * x_width * lanes;
    const int64_t h_panel = plan.h_depth * h_width * lanes;
    const T* weights = call_.packed + plan.x + panel * x_panel;
    const T* bias = call_.packed + plan.bias + panel * width * lanes;
    Vec<T> sum[count][width];
#pragma GCC unroll 4
    for (int p = 0; p < count; ++p)
#pragma GCC unroll 4
      for (int v = 0; v < width; ++v) sum[p][v] = load(bias + (p * width + v) * lanes);
    if constexpr (x_width > 0) {
      const T* x = state_.x_rows[0];
      for (int64_t k = 0; k < plan.x_depth; ++k, weights += x_width * lanes)
        add<count, width, x_width, phase.x_count, phase.slots, phase.x_first>(sum, splat<T>(x[k]),
                                                                             weights, x_panel);
    }
    weights = call_.packed + plan.h + panel * h_panel;
    for (int64_t k = 0; k < plan.h_depth; ++k, weights += h_width * lanes)
      add<count, width, h_width, phase.h_count, phase.slots, phase.h_first>(sum, splat<T>(from[k]),
                                                                           weights, h_panel);
    alignas(64) T sums[count * width * lanes];
#pragma GCC unroll 4
    for (int p = 0; p < count; ++p)
#pragma GCC unroll 4
      for (int v = 0; v < width; ++v) store(sums + (p * width + v) * lanes, sum[p][v]);
    for (int p = 0; p < count; ++p)
      apply<P>(context, 0, 1, (panel + p) * phase.tiles * lanes, phase.tiles, plan.units,
               sums + p * width * lanes, 0);
  }

  template <int count, int width, int columns, int per_tile, int slots, int first>
  static UNROLLED_INLINE void add(Vec<T> (&sum)[count][width], Vec<T> x, const T* weights,
                                  int64_t panel) {
#pragma GCC unroll 4
    for (int p = 0; p < count; ++p)
#pragma GCC unroll 4
      for (int v = 0; v < columns; ++v)
        sum[p][v / per_tile * slots + first + v % per_tile] +=
            x * load(weights + p * panel + v * lanes);
  }

  template <int P>
  void rows_of_panel(const ForwardStep<T>& context, const T* const* from, int64_t panel) {
    constexpr Phase phase = C::phase[P];
    constexpr int64_t width = phase.tiles * phase.slots * lanes;
    const PhasePlan<T>& plan = plan_.phase[P];
    const int64_t left = plan.tiles - panel * phase.tiles;
    const int tiles = static_cast<int>(left < phase.tiles ? left : phase.tiles);
    const int64_t first = panel * phase.tiles * lanes;
    const T* packed = call_.packed;
    const T* bias = packed + plan.bias + first * phase.slots;
    alignas(64) T sums[kMaxRows * width];
    constexpr int columns = phase.x_count > phase.h_count ? phase.x_count : phase.h_count;
    const int most = rows_for(tiles * columns);
    for (int64_t i = 0; i < call_.rows;) {
      const int64_t rest = call_.rows - i, calls = (rest + most - 1) / most;
      const int rows = static_cast<int>((rest + calls - 1) / calls);
      for (int r = 0; r < rows; ++r)
        for (int v = 0; v < tiles * phase.slots; ++v)
          store(sums + r * width + v * lanes, load(bias + v * lanes));
      if constexpr (phase.x_count > 0)
        tile_for<T, Left::rows>(rows, tiles * phase.x_count)(
            state_.x_rows + i, 0, packed + plan.x + first * phase.x_count * plan.x_depth,
            plan.x_depth, sums + phase.x_first * lanes, width, sums + phase.x_first * lanes, width);
      tile_for<T, Left::rows>(rows, tiles * phase.h_count)(
          from + i, 0, packed + plan.h + first * phase.h_count * plan.h_depth, plan.h_depth,
          sums + phase.h_first * lanes, width, sums + phase.h_first * lanes, width);
      apply<P>(context, i, rows, first, tiles, plan.units, sums, width);
      i += rows;
    }
  }

  template <int P>
  static void apply(const ForwardStep<T>& context, int64_t i, int rows, int64_t first, int tiles,
                    int64_t units, const T* sums, int64_t stride) {
    for (int q = 0; q < rows; ++q, sums += stride)
      apply_cell<T, C, P>(context, i + q, i + q, first, tiles, units, sums);
  }

  const Step<T>& call_;
  const Share share_;
  const Plan<T, C> plan_;
  const StepState<T> state_;
};

}  // namespace UNROLLED_ISA_NS
