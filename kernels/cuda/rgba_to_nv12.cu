// RGB to NV12, for encoders and video pipelines.
//
//   Y  = luma . (R, G, B) + luma_offset                              of each pixel
//   Cb = cb . (R, G, B) + 128,  Cr = cr . (R, G, B) + 128            of the mean of each 2x2 block
//
// all rounded to nearest, 0..255. The matrix comes from the launcher (ITU-R BT.601-7 and BT.709-6,
// video or full range). Chroma sits in the middle of its block, as JPEG and this project's readers
// have it.
//
// image   any Image, even sides; alpha is not looked at: composite first
// luma    height rows of width bytes, luma_stride apart
// chroma  height / 2 rows of width bytes (Cb, Cr, Cb, Cr, ...), chroma_stride apart
//
// Bound by memory: reads 3 bytes a pixel (RGBA8: 4), writes 1.5, one pass.
// A thread makes 4 x 2 pixels: a word of Y in each row and a word of CbCr. Blocks of 32 x 8, so
// that a warp reads 384 adjacent bytes of a row; rows that do not begin at words go byte by byte.
//
// Launched by kernels/cuda/rgba_to_nv12.py. Twin: kernels/reference/rgba_to_nv12.py.

// Rows of the matrix; w is unused. kernels/cuda/rgba_to_nv12.py holds the same struct.
struct Forward {
    float4 luma, cb, cr;
    float luma_offset;
    int unused[3];
};

__device__ __forceinline__ float dot(float4 row, float3 rgb) {
    return row.x * rgb.x + row.y * rgb.y + row.z * rgb.z;
}

struct Pair {
    u32 top, bottom, chroma;  // two bytes each
};

__device__ __forceinline__ Pair convert(
    const Forward &matrix, float3 a, float3 b, float3 c, float3 d) {
    const float3 mean = make_float3(
        0.25f * (a.x + b.x + c.x + d.x), 0.25f * (a.y + b.y + c.y + d.y),
        0.25f * (a.z + b.z + c.z + d.z));
    const float offset = matrix.luma_offset;
    return {
        to_u8(dot(matrix.luma, a) + offset) | (u32)to_u8(dot(matrix.luma, b) + offset) << 8,
        to_u8(dot(matrix.luma, c) + offset) | (u32)to_u8(dot(matrix.luma, d) + offset) << 8,
        to_u8(dot(matrix.cb, mean) + 128.0f) | (u32)to_u8(dot(matrix.cr, mean) + 128.0f) << 8};
}

// Four pixels of a row, each in the low bytes of a word; x is a multiple of 4.
__device__ __forceinline__ uint4 read_four(const Image &image, int x, int y) {
    const u8 *row = image.plane[0] + (long long)y * image.stride[0];
    const u32 *words = (const u32 *)row;
    if (image.format == RGBA8)
        return make_uint4(words[x], words[x + 1], words[x + 2], words[x + 3]);
    words += x / 4 * 3;
    const u32 a = words[0], b = words[1], c = words[2];
    return make_uint4(a, a >> 24 | b << 8, b >> 16 | c << 16, c >> 8);
}

__device__ __forceinline__ float3 unpack(u32 word, int format) {
    const float first = word & 255, second = word >> 8 & 255, third = word >> 16 & 255;
    return format == BGR8 ? make_float3(third, second, first) : make_float3(first, second, third);
}

// Whether rows of pixels, and of what is written, begin at whole words.
__device__ __forceinline__ bool in_words(
    const Image &image, const u8 *luma, int luma_stride, const u8 *chroma, int chroma_stride) {
    const u64 together = (u64)image.plane[0] | (u64)image.stride[0] | (u64)luma | (u64)luma_stride
        | (u64)chroma | (u64)chroma_stride;
    return image.format <= RGBA8 && (together & 3) == 0;
}

extern "C" __global__ void rgba_to_nv12(
    Image image, Forward matrix, u8 *luma, int luma_stride, u8 *chroma, int chroma_stride) {
    const int x = 4 * (blockIdx.x * blockDim.x + threadIdx.x);
    const int y = 2 * (blockIdx.y * blockDim.y + threadIdx.y);
    if (x >= image.width || y >= image.height) return;
    u8 *top = luma + (long long)y * luma_stride + x, *bottom = top + luma_stride;
    u8 *pairs = chroma + (long long)(y / 2) * chroma_stride + x;
    if (x + 4 <= image.width && in_words(image, luma, luma_stride, chroma, chroma_stride)) {
        const int format = image.format;
        const uint4 a = read_four(image, x, y), b = read_four(image, x, y + 1);
        const Pair left = convert(matrix, unpack(a.x, format), unpack(a.y, format),
                                  unpack(b.x, format), unpack(b.y, format));
        const Pair right = convert(matrix, unpack(a.z, format), unpack(a.w, format),
                                   unpack(b.z, format), unpack(b.w, format));
        *(u32 *)top = left.top | right.top << 16;
        *(u32 *)bottom = left.bottom | right.bottom << 16;
        *(u32 *)pairs = left.chroma | right.chroma << 16;
        return;
    }
    for (int i = 0; i < 4 && x + i < image.width; i += 2) {
        const Pair pair = convert(
            matrix, read_rgb(image, x + i, y), read_rgb(image, x + i + 1, y),
            read_rgb(image, x + i, y + 1), read_rgb(image, x + i + 1, y + 1));
        for (int j = 0; j < 2; ++j) {
            top[i + j] = (u8)(pair.top >> 8 * j);
            bottom[i + j] = (u8)(pair.bottom >> 8 * j);
            pairs[i + j] = (u8)(pair.chroma >> 8 * j);
        }
    }
}
