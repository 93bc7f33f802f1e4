// Linear-chain conditional random fields: partition function, its gradient, best tag sequences.
//
//   score(y) = start[y_1] + sum_t emissions[t, y_t] + sum_t transitions[y_t, y_t+1] + end[y_L]
//   p(y) = exp(score(y)) / Z
//
// Rows are computed in float64 whatever T is. Scores of -inf forbid; log Z is -inf where nothing is
// allowed. Results do not depend on the number of threads.
#pragma once

#include <cstdint>

namespace unrolled {

template <class T>
struct Chain {
  int64_t rows, steps, tags;
  const T* emissions;      // [N, T, K]
  const T* transitions;    // [K, K], from the row's tag to the column's
  const T* start;          // [K]
  const T* end;            // [K]
  const int64_t* lengths;  // [N], each in 1..T
};

// log_z [N]; forward scores alphas [N, T, K] where not null.
template <class T>
void crf_log_partition(const Chain<T>& chain, double* log_z, double* alphas);

// The gradient of sum_n weights[n] log_z[n], from what crf_log_partition left. With weights of 1 the
// gradient by emissions is the marginals p(y_t = k), by transitions the expected counts. emissions
// [N, T, K] is zero past each row's end.
template <class T>
void crf_gradient(const Chain<T>& chain, const double* log_z, const double* alphas,
                  const double* weights, T* emissions, T* transitions, T* start, T* end);

// The `best` highest scoring sequences of each row, best first: paths [N, best, T], -1 past the
// row's end and where there are fewer; scores [N, best], -inf there. Of equal scores the one whose
// last differing tag is lower comes first.
template <class T>
void crf_viterbi(const Chain<T>& chain, int64_t best, int64_t* paths, double* scores);

}  // namespace unrolled
