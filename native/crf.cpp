#include "crf.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "pool.h"

namespace unrolled {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();
// A sum of probabilities below this may have lost terms to underflow and is computed anew from logs.
constexpr double kTiny = 1e-250;
// exp of more than this would let what underflowed count again.
constexpr double kSteep = 500.0;
// Multiply-adds below which sharing is not worth waking a thread.
constexpr double kWorthSharing = 5e5;
// Rows are summed in this many parts in a fixed order, by however many threads.
constexpr int64_t kParts = 8;

double highest(const double* x, int64_t count) {
  double top = kNever;
  for (int64_t k = 0; k < count; ++k) top = std::max(top, x[k]);
  return std::isfinite(top) ? top : 0.0;
}

template <class Term>
double log_sum_exp(int64_t count, Term term) {
  double top = kNever;
  for (int64_t k = 0; k < count; ++k) top = std::max(top, term(k));
  if (!std::isfinite(top)) top = 0.0;
  double sum = 0.0;
  for (int64_t k = 0; k < count; ++k) sum += std::exp(term(k) - top);
  return top + std::log(sum);
}

// out[j] = sum_i x[i] matrix[i, j]
void product(const double* x, const double* matrix, int64_t size, double* out) {
  std::fill(out, out + size, 0.0);
  for (int64_t i = 0; i < size; ++i) {
    const double value = x[i];
    if (value == 0.0) continue;
    const double* row = matrix + i * size;
    for (int64_t j = 0; j < size; ++j) out[j] += value * row[j];
  }
}

// The transitions in float64, as they are and as exp(a - top), each also with rows and columns
// exchanged.
struct Transitions {
  int64_t size;
  double top;
  std::vector<double> logs, logs_to, ratios, ratios_to;

  template <class T>
  explicit Transitions(const Chain<T>& chain)
      : size(chain.tags), logs(size * size), logs_to(size * size), ratios(size * size),
        ratios_to(size * size) {
    std::copy(chain.transitions, chain.transitions + size * size, logs.begin());
    top = highest(logs.data(), size * size);
    for (int64_t i = 0; i < size; ++i) {
      for (int64_t j = 0; j < size; ++j) {
        const double a = logs[i * size + j];
        logs_to[j * size + i] = a;
        ratios[i * size + j] = ratios_to[j * size + i] = std::exp(a - top);
      }
    }
  }

  // out[j] = log sum_i exp(x[i] + a[i, j]); scaled and sums are scratch of [K].
  void forward(const double* x, double* scaled, double* sums, double* out) const {
    step(x, ratios, logs_to, scaled, sums, out);
  }
  // out[i] = log sum_j exp(a[i, j] + x[j])
  void backward(const double* x, double* scaled, double* sums, double* out) const {
    step(x, ratios_to, logs, scaled, sums, out);
  }

 private:
  // Products of probabilities, which cost K exponentials instead of K * K, and the logs where a
  // product underflows.
  void step(const double* x, const std::vector<double>& matrix, const std::vector<double>& exact,
            double* scaled, double* sums, double* out) const {
    const double peak = highest(x, size);
    for (int64_t k = 0; k < size; ++k) scaled[k] = std::exp(x[k] - peak);
    product(scaled, matrix.data(), size, sums);
    for (int64_t k = 0; k < size; ++k) {
      if (sums[k] > kTiny) {
        out[k] = std::log(sums[k]) + peak + top;
      } else {
        const double* a = exact.data() + k * size;
        out[k] = log_sum_exp(size, [&](int64_t i) { return x[i] + a[i]; });
      }
    }
  }
};

template <class Work>
void over_parts(int64_t rows, double cost, Work work) {
  const int64_t parts = std::min(rows, kParts);
  const int wanted = cost < kWorthSharing ? 1 : static_cast<int>(std::min<int64_t>(num_threads(), parts));
  Lease lease(wanted);
  struct Task {
    Work* work;
    int64_t rows, parts;
    int threads;
  } task{&work, rows, parts, lease.threads()};
  lease.run(
      [](void* argument, int worker) {
        const Task& each = *static_cast<Task*>(argument);
        for (int64_t part = worker; part < each.parts; part += each.threads)
          (*each.work)(part, each.rows * part / each.parts, each.rows * (part + 1) / each.parts);
      },
      &task);
}

template <class T>
double cost_of(const Chain<T>& chain) {
  return static_cast<double>(chain.rows) * static_cast<double>(chain.steps) *
         static_cast<double>(chain.tags) * static_cast<double>(chain.tags + 16);
}

// What the gradient by transitions, start and end adds up to over the rows of a part. The
// transitions' is `factors` times exp(a - top), plus `rest`.
struct Sums {
  std::vector<double> factors, rest, start, end;
  explicit Sums(int64_t size) : factors(size * size), rest(size * size), start(size), end(size) {}
};

template <class T>
class GradientRow {
 public:
  GradientRow(const Chain<T>& chain, const Transitions& transitions)
      : chain_(chain), transitions_(transitions), beta_(chain.tags), ahead_(chain.tags),
        left_(chain.tags), right_(chain.tags), scratch_(chain.tags), sums_(chain.tags) {}

