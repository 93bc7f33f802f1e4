// The activation functions of ONNX's recurrent operators, one chosen at run time for each register.
#pragma once

#include "functions.h"
#include "shapes.h"

namespace UNROLLED_ISA_NS {

using unrolled::Activation;
using unrolled::Function;

// Comparisons are false for NaN and then keep x, so that a NaN passes through every function.
// Not inlined: a cell calls it up to five times, and it is dear in code but not in time.
template <class T>
__attribute__((noinline)) Vec<T> activate(const Activation& by, Vec<T> x) {
  const T alpha = static_cast<T>(by.alpha), beta = static_cast<T>(by.beta);
  switch (by.function) {
    case Function::affine: return x * alpha + beta;
    case Function::elu: return elu<T>(x, alpha);
    case Function::hard_sigmoid: return clamp<T>(x * alpha + beta, T(0), T(1));
    case Function::leaky_relu: return x < T(0) ? x * alpha : x;
    case Function::relu: return at_least(x, Vec<T>{});
    case Function::scaled_tanh: return alpha * tanh<T>(x * beta);
    case Function::sigmoid: return sigmoid<T>(x);
    case Function::softplus: return softplus<T>(x);
    case Function::softsign: return softsign<T>(x);
    case Function::tanh: return tanh<T>(x);
    default: return x < splat<T>(alpha) ? Vec<T>{} : x;
  }
}

// The activation of a gate or candidate: of its sum, bounded by `clip`, which may be infinite.
template <class T>
UNROLLED_INLINE Vec<T> activate_clipped(const Activation& by, Vec<T> sum, double clip) {
  const T bound = static_cast<T>(clip);
  return activate<T>(by, clamp<T>(sum, -bound, bound));
}

}  // namespace UNROLLED_ISA_NS
