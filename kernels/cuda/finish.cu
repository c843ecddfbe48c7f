// From the network's alpha to the bytes that leave the device: one pass over the full-size image.
//
//   a = round(255 alpha at this pixel), or the given full-size alpha; times the source's own
//   statistics += a (see alpha_statistics.cu)
//   output ALPHA a; CUTOUT (rgb, a), rgb 0 where a is 0; OPAQUE a rgb + (1 - a) color;
//   TRANSLUCENT the same with alpha a + A (1 - a), straight; RGB the picture's own colours
//
// Buffers: image any picture; network the part of the plane that the image covers, or alpha
// (height, width) u8; pixels tightly packed rows of 1, 4, 3, 4, 3 bytes a pixel, aligned to 16
// bytes; alpha_target (height, width) u8, tightly packed, or null; statistics, cleared before, lies
// in the header in front of the pixels, so that one copy to the host brings both; flag: whether the
// network's answer was nonsense, handed on.
// Work: one thread makes 4 pixels at a time, the 4 i-th to 4 i + 3-rd of the whole image whatever
// its rows: 4, 12 or 16 bytes are then aligned words at any width. They are read as words too where
// RGB8, BGR8 or RGBA8 rows are as well placed. Rounding is exact: numerators and denominators are
// whole numbers below 2^24, and a correctly rounded quotient of those never reaches a tie it is
// not.
// Bound by: memory, RGB8 to cutout 3 bytes read and 4 written a pixel (NV12 1.5 and 4, to alpha 0
// and 1); about 50 instructions a pixel are close behind.
// Block: 256 threads; the grid is bounded (`launch_shape` in kernels/statistics.py), each thread
// goes on with its sums, which reach memory once a block.
// Launched by `finish` and `finish_with_alpha` in finish.py; twin `kernels/reference/finish.py`.
// Method of translucent colours: "over" for straight alpha, Porter and Duff, "Compositing Digital
// Images", 1984.

#include "network.cuh"
#include "tally.cuh"

enum Output { ALPHA = 0, CUTOUT = 1, OPAQUE = 2, TRANSLUCENT = 3, RGB = 4 };

struct Color {
    int channel[4];  // red, green, blue, alpha, 0..255
};

// value / 255 rounded to nearest, for 0..65535 (there are no ties: 255 is odd).
__device__ __forceinline__ u32 by_255(u32 value) {
    return (value + 128 + ((value + 128) >> 8)) >> 8;
}

__device__ __forceinline__ u32 swapped(u32 bgr) {
    return (bgr & 0xff00u) | (bgr & 0xffu) << 16 | (bgr >> 16 & 0xffu);
}

// Red, green, blue of 4 pixels from (x, y) on, row after row, in bits 0, 8 and 16 of a word each.
__device__ __forceinline__ void read_four(const Image &image, int x, int y, int count, u32 *rgb) {
    const int size = image.format == RGBA8 ? 4 : 3;
    const u8 *at = image.plane[0] + (long long)y * image.stride[0] + (long long)size * x;
    const bool in_row = count == 4 && x + 4 <= image.width;
    if (in_row && image.format <= BGR8 && ((u64)at & 3) == 0) {
        const u32 *word = reinterpret_cast<const u32 *>(at);
        const u32 a = word[0], b = word[1], c = word[2];
        rgb[0] = a & 0xffffffu;
        rgb[1] = a >> 24 | (b & 0xffffu) << 8;
        rgb[2] = b >> 16 | (c & 0xffu) << 16;
        rgb[3] = c >> 8;
        if (image.format == BGR8)
            for (int i = 0; i < 4; ++i) rgb[i] = swapped(rgb[i]);
        return;
    }
    if (in_row && image.format == RGBA8 && ((u64)at & 15) == 0) {
        const uint4 word = *reinterpret_cast<const uint4 *>(at);
        rgb[0] = word.x & 0xffffffu;
        rgb[1] = word.y & 0xffffffu;
        rgb[2] = word.z & 0xffffffu;
        rgb[3] = word.w & 0xffffffu;
        return;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        if (i >= count) break;
        if (x == image.width) {
            x = 0;
            ++y;
        }
        const float3 color = read_rgb(image, x, y);
        rgb[i] = to_u8(color.x) | (u32)to_u8(color.y) << 8 | (u32)to_u8(color.z) << 16;
        ++x;
    }
}

__device__ __forceinline__ u32 on_opaque(u32 rgb, u32 alpha, const Color &color) {
    u32 result = 0;
    for (int i = 0; i < 3; ++i)
        result |= by_255(alpha * (rgb >> 8 * i & 255) + (255 - alpha) * color.channel[i]) << 8 * i;
    return result;
}

__device__ __forceinline__ u32 on_translucent(u32 rgb, u32 alpha, const Color &color) {
    const u32 front = 255 * alpha, behind = color.channel[3] * (255 - alpha);
    const u32 after = by_255(front + behind);
    if (after == 0) return 0;
    u32 result = after << 24;
    for (int i = 0; i < 3; ++i) {
        const float mixed = (float)(front * (rgb >> 8 * i & 255) + behind * color.channel[i]);
        result |= (u32)rintf(mixed / (float)(front + behind)) << 8 * i;
    }
    return result;
}

