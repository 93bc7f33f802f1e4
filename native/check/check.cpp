// A check of the engine without Python: layers against loops in double, gradients against finite
// differences, on every instruction set that was compiled in. Prints the largest differences; exits
// with 1 where something is off.
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "dispatch.h"
#include "engine.h"
#include "pool.h"

namespace {

using unrolled::Cell;

// xorshift64*: the same numbers on every machine.
class Random {
 public:
  double next() {
    state_ ^= state_ >> 12, state_ ^= state_ << 25, state_ ^= state_ >> 27;
    const uint64_t bits = (state_ * 2685821657736338717ull) >> 11;
    return static_cast<double>(bits) / 4503599627370496.0 - 1.0;
  }
  std::vector<double> draw(int64_t count, double scale) {
    std::vector<double> values(static_cast<size_t>(count));
    // Rounded to float, so that both value types compute on the same numbers.
    for (double& v : values) v = static_cast<float>(next() * scale);
    return values;
  }

 private:
  uint64_t state_ = 88172645463325252ull;
};

struct Problem {
  Cell cell;
  int64_t T, N, I, H;
  bool reverse;
  std::vector<int64_t> lengths;
  std::vector<double> x, w_ih, w_hh, b_ih, b_hh, h0, c0, dy;

  Problem(Cell kind, int64_t steps, int64_t rows, int64_t inputs, int64_t hidden, bool backwards)
      : cell(kind), T(steps), N(rows), I(inputs), H(hidden), reverse(backwards) {
    Random random;
    const int64_t G = unrolled::gates_of(cell);
    for (int64_t n = 0; n < N; ++n) lengths.push_back(n == 1 ? 0 : T - n % T);
    x = random.draw(T * N * I, 1);
    w_ih = random.draw(G * H * I, 1 / std::sqrt(static_cast<double>(I)));
    w_hh = random.draw(G * H * H, 1 / std::sqrt(static_cast<double>(H)));
    b_ih = random.draw(G * H, 0.3), b_hh = random.draw(G * H, 0.3);
    h0 = random.draw(N * H, 1), c0 = random.draw(N * H, 1);
    dy = random.draw(T * N * H, 1);
  }
};

double logistic(double a) { return 1 / (1 + std::exp(-a)); }

// y [T, N, H] by the cells' equations.
std::vector<double> expected(const Problem& p) {
  const int64_t H = p.H, I = p.I;
  std::vector<double> y(static_cast<size_t>(p.T * p.N * H), 0.0);
  for (int64_t n = 0; n < p.N; ++n) {
    std::vector<double> h(p.h0.begin() + n * H, p.h0.begin() + (n + 1) * H);
    std::vector<double> c(p.c0.begin() + n * H, p.c0.begin() + (n + 1) * H);
    for (int64_t s = 0; s < p.lengths[n]; ++s) {
      const int64_t t = p.reverse ? p.lengths[n] - 1 - s : s;
      const double* x = &p.x[(t * p.N + n) * I];
      const auto from_x = [&](int64_t row) {
        double sum = p.b_ih[row];
        for (int64_t i = 0; i < I; ++i) sum += p.w_ih[row * I + i] * x[i];
        return sum;
      };
      const auto from_h = [&](int64_t row, const std::vector<double>& state) {
        double sum = p.b_hh[row];
        for (int64_t j = 0; j < H; ++j) sum += p.w_hh[row * H + j] * state[j];
        return sum;
      };
      std::vector<double> next(static_cast<size_t>(H)), reset_h(h);
      if (p.cell == Cell::gru_before)
        for (int64_t u = 0; u < H; ++u) reset_h[u] = h[u] * logistic(from_x(u) + from_h(u, h));
      for (int64_t u = 0; u < H; ++u) {
        if (p.cell == Cell::rnn_tanh || p.cell == Cell::rnn_relu) {
          const double a = from_x(u) + from_h(u, h);
          next[u] = p.cell == Cell::rnn_tanh ? std::tanh(a) : std::fmax(a, 0.0);
        } else if (p.cell == Cell::lstm) {
          const double i = logistic(from_x(u) + from_h(u, h));
          const double f = logistic(from_x(H + u) + from_h(H + u, h));
          const double g = std::tanh(from_x(2 * H + u) + from_h(2 * H + u, h));
          const double o = logistic(from_x(3 * H + u) + from_h(3 * H + u, h));
          c[u] = f * c[u] + i * g;
          next[u] = o * std::tanh(c[u]);
        } else {
          const double z = logistic(from_x(H + u) + from_h(H + u, h));
          const double x_part = from_x(2 * H + u);
          const double n_gate =
              p.cell == Cell::gru_before
                  ? std::tanh(x_part + from_h(2 * H + u, reset_h))
                  : std::tanh(x_part + logistic(from_x(u) + from_h(u, h)) * from_h(2 * H + u, h));
          next[u] = (1 - z) * n_gate + z * h[u];
        }
      }
      h = next;
      std::copy(h.begin(), h.end(), y.begin() + (t * p.N + n) * H);
    }
  }
  return y;
}

template <class T>
std::vector<T> as(const std::vector<double>& values) {
  return std::vector<T>(values.begin(), values.end());
}

template <class T>
struct Run {
  std::vector<T> x, w_ih, w_hh, b_ih, b_hh, h0, c0, dy, y, h_n, c_n, tape;
  std::vector<T> dx, dw_ih, dw_hh, db_ih, db_hh, dh0, dc0, flow;

