// Blurs an alpha by a Gaussian of any standard deviation from 0 to 100 pixels.
//
//   target = sum over (i, j) of g(i) g(j) alpha(y + i, x + j),  g(i) ~ exp(-i i / (2 sigma sigma))
//   with the border pixels going on for ever beyond the picture's edges
//
// Below sigma 4 one kernel does it (feather_tile). From there on the grid is made coarser, blurred
// by what is left of sigma, and a quadratic B-spline through it gives the pixels (feather_grow):
//   fine cells    means of scale / 2 x scale / 2 pixels (feather_shrink); the pixels at scale 2
//   coarse cells  (1, 3, 3, 1) / 8 of the fine ones, each way, as feather_halve_* reads its tile;
//                 so smooth a step hides where the cells lie, which plain means would not
// Each step widens by a known variance: ((scale / 2)^2 - 1) / 12, 3 scale^2 / 16 and scale^2 / 4.
// The rest of sigma^2 is the blur's: 1.8 to 4 coarse cells, a reach of 16, whatever was asked.
// `plan` in feather.py does that sum.
//
// Buffers: alpha, target (height, width) u8, tightly packed; cells (rows, columns) u16 in 1/256 of
// a level. Cells have a ring of one around those that cover the picture, made of the border pixels
// going on, so that repeating the outermost fine cell is exact.
// Bound by: memory at sigma >= 8: 2 bytes a pixel (1 read, 1 written) + 20 / scale^2 for the cells.
// At sigma 4..8: 3 (alpha, cells out, cells in, target). Below 4: 2, of which the read one is
// shared by up to 4 blocks through L2; there the 2 (2 radius + 1) multiplications count as well.
// Blocks: 32 x 8 threads. Tiles are 32 x 32 results, 4 a thread: 17 KB of shared memory, so that 8
// blocks fill an SM. In the horizontal pass lanes lie along y, in the vertical one along x, and
// both pitches are odd in words: no two lanes meet in a bank.
// Launched by `feather` in feather.py; twin `kernels/reference/feather.py`.

#define REACH 16  // the largest radius, in feather.py as well
#define TILE 32
#define SIDE (TILE + 2 * REACH)

struct Weights {
    float at[REACH + 1];  // of the centre and of one side; centre + 2 * side = 1
};

__device__ __forceinline__ void store(u8 *target, float value) { *target = to_u8(value); }
__device__ __forceinline__ void store(u16 *target, float value) {
    *target = (u16)rintf(clamp_to(value, 0.0f, 65535.0f));
}
__device__ __forceinline__ int inside(int value, int count) {
    return value < 0 ? 0 : (value < count ? value : count - 1);
}

// A sample of the tile: the pixel itself.
struct Pixels {
    const u8 *source;
    int width, height;
    __device__ __forceinline__ u16 at(int x, int y) const {
        return source[(long long)inside(y, height) * width + inside(x, width)];
    }
};

// A sample of the tile: a coarse cell made of 4 x 4 fine ones, of which the middle 2 x 2 are its
// own.
template <class Fine>
struct Halved {
    const Fine *source;
    int width, height, ring;
    int level;  // of the fine samples, in 1/256
    __device__ __forceinline__ u16 at(int x, int y) const {
        const int left = 2 * (x - 1) + ring - 1, top = 2 * (y - 1) + ring - 1;
        int sum = 0;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const Fine *row = source + (long long)inside(top + i, height) * width;
            const int outer = row[inside(left, width)] + row[inside(left + 3, width)];
            const int inner = row[inside(left + 1, width)] + row[inside(left + 2, width)];
            sum += (outer + 3 * inner) * (i == 0 || i == 3 ? 1 : 3);
        }
        return (u16)((sum * level + 32) / 64);
    }
};

template <class Source, class Sample>
__device__ __forceinline__ void blur_tile(const Source &source, Sample *target, int width,
                                          int height, int radius, const Weights &weights) {
    __shared__ u16 tile[SIDE][SIDE + 2];
    __shared__ float blurred[SIDE][TILE + 1];  // along x
    const int left = blockIdx.x * TILE, top = blockIdx.y * TILE, side = TILE + 2 * radius;
    for (int y = threadIdx.y; y < side; y += 8)
        for (int x = threadIdx.x; x < side; x += 32)
            tile[y][x] = source.at(left + x - radius, top + y - radius);
    __syncthreads();
    // Each thread slides a window of 4 along its row: a sample is read once for 4 results.
    for (int i = threadIdx.y * 32 + threadIdx.x; i < SIDE * TILE / 4; i += 256) {
        const int y = i % SIDE, x = i / SIDE * 4;
        if (y >= side) continue;
        float a = tile[y][x], b = tile[y][x + 1], c = tile[y][x + 2], d;
        float sum[4] = {};
        for (int tap = 0; tap <= 2 * radius; ++tap) {
            const float weight = weights.at[tap < radius ? radius - tap : tap - radius];
            d = tile[y][x + tap + 3];
            sum[0] += weight * a, sum[1] += weight * b, sum[2] += weight * c, sum[3] += weight * d;
            a = b, b = c, c = d;
        }
#pragma unroll
        for (int k = 0; k < 4; ++k) blurred[y][x + k] = sum[k];
    }
    __syncthreads();
    const int first = 4 * threadIdx.y, x = left + threadIdx.x;
    float a = blurred[first][threadIdx.x], b = blurred[first + 1][threadIdx.x];
    float c = blurred[first + 2][threadIdx.x], d;
    float sum[4] = {};
    for (int tap = 0; tap <= 2 * radius; ++tap) {
        const float weight = weights.at[tap < radius ? radius - tap : tap - radius];
        d = blurred[first + tap + 3][threadIdx.x];
        sum[0] += weight * a, sum[1] += weight * b, sum[2] += weight * c, sum[3] += weight * d;
        a = b, b = c, c = d;
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        const int y = top + first + k;
        if (x < width && y < height) store(target + (long long)y * width + x, sum[k]);
    }
}

