#include "decoder/decoder.h"

#include <algorithm>
#include <cstring>

#include "engine.h"

namespace unrolled {
namespace {

template <class T>
T* room(Values<T>& values, int64_t count) {
  if (static_cast<int64_t>(values.size()) < count) values.assign(static_cast<size_t>(count), T(0));
  return values.data();
}

}  // namespace

int64_t DecoderSizes::gates(int64_t layer) const {
  return gates_of(cell) * hidden[static_cast<size_t>(layer)];
}

template <class T>
Matrix<T> Decoder<T>::pack(const T* data, int64_t depth, int64_t columns, const T* bias) const {
  Matrix<T> matrix;
  matrix.depth = depth;
  matrix.columns = columns;
  matrix.packed.resize(static_cast<size_t>(table->decoder.matrix_size(depth, columns)));
  table->decoder.pack_matrix(data, depth, columns, matrix.packed.data());
  matrix.bias.assign(static_cast<size_t>(stride(columns)), T(0));
  if (bias != nullptr) std::copy_n(bias, columns, matrix.bias.data());
  return matrix;
}

template <class T>
void Decoder<T>::multiply(const Matrix<T>& matrix, const T* x, int64_t x_stride, int64_t count,
                          const T* in, int64_t in_stride, T* out, int64_t out_stride,
                          Scratch& scratch) const {
  scratch.rows.resize(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) scratch.rows[static_cast<size_t>(i)] = x + i * x_stride;
  table->decoder.multiply(matrix.packed.data(), matrix.depth, matrix.columns, scratch.rows.data(),
                          count, in, in_stride, out, out_stride);
}

template <class T>
void Decoder<T>::project(const T* const* steps, int64_t count, T* const* out) const {
  const int64_t copied = sizes.keys_are_memory ? sizes.keys : 0, made = stride(source.columns);
  Values<T> products(static_cast<size_t>(count * made));
  table->decoder.multiply(source.packed.data(), source.depth, source.columns, steps, count,
                          source.bias.data(), 0, products.data(), made);
  for (int64_t i = 0; i < count; ++i) {
    std::copy_n(steps[i], copied, out[i]);
    std::copy_n(products.data() + i * made, source.columns, out[i] + copied);
  }
}

template <class T>
void Decoder<T>::project_nothing(T* out) const {
  const int64_t copied = sizes.keys_are_memory ? sizes.keys : 0;
  std::fill_n(out, copied, T(0));
  std::copy_n(source.bias.data(), source.columns, out + copied);
}

template <class T>
void Decoder<T>::embed(const DecoderStep<T>& call, Scratch& scratch, int64_t stride) const {
  const int64_t count = call.rows * call.beam, width = sizes.given();
  T* const out = room(scratch.given, count * stride + table->lanes);
  if (embedded.empty()) {
    for (int64_t i = 0; i < count; ++i)
      std::copy_n(given + call.tokens[i] * width, width, out + i * stride);
  } else {
    scratch.rows.resize(static_cast<size_t>(count));
    for (int64_t i = 0; i < count; ++i)
      scratch.rows[static_cast<size_t>(i)] = given + call.tokens[i] * embedded.depth;
    table->decoder.multiply(embedded.packed.data(), embedded.depth, width, scratch.rows.data(), count,
                            embedded.bias.data(), 0, out, stride);
  }
  if (call.fed == nullptr) return;
  for (int64_t i = 0; i < count; ++i)
    table->decoder.add(call.fed[i / call.beam], out + i * stride, width);
}

template <class T>
void Decoder<T>::attend(const DecoderStep<T>& call, const T* queries, int64_t query_stride,
                        Scratch& scratch, int64_t stride) const {
  const int64_t width = sizes.source_width(), at = sizes.context_at();
  const T* const v = scorer.empty() ? nullptr : scorer.data();
  for (int64_t i = 0; i < call.rows * call.beam; ++i) {
    const T* const rows = call.sources[i / call.beam];
    const int64_t steps = call.lengths[i / call.beam];
    T* const weights = call.weights + i * call.weight_stride;
    table->decoder.score(queries + i * query_stride, v, rows, width, steps, sizes.keys, weights);
    table->decoder.softmax(weights, steps);
    table->decoder.add_weighted(weights, rows + sizes.keys, width, steps, sizes.given() - at,
                                scratch.given.data() + i * stride + at);
  }
}

template <class T>
void Decoder<T>::step(DecoderStep<T>& call, Scratch& scratch) const {
  const int64_t count = call.rows * call.beam, layers = sizes.layers();
  const int64_t wide = stride(sizes.given()), gates = sizes.gates(0);
  const bool lstm = sizes.cell == Cell::lstm;
  scratch.held.resize(static_cast<size_t>(layers));
  for (int64_t l = 0; l < layers; ++l) {
    const Matrix<T>& matrix = recurrent[static_cast<size_t>(l)];
    const int64_t held = stride(matrix.columns), H = stride(sizes.hidden[static_cast<size_t>(l)]);
    T* const out = room(scratch.held[static_cast<size_t>(l)], count * held);
    multiply(matrix, call.h[static_cast<size_t>(l)], H, count, matrix.bias.data(), 0, out, held,
             scratch);
  }
  embed(call, scratch, wide);
  const size_t top = static_cast<size_t>(layers - 1);
  if (sizes.scorer == Scorer::additive)
    attend(call, scratch.held[top].data() + sizes.gates(layers - 1), stride(recurrent[top].columns),
           scratch, wide);
  if (sizes.feeding)
    multiply(feed, call.feed, stride(sizes.readout), count, scratch.given.data(), wide,
             scratch.given.data(), wide, scratch);
  for (int64_t l = 0; l < layers; ++l) {
    const size_t k = static_cast<size_t>(l);
    const int64_t H = sizes.hidden[k], held = stride(recurrent[k].columns);
    const T* input = scratch.given.data();
    int64_t input_stride = wide;
    if (l > 0) {
      input_stride = stride(inputs[k].columns);
      T* const below = room(scratch.below, count * input_stride);
      multiply(inputs[k], call.h[k - 1], stride(sizes.hidden[k - 1]), count, inputs[k].bias.data(), 0,
               below, input_stride, scratch);
      input = below;
    }
    for (int64_t i = 0; i < count; ++i)
      table->decoder.pointwise(sizes.cell, input + i * input_stride,
                               scratch.held[k].data() + i * held, H, call.h[k] + i * stride(H),
                               lstm ? call.c[k] + i * stride(H) : nullptr);
  }
  const T* const h = call.h[top];
  const int64_t H = stride(sizes.hidden[top]);
  if (sizes.scorer == Scorer::dot) attend(call, h, H, scratch, wide);
  if (sizes.scorer == Scorer::concat) {
    T* const queries = room(scratch.query, count * stride(sizes.keys));
    multiply(query, h, H, count, query.bias.data(), 0, queries, stride(sizes.keys), scratch);
    attend(call, queries, stride(sizes.keys), scratch, wide);
  }
  T* const readout = scratch.given.data() + gates;
  multiply(read, h, H, count, readout, wide, readout, wide, scratch);
  for (int64_t i = 0; i < count; ++i) {
    T* const row = readout + i * wide;
    table->unary(Unary::tanh, row, row, sizes.readout);
    if (sizes.feeding) std::copy_n(row, sizes.readout, call.feed + i * stride(sizes.readout));
  }
  multiply(output, readout, wide, count, output.bias.data(), 0, call.log_probs, log_prob_stride(),
           scratch);
  T* const exponentials = room(scratch.below, log_prob_stride());
  for (int64_t i = 0; i < count; ++i)
    table->decoder.log_softmax(call.log_probs + i * log_prob_stride(), sizes.vocabulary,
                               exponentials);
}

template class Decoder<float>;
template class Decoder<double>;

}  // namespace unrolled
