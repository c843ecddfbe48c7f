// Grows (or shrinks) the subject of an alpha by a distance in pixels: one step of at most 15.
//
//   grown  = (1 - fraction) * max over disc(n) + fraction * max over disc(n + 1)
//   disc(n) = offsets (dx, dy) with dx^2 + dy^2 <= n^2 + n / 2
// shrinking is growing of 255 - alpha. A soft ramp is moved by n + fraction and keeps its slope;
// the n / 2 makes small discs rounder: their edge deviates by -0.4 to +0.25 pixels over all
// directions, against -0.7 to 0 without. Longer ways are made of several steps (see `steps` in
// shift.py), as a disc of discs is a disc.
//
// Buffers: alpha, target (height, width) u8, tightly packed, not the same memory. Pixels outside
// the picture take no part; as the nearest border pixel is in the disc, repeating it does the same.
// Work: a block loads 32 x 32 pixels and what lies within reach. All alike, as most are: it writes
// that value. Else running maxima over 1, 2, 4, 8, 16 pixels to the right are made of each row, and
// the maximum over any row of a disc is the larger of two of them.
// Bound by: memory away from edges: 1 byte written, 1 read, shared through L2 by up to 4 blocks.
// At edges by shared memory: 2 (2 n + 1) look-ups a pixel, twice that with a fraction.
// Block: 32 x 8 threads, 4 pixels each, one below the other; lanes lie along x, so look-ups of a
// warp fall into neighbouring words. 20 KB of shared memory.
// Launched by `shift` in shift.py; twin `kernels/reference/shift.py`.
// Method: flat grey-scale dilation (Serra 1982); powers of two for the rows as in sparse tables.

#define REACH 15  // the largest radius, in shift.py as well
#define TILE 32
#define SIDE (TILE + 2 * REACH)
#define LEVELS 5  // 2^4 <= 2 * REACH + 1 < 2^5

// Rows of the discs n and n + 1: so many pixels lie to each side of the centre in row 0, 1, ...
// Whole words: the compiler copies bytes that a loop picks out of a parameter to the stack.
struct Discs {
    int half[32];  // 16 of each
};

__device__ __forceinline__ int inside(int value, int count) {
    return value < 0 ? 0 : (value < count ? value : count - 1);
}

extern "C" __global__ void shift_step(const u8 *alpha, u8 *target, int width, int height,
                                      Discs discs, int radius, float fraction, int invert) {
    __shared__ u8 runs[LEVELS][SIDE][SIDE + 2];  // [k][y][x]: maximum of x .. x + 2^k - 1
    const bool between = fraction > 0.0f;
    const int reach = between ? radius + 1 : radius;
    const int side = TILE + 2 * reach;
    const int left = blockIdx.x * TILE, top = blockIdx.y * TILE;
    const u8 first = alpha[(long long)top * width + left];
    int differs = 0;
    for (int y = threadIdx.y; y < side; y += 8) {
        const u8 *row = alpha + (long long)inside(top + y - reach, height) * width;
        for (int x = threadIdx.x; x < side; x += 32) {
            const u8 value = row[inside(left + x - reach, width)];
            differs |= value ^ first;
            runs[0][y][x] = value ^ invert;
        }
    }
    if (!__syncthreads_or(differs)) {
        for (int y = top + threadIdx.y; y < top + TILE; y += 8)
            if (left + threadIdx.x < width && y < height)
                target[(long long)y * width + left + threadIdx.x] = first;
        return;
    }
    for (int k = 1; 1 << k <= 2 * reach + 1; ++k) {
        const int half = 1 << (k - 1);
        for (int y = threadIdx.y; y < side; y += 8)
            for (int x = threadIdx.x; x + 2 * half <= side; x += 32)
                runs[k][y][x] = max((int)runs[k - 1][y][x], (int)runs[k - 1][y][x + half]);
        __syncthreads();
    }
    int most[2][4] = {};
#pragma unroll  // else `most` would lie in local memory
    for (int disc = 0; disc < 2; ++disc) {
        if (disc == 1 && !between) break;
        for (int dy = -radius - disc; dy <= radius + disc; ++dy) {
            const int half = discs.half[16 * disc + (dy < 0 ? -dy : dy)];
            const int k = 31 - __clz(2 * half + 1);
            const int x = threadIdx.x + reach - half, second = x + 2 * half + 1 - (1 << k);
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const u8 *row = runs[k][threadIdx.y + 8 * i + reach + dy];
                const int larger = max((int)row[x], (int)row[second]);
                most[disc][i] = max(most[disc][i], larger);
            }
        }
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const int x = left + threadIdx.x, y = top + threadIdx.y + 8 * i;
        if (x >= width || y >= height) continue;
        const float near = (float)most[0][i];
        const float grown = between ? near + fraction * ((float)most[1][i] - near) : near;
        target[(long long)y * width + x] = to_u8(grown) ^ invert;
    }
}
