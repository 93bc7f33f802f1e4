#include "stack.h"

#include <algorithm>

#include "pool.h"

namespace unrolled {
namespace {

// Multiply-adds of a call from which other threads are asked to help; and those of a row, for few
// rows, whose time is that of reading the weights.
constexpr double kWorthSharing = 1e6;
constexpr int64_t kWorthSharingRow = 300000;
// Multiply-adds that each thread should have where threads share rows and wait for each other.
constexpr int64_t kThreadWork = 150000;
// Rows done together: enough to use each weight often, few enough to stay in the first cache.
constexpr int64_t kBlockRows = 48;
constexpr int64_t kGoodRows = 4;

// What a thread, or where panels are shared a team, works in.
template <class T>
struct Room {
  T* outputs[2];  // of the layer below and of this one, [block rows, widest layer]
  T* scratch;
};

template <class T>
class Stack {
 public:
  Stack(const Kernels<T>& table, const std::vector<StackLayer<T>>& layers, const StackStep<T>& call)
      : table_(table), layers_(layers), call_(call) {
    for (const StackLayer<T>& layer : layers) widest_ = std::max(widest_, layer.size.outputs);
  }

  Room<T> room(int64_t rows, Arena& arena) const {
    int64_t scratch = 0;
    for (const StackLayer<T>& layer : layers_)
      scratch = std::max(scratch, table_.step_scratch(layer.size, rows));
    const int64_t outputs = layers_.size() > 1 ? rows * widest_ : 0;
    T* block = arena.take<T>(2 * outputs + scratch);
    return {{block + scratch, block + scratch + outputs}, block};
  }

  // Rows [first, end), a block after the other.
  void run(int64_t first, int64_t end, const Share& share, const Room<T>& room) const {
    for (; first < end; first += kBlockRows)
      block(first, std::min(kBlockRows, end - first), share, room);
  }

 private:
  void block(int64_t first, int64_t rows, const Share& share, const Room<T>& room) const {
    Rows<const T> x{call_.x.data + first * call_.x.batch, call_.x.batch};
    for (size_t k = 0; k < layers_.size(); ++k) {
      const StackLayer<T>& layer = layers_[k];
      const StackState<T>& state = call_.states[k];
      Rows<T> y{room.outputs[k & 1], widest_};
      if (k + 1 == layers_.size()) y = {call_.y.data + first * call_.y.batch, call_.y.batch};
      const int64_t skip = call_.index != nullptr ? 0 : first;
      const Step<T> step{layer.size,
                         layer.packed,
                         layer.residual,
                         call_.backward,
                         rows,
                         call_.index != nullptr ? call_.index + first : nullptr,
                         x,
                         y,
                         from(state.h, skip),
                         from(state.c, skip),
                         from(state.h_n, skip),
                         from(state.c_n, skip),
                         layer.options};
      table_.step(step, share, room.scratch);
      x = {y.data, y.batch};
    }
  }

  template <class U>
  static Rows<U> from(const Rows<U>& rows, int64_t first) {
    return {rows.data != nullptr ? rows.data + first * rows.batch : nullptr, rows.batch};
  }

  const Kernels<T>& table_;
  const std::vector<StackLayer<T>>& layers_;
  const StackStep<T>& call_;
  int64_t widest_ = 0;
};

int64_t layer_work(const Size& size) {
  return gates_of(size.cell) * size.hidden * (size.inputs + size.outputs);
}

// The fewest panels of a layer: no more threads than that can share a row.
template <class T>
int64_t least_panels(const Kernels<T>& table, const std::vector<StackLayer<T>>& layers) {
  int64_t least = INT64_MAX;
  for (const StackLayer<T>& layer : layers) least = std::min(least, table.panels(layer.size));
  return least;
}

}  // namespace

template <class T>
int64_t step_work(const std::vector<StackLayer<T>>& layers) {
  int64_t work = 0;
  for (const StackLayer<T>& layer : layers) work += layer_work(layer.size);
  return work;
}

template <class T>
void run_step(const Kernels<T>& table, const std::vector<StackLayer<T>>& layers,
              const StackStep<T>& call, Arena& arena) {
  const Stack<T> stack(table, layers, call);
  const int64_t block = std::min(kBlockRows, call.rows);
  arena.begin();
  if (call.rows == 0) return;
  const int64_t row = step_work(layers);
  const double work = static_cast<double>(row) * static_cast<double>(call.rows);
  if (row < kWorthSharingRow && work < kWorthSharing) {
    stack.run(0, call.rows, {0, 1, 0, 1, nullptr}, stack.room(block, arena));
    return;
  }
  const int64_t wanted = num_threads();
  const bool by_panels = call.rows < kGoodRows * wanted;
  const int64_t most = by_panels ? std::min(least_panels(table, layers),
                                            static_cast<int64_t>(work / kThreadWork))
                                 : call.rows;
  Lease lease(static_cast<int>(std::min(wanted, most)));
  const int threads = lease.threads();
  std::vector<Room<T>> rooms;
  for (int worker = 0; worker < (by_panels ? 1 : threads); ++worker)
    rooms.push_back(stack.room(block, arena));
  Barrier barrier{};
  auto task = [&](int worker) {
    if (by_panels) {
      stack.run(0, call.rows, {0, 1, worker, threads, &barrier}, rooms[0]);
    } else {
      stack.run(call.rows * worker / threads, call.rows * (worker + 1) / threads,
                {0, 1, 0, 1, nullptr}, rooms[static_cast<size_t>(worker)]);
    }
  };
  lease.run([](void* f, int worker) { (*static_cast<decltype(task)*>(f))(worker); }, &task);
}

template int64_t step_work<float>(const std::vector<StackLayer<float>>&);
template int64_t step_work<double>(const std::vector<StackLayer<double>>&);
template void run_step<float>(const Kernels<float>&, const std::vector<StackLayer<float>>&,
                              const StackStep<float>&, Arena&);
template void run_step<double>(const Kernels<double>&, const std::vector<StackLayer<double>>&,
                               const StackStep<double>&, Arena&);

}  // namespace unrolled
