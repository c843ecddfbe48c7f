// The subject over what lies behind it: nothing, a colour, or a picture of any size.
//
//   alpha   A = a + B (1 - a)
//   colour  C = (a F + (1 - a) B behind) / A,  0 where A is 0
//
// with a the subject's alpha, F its colours, B the alpha of what is behind (Porter and Duff,
// Compositing Digital Images, SIGGRAPH 1984). Behind lies the background's sample, over `color`.
// The background is resized in the same pass, each side by its own weights: the share of area where
// it shrinks, linear between the two nearest where it grows; positions are exact fractions.
//
// foreground  any Image of the canvas' size; its own alpha is not looked at
// alpha       (height, width) u8, tight
// background  any Image of any size; laid at (left, top), scaled to scaled_width x scaled_height,
//             repeated or not
// target      (height, width, 3) u8 where the colour is opaque, else (height, width, 4), tight
//
// Bound by memory: reads 1 + 3 bytes a pixel (RGB8; 4 RGBA8, 1.5 NV12), writes 3 or 4, one pass;
// a background adds its own bytes once (a 3-byte pixel at the canvas' size: 3). A growing
// background costs four samples a pixel from the L1 cache, about 150 instructions: there arithmetic
// weighs as much as memory, or more.
//
// A thread makes four pixels in a row of the flattened canvas, so that three-byte pixels are read
// and written as whole words whatever the width. Blocks of 256: no memory is shared, any size does.
//
// Launched by kernels/cuda/composite.py. Twin: kernels/reference/composite_over.py.

// Red, green, blue in the low bytes of a word each, of four pixels; `at` is a multiple of 4.
__device__ __forceinline__ uint4 read_four(const Image &image, long long at) {
    const u32 *words = (const u32 *)image.plane[0];
    if (image.format == RGBA8)
        return make_uint4(words[at], words[at + 1], words[at + 2], words[at + 3]);
    words += at / 4 * 3;
    const u32 a = words[0], b = words[1], c = words[2];
    return make_uint4(a, a >> 24 | b << 8, b >> 16 | c << 16, c >> 8);
}

__device__ __forceinline__ float3 unpack(u32 word, int format) {
    const float first = word & 255, second = word >> 8 & 255, third = word >> 16 & 255;
    return format == BGR8 ? make_float3(third, second, first) : make_float3(first, second, third);
}

// Whether the pixels lie word by word without gaps between rows.
__device__ __forceinline__ bool is_tight(const Image &image) {
    const int bytes = image.format == RGBA8 ? 4 : 3;
    return image.format <= RGBA8 && image.stride[0] == bytes * image.width
        && ((u64)image.plane[0] & 3) == 0;
}

// Red, green, blue and alpha in the bytes of a word. `behind`: colours times alpha (0..65025),
// alpha (0..255). These numbers are whole for 8-bit colours on a colour: there the result is exact
// but for the division, which matters at ties alone, on a translucent colour.
__device__ __forceinline__ u32 over(float3 front, u32 alpha, float4 behind) {
    const float a = (float)alpha, rest = 255.0f - a;
    const float total = 255.0f * a + rest * behind.w;  // 0..65025
    const float inverse = total > 0.0f ? 1.0f / total : 0.0f;
    const u32 opacity = to_u8(total * (1.0f / 255.0f));
    if (opacity == 0) return 0;
    return (u32)to_u8((255.0f * a * front.x + rest * behind.x) * inverse)
        | (u32)to_u8((255.0f * a * front.y + rest * behind.y) * inverse) << 8
        | (u32)to_u8((255.0f * a * front.z + rest * behind.z) * inverse) << 16
        | opacity << 24;
}

__device__ __forceinline__ void write_four(u8 *target, long long at, int opaque, uint4 p) {
    u32 *words = (u32 *)target;
    if (opaque) {
        words += at / 4 * 3;
        words[0] = (p.x & 0xffffff) | p.y << 24;
        words[1] = (p.y >> 8 & 0xffff) | p.z << 16;
        words[2] = (p.z >> 16 & 0xff) | p.w << 8;
    } else {
        *(uint4 *)(words + at) = p;
    }
}

__device__ __forceinline__ void write_one(u8 *target, long long at, int opaque, u32 pixel) {
    const int bytes = opaque ? 3 : 4;
    for (int i = 0; i < bytes; ++i) target[at * bytes + i] = (u8)(pixel >> 8 * i);
}

// What a pixel of a resized side takes: samples first..last of the side.
struct Taps {
    int first, last;
    float second;  // growing: the share of `last`
};

__device__ __forceinline__ Taps taps_at(int at, int samples, int scaled) {
    // 64 bits: a long thin background that covers a canvas is scaled to millions of rows.
    if (scaled <= samples) {
        const long long start = (long long)at * samples;
        return {(int)(start / scaled), (int)((start + samples - 1) / scaled), 0.0f};
    }
    const long long num = (2LL * at + 1) * samples - scaled, den = 2LL * scaled;
    if (num <= 0) return {0, 0, 0.0f};
    const int first = (int)(num / den);
    if (first >= samples - 1) return {samples - 1, samples - 1, 0.0f};
    return {first, first + 1, (float)(num - first * den) / (float)den};
}