  explicit Run(const Problem& p)
      : x(as<T>(p.x)), w_ih(as<T>(p.w_ih)), w_hh(as<T>(p.w_hh)), b_ih(as<T>(p.b_ih)),
        b_hh(as<T>(p.b_hh)), h0(as<T>(p.h0)), c0(as<T>(p.c0)), dy(as<T>(p.dy)) {
    const unrolled::Kernels<T>& table = unrolled::kernels<T>();
    const unrolled::Size size{p.cell, p.I, p.H, p.H};
    const unrolled::OwnedSchedule schedule(p.lengths.data(), p.N, p.T);
    const auto room = [](std::vector<T>& to, int64_t count) {
      to.assign(static_cast<size_t>(count), T(0));
    };
    room(y, p.T * p.N * p.H), room(h_n, p.N * p.H), room(c_n, p.N * p.H);
    room(tape, p.T * p.N * table.tape_width(size));
    room(dx, p.T * p.N * p.I), room(dw_ih, static_cast<int64_t>(w_ih.size()));
    room(dw_hh, static_cast<int64_t>(w_hh.size())), room(db_ih, static_cast<int64_t>(b_ih.size()));
    room(db_hh, static_cast<int64_t>(b_hh.size())), room(dh0, p.N * p.H), room(dc0, p.N * p.H);
    room(flow, p.T * p.N * 2);
    const bool lstm = p.cell == Cell::lstm;
    unrolled::Arena& arena = unrolled::Arena::of_this_thread();

    unrolled::Weights<T> weights{w_ih.data(), w_hh.data(), b_ih.data(), b_hh.data(), nullptr};
    unrolled::Forward<T> forward{};
    forward.size = size;
    forward.schedule = schedule.get();
    forward.reverse = p.reverse;
    forward.x = {x.data(), p.N * p.I, p.I};
    forward.y = {y.data(), p.N * p.H, p.H};
    forward.h0 = {h0.data(), p.H};
    forward.h_n = {h_n.data(), p.H};
    if (lstm) forward.c0 = {c0.data(), p.H}, forward.c_n = {c_n.data(), p.H};
    forward.tape = tape.empty() ? nullptr : tape.data();
    arena.begin();
    unrolled::run_forward(table, &forward, &weights, 1, arena);

    unrolled::Backward<T> backward{};
    backward.size = size;
    backward.schedule = schedule.get();
    backward.reverse = p.reverse;
    backward.weights = weights;
    backward.x = {x.data(), p.N * p.I, p.I};
    backward.y = {y.data(), p.N * p.H, p.H};
    backward.dy = {dy.data(), p.N * p.H, p.H};
    backward.h0 = {h0.data(), p.H};
    if (lstm) backward.c0 = {c0.data(), p.H}, backward.dc0 = {dc0.data(), p.H};
    backward.tape = tape.data();
    backward.dx = {dx.data(), p.N * p.I, p.I};
    backward.dw_ih = dw_ih.data(), backward.dw_hh = dw_hh.data();
    backward.db_ih = db_ih.data(), backward.db_hh = db_hh.data();
    backward.dh0 = {dh0.data(), p.H};
    arena.begin();
    unrolled::run_backward(table, &backward, 1, flow.data(), arena);
  }
};

double loss(const Problem& p) {
  const std::vector<double> y = expected(p);
  double sum = 0;
  for (size_t k = 0; k < y.size(); ++k) sum += y[k] * p.dy[k];
  return sum;
}

// The largest difference of a gradient from central differences of the loops, over some elements.
template <class T>
double gradient_error(Problem p, std::vector<double> Problem::*what, const std::vector<T>& found) {
  constexpr double step = 1e-5;
  double worst = 0;
  std::vector<double>& values = p.*what;
  const size_t stride = values.size() / 7 + 1;
  for (size_t k = 0; k < values.size(); k += stride) {
    const double kept = values[k];
    values[k] = kept + step;
    const double ahead = loss(p);
    values[k] = kept - step;
    const double slope = (ahead - loss(p)) / (2 * step);
    values[k] = kept;
    worst = std::fmax(worst, std::fabs(slope - static_cast<double>(found[k])));
  }
  return worst;
}

struct Errors {
  double forward = 0, gradient = 0;
  bool good = true;
};

template <class T>
void check(const Problem& p, const char* name, double most_forward, double most_gradient,
           Errors* worst) {
  const Run<T> run(p);
  const std::vector<double> y = expected(p);
  double forward = 0, gradient = 0;
  for (size_t k = 0; k < y.size(); ++k)
    forward = std::fmax(forward, std::fabs(y[k] - static_cast<double>(run.y[k])));
  const auto take = [&](std::vector<double> Problem::*what, const std::vector<T>& found) {
    gradient = std::fmax(gradient, gradient_error(p, what, found));
  };
  take(&Problem::x, run.dx), take(&Problem::w_ih, run.dw_ih), take(&Problem::w_hh, run.dw_hh);
  take(&Problem::b_ih, run.db_ih), take(&Problem::b_hh, run.db_hh), take(&Problem::h0, run.dh0);
  if (p.cell == Cell::lstm) take(&Problem::c0, run.dc0);
  // Written so that NaN fails.
  const bool good = forward <= most_forward && gradient <= most_gradient;
  worst->good = worst->good && good;
  worst->forward = std::fmax(worst->forward, forward);
  worst->gradient = std::fmax(worst->gradient, gradient);
  if (!good)
    std::printf("FAIL %s %s T%lld N%lld I%lld H%lld %s: output off by %.1e, gradient by %.1e\n", name,
                sizeof(T) == 4 ? "float" : "double", static_cast<long long>(p.T),
                static_cast<long long>(p.N), static_cast<long long>(p.I),
                static_cast<long long>(p.H), p.reverse ? "backward" : "forward", forward, gradient);
}

}  // namespace

