// Weights and activations as 8-bit integers.
//
// A row v of a weight, or of x or h, becomes round(v * 127 / m) with m its largest magnitude, halves
// to even, and the factor m / 127. Sums of products are exact 32-bit integers; the factors of both
// rows multiply them once. A row whose m is below 1e-30 counts as zero. A row with a value that is
// not finite has the factor NaN, so that it is seen in the result.
//
// AVX512-VNNI multiplies unsigned by signed: there activations are stored with 128 added, and each
// sum starts at -128 times the sum of its weights. Elsewhere they are 16-bit, for the instruction
// that multiplies and adds pairs (SSE4.1, AVX2, AVX-512BW), or for a plain loop.
#pragma once

#include <cstring>

#include "low/plan.h"

#if defined(__SSE4_1__)
#include <immintrin.h>
#endif

namespace UNROLLED_ISA_NS {

struct Int8 {
  static constexpr int per_word = 4;
  static constexpr bool scaled = true;
#if defined(__AVX512VNNI__)
  static constexpr int sums = 24, at_once = 4;
  using Code = uint8_t;
  static constexpr int zero = 128;
#else
#if defined(__AVX512F__)
  static constexpr int sums = 12, at_once = 2;
#else
  static constexpr int sums = 4, at_once = 1;
#endif
  using Code = int16_t;
  static constexpr int zero = 0;
#endif
  struct Row {
    const Code* codes;
    float scale;
  };

  static int64_t code_bytes(int64_t depth) {
    return words_of<Int8>(depth) * per_word * static_cast<int64_t>(sizeof(Code));
  }

  static Row row(const float* values, int64_t depth, void* room) {
    Code* codes = static_cast<Code*>(room);
    float inverse = 0;
    const float scale = scale_of(values, depth, &inverse);
    int64_t k = 0;
#if defined(__AVX512F__)
    for (; k + 16 <= depth; k += 16) {
      const __m512i q = _mm512_cvtps_epi32((__m512)(load(values + k) * inverse));
      put(codes + k, _mm512_add_epi32(q, _mm512_set1_epi32(zero)));
    }
#endif
    for (; k < depth; ++k) codes[k] = static_cast<Code>(quantise(values[k], inverse) + zero);
    for (; k % per_word != 0; ++k) codes[k] = zero;
    return {codes, scale};
  }

  static void encode(const float* row, int64_t depth, Word* to, int64_t stride, float* scale,
                     int32_t* start) {
    float inverse = 0;
    *scale = row != nullptr ? scale_of(row, depth, &inverse) : 0;
    int32_t sum = 0;
    for (int64_t k = 0; k < depth; k += per_word, to += stride) {
      *to = 0;
      for (int j = 0; row != nullptr && j < per_word && k + j < depth; ++j) {
        const int code = quantise(row[k + j], inverse);
        *to |= static_cast<Word>(code & 0xff) << (8 * j);
        sum += code;
      }
    }
    *start = -zero * sum;
  }

  // out[r] = in[r] + the product of row r and `count` panels of V vectors, `panel` words apart.
  template <int R, int V, int count>
  static void tile(const Row* rows, const Word* b, int64_t panel, int64_t depth, const float* scale,
                   const int32_t* start, const float* in, int64_t in_stride, float* out,
                   int64_t out_stride, int64_t out_panel) {
    constexpr int lanes = kLanes<float>;
    I32 sum[R][count][V];
    integers<R, V, count>(rows, b, panel, words_of<Int8>(depth), start, sum);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int p = 0; p < count; ++p)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) {
          const int64_t at = p * out_panel + v * lanes;
          const F32 factor = load(scale + (p * V + v) * lanes) * rows[r].scale;
          store(out + r * out_stride + at, load(in + r * in_stride + at) +
                                               factor * __builtin_convertvector(sum[r][p][v], F32));
        }
  }

 private:
  static float scale_of(const float* values, int64_t depth, float* inverse) {
    constexpr int lanes = kLanes<float>;
    // Magnitudes are ordered as their bits are, infinity and NaN above all numbers.
    I32 most = {};
    int64_t k = 0;
    for (; k < depth; k += lanes) {
      const F32 v = k + lanes <= depth ? load(values + k)
                                       : load_first(values + k, static_cast<int>(depth - k));
      const I32 bits = (I32)absolute(v);
      most = bits > most ? bits : most;
    }
    int32_t highest = 0;
    for (int lane = 0; lane < lanes; ++lane) highest = most[lane] > highest ? most[lane] : highest;
    float m;
    std::memcpy(&m, &highest, sizeof m);
    *inverse = 0;
    if (highest >= 0x7f800000) return __builtin_nanf("");
    if (m < 1e-30f) return 0;
    *inverse = 127.0f / m;
    return m / 127.0f;
  }

  static int quantise(float value, float inverse) {
    return inverse == 0 ? 0 : static_cast<int>(__builtin_rintf(value * inverse));
  }

