// Refines an alpha's edges by the picture: guided filter with a colour guide, at reduced scale.
//
// The picture I (r, g, b) and the alpha p are averaged over cells of scale x scale pixels. In every
// window w of (2 radius + 1)^2 cells, cut at the picture's edges:
//   a = (cov_w(I) + 255^2 epsilon E)^-1 cov_w(I, p),  b = mean_w(p) - a . mean_w(I)
//   sure = min(1, 16 m (1 - m)), m = mean_w(p) / 255    how much of an edge the window holds
// sure * a, sure * b and sure are averaged over the same windows and spread to the pixels
// bilinearly (A, B, S):
//   refined = clip(((A . I + B) / S - 255 contrast) / (1 - 2 contrast))
//   target = S * refined + (1 - S) * alpha
// Where a window is flat, sure is 0: pixels that have no edge within 2 radius + 1 cells keep their
// alpha exactly, 0 and 255 too. Near edges the weighting keeps the picture's texture out of the
// subject's inside. The stretch takes back what fitting a line to a soft alpha costs: both sides of
// the edge come out of the fit as haze, about 0.1 and 0.9.
//
// Colour, not grey: on four generated scenes (dark, skin, low-contrast and same-grey subjects with
// hair over textured backgrounds, 960 x 540, alpha from a 320 x 320 network) the mean error in the
// edge band is 23.8 levels before. With scale 4, radius 2, epsilon 1e-4 the plain filter leaves
// 28.0 by grey and 21.0 by colour; the stretch by 0.1 brings the latter to 12.8.
//
// Buffers: image any format of the prelude; alpha, target (height, width) u8, tightly packed, which
// may be the same memory; cells (cells_h, cells_w) u32, r | g << 8 | b << 16 | p << 24; line
// (cells_h, cells_w) float4 a.r, a.g, a.b, b; sure (cells_h, cells_w) float.
// Bound by: memory, four passes. guided_cells reads 4 bytes a pixel (2.5 of NV12); guided_apply
// reads 4 and writes 1; what lies between moves 88 / scale^2, 5.5 at scale 4.
// In all 14.5 bytes a pixel.
// Blocks: 16 x 16 cells with 16 x 16 threads: 31 KB and 31 KB of shared memory. Sums are separable.
// All sums of guided_lines are whole numbers, so that a flat window's covariance is exactly 0.
// Launched by `guided_refine` in guided_refine.py; twin `kernels/reference/guided_refine.py`.
// Method: He, Sun, Tang, "Guided Image Filtering" (2010), and He, Sun, "Fast Guided Filter" (2015);
// the weighting is ours.

#define REACH 8  // the largest radius, in guided_refine.py as well
#define TILE 16
#define SIDE (TILE + 2 * REACH)
#define SUMS 13  // r g b p, rp gp bp, rr rg rb gg gb bb

// Extent of a window along one side: [first, first + count).
struct Extent {
    int first, count;
};

__device__ __forceinline__ Extent extent(int at, int radius, int size) {
    const int first = max(0, at - radius), last = min(size - 1, at + radius);
    return {first, last - first + 1};
}

extern "C" __global__ void guided_cells(Image image, const u8 *alpha, u32 *cells, int scale,
                                        int cells_w, int cells_h) {
    const int cell_x = blockIdx.x * 32 + threadIdx.x, cell_y = blockIdx.y * 8 + threadIdx.y;
    if (cell_x >= cells_w || cell_y >= cells_h) return;
    const int right = min(image.width, (cell_x + 1) * scale);
    const int bottom = min(image.height, (cell_y + 1) * scale);
    float r = 0, g = 0, b = 0, p = 0;
    for (int y = cell_y * scale; y < bottom; ++y)
        for (int x = cell_x * scale; x < right; ++x) {
            const float3 rgb = read_rgb(image, x, y);
            r += rgb.x, g += rgb.y, b += rgb.z;
            p += alpha[(long long)y * image.width + x];
        }
    const float pixels = (float)((right - cell_x * scale) * (bottom - cell_y * scale));
    cells[(long long)cell_y * cells_w + cell_x] = to_u8(r / pixels) | to_u8(g / pixels) << 8 |
                                                  to_u8(b / pixels) << 16 |
                                                  (u32)to_u8(p / pixels) << 24;
}

