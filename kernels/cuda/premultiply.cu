// Colours times alpha, and back.
//
//   premultiply    c' = round(c a / 255); never a tie: 2 c a is even, 255 (2 k + 1) is odd
//   unpremultiply  c  = min(255, round(255 c' / a)), 0 where a is 0; ties up
//
// source, target  (pixels, 4) u8: red, green, blue, alpha; they may be the same
//
// Whole-number arithmetic: no tolerance anywhere. Going there and back is not lossless: colours
// keep about log2(a) bits (Porter and Duff, Compositing Digital Images, 1984).
//
// Bound by memory: reads 4 bytes a pixel, writes 4. A thread does four pixels, 16 bytes, so that
// enough is under way to fill the memory's pipe. Blocks of 256.
//
// Launched by kernels/cuda/premultiply.py. Twin: kernels/reference/premultiply.py.

struct Multiply {
    static __device__ __forceinline__ u32 one(u32 color, u32 alpha) {
        const u32 t = color * alpha + 128;
        return (t + (t >> 8)) >> 8;  // exactly round(c a / 255) for 0..255 each
    }
};

struct Divide {
    static __device__ __forceinline__ u32 one(u32 color, u32 alpha) {
        if (alpha == 0) return 0;
        const u32 value = (510 * color + alpha) / (2 * alpha);
        return value < 255 ? value : 255;
    }
};

template <class Change>
__device__ __forceinline__ u32 changed(u32 pixel) {
    const u32 alpha = pixel >> 24;
    return Change::one(pixel & 255, alpha) | Change::one(pixel >> 8 & 255, alpha) << 8
        | Change::one(pixel >> 16 & 255, alpha) << 16 | alpha << 24;
}

template <class Change>
__device__ __forceinline__ void change_four(const u8 *source, u8 *target, int pixels) {
    const long long at = 4 * ((long long)blockIdx.x * blockDim.x + threadIdx.x);
    if (at + 4 <= pixels) {
        const uint4 in = *(const uint4 *)(source + 4 * at);
        *(uint4 *)(target + 4 * at) = make_uint4(
            changed<Change>(in.x), changed<Change>(in.y), changed<Change>(in.z),
            changed<Change>(in.w));
        return;
    }
    for (long long i = at; i < pixels; ++i)
        ((u32 *)target)[i] = changed<Change>(((const u32 *)source)[i]);
}

extern "C" __global__ void premultiply(const u8 *source, u8 *target, int pixels) {
    change_four<Multiply>(source, target, pixels);
}

extern "C" __global__ void unpremultiply(const u8 *source, u8 *target, int pixels) {
    change_four<Divide>(source, target, pixels);
}