#if defined(__AVX512VNNI__)
  static UNROLLED_INLINE void put(uint8_t* to, __m512i q) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(q));
  }
#elif defined(__AVX512F__)
  static UNROLLED_INLINE void put(int16_t* to, __m512i q) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(q));
  }
#endif

#if defined(__AVX512VNNI__)
  template <int R, int V, int count>
  static UNROLLED_INLINE void integers(const Row* rows, const Word* b, int64_t panel, int64_t words,
                                       const int32_t* start, I32 (&sum)[R][count][V]) {
    constexpr int lanes = kLanes<float>;
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int p = 0; p < count; ++p)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v)
          std::memcpy(&sum[r][p][v], start + (p * V + v) * lanes, sizeof(I32));
    for (int64_t k = 0; k < words; ++k, b += V * lanes) {
      __m512i w[count][V];
#pragma GCC unroll 4
      for (int p = 0; p < count; ++p)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) w[p][v] = _mm512_loadu_si512(b + p * panel + v * lanes);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        int32_t four;
        std::memcpy(&four, rows[r].codes + k * per_word, sizeof four);
        const __m512i x = _mm512_set1_epi32(four);
#pragma GCC unroll 4
        for (int p = 0; p < count; ++p)
#pragma GCC unroll 4
          for (int v = 0; v < V; ++v)
            sum[r][p][v] = (I32)_mm512_dpbusd_epi32((__m512i)sum[r][p][v], x, w[p][v]);
      }
    }
  }
#elif defined(__SSE4_1__)
  // Half a vector of weights as 16-bit values, and the products with four activations, pairs added.
#if defined(__AVX512F__)
  static UNROLLED_INLINE I32 pairs(const Word* b, int64_t four) {
    const __m256i w = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b));
    return (I32)_mm512_madd_epi16(_mm512_cvtepi8_epi16(w), _mm512_set1_epi64(four));
  }
#elif defined(__AVX2__)
  static UNROLLED_INLINE I32 pairs(const Word* b, int64_t four) {
    const __m128i w = _mm_loadu_si128(reinterpret_cast<const __m128i*>(b));
    return (I32)_mm256_madd_epi16(_mm256_cvtepi8_epi16(w), _mm256_set1_epi64x(four));
  }
#else
  static UNROLLED_INLINE I32 pairs(const Word* b, int64_t four) {
    const __m128i w = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(b));
    return (I32)_mm_madd_epi16(_mm_cvtepi8_epi16(w), _mm_set1_epi64x(four));
  }
#endif

  template <int R, int V, int count>
  static UNROLLED_INLINE void integers(const Row* rows, const Word* b, int64_t panel, int64_t words,
                                       const int32_t*, I32 (&sum)[R][count][V]) {
    constexpr int lanes = kLanes<float>;
    I32 halves[R][count][V][2] = {};
    for (int64_t k = 0; k < words; ++k, b += V * lanes)
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        int64_t four;
        std::memcpy(&four, rows[r].codes + k * per_word, sizeof four);
#pragma GCC unroll 4
        for (int p = 0; p < count; ++p)
#pragma GCC unroll 4
          for (int v = 0; v < V; ++v) {
            const Word* at = b + p * panel + v * lanes;
            halves[r][p][v][0] += pairs(at, four);
            halves[r][p][v][1] += pairs(at + lanes / 2, four);
          }
      }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int p = 0; p < count; ++p)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) {
          int32_t apart[2 * lanes];
          std::memcpy(apart, halves[r][p][v], sizeof apart);
          for (int lane = 0; lane < lanes; ++lane)
            sum[r][p][v][lane] = apart[2 * lane] + apart[2 * lane + 1];
        }
  }
#else
  template <int R, int V, int count>
  static void integers(const Row* rows, const Word* b, int64_t panel, int64_t words, const int32_t*,
                       I32 (&sum)[R][count][V]) {
    constexpr int lanes = kLanes<float>;
    for (int r = 0; r < R; ++r)
      for (int p = 0; p < count; ++p)
        for (int v = 0; v < V; ++v) {
          I32 total = {};
          for (int64_t k = 0; k < words; ++k) {
            I32 four;
            std::memcpy(&four, b + p * panel + (k * V + v) * lanes, sizeof four);
            const Code* codes = rows[r].codes + k * per_word;
            for (int j = 0; j < per_word; ++j)
              total += ((four << (24 - 8 * j)) >> 24) * static_cast<int32_t>(codes[j]);
          }
          sum[r][p][v] = total;
        }
  }
#endif
};

}  // namespace UNROLLED_ISA_NS
