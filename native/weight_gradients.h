// What the gates' gradients of one block of tokens add to dL/dx and to the gradients of the weights:
//
//   dx = dgates W_ih,   dW_ih += dgates^T x,   dW_hh += dgates^T (m * h[t-1]),   db += sum of dgates.
//
// The threads share rows of the results, never the sum over tokens, so that every sum has the same
// order for any number of threads.
#pragma once

#include "recurrence_backward.h"

namespace UNROLLED_ISA_NS {

template <class T, class C>
class GradientBlock {
 public:
  GradientBlock(const Backward<T>& call, int member, int members, T* scratch, int64_t block)
      : call_(call),
        schedule_(call.schedule),
        plan_(call.size, call.dx.data != nullptr),
        state_(call.size, call.schedule, call.state),
        member_(member),
        members_(members),
        block_(block) {
    const int64_t most = state_.block_steps * schedule_.rows;
    Carver carver(scratch);
    sources_ = carver.template take<const T*>(most);
    masks_ = carver.template take<const T*>(most);
    dx_ = carver.template take<T*>(most);
    panel_ = carver.template take<T>(most * kPanelVectors * lanes);
    zeros_ = carver.template take<T>(kPanelVectors * lanes);
    words_ = carver.template values<T>();
    if (scratch == nullptr) return;
    for (int64_t j = 0; j < kPanelVectors * lanes; ++j) zeros_[j] = 0;
    steps_ = state_.steps(schedule_, block);
    first_ = schedule_.first_token[steps_.begin];
    tokens_ = schedule_.first_token[steps_.end] - first_;
    dgates_ = state_.dgates[block & 1];
  }

  int64_t words() const { return words_; }

  void input_gradient() {
    const int64_t I = call_.size.inputs, depth = plan_.input_depth;
    const Range own = part_of(tokens_, member_, members_);
    int64_t token = 0;
    for_each_token([&](int64_t s, int64_t r) UNROLLED_LAMBDA {
      if (token >= own.begin && token < own.end) {
        sources_[token] = dgates_ + token * state_.gate_stride + C::x_columns.first * call_.size.hidden;
        dx_[token] = call_.dx.data + schedule_.order[r] * call_.dx.batch +
                     time_of(schedule_, call_.reverse, r, s) * call_.dx.time;
      }
      ++token;
    });
    const int64_t tiles = tiles_of<T>(I);
    alignas(64) T sums[kMaxRows * kPanelVectors * lanes];
    for (int64_t panel = 0; panel < panels_of(tiles); ++panel) {
      const int vectors = vectors_of(tiles, panel), most = rows_for(vectors);
      const int64_t column = panel * kPanelVectors * lanes;
      for (int64_t i = own.begin; i < own.end;) {
        const int rows = static_cast<int>(own.end - i < most ? own.end - i : most);
        tile_for<T, Left::rows>(rows, vectors)(sources_ + i, 0,
                                               call_.packed + plan_.input + column * depth, depth,
                                               zeros_, 0, sums, kPanelVectors * lanes);
        for (int q = 0; q < rows; ++q)
          copy_out(dx_[i + q] + column, sums + q * kPanelVectors * lanes, vectors, I - column,
                   call_.add_dx);
        i += rows;
      }
    }
  }

  void weight_gradient() {
    const int64_t H = call_.size.hidden, I = call_.size.inputs, P = call_.size.outputs;
    const int64_t stride = state_.gate_stride;
    for_each_row([&](int64_t s, int64_t r) UNROLLED_LAMBDA {
      return sequence_at(call_.x, schedule_, call_.reverse, r, s);
    });
    add_outer(dgates_, stride, C::x_columns, H, I, false, call_.dw_ih);
    for_each_row([&](int64_t s, int64_t r) UNROLLED_LAMBDA {
      return s > 0 ? sequence_at(call_.y, schedule_, call_.reverse, r, s - 1)
                   : rows_at(call_.h0, schedule_, r, static_cast<const T*>(nullptr));
    });
    add_outer(dgates_, stride, C::h_columns, H, P, call_.mask.data != nullptr, call_.dw_hh);
    if constexpr (C::two_phase || C::projected) {
      const int64_t width = C::tape_columns * H, column = (C::projected ? 5 : 3) * H;
      for_each_row([&](int64_t s, int64_t r) UNROLLED_LAMBDA {
        return call_.tape + (schedule_.first_token[s] + r) * width + column;
      });
      if constexpr (C::two_phase)
        add_outer(dgates_, stride, {2, 1, {2}}, H, P, false, call_.dw_hh);
      if constexpr (C::projected)
        add_outer(state_.dprojected[block_ & 1], state_.projected_stride, {0, 1, {0}}, P, H, false,
                  call_.dw_hr);
    }
    add_bias(C::x_columns, call_.db_ih);
    add_bias(C::h_columns, call_.db_hh);
    if constexpr (C::two_phase) add_bias({2, 1, {2}}, call_.db_hh);
  }

