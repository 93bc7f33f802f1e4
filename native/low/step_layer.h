// One time step of one layer with low-precision weights, for a block of rows; see step.h.
#pragma once

#include "low/products.h"
#include "step.h"

namespace UNROLLED_ISA_NS {

template <class F, class C>
class LowStepLayer {
 public:
  LowStepLayer(const Step<float>& call, const Share& share, float* scratch)
      : LowStepLayer(call, share, Carver(scratch)) {}

  static int64_t scratch(const Size& size, int64_t rows) {
    Step<float> call{};
    call.size = size;
    call.rows = rows;
    return LowStepLayer(call, Share{0, 1, 0, 1, nullptr}, Carver(nullptr)).words_;
  }

  void run() {
    for (int64_t i = share_.member; i < call_.rows; i += share_.members) begin(i);
    wait(share_.barrier, share_.members);
    ForwardStep<float> context{};
    context.stride = state_.stride;
    context.h_prev = state_.h;
    context.h_next = state_.h_next;
    context.c = state_.c;
    context.product = state_.product;
    context.update = state_.update;
    context.y = state_.y_rows;
    context.hidden = call_.size.hidden;
    context.outputs = call_.size.outputs;
    products<0>(context, h_);
    wait(share_.barrier, share_.members);
    if constexpr (C::phases == 2) {
      for (int64_t i = share_.member; i < call_.rows; i += share_.members)
        h_.set(i, state_.product + i * state_.stride);
      wait(share_.barrier, share_.members);
      products<1>(context, h_);
      wait(share_.barrier, share_.members);
    }
    for (int64_t i = share_.member; i < call_.rows; i += share_.members) finish(i);
    // The next layer divides the same scratch memory otherwise.
    wait(share_.barrier, share_.members);
  }

 private:
  LowStepLayer(const Step<float>& call, const Share& share, Carver carver)
      : call_(call),
        share_(share),
        products_(call.size, call.packed),
        state_(call.size, call.rows,
               carver.take<float>(StepState<float>(call.size, call.rows, nullptr).words)),
        x_(carver, call.rows, call.size.inputs),
        h_(carver, call.rows, call.size.hidden) {
    sums_[0] = carver.take<float>(call.rows * products_.template width<0>());
    if constexpr (C::phases == 2)
      sums_[1] = carver.take<float>(call.rows * products_.template width<1>());
    words_ = carver.values<float>();
  }

  int64_t state_row(int64_t i) const { return call_.index != nullptr ? call_.index[i] : i; }

  void begin(int64_t i) {
    const int64_t r = state_row(i), H = call_.size.hidden;
    const size_t bytes = static_cast<size_t>(H) * sizeof(float);
    float* h = state_.h + i * state_.stride;
    std::memcpy(h, call_.h.data + r * call_.h.batch, bytes);
    if (C::has_c) std::memcpy(state_.c + i * state_.stride, call_.c.data + r * call_.c.batch, bytes);
    state_.y_rows[i] = call_.y.data + i * call_.y.batch;
    x_.set(i, call_.x.data + i * call_.x.batch);
    h_.set(i, h);
  }

  void finish(int64_t i) {
    const int64_t r = state_row(i), H = call_.size.hidden;
    const size_t bytes = static_cast<size_t>(H) * sizeof(float);
    std::memcpy(call_.h_n.data + r * call_.h_n.batch, state_.h_next + i * state_.stride, bytes);
    if (C::has_c)
      std::memcpy(call_.c_n.data + r * call_.c_n.batch, state_.c + i * state_.stride, bytes);
    if (!call_.residual) return;
    const float* x = call_.x.data + i * call_.x.batch;
    float* y = call_.y.data + i * call_.y.batch;
    for (int64_t j = 0; j < H; ++j) y[j] += x[j];
  }

  template <int P>
  void products(const ForwardStep<float>& context, const LowRows<F>& from) {
    const Range panels =
        part_of(products_.plan.phase[P].panels, share_.member, share_.members);
    products_.template input<P>(x_, call_.rows, panels, sums_[P]);
    products_.template recurrent<P>(context, from, call_.rows, panels, call_.backward, sums_[P],
                                    [](int64_t i) { return i; });
  }

  const Step<float>& call_;
  const Share share_;
  const LowProducts<F, C> products_;
  const StepState<float> state_;
  const LowRows<F> x_, h_;
  float* sums_[2];
  int64_t words_;
};

}  // namespace UNROLLED_ISA_NS
