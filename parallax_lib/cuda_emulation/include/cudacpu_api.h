// Host functions of the CUDA runtime; the library in runtime.cpp defines them.
#pragma once
const char *cudaGetErrorString(cudaError_t), *cudaGetErrorName(cudaError_t);
cudaError_t cudaGetLastError(), cudaPeekAtLastError(), cudaDeviceSynchronize(), cudaDeviceReset(), cudaThreadSynchronize();
cudaError_t cudaMalloc(void **, size_t), cudaFree(void *), cudaMallocHost(void **, size_t, unsigned = 0), cudaFreeHost(void *);
cudaError_t cudaHostAlloc(void **, size_t, unsigned), cudaMallocManaged(void **, size_t, unsigned = cudaMemAttachGlobal);
cudaError_t cudaHostGetDevicePointer(void **, void *, unsigned), cudaHostRegister(void *, size_t, unsigned), cudaHostUnregister(void *);
cudaError_t cudaMallocPitch(void **, size_t *, size_t, size_t), cudaMallocAsync(void **, size_t, cudaStream_t);
cudaError_t cudaFreeAsync(void *, cudaStream_t), cudaMemGetInfo(size_t *, size_t *);
cudaError_t cudaMemcpy(void *, const void *, size_t, cudaMemcpyKind);
cudaError_t cudaMemcpyAsync(void *, const void *, size_t, cudaMemcpyKind, cudaStream_t = nullptr);
cudaError_t cudaMemcpy2D(void *, size_t, const void *, size_t, size_t, size_t, cudaMemcpyKind);
cudaError_t cudaMemcpy2DAsync(void *, size_t, const void *, size_t, size_t, size_t, cudaMemcpyKind, cudaStream_t = nullptr);
cudaError_t cudaMemset(void *, int, size_t), cudaMemsetAsync(void *, int, size_t, cudaStream_t = nullptr);
cudaError_t cudaMemset2D(void *, size_t, int, size_t, size_t);
cudaError_t cudaMemPrefetchAsync(const void *, size_t, cudaMemLocation, unsigned, cudaStream_t = nullptr);
cudaError_t cudaMemPrefetchAsync(const void *, size_t, int, cudaStream_t = nullptr);
cudaError_t cudaMemAdvise(const void *, size_t, cudaMemoryAdvise, cudaMemLocation);
cudaError_t cudaMemAdvise(const void *, size_t, cudaMemoryAdvise, int);
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *, const void *);
cudaError_t cudaStreamCreate(cudaStream_t *), cudaStreamCreateWithFlags(cudaStream_t *, unsigned), cudaStreamDestroy(cudaStream_t);
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *, unsigned, int), cudaDeviceGetStreamPriorityRange(int *, int *);
cudaError_t cudaStreamSynchronize(cudaStream_t), cudaStreamQuery(cudaStream_t);
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned = 0), cudaLaunchHostFunc(cudaStream_t, cudaHostFn_t, void *);
cudaError_t cudaStreamAddCallback(cudaStream_t, cudaStreamCallback_t, void *, unsigned);
cudaError_t cudaEventCreate(cudaEvent_t *), cudaEventCreateWithFlags(cudaEvent_t *, unsigned), cudaEventDestroy(cudaEvent_t);
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t = nullptr), cudaEventSynchronize(cudaEvent_t), cudaEventQuery(cudaEvent_t);
cudaError_t cudaEventElapsedTime(float *, cudaEvent_t, cudaEvent_t);
cudaError_t cudaGetDeviceCount(int *), cudaSetDevice(int), cudaGetDevice(int *), cudaSetDeviceFlags(unsigned);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *, int), cudaDeviceGetAttribute(int *, cudaDeviceAttr, int);
cudaError_t cudaRuntimeGetVersion(int *), cudaDriverGetVersion(int *), cudaDeviceSetCacheConfig(cudaFuncCache);
cudaError_t cudaDeviceSetLimit(cudaLimit, size_t), cudaDeviceGetLimit(size_t *, cudaLimit), cudaDeviceSetSharedMemConfig(cudaSharedMemConfig);
cudaError_t cudaDeviceCanAccessPeer(int *, int, int), cudaDeviceEnablePeerAccess(int, unsigned);

namespace cudacpu {
cudaError_t symbol_copy(void *symbol, size_t size, void *to, const void *from, size_t n, size_t offset, bool into);
cudaError_t function_attribute(const void *kernel, cudaFuncAttribute, int), function_attributes(cudaFuncAttributes *, const void *);
cudaError_t occupancy(int *blocks, int threads, size_t shared);
}  // namespace cudacpu

