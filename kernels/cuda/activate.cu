// The network's raw answer -> alphas, and a flag per image that the answer holds nonsense.
//
//   alpha = clip(f(raw channel), 0, 1);  f: identity, sigmoid, softmax over channels, or
//   (x - min) / (max - min) over the image (identity when that range is at most 1e-6)
//
// Buffers: raw (N, C, h, w), (N, h, w, C) or (N, h, w) of fp32 or fp16; alpha (N, h, w) float in
// [0, 1]; flags u32[N], 0 before, set to 1 when any value of the image, in any channel, is not a
// finite number (its alpha is 0 there, and nobody should use the image); ranges u32[N][2], 0
// before: for minmax only, first filled by `activate_range_*`. Pixel p of channel c of image n is
// raw[n * C * pixels + p * pixel_step + c * channel_step].
// Work: one thread makes 1 pixel; the range kernel takes every (blocks * 256)th pixel per thread.
// Bound by: memory, C * 4 (fp16: 2) bytes read and 4 written a pixel of the network's plane; minmax
// reads once more. At this size (a few 100 kB) it is the launch that counts.
// Block: 256 threads: nothing is shared but the range kernel's 8 warps; grid y: image.
// Launched by `activate` in activate.py; twin `kernels/reference/activate.py`.

constexpr float FLAT = 1e-6f;
enum Activation { NONE = 0, SIGMOID = 1, SOFTMAX = 2, MINMAX = 3 };

struct Axes {
    int pixels, channels, channel;  // of one image; which channel is the subject
    int pixel_step, channel_step;   // elements from one to the next
};

__device__ __forceinline__ float value_of(const float *raw) { return *raw; }
__device__ __forceinline__ float value_of(const u16 *raw) { return from_half(*raw); }

__device__ __forceinline__ bool is_finite(float x) {
    return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u;
}

// Floats as whole numbers of the same order, none of them 0: a range starts as zeroed memory.
__device__ __forceinline__ u32 rank_of(float x) {
    const u32 bits = __float_as_uint(x);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ float of_rank(u32 rank) {
    return __uint_as_float(rank & 0x80000000u ? rank & 0x7fffffffu : ~rank);
}

template <class Element>
__device__ __forceinline__ void range(const Element *raw, u32 *ranges, Axes axes) {
    __shared__ u32 highest[8], lowest[8];  // ranks, the lowest one's complement
    const Element *subject = raw + (long long)blockIdx.y * axes.channels * axes.pixels +
                             (long long)axes.channel * axes.channel_step;
    u32 high = 0, low = 0;
    for (int p = blockIdx.x * 256 + threadIdx.x; p < axes.pixels; p += gridDim.x * 256) {
        const float x = value_of(subject + (long long)p * axes.pixel_step);
        if (!is_finite(x)) continue;
        const u32 rank = rank_of(x);
        high = rank > high ? rank : high;
        low = ~rank > low ? ~rank : low;
    }
    for (int by = 16; by > 0; by /= 2) {
        const u32 other_high = __shfl_xor_sync(0xffffffffu, high, by);
        const u32 other_low = __shfl_xor_sync(0xffffffffu, low, by);
        high = other_high > high ? other_high : high;
        low = other_low > low ? other_low : low;
    }
    if (threadIdx.x % 32 == 0) {
        highest[threadIdx.x / 32] = high;
        lowest[threadIdx.x / 32] = low;
    }
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (int warp = 1; warp < 8; ++warp) {
        high = highest[warp] > high ? highest[warp] : high;
        low = lowest[warp] > low ? lowest[warp] : low;
    }
    atomicMax(ranges + 2 * blockIdx.y, high);
    atomicMax(ranges + 2 * blockIdx.y + 1, low);
}

template <class Element>
__device__ __forceinline__ void activate(
    const Element *raw, float *alpha, u32 *flags, const u32 *ranges, Axes axes, int activation) {
    const int p = blockIdx.x * 256 + threadIdx.x;
    if (p >= axes.pixels) return;
    const Element *pixel = raw + (long long)blockIdx.y * axes.channels * axes.pixels +
                           (long long)p * axes.pixel_step;
    bool finite = true;
    float greatest = 0.0f;
    for (int c = 0; c < axes.channels; ++c) {
        const float one = value_of(pixel + (long long)c * axes.channel_step);
        finite = finite && is_finite(one);
        greatest = c == 0 || one > greatest ? one : greatest;
    }
    float x = value_of(pixel + (long long)axes.channel * axes.channel_step);
    if (activation == SIGMOID) {
        x = 1.0f / (1.0f + expf(-clamp_to(x, -30.0f, 30.0f)));
    } else if (activation == SOFTMAX) {
        float sum = 0.0f;
        for (int c = 0; c < axes.channels; ++c)
            sum += expf(value_of(pixel + (long long)c * axes.channel_step) - greatest);
        x = expf(x - greatest) / sum;
    } else if (activation == MINMAX) {
        const float lowest = of_rank(~ranges[2 * blockIdx.y + 1]);
        const float reach = of_rank(ranges[2 * blockIdx.y]) - lowest;
        if (reach > FLAT) x = (x - lowest) / reach;
    }
    if (!finite) flags[blockIdx.y] = 1;  // whichever thread writes it, it is the same
    alpha[(long long)blockIdx.y * axes.pixels + p] = finite ? clamp_to(x, 0.0f, 1.0f) : 0.0f;
}

extern "C" __global__ void activate_range_fp32(const float *raw, u32 *ranges, Axes axes) {
    range(raw, ranges, axes);
}

extern "C" __global__ void activate_range_fp16(const u16 *raw, u32 *ranges, Axes axes) {
    range(raw, ranges, axes);
}

extern "C" __global__ void activate_fp32(
    const float *raw, float *alpha, u32 *flags, const u32 *ranges, Axes axes, int activation) {
    activate(raw, alpha, flags, ranges, axes, activation);
}

extern "C" __global__ void activate_fp16(
    const u16 *raw, float *alpha, u32 *flags, const u32 *ranges, Axes axes, int activation) {
    activate(raw, alpha, flags, ranges, axes, activation);
}
