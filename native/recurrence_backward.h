// The time loop, backward, over any cell: dL/dgates of every token, dL/dh0 and dL/dc0.
//
// Steps run from the last to the first in blocks of some hundred tokens. Within a step, a tile of
// dgates[t+1] W_hh is finished in registers and at once becomes dgates[t] of those units. The gates'
// gradients of one block stay in the second cache until the weight and input gradients
// (weight_gradients.h) have used them; two buffers take turns, so that the next block can start from
// the last step of this one.
#pragma once

#include "cells/cell.h"
#include "packing.h"
#include "team.h"

namespace UNROLLED_ISA_NS {

using unrolled::Backward;

constexpr int64_t kGradientTokens = 256;  // of a block

// Where the parts of the packed weights of the backward pass stand.
template <class T, class C>
struct BackwardPlan {
  int64_t recurrent_depth, second_depth, input_depth;
  int64_t second, input, end;
  explicit BackwardPlan(const Size& size, bool dx) {
    const int64_t H = size.hidden, P = size.outputs;
    recurrent_depth = C::h_columns.count * H;
    second_depth = C::projected ? P : C::two_phase ? H : 0;
    input_depth = C::x_columns.count * H;
    second = recurrent_depth * padded<T>(P);
    input = second + second_depth * padded<T>(H);
    end = input + (dx ? input_depth * padded<T>(size.inputs) : 0);
  }
};

inline int64_t panels_of(int64_t tiles) { return (tiles + kPanelVectors - 1) / kPanelVectors; }

inline int vectors_of(int64_t tiles, int64_t panel) {
  const int64_t left = tiles - panel * kPanelVectors;
  return static_cast<int>(left < kPanelVectors ? left : kPanelVectors);
}

// Packs the blocks of rows that `columns` names as one matrix of depth count * H.
template <class T>
void pack_blocks(const T* weight, const Columns& columns, int64_t H, int64_t width, T* packed,
                 int member, int members) {
  const int64_t tiles = tiles_of<T>(width), depth = columns.count * H;
  for (int64_t panel = member; panel < panels_of(tiles); panel += members) {
    const int vectors = vectors_of(tiles, panel);
    const int64_t column = panel * kPanelVectors * kLanes<T>;
    for (int c = 0; c < columns.count; ++c)
      pack_columns(weight + columns.gate[c] * H * width, width, H, width, column, vectors,
                   packed + column * depth + c * H * vectors * kLanes<T>);
  }
}

template <class T, class C>
void pack_backward(const Size& size, const Weights<T>& weights, bool dx, T* packed, int member,
                   int members) {
  const BackwardPlan<T, C> plan(size, dx);
  const int64_t H = size.hidden, P = size.outputs;
  pack_blocks(weights.w_hh, C::h_columns, H, P, packed, member, members);
  if (C::projected)
    pack_blocks(weights.w_hr, {0, 1, {0}}, P, H, packed + plan.second, member, members);
  if (C::two_phase)
    pack_blocks(weights.w_hh, {2, 1, {2}}, H, P, packed + plan.second, member, members);
  if (dx)
    pack_blocks(weights.w_ih, C::x_columns, H, size.inputs, packed + plan.input, member, members);
}

// Shared by the threads of one direction.
template <class T, class C>
struct BackwardState {
  T *dc, *direct, *fresh, *mask;
  T *dgates[2], *dprojected[2];
  int64_t stride, gate_stride, projected_stride, words;
  int64_t block_steps;

  BackwardState(const Size& size, const Schedule& schedule, T* block) {
    const int64_t widest = size.hidden > size.outputs ? size.hidden : size.outputs;
    stride = row_stride<T>(widest);
    gate_stride = row_stride<T>(C::gates * size.hidden);
    projected_stride = row_stride<T>(size.outputs);
    block_steps = schedule.rows > 0 ? kGradientTokens / schedule.rows : 1;
    if (block_steps < 1) block_steps = 1;
    if (block_steps > schedule.steps) block_steps = schedule.steps;
    const int64_t tokens = block_steps * schedule.rows;
    Carver carver(block);
    T** const arrays[] = {&dc, &direct, &fresh, &mask};
    for (T** array : arrays) *array = carver.template take<T>(schedule.rows * stride);
    for (int b = 0; b < 2; ++b) {
      dgates[b] = carver.template take<T>(tokens * gate_stride);
      dprojected[b] = carver.template take<T>(C::projected ? tokens * projected_stride : 0);
    }
    words = carver.template values<T>();
  }

