// Pictures of any size and layout -> one batch of the network's input, in one pass.
//
//   target[n] = (resized(source n, composited on white) / 255 - mean) / std
//   0 outside the job's rectangle
//
// Each axis: output sample o is the mean of the source over a box of max(1, s) samples around (o +
// 1/2) s, s = source samples / output samples. For s >= 1 that is the area average; for s < 1 the
// same formula is bilinear interpolation, since a box one sample wide laid over the samples' own
// boxes gives weights 1 - |distance|. At the ends the box stays inside the source. Box and overlaps
// are integers (unit: 1 / (2 outputs) of a source sample), so no weight is ever rounded and no
// position depends on how the compiler contracts; it needs source * output samples < 2^30.
//
// Buffers: jobs Job[batch] in device memory (so a captured graph serves every image size; a job
// whose image has width 0 is padding of the batch and gives zeros); target (batch, 3, height,
// width) or (batch, height, width, 3) of fp32 or fp16.
// Work: a block makes 32 x 2 output pixels. It walks over the source columns under them, 128 at a
// time: every thread adds up one column of one output row's box (neighbouring threads read
// neighbouring pixels), and from these sums in shared memory each output value adds up its own
// columns. Few output pixels (320 x 320 for a 1080p frame) thus keep 4 threads each busy: 1600
// blocks at batch 1, and a long box costs loop turns, not idle lanes. Column sums of whole bytes
// are whole numbers, exact in float while the source has fewer than 32,896 rows.
// Bound by: memory, when shrinking: every source byte once from DRAM (3 a pixel, 1.5 for NV12; rows
// that two output rows share come from cache), 12 or 6 bytes written per output pixel.
// Block: 256 threads = 128 columns x 2 rows, at most 80 registers, so that an SM holds three; grid
// x, y: tiles of the plane, z: image of the batch.
// Launched by `resize_normalise` in resize_normalise.py; twin
// `kernels/reference/resize_normalise.py`.
// Method: area (box) resampling with bilinear growth, as OpenCV's INTER_AREA and INTER_LINEAR
// define it; the common form of both is worked out above.

constexpr int THREADS = 256;
constexpr int COLUMNS = 128;  // source columns at a time
constexpr int TILE_WIDTH = 32, TILE_HEIGHT = THREADS / COLUMNS;

#include "box.cuh"

// The box of an output sample; an empty one where there is no such output sample.
__device__ __forceinline__ Box box_or_none(int output, int samples, int outputs) {
    if (output < 0 || output >= outputs) return {0, 0, 0, 0, 0};
    return box_of(output, samples, outputs);
}

// One column of a box, composited on white: sum of overlap * (red, green, blue).
template <int FORMAT>
__device__ __forceinline__ float3 column_sum(const Image &picture, int x, const Box &rows) {
    Image image = picture;
    image.format = FORMAT;  // known to the compiler: no choice per pixel
    const bool opaque = FORMAT != RGBA8 && !image.alpha;
    float3 sum = make_float3(0.0f, 0.0f, 0.0f);
#pragma unroll 4  // loads of four rows under way at once
    for (int y = rows.first; y <= rows.last; ++y) {
        const float weight = (float)rows.overlap(y);
        float3 rgb = read_rgb(image, x, y);
        if (!opaque) {
            const float share = (float)read_alpha(image, x, y) / 255.0f;
            rgb.x = fmaf(share, rgb.x - 255.0f, 255.0f);
            rgb.y = fmaf(share, rgb.y - 255.0f, 255.0f);
            rgb.z = fmaf(share, rgb.z - 255.0f, 255.0f);
        }
        sum.x = fmaf(weight, rgb.x, sum.x);
        sum.y = fmaf(weight, rgb.y, sum.y);
        sum.z = fmaf(weight, rgb.z, sum.z);
    }
    return sum;
}

__device__ __forceinline__ float3 any_column_sum(const Image &image, int x, const Box &rows) {
    switch (image.format) {
        case RGB8: return column_sum<RGB8>(image, x, rows);
        case BGR8: return column_sum<BGR8>(image, x, rows);
        case RGBA8: return column_sum<RGBA8>(image, x, rows);
        case NV12: return column_sum<NV12>(image, x, rows);
        case I420: return column_sum<I420>(image, x, rows);
        default: return column_sum<GRAY8>(image, x, rows);
    }
}

__device__ __forceinline__ void store(float *target, float value) { *target = value; }
__device__ __forceinline__ void store(u16 *target, float value) { *target = half_bits(value); }

