#include "openmp.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>

#include <atomic>
#include <mutex>
#include <vector>

namespace unrolled {
namespace {

struct Runtime {
  std::string path;
  // GCC's entry points, which LLVM's and Intel's runtimes have too.
  void (*parallel)(void (*)(void*), void*, unsigned, unsigned);
  int (*thread)();
  int (*team)();
};

std::atomic<const Runtime*> borrowed{nullptr};
std::mutex borrowing;

struct Call {
  const Runtime* runtime;
  int threads;
  void (*task)(void*, int);
  void* argument;
  std::atomic<bool> ran;
};

void member(void* data) {
  Call& call = *static_cast<Call*>(data);
  if (call.runtime->team() != call.threads) return;
  call.ran.store(true, std::memory_order_relaxed);
  call.task(call.argument, call.runtime->thread());
}

std::vector<std::string> loaded_runtimes() {
  std::vector<std::string> found;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        const std::string path = info->dlpi_name;
        const std::string name = path.substr(path.rfind('/') + 1);
        for (const char* known : {"libgomp", "libiomp5", "libomp"})
          if (name.rfind(known, 0) == 0) {
            static_cast<std::vector<std::string>*>(data)->push_back(path);
            break;
          }
        return 0;
      },
      &found);
  return found;
}

std::string choose(const std::string& folder) {
  const std::vector<std::string> found = loaded_runtimes();
  for (const std::string& path : found)
    if (path.rfind(folder, 0) == 0) return path;
  return found.size() == 1 ? found[0] : "";
}

}  // namespace

std::string borrow_openmp(const std::string& folder) {
  const std::lock_guard<std::mutex> lock(borrowing);
  if (borrowed.load() != nullptr) return openmp_path();
  const std::string path = choose(folder);
  void* library = path.empty() ? nullptr : dlopen(path.c_str(), RTLD_LAZY | RTLD_NOLOAD);
  if (library == nullptr) return "";
  // Lives as long as the process: a call may run at exit.
  Runtime* runtime = new Runtime;
  runtime->path = path;
  runtime->parallel = reinterpret_cast<decltype(runtime->parallel)>(dlsym(library, "GOMP_parallel"));
  runtime->thread = reinterpret_cast<decltype(runtime->thread)>(dlsym(library, "omp_get_thread_num"));
  runtime->team = reinterpret_cast<decltype(runtime->team)>(dlsym(library, "omp_get_num_threads"));
  if (runtime->parallel == nullptr || runtime->thread == nullptr || runtime->team == nullptr) {
    delete runtime;
    return "";
  }
  pthread_atfork(nullptr, nullptr, [] { borrowed.store(nullptr); });
  borrowed.store(runtime);
  return path;
}

bool openmp_borrowed() { return borrowed.load(std::memory_order_relaxed) != nullptr; }

std::string openmp_path() {
  const Runtime* runtime = borrowed.load();
  return runtime != nullptr ? runtime->path : "";
}

bool run_on_openmp(int threads, void (*task)(void*, int), void* argument) {
  Call call{borrowed.load(), threads, task, argument, {false}};
  if (call.runtime == nullptr) return false;
  call.runtime->parallel(member, &call, static_cast<unsigned>(threads), 0);
  return call.ran.load(std::memory_order_relaxed);
}

}  // namespace unrolled
