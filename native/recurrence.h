// The time loop, forward, over any cell.
//
// Each step multiplies the active rows of h[t-1] by the packed recurrent weights, one register tile
// of rows and units at a time, and applies the cell to the tile while it is in the first cache. The
// input product is either part of the same tile (many rows, small weights), or done beforehand for a
// block of steps, so that weight_ih is read once for many tokens.
#pragma once

#include "cells/cell.h"
#include "packing.h"
#include "team.h"

namespace UNROLLED_ISA_NS {

using unrolled::Forward;
using unrolled::Sequence;

// The input product joins the step where there are many rows and both weights stay near. Else
// weight_ih is read once for a block of tokens, and each step reads weight_hh alone. More rows than a
// block holds are a block by themselves, too large to keep.
constexpr int64_t kFusedRows = 16;
constexpr int64_t kFusedBytes = 1 << 18;
constexpr int64_t kBlockTokens = 192;

template <class T>
struct ForwardState {
  T *h[2], *masked[2], *mask, *c, *product, *update;
  int64_t stride, words;

  ForwardState(const Size& size, int64_t rows, T* block) {
    stride = row_stride<T>(size.hidden > size.outputs ? size.hidden : size.outputs);
    Carver carver(block);
    T** const arrays[] = {&h[0], &h[1], &masked[0], &masked[1], &mask, &c, &product, &update};
    for (T** array : arrays) *array = carver.template take<T>(rows * stride);
    words = carver.template values<T>();
  }
};

template <class T, class C>
class ForwardLoop {
 public:
  ForwardLoop(const Forward<T>& call, const Share& share, T* scratch)
      : call_(call),
        share_(share),
        plan_(call.size),
        state_(call.size, call.schedule.rows, call.state),
        rows_(own_rows(share, call.schedule.rows)) {
    carve(scratch);
  }

  static int64_t scratch(const Size& size, const Schedule& schedule, const Share& share) {
    Forward<T> call{};
    call.size = size;
    call.schedule = schedule;
    return ForwardLoop(call, share, nullptr).words_;
  }

  void run() {
    begin();
    const Schedule& schedule = call_.schedule;
    for (int64_t s = 0; s < schedule.steps && own_rows(share_, schedule.active[s]) > 0;) {
      const int64_t end = fused_ ? s + 1 : input_block(s);
      int64_t token = 0;
      for (; s < end; ++s) token += step(s, token);
    }
    finish();
  }

 private:
  static constexpr int lanes = kLanes<T>;

  void carve(T* scratch) {
    const bool near = plan_.end * static_cast<int64_t>(sizeof(T)) <= kFusedBytes;
    fused_ = rows_ > kBlockTokens || (near && rows_ >= kFusedRows);
    const int64_t steps = call_.schedule.steps;
    block_steps_ = rows_ > 0 ? kBlockTokens / rows_ : 1;
    if (block_steps_ > steps) block_steps_ = steps;
    if (block_steps_ < 1 || fused_) block_steps_ = 1;
    const int64_t tokens = block_steps_ * rows_;
    Carver carver(scratch);
    x_ = carver.take<const T*>(tokens);
    h_ = carver.take<const T*>(rows_);
    y_ = carver.take<T*>(rows_);
    tape_ = carver.take<T*>(rows_);
    cells_ = carver.take<T*>(rows_);
    product_ = carver.take<const T*>(rows_);
    for (int p = 0; p < C::phases; ++p)
      ready_[p] = carver.take<T>(
          fused_ || C::phase[p].x_count == 0 ? 0 : tokens * plan_.phase[p].tiles * C::phase[p].slots * lanes);
    words_ = carver.values<T>();
  }

  int64_t row(int64_t i) const { return share_.row_first + i * share_.row_step; }