template <class T> cudaError_t cudaMalloc(T **p, size_t n) { return cudaMalloc((void **)p, n); }
template <class T> cudaError_t cudaMallocHost(T **p, size_t n, unsigned f = 0) { return cudaMallocHost((void **)p, n, f); }
template <class T> cudaError_t cudaHostAlloc(T **p, size_t n, unsigned f) { return cudaHostAlloc((void **)p, n, f); }
template <class T> cudaError_t cudaMallocManaged(T **p, size_t n, unsigned f = cudaMemAttachGlobal) { return cudaMallocManaged((void **)p, n, f); }
template <class T> cudaError_t cudaHostGetDevicePointer(T **p, void *h, unsigned f) { return cudaHostGetDevicePointer((void **)p, h, f); }
template <class T> cudaError_t cudaMallocPitch(T **p, size_t *pitch, size_t w, size_t h) { return cudaMallocPitch((void **)p, pitch, w, h); }
template <class T> cudaError_t cudaMallocAsync(T **p, size_t n, cudaStream_t s) { return cudaMallocAsync((void **)p, n, s); }

template <class T> cudaError_t cudaMemcpyToSymbol(T &s, const void *from, size_t n, size_t at = 0, cudaMemcpyKind = cudaMemcpyHostToDevice) {
  return cudacpu::symbol_copy((void *)&s, sizeof s, nullptr, from, n, at, true);
}
template <class T> cudaError_t cudaMemcpyFromSymbol(void *to, T &s, size_t n, size_t at = 0, cudaMemcpyKind = cudaMemcpyDeviceToHost) {
  return cudacpu::symbol_copy((void *)&s, sizeof s, to, nullptr, n, at, false);
}
template <class T> cudaError_t cudaMemcpyToSymbolAsync(T &s, const void *from, size_t n, size_t at, cudaMemcpyKind k, cudaStream_t = nullptr) {
  return cudaMemcpyToSymbol(s, from, n, at, k);
}
template <class T> cudaError_t cudaMemcpyFromSymbolAsync(void *to, T &s, size_t n, size_t at, cudaMemcpyKind k, cudaStream_t = nullptr) {
  return cudaMemcpyFromSymbol(to, s, n, at, k);
}
template <class P, class T> cudaError_t cudaGetSymbolAddress(P **p, T &symbol) { *p = (P *)&symbol; return cudaSuccess; }
template <class T> cudaError_t cudaGetSymbolSize(size_t *n, T &symbol) { *n = sizeof symbol; return cudaSuccess; }

template <class K> cudaError_t cudaFuncSetAttribute(K *k, cudaFuncAttribute a, int v) { return cudacpu::function_attribute((const void *)k, a, v); }
template <class K> cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *a, K *k) { return cudacpu::function_attributes(a, (const void *)k); }
template <class K> cudaError_t cudaFuncSetCacheConfig(K *, cudaFuncCache) { return cudaSuccess; }
template <class K> cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *n, K, int threads, size_t shared) {
  return cudacpu::occupancy(n, threads, shared);
}
template <class K> cudaError_t cudaOccupancyMaxPotentialBlockSize(int *grid, int *block, K, size_t = 0, int limit = 0) {
  *block = limit > 0 && limit < 1024 ? limit : 1024;
  *grid = 16;
  return cudaSuccess;
}
inline cudaError_t cudaLaunchKernel(const void *k, dim3 grid, dim3 block, void **a, size_t shared = 0, cudaStream_t s = nullptr) {
  __cudaPushCallConfiguration();
  return cudacpu::launch_registered({grid, block, shared, s}, k, a);
}
template <class... P> cudaError_t cudaLaunchKernel(void (*k)(P...), dim3 grid, dim3 block, void **a, size_t shared = 0, cudaStream_t s = nullptr) {
  __cudaPushCallConfiguration();
  return cudacpu::from_pointers({grid, block, shared, s}, k, a);
}
inline cudaError_t cudaLaunchCooperativeKernel(const void *k, dim3 grid, dim3 block, void **a, size_t shared = 0, cudaStream_t s = nullptr) {
  __cudaPushCallConfiguration();
  return cudacpu::launch_registered({grid, block, shared, s, true}, k, a);
}
template <class... P>
cudaError_t cudaLaunchCooperativeKernel(void (*k)(P...), dim3 grid, dim3 block, void **a, size_t shared = 0, cudaStream_t s = nullptr) {
  __cudaPushCallConfiguration();
  return cudacpu::from_pointers({grid, block, shared, s, true}, k, a);
}
