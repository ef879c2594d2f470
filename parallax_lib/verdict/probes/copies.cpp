// What comes back from a GPU to its host, told to results.cpp; linked with --wrap on the calls that copy.  Stands after poison.cpp.
//
// A copy that a stream makes later is looked at when the program next waits for the device, and at its end.  Managed memory is looked at
// when it is freed, and at the end.  Copies inside libraries, by graphs and by the driver's own interface are not seen.
extern "C" void parallax_giving(void *, long), parallax_given(void *, long), parallax_shared(const void *, long);

namespace {
struct Extents { void *at; long bytes; };
Extents underway[256], lent[256];  // copies that a stream will have made, managed memory
int flying, lending;
enum { TO_HOST = 2, BY_ADDRESS = 4, HOST = 1, ON_DEVICE = 2 };

int place(const void *memory) {
  static const auto ask = driver<int (*)(void *, int, unsigned long)>("cuPointerGetAttribute");
  unsigned kind = HOST;
  return ask && !ask(&kind, 2, (unsigned long)memory) ? (int)kind : HOST;  // CU_POINTER_ATTRIBUTE_MEMORY_TYPE
}

[[maybe_unused]] bool comes_back(const void *to, const void *from, int kind) {
  return kind == TO_HOST || (kind == BY_ADDRESS && place(from) == ON_DEVICE && place(to) == HOST);
}

void landed() {
  const Locked locked;
  while (flying) flying--, parallax_given(underway[flying].at, underway[flying].bytes);
}

[[maybe_unused]] int synchronous(int code, bool back, void *to, size_t bytes) {
  landed();
  if (back && !code) parallax_given(to, (long)bytes);
  return code;
}

[[maybe_unused]] int later(int code, bool back, void *to, size_t bytes) {
  const Locked locked;
  if (back && !code && flying < 256) underway[flying++] = {to, (long)bytes};
  return code;
}

[[maybe_unused]] bool leaving(bool back, void *to, size_t bytes) {
  if (back) parallax_giving(to, (long)bytes);
  return back;
}
}  // namespace

extern "C" void parallax_at_end() {
  landed();
  for (int i = 0; i < lending; i++) parallax_shared(lent[i].at, lent[i].bytes);
  lending = 0;
}

extern "C" void parallax_freed(void *memory) {
  for (int i = lending; i--;) {
    if (lent[i].at != memory) continue;
    cudaDeviceSynchronize();
    landed();
    parallax_shared(memory, lent[i].bytes);
    lent[i] = lent[--lending];
  }
}

#define COPIES(NAME, DONE, PARAMETERS, ARGUMENTS, BACK, BYTES)    \
  extern "C" int __real_##NAME PARAMETERS;                        \
  extern "C" int __wrap_##NAME PARAMETERS {                       \
    const bool back = leaving(BACK, to, BYTES);                   \
    return DONE(__real_##NAME ARGUMENTS, back, to, BYTES);        \
  }
#define ROWS (rows && width ? (rows - 1) * to_pitch + width : 0)
#ifdef USES_cudaMemcpy
COPIES(cudaMemcpy, synchronous, (void *to, const void *from, size_t bytes, int kind), (to, from, bytes, kind), comes_back(to, from, kind), bytes)
#endif
#ifdef USES_cudaMemcpyAsync
COPIES(cudaMemcpyAsync, later, (void *to, const void *from, size_t bytes, int kind, void *stream), (to, from, bytes, kind, stream),
       comes_back(to, from, kind), bytes)
#endif
#ifdef USES_cudaMemcpy2D
COPIES(cudaMemcpy2D, synchronous, (void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t rows, int kind),
       (to, to_pitch, from, from_pitch, width, rows, kind), comes_back(to, from, kind), ROWS)
#endif
#ifdef USES_cudaMemcpy2DAsync
COPIES(cudaMemcpy2DAsync, later,
       (void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t rows, int kind, void *stream),
       (to, to_pitch, from, from_pitch, width, rows, kind, stream), comes_back(to, from, kind), ROWS)
#endif
#ifdef USES_cudaMemcpyFromSymbol
COPIES(cudaMemcpyFromSymbol, synchronous, (void *to, const void *symbol, size_t bytes, size_t offset, int kind),
       (to, symbol, bytes, offset, kind), kind == TO_HOST, bytes)
#endif
#ifdef USES_cudaMemcpyFromSymbolAsync
COPIES(cudaMemcpyFromSymbolAsync, later, (void *to, const void *symbol, size_t bytes, size_t offset, int kind, void *stream),
       (to, symbol, bytes, offset, kind, stream), kind == TO_HOST, bytes)
#endif
#define WAITS(NAME, PARAMETERS, ARGUMENTS) \
  extern "C" int __real_##NAME PARAMETERS; \
  extern "C" int __wrap_##NAME PARAMETERS { const int code = __real_##NAME ARGUMENTS; landed(); return code; }
#ifdef USES_cudaDeviceSynchronize
WAITS(cudaDeviceSynchronize, (), ())
#endif
#ifdef USES_cudaStreamSynchronize
WAITS(cudaStreamSynchronize, (void *stream), (stream))
#endif
#ifdef USES_cudaEventSynchronize
WAITS(cudaEventSynchronize, (void *event), (event))
#endif
#ifdef USES_cudaMallocManaged
extern "C" int __real_cudaMallocManaged(void **, size_t, unsigned);
extern "C" int __wrap_cudaMallocManaged(void **memory, size_t bytes, unsigned flags) {
  const int code = __real_cudaMallocManaged(memory, bytes, flags);
  const Locked locked;
  if (!code && lending < 256) lent[lending++] = {*memory, (long)bytes};
  return code;
}
#endif