  void run(int64_t n, double log_z, const double* alphas, double weight, T* emissions, Sums& out) {
    const int64_t K = chain_.tags, last = chain_.lengths[n] - 1;
    const T* e = chain_.emissions + n * chain_.steps * K;
    T* d = emissions + n * chain_.steps * K;
    std::fill(d + (last + 1) * K, d + chain_.steps * K, T(0));
    for (int64_t k = 0; k < K; ++k) beta_[k] = static_cast<double>(chain_.end[k]);
    for (int64_t t = last;; --t) {
      const double* alpha = alphas + t * K;
      for (int64_t k = 0; k < K; ++k) {
        const double share = weight * std::exp(alpha[k] + beta_[k] - log_z);
        d[t * K + k] = static_cast<T>(share);
        if (t == last) out.end[k] += share;
        if (t == 0) out.start[k] += share;
      }
      if (t == 0) return;
      for (int64_t k = 0; k < K; ++k) ahead_[k] = static_cast<double>(e[t * K + k]) + beta_[k];
      pairs(alpha - K, log_z, weight, out);
      transitions_.backward(ahead_.data(), scratch_.data(), sums_.data(), beta_.data());
    }
  }

 private:
  // Adds weight * p(y_t-1 = i, y_t = j) = weight * exp(before[i] + a[i, j] + ahead[j] - log_z).
  void pairs(const double* before, double log_z, double weight, Sums& out) {
    const int64_t K = chain_.tags;
    const double peak = highest(before, K), peak_ahead = highest(ahead_.data(), K);
    const double steep = peak + peak_ahead + transitions_.top - log_z;
    if (steep > kSteep) {
      for (int64_t i = 0; i < K; ++i)
        for (int64_t j = 0; j < K; ++j)
          out.rest[i * K + j] +=
              weight * std::exp(before[i] + transitions_.logs[i * K + j] + ahead_[j] - log_z);
      return;
    }
    const double factor = weight * std::exp(steep);
    for (int64_t k = 0; k < K; ++k) {
      left_[k] = factor * std::exp(before[k] - peak);
      right_[k] = std::exp(ahead_[k] - peak_ahead);
    }
    for (int64_t i = 0; i < K; ++i) {
      const double value = left_[i];
      if (value == 0.0) continue;
      double* row = out.factors.data() + i * K;
      for (int64_t j = 0; j < K; ++j) row[j] += value * right_[j];
    }
  }

  const Chain<T>& chain_;
  const Transitions& transitions_;
  std::vector<double> beta_, ahead_, left_, right_, scratch_, sums_;
};

struct Back {
  int32_t tag, rank;
};

// The best sequences of one row, kept as the `best` highest scores of every tag at every step.
template <class T>
class BestRow {
 public:
  BestRow(const Chain<T>& chain, const std::vector<double>& transitions, int64_t best)
      : chain_(chain), transitions_(transitions), best_(best), scores_(chain.tags * best),
        next_(chain.tags * best), back_(chain.steps * chain.tags * best) {}

  void run(int64_t n, int64_t* paths, double* scores) {
    const int64_t K = chain_.tags, last = chain_.lengths[n] - 1;
    const T* e = chain_.emissions + n * chain_.steps * K;
    std::fill(scores_.begin(), scores_.end(), kNever);
    for (int64_t k = 0; k < K; ++k)
      scores_[k * best_] = static_cast<double>(chain_.start[k]) + static_cast<double>(e[k]);
    for (int64_t t = 1; t <= last; ++t) {
      Back* back = back_.data() + t * K * best_;
      if (best_ == 1) {
        one(back);
      } else {
        for (int64_t j = 0; j < K; ++j)
          several(next_.data() + j * best_, back + j * best_,
                  [&](int64_t i) { return transitions_[i * K + j]; });
      }
      for (int64_t j = 0; j < K; ++j)
        for (int64_t r = 0; r < best_; ++r)
          next_[j * best_ + r] += static_cast<double>(e[t * K + j]);
      scores_.swap(next_);
    }
    std::vector<Back> ends(best_);
    several(scores, ends.data(), [&](int64_t i) { return static_cast<double>(chain_.end[i]); });
    for (int64_t r = 0; r < best_; ++r) follow(ends[r], scores[r], last, paths + r * chain_.steps);
  }

 private:
  void one(Back* back) {
    const int64_t K = chain_.tags;
    std::fill(next_.begin(), next_.end(), kNever);
    std::fill(back, back + K, Back{0, 0});
    for (int64_t i = 0; i < K; ++i) {
      const double* a = transitions_.data() + i * K;
      for (int64_t j = 0; j < K; ++j) {
        const double score = scores_[i] + a[j];
        if (score > next_[j]) {
          next_[j] = score;
          back[j].tag = static_cast<int32_t>(i);
        }
      }
    }
  }

