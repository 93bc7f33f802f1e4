// The time loop, forward, with low-precision weights; see recurrence.h. The input product is done for
// a block of steps at once, so that weight_ih is read once for many tokens. Every thread makes its own
// codes of h, because waiting for another's takes longer.
#pragma once

#include "low/products.h"
#include "recurrence.h"

namespace UNROLLED_ISA_NS {

template <class F, class C>
class LowForwardLoop {
 public:
  LowForwardLoop(const Forward<float>& call, const Share& share, float* scratch)
      : LowForwardLoop(call, share, Carver(scratch)) {}

  static int64_t scratch(const Size& size, const Schedule& schedule, const Share& share) {
    Forward<float> call{};
    call.size = size;
    call.schedule = schedule;
    return LowForwardLoop(call, share, Carver(nullptr)).words_;
  }

  void run() {
    begin();
    const Schedule& schedule = call_.schedule;
    for (int64_t s = 0; s < schedule.steps && own_rows(share_, schedule.active[s]) > 0;) {
      const int64_t end = input_block(s);
      int64_t token = 0;
      for (; s < end; ++s) token += step(s, token);
    }
    finish();
  }

 private:
  LowForwardLoop(const Forward<float>& call, const Share& share, Carver carver)
      : call_(call),
        share_(share),
        products_(call.size, call.packed),
        state_(call.size, call.schedule.rows, call.state),
        rows_(own_rows(share, call.schedule.rows)),
        block_steps_(steps_of_block(call.schedule.steps, rows_)),
        x_(carver, block_steps_ * rows_, call.size.inputs),
        h_(carver, rows_, call.size.hidden) {
    y_ = carver.take<float*>(rows_);
    sums_[0] = carver.take<float>(block_steps_ * rows_ * products_.template width<0>());
    if constexpr (C::phases == 2)
      sums_[1] = carver.take<float>(block_steps_ * rows_ * products_.template width<1>());
    words_ = carver.values<float>();
  }

  static int64_t steps_of_block(int64_t steps, int64_t rows) {
    const int64_t wanted = rows > 0 ? kBlockTokens / rows : 1;
    const int64_t some = wanted < steps ? wanted : steps;
    return some < 1 ? 1 : some;
  }

  int64_t row(int64_t i) const { return share_.row_first + i * share_.row_step; }

  template <int P>
  Range panels() const {
    return part_of(products_.plan.phase[P].panels, share_.member, share_.members);
  }

  void begin() {
    const int64_t H = call_.size.hidden;
    const size_t bytes = static_cast<size_t>(H) * sizeof(float);
    for (int64_t i = share_.member; i < rows_; i += share_.members) {
      const int64_t r = row(i), n = call_.schedule.order[r];
      std::memcpy(state_.h[0] + r * state_.stride, call_.h0.data + n * call_.h0.batch, bytes);
      if (C::has_c)
        std::memcpy(state_.c + r * state_.stride, call_.c0.data + n * call_.c0.batch, bytes);
    }
    wait(share_.barrier, share_.members);
  }

  void finish() {
    const Schedule& schedule = call_.schedule;
    const size_t bytes = static_cast<size_t>(call_.size.hidden) * sizeof(float);
    for (int64_t i = share_.member; i < rows_; i += share_.members) {
      const int64_t r = row(i), n = schedule.order[r], length = schedule.length[r];
      std::memcpy(call_.h_n.data + n * call_.h_n.batch,
                  state_.h[length & 1] + r * state_.stride, bytes);
      if (C::has_c)
        std::memcpy(call_.c_n.data + n * call_.c_n.batch, state_.c + r * state_.stride, bytes);
      for (int64_t t = length; t < schedule.padded_steps; ++t)
        std::memset(call_.y.data + n * call_.y.batch + t * call_.y.time, 0, bytes);
    }
  }

  // The input products of the steps from s on, as many as a block holds. Returns where it ends.
  int64_t input_block(int64_t s) {
    const Schedule& schedule = call_.schedule;
    const int64_t end = s + block_steps_ < schedule.steps ? s + block_steps_ : schedule.steps;
    int64_t tokens = 0;
    for (; s < end; ++s) {
      const int64_t running = own_rows(share_, schedule.active[s]);
      for (int64_t i = 0; i < running; ++i) {
        const int64_t r = row(i), t = time_of(schedule, call_.reverse, r, s);
        x_.set(tokens++,
               call_.x.data + schedule.order[r] * call_.x.batch + t * call_.x.time);
      }
    }
    products_.template input<0>(x_, tokens, panels<0>(), sums_[0]);
    if constexpr (C::phases == 2) products_.template input<1>(x_, tokens, panels<1>(), sums_[1]);
    return end;
  }

  // One time step. `token` is where the step's input products stand in the block.
  int64_t step(int64_t s, int64_t token) {
    const Schedule& schedule = call_.schedule;
    const int64_t running = own_rows(share_, schedule.active[s]);
    ForwardStep<float> context{};
    context.stride = state_.stride;
    context.h_prev = state_.h[s & 1];
    context.h_next = state_.h[~s & 1];
    context.c = state_.c;
    context.product = state_.product;
    context.update = state_.update;
    context.y = y_;
    context.hidden = call_.size.hidden;
    context.outputs = call_.size.outputs;
    for (int64_t i = 0; i < running; ++i) {
      const int64_t r = row(i), t = time_of(schedule, call_.reverse, r, s);
      y_[i] = call_.y.data + schedule.order[r] * call_.y.batch + t * call_.y.time;
      h_.set(i, context.h_prev + r * state_.stride);
    }
    recurrent<0>(context, running, token);
    if constexpr (C::phases == 2) {
      for (int64_t i = 0; i < running; ++i) h_.set(i, state_.product + row(i) * state_.stride);
      recurrent<1>(context, running, token);
    }
    return running;
  }

  template <int P>
  void recurrent(const ForwardStep<float>& context, int64_t running, int64_t token) {
    products_.template recurrent<P>(context, h_, running, panels<P>(), false,
                                    sums_[P] + token * products_.template width<P>(),
                                    [this](int64_t i) { return row(i); });
    wait(share_.barrier, share_.members);
  }

  const Forward<float>& call_;
  const Share share_;
  const LowProducts<F, C> products_;
  const ForwardState<float> state_;
  const int64_t rows_, block_steps_;
  const LowRows<F> x_, h_;
  float** y_;
  float* sums_[2];
  int64_t words_;
};

}  // namespace UNROLLED_ISA_NS
