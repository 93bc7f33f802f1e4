// Waiting for each other, sharing ranges, and carving scratch memory.
#pragma once

#include <sched.h>

#include "shapes.h"
#include "simd.h"

namespace UNROLLED_ISA_NS {

using unrolled::Barrier;
using unrolled::Schedule;
using unrolled::Share;

UNROLLED_INLINE void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins, and after a while lets other threads of the machine run: members may share a core.
inline void wait(Barrier* barrier, int members) {
  if (members == 1) return;
  const int round = __atomic_load_n(&barrier->round, __ATOMIC_RELAXED);
  if (__atomic_add_fetch(&barrier->arrived, 1, __ATOMIC_ACQ_REL) == members) {
    __atomic_store_n(&barrier->arrived, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&barrier->round, round + 1, __ATOMIC_RELEASE);
    return;
  }
  for (int spin = 0; __atomic_load_n(&barrier->round, __ATOMIC_ACQUIRE) == round; ++spin) {
    if (spin < 10000) {
      relax();
    } else {
      sched_yield();
    }
  }
}

struct Range {
  int64_t begin, end;
};

inline Range part_of(int64_t count, int member, int members) {
  return {count * member / members, count * (member + 1) / members};
}

// How many of the rows first, first + step, ... are below `limit`.
inline int64_t own_rows(const Share& share, int64_t limit) {
  if (limit <= share.row_first) return 0;
  return (limit - share.row_first + share.row_step - 1) / share.row_step;
}

// Hands out aligned pieces of one block; from a null block it only counts.
class Carver {
 public:
  explicit Carver(void* block) : start_(static_cast<char*>(block)), at_(0) {}
  template <class U>
  U* take(int64_t count) {
    U* piece = start_ == nullptr ? nullptr : reinterpret_cast<U*>(start_ + at_);
    at_ += (count * static_cast<int64_t>(sizeof(U)) + 63) / 64 * 64;
    return piece;
  }
  template <class T>
  int64_t values() const {
    return at_ / static_cast<int64_t>(sizeof(T));
  }

 private:
  char* start_;
  int64_t at_;
};

// The time step of the caller's arrays that row r meets at step s of the loop.
UNROLLED_INLINE int64_t time_of(const Schedule& schedule, bool reverse, int64_t r, int64_t s) {
  return reverse ? schedule.length[r] - 1 - s : s;
}

}  // namespace UNROLLED_ISA_NS
