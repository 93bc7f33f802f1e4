// A small pool of threads that share one task at a time.
//
// Workers spin for some microseconds after a task and then sleep. The pool is never destroyed, so
// interpreter exit is safe; after fork the child starts with a fresh one.
#pragma once

#include <sched.h>

#include <cstdint>

namespace unrolled {

inline void pause_once() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

constexpr int kSpins = 4000;  // pauses before a waiting thread sleeps or lets others run

template <class Done>
void pause_until(Done done) {
  for (int spin = 0; !done(); ++spin) {
    if (spin < kSpins) {
      pause_once();
    } else {
      sched_yield();
    }
  }
}

// Cores that this process may use: the smaller of its affinity mask and its cgroup's CPU quota.
int available_cores();

// Threads that one call may use, the calling one included. Set by set_num_threads, else by
// UNROLLED_NUM_THREADS, else available_cores(). Throws std::invalid_argument below 1.
int num_threads();
void set_num_threads(int count);

// The right to run one task on up to `wanted` threads. Where the pool is busy with another Python
// thread's call, the lease is for the calling thread alone.
class Lease {
 public:
  explicit Lease(int wanted);
  ~Lease();
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  int threads() const { return threads_; }
  // Calls task(argument, w) for each w in [0, threads()); the calling thread is w = 0.
  void run(void (*task)(void*, int), void* argument);

 private:
  int threads_;
};

}  // namespace unrolled
