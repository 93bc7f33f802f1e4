#include "dispatch.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

#define UNROLLED_DECLARE_ISA(ns)                         \
  namespace ns {                                         \
  extern const unrolled::Kernels<float> table_f32;       \
  extern const unrolled::Kernels<double> table_f64;      \
  extern const unrolled::Kernels<float> table_bf16;      \
  extern const unrolled::Kernels<float> table_int8;      \
  }

UNROLLED_DECLARE_ISA(isa_generic)
#if UNROLLED_HAVE_v2
UNROLLED_DECLARE_ISA(isa_v2)
UNROLLED_DECLARE_ISA(isa_v3)
UNROLLED_DECLARE_ISA(isa_v4)
namespace isa_v4vnni {
extern const unrolled::Kernels<float> table_int8;
}
#endif

namespace unrolled {
namespace {

#if UNROLLED_HAVE_v2
bool has_v2() { return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt"); }
bool has_v3() {
  return has_v2() && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}
bool has_v4() {
  return has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}
#endif
bool always() { return true; }

// Best first.
const Isa kIsas[] = {
#if UNROLLED_HAVE_v2
    {"x86-64-v4", has_v4, &isa_v4::table_f32, &isa_v4::table_f64,
     &isa_v4::table_bf16, &isa_v4::table_int8},
    {"x86-64-v3", has_v3, &isa_v3::table_f32, &isa_v3::table_f64,
     &isa_v3::table_bf16, &isa_v3::table_int8},
    {"x86-64-v2", has_v2, &isa_v2::table_f32, &isa_v2::table_f64,
     &isa_v2::table_bf16, &isa_v2::table_int8},
#endif
    {"generic", always, &isa_generic::table_f32, &isa_generic::table_f64,
     &isa_generic::table_bf16, &isa_generic::table_int8},
};

std::atomic<const Isa*> chosen{nullptr};

std::string join(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

const Isa* by_name(const std::string& name, const std::string& source) {
  std::vector<std::string> known;
  for (const Isa& isa : kIsas) {
    known.emplace_back(isa.name);
    if (name != isa.name) continue;
    if (isa.supported()) return &isa;
    throw std::invalid_argument(source + "'" + name + "': this CPU lacks that instruction set; it has " +
                                join(available_isas()));
  }
  throw std::invalid_argument(source + "'" + name + "': unknown instruction set; expected one of " +
                              join(known));
}

const Isa* choose() {
  const char* forced = std::getenv("UNROLLED_ISA");
  if (forced != nullptr && forced[0] != '\0') return by_name(forced, "UNROLLED_ISA=");
  for (const Isa& isa : kIsas)
    if (isa.supported()) return &isa;
  throw std::runtime_error("no instruction set is available");
}

bool has_vnni(const Isa& isa) {
#if UNROLLED_HAVE_v2
  return isa.f32 == &isa_v4::table_f32 && __builtin_cpu_supports("avx512vnni");
#else
  (void)isa;
  return false;
#endif
}

}  // namespace

const Kernels<float>& kernels_of(const std::string& precision) {
  const Isa& isa = current_isa();
  if (precision == "float32") return *isa.f32;
  if (precision == "bf16") return *isa.bf16;
#if UNROLLED_HAVE_v2
  if (precision == "int8" && has_vnni(isa)) return isa_v4vnni::table_int8;
#endif
  if (precision == "int8" || precision == "int8-without-vnni") return *isa.int8;
  throw std::invalid_argument("precision '" + precision + "': expected float32, bf16 or int8");
}

const char* int8_instructions() {
  const Isa& isa = current_isa();
  if (has_vnni(isa)) return "avx512-vnni";
  return isa.f32 == &isa_generic::table_f32 ? "plain" : "pairs";
}

std::vector<std::string> available_isas() {
  std::vector<std::string> names;
  for (const Isa& isa : kIsas)
    if (isa.supported()) names.emplace_back(isa.name);
  return names;
}

const Isa& current_isa() {
  const Isa* isa = chosen.load(std::memory_order_acquire);
  if (isa == nullptr) {
    isa = choose();
    chosen.store(isa, std::memory_order_release);
  }
  return *isa;
}

void set_isa(const std::string& name) { chosen.store(name.empty() ? choose() : by_name(name, "")); }

}  // namespace unrolled
