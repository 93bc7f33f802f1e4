// The threads of an OpenMP runtime that is already in the process, lent to our calls.
//
// torch computes on OpenMP threads, which spin for milliseconds after each of its operators. Threads
// of our own would share the cores with them, and a call would wait for the scheduler. Running on the
// same threads, nobody waits. Nothing here links to OpenMP: the two functions are looked up.
#pragma once

#include <string>

namespace unrolled {

// Takes the runtime loaded from `folder`, else the only one loaded; returns its path, or an empty
// string where there is none. A forked child gives it back, for its threads stay behind.
std::string borrow_openmp(const std::string& folder);

// Whether a runtime is borrowed, and its path, empty where there is none.
bool openmp_borrowed();
std::string openmp_path();

// Calls task(argument, w) for each w in [0, threads). Returns false, with nothing called, where no
// runtime is borrowed or it gives fewer threads.
bool run_on_openmp(int threads, void (*task)(void*, int), void* argument);

}  // namespace unrolled