  int64_t blocks(const Schedule& schedule) const {
    return block_steps > 0 ? (schedule.steps + block_steps - 1) / block_steps : 0;
  }
  // Steps of a block, the last block first.
  Range steps(const Schedule& schedule, int64_t block) const {
    const int64_t end = schedule.steps - block * block_steps;
    return {end > block_steps ? end - block_steps : 0, end};
  }
  int64_t block_of(const Schedule& schedule, int64_t s) const {
    return (schedule.steps - 1 - s) / block_steps;
  }
  // Row of a token in the buffers of its block.
  int64_t token(const Schedule& schedule, int64_t s, int64_t r) const {
    const int64_t begin = steps(schedule, block_of(schedule, s)).begin;
    return schedule.first_token[s] - schedule.first_token[begin] + r;
  }
  T* dgates_of(const Schedule& schedule, int64_t s, int64_t r) const {
    return dgates[block_of(schedule, s) & 1] + token(schedule, s, r) * gate_stride;
  }
  T* dprojected_of(const Schedule& schedule, int64_t s, int64_t r) const {
    return dprojected[block_of(schedule, s) & 1] + token(schedule, s, r) * projected_stride;
  }
};

// The caller's row at step s of sorted row r; at step -1 the initial state, or zeros.
template <class T>
const T* sequence_at(const unrolled::Sequence<const T>& sequence, const Schedule& schedule,
                     bool reverse, int64_t r, int64_t s) {
  return sequence.data + schedule.order[r] * sequence.batch +
         time_of(schedule, reverse, r, s) * sequence.time;
}
template <class T>
const T* rows_at(const unrolled::Rows<const T>& rows, const Schedule& schedule, int64_t r,
                 const T* zeros) {
  return rows.data != nullptr ? rows.data + schedule.order[r] * rows.batch : zeros;
}

template <class T, class C>
class BackwardLoop {
 public:
  BackwardLoop(const Backward<T>& call, const Share& share, T* scratch)
      : call_(call),
        share_(share),
        schedule_(call.schedule),
        plan_(call.size, call.dx.data != nullptr),
        state_(call.size, call.schedule, call.state),
        rows_(own_rows(share, call.schedule.rows)) {
    Carver carver(scratch);
    const T*** const arrays[] = {&dy_, &y_, &h_prev_, &c_prev_, &dcells_, &tape_, &from_};
    for (const T*** array : arrays) *array = carver.template take<const T*>(rows_);
    dgates_ = carver.template take<T*>(rows_);
    dprojected_ = carver.template take<T*>(rows_);
    zeros_ = carver.template take<T>(zeros());
    words_ = carver.template values<T>();
    if (scratch != nullptr)
      for (int64_t j = 0; j < zeros(); ++j) zeros_[j] = 0;
  }

  int64_t words() const { return words_; }

  void steps(int64_t block) {
    if (block == 0) begin();
    const Range range = state_.steps(schedule_, block);
    for (int64_t s = range.end - 1; s >= range.begin; --s) step(s);
  }

  // dL/dh0 and dL/dc0 from the gradients of step 0.
  void finish() {
    const int64_t n = own_rows(share_, schedule_.steps > 0 ? schedule_.active[0] : 0);
    if (schedule_.steps == 0) begin();
    if (call_.dh0.data != nullptr) {
      for (int64_t i = 0; i < n; ++i) from_[i] = recurrent_from(0, row(i));
      const BackwardStep<T> context = context_of();
      product<Part::initial>(context, n, n);
      for (int64_t i = n + share_.member; i < rows_; i += share_.members)
        copy_row(call_.dh0, row(i), state_.fresh, call_.size.outputs);
    }
    wait(share_.barrier, share_.members);
    if (C::has_c && call_.dc0.data != nullptr)
      for (int64_t i = share_.member; i < rows_; i += share_.members)
        copy_row(call_.dc0, row(i), state_.dc, call_.size.hidden);
  }

 private:
  static constexpr int lanes = kLanes<T>;
  enum class Part { recurrent, second, initial };

  int64_t row(int64_t i) const { return share_.row_first + i * share_.row_step; }

  int64_t zeros() const {
    constexpr int64_t panels = kPanelsOfRow * kPanelVectors * lanes;
    return state_.stride > panels ? state_.stride : panels;
  }

  void copy_row(const unrolled::Rows<T>& to, int64_t r, const T* rows, int64_t width) {
    T* out = to.data + schedule_.order[r] * to.batch;
    for (int64_t j = 0; j < width; ++j) out[j] = rows[r * state_.stride + j];
  }

