#include "engine.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>
#include <numeric>
#include <stdexcept>
#include <string>

#include "pool.h"

namespace unrolled {
namespace {

std::atomic<bool> poison{false};
std::atomic<bool> always_share{false};

// Work below this many multiply-adds is done before a sleeping thread would wake.
constexpr double kWorthSharing = 2e6;
// A step's multiply-adds from which sharing its panels pays for a barrier.
constexpr double kWorthBarrier = 1e5;
// Rows of a thread from which the micro-kernel runs near its best.
constexpr int64_t kGoodRows = 4;
// Weights beyond this size crowd the second cache; then the threads share them, not the rows, as long
// as there are few rows.
constexpr int64_t kCacheBytes = 1 << 20;
constexpr int64_t kManyRows = 48;

constexpr size_t kKeptBytes = size_t{256} << 20;

int64_t product_work(const Size& size) {
  return gates_of(size.cell) * size.hidden * (size.inputs + size.outputs);
}

// How the threads of a lease divide a layer: into one team or one per direction, and within a team
// by rows of the batch or by panels of the weights.
struct Division {
  int threads, teams;
  bool by_panels;

  template <class T>
  static Division of(const Kernels<T>&, const Size& size, const Schedule& schedule, int directions,
                     int threads, int64_t panels) {
    Division division{threads, 1, false};
    if (directions == 2 && threads % 2 == 0) division.teams = 2;
    const int members = threads / division.teams;
    if (members == 1) return division;
    double step = static_cast<double>(product_work(size)) * schedule.rows;
    if (always_share.load(std::memory_order_relaxed)) step = kWorthBarrier + 1;
    const bool big = product_work(size) * static_cast<int64_t>(sizeof(T)) > kCacheBytes;
    const int64_t rows = schedule.rows / members;
    if (panels >= members && step > kWorthBarrier)
      division.by_panels = rows < kGoodRows || (big && rows < kManyRows);
    return division;
  }

  int team_of(int worker) const { return worker * teams / threads; }