int main() {
  const struct {
    Cell cell;
    const char* name;
  } cells[] = {{Cell::rnn_tanh, "rnn_tanh"}, {Cell::lstm, "lstm"},
               {Cell::gru_after, "gru_after"}, {Cell::gru_before, "gru_before"}};
  const int64_t sizes[][4] = {{1, 1, 1, 1}, {5, 3, 7, 9}, {4, 20, 3, 17}, {9, 2, 33, 40}};
  bool good = true;
  unrolled::Arena::set_poison(true);
  unrolled::share_always(true);
  for (const std::string& isa : unrolled::available_isas()) {
    unrolled::set_isa(isa);
    for (const int threads : {1, 2, 3}) {
      unrolled::set_num_threads(threads);
      Errors in_double, in_float;
      for (const auto& cell : cells)
        for (const auto& s : sizes)
          for (const bool reverse : {false, true}) {
            const Problem problem(cell.cell, s[0], s[1], s[2], s[3], reverse);
            check<double>(problem, cell.name, 1e-12, 1e-6, &in_double);
            check<float>(problem, cell.name, 1e-5, 1e-3, &in_float);
          }
      good = good && in_double.good && in_float.good;
      std::printf("%s, %d threads: output within %.1e (double), %.1e (float), gradients %.1e, %.1e\n",
                  isa.c_str(), threads, in_double.forward, in_float.forward, in_double.gradient,
                  in_float.gradient);
    }
  }
  std::puts(good ? "all good" : "something is off");
  return good ? 0 : 1;
}
