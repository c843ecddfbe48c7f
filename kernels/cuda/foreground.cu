// The subject's own colours: takes the old background out of edge pixels.
//
// A pixel is I = a F + (1 - a) B, a = alpha / 255. Two rounds, coarse and fine, each with local
// means weighted by alpha and by what alpha leaves:
//   F~ = sum(a F) / sum(a),  B~ = sum((1 - a) B) / sum(1 - a)
//   F  = clip(F~ + a (I - a F~ - (1 - a) B~))
// Coarse: F = B = I, sums over cells of cell x cell pixels, then over (2 COARSE + 1)^2 cells cut at
// the picture's edges, spread to the pixels bilinearly. Fine: F and B~ of the coarse round, over
// (2 FINE + 1)^2 pixels. Where a sum of weights is 0, I stands for the mean.
//   target = I + strength * (F - I) where 0 < alpha < 255, else I
//
// Buffers: image any format of the prelude; alpha (height, width) u8, tightly packed; subject and
// behind (cells_h, cells_w) float4, sums of a r, a g, a b, a and of the rest, alpha as 0..255;
// target (height, width, 3) u8 RGB, or 4: RGBA with 0 0 0 0 where alpha is 0. Not in place: a
// pixel's neighbours are read.
// Bound by: memory. foreground_cells reads 4 bytes a pixel, foreground_copy 3 or 4 and writes 3 or
// 4, foreground_band reads 1; the cells move 160 / cell^2, 2.5 at cell 8.
// In all 13.5 bytes a pixel (RGB; RGBA 15.5). Only blocks that hold a part of the band go on from there; they are bound by their
// arithmetic (2 x 13 x 7 additions a pixel, and the coarse means of 784), but few in a picture.
// Blocks: foreground_band 16 x 16 threads, a pixel each, 35 KB of shared memory; foreground_copy
// 32 x 8 threads of 4 pixels, as words where addresses allow it; the others one thread a cell.
// Launched by `foreground` in foreground.py; twin `kernels/reference/foreground.py`.
// Method: Forte, Pitie, "Approximate Fast Foreground Colour Estimation" (ICIP 2021), its two blurs.

#define COARSE 11  // cells
#define FINE 6     // pixels
#define TILE 16
#define SIDE (TILE + 2 * FINE)
#define SUMS 7  // a F (3), a, (1 - a) B (3)

extern "C" __global__ void foreground_cells(Image image, const u8 *alpha, float4 *subject,
                                            float4 *behind, int cell, int cells_w, int cells_h) {
    const int cell_x = blockIdx.x * 32 + threadIdx.x, cell_y = blockIdx.y * 8 + threadIdx.y;
    if (cell_x >= cells_w || cell_y >= cells_h) return;
    const int right = min(image.width, (cell_x + 1) * cell);
    const int bottom = min(image.height, (cell_y + 1) * cell);
    float4 in = make_float4(0.0f, 0.0f, 0.0f, 0.0f), out = in;
    for (int y = cell_y * cell; y < bottom; ++y)
        for (int x = cell_x * cell; x < right; ++x) {
            const float3 rgb = read_rgb(image, x, y);
            const float a = alpha[(long long)y * image.width + x], rest = 255.0f - a;
            in.x += a * rgb.x, in.y += a * rgb.y, in.z += a * rgb.z, in.w += a;
            out.x += rest * rgb.x, out.y += rest * rgb.y, out.z += rest * rgb.z, out.w += rest;
        }
    subject[(long long)cell_y * cells_w + cell_x] = in;
    behind[(long long)cell_y * cells_w + cell_x] = out;
}

// Sums along one side; `step` is 1 along rows and cells_w along columns. Planes of both lie one
// after the other, blockIdx.z picks one.
extern "C" __global__ void foreground_sum(const float4 *cells, float4 *sums, int cells_w,
                                          int cells_h, int vertical) {
    const int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 8 + threadIdx.y;
    if (x >= cells_w || y >= cells_h) return;
    const long long plane = (long long)blockIdx.z * cells_w * cells_h;
    const int at = vertical ? y : x, size = vertical ? cells_h : cells_w;
    const int step = vertical ? cells_w : 1;
    const float4 *line = cells + plane + (vertical ? (long long)x : (long long)y * cells_w);
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    for (int i = max(0, at - COARSE); i <= min(size - 1, at + COARSE); ++i) {
        const float4 one = line[(long long)i * step];
        sum.x += one.x, sum.y += one.y, sum.z += one.z, sum.w += one.w;
    }
    sums[plane + (long long)y * cells_w + x] = sum;
}

extern "C" __global__ void foreground_copy(Image image, const u8 *alpha, u8 *target,
                                           int channels) {
    const int x = 4 * (blockIdx.x * 32 + threadIdx.x), y = blockIdx.y * 8 + threadIdx.y;
    if (x >= image.width || y >= image.height) return;
    const int count = min(4, image.width - x);
    const u8 *row = image.plane[0] + (long long)y * image.stride[0] + 3 * x;
    const long long pixel = (long long)y * image.width + x;
    u8 *out = target + channels * pixel;
    const bool words = count == 4 && (((u64)row | (u64)out) & 3) == 0;
    if (channels == 3) {
        if (words && image.format == RGB8) {
            for (int i = 0; i < 3; ++i)
                reinterpret_cast<u32 *>(out)[i] = reinterpret_cast<const u32 *>(row)[i];
            return;
        }
        for (int i = 0; i < count; ++i) {
            const float3 rgb = read_rgb(image, x + i, y);
            out[3 * i] = to_u8(rgb.x), out[3 * i + 1] = to_u8(rgb.y), out[3 * i + 2] = to_u8(rgb.z);
        }
        return;
    }
    for (int i = 0; i < count; ++i) {
        const u32 a = alpha[pixel + i];
        const float3 rgb = read_rgb(image, x + i, y);
        uchar4 one = make_uchar4(0, 0, 0, 0);
        if (a) one = make_uchar4(to_u8(rgb.x), to_u8(rgb.y), to_u8(rgb.z), (u8)a);
        reinterpret_cast<uchar4 *>(out)[i] = one;  // RGBA rows always begin at a word
    }
}

