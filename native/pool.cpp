#include "pool.h"

#include "openmp.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>

namespace unrolled {
namespace {

constexpr int kMaxThreads = 256;
struct Pool {
  std::mutex owner;  // held by the lease that may start tasks
  std::atomic<uint32_t> generation{0};
  std::atomic<int> unfinished{0};
  void (*task)(void*, int) = nullptr;
  void* argument = nullptr;
  int participants = 0;
  int started = 0;  // workers alive, numbered 1..started

  void work(int index, uint32_t seen) {
    for (;;) {
      uint32_t now = generation.load(std::memory_order_acquire);
      for (int spin = 0; now == seen && spin < kSpins; ++spin) {
        pause_once();
        now = generation.load(std::memory_order_acquire);
      }
      if (now == seen) {
        generation.wait(seen, std::memory_order_acquire);
        continue;
      }
      seen = now;
      // A worker outside the current task only looks at fields that the owner left untouched.
      if (index < participants) task(argument, index);
      unfinished.fetch_sub(1, std::memory_order_acq_rel);
    }
  }

  // Starts workers until `count` threads exist, the caller included; fewer where the system refuses.
  int grow(int count) {
    while (started + 1 < count) {
      const int index = started + 1;
      const uint32_t seen = generation.load(std::memory_order_relaxed);
      try {
        std::thread([this, index, seen] { work(index, seen); }).detach();
      } catch (const std::system_error&) {
        break;
      }
      started = index;
    }
    return std::min(count, started + 1);
  }

  void run(int threads, void (*new_task)(void*, int), void* new_argument) {
    task = new_task;
    argument = new_argument;
    participants = threads;
    unfinished.store(started, std::memory_order_relaxed);
    generation.fetch_add(1, std::memory_order_release);
    generation.notify_all();
    new_task(new_argument, 0);
    pause_until([this] { return unfinished.load(std::memory_order_acquire) == 0; });
  }
};

Pool* pool = nullptr;
std::once_flag pool_once;
std::atomic<int> requested{0};

// The child of a fork has none of the workers and may have inherited a locked mutex: leave the old
// pool behind and start afresh.
void after_fork() { pool = new Pool; }

Pool& the_pool() {
  std::call_once(pool_once, [] {
    pool = new Pool;
    pthread_atfork(nullptr, nullptr, after_fork);
  });
  return *pool;
}

// CPU quota of this process's cgroup, in cores; 0 where there is none.
double cgroup_cores() {
  double cores = 0;
  const auto take = [&cores](double quota, double period) {
    if (quota <= 0 || period <= 0) return;
    cores = cores == 0 ? quota / period : std::min(cores, quota / period);
  };
  std::ifstream list("/proc/self/cgroup");
  for (std::string line; std::getline(list, line);) {
    const auto colon = line.rfind(':');
    if (colon == std::string::npos) continue;
    const bool v2 = line.rfind("0::", 0) == 0;
    if (!v2 && line.find("cpu") == std::string::npos) continue;
    std::string path = line.substr(colon + 1);
    for (;; path.erase(path.rfind('/'))) {
      const std::string root = v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu";
      if (v2) {
        std::ifstream file(root + path + "/cpu.max");
        double quota = 0, period = 0;
        if (file >> quota >> period) take(quota, period);
      } else {
        std::ifstream quota_file(root + path + "/cpu.cfs_quota_us");
        std::ifstream period_file(root + path + "/cpu.cfs_period_us");
        double quota = 0, period = 0;
        if (quota_file >> quota && period_file >> period) take(quota, period);
      }
      if (path.rfind('/') == std::string::npos) break;
    }
  }
  return cores;
}

int threads_from_environment() {
  const char* text = std::getenv("UNROLLED_NUM_THREADS");
  if (text == nullptr || text[0] == '\0') return std::min(available_cores(), kMaxThreads);
  char* end = nullptr;
  const long count = std::strtol(text, &end, 10);
  if (*end != '\0' || count < 1 || count > kMaxThreads)
    throw std::invalid_argument("UNROLLED_NUM_THREADS='" + std::string(text) +
                                "': expected a whole number from 1 to " +
                                std::to_string(kMaxThreads));
  return static_cast<int>(count);
}

}  // namespace

int available_cores() {
  int cores = static_cast<int>(std::thread::hardware_concurrency());
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) cores = CPU_COUNT(&set);
  const double quota = cgroup_cores();
  if (quota > 0) cores = std::min(cores, static_cast<int>(std::ceil(quota)));
  return std::max(cores, 1);
}

int num_threads() {
  int count = requested.load(std::memory_order_relaxed);
  if (count == 0) {
    count = threads_from_environment();
    requested.store(count, std::memory_order_relaxed);
  }
  return count;
}

void set_num_threads(int count) {
  if (count < 1 || count > kMaxThreads)
    throw std::invalid_argument("num_threads must be from 1 to " + std::to_string(kMaxThreads) +
                                ", got " + std::to_string(count));
  requested.store(count, std::memory_order_relaxed);
}

Lease::Lease(int wanted) : threads_(1) {
  if (wanted > 1 && the_pool().owner.try_lock()) {
    threads_ = openmp_borrowed() ? wanted : the_pool().grow(wanted);
    if (threads_ == 1) the_pool().owner.unlock();
  }
}

Lease::~Lease() {
  if (threads_ > 1) the_pool().owner.unlock();
}

void Lease::run(void (*task)(void*, int), void* argument) {
  if (threads_ == 1) {
    task(argument, 0);
  } else if (!run_on_openmp(threads_, task, argument)) {
    if (the_pool().grow(threads_) < threads_)
      throw std::runtime_error("the system gives no more threads; use set_num_threads(1)");
    the_pool().run(threads_, task, argument);
  }
}

}  // namespace unrolled
