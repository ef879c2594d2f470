// Counts the target regions that an OpenMP program offloads to a GPU, and reads what CUPTI saw of them before LLVM's runtime
// goes away; linked into programs that are built for that device.  Stands after seen.cpp.
extern "C" {
void *dlsym(void *, const char *);
int atexit(void (*)());
long parallax_targets;
}

namespace {
struct Args;
bool watched;

void at_end() {
  if (parallax_device.read) parallax_device.read();
}

int count(int failed) {
  if (!failed) __atomic_fetch_add(&parallax_targets, 1, __ATOMIC_RELAXED);
  if (!__atomic_test_and_set(&watched, __ATOMIC_RELAXED)) atexit(at_end);
  return failed;
}

template <class F> F *real(const char *name) { return (F *)dlsym((void *)-1, name); }  // RTLD_NEXT
}  // namespace

extern "C" {
#define PARAMETERS void *place, long device, int teams, int threads, void *host, Args *args
int __tgt_target_kernel(PARAMETERS) {
  return count(real<int(PARAMETERS)>("__tgt_target_kernel")(place, device, teams, threads, host, args));
}
int __tgt_target_kernel_nowait(PARAMETERS, int before, void *on, int beside, void *them) {
  return count(real<int(PARAMETERS, int, void *, int, void *)>("__tgt_target_kernel_nowait")(place, device, teams, threads, host, args, before, on, beside, them));
}
}
