// One recurrent layer, one or two directions, over the threads of the pool.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels.h"

namespace unrolled {

// G, the rows of a weight matrix per hidden unit.
int64_t gates_of(Cell cell);

// With it on, threads share also what is not worth it, so that tests of sharing can be small.
void share_always(bool on);

// Scratch memory of the calling Python thread, kept between calls. With poison on, every block is
// filled with NaN before it is handed out, so that tests see a read of what was not written.
class Arena {
 public:
  static void set_poison(bool on);
  // Starts a new call; what was taken before is free again.
  void begin();
  template <class T>
  T* take(int64_t count) {
    return static_cast<T*>(take_bytes(count, sizeof(T)));
  }
  static Arena& of_this_thread();

 private:
  struct Free {
    void operator()(void* p) const;
  };
  void* take_bytes(int64_t count, int64_t size);
  std::vector<std::unique_ptr<void, Free>> blocks_;
  std::vector<int64_t> sizes_;
  size_t next_ = 0;
};

// A schedule with the arrays it points to. `lengths` may be null: all rows have `steps` steps.
// Throws std::invalid_argument where a length is outside [0, steps].
class OwnedSchedule {
 public:
  OwnedSchedule(const int64_t* lengths, int64_t rows, int64_t steps);
  const Schedule& get() const { return schedule_; }
  int64_t tokens() const { return schedule_.first_token[schedule_.steps]; }

 private:
  std::vector<int64_t> numbers_;
  Schedule schedule_;
};

// Runs the directions of a layer forward. `calls[d].packed` may be null: then `weights[d]` are packed
// for this call alone. `state` is set here.
template <class T>
void run_forward(const Kernels<T>& table, Forward<T>* calls, const Weights<T>* weights,
                 int directions, Arena& arena);

// Runs the directions backward. `packed` and `state` are set here. Where `flow` is not null, it is
// [directions, T, N, 2]: the norms of dL/dh_t and dL/dc_t of each row.
template <class T>
void run_backward(const Kernels<T>& table, Backward<T>* calls, int directions, T* flow, Arena& arena);

}  // namespace unrolled
