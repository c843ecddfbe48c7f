// Takes the cast of a green or blue screen out of a picture's colours.
//
// s is the screen's channel, p and q the other two, all 0..255:
//   limit   = max(p, q)  or  (p + q) / 2
//   removed = strength * max(s - limit, 0)
//   s -= removed;  then r, g and b each += keep * removed, so that luma stays (keep = weight of s)
// Buffers: image any format of the prelude; target (height, width, 3) u8 RGB, tightly packed. They
// may be the same memory where image is such a picture: a thread reads and writes its own pixels.
// Work: one thread takes 4 pixels of a row, as three 4-byte loads and stores where the addresses
// allow it (every row when the width is a multiple of 4), else byte by byte.
// Bound by: memory, 3 bytes read (1.5 of NV12) and 3 written a pixel, one pass.
// Block: 32 x 8 threads = 128 x 8 pixels: each row of a block is whole 128-byte lines.
// Launched by `despill` in despill.py; twin `kernels/reference/despill.py`.
// Method: the despill of compositing programs, "limit the screen's channel by the others".

__device__ __forceinline__ bool in_words(const void *address) { return ((u64)address & 3) == 0; }

// Colours of 4 pixels in r, g, b order; `count` of them lie in the picture.
__device__ __forceinline__ void read_four(const Image &image, int x, int y, int count,
                                          float colour[4][3]) {
    const u8 *row = image.plane[0] + (long long)y * image.stride[0] + 3 * x;
    const bool packed = image.format == RGB8 || image.format == BGR8;
    if (packed && count == 4 && in_words(row)) {
        const u32 *words = reinterpret_cast<const u32 *>(row);
        const u32 word[3] = {words[0], words[1], words[2]};
#pragma unroll
        for (int i = 0; i < 12; ++i) {
            const float sample = (float)(word[i / 4] >> 8 * (i % 4) & 255);
            if (image.format == RGB8) colour[i / 3][i % 3] = sample;
            else colour[i / 3][2 - i % 3] = sample;
        }
        return;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        if (i >= count) break;
        const float3 rgb = read_rgb(image, x + i, y);
        colour[i][0] = rgb.x, colour[i][1] = rgb.y, colour[i][2] = rgb.z;
    }
}

__device__ __forceinline__ void write_four(u8 *target, int count, const float colour[4][3]) {
    if (count == 4 && in_words(target)) {
        u32 word[3] = {0, 0, 0};
#pragma unroll
        for (int i = 0; i < 12; ++i)
            word[i / 4] |= (u32)to_u8(colour[i / 3][i % 3]) << 8 * (i % 4);
        u32 *words = reinterpret_cast<u32 *>(target);
        words[0] = word[0], words[1] = word[1], words[2] = word[2];
        return;
    }
#pragma unroll
    for (int i = 0; i < 12; ++i)
        if (i < 3 * count) target[i] = to_u8(colour[i / 3][i % 3]);
}

extern "C" __global__ void despill(Image image, u8 *target, int blue, int average, float strength,
                                   float keep) {
    const int x = 4 * (blockIdx.x * 32 + threadIdx.x), y = blockIdx.y * 8 + threadIdx.y;
    if (x >= image.width || y >= image.height) return;
    const int count = min(4, image.width - x);
    float colour[4][3] = {};
    read_four(image, x, y, count, colour);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const float r = colour[i][0], other = blue ? colour[i][1] : colour[i][2];
        const float screen = blue ? colour[i][2] : colour[i][1];
        const float limit = average ? 0.5f * (r + other) : fmaxf(r, other);
        const float removed = strength * fmaxf(screen - limit, 0.0f);
        const float back = keep * removed;
        colour[i][0] = r + back;
        colour[i][1] = colour[i][1] - (blue ? 0.0f : removed) + back;
        colour[i][2] = colour[i][2] - (blue ? removed : 0.0f) + back;
    }
    write_four(target + 3 * ((long long)y * image.width + x), count, colour);
}
