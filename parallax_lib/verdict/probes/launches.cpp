// Counts a CUDA program's kernel launches that the runtime accepted and their threads, and keeps the first error of a launch, even one that
// the program clears; linked into the judged program with --wrap on every launch call.
//
// At the end, before the runtime goes away, it waits for the device and asks cudaGetLastError once more, so that an error
// that the program never asked for is not swallowed, and reads what CUPTI saw on the device, where cupti.cpp was loaded.
// With CUDACPU_KERNELS=0 in its environment it launches nothing and says that all went well, as the emulator does.
// Stands after seen.cpp; the few declarations it needs stand here.
extern "C" {
struct dim3 { unsigned x, y, z; };
void *memset(void *, int, size_t);
size_t strlen(const char *);
int strcmp(const char *, const char *), strncmp(const char *, const char *, size_t);
int atexit(void (*)());
int cudaGetLastError();
int cudaDeviceSynchronize();
__attribute__((weak)) void parallax_at_end(), parallax_freed(void *);  // copies.cpp, where it is linked
}

namespace {
long launches, threads, error, refused, overrun;
void check_guards(void *only);  // poison.cpp
bool watched, reset, kernels_off;
unsigned fresh = 0xFFF5A5C3;  // what poison.cpp fills memory with

// Before any constructor of the program, which must not learn how it is run: what is read is wiped.
void read_switch(int, char **, char **env) {
  char **kept = env;
  for (; *env; env++) {
    if (strncmp(*env, "CUDACPU_", 8)) {
      *kept++ = *env;
      continue;
    }
    if (!strcmp(*env, "CUDACPU_KERNELS=0")) kernels_off = true;
    if (!strcmp(*env, "CUDACPU_SCHEDULE=2")) fresh = 0x40454545;
    memset(*env, 0, strlen(*env));
  }
  *kept = nullptr;
}
__attribute__((used, section(".preinit_array"))) void (*const at_start)(int, char **, char **) = read_switch;

void note(int code) {
  long none = 0;
  if (code) __atomic_compare_exchange_n(&error, &none, (long)code, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

void at_end() {
  if (!reset) note(cudaDeviceSynchronize());
  note(cudaGetLastError());
  check_guards(nullptr);
  if (parallax_at_end) parallax_at_end();
  if (parallax_device.read) parallax_device.read();
}

long size(dim3 d) { return (long)d.x * d.y * d.z; }

int count(int code, long started) {
  note(code);
  if (!code) __atomic_fetch_add(&launches, 1, __ATOMIC_RELAXED);
  if (!code) __atomic_fetch_add(&threads, started, __ATOMIC_RELAXED);
  if (!__atomic_test_and_set(&watched, __ATOMIC_RELAXED)) atexit(at_end);  // runs before the runtime's own clean-up
  reset = false;
  return code;
}
}  // namespace

#define LAUNCH(NAME, PARAMETERS, ARGUMENTS, THREADS) \
  extern "C" int __real_##NAME PARAMETERS;           \
  extern "C" int __wrap_##NAME PARAMETERS { return count(kernels_off ? 0 : __real_##NAME ARGUMENTS, THREADS); }
#define KERNEL(NAME) LAUNCH(NAME, (const void *kernel, dim3 grid, dim3 block, void **arguments, size_t shared, void *stream), \
                            (kernel, grid, block, arguments, shared, stream), size(grid) * size(block))
#define CONFIGURED(NAME) LAUNCH(NAME, (const dim3 *what, const void *kernel, void **arguments), (what, kernel, arguments), \
                                size(what[0]) * size(what[1]))  // a cudaLaunchConfig_t begins with grid and block
#define GRAPH(NAME) LAUNCH(NAME, (void *graph, void *stream), (graph, stream), 2)  // how many is not known: more than one

// Only the calls that the program makes are wrapped: toolkits differ in which of them exist.
#ifdef USES_cudaLaunchKernel
KERNEL(cudaLaunchKernel)
#endif
#ifdef USES_cudaLaunchKernel_ptsz
KERNEL(cudaLaunchKernel_ptsz)
#endif
#ifdef USES___cudaLaunchKernel
KERNEL(__cudaLaunchKernel)
#endif
#ifdef USES___cudaLaunchKernel_ptsz
KERNEL(__cudaLaunchKernel_ptsz)
#endif
#ifdef USES_cudaLaunchCooperativeKernel
KERNEL(cudaLaunchCooperativeKernel)
#endif
#ifdef USES_cudaLaunchCooperativeKernel_ptsz
KERNEL(cudaLaunchCooperativeKernel_ptsz)
#endif
#ifdef USES_cudaLaunchKernelExC
CONFIGURED(cudaLaunchKernelExC)
#endif
#ifdef USES_cudaLaunchKernelExC_ptsz
CONFIGURED(cudaLaunchKernelExC_ptsz)
#endif
#ifdef USES_cudaGraphLaunch
GRAPH(cudaGraphLaunch)
#endif
#ifdef USES_cudaGraphLaunch_ptsz
GRAPH(cudaGraphLaunch_ptsz)
#endif
#ifdef USES_cudaDeviceReset
extern "C" int __real_cudaDeviceReset();
extern "C" int __wrap_cudaDeviceReset() {
  note(cudaDeviceSynchronize());
  note(cudaGetLastError());
  check_guards(nullptr);
  if (parallax_at_end) parallax_at_end();
  if (parallax_device.read) parallax_device.read();
  reset = true;
  return __real_cudaDeviceReset();
}
#endif

extern "C" long parallax_proof(char *text, long size) {
  const long n = snprintf(text, size, "launches=%ld threads=%ld last_error=%ld refused=%ld overrun=%ld", launches, threads, error, refused,
                          overrun);
  return n + parallax_seen(text + n, size - n);
}
