// Blocks of work that threads take one after the other.
#pragma once

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>

#include "pool.h"

namespace unrolled {

// Calls work(first, count) for blocks of at most `most` of `total` things, and of no more than a
// thread's even share. What a block throws is thrown here when all have ended.
template <class Work>
void over_blocks(int64_t total, int64_t most, Work work) {
  if (total == 0) return;
  const int64_t threads = std::min<int64_t>(num_threads(), total);
  const int64_t size = std::min((total + threads - 1) / threads, most);
  std::atomic<int64_t> next{0};
  std::exception_ptr fault;
  std::mutex lock;
  auto take = [&](int) {
    try {
      for (int64_t first; (first = next.fetch_add(size)) < total;)
        work(first, std::min(size, total - first));
    } catch (...) {
      const std::lock_guard<std::mutex> guard(lock);
      fault = std::current_exception();
    }
  };
  Lease lease(static_cast<int>(threads));
  lease.run([](void* f, int worker) { (*static_cast<decltype(take)*>(f))(worker); }, &take);
  if (fault) std::rethrow_exception(fault);
}

}  // namespace unrolled