// Writes `count` pixels of `size` bytes, the lowest of each word, from pixel `first` on.
__device__ __forceinline__ void write_four(
    u8 *target, long long first, int size, int count, const u32 *word) {
    target += size * first;
    if (count == 4 && size == 1) {
        *reinterpret_cast<u32 *>(target) = word[0] | word[1] << 8 | word[2] << 16 | word[3] << 24;
    } else if (count == 4 && size == 3) {
        u32 *packed = reinterpret_cast<u32 *>(target);
        packed[0] = word[0] | word[1] << 24;
        packed[1] = word[1] >> 8 | word[2] << 16;
        packed[2] = word[2] >> 16 | word[3] << 8;
    } else if (count == 4) {
        *reinterpret_cast<uint4 *>(target) = make_uint4(word[0], word[1], word[2], word[3]);
    } else {
#pragma unroll
        for (int i = 0; i < 3; ++i)
            if (i < count)
                for (int byte = 0; byte < size; ++byte)
                    target[i * size + byte] = (u8)(word[i] >> 8 * byte);
    }
}

// Everything of one image. `Source` gives the alphas 0..255 of up to 4 pixels.
template <class Source>
__device__ __forceinline__ void finish_all(
    const Image &image, Source source, Statistics *statistics, u8 *pixels, u8 *alpha_target,
    int output, const Color &color) {
    const long long total = (long long)image.width * image.height, step = 4LL * 256 * gridDim.x;
    const bool opaque = !image.alpha && image.format != RGBA8;
    Tally tally = {};
    for (long long first = 4 * ((long long)blockIdx.x * 256 + threadIdx.x); first < total;
         first += step) {
        const int count = total - first < 4 ? (int)(total - first) : 4;
        const int y = (int)(first / image.width), x = (int)(first - (long long)y * image.width);
        u32 alpha[4] = {}, word[4] = {};
        source.read(image, first, x, y, count, alpha);
        if (output != ALPHA) read_four(image, x, y, count, word);
        int column = x, row = y;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            if (i >= count) break;
            if (column == image.width) {
                column = 0;
                ++row;
            }
            if (!opaque) alpha[i] = by_255(alpha[i] * read_alpha(image, column, row));
            const u32 a = alpha[i];
            tally.add(a, column, row, image.width, image.height);
            switch (output) {
                case ALPHA: word[i] = a; break;
                case CUTOUT: word[i] = a ? word[i] | a << 24 : 0; break;
                case OPAQUE: word[i] = on_opaque(word[i], a, color); break;
                case TRANSLUCENT: word[i] = on_translucent(word[i], a, color); break;
                default: break;
            }
            ++column;
        }
        const int size = output == ALPHA ? 1 : (output == CUTOUT || output == TRANSLUCENT ? 4 : 3);
        write_four(pixels, first, size, count, word);
        if (alpha_target) write_four(alpha_target, first, 1, count, alpha);
    }
    tally.give(statistics);
}

struct FromNetwork {
    Network network;
    __device__ __forceinline__ void read(
        const Image &image, long long, int x, int y, int count, u32 *alpha) const {
        float alphas[4] = {};
        alphas_of(network, x, y, image.width, image.height, count, alphas);
        for (int i = 0; i < 4; ++i) alpha[i] = to_u8(255.0f * alphas[i]);
    }
};

struct FromAlpha {
    const u8 *alpha_u8;
    __device__ __forceinline__ void read(
        const Image &, long long first, int, int, int count, u32 *alpha) const {
        if (count == 4) {
            const u32 word = *reinterpret_cast<const u32 *>(alpha_u8 + first);
            for (int i = 0; i < 4; ++i) alpha[i] = word >> 8 * i & 255;
        } else {
#pragma unroll
            for (int i = 0; i < 3; ++i)
                if (i < count) alpha[i] = alpha_u8[first + i];
        }
    }
};

extern "C" __global__ void __launch_bounds__(256, 4) finish(
    Image image, Network network, const u32 *flag, Statistics *statistics, u8 *pixels,
    u8 *alpha_target, int output, Color color) {
    if (blockIdx.x == 0 && threadIdx.x == 0) statistics->not_finite = flag ? *flag : 0;
    const FromNetwork source = {network};
    finish_all(image, source, statistics, pixels, alpha_target, output, color);
}

extern "C" __global__ void __launch_bounds__(256, 4) finish_with_alpha(
    Image image, const u8 *alpha, const u32 *flag, Statistics *statistics, u8 *pixels,
    u8 *alpha_target, int output, Color color) {
    if (blockIdx.x == 0 && threadIdx.x == 0) statistics->not_finite = flag ? *flag : 0;
    const FromAlpha source = {alpha};
    finish_all(image, source, statistics, pixels, alpha_target, output, color);
}