extern "C" __global__ void feather_tile(const u8 *alpha, u8 *target, int width, int height,
                                        int radius, Weights weights) {
    blur_tile(Pixels{alpha, width, height}, target, width, height, radius, weights);
}

extern "C" __global__ void feather_halve_u8(const u8 *alpha, int alpha_w, int alpha_h, u16 *cells,
                                            int cells_w, int cells_h, int radius,
                                            Weights weights) {
    blur_tile(Halved<u8>{alpha, alpha_w, alpha_h, 0, 256}, cells, cells_w, cells_h, radius,
              weights);
}

extern "C" __global__ void feather_halve_u16(const u16 *fine, int fine_w, int fine_h, u16 *cells,
                                             int cells_w, int cells_h, int radius,
                                             Weights weights) {
    blur_tile(Halved<u16>{fine, fine_w, fine_h, 1, 1}, cells, cells_w, cells_h, radius, weights);
}

// A lane adds up 4 columns (2 + 2 of them at scale 2), neighbouring lanes make a cell.
extern "C" __global__ void feather_shrink(const u8 *alpha, u16 *cells, int width, int height,
                                          int scale, int cells_w, int cells_h) {
    const int ring = scale < 4 ? 4 : scale;  // pixels left of the picture, where lanes begin
    const int x = 4 * (blockIdx.x * 32 + threadIdx.x) - ring;
    const int cell_y = blockIdx.y * 8 + threadIdx.y;
    if (cell_y >= cells_h) return;  // whole warps
    u32 sum = 0, right = 0;
    for (int i = 0; i < scale; ++i) {
        const u8 *row = alpha + (long long)inside((cell_y - 1) * scale + i, height) * width;
        u32 word;
        if (x >= 0 && x + 4 <= width && ((u64)(row + x) & 3) == 0)
            word = *reinterpret_cast<const u32 *>(row + x);
        else
            word = row[inside(x, width)] | (u32)row[inside(x + 1, width)] << 8 |
                   (u32)row[inside(x + 2, width)] << 16 | (u32)row[inside(x + 3, width)] << 24;
        sum += (word & 255) + (word >> 8 & 255);
        right += (word >> 16 & 255) + (word >> 24);
    }
    const float level = 256.0f / (float)(scale * scale);
    const int lanes = scale / 4;  // of a cell
    int cell_x = (x + ring) / scale - ring / scale + 1;
    u16 *row = cells + (long long)cell_y * cells_w;
    if (scale == 2) {
        if (cell_x >= 0 && cell_x < cells_w) store(row + cell_x, level * sum);
        if (cell_x + 1 < cells_w) store(row + cell_x + 1, level * right);
        return;
    }
    sum += right;
    for (int step = 1; step < lanes; step *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    if (threadIdx.x % lanes == 0 && cell_x < cells_w) store(row + cell_x, level * sum);
}

// Quadratic B-spline: weights of the cell before, of the one the pixel lies in, of the one after.
__device__ __forceinline__ float3 spline(int at, int scale) {
    const float t = (float)(2 * at + 1 - scale) / (float)(2 * scale);  // from the cell's centre
    return make_float3(0.5f * (0.5f - t) * (0.5f - t), 0.75f - t * t,
                       0.5f * (0.5f + t) * (0.5f + t));
}

// One thread makes 4 pixels of a row, which lie in one cell, or in two at scale 2.
extern "C" __global__ void feather_grow(const u16 *cells, u8 *target, int width, int height,
                                        int scale, int cells_w) {
    const int x = 4 * (blockIdx.x * 32 + threadIdx.x), y = blockIdx.y * 8 + threadIdx.y;
    if (x >= width || y >= height) return;
    const float3 down = spline(y % scale, scale);
    const int column = x / scale;  // of the cell before x's own: the ring shifts by one
    const u16 *row = cells + (long long)(y / scale) * cells_w + column;
    float across[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        if (column + i >= cells_w) { across[i] = 0.0f; continue; }
        across[i] = down.x * row[i] + down.y * row[cells_w + i] + down.z * row[2 * cells_w + i];
    }
    u8 made[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const float3 weight = spline((x + i) % scale, scale);
        const bool second = scale == 2 && i >= 2;
        const float value = weight.x * (second ? across[1] : across[0]) +
                            weight.y * (second ? across[2] : across[1]) +
                            weight.z * (second ? across[3] : across[2]);
        made[i] = to_u8(value * (1.0f / 256.0f));
    }
    u8 *out = target + (long long)y * width + x;
    if (x + 4 <= width && ((u64)out & 3) == 0) {
        *reinterpret_cast<u32 *>(out) =
            made[0] | (u32)made[1] << 8 | (u32)made[2] << 16 | (u32)made[3] << 24;
        return;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i)
        if (x + i < width) out[i] = made[i];
}