// x of S x = c for a symmetric positive S, by its LDL' factors.
__device__ __forceinline__ float3 solve(float rr, float rg, float rb, float gg, float gb, float bb,
                                        float3 c) {
    const float l1 = rg / rr, l2 = rb / rr;
    const float d1 = gg - l1 * rg, e = gb - l1 * rb;
    const float l3 = e / d1, d2 = bb - l2 * rb - l3 * e;
    const float y1 = c.y - l1 * c.x, y2 = c.z - l2 * c.x - l3 * y1;
    const float z = y2 / d2, y = y1 / d1 - l3 * z;
    return make_float3(c.x / rr - l1 * y - l2 * z, y, z);
}

extern "C" __global__ void guided_lines(const u32 *cells, float4 *line, float *sures, int cells_w,
                                        int cells_h, int radius, float epsilon) {
    __shared__ u32 tile[SIDE][SIDE + 1];
    __shared__ int across[SUMS][SIDE][TILE];
    const int left = blockIdx.x * TILE - radius, top = blockIdx.y * TILE - radius;
    const int side = TILE + 2 * radius;
    for (int y = threadIdx.y; y < side; y += TILE)
        for (int x = threadIdx.x; x < side; x += TILE) {
            const int cx = left + x, cy = top + y;
            const bool inside = cx >= 0 && cy >= 0 && cx < cells_w && cy < cells_h;
            tile[y][x] = inside ? cells[(long long)cy * cells_w + cx] : 0;  // adds nothing
        }
    __syncthreads();
    for (int y = threadIdx.y; y < side; y += TILE) {
        int sum[SUMS] = {};
        for (int i = 0; i <= 2 * radius; ++i) {
            const u32 cell = tile[y][threadIdx.x + i];
            const int r = cell & 255, g = cell >> 8 & 255, b = cell >> 16 & 255, p = cell >> 24;
            sum[0] += r, sum[1] += g, sum[2] += b, sum[3] += p;
            sum[4] += r * p, sum[5] += g * p, sum[6] += b * p;
            sum[7] += r * r, sum[8] += r * g, sum[9] += r * b;
            sum[10] += g * g, sum[11] += g * b, sum[12] += b * b;
        }
#pragma unroll
        for (int k = 0; k < SUMS; ++k) across[k][y][threadIdx.x] = sum[k];
    }
    __syncthreads();
    const int x = blockIdx.x * TILE + threadIdx.x, y = blockIdx.y * TILE + threadIdx.y;
    if (x >= cells_w || y >= cells_h) return;
    int s[SUMS] = {};
    for (int i = 0; i <= 2 * radius; ++i)
#pragma unroll
        for (int k = 0; k < SUMS; ++k) s[k] += across[k][threadIdx.y + i][threadIdx.x];
    const int n = extent(x, radius, cells_w).count * extent(y, radius, cells_h).count;
    const float scale = 1.0f / (float)(n * n);
    // n * n times the covariance, a whole number past 32 bits.
    const auto cov = [&](int product, int first, int second) {
        return scale * (float)((long long)n * s[product] - (long long)s[first] * s[second]);
    };
    const float ridge = 65025.0f * epsilon;
    const float3 a = solve(cov(7, 0, 0) + ridge, cov(8, 0, 1), cov(9, 0, 2), cov(10, 1, 1) + ridge,
                           cov(11, 1, 2), cov(12, 2, 2) + ridge,
                           make_float3(cov(4, 0, 3), cov(5, 1, 3), cov(6, 2, 3)));
    const float inverse = 1.0f / (float)n, most = 255.0f * (float)n;
    const float b = inverse * ((float)s[3] - a.x * s[0] - a.y * s[1] - a.z * s[2]);
    const float sure = fminf(1.0f, 16.0f * ((float)s[3] / most) * ((most - (float)s[3]) / most));
    const long long at = (long long)y * cells_w + x;
    line[at] = make_float4(sure * a.x, sure * a.y, sure * a.z, sure * b);
    sures[at] = sure;
}