 private:
  static constexpr int lanes = kLanes<T>;

  // Calls f(s, r) for the tokens of the block, in the order in which they are stored.
  template <class F>
  UNROLLED_INLINE void for_each_token(F f) {
    for (int64_t s = steps_.begin; s < steps_.end; ++s)
      for (int64_t r = 0; r < schedule_.active[s]; ++r) f(s, r);
  }

  template <class F>
  UNROLLED_INLINE void for_each_row(F f) {
    int64_t token = 0;
    for_each_token([&](int64_t s, int64_t r) UNROLLED_LAMBDA {
      masks_[token] = call_.mask.data != nullptr ? state_.mask + r * state_.stride : nullptr;
      sources_[token++] = f(s, r);
    });
  }

  static UNROLLED_INLINE void copy_out(T* out, const T* sums, int vectors, int64_t left, bool add) {
    for (int v = 0; v < vectors; ++v, out += lanes, sums += lanes, left -= lanes) {
      const int width = left < lanes ? static_cast<int>(left) : lanes;
      Vec<T> value = load(sums);
      if (add) value += get(out, width);
      put(out, value, width);
    }
  }

  // The sources' columns from `column` on, packed; a null source is a row of zeros.
  void pack_sources(int64_t column, int vectors, int64_t width, bool masked) {
    for (int64_t k = 0; k < tokens_; ++k) {
      T* to = panel_ + k * vectors * lanes;
      const T* from = sources_[k];
      for (int v = 0; v < vectors; ++v, to += lanes) {
        const int64_t at = column + v * lanes;
        Vec<T> value = {};
        if (from != nullptr) value = get(from + at, width - at < lanes ? static_cast<int>(width - at) : lanes);
        if (masked) value *= load(masks_[k] + at);
        store(to, value);
      }
    }
  }

  // out[gate row, column] += sum over tokens of left[token, gate row] * source[token, column], for
  // the blocks of H columns of `left` that `columns` names. The first block to run also clears `out`.
  void add_outer(const T* left, int64_t ld, const Columns& columns, int64_t H, int64_t width,
                 bool masked, T* out) {
    if (out == nullptr) return;
    const bool first = block_ == 0;
    const int64_t tiles = tiles_of<T>(width);
    alignas(64) T sums[kMaxRows * kPanelVectors * lanes];
    for (int64_t panel = 0; panel < panels_of(tiles); ++panel) {
      const int vectors = vectors_of(tiles, panel), most = rows_for(vectors);
      const int64_t column = panel * kPanelVectors * lanes;
      const bool whole = column + vectors * lanes <= width;
      const int64_t calls = (H + most - 1) / most;
      const Range own = part_of(columns.count * calls, member_, members_);
      if (own.begin < own.end) pack_sources(column, vectors, width, masked);
      for (int64_t job = own.begin; job < own.end; ++job) {
        const int64_t block = job / calls, row = job % calls * most;
        const int rows = static_cast<int>(H - row < most ? H - row : most);
        const T* a = left + (columns.first + block) * H + row;
        T* to = out + (columns.gate[block] * H + row) * width + column;
        const Tile<T> kernel = tile_for<T, Left::columns>(rows, vectors);
        if (whole) {
          kernel(&a, ld, panel_, tokens_, first ? zeros_ : to, first ? 0 : width, to, width);
          continue;
        }
        kernel(&a, ld, panel_, tokens_, zeros_, 0, sums, kPanelVectors * lanes);
        for (int q = 0; q < rows; ++q)
          copy_out(to + q * width, sums + q * kPanelVectors * lanes, vectors, width - column, !first);
      }
    }
  }

  void add_bias(const Columns& columns, T* out) {
    if (out == nullptr) return;
    const int64_t H = call_.size.hidden, tiles = tiles_of<T>(H);
    const Range own = part_of(columns.count * tiles, member_, members_);
    for (int64_t job = own.begin; job < own.end; ++job) {
      const int64_t block = job / tiles, unit = job % tiles * lanes;
      const int width = H - unit < lanes ? static_cast<int>(H - unit) : lanes;
      const T* from = dgates_ + (columns.first + block) * H + unit;
      T* to = out + columns.gate[block] * H + unit;
      Vec<T> total = block_ == 0 ? Vec<T>{} : get(to, width);
      for (int64_t k = 0; k < tokens_; ++k) total += get(from + k * state_.gate_stride, width);
      put(to, total, width);
    }
  }

  const Backward<T>& call_;
  const Schedule& schedule_;
  const BackwardPlan<T, C> plan_;
  const BackwardState<T, C> state_;
  const int member_, members_;
  const int64_t block_;
  Range steps_{};
  int64_t words_, first_ = 0, tokens_ = 0;
  const T **sources_, **masks_;
  T** dx_;
  T *panel_, *zeros_;
  const T* dgates_ = nullptr;
};

}  // namespace UNROLLED_ISA_NS
