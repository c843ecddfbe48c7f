// What `kernels/cuda/*.cu` needs of CUDA C++, on a CPU: the files are compiled as they are.
// Built and called by tests/fakes/cuda_shim/module.py; fibres and barriers are in cuda_cpu_fibres.h.
//
// Blocks run one after another. The threads of a block run one after another too, until one has to
// wait for others: from there on each waiting thread keeps a stack of its own (a fibre). So kernels
// without barriers cost a plain loop. What this cannot show: races between warps that run at the
// same time, the memory model, occupancy. The order of threads and blocks can be chosen, which
// finds most missing barriers.
#pragma once

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))

// One block at a time, so `static` is enough. The section lets each block start from garbage; the
// address sanitizer guards only variables outside sections, and is worth more.
#ifdef __SANITIZE_ADDRESS__
#define __shared__ static
#else
#define __shared__ static __attribute__((section("cuda_shared")))
extern "C" char __start_cuda_shared[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_cuda_shared[] __attribute__((weak, visibility("hidden")));
#endif

// Vector types, aligned as on the device.
#define CUDA_CPU_VECTORS(type, name, align1, align2, align4)                                   \
    struct __align__(align2) name##2 { type x, y; };                                           \
    struct __align__(align1) name##3 { type x, y, z; };                                        \
    struct __align__(align4) name##4 { type x, y, z, w; };                                     \
    inline name##2 make_##name##2(type x, type y) { return {x, y}; }                           \
    inline name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; }                \
    inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
CUDA_CPU_VECTORS(signed char, char, 1, 2, 4)
CUDA_CPU_VECTORS(unsigned char, uchar, 1, 2, 4)
CUDA_CPU_VECTORS(short, short, 2, 4, 8)
CUDA_CPU_VECTORS(unsigned short, ushort, 2, 4, 8)
CUDA_CPU_VECTORS(int, int, 4, 8, 16)
CUDA_CPU_VECTORS(unsigned, uint, 4, 8, 16)
CUDA_CPU_VECTORS(float, float, 4, 8, 16)

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

static uint3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;
static const int warpSize = 32;

#include "cuda_cpu_fibres.h"
#include "cuda_cpu_functions.h"

namespace cuda_cpu {

enum Kind { POINTER = 'p', INTEGER = 'i', FLOATING = 'f', STRUCT = 's' };

template <class T>
constexpr int kind_of() {
    return std::is_pointer<T>::value          ? POINTER
           : std::is_floating_point<T>::value ? FLOATING
           : std::is_class<T>::value          ? STRUCT
                                              : INTEGER;
}

// Count, then size in bytes and kind of each parameter.
template <class... T>
struct Parameters {
    static constexpr int table[1 + 2 * sizeof...(T) + 1] = {
        (int)sizeof...(T), (sizeof(T) << 8 | kind_of<T>())..., 0};
};

template <class... T>
const int *parameters(void (*)(T...)) {
    return Parameters<T...>::table;
}

template <class... T, size_t... I>
void call(void (*kernel)(T...), void **args, std::index_sequence<I...>) {
    (void)args;
    kernel(*static_cast<std::remove_const_t<T> *>(args[I])...);
}

// Runs a grid. `shape`: grid x y z, block x y z. `args` as for cuLaunchKernel.
// 0, or 1 with a sentence in `fault`.
template <class... T>
int launch(void (*kernel)(T...), const int *shape, void **args, int order, char *fault, int room) {
    struct Closure {
        void (*kernel)(T...);
        void **args;
    } closure{kernel, args};
    const auto body = [](void *opaque) {
        const Closure *closure = static_cast<Closure *>(opaque);
        call(closure->kernel, closure->args, std::index_sequence_for<T...>{});
    };
    return run_grid(body, &closure, shape, static_cast<Order>(order), fault, room);
}

}  // namespace cuda_cpu

#define CUDA_CPU_ENTRY(name)                                                                   \
    extern "C" __attribute__((visibility("default"))) int cpu_launch_##name(                   \
        const int *shape, void **args, int order, char *fault, int room) {                     \
        return cuda_cpu::launch(name, shape, args, order, fault, room);                        \
    }                                                                                          \
    extern "C" __attribute__((visibility("default"))) const int *cpu_parameters_##name() {     \
        return cuda_cpu::parameters(name);                                                     \
    }