  void begin() {
    for (int64_t i = share_.member; i < rows_; i += share_.members) {
      const int64_t at = row(i) * state_.stride;
      fill(state_.fresh + at, call_.dh_n, row(i), call_.size.outputs);
      if (C::has_c) fill(state_.dc + at, call_.dc_n, row(i), call_.size.hidden);
      if (call_.mask.data != nullptr) fill(state_.mask + at, call_.mask, row(i), call_.size.outputs);
      if (C::has_direct)
        for (int64_t j = 0; j < state_.stride; ++j) state_.direct[at + j] = 0;
    }
    wait(share_.barrier, share_.members);
  }

  void fill(T* to, const unrolled::Rows<const T>& from, int64_t r, int64_t width) {
    const T* source = rows_at(from, schedule_, r, zeros_);
    for (int64_t j = 0; j < state_.stride; ++j) to[j] = j < width ? source[j] : T(0);
  }

  const T* recurrent_from(int64_t s, int64_t r) const {
    return state_.dgates_of(schedule_, s, r) + C::h_columns.first * call_.size.hidden;
  }

  BackwardStep<T> context_of() const {
    return {state_.stride, dy_,          y_,
            h_prev_,       c_prev_,      call_.dcells.data != nullptr ? dcells_ : nullptr,
            tape_,         dgates_,      state_.dc,    state_.direct,
            call_.mask.data != nullptr ? state_.mask : nullptr,
            call_.size.hidden,           call_.size.outputs};
  }

  void point_at(int64_t s, int64_t n, int64_t running) {
    const int64_t width = C::tape_columns * call_.size.hidden;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t r = row(i);
      if (i < running) from_[i] = recurrent_from(s + 1, r);
      dy_[i] = sequence_at(call_.dy, schedule_, call_.reverse, r, s);
      y_[i] = sequence_at(call_.y, schedule_, call_.reverse, r, s);
      h_prev_[i] = s > 0 ? sequence_at(call_.y, schedule_, call_.reverse, r, s - 1)
                         : rows_at(call_.h0, schedule_, r, zeros_);
      if (C::tape_columns > 0) tape_[i] = call_.tape + (schedule_.first_token[s] + r) * width;
      if (C::has_c)
        c_prev_[i] = s > 0 ? call_.tape + (schedule_.first_token[s - 1] + r) * width +
                                 4 * call_.size.hidden
                           : rows_at(call_.c0, schedule_, r, zeros_);
      if (C::has_c && call_.dcells.data != nullptr)
        dcells_[i] = sequence_at(call_.dcells, schedule_, call_.reverse, r, s);
      dgates_[i] = state_.dgates_of(schedule_, s, r);
      if (C::projected) dprojected_[i] = state_.dprojected_of(schedule_, s, r);
    }
  }

  void step(int64_t s) {
    const int64_t n = own_rows(share_, schedule_.active[s]);
    const int64_t running = own_rows(share_, schedule_.active[s + 1]);
    point_at(s, n, running);
    token_ = schedule_.first_token[s];
    const BackwardStep<T> context = context_of();
    product<Part::recurrent>(context, n, running);
    wait(share_.barrier, share_.members);
    if constexpr (C::projected || C::two_phase) {
      for (int64_t i = 0; i < n; ++i)
        from_[i] = C::projected ? dprojected_[i] : dgates_[i] + 2 * call_.size.hidden;
      product<Part::second>(context, n, n);
      wait(share_.barrier, share_.members);
    }
  }

  // Tiles of a product over rows [0, running), and what follows it; rows [running, n) have no later
  // step and start from dL/dh_n.
  template <Part part>
  void product(const BackwardStep<T>& context, int64_t n, int64_t running) {
    const bool second = part == Part::second;
    const int64_t units = second ? call_.size.hidden : call_.size.outputs;
    const int64_t depth = second ? plan_.second_depth : plan_.recurrent_depth;
    const T* weights = call_.packed + (second ? plan_.second : 0);
    const int64_t tiles = tiles_of<T>(units);
    const Range panels = part_of(panels_of(tiles), share_.member, share_.members);
    constexpr int64_t stride = kPanelVectors * lanes;
    alignas(64) T sums[kMaxRows * stride];
    int64_t panel = panels.begin;
    if (n == 1 && running == 1) panel = row_product<part>(context, weights, depth, units, panels);
    for (; panel < panels.end; ++panel) {
      const int vectors = vectors_of(tiles, panel);
      const int64_t unit = panel * stride;
      for (int64_t i = 0; i < running;) {
        const int64_t calls = (running - i + rows_for(kPanelVectors) - 1) / rows_for(kPanelVectors);
        const int rows = static_cast<int>((running - i + calls - 1) / calls);
        tile_for<T, Left::rows>(rows, vectors)(from_ + i, 0, weights + unit * depth, depth, zeros_, 0,
                                               sums, stride);
        for (int q = 0; q < rows; ++q)
          follow<part>(context, i + q, unit, vectors, units, sums + q * stride, call_.mask.data != nullptr);
        i += rows;
      }
      for (int64_t i = running; i < n; ++i)
        follow<part>(context, i, unit, vectors, units, state_.fresh + row(i) * state_.stride + unit, false);
    }
  }