  // The share of `worker` in `direction`; false where another team does that direction.
  bool share(int worker, int direction, Barrier* barriers, Share* share) const {
    const int team = team_of(worker);
    if (teams == 2 && team != direction) return false;
    const int members = threads / teams, member = worker % members;
    if (by_panels) {
      *share = {0, 1, member, members, &barriers[team]};
    } else {
      *share = {member, members, 0, 1, nullptr};
    }
    return true;
  }
};

int threads_for(const Size& size, const Schedule& schedule, int directions) {
  const double work = static_cast<double>(product_work(size)) *
                      static_cast<double>(schedule.first_token[schedule.steps]) * directions;
  if (work < kWorthSharing && !always_share.load(std::memory_order_relaxed)) return 1;
  return num_threads();
}

// Waiting of all threads of a lease between the phases of a call.
void wait_all(Barrier* barrier, int threads) {
  if (threads == 1) return;
  const int round = __atomic_load_n(&barrier->round, __ATOMIC_RELAXED);
  if (__atomic_add_fetch(&barrier->arrived, 1, __ATOMIC_ACQ_REL) == threads) {
    __atomic_store_n(&barrier->arrived, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&barrier->round, round + 1, __ATOMIC_RELEASE);
    return;
  }
  pause_until([&] { return __atomic_load_n(&barrier->round, __ATOMIC_ACQUIRE) != round; });
}

template <class F>
void run_on(Lease& lease, F work) {
  lease.run([](void* f, int worker) { (*static_cast<F*>(f))(worker); }, &work);
}

}  // namespace

int64_t gates_of(Cell cell) {
  switch (cell) {
    case Cell::rnn_tanh:
    case Cell::rnn_relu:
    case Cell::general_rnn: return 1;
    case Cell::lstm:
    case Cell::lstm_projected:
    case Cell::general_lstm: return 4;
    default: return 3;
  }
}

void share_always(bool on) { always_share = on; }

void Arena::set_poison(bool on) { poison = on; }

void Arena::Free::operator()(void* p) const { std::free(p); }

Arena& Arena::of_this_thread() {
  thread_local Arena arena;
  return arena;
}

void Arena::begin() {
  next_ = 0;
  const int64_t kept = std::accumulate(sizes_.begin(), sizes_.end(), int64_t{0});
  if (kept > static_cast<int64_t>(kKeptBytes)) {
    blocks_.clear();
    sizes_.clear();
  }
}

void* Arena::take_bytes(int64_t count, int64_t size) {
  int64_t bytes = 0;
  if (__builtin_mul_overflow(count, size, &bytes) || bytes > INT64_MAX - 4096) throw std::bad_alloc();
  bytes = (bytes + 4095) / 4096 * 4096 + 4096;
  if (next_ == blocks_.size()) {
    blocks_.emplace_back();
    sizes_.push_back(0);
  }
  const size_t at = next_++;
  if (sizes_[at] < bytes) {
    blocks_[at].reset();
    blocks_[at].reset(std::aligned_alloc(4096, static_cast<size_t>(bytes)));
    sizes_[at] = blocks_[at] ? bytes : 0;
    if (!blocks_[at]) throw std::bad_alloc();
  }
  if (poison.load(std::memory_order_relaxed))
    std::memset(blocks_[at].get(), 0xff, static_cast<size_t>(sizes_[at]));
  return blocks_[at].get();
}

OwnedSchedule::OwnedSchedule(const int64_t* lengths, int64_t rows, int64_t steps) {
  if (lengths != nullptr)
    for (int64_t n = 0; n < rows; ++n)
      if (lengths[n] < 0 || lengths[n] > steps)
        throw std::invalid_argument("lengths[" + std::to_string(n) + "] is " +
                                    std::to_string(lengths[n]) + ", expected 0 to " +
                                    std::to_string(steps));
  int64_t longest = rows > 0 ? steps : 0;
  if (lengths != nullptr && rows > 0) longest = *std::max_element(lengths, lengths + rows);
  numbers_.resize(static_cast<size_t>(2 * rows + 2 * (longest + 1)));
  int64_t* order = numbers_.data();
  int64_t* length = order + rows;
  int64_t* active = length + rows;
  int64_t* first_token = active + longest + 1;
  std::iota(order, order + rows, int64_t{0});
  if (lengths != nullptr)
    std::stable_sort(order, order + rows, [&](int64_t a, int64_t b) { return lengths[a] > lengths[b]; });
  for (int64_t r = 0; r < rows; ++r) length[r] = lengths != nullptr ? lengths[order[r]] : steps;
  int64_t running = rows;
  for (int64_t s = 0; s <= longest; ++s) {
    while (running > 0 && length[running - 1] <= s) --running;
    active[s] = running;
    first_token[s] = s == 0 ? 0 : first_token[s - 1] + active[s - 1];
  }
  schedule_ = {rows, longest, steps, order, length, active, first_token};
}

template <class T>
void run_forward(const Kernels<T>& table, Forward<T>* calls, const Weights<T>* weights,
                 int directions, Arena& arena) {
  const Size& size = calls[0].size;
  const Schedule& schedule = calls[0].schedule;
  Lease lease(threads_for(size, schedule, directions));
  const Division division =
      Division::of<T>(table, size, schedule, directions, lease.threads(), table.panels(size));
  T* packed[2] = {nullptr, nullptr};
  const bool packing = calls[0].packed == nullptr;
  for (int d = 0; d < directions; ++d) {
    if (packing) calls[d].packed = packed[d] = arena.take<T>(table.packed_size(size));
    calls[d].state = arena.take<T>(table.forward_state(size, schedule.rows));
  }
  Barrier all{}, teams[2] = {};
  std::vector<T*> scratch;
  for (int worker = 0; worker < lease.threads(); ++worker) {
    Share share{};
    for (int d = directions; d-- > 0 && !division.share(worker, d, teams, &share);) {
    }
    scratch.push_back(arena.take<T>(table.forward_scratch(size, schedule, share)));
  }
  run_on(lease, [&](int worker) {
    if (packing) {
      for (int d = 0; d < directions; ++d)
        table.pack(size, weights[d], packed[d], worker, division.threads);
      wait_all(&all, division.threads);
    }
    for (int d = 0; d < directions; ++d) {
      Share share;
      if (division.share(worker, d, teams, &share))
        table.forward(calls[d], share, scratch[static_cast<size_t>(worker)]);
    }
  });
}

// Adds up the panels' squares: the norms of every step of every row, in the caller's order of rows.
template <class T>
void sum_flow(const Backward<T>& call, int64_t parts, T* flow) {
  const Schedule& schedule = call.schedule;
  std::fill(flow, flow + schedule.padded_steps * schedule.rows * 2, T(0));
  for (int64_t s = 0; s < schedule.steps; ++s)
    for (int64_t r = 0; r < schedule.active[s]; ++r) {
      const T* token = call.flow + (schedule.first_token[s] + r) * 2 * parts;
      const int64_t t = call.reverse ? schedule.length[r] - 1 - s : s;
      T* out = flow + (t * schedule.rows + schedule.order[r]) * 2;
      for (int64_t kind = 0; kind < 2; ++kind) {
        double square = 0.0;
        for (int64_t k = 0; k < parts; ++k) square += static_cast<double>(token[kind * parts + k]);
        out[kind] = static_cast<T>(std::sqrt(square));
      }
    }
}

// Without a single token there is no block to write the gradients of the weights.
template <class T>
void clear_gradients(const Backward<T>& call) {
  const Size& size = call.size;
  const int64_t rows = gates_of(size.cell) * size.hidden;
  const auto clear = [](T* gradient, int64_t count) {
    if (gradient != nullptr) std::fill(gradient, gradient + count, T(0));
  };
  clear(call.dw_ih, rows * size.inputs);
  clear(call.dw_hh, rows * size.outputs);
  clear(call.db_ih, rows);
  clear(call.db_hh, rows);
  clear(call.dw_hr, size.outputs * size.hidden);
}

// Zeroes what no kernel writes: dx past the end of a row, and all of it where two directions add.
template <class T>
void clear_input_gradient(const Backward<T>& call, int worker, int threads) {
  const Schedule& schedule = call.schedule;
  const size_t bytes = static_cast<size_t>(call.size.inputs) * sizeof(T);
  for (int64_t r = worker; r < schedule.rows; r += threads) {
    T* row = call.dx.data + schedule.order[r] * call.dx.batch;
    for (int64_t t = call.add_dx ? 0 : schedule.length[r]; t < schedule.padded_steps; ++t)
      std::memset(row + t * call.dx.time, 0, bytes);
  }
}

template <class T>
void run_backward(const Kernels<T>& table, Backward<T>* calls, int directions, T* flow, Arena& arena) {
  const Size& size = calls[0].size;
  const Schedule& schedule = calls[0].schedule;
  const bool dx = calls[0].dx.data != nullptr;
  Lease lease(threads_for(size, schedule, directions));
  const Division division = Division::of<T>(table, size, schedule, directions, lease.threads(),
                                            table.backward_panels(size));
  const int64_t parts = table.flow_parts(size), tokens = schedule.first_token[schedule.steps];
  T* packed[2] = {nullptr, nullptr};
  for (int d = 0; d < directions; ++d) {
    calls[d].packed = packed[d] = arena.take<T>(table.packed_backward_size(size, dx));
    calls[d].state = arena.take<T>(table.backward_state(size, schedule));
    calls[d].flow = nullptr;
    if (flow == nullptr) continue;
    calls[d].flow = arena.take<T>(tokens * 2 * parts);
    std::fill(calls[d].flow, calls[d].flow + tokens * 2 * parts, T(0));
  }
  const int64_t words = table.backward_scratch(size, schedule);
  std::vector<T*> scratch(static_cast<size_t>(lease.threads()));
  for (T*& block : scratch) block = arena.take<T>(words);
  const int64_t blocks = table.blocks(size, schedule);
  for (int d = 0; blocks == 0 && d < directions; ++d) clear_gradients(calls[d]);
  Barrier all{}, teams[2] = {};
  run_on(lease, [&](int worker) {
    T* own = scratch[static_cast<size_t>(worker)];
    const int threads = division.threads;
    for (int d = 0; d < directions; ++d)
      table.pack_backward(size, calls[d].weights, dx, packed[d], worker, threads);
    if (dx) clear_input_gradient(calls[0], worker, threads);
    wait_all(&all, threads);
    for (int64_t block = 0; block < blocks; ++block) {
      for (int d = 0; d < directions; ++d) {
        Share share;
        if (division.share(worker, d, teams, &share))
          table.backward_steps(calls[d], share, own, block);
      }
      wait_all(&all, threads);
      for (int d = 0; d < directions; ++d) {
        if (dx) table.input_gradient(calls[d], worker, threads, own, block);
        table.weight_gradient(calls[d], worker, threads, own, block);
        // Both directions add to the same dx.
        if (dx && d + 1 < directions) wait_all(&all, threads);
      }
    }
    for (int d = 0; d < directions; ++d) {
      Share share;
      if (division.share(worker, d, teams, &share)) table.backward_finish(calls[d], share, own);
    }
  });
  if (flow != nullptr)
    for (int d = 0; d < directions; ++d)
      sum_flow(calls[d], parts, flow + d * 2 * schedule.padded_steps * schedule.rows);
}

template void run_forward<float>(const Kernels<float>&, Forward<float>*, const Weights<float>*, int,
                                 Arena&);
template void run_forward<double>(const Kernels<double>&, Forward<double>*, const Weights<double>*,
                                  int, Arena&);
template void run_backward<float>(const Kernels<float>&, Backward<float>*, int, float*, Arena&);
template void run_backward<double>(const Kernels<double>&, Backward<double>*, int, double*, Arena&);

}  // namespace unrolled