  // Rows of the state are set up by their owner; where panels are shared, rows are dealt out.
  void begin() {
    const int64_t P = call_.size.outputs, H = call_.size.hidden;
    for (int64_t i = share_.member; i < rows_; i += share_.members) {
      const int64_t r = row(i), n = call_.schedule.order[r];
      fill(state_.h[0] + r * state_.stride, call_.h0, n, P);
      if (C::has_c) fill(state_.c + r * state_.stride, call_.c0, n, H);
      if (call_.mask.data == nullptr) continue;
      fill(state_.mask + r * state_.stride, call_.mask, n, P);
      const T* h = state_.h[0] + r * state_.stride;
      const T* mask = state_.mask + r * state_.stride;
      T* masked = state_.masked[0] + r * state_.stride;
      for (int64_t j = 0; j < state_.stride; ++j) masked[j] = h[j] * mask[j];
    }
    wait(share_.barrier, share_.members);
  }

  void fill(T* to, const unrolled::Rows<const T>& from, int64_t n, int64_t width) {
    for (int64_t j = 0; j < state_.stride; ++j)
      to[j] = from.data != nullptr && j < width ? from.data[n * from.batch + j] : T(0);
  }

  void finish() {
    const Schedule& schedule = call_.schedule;
    const int64_t P = call_.size.outputs, H = call_.size.hidden;
    for (int64_t i = share_.member; i < rows_; i += share_.members) {
      const int64_t r = row(i), n = schedule.order[r], length = schedule.length[r];
      const T* h = state_.h[length & 1] + r * state_.stride;
      for (int64_t j = 0; j < P; ++j) call_.h_n.data[n * call_.h_n.batch + j] = h[j];
      if (C::has_c)
        for (int64_t j = 0; j < H; ++j)
          call_.c_n.data[n * call_.c_n.batch + j] = state_.c[r * state_.stride + j];
      for (int64_t t = length; t < schedule.padded_steps; ++t)
        zero(call_.y, n, t, P);
      if (C::has_c && call_.cells.data != nullptr)
        for (int64_t t = length; t < schedule.padded_steps; ++t) zero(call_.cells, n, t, H);
    }
  }

  static void zero(const Sequence<T>& to, int64_t n, int64_t t, int64_t width) {
    for (int64_t j = 0; j < width; ++j) to.data[n * to.batch + t * to.time + j] = 0;
  }

  const T* x_at(int64_t r, int64_t s) const {
    const Schedule& schedule = call_.schedule;
    return call_.x.data + schedule.order[r] * call_.x.batch +
           time_of(schedule, call_.reverse, r, s) * call_.x.time;
  }

  // The input products of the steps from s on, as many as a block holds. Returns where it ends.
  int64_t input_block(int64_t s) {
    const Schedule& schedule = call_.schedule;
    const int64_t end = s + block_steps_ < schedule.steps ? s + block_steps_ : schedule.steps;
    int64_t tokens = 0;
    for (; s < end; ++s) {
      const int64_t n = own_rows(share_, schedule.active[s]);
      for (int64_t i = 0; i < n; ++i) x_[tokens++] = x_at(row(i), s);
    }
    input_products<0>(tokens);
    if constexpr (C::phases == 2) input_products<1>(tokens);
    return end;
  }

  template <int P>
  void input_products(int64_t tokens) {
    constexpr Phase phase = C::phase[P];
    if constexpr (phase.x_count > 0) {
      const PhasePlan<T>& plan = plan_.phase[P];
      const Range panels = part_of(plan.panels, share_.member, share_.members);
      const int64_t stride = plan.tiles * phase.slots * lanes;
      for (int64_t panel = panels.begin; panel < panels.end; ++panel)
        for (int64_t i = 0; i < tokens;) {
          const int rows = block_rows(tokens - i, phase.tiles * phase.x_count);
          input_tile<P>(panel, i, rows, ready_[P] + i * stride + panel * phase.tiles * phase.slots * lanes,
                        stride);
          i += rows;
        }
    }
  }

