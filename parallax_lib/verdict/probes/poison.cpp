// Fresh device memory is never zero by luck: what the program allocates is filled with a pattern, so that reading what nobody
// wrote shows as a wrong result.  The patterns are the emulator's: NaN as float and as double, negative as int; in every second
// run 3.1 as float and 42.5 as double, since `difference > limit` is never true of NaN.  Stands after launches.cpp.
//
// The driver fills it, on a stream of its own that is waited for, so that neither the runtime's last error nor the
// program's streams notice.  Behind a block of cudaMalloc lies a guard: whatever changed it wrote past the end, which the
// slack of a GPU's own blocks would hide (the emulator stops such a write).
//
// Managed memory stays as the driver hands it out: zeros.  An allocation that fails while
// others hold most of the device's memory is counted: what the program does then is not its fault.
extern "C" {
void *dlopen(const char *, int);
void *dlsym(void *, const char *);
}

namespace {
constexpr size_t GUARD = 1024;  // bytes
constexpr unsigned char INTACT = 0x3F;  // 0.7 as float, 5e-4 as double: sums and products of such numbers differ from it
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
  if (set && memory && bytes >= 4) set((unsigned long)memory, fresh, bytes / 4, stream);
}

template <class Work> void at_once(Work work) {
  static const auto create = driver<int (*)(void **, unsigned)>("cuStreamCreate");
  static const auto wait = driver<int (*)(void *)>("cuStreamSynchronize");
  static const auto destroy = driver<int (*)(void *)>("cuStreamDestroy_v2");
  void *stream = nullptr;
  if (!create || !wait || !destroy || create(&stream, 1)) return;  // CU_STREAM_NON_BLOCKING
  work(stream);
  wait(stream);
  destroy(stream);
}

void poison(void *memory, size_t bytes) {
  at_once([=](void *stream) { fill(memory, bytes, stream); });
}

int passed(int code) {
  static const auto info = driver<int (*)(size_t *, size_t *)>("cuMemGetInfo_v2");
  size_t free = 0, total = 0;
  if (code == 2 && info && !info(&free, &total) && total - free > own + total / 2) __atomic_fetch_add(&refused, 1, __ATOMIC_RELAXED);
  return code;
}

struct Block { char *start; size_t bytes; };
Block blocks[1024];  // those of cudaMalloc that have a guard; further ones have none
int held;
bool busy;
struct Locked {
  Locked() { while (__atomic_test_and_set(&busy, __ATOMIC_ACQUIRE)) continue; }
  ~Locked() { __atomic_clear(&busy, __ATOMIC_RELEASE); }
};

bool spoiled(const Block &block) {
  static const auto copy = driver<int (*)(void *, unsigned long, size_t)>("cuMemcpyDtoH_v2");
  unsigned char seen[GUARD];
  if (!copy || copy(seen, (unsigned long)(block.start + block.bytes), GUARD)) return false;
  for (const unsigned char c : seen)
    if (c != INTACT) return true;
  return false;
}

void forget(void *memory) {  // freed in a stream: the block may be another's before it could be looked at
  const Locked locked;
  for (int i = held; i--;)
    if (blocks[i].start == memory) blocks[i] = blocks[--held];
}

void check_guards(void *only) {  // of one block or, with nullptr, of all; what was checked is forgotten
  static const auto wait = driver<int (*)()>("cuCtxSynchronize");
  const Locked locked;
  bool waited = false;
  for (int i = held; i--;) {
    if (only && blocks[i].start != only) continue;
    if (!waited && wait) wait();
    waited = true;
    if (spoiled(blocks[i])) overrun = 1;
    blocks[i] = blocks[--held];
  }
}

int guarded(int (*allocate)(void **, size_t), void **memory, size_t bytes) {
  if (!memory || !bytes || bytes >> 62) return allocate(memory, bytes);
  if (allocate(memory, bytes + GUARD)) {  // perhaps it is the guard that has no room
    if (const int left = cudaGetLastError(); left != 2) note(left);
    return allocate(memory, bytes);
  }
  static const auto set = driver<int (*)(unsigned long, unsigned char, size_t, void *)>("cuMemsetD8Async");
  char *const start = (char *)*memory;
  at_once([=](void *stream) {
    const Locked locked;
    if (set && held < 1024 && !set((unsigned long)(start + bytes), INTACT, GUARD, stream)) blocks[held++] = {start, bytes};
  });
  return 0;
}

void on_host(void *memory, size_t bytes) {
  for (size_t i = 0; i < bytes / 4; i++) ((unsigned *)memory)[i] = fresh;
}
}  // namespace

#define ALLOCATES(NAME, PARAMETERS, ARGUMENTS, FILL) \
  extern "C" int __real_##NAME PARAMETERS;           \
  extern "C" int __wrap_##NAME PARAMETERS { const int code = passed(__real_##NAME ARGUMENTS); if (!code) FILL; return code; }
#define OWN_STREAM (stream ? stream : (void *)2)  // in the _ptsz calls no stream is the thread's own

#ifdef USES_cudaMalloc
extern "C" int __real_cudaMalloc(void **, size_t);
extern "C" int __wrap_cudaMalloc(void **memory, size_t bytes) {
  const int code = passed(guarded(__real_cudaMalloc, memory, bytes));
  if (!code) poison(*memory, bytes);
  return code;
}
#endif
#ifdef USES_cudaFree
extern "C" int __real_cudaFree(void *);
extern "C" int __wrap_cudaFree(void *memory) {
  if (memory) check_guards(memory);
  if (memory && parallax_freed) parallax_freed(memory);
  return __real_cudaFree(memory);
}
#endif
#define FREES_LATER(NAME)                                   \
  extern "C" int __real_##NAME(void *, void *);             \
  extern "C" int __wrap_##NAME(void *memory, void *stream) { forget(memory); return __real_##NAME(memory, stream); }
#ifdef USES_cudaFreeAsync
FREES_LATER(cudaFreeAsync)
#endif
#ifdef USES_cudaFreeAsync_ptsz
FREES_LATER(cudaFreeAsync_ptsz)
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
