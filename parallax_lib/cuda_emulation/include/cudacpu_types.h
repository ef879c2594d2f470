// Types of the CUDA runtime as its programming guide lists them: vectors, dim3, error codes, properties.
// CUDA defines no arithmetic on vectors, so neither does this: programs bring their own operators.
#pragma once
#include <cstddef>
#include <cstdint>

#define CUDACPU_VECTORS(T, N, A2, A4)                                                       \
  struct N##1 { T x; };                                                                     \
  struct alignas(A2) N##2 { T x, y; };                                                      \
  struct N##3 { T x, y, z; };                                                               \
  struct alignas(A4) N##4 { T x, y, z, w; };                                                \
  static inline constexpr N##1 make_##N##1(T x) { return {x}; }                             \
  static inline constexpr N##2 make_##N##2(T x, T y) { return {x, y}; }                     \
  static inline constexpr N##3 make_##N##3(T x, T y, T z) { return {x, y, z}; }             \
  static inline constexpr N##4 make_##N##4(T x, T y, T z, T w) { return {x, y, z, w}; }
CUDACPU_VECTORS(signed char, char, 2, 4)
CUDACPU_VECTORS(unsigned char, uchar, 2, 4)
CUDACPU_VECTORS(short, short, 4, 8)
CUDACPU_VECTORS(unsigned short, ushort, 4, 8)
CUDACPU_VECTORS(int, int, 8, 16)
CUDACPU_VECTORS(unsigned int, uint, 8, 16)
CUDACPU_VECTORS(long, long, 16, 16)
CUDACPU_VECTORS(unsigned long, ulong, 16, 16)
CUDACPU_VECTORS(long long, longlong, 16, 16)
CUDACPU_VECTORS(unsigned long long, ulonglong, 16, 16)
CUDACPU_VECTORS(float, float, 8, 16)
CUDACPU_VECTORS(double, double, 16, 16)

struct dim3 {
  unsigned int x, y, z;
  constexpr dim3(unsigned int x = 1, unsigned int y = 1, unsigned int z = 1) : x(x), y(y), z(z) {}
  constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
  constexpr operator uint3() const { return {x, y, z}; }
};

#define CUDACPU_ERRORS(E)                                                                                        \
  E(cudaSuccess, 0, "no error")                                                                                  \
  E(cudaErrorInvalidValue, 1, "invalid argument")                                                                \
  E(cudaErrorMemoryAllocation, 2, "out of memory")                                                               \
  E(cudaErrorInitializationError, 3, "initialization error")                                                     \
  E(cudaErrorInvalidConfiguration, 9, "invalid configuration argument")                                          \
  E(cudaErrorInvalidPitchValue, 12, "invalid pitch argument")                                                    \
  E(cudaErrorInvalidSymbol, 13, "invalid device symbol")                                                         \
  E(cudaErrorInvalidMemcpyDirection, 21, "invalid copy direction for memcpy")                                    \
  E(cudaErrorInvalidDeviceFunction, 98, "invalid device function")                                               \
  E(cudaErrorNoDevice, 100, "no CUDA-capable device is detected")                                                \
  E(cudaErrorInvalidDevice, 101, "invalid device ordinal")                                                       \
  E(cudaErrorInvalidResourceHandle, 400, "invalid resource handle")                                              \
  E(cudaErrorNotReady, 600, "device not ready")                                                                  \
  E(cudaErrorIllegalAddress, 700, "an illegal memory access was encountered")                                    \
  E(cudaErrorLaunchOutOfResources, 701, "too many resources requested for launch")                               \
  E(cudaErrorLaunchTimeout, 702, "the launch timed out and was terminated")                                      \
  E(cudaErrorPeerAccessAlreadyEnabled, 704, "peer access is already enabled")                                    \
  E(cudaErrorAssert, 710, "device-side assert triggered")                                                        \
  E(cudaErrorHostMemoryAlreadyRegistered, 712, "part or all of the requested memory range is already mapped")    \
  E(cudaErrorHostMemoryNotRegistered, 713, "pointer does not correspond to a registered memory region")          \
  E(cudaErrorIllegalInstruction, 715, "an illegal instruction was encountered")                                  \
  E(cudaErrorLaunchFailure, 719, "unspecified launch failure")                                                   \
  E(cudaErrorCooperativeLaunchTooLarge, 720, "too many blocks in cooperative launch")                            \
  E(cudaErrorNotSupported, 801, "operation not supported")                                                       \
  E(cudaErrorUnknown, 999, "unknown error")
#define CUDACPU_ENUM(name, value, text) name = value,
enum cudaError { CUDACPU_ERRORS(CUDACPU_ENUM) };
typedef cudaError cudaError_t;