template <bool CHANNELS_LAST, class Element>
__device__ __forceinline__ void resize_normalise(
    const Job *jobs, Element *target, int width, int height, float3 scale, float3 shift,
    int reversed) {
    constexpr int VALUES = 3 * TILE_WIDTH * TILE_HEIGHT;  // of the tile; fewer than threads
    __shared__ float sums[3][TILE_HEIGHT][COLUMNS];
    // In shared memory because in every thread's registers they would halve the threads of an SM.
    __shared__ Job job;
    __shared__ Box columns[TILE_WIDTH], rows[TILE_HEIGHT];
    const int thread = threadIdx.x;
    if (thread < (int)(sizeof(Job) / sizeof(u32)))
        reinterpret_cast<u32 *>(&job)[thread] =
            reinterpret_cast<const u32 *>(jobs + blockIdx.z)[thread];
    __syncthreads();

    // The part of the tile that the image covers: output columns left..right - 1 of the image.
    const int tile_left = blockIdx.x * TILE_WIDTH - job.left;
    const int tile_top = blockIdx.y * TILE_HEIGHT - job.top;
    const int left = tile_left > 0 ? tile_left : 0;
    const int right = tile_left + TILE_WIDTH < job.width ? tile_left + TILE_WIDTH : job.width;
    const bool any = job.image.width > 0 && left < right && tile_top < job.height &&
                     tile_top + TILE_HEIGHT > 0;  // the same for the whole block
    if (any && thread < TILE_WIDTH)
        columns[thread] = box_or_none(tile_left + thread, job.image.width, job.width);
    else if (any && thread < TILE_WIDTH + TILE_HEIGHT)
        rows[thread - TILE_WIDTH] =
            box_or_none(tile_top + thread - TILE_WIDTH, job.image.height, job.height);
    __syncthreads();

    // The value of the tile that this thread writes: neighbouring threads, neighbours in memory.
    const int value = thread;
    const int channel = CHANNELS_LAST ? value % 3 : value / (TILE_WIDTH * TILE_HEIGHT);
    const int pixel = CHANNELS_LAST ? value / 3 : value % (TILE_WIDTH * TILE_HEIGHT);
    const int column = pixel % TILE_WIDTH, row = pixel / TILE_WIDTH;
    float mean = 0.0f;  // of this value, 0..255
    if (any) {
        const int first = columns[left - tile_left].first;
        const int last = columns[right - 1 - tile_left].last;
        for (int start = first; start <= last; start += COLUMNS) {
            const int x = start + thread % COLUMNS;
            if (x <= last && !rows[thread / COLUMNS].empty()) {
                const float3 sum = any_column_sum(job.image, x, rows[thread / COLUMNS]);
                sums[0][thread / COLUMNS][thread % COLUMNS] = sum.x;
                sums[1][thread / COLUMNS][thread % COLUMNS] = sum.y;
                sums[2][thread / COLUMNS][thread % COLUMNS] = sum.z;
            }
            __syncthreads();
            if (value < VALUES && !columns[column].empty() && !rows[row].empty()) {
                const Box box = columns[column];
                const int from = box.first > start ? box.first : start;
                const int to = box.last < start + COLUMNS - 1 ? box.last : start + COLUMNS - 1;
                for (int i = from; i <= to; ++i)
                    mean = fmaf((float)box.overlap(i), sums[channel][row][i - start], mean);
            }
            __syncthreads();
        }
    }
    const int x = blockIdx.x * TILE_WIDTH + column, y = blockIdx.y * TILE_HEIGHT + row;
    if (value >= VALUES || x >= width || y >= height) return;
    const float by = channel == 0 ? scale.x : (channel == 1 ? scale.y : scale.z);
    const float minus = channel == 0 ? shift.x : (channel == 1 ? shift.y : shift.z);
    const int place = reversed ? 2 - channel : channel;
    const long long image_at = (long long)blockIdx.z * 3 * height * width;
    const long long at = CHANNELS_LAST ? ((long long)y * width + x) * 3 + place
                                       : ((long long)place * height + y) * width + x;
    const bool inside = any && !columns[column].empty() && !rows[row].empty();
    if (inside) mean = mean / (float)columns[column].length() / (float)rows[row].length();
    store(target + image_at + at, inside ? fmaf(mean, by, -minus) : 0.0f);
}

// scale = 1 / (255 std), shift = mean / std, both of red, green, blue; reversed: channels are
// written as blue, green, red.
extern "C" __global__ void __launch_bounds__(THREADS, 3) resize_normalise_nchw_fp32(
    const Job *jobs, float *target, int width, int height, float3 scale, float3 shift,
    int reversed) {
    resize_normalise<false>(jobs, target, width, height, scale, shift, reversed);
}

extern "C" __global__ void __launch_bounds__(THREADS, 3) resize_normalise_nchw_fp16(
    const Job *jobs, u16 *target, int width, int height, float3 scale, float3 shift,
    int reversed) {
    resize_normalise<false>(jobs, target, width, height, scale, shift, reversed);
}

extern "C" __global__ void __launch_bounds__(THREADS, 3) resize_normalise_nhwc_fp32(
    const Job *jobs, float *target, int width, int height, float3 scale, float3 shift,
    int reversed) {
    resize_normalise<true>(jobs, target, width, height, scale, shift, reversed);
}

extern "C" __global__ void __launch_bounds__(THREADS, 3) resize_normalise_nhwc_fp16(
    const Job *jobs, u16 *target, int width, int height, float3 scale, float3 shift,
    int reversed) {
    resize_normalise<true>(jobs, target, width, height, scale, shift, reversed);
}