  // One row alone: several panels at once, as going forward. Returns the first panel after them.
  template <Part part>
  int64_t row_product(const BackwardStep<T>& context, const T* weights, int64_t depth, int64_t units,
                      Range panels) {
    const int64_t full = tiles_of<T>(units) / kPanelVectors;
    const int64_t end = full < panels.end ? full : panels.end;
    int64_t panel = panels.begin;
    while (panel + kPanelsOfRow <= end)
      panel = row_group<part, kPanelsOfRow>(context, weights, depth, units, panel);
    while (panel + 2 <= end) panel = row_group<part, 2>(context, weights, depth, units, panel);
    return panel;
  }

  template <Part part, int count>
  int64_t row_group(const BackwardStep<T>& context, const T* weights, int64_t depth, int64_t units,
                    int64_t panel) {
    constexpr int64_t stride = kPanelVectors * lanes;
    alignas(64) T sums[count * stride];
    row_tile<T, kPanelVectors, count>(from_[0], weights + panel * stride * depth, stride * depth,
                                      depth, zeros_, sums, stride);
    for (int p = 0; p < count; ++p, ++panel)
      follow<part>(context, 0, panel * stride, kPanelVectors, units, sums + p * stride,
                   call_.mask.data != nullptr);
    return panel;
  }

  // What follows the product for one row and the units of one panel.
  template <Part part>
  UNROLLED_ONE_COPY void follow(const BackwardStep<T>& context, int64_t i, int64_t unit, int vectors, int64_t units,
              const T* sums, bool masked) {
    const int64_t r = row(i);
    Vec<T> h_square = {}, c_square = {};
    for (int v = 0; v < vectors; ++v, unit += lanes, sums += lanes) {
      const int width = units - unit < lanes ? static_cast<int>(units - unit) : lanes;
      Vec<T> d = load(sums), dc = {};
      const int64_t at = r * state_.stride + unit;
      if constexpr (part != Part::second) {
        if (masked) d *= load(state_.mask + at);
        if constexpr (C::has_direct) d += load(state_.direct + at);
      }
      if constexpr (part == Part::initial) {
        put(call_.dh0.data + schedule_.order[r] * call_.dh0.batch + unit, d, width);
      } else if constexpr (part == Part::recurrent) {
        d += get(dy_[i] + unit, width);
        h_square += d * d;
        if constexpr (C::projected) {
          put(dprojected_[i] + unit, d, width);
        } else {
          C::backward(context, r, i, unit, width, d, dc);
          c_square += dc * dc;
        }
      } else if constexpr (C::projected) {
        C::backward(context, r, i, unit, width, d, dc);
        c_square += dc * dc;
      } else {
        C::backward_reset(context, r, i, unit, width, d);
      }
    }
    if (call_.flow != nullptr) record<part>(r, unit - 1, h_square, c_square);
  }

  // Adds up squares per token and panel; they are summed over panels and rows in a fixed order later.
  template <Part part>
  void record(int64_t r, int64_t last_unit, Vec<T> h_square, Vec<T> c_square) {
    if constexpr (part == Part::initial) return;
    const int64_t panel = last_unit / (kPanelVectors * lanes);
    const int64_t parts = flow_parts(call_.size);
    T* flow = call_.flow + (token_ + r) * 2 * parts;
    const bool h = part == Part::recurrent;
    const bool c = C::has_c && (C::projected ? part == Part::second : part == Part::recurrent);
    if (h) flow[panel] = sum(h_square);
    if (c) flow[parts + panel] = sum(c_square);
  }

  static T sum(Vec<T> v) {
    T total = 0;
    for (int lane = 0; lane < lanes; ++lane) total += v[lane];
    return total;
  }

 public:
  static int64_t flow_parts(const Size& size) {
    const int64_t widest = size.hidden > size.outputs ? size.hidden : size.outputs;
    return panels_of(tiles_of<T>(widest));
  }

 private:
  const Backward<T>& call_;
  const Share share_;
  const Schedule& schedule_;
  const BackwardPlan<T, C> plan_;
  const BackwardState<T, C> state_;
  const int64_t rows_;
  int64_t words_, token_ = 0;
  const T **dy_, **y_, **h_prev_, **c_prev_, **dcells_, **tape_, **from_;
  T **dgates_, **dprojected_;
  T* zeros_;
};

}  // namespace UNROLLED_ISA_NS