  template <class Added>
  void several(double* found, Back* back, Added added) {
    candidates_.clear();
    for (int64_t i = 0; i < chain_.tags; ++i) {
      for (int64_t r = 0; r < best_; ++r) {
        const double score = scores_[i * best_ + r] + added(i);
        if (!(score > kNever)) break;
        candidates_.push_back({score, {static_cast<int32_t>(i), static_cast<int32_t>(r)}});
      }
    }
    const int64_t kept = std::min<int64_t>(best_, static_cast<int64_t>(candidates_.size()));
    std::partial_sort(candidates_.begin(), candidates_.begin() + kept, candidates_.end(),
                      [](const Candidate& a, const Candidate& b) {
                        if (a.score != b.score) return a.score > b.score;
                        return a.back.tag != b.back.tag ? a.back.tag < b.back.tag
                                                        : a.back.rank < b.back.rank;
                      });
    for (int64_t r = 0; r < best_; ++r) {
      found[r] = r < kept ? candidates_[r].score : kNever;
      back[r] = r < kept ? candidates_[r].back : Back{0, 0};
    }
  }

  void follow(Back at, double score, int64_t last, int64_t* path) const {
    std::fill(path, path + chain_.steps, int64_t{-1});
    if (!(score > kNever)) return;
    for (int64_t t = last; t >= 0; --t) {
      path[t] = at.tag;
      at = back_[(t * chain_.tags + at.tag) * best_ + at.rank];
    }
  }

  struct Candidate {
    double score;
    Back back;
  };

  const Chain<T>& chain_;
  const std::vector<double>& transitions_;
  int64_t best_;
  std::vector<double> scores_, next_;
  std::vector<Back> back_;
  std::vector<Candidate> candidates_;
};

}  // namespace

template <class T>
void crf_log_partition(const Chain<T>& chain, double* log_z, double* alphas) {
  const int64_t K = chain.tags;
  const Transitions transitions(chain);
  over_parts(chain.rows, cost_of(chain), [&](int64_t, int64_t begin, int64_t stop) {
    std::vector<double> scratch(K), sums(K), own(alphas == nullptr ? 2 * K : 0);
    for (int64_t n = begin; n < stop; ++n) {
      const T* e = chain.emissions + n * chain.steps * K;
      double* alpha = alphas == nullptr ? own.data() : alphas + n * chain.steps * K;
      for (int64_t k = 0; k < K; ++k)
        alpha[k] = static_cast<double>(chain.start[k]) + static_cast<double>(e[k]);
      for (int64_t t = 1; t < chain.lengths[n]; ++t) {
        double* next = alphas == nullptr ? own.data() + (t % 2) * K : alpha + K;
        transitions.forward(alpha, scratch.data(), sums.data(), next);
        for (int64_t k = 0; k < K; ++k) next[k] += static_cast<double>(e[t * K + k]);
        alpha = next;
      }
      log_z[n] = log_sum_exp(
          K, [&](int64_t k) { return alpha[k] + static_cast<double>(chain.end[k]); });
    }
  });
}

template <class T>
void crf_gradient(const Chain<T>& chain, const double* log_z, const double* alphas,
                  const double* weights, T* emissions, T* transitions, T* start, T* end) {
  const int64_t K = chain.tags;
  const Transitions shared(chain);
  std::vector<Sums> parts(std::min(chain.rows, kParts), Sums(K));
  over_parts(chain.rows, 3 * cost_of(chain), [&](int64_t part, int64_t begin, int64_t stop) {
    GradientRow<T> row(chain, shared);
    for (int64_t n = begin; n < stop; ++n)
      row.run(n, log_z[n], alphas + n * chain.steps * K, weights[n], emissions, parts[part]);
  });
  const auto total = [&](std::vector<double> Sums::*member, int64_t k) {
    double sum = 0.0;
    for (const Sums& part : parts) sum += (part.*member)[k];
    return sum;
  };
  for (int64_t k = 0; k < K * K; ++k)
    transitions[k] = static_cast<T>(total(&Sums::factors, k) * shared.ratios[k] +
                                    total(&Sums::rest, k));
  for (int64_t k = 0; k < K; ++k) {
    start[k] = static_cast<T>(total(&Sums::start, k));
    end[k] = static_cast<T>(total(&Sums::end, k));
  }
}

template <class T>
void crf_viterbi(const Chain<T>& chain, int64_t best, int64_t* paths, double* scores) {
  const std::vector<double> transitions(chain.transitions,
                                        chain.transitions + chain.tags * chain.tags);
  const double cost = cost_of(chain) * static_cast<double>(best);
  over_parts(chain.rows, cost, [&](int64_t, int64_t begin, int64_t stop) {
    BestRow<T> row(chain, transitions, best);
    for (int64_t n = begin; n < stop; ++n)
      row.run(n, paths + n * best * chain.steps, scores + n * best);
  });
}

#define UNROLLED_CRF(T)                                                                          \
  template void crf_log_partition<T>(const Chain<T>&, double*, double*);                         \
  template void crf_gradient<T>(const Chain<T>&, const double*, const double*, const double*, T*, \
                                T*, T*, T*);                                                     \
  template void crf_viterbi<T>(const Chain<T>&, int64_t, int64_t*, double*);
UNROLLED_CRF(float)
UNROLLED_CRF(double)
#undef UNROLLED_CRF

}  // namespace unrolled