enum cudaMemcpyKind {
  cudaMemcpyHostToHost, cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice, cudaMemcpyDefault
};
enum cudaMemoryType { cudaMemoryTypeUnregistered, cudaMemoryTypeHost, cudaMemoryTypeDevice, cudaMemoryTypeManaged };
enum cudaFuncAttribute {
  cudaFuncAttributeMaxDynamicSharedMemorySize = 8, cudaFuncAttributePreferredSharedMemoryCarveout = 9
};
enum cudaFuncCache { cudaFuncCachePreferNone, cudaFuncCachePreferShared, cudaFuncCachePreferL1, cudaFuncCachePreferEqual };
enum cudaSharedMemConfig { cudaSharedMemBankSizeDefault, cudaSharedMemBankSizeFourByte, cudaSharedMemBankSizeEightByte };
enum cudaLimit { cudaLimitStackSize, cudaLimitPrintfFifoSize, cudaLimitMallocHeapSize };
enum cudaMemoryAdvise {
  cudaMemAdviseSetReadMostly = 1, cudaMemAdviseUnsetReadMostly, cudaMemAdviseSetPreferredLocation,
  cudaMemAdviseUnsetPreferredLocation, cudaMemAdviseSetAccessedBy, cudaMemAdviseUnsetAccessedBy
};
struct cudaMemLocation { int type, id; };
enum cudaDeviceAttr {
  cudaDevAttrMaxThreadsPerBlock = 1, cudaDevAttrMaxSharedMemoryPerBlock = 8, cudaDevAttrWarpSize = 10,
  cudaDevAttrMaxRegistersPerBlock = 12, cudaDevAttrClockRate = 13, cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrMaxThreadsPerMultiProcessor = 39, cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76, cudaDevAttrManagedMemory = 83, cudaDevAttrConcurrentManagedAccess = 89,
  cudaDevAttrCooperativeLaunch = 95, cudaDevAttrMaxSharedMemoryPerBlockOptin = 97, cudaDevAttrMemoryPoolsSupported = 115
};
struct cudaDeviceProp {
  char name[256];
  size_t totalGlobalMem, sharedMemPerBlock, sharedMemPerBlockOptin, sharedMemPerMultiprocessor, totalConstMem, memPitch;
  int regsPerBlock, regsPerMultiprocessor, warpSize, maxThreadsPerBlock, maxThreadsDim[3], maxGridSize[3];
  int major, minor, clockRate, memoryClockRate, memoryBusWidth, l2CacheSize, multiProcessorCount;
  int maxThreadsPerMultiProcessor, maxBlocksPerMultiProcessor, concurrentKernels, asyncEngineCount, unifiedAddressing;
  int managedMemory, concurrentManagedAccess, pageableMemoryAccess, cooperativeLaunch, canMapHostMemory, integrated;
  int deviceOverlap, computeMode, kernelExecTimeoutEnabled, ECCEnabled, tccDriver, pciBusID, pciDeviceID, pciDomainID;
};
struct cudaFuncAttributes {
  size_t sharedSizeBytes, constSizeBytes, localSizeBytes;
  int maxThreadsPerBlock, numRegs, ptxVersion, binaryVersion, maxDynamicSharedSizeBytes;
};
struct cudaPointerAttributes {
  cudaMemoryType type;
  int device;
  void *devicePointer, *hostPointer;
};
typedef struct CUstream_st *cudaStream_t;
typedef struct CUevent_st *cudaEvent_t;
#define cudaStreamLegacy ((cudaStream_t)1)
#define cudaStreamPerThread ((cudaStream_t)2)
typedef void (*cudaHostFn_t)(void *);
typedef void (*cudaStreamCallback_t)(cudaStream_t, cudaError_t, void *);
enum : unsigned { cudaStreamDefault = 0, cudaStreamNonBlocking = 1, cudaEventDefault = 0, cudaEventBlockingSync = 1 };
enum : unsigned { cudaEventDisableTiming = 2, cudaHostAllocDefault = 0, cudaHostAllocPortable = 1 };
enum : unsigned { cudaHostAllocMapped = 2, cudaHostAllocWriteCombined = 4, cudaHostRegisterDefault = 0 };
enum : unsigned { cudaHostRegisterPortable = 1, cudaHostRegisterMapped = 2, cudaMemAttachGlobal = 1, cudaMemAttachHost = 2 };
enum : unsigned { cudaDeviceScheduleAuto = 0, cudaDeviceScheduleSpin = 1, cudaDeviceMapHost = 8, cudaOccupancyDefault = 0 };
enum { cudaCpuDeviceId = -1, cudaInvalidDeviceId = -2 };