  // Rows of the next kernel call, such that the calls to come are of nearly equal size.
  static int block_rows(int64_t left, int vectors) {
    const int most = rows_for(vectors);
    const int64_t calls = (left + most - 1) / most;
    return static_cast<int>((left + calls - 1) / calls);
  }

  int panel_tiles(const PhasePlan<T>& plan, const Phase& phase, int64_t panel) const {
    const int64_t left = plan.tiles - panel * phase.tiles;
    return static_cast<int>(left < phase.tiles ? left : phase.tiles);
  }

  // bias + W_ih x for `rows` tokens from i on; slots that only the state feeds get their bias.
  template <int P>
  void input_tile(int64_t panel, int64_t i, int rows, T* out, int64_t stride) {
    constexpr Phase phase = C::phase[P];
    const PhasePlan<T>& plan = plan_.phase[P];
    const int tiles = panel_tiles(plan, phase, panel);
    const int64_t first = panel * phase.tiles * lanes;
    const T* bias = call_.packed + plan.bias + first * phase.slots;
    tile_for<T, Left::rows>(rows, tiles * phase.x_count)(
        x_ + i, 0, call_.packed + plan.x + first * phase.x_count * plan.x_depth, plan.x_depth,
        bias + phase.x_first * lanes, 0, out + phase.x_first * lanes, stride);
    for (int slot = phase.x_first + phase.x_count; slot < phase.slots; ++slot)
      for (int r = 0; r < rows; ++r) store(out + r * stride + slot * lanes, load(bias + slot * lanes));
  }

  // One time step. `token` is where the step's input products stand in the block.
  int64_t step(int64_t s, int64_t token) {
    const Schedule& schedule = call_.schedule;
    const int64_t running = own_rows(share_, schedule.active[s]);
    const bool masked = call_.mask.data != nullptr;
    const T* from = (masked ? state_.masked : state_.h)[s & 1];
    for (int64_t i = 0; i < running; ++i) {
      const int64_t r = row(i);
      if (fused_) x_[i] = x_at(r, s);
      h_[i] = from + r * state_.stride;
      const int64_t n = schedule.order[r], t = time_of(schedule, call_.reverse, r, s);
      y_[i] = call_.y.data + n * call_.y.batch + t * call_.y.time;
      if (C::has_c && call_.cells.data != nullptr)
        cells_[i] = call_.cells.data + n * call_.cells.batch + t * call_.cells.time;
      if (call_.tape != nullptr)
        tape_[i] = call_.tape + (schedule.first_token[s] + r) * C::tape_columns * call_.size.hidden;
      product_[i] = state_.product + r * state_.stride;
    }
    const ForwardStep<T> context{state_.stride,
                                 state_.h[s & 1],
                                 state_.h[~s & 1],
                                 masked ? state_.masked[~s & 1] : nullptr,
                                 masked ? state_.mask : nullptr,
                                 state_.c,
                                 state_.product,
                                 state_.update,
                                 y_,
                                 call_.tape != nullptr ? tape_ : nullptr,
                                 call_.cells.data != nullptr ? cells_ : nullptr,
                                 call_.size.hidden,
                                 call_.size.outputs,
                                 call_.options,
                                 call_.packed + plan_.peepholes};
    recurrent_products<0>(context, h_, running, token);
    wait(share_.barrier, share_.members);
    if constexpr (C::phases == 2) {
      recurrent_products<1>(context, product_, running, token);
      wait(share_.barrier, share_.members);
    }
    return running;
  }

