// Fresh device memory is never zero by luck: what the program allocates is filled with a pattern (NaN as float and as double,
// negative as int; the emulator's own), so that reading what nobody wrote shows as a wrong result.  Stands after launches.cpp.
//
// The driver fills it, on a stream of its own that is waited for, so that neither the runtime's last error nor the
// program's streams notice.  Managed memory stays as the driver hands it out: zeros.  An allocation that fails while
// others hold most of the device's memory is counted: what the program does then is not its fault.
extern "C" {
void *dlopen(const char *, int);
void *dlsym(void *, const char *);
}

namespace {
constexpr unsigned POISON = 0xFFF5A5C3;
struct Pitched { void *start; size_t pitch, width, height; };
struct Extent { size_t width, height, depth; };

template <class F> F driver(const char *name) {  // already loaded by the runtime
  static void *library = dlopen("libcuda.so.1", 1 | 4);  // RTLD_LAZY | RTLD_NOLOAD
  return library ? (F)dlsym(library, name) : nullptr;
}

size_t own;  // bytes that the program was given, what it gave back included: in doubt it took the memory itself

void fill(void *memory, size_t bytes, void *stream) {
  __atomic_fetch_add(&own, bytes, __ATOMIC_RELAXED);
  static const auto set = driver<int (*)(unsigned long, unsigned, size_t, void *)>("cuMemsetD32Async");
  if (set && memory && bytes >= 4) set((unsigned long)memory, POISON, bytes / 4, stream);
}

void poison(void *memory, size_t bytes) {
  static const auto create = driver<int (*)(void **, unsigned)>("cuStreamCreate");
  static const auto wait = driver<int (*)(void *)>("cuStreamSynchronize");
  static const auto destroy = driver<int (*)(void *)>("cuStreamDestroy_v2");
  void *stream = nullptr;
  if (!create || !wait || !destroy || create(&stream, 1)) return;  // CU_STREAM_NON_BLOCKING
  fill(memory, bytes, stream);
  wait(stream);
  destroy(stream);
}

int passed(int code) {
  static const auto info = driver<int (*)(size_t *, size_t *)>("cuMemGetInfo_v2");
  size_t free = 0, total = 0;
  if (code == 2 && info && !info(&free, &total) && total - free > own + total / 2) __atomic_fetch_add(&refused, 1, __ATOMIC_RELAXED);
  return code;
}

void on_host(void *memory, size_t bytes) {
  for (size_t i = 0; i < bytes / 4; i++) ((unsigned *)memory)[i] = POISON;
}
}  // namespace

#define ALLOCATES(NAME, PARAMETERS, ARGUMENTS, FILL) \
  extern "C" int __real_##NAME PARAMETERS;           \
  extern "C" int __wrap_##NAME PARAMETERS { const int code = passed(__real_##NAME ARGUMENTS); if (!code) FILL; return code; }
#define OWN_STREAM (stream ? stream : (void *)2)  // in the _ptsz calls no stream is the thread's own

#ifdef USES_cudaMalloc
ALLOCATES(cudaMalloc, (void **memory, size_t bytes), (memory, bytes), poison(*memory, bytes))
#endif
#ifdef USES_cudaMallocPitch
ALLOCATES(cudaMallocPitch, (void **memory, size_t *pitch, size_t width, size_t height), (memory, pitch, width, height),
          poison(*memory, *pitch *height))
#endif
#ifdef USES_cudaMalloc3D
ALLOCATES(cudaMalloc3D, (Pitched * memory, Extent size), (memory, size), poison(memory->start, memory->pitch *size.height *size.depth))
#endif
#ifdef USES_cudaMallocAsync
ALLOCATES(cudaMallocAsync, (void **memory, size_t bytes, void *stream), (memory, bytes, stream), fill(*memory, bytes, stream))
#endif
#ifdef USES_cudaMallocAsync_ptsz
ALLOCATES(cudaMallocAsync_ptsz, (void **memory, size_t bytes, void *stream), (memory, bytes, stream),
          fill(*memory, bytes, OWN_STREAM))
#endif
#ifdef USES_cudaMallocFromPoolAsync
ALLOCATES(cudaMallocFromPoolAsync, (void **memory, size_t bytes, void *pool, void *stream), (memory, bytes, pool, stream),
          fill(*memory, bytes, stream))
#endif
#ifdef USES_cudaMallocFromPoolAsync_ptsz
ALLOCATES(cudaMallocFromPoolAsync_ptsz, (void **memory, size_t bytes, void *pool, void *stream), (memory, bytes, pool, stream),
          fill(*memory, bytes, OWN_STREAM))
#endif
#ifdef USES_cudaMallocHost
ALLOCATES(cudaMallocHost, (void **memory, size_t bytes), (memory, bytes), on_host(*memory, bytes))
#endif
#ifdef USES_cudaHostAlloc
ALLOCATES(cudaHostAlloc, (void **memory, size_t bytes, unsigned flags), (memory, bytes, flags), on_host(*memory, bytes))
#endif
