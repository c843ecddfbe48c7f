// The old background, blurred without the subject bleeding into it.
//
//   result = sum(g w I) / sum(g w),  w = (1 - alpha)^4, g a Gaussian
//
// normalised convolution (Knutsson and Westin, CVPR 1993), at a size reduced by about sigma / 2:
// what is this smooth needs no more samples. The fourth power, because a pixel of the edge shows
// the subject too (figures in the twin). Five kernels:
//   blur_reduce        image -> (w R, w G, w B, w), averaged over area
//   blur_reduce_again  the same from a reduced plane; several times, until the grid is reached
//   blur_spread        a grid of at most 16 x 16 cells: a colour for each, also where no background
//                      is (Shepard, ACM 1968)
//   blur_rows          Gaussian along x
//   blur_columns       Gaussian along y, division; where sum(g w) < 1/64 the grid's colour makes up
//                      the rest
//
// image   any Image
// alpha   (image height, image width) u8, tight: the subject's
// planes between the kernels: (height, width) float4; the result: (height, width, 3) u8
//
// The result stays small; kernels/cuda/composite.py makes it larger while it composites.
//
// Bound by memory in blur_reduce: reads 3 + 1 bytes a source pixel once, writes 16 for each reduced
// one (4 a source pixel at a reduction by 2, 1 at 4). The others work on reduced planes that lie in
// the L2 cache: 16 + 16 bytes a reduced pixel each, and up to 65 float4 from L1.
// A thread makes one reduced pixel, blocks of 32 x 8: rows of a warp are adjacent. No shared
// memory, no barriers: neighbours meet in the L1 cache, and the planes are small.
//
// Launched by kernels/cuda/blur.py. Twin: kernels/reference/blur.py.

#define KNOWN (1.0f / 64.0f)

// Half of a Gaussian; kernels/cuda/blur.py holds the same struct.
struct Half {
    int radius;
    float weight[33];
};

// Samples first..last lie, at least in part, in output sample `at` of a side that shrinks or stays.
struct Part {
    int first, last;
    long long start, end;  // of the output sample, in parts of samples_out
};

__device__ __forceinline__ Part part_of(int at, int samples, int samples_out) {
    const long long start = (long long)at * samples, end = start + samples;
    return {(int)(start / samples_out), (int)((end - 1) / samples_out), start, end};
}

// The share of one of those samples; they sum to 1.
__device__ __forceinline__ float share(Part part, int sample, int samples, int samples_out) {
    const long long left = (long long)sample * samples_out, right = left + samples_out;
    const long long from = left > part.start ? left : part.start;
    const long long to = right < part.end ? right : part.end;
    return (float)(to - from) / (float)samples;
}

__device__ __forceinline__ void add(float4 &sum, float weight, float4 value) {
    sum.x += weight * value.x;
    sum.y += weight * value.y;
    sum.z += weight * value.z;
    sum.w += weight * value.w;
}

extern "C" __global__ void blur_reduce(
    Image image, const u8 *alpha, float4 *target, int width, int height) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    const int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height) return;
    const Part columns = part_of(x, image.width, width), rows = part_of(y, image.height, height);
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    for (int v = rows.first; v <= rows.last; ++v) {
        const float down = share(rows, v, image.height, height);
        const u8 *line = alpha + (long long)v * image.width;
        for (int u = columns.first; u <= columns.last; ++u) {
            const float rest = (float)(255 - line[u]) * (1.0f / 255.0f);
            const float weight =
                down * share(columns, u, image.width, width) * rest * rest * rest * rest;
            const float3 rgb = read_rgb(image, u, v);
            add(sum, weight, make_float4(rgb.x, rgb.y, rgb.z, 1.0f));
        }
    }
    target[(long long)y * width + x] = sum;
}

extern "C" __global__ void blur_reduce_again(
    const float4 *source, int source_width, int source_height, float4 *target, int width,
    int height) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    const int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height) return;
    const Part columns = part_of(x, source_width, width), rows = part_of(y, source_height, height);
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    for (int v = rows.first; v <= rows.last; ++v) {
        const float down = share(rows, v, source_height, height);
        for (int u = columns.first; u <= columns.last; ++u)
            add(sum, down * share(columns, u, source_width, width),
                source[(long long)v * source_width + u]);
    }
    target[(long long)y * width + x] = sum;
}

// One block of a thread per cell.
extern "C" __global__ void blur_spread(const float4 *grid, float4 *target, int width, int height) {
    const int x = threadIdx.x, y = threadIdx.y;
    if (x >= width || y >= height) return;
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    for (int v = 0; v < height; ++v)
        for (int u = 0; u < width; ++u) {
            const float far = (float)(1 + (u - x) * (u - x) + (v - y) * (v - y));
            add(sum, 1.0f / (far * far), grid[v * width + u]);
        }
    const float inverse = sum.w > 0.0f ? 1.0f / sum.w : 0.0f;
    target[y * width + x] =
        make_float4(sum.x * inverse, sum.y * inverse, sum.z * inverse, 0.0f);
}

extern "C" __global__ void blur_rows(
    const float4 *source, float4 *target, int width, int height, Half half) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    const int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height) return;
    const float4 *line = source + (long long)y * width;
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    add(sum, half.weight[0], line[x]);
    for (int i = 1; i <= half.radius; ++i) {  // outside the image nothing is known: it adds nothing
        if (x - i >= 0) add(sum, half.weight[i], line[x - i]);
        if (x + i < width) add(sum, half.weight[i], line[x + i]);
    }
    target[(long long)y * width + x] = sum;
}

// The two cells around a pixel, and the share of the second.
struct Between {
    int first, last;
    float second;
};

__device__ __forceinline__ Between between(int at, int cells, int samples) {
    const long long num = (2LL * at + 1) * cells - samples, den = 2LL * samples;
    if (num <= 0) return {0, 0, 0.0f};
    const int first = (int)(num / den);
    if (first >= cells - 1) return {cells - 1, cells - 1, 0.0f};
    return {first, first + 1, (float)(num - first * den) / (float)den};
}

extern "C" __global__ void blur_columns(
    const float4 *source, const float4 *grid, int grid_width, int grid_height, u8 *target,
    int width, int height, Half half) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    const int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height) return;
    const float4 *column = source + x;
    float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    add(sum, half.weight[0], column[(long long)y * width]);
    for (int i = 1; i <= half.radius; ++i) {
        if (y - i >= 0) add(sum, half.weight[i], column[(long long)(y - i) * width]);
        if (y + i < height) add(sum, half.weight[i], column[(long long)(y + i) * width]);
    }
    const float missing = KNOWN - sum.w;
    if (missing > 0.0f) {
        const Between across = between(x, grid_width, width);
        const Between down = between(y, grid_height, height);
        const float4 *top = grid + down.first * grid_width, *bottom = grid + down.last * grid_width;
        const float right = across.second, low = down.second;
        add(sum, missing * (1.0f - low) * (1.0f - right), top[across.first]);
        add(sum, missing * (1.0f - low) * right, top[across.last]);
        add(sum, missing * low * (1.0f - right), bottom[across.first]);
        add(sum, missing * low * right, bottom[across.last]);
        sum.w = KNOWN;  // the grid's own w is 0
    }
    const float inverse = 1.0f / sum.w;
    u8 *pixel = target + 3 * ((long long)y * width + x);
    pixel[0] = to_u8(sum.x * inverse);
    pixel[1] = to_u8(sum.y * inverse);
    pixel[2] = to_u8(sum.z * inverse);
}
