// Put in front of every kernel file by the loader: the types that all of them share, and how a
// pixel is read out of any picture. `kernels/image.py` is the host's side of these structs.
// No headers: NVRTC, nvcc and g++ (through the tests' shim) all take this text as it is.

typedef unsigned char u8;
typedef unsigned short u16;  // also the bits of a half
typedef unsigned int u32;
typedef unsigned long long u64;

enum PixelFormat { RGB8 = 0, BGR8 = 1, RGBA8 = 2, NV12 = 3, I420 = 4, GRAY8 = 5 };

// A picture in device memory.
struct Image {
    const u8 *plane[3];  // RGB8, BGR8, RGBA8, GRAY8: one; NV12: Y, CbCr; I420: Y, Cb, Cr
    const u8 *alpha;     // (height, width) or null: how opaque the source itself is
    int stride[3];       // bytes from row to row of each plane
    int alpha_stride;
    int width, height;   // pixels
    int format;          // PixelFormat
    float luma_scale, luma_offset;      // Y' = (Y - luma_offset) * luma_scale
    float cr_to_r, cb_to_g, cr_to_g, cb_to_b;  // from (Cr - 128) and (Cb - 128)
    int unused;          // keeps the size a multiple of 8
};

// One image of a batch: the picture, and the part of the network's plane that it covers.
struct Job {
    Image image;
    int left, top, width, height;  // pixels of the plane
};

__device__ __forceinline__ float clamp_to(float value, float low, float high) {
    return value < low ? low : (value > high ? high : value);
}

// Red, green, blue of one pixel, 0..255; chroma is repeated for its 2x2 block, as the CPU path does.
__device__ __forceinline__ float3 read_rgb(const Image &image, int x, int y) {
    const u8 *row = image.plane[0] + (long long)y * image.stride[0];
    switch (image.format) {
        case RGB8: return make_float3(row[3 * x], row[3 * x + 1], row[3 * x + 2]);
        case BGR8: return make_float3(row[3 * x + 2], row[3 * x + 1], row[3 * x]);
        case RGBA8: return make_float3(row[4 * x], row[4 * x + 1], row[4 * x + 2]);
        case GRAY8: return make_float3(row[x], row[x], row[x]);
        default: break;
    }
    const int at = y / 2;
    float cb, cr;
    if (image.format == NV12) {
        const u8 *pair = image.plane[1] + (long long)at * image.stride[1] + (x & ~1);
        cb = (float)pair[0] - 128.0f;
        cr = (float)pair[1] - 128.0f;
    } else {
        cb = (float)image.plane[1][(long long)at * image.stride[1] + x / 2] - 128.0f;
        cr = (float)image.plane[2][(long long)at * image.stride[2] + x / 2] - 128.0f;
    }
    const float luma = ((float)row[x] - image.luma_offset) * image.luma_scale;
    return make_float3(
        clamp_to(luma + image.cr_to_r * cr, 0.0f, 255.0f),
        clamp_to(luma + image.cb_to_g * cb + image.cr_to_g * cr, 0.0f, 255.0f),
        clamp_to(luma + image.cb_to_b * cb, 0.0f, 255.0f));
}

// How opaque the source itself is at one pixel, 0..255.
__device__ __forceinline__ u8 read_alpha(const Image &image, int x, int y) {
    if (image.alpha) return image.alpha[(long long)y * image.alpha_stride + x];
    if (image.format == RGBA8) return image.plane[0][(long long)y * image.stride[0] + 4 * x + 3];
    return 255;
}

// 0..255 rounded to nearest, ties to even, as NumPy and OpenCV round.
__device__ __forceinline__ u8 to_u8(float value) {
    return (u8)rintf(clamp_to(value, 0.0f, 255.0f));
}

// The bits of the half nearest to a value, ties to even. One instruction on a GPU, without a header.
__device__ __forceinline__ u16 half_bits(float value) {
#ifdef __CUDA_ARCH__
    u16 bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
#else
    return cuda_cpu_half_bits(value);
#endif
}

// The value of a half's bits.
__device__ __forceinline__ float from_half(u16 bits) {
#ifdef __CUDA_ARCH__
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
#else
    return cuda_cpu_from_half(bits);
#endif
}
