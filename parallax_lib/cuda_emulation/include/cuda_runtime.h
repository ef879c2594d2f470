// CUDA C++ for the host compiler: qualifiers, built-in variables and kernel launches.  The library in runtime.cpp runs
// the threads of a launch one after another on one CPU thread.  parallax_lib/cuda_emulation/rewrite.py rewrites what no header can do:
// <<<...>>>, __shared__ and __device__ variables.
#pragma once
#ifndef CUDACPU
#define CUDACPU 1
#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <algorithm>
#include <cmath>
#include <new>
#include <tuple>
#include <type_traits>
#include <utility>
#include "cudacpu_types.h"

#define __CUDACC__ 1
#define __NVCC__ 1
#define __CUDACC_VER_MAJOR__ 13
#define __CUDACC_VER_MINOR__ 0
#define __CUDA_ARCH__ 900
#define CUDART_VERSION 13000
#define CUDA_VERSION 13000
#define CUDART_CB
#define __host__
#define __device__
#define __global__
#define __constant__
#define __managed__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __builtin_align__(n) __align__(n)
#define __CUDACPU_VARIABLE __attribute__((section("cudacpu_device")))

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
constexpr int warpSize = 32;

extern "C" void __cudaRegisterFunction(const void *kernel, void (*call)(const void *, void **));
extern "C" void __cudaPushCallConfiguration();

namespace cudacpu {
alignas(4096) static char first_page[4096] __CUDACPU_VARIABLE __attribute__((used));

struct Config {
  dim3 grid, block;
  size_t shared;
  cudaStream_t stream;
  bool cooperative = false;
};
struct Work {  // what one thread of a launch does: call(memory)
  void (*call)(void *);
  void (*copy)(void *to, const void *from);
  void (*drop)(void *);
  const void *memory;
  size_t bytes, align;
  const void *kernel;
};
cudaError_t launch(const Config &config, const Work &work);
void *shared(size_t bytes, size_t align);
extern char *dynamic_shared;

template <class T> T &shared_variable() { return *(T *)shared(sizeof(T), alignof(T)); }
template <class T> T &dynamic_variable() { return *(T *)dynamic_shared; }

inline Config config(dim3 grid, dim3 block, size_t shared = 0, cudaStream_t stream = nullptr) {
  return {grid, block, shared, stream};
}

template <class F, class... P> struct Arguments {
  F kernel;
  std::tuple<P...> values;
  void operator()() { std::apply([this](auto &...a) { kernel(a...); }, values); }
};
template <class A> cudaError_t start(const Config &config, const A &arguments, const void *kernel) {
  Work work = {[](void *a) { (*(A *)a)(); },
               [](void *to, const void *from) { new (to) A(*(const A *)from); },
               [](void *a) { ((A *)a)->~A(); },
               &arguments, sizeof(A), alignof(A), kernel};
  __cudaRegisterFunction(nullptr, nullptr);
  return launch(config, work);
}
// kernel<<<...>>>(arguments) of a function with known parameters: arguments convert as in any call
template <class... P> auto on(const Config &config, void (*kernel)(P...)) {
  return [config, kernel](P... a) {
    __cudaPushCallConfiguration();
    start(config, Arguments<void (*)(P...), std::remove_reference_t<P>...>{kernel, {a...}}, (const void *)kernel);
  };
}
// the same where template arguments are deduced: `f` calls the kernel
template <class F> auto deduced(const Config &config, F f) {
  return [config, f](auto... a) {
    __cudaPushCallConfiguration();
    start(config, Arguments<F, decltype(a)...>{f, {a...}}, nullptr);
  };
}
template <class... P, size_t... I>
cudaError_t from_pointers(const Config &config, void (*kernel)(P...), void **a, std::index_sequence<I...>) {
  using All = Arguments<void (*)(P...), std::remove_reference_t<P>...>;
  return start(config, All{kernel, {*(std::remove_reference_t<P> *)a[I]...}}, (const void *)kernel);
}
template <class... P> cudaError_t from_pointers(const Config &config, void (*kernel)(P...), void **a) {
  return from_pointers(config, kernel, a, std::index_sequence_for<P...>());
}
cudaError_t launch_registered(const Config &config, const void *kernel, void **arguments);
extern Config registered_config;
struct Register {  // lets cudaLaunchKernel find the types behind a const void *
  template <class... P> Register(void (*kernel)(P...)) { add(kernel); }
  template <class... P> static void add(void (*kernel)(P...)) {
    __cudaRegisterFunction((const void *)kernel, [](const void *k, void **a) {
      from_pointers(registered_config, (void (*)(P...))k, a);
    });
  }
};
}  // namespace cudacpu

#include "cudacpu_api.h"
#include "cudacpu_device.h"
#endif
