// One step of a decoder that writes tokens: embedding, recurrent stack, attention, readout.
//
//   q = W_q s             scores = v . tanh(q + keys), or q . keys      a = softmax(scores)
//   s' = cell(E y + F f + a P, s)     r = tanh(W_r s' + a P')      log p = log_softmax(W_o r + b)
//
// What the context a M is multiplied by is multiplied into the memory once: (a M) W = a (M W). The
// rows P of a source hold the keys and these products side by side; the embedding's part is a table
// where the vocabulary is small. A step is left with the products of the state.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <new>
#include <vector>

#include "kernels.h"

namespace unrolled {

// Additive reads the state before the cell (Bahdanau), dot and concat the one after it (Luong).
// Luong's general is a dot with keys that carry its matrix.
enum class Scorer : int { none, additive, dot, concat };

template <class T>
struct Aligned {
  using value_type = T;
  Aligned() = default;
  template <class U>
  Aligned(const Aligned<U>&) {}
  T* allocate(size_t count) {
    if (count > (SIZE_MAX - 64) / sizeof(T)) throw std::bad_alloc();
    void* p = std::aligned_alloc(64, (count * sizeof(T) + 63) / 64 * 64);
    if (p == nullptr) throw std::bad_alloc();
    return static_cast<T*>(p);
  }
  void deallocate(T* p, size_t) { std::free(p); }
  bool operator==(const Aligned&) const { return true; }
};
template <class T>
using Values = std::vector<T, Aligned<T>>;

// A packed matrix [depth, columns] and the row that its products begin with, in whole vectors.
template <class T>
struct Matrix {
  int64_t depth = 0, columns = 0;
  Values<T> packed, bias;
  bool empty() const { return depth == 0; }
};

struct DecoderSizes {
  Cell cell;
  Scorer scorer;
  std::vector<int64_t> hidden;                 // H of each layer
  int64_t vocabulary, readout, keys, memory;   // V, R, A (0 without attention), M
  bool keys_are_memory;  // the keys are the memory's own rows
  bool feeding;          // r[t-1] is read by the first layer

  int64_t layers() const { return static_cast<int64_t>(hidden.size()); }
  int64_t gates(int64_t layer) const;
  // What is given to a step from outside the state: the first layer's gates, then the readout.
  int64_t given() const { return gates(0) + readout; }
  // Of P: keys, then what the context gives (the gates only where it is read before the cell).
  int64_t context_at() const { return scorer == Scorer::additive ? 0 : gates(0); }
  int64_t source_width() const {
    return scorer == Scorer::none ? 0 : keys + given() - context_at();
  }
};

// B = rows * beam hypotheses; those of a row share its source. Everything but the arrays of the
// first block is replaced by the step. Arrays of the state are [B, stride].
template <class T>
struct DecoderStep {
  int64_t rows, beam;
  const int64_t* tokens;     // [B]
  const T* const* sources;   // [rows] of [S, source_width], null without attention
  const int64_t* lengths;    // [rows]
  const T* const* fed;       // [rows] of [given], or null

  std::vector<T*> h, c;      // by layer; c empty but for LSTM
  T* feed;                   // [B, readout], or null
  T* log_probs;              // [B, log_prob_stride]
  T* weights;                // [B, weight_stride], or null
  int64_t weight_stride;
};

template <class T>
class Decoder {
 public:
  const Kernels<T>* table;
  DecoderSizes sizes;
  std::vector<Matrix<T>> recurrent;  // [H, G*H], that of the top layer with W_q of additive beside
  std::vector<Matrix<T>> inputs;     // [H below, G*H]; empty for the first layer
  Matrix<T> embedded;                // [E, given], empty where `given` is a table of tokens
  const T* given;                    // [V, given], or the embedding [V, E]; the caller keeps it
  Matrix<T> source;                  // [M, source_width], without the keys where they are memory
  Matrix<T> query;                   // of concat
  Matrix<T> feed;                    // [R, G*H] of the first layer
  Matrix<T> read, output;            // [H, R], [R, V]
  Values<T> scorer;                  // v [A], empty for dot

  int64_t stride(int64_t width) const {
    return (width + table->lanes - 1) / table->lanes * table->lanes;
  }
  int64_t log_prob_stride() const { return stride(sizes.vocabulary); }

  Matrix<T> pack(const T* data, int64_t depth, int64_t columns, const T* bias) const;

  // P [source_width] of `count` steps of a memory, each [M].
  void project(const T* const* steps, int64_t count, T* const* out) const;
  // P of a step past a row's end, where the memory is zero.
  void project_nothing(T* out) const;

  // Scratch memory of a step, kept by its caller.
  struct Scratch {
    std::vector<Values<T>> held;
    Values<T> given, below, query;
    std::vector<const T*> rows;
  };
  void step(DecoderStep<T>& call, Scratch& scratch) const;

 private:
  void multiply(const Matrix<T>& matrix, const T* x, int64_t x_stride, int64_t count, const T* in,
                int64_t in_stride, T* out, int64_t out_stride, Scratch& scratch) const;
  void embed(const DecoderStep<T>& call, Scratch& scratch, int64_t stride) const;
  void attend(const DecoderStep<T>& call, const T* queries, int64_t query_stride,
              Scratch& scratch, int64_t stride) const;
};

}  // namespace unrolled
