// What an alpha says about its image, as whole numbers that the host turns into the report's.
//
//   statistics += sum of alpha; of alpha > 12: count, sum, sum of squares; of alpha >= 128: its box
//
// Buffers: alpha (height, width) u8, tightly packed, aligned to 4 bytes; statistics, cleared
// before. Integers, so the order of the atomics does not show.
// Work: one thread takes 4 pixels at a time, as one word, and skips a word of zeros; 8 sums go
// through a warp by shuffles, through a block by shared memory, and reach memory once a block. The
// grid is bounded (`launch_shape` in kernels/statistics.py): 512 blocks meet at one cache line, not
// 2,000.
// Bound by: memory, 1 byte read a pixel.
// Block: 256 threads = 8 warps, as many as there are numbers to bring home.
// Launched by `alpha_statistics` in alpha_statistics.py; twin
// `kernels/reference/alpha_statistics.py`.

#include "tally.cuh"

extern "C" __global__ void alpha_statistics(
    const u8 *alpha, Statistics *statistics, int width, int height) {
    Tally tally = {};
    const long long pixels = (long long)width * height, step = 4LL * 256 * gridDim.x;
    for (long long first = 4 * ((long long)blockIdx.x * 256 + threadIdx.x); first < pixels;
         first += step) {
        u32 word = 0;
        if (first + 4 <= pixels)
            word = *reinterpret_cast<const u32 *>(alpha + first);
        else
            for (int i = 0; first + i < pixels; ++i) word |= (u32)alpha[first + i] << 8 * i;
        if (!word) continue;
        int y = (int)(first / width), x = (int)(first - (long long)y * width);
        for (int i = 0; i < 4; ++i, ++x) {
            if (x == width) {
                x = 0;
                ++y;
            }
            tally.add(word >> 8 * i & 255, x, y, width, height);  // past the end alpha is 0
        }
    }
    tally.give(statistics);
}