// The share of one of those samples; they sum to 1.
__device__ __forceinline__ float share(Taps taps, int sample, int at, int samples, int scaled) {
    if (scaled > samples) return sample == taps.first ? 1.0f - taps.second : taps.second;
    const long long start = (long long)at * samples, left = (long long)sample * scaled;
    const long long from = left > start ? left : start;
    const long long to = left + scaled < start + samples ? left + scaled : start + samples;
    return (float)(to - from) / (float)samples;
}

// Where a pixel of the canvas falls on a scaled side: -1 outside.
__device__ __forceinline__ int place_on(int at, int scaled, int repeat) {
    if (repeat) return (at % scaled + scaled) % scaled;
    return at >= 0 && at < scaled ? at : -1;
}

struct Canvas {
    int left, top, scaled_width, scaled_height, repeat;
    float4 color;  // times alpha 0..65025, alpha 0..255
};

__device__ __forceinline__ float4 behind_at(
    const Image &image, const Canvas &canvas, int x, int y, Taps rows, int row) {
    const int column = place_on(x - canvas.left, canvas.scaled_width, canvas.repeat);
    if (row < 0 || column < 0) return canvas.color;
    const Taps columns = taps_at(column, image.width, canvas.scaled_width);
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    for (int v = rows.first; v <= rows.last; ++v) {
        const float down = share(rows, v, row, image.height, canvas.scaled_height);
        for (int u = columns.first; u <= columns.last; ++u) {
            const float weight = down * share(columns, u, column, image.width, canvas.scaled_width)
                * (float)read_alpha(image, u, v);
            const float3 rgb = read_rgb(image, u, v);
            sum.x += weight * rgb.x;
            sum.y += weight * rgb.y;
            sum.z += weight * rgb.z;
            sum.w += weight;
        }
    }
    // Exactly 0 over an opaque background, contracted or not: else ties of halves would be broken.
    const float rest = (255.0f - sum.w) * (1.0f / 255.0f);
    return make_float4(
        sum.x + rest * canvas.color.x, sum.y + rest * canvas.color.y,
        sum.z + rest * canvas.color.z, sum.w + rest * canvas.color.w);
}

__device__ __forceinline__ float4 premultiplied(uchar4 color) {
    const float a = (float)color.w;
    return make_float4(a * (float)color.x, a * (float)color.y, a * (float)color.z, a);
}

extern "C" __global__ void composite_color(
    Image foreground, const u8 *alpha, uchar4 color, u8 *target) {
    const int width = foreground.width;
    const long long pixels = (long long)width * foreground.height;
    const long long at = 4 * ((long long)blockIdx.x * 256 + threadIdx.x);
    if (at >= pixels) return;
    const int opaque = color.w == 255;
    const float4 behind = premultiplied(color);
    if (at + 4 <= pixels && is_tight(foreground)) {
        const uint4 front = read_four(foreground, at);
        const u32 alphas = *(const u32 *)(alpha + at);
        const int format = foreground.format;
        write_four(target, at, opaque, make_uint4(
            over(unpack(front.x, format), alphas & 255, behind),
            over(unpack(front.y, format), alphas >> 8 & 255, behind),
            over(unpack(front.z, format), alphas >> 16 & 255, behind),
            over(unpack(front.w, format), alphas >> 24, behind)));
        return;
    }
    int y = (int)(at / width), x = (int)(at - (long long)y * width);
    for (long long i = at; i < at + 4 && i < pixels; ++i) {
        write_one(target, i, opaque, over(read_rgb(foreground, x, y), alpha[i], behind));
        if (++x == width) { x = 0; ++y; }
    }
}

extern "C" __global__ void composite_image(
    Image foreground, const u8 *alpha, Image background, int left, int top, int scaled_width,
    int scaled_height, int repeat, uchar4 color, u8 *target) {
    const int width = foreground.width;
    const long long pixels = (long long)width * foreground.height;
    const long long at = 4 * ((long long)blockIdx.x * 256 + threadIdx.x);
    if (at >= pixels) return;
    const Canvas canvas = {left, top, scaled_width, scaled_height, repeat, premultiplied(color)};
    const bool whole = at + 4 <= pixels, words = whole && is_tight(foreground);
    uint4 front = make_uint4(0, 0, 0, 0), result = front;
    if (words) front = read_four(foreground, at);
    int y = (int)(at / width), x = (int)(at - (long long)y * width);
    int row = -1;
    Taps rows = {0, 0, 0.0f};
    // Rolled up: four copies of the resizing take so many registers that too few threads fit. So
    // the pixels move through the words of `front` and `result` instead of being indexed.
    #pragma unroll 1
    for (int i = 0; i < 4 && at + i < pixels; ++i) {
        if (i == 0 || x == 0) {
            row = place_on(y - top, scaled_height, repeat);
            if (row >= 0) rows = taps_at(row, background.height, scaled_height);
        }
        const float3 rgb =
            words ? unpack(front.x, foreground.format) : read_rgb(foreground, x, y);
        const u32 a = alpha[at + i];
        // Under what is opaque nothing is seen, so nothing is fetched.
        const float4 behind = a == 255 ? make_float4(0.0f, 0.0f, 0.0f, 0.0f)
                                       : behind_at(background, canvas, x, y, rows, row);
        const u32 pixel = over(rgb, a, behind);
        if (!whole) write_one(target, at + i, color.w == 255, pixel);
        front = make_uint4(front.y, front.z, front.w, 0);
        result = make_uint4(result.y, result.z, result.w, pixel);
        if (++x == width) { x = 0; ++y; }
    }
    if (whole) write_four(target, at, color.w == 255, result);
}