// The two cells between whose centres a pixel lies, and the share of the second.
struct Between {
    int first, second;
    float share;
};

__device__ __forceinline__ Between between(int pixel, int cell, int cells) {
    const int at = 2 * pixel + 1 - cell, span = 2 * cell;
    if (at < 0) return {0, 0, 0.0f};
    const int first = at / span;
    return {first, min(first + 1, cells - 1), (float)(at - first * span) / (float)span};
}

// Mean of the coarse round at a pixel; `own` where nothing has weight.
__device__ __forceinline__ float3 coarse_mean(const float4 *sums, int cells_w,
                                              const Between &across, const Between &down,
                                              float3 own) {
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const float weight = (i / 2 ? down.share : 1.0f - down.share) *
                             (i % 2 ? across.share : 1.0f - across.share);
        const float4 one = sums[(long long)(i / 2 ? down.second : down.first) * cells_w +
                                (i % 2 ? across.second : across.first)];
        sum.x += weight * one.x, sum.y += weight * one.y, sum.z += weight * one.z;
        sum.w += weight * one.w;
    }
    if (sum.w <= 0.0f) return own;
    return make_float3(sum.x / sum.w, sum.y / sum.w, sum.z / sum.w);
}

__device__ __forceinline__ float unmixed(float own, float a, float subject, float behind) {
    return clamp_to(subject + a * (own - a * subject - (1.0f - a) * behind), 0.0f, 255.0f);
}

extern "C" __global__ void foreground_band(Image image, const u8 *alpha, const float4 *subject,
                                           const float4 *behind, u8 *target, int channels,
                                           int cell, int cells_w, int cells_h, float strength) {
    __shared__ float tile[SUMS][SIDE * SIDE];
    __shared__ float across[SUMS][SIDE * TILE];
    const int width = image.width, height = image.height;
    const int x = blockIdx.x * TILE + threadIdx.x, y = blockIdx.y * TILE + threadIdx.y;
    const bool inside = x < width && y < height;
    const int level = inside ? alpha[(long long)y * width + x] : 0;
    const bool band = level > 0 && level < 255;
    if (!__syncthreads_or(band)) return;
    const int thread = threadIdx.y * TILE + threadIdx.x;
    for (int i = thread; i < SIDE * SIDE; i += TILE * TILE) {
        const int px = blockIdx.x * TILE - FINE + i % SIDE;
        const int py = blockIdx.y * TILE - FINE + i / SIDE;
        float3 in = make_float3(0.0f, 0.0f, 0.0f), out = in;
        float weight = 0.0f;
        if (px >= 0 && py >= 0 && px < width && py < height) {
            weight = alpha[(long long)py * width + px];
            const float a = weight / 255.0f, rest = 255.0f - weight;
            const float3 own = read_rgb(image, px, py);
            const Between columns = between(px, cell, cells_w), rows = between(py, cell, cells_h);
            in = coarse_mean(subject, cells_w, columns, rows, own);
            out = coarse_mean(behind, cells_w, columns, rows, own);
            in.x = weight * unmixed(own.x, a, in.x, out.x);
            in.y = weight * unmixed(own.y, a, in.y, out.y);
            in.z = weight * unmixed(own.z, a, in.z, out.z);
            out.x *= rest, out.y *= rest, out.z *= rest;
        }
        tile[0][i] = in.x, tile[1][i] = in.y, tile[2][i] = in.z, tile[3][i] = weight;
        tile[4][i] = out.x, tile[5][i] = out.y, tile[6][i] = out.z;
    }
    __syncthreads();
    for (int i = thread; i < SIDE * TILE; i += TILE * TILE) {
        const int first = i / TILE * SIDE + i % TILE;
#pragma unroll
        for (int k = 0; k < SUMS; ++k) {
            float sum = 0.0f;
            for (int tap = 0; tap <= 2 * FINE; ++tap) sum += tile[k][first + tap];
            across[k][i] = sum;
        }
    }
    __syncthreads();
    if (!band) return;
    float sum[SUMS];
#pragma unroll
    for (int k = 0; k < SUMS; ++k) {
        sum[k] = 0.0f;
        for (int tap = 0; tap <= 2 * FINE; ++tap)
            sum[k] += across[k][(threadIdx.y + tap) * TILE + threadIdx.x];
    }
    const int columns = min(width - 1, x + FINE) - max(0, x - FINE) + 1;
    const int rows = min(height - 1, y + FINE) - max(0, y - FINE) + 1;
    // Whole numbers, and neither is 0: this pixel is part of both.
    const float in = sum[3], out = 255.0f * (float)(columns * rows) - sum[3];
    const float a = (float)level / 255.0f;
    const float3 own = read_rgb(image, x, y);
    u8 *to = target + channels * ((long long)y * width + x);
    to[0] = to_u8(own.x + strength * (unmixed(own.x, a, sum[0] / in, sum[4] / out) - own.x));
    to[1] = to_u8(own.y + strength * (unmixed(own.y, a, sum[1] / in, sum[5] / out) - own.y));
    to[2] = to_u8(own.z + strength * (unmixed(own.z, a, sum[2] / in, sum[6] / out) - own.z));
}
