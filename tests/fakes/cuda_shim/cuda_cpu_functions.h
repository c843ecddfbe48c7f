// CUDA's built-in functions on a CPU, as far as kernels use them; add what a new kernel needs.
#pragma once

// Barriers carry their place, so that a fault names the kernel's own file and line.
#define __syncthreads() ::cuda_cpu::sync_block(__FILE__, __LINE__, 0)
#define __syncthreads_count(p) ::cuda_cpu::block_count(__FILE__, __LINE__, p)
#define __syncthreads_or(p) (::cuda_cpu::block_count(__FILE__, __LINE__, p) != 0)
#define __syncthreads_and(p) ::cuda_cpu::block_and(__FILE__, __LINE__, p)
#define __syncwarp(...) ::cuda_cpu::sync_warp(__FILE__, __LINE__, ##__VA_ARGS__)
#define __shfl_sync(...) ::cuda_cpu::shuffle(__FILE__, __LINE__, __VA_ARGS__)
#define __shfl_up_sync(...) ::cuda_cpu::shuffle_up(__FILE__, __LINE__, __VA_ARGS__)
#define __shfl_down_sync(...) ::cuda_cpu::shuffle_down(__FILE__, __LINE__, __VA_ARGS__)
#define __shfl_xor_sync(...) ::cuda_cpu::shuffle_xor(__FILE__, __LINE__, __VA_ARGS__)
#define __ballot_sync(mask, p) ::cuda_cpu::ballot(__FILE__, __LINE__, mask, p)
#define __any_sync(mask, p) (::cuda_cpu::ballot(__FILE__, __LINE__, mask, p) != 0)
#define __all_sync(mask, p) (::cuda_cpu::ballot(__FILE__, __LINE__, mask, p) == (unsigned)(mask))

inline void __threadfence() {}
inline void __threadfence_block() {}

template <class T>
inline T __ldg(const T *address) {
    return *address;
}

// Only one thread runs at any moment, and it is never interrupted here.
#define CUDA_CPU_ATOMICS(T)                                                                    \
    inline T atomicAdd(T *at, T value) { T old = *at; *at = old + value; return old; }         \
    inline T atomicExch(T *at, T value) { T old = *at; *at = value; return old; }
#define CUDA_CPU_WHOLE_ATOMICS(T)                                                              \
    CUDA_CPU_ATOMICS(T)                                                                        \
    inline T atomicMax(T *at, T value) { T old = *at; if (value > old) *at = value; return old; } \
    inline T atomicMin(T *at, T value) { T old = *at; if (value < old) *at = value; return old; } \
    inline T atomicOr(T *at, T value) { T old = *at; *at = old | value; return old; }          \
    inline T atomicAnd(T *at, T value) { T old = *at; *at = old & value; return old; }         \
    inline T atomicCAS(T *at, T compare, T value) {                                            \
        T old = *at;                                                                           \
        if (old == compare) *at = value;                                                       \
        return old;                                                                            \
    }
CUDA_CPU_WHOLE_ATOMICS(int)
CUDA_CPU_WHOLE_ATOMICS(unsigned)
CUDA_CPU_WHOLE_ATOMICS(unsigned long long)
CUDA_CPU_ATOMICS(float)

#define CUDA_CPU_MIN_MAX(A, B, T)                                                              \
    inline T min(A a, B b) { return (T)a < (T)b ? (T)a : (T)b; }                               \
    inline T max(A a, B b) { return (T)a > (T)b ? (T)a : (T)b; }
CUDA_CPU_MIN_MAX(int, int, int)
CUDA_CPU_MIN_MAX(unsigned, unsigned, unsigned)
CUDA_CPU_MIN_MAX(int, unsigned, unsigned)
CUDA_CPU_MIN_MAX(unsigned, int, unsigned)
CUDA_CPU_MIN_MAX(long long, long long, long long)
CUDA_CPU_MIN_MAX(unsigned long long, unsigned long long, unsigned long long)
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }

// The C library declares these names for itself, so macros. The device's are less exact.
#define __expf(x) expf(x)
#define __logf(x) logf(x)
#define __log2f(x) log2f(x)
#define __powf(x, y) powf(x, y)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)

inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }

// Rounded once each and never contracted: the volatile keeps -ffp-contract=fast from fusing them.
inline float __fmul_rn(float a, float b) { volatile float r = a * b; return r; }
inline float __fadd_rn(float a, float b) { volatile float r = a + b; return r; }
inline float __fsub_rn(float a, float b) { volatile float r = a - b; return r; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }

inline int __float2int_rn(float x) { return (int)rintf(x); }
inline int __float2int_rd(float x) { return (int)floorf(x); }
inline int __float2int_ru(float x) { return (int)ceilf(x); }
inline int __float2int_rz(float x) { return (int)x; }
inline unsigned __float2uint_rn(float x) { return (unsigned)rintf(x); }
inline float __int2float_rn(int x) { return (float)x; }
inline float __uint2float_rn(unsigned x) { return (float)x; }

template <class To, class From>
inline To cuda_cpu_bits(From value) {
    static_assert(sizeof(To) == sizeof(From), "bits of another width");
    To bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
inline int __float_as_int(float x) { return cuda_cpu_bits<int>(x); }
inline unsigned __float_as_uint(float x) { return cuda_cpu_bits<unsigned>(x); }
inline float __int_as_float(int x) { return cuda_cpu_bits<float>(x); }
inline float __uint_as_float(unsigned x) { return cuda_cpu_bits<float>(x); }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
inline int __mulhi(int a, int b) { return (int)((int64_t)a * b >> 32); }

// Halves, which `kernels/cuda/prelude.cuh` reads and writes as their bits.
inline unsigned short cuda_cpu_half_bits(float x) {
    return cuda_cpu_bits<unsigned short>((_Float16)x);
}
inline float cuda_cpu_from_half(unsigned short bits) {
    return (float)cuda_cpu_bits<_Float16>(bits);
}
