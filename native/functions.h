// exp, tanh, sigmoid, elu, softplus and softsign over one register, to about 2 units in the last place.
//
// The first five write x = n ln 2 + r with |r| <= ln 2 / 2 and share one polynomial for exp(r) - 1, so
// that tanh and elu keep their relative accuracy near zero. Arguments are clamped where the result no longer
// changes (or underflows), so nothing overflows; NaN passes through every comparison.
#pragma once

#include "simd.h"

namespace UNROLLED_ISA_NS {

template <class T>
struct ExpConstants;

template <>
struct ExpConstants<float> {
  static constexpr float log2e = 1.44269504088896341f;
  // ln 2 in two parts (Cody and Waite); n times the first is exact for every n that occurs.
  static constexpr float ln2_high = 0.693359375f;
  static constexpr float ln2_low = -2.12194440e-4f;
  static constexpr float lowest = -104.0f, highest = 89.0f;
  static constexpr float sigmoid_bound = 87.33654f;  // just below 126 ln 2, the smallest normal result
  static constexpr float tanh_bound = 10.0f;
  static constexpr float magic = 12582912.0f;  // 1.5 * 2^23
  static constexpr float largest = 3.40282347e38f;
  static constexpr int mantissa_bits = 23, bias = 127;
};

template <>
struct ExpConstants<double> {
  static constexpr double log2e = 1.4426950408889634074;
  static constexpr double ln2_high = 6.93145751953125e-1;
  static constexpr double ln2_low = 1.42860682030941723212e-6;
  static constexpr double lowest = -746.0, highest = 710.0;
  static constexpr double sigmoid_bound = 708.3964185322641;  // just below 1022 ln 2
  static constexpr double tanh_bound = 20.0;
  static constexpr double magic = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double largest = 1.7976931348623157e308;
  static constexpr int mantissa_bits = 52, bias = 1023;
};

// exp(r) - 1 for |r| <= 0.35. Float: the coefficients of Cephes' expf; double: Taylor to r^13.
UNROLLED_INLINE F32 expm1_reduced(F32 r) {
  F32 p = 1.9875691500e-4f * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  return p * (r * r) + r;
}
UNROLLED_INLINE F64 expm1_reduced(F64 r) {
  F64 p = (1.0 / 6227020800.0) * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  return p * (r * r) + r;
}

// x = n ln 2 + r; scale(y) is y * 2^n, right also where 2^n itself would overflow or underflow.
template <class T>
struct Reduced {
  using V = Vec<T>;
  using K = ExpConstants<T>;
  V r;
#if defined(__AVX512F__)
  V n;
  UNROLLED_INLINE explicit Reduced(V x) {
    n = nearest(x * K::log2e);
    r = (x - n * K::ln2_high) - n * K::ln2_low;
  }
  static UNROLLED_INLINE F32 nearest(F32 v) { return _mm512_roundscale_ps(v, 0x08); }
  static UNROLLED_INLINE F64 nearest(F64 v) { return _mm512_roundscale_pd(v, 0x08); }
  static UNROLLED_INLINE F32 scaled(F32 y, F32 n) { return _mm512_scalef_ps(y, n); }
  static UNROLLED_INLINE F64 scaled(F64 y, F64 n) { return _mm512_scalef_pd(y, n); }
  UNROLLED_INLINE V scale(V y) const { return scaled(y, n); }
  UNROLLED_INLINE V scale_small(V y) const { return scaled(y, n); }
#else
  using I = typename VectorOf<T>::integer;
  I n;
  UNROLLED_INLINE explicit Reduced(V x) {
    V shifted = x * K::log2e + K::magic;
    n = (I)shifted - (I)splat<T>(K::magic);
    V whole = shifted - K::magic;
    r = (x - whole * K::ln2_high) - whole * K::ln2_low;
  }
  static UNROLLED_INLINE V power(I n) { return (V)((n + K::bias) << K::mantissa_bits); }
  UNROLLED_INLINE V scale(V y) const {
    I half = n >> 1;
    return y * power(half) * power(n - half);
  }
  // Where 2^n is a normal number.
  UNROLLED_INLINE V scale_small(V y) const { return y * power(n); }
#endif
};

// 1 / d for d in [1, 2^126].
UNROLLED_INLINE F32 reciprocal(F32 d) {
#if defined(__AVX512F__)
  F32 y = _mm512_rcp14_ps(d);
  return y * (1.0f - d * y) + y;
#else
  return 1.0f / d;
#endif
}
UNROLLED_INLINE F64 reciprocal(F64 d) { return 1.0 / d; }

template <class T>
UNROLLED_INLINE Vec<T> clamp(Vec<T> x, T low, T high) {
  return at_most(at_least(x, splat<T>(low)), splat<T>(high));
}

template <class T>
UNROLLED_INLINE Vec<T> exp(Vec<T> x) {
  using K = ExpConstants<T>;
  Reduced<T> reduced(clamp<T>(x, K::lowest, K::highest));
  return reduced.scale(expm1_reduced(reduced.r) + T(1));
}

// 1 / (1 + exp(-x)).
template <class T>
UNROLLED_INLINE Vec<T> sigmoid(Vec<T> x) {
  using K = ExpConstants<T>;
  Reduced<T> reduced(clamp<T>(-x, -K::sigmoid_bound, K::sigmoid_bound));
  return reciprocal(reduced.scale_small(expm1_reduced(reduced.r) + T(1)) + T(1));
}

// exp(x) - 1 of a reduced x, without cancellation near zero, where 2^n is a normal number.
template <class T>
UNROLLED_INLINE Vec<T> expm1(const Reduced<T>& reduced) {
  Vec<T> one = splat<T>(1);
  Vec<T> power = reduced.scale_small(one);
  return expm1_reduced(reduced.r) * power + (power - one);
}

// With e = exp(2|x|) - 1, tanh |x| = e / (e + 2).
template <class T>
UNROLLED_INLINE Vec<T> tanh(Vec<T> x) {
  using K = ExpConstants<T>;
  Vec<T> magnitude = at_most(absolute(x), splat<T>(K::tanh_bound));
  Reduced<T> reduced(magnitude + magnitude);
  Vec<T> e = expm1<T>(reduced);
  return with_sign_of(e * reciprocal(e + T(2)), x);
}

// x, or alpha (exp(x) - 1) where x is negative.
template <class T>
UNROLLED_INLINE Vec<T> elu(Vec<T> x, T alpha) {
  using K = ExpConstants<T>;
  Reduced<T> reduced(clamp<T>(x, -K::sigmoid_bound, T(0)));
  return x >= T(0) ? x : alpha * expm1<T>(reduced);
}

// log(1 + u) for u in [0, 1]: with s = u / (2 + u) it is 2 artanh(s) = 2 (s + s^3 / 3 + s^5 / 5 ...).
template <class T>
UNROLLED_INLINE Vec<T> log1p_unit(Vec<T> u) {
  constexpr int terms = sizeof(T) == sizeof(float) ? 7 : 15;
  Vec<T> s = u / (u + T(2)), square = s * s, sum{};
#pragma GCC unroll 16
  for (int k = terms; k > 0; --k) sum = (sum + T(1) / T(2 * k + 1)) * square;
  s += s;
  return s * sum + s;
}

// log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)). From x = 40 on the second term adds nothing; it
// is kept from becoming subnormal there, which would be slow.
template <class T>
UNROLLED_INLINE Vec<T> softplus(Vec<T> x) {
  Vec<T> e = exp<T>(x > T(0) ? at_least(-x, splat<T>(-40)) : x);
  return at_least(x, Vec<T>{}) + log1p_unit<T>(e);
}

// x / (1 + |x|), at infinity its limit.
template <class T>
UNROLLED_INLINE Vec<T> softsign(Vec<T> x) {
  Vec<T> magnitude = at_most(absolute(x), splat<T>(ExpConstants<T>::largest));
  return with_sign_of(magnitude / (magnitude + T(1)), x);
}

}  // namespace UNROLLED_ISA_NS