  template <int P>
  void recurrent_products(const ForwardStep<T>& context, const T* const* from, int64_t n,
                          int64_t token) {
    constexpr Phase phase = C::phase[P];
    constexpr int64_t narrow = phase.tiles * phase.slots * lanes;
    const PhasePlan<T>& plan = plan_.phase[P];
    const Range panels = part_of(plan.panels, share_.member, share_.members);
    alignas(64) T tile_sums[kMaxRows * narrow];
    int64_t panel = panels.begin;
    if (n == 1 && !fused_) panel = row_products<P>(context, from[0], panels, token);
    for (; panel < panels.end; ++panel) {
      const int tiles = panel_tiles(plan, phase, panel);
      const int64_t first = panel * phase.tiles * lanes;
      const T* weights = call_.packed + plan.h + first * phase.h_count * plan.h_depth;
      const T* bias = call_.packed + plan.bias + first * phase.slots;
      for (int64_t i = 0; i < n;) {
        const int rows = block_rows(n - i, phase.tiles * phase.h_count);
        T* sums = tile_sums;
        int64_t stride = narrow;
        const T* in = sums;
        int64_t in_stride = stride;
        if (phase.x_count == 0) {
          in = bias;
          in_stride = 0;
        } else if (fused_) {
          input_tile<P>(panel, i, rows, sums, stride);
        } else {
          stride = in_stride = plan.tiles * phase.slots * lanes;
          sums = ready_[P] + (token + i) * stride + first * phase.slots;
          in = sums;
        }
        tile_for<T, Left::rows>(rows, tiles * phase.h_count)(
            from + i, 0, weights, plan.h_depth, in + phase.h_first * lanes, in_stride,
            sums + phase.h_first * lanes, stride);
        apply<P>(context, i, rows, first, tiles, plan.units, sums, stride);
        i += rows;
      }
    }
  }

  // Where one row is left: the panels that come in whole groups. Returns the first panel after them.
  template <int P>
  int64_t row_products(const ForwardStep<T>& context, const T* from, Range panels, int64_t token) {
    const int64_t full = plan_.phase[P].tiles / C::phase[P].tiles;
    const int64_t end = full < panels.end ? full : panels.end;
    int64_t panel = panels.begin;
    while (panel + kPanelsOfRow <= end)
      panel = row_group<P, kPanelsOfRow>(context, from, panel, token);
    while (panel + 2 <= end) panel = row_group<P, 2>(context, from, panel, token);
    return panel;
  }

  template <int P, int count>
  int64_t row_group(const ForwardStep<T>& context, const T* from, int64_t panel, int64_t token) {
    constexpr Phase phase = C::phase[P];
    constexpr int64_t wide = phase.tiles * phase.slots * lanes, first = phase.h_first * lanes;
    const PhasePlan<T>& plan = plan_.phase[P];
    const int64_t weights = phase.tiles * phase.h_count * lanes * plan.h_depth;
    alignas(64) T own_sums[count * wide];
    const T* in = call_.packed + plan.bias + panel * wide;
    T* sums = own_sums;
    if constexpr (phase.x_count > 0)
      in = sums = ready_[P] + token * plan.tiles * phase.slots * lanes + panel * wide;
    row_tile<T, phase.tiles * phase.h_count, count>(from, call_.packed + plan.h + panel * weights,
                                                    weights, plan.h_depth, in + first, sums + first,
                                                    wide);
    for (int p = 0; p < count; ++p, ++panel)
      apply<P>(context, 0, 1, panel * phase.tiles * lanes, phase.tiles, plan.units, sums + p * wide,
               wide);
    return panel;
  }

  template <int P>
  void apply(const ForwardStep<T>& context, int64_t i, int rows, int64_t first, int tiles,
             int64_t units, const T* sums, int64_t stride) {
    for (int q = 0; q < rows; ++q, sums += stride)
      apply_cell<T, C, P>(context, row(i + q), i + q, first, tiles, units, sums);
  }

  const Forward<T>& call_;
  const Share share_;
  const Plan<T, C> plan_;
  const ForwardState<T> state_;
  const int64_t rows_;
  bool fused_;
  int64_t block_steps_, words_;
  const T **x_, **h_, **product_;
  T **y_, **tape_, **cells_;
  T* ready_[2];
};

}  // namespace UNROLLED_ISA_NS
