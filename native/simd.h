// The vector vocabulary: load, store, fma, exp, tanh, sigmoid over one register of T.
//
// GCC's and Clang's vector extensions give the arithmetic on every machine; intrinsics appear only
// where they do what the extensions cannot say (masked tails, scaling by a power of two, fast
// reciprocal). Everything is in the namespace of the instruction set being compiled.
#pragma once

#include <cstdint>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

#define UNROLLED_INLINE inline __attribute__((always_inline))
#define UNROLLED_LAMBDA __attribute__((always_inline))
// A compiler that fuses a product and a sum may choose differently in each place that it inlines a
// function into. What must give the same bits everywhere is compiled once.
#if defined(__clang__)
#define UNROLLED_ONE_COPY __attribute__((noinline))
#else
#define UNROLLED_ONE_COPY __attribute__((noinline, noclone))
#endif

namespace UNROLLED_ISA_NS {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

typedef float F32 __attribute__((vector_size(kVectorBytes)));
typedef double F64 __attribute__((vector_size(kVectorBytes)));
typedef int32_t I32 __attribute__((vector_size(kVectorBytes)));
typedef int64_t I64 __attribute__((vector_size(kVectorBytes)));
typedef float UnalignedF32 __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
typedef double UnalignedF64 __attribute__((vector_size(kVectorBytes), aligned(8), may_alias));

template <class T>
struct VectorOf;
template <>
struct VectorOf<float> {
  using type = F32;
  using integer = I32;
  using unaligned = UnalignedF32;
};
template <>
struct VectorOf<double> {
  using type = F64;
  using integer = I64;
  using unaligned = UnalignedF64;
};
template <class T>
using Vec = typename VectorOf<T>::type;

template <class T>
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

template <class T>
UNROLLED_INLINE Vec<T> load(const T* p) {
  return *reinterpret_cast<const typename VectorOf<T>::unaligned*>(p);
}
template <class T>
UNROLLED_INLINE void store(T* p, Vec<T> v) {
  *reinterpret_cast<typename VectorOf<T>::unaligned*>(p) = v;
}
template <class T>
UNROLLED_INLINE Vec<T> splat(T x) {
  return x - Vec<T>{};
}

// The first n lanes of memory, zero beyond; n in [1, lanes). Never touches memory past n.
UNROLLED_INLINE F32 load_first(const float* p, int n) {
#if defined(__AVX512F__)
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
#else
  F32 v = {};
  for (int i = 0; i < n; ++i) v[i] = p[i];
  return v;
#endif
}
UNROLLED_INLINE F64 load_first(const double* p, int n) {
#if defined(__AVX512F__)
  return _mm512_maskz_loadu_pd(static_cast<__mmask8>((1u << n) - 1), p);
#else
  F64 v = {};
  for (int i = 0; i < n; ++i) v[i] = p[i];
  return v;
#endif
}
UNROLLED_INLINE void store_first(float* p, F32 v, int n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), v);
#else
  for (int i = 0; i < n; ++i) p[i] = v[i];
#endif
}
UNROLLED_INLINE void store_first(double* p, F64 v, int n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_pd(p, static_cast<__mmask8>((1u << n) - 1), v);
#else
  for (int i = 0; i < n; ++i) p[i] = v[i];
#endif
}

// Comparisons are false for NaN, so a NaN in `v` passes through.
UNROLLED_INLINE F32 at_most(F32 v, F32 bound) { return v > bound ? bound : v; }
UNROLLED_INLINE F64 at_most(F64 v, F64 bound) { return v > bound ? bound : v; }
UNROLLED_INLINE F32 at_least(F32 v, F32 bound) { return v < bound ? bound : v; }
UNROLLED_INLINE F64 at_least(F64 v, F64 bound) { return v < bound ? bound : v; }

UNROLLED_INLINE F32 absolute(F32 v) { return (F32)((I32)v & 0x7fffffff); }
UNROLLED_INLINE F64 absolute(F64 v) { return (F64)((I64)v & 0x7fffffffffffffffLL); }
UNROLLED_INLINE F32 with_sign_of(F32 v, F32 s) {
  return (F32)((I32)v | ((I32)s & static_cast<int32_t>(0x80000000u)));
}
UNROLLED_INLINE F64 with_sign_of(F64 v, F64 s) {
  return (F64)((I64)v | ((I64)s & static_cast<int64_t>(0x8000000000000000ULL)));
}


}  // namespace UNROLLED_ISA_NS