extern "C" __global__ void guided_mean(const float4 *line, const float *sure, float4 *mean_line,
                                       float *mean_sure, int cells_w, int cells_h, int radius) {
    __shared__ float4 tile[SIDE][SIDE];
    __shared__ float tile_sure[SIDE][SIDE + 1];
    __shared__ float4 across[SIDE][TILE];
    __shared__ float across_sure[SIDE][TILE];
    const int left = blockIdx.x * TILE - radius, top = blockIdx.y * TILE - radius;
    const int side = TILE + 2 * radius;
    for (int y = threadIdx.y; y < side; y += TILE)
        for (int x = threadIdx.x; x < side; x += TILE) {
            const int cx = left + x, cy = top + y;
            const bool inside = cx >= 0 && cy >= 0 && cx < cells_w && cy < cells_h;
            const long long at = (long long)cy * cells_w + cx;
            tile[y][x] = inside ? line[at] : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            tile_sure[y][x] = inside ? sure[at] : 0.0f;
        }
    __syncthreads();
    for (int y = threadIdx.y; y < side; y += TILE) {
        float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        float sum_sure = 0.0f;
        for (int i = 0; i <= 2 * radius; ++i) {
            const float4 one = tile[y][threadIdx.x + i];
            sum.x += one.x, sum.y += one.y, sum.z += one.z, sum.w += one.w;
            sum_sure += tile_sure[y][threadIdx.x + i];
        }
        across[y][threadIdx.x] = sum;
        across_sure[y][threadIdx.x] = sum_sure;
    }
    __syncthreads();
    const int x = blockIdx.x * TILE + threadIdx.x, y = blockIdx.y * TILE + threadIdx.y;
    if (x >= cells_w || y >= cells_h) return;
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    float sum_sure = 0.0f;
    for (int i = 0; i <= 2 * radius; ++i) {
        const float4 one = across[threadIdx.y + i][threadIdx.x];
        sum.x += one.x, sum.y += one.y, sum.z += one.z, sum.w += one.w;
        sum_sure += across_sure[threadIdx.y + i][threadIdx.x];
    }
    const float n = (float)(extent(x, radius, cells_w).count * extent(y, radius, cells_h).count);
    const long long at = (long long)y * cells_w + x;
    mean_line[at] = make_float4(sum.x / n, sum.y / n, sum.z / n, sum.w / n);
    mean_sure[at] = sum_sure / n;
}

// The two cells between whose centres a pixel lies, and the share of the second.
struct Between {
    int first, second;
    float share;
};

__device__ __forceinline__ Between between(int pixel, int scale, int cells) {
    const int at = 2 * pixel + 1 - scale, span = 2 * scale;
    if (at < 0) return {0, 0, 0.0f};
    const int first = at / span;
    return {first, min(first + 1, cells - 1), (float)(at - first * span) / (float)span};
}

extern "C" __global__ void guided_apply(Image image, const u8 *alpha, const float4 *line,
                                        const float *sures, u8 *target, int scale, int cells_w,
                                        int cells_h, float contrast) {
    const int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 8 + threadIdx.y;
    if (x >= image.width || y >= image.height) return;
    const long long pixel = (long long)y * image.width + x;
    const Between across = between(x, scale, cells_w), down = between(y, scale, cells_h);
    const int row[2] = {down.first * cells_w, down.second * cells_w};
    const float down_share[2] = {1.0f - down.share, down.share};
    const float3 rgb = read_rgb(image, x, y);
    const float before = (float)alpha[pixel];
    float value = 0.0f, sure = 0.0f;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const int at = row[i / 2] + (i % 2 ? across.second : across.first);
        const float weight = down_share[i / 2] * (i % 2 ? across.share : 1.0f - across.share);
        const float4 one = line[at];
        value += weight * (one.x * rgb.x + one.y * rgb.y + one.z * rgb.z + one.w);
        sure += weight * sures[at];
    }
    if (sure <= 0.0f) {
        target[pixel] = alpha[pixel];
        return;
    }
    const float stretched = (value / sure - 255.0f * contrast) / (1.0f - 2.0f * contrast);
    target[pixel] = to_u8(before + sure * (clamp_to(stretched, 0.0f, 255.0f) - before));
}
