// The network's alpha read at the size of the picture it was made from. Part of alpha_to_source.cu
// and finish.cu; `kernels/cuda/network.py` makes the struct.

#include "box.cuh"

// The part of the network's plane that the image covers.
struct Network {
    const float *alpha;
    int stride, width, height;  // samples; from row to row
};

// Alpha of one source pixel where a side shrinks: the image is smaller than the network's plane.
__device__ __forceinline__ float mean_alpha(
    const Network &network, int x, int y, int width, int height) {
    const Box columns = box_of(x, network.width, width), rows = box_of(y, network.height, height);
    float sum = 0.0f;
    for (int j = rows.first; j <= rows.last; ++j) {
        const float *row = network.alpha + (long long)j * network.stride;
        float part = 0.0f;
        for (int i = columns.first; i <= columns.last; ++i)
            part = fmaf((float)columns.overlap(i), row[i], part);
        sum = fmaf((float)rows.overlap(j), part / (float)columns.length(), sum);
    }
    return sum / (float)rows.length();
}

// Where both sides grow: two rows mixed once per column of the network, two columns per pixel. One
// division finds a row's first column; from there it moves by at most one a pixel.
struct Walk {
    const float *upper, *lower;
    float below, left, right;  // share of the lower row; the two columns, mixed
    int column;                // of `left`

    __device__ __forceinline__ float mixed(int i, const Network &network) const {
        i = i < network.width ? i : network.width - 1;
        return fmaf(below, lower[i] - upper[i], upper[i]);
    }
    __device__ __forceinline__ void start(
        const Network &network, int x, int y, int width, int height) {
        const int low = low_end(y, network.height, height), row = low / (2 * height);
        upper = network.alpha + (long long)row * network.stride;
        lower = row + 1 < network.height ? upper + network.stride : upper;
        below = (float)(low - row * 2 * height) / (float)(2 * height);
        column = low_end(x, network.width, width) / (2 * width);
        left = mixed(column, network);
        right = mixed(column + 1, network);
    }
    __device__ __forceinline__ float at(const Network &network, int x, int width) {
        int beyond = low_end(x, network.width, width) - column * 2 * width;
        if (beyond >= 2 * width) {
            beyond -= 2 * width;
            ++column;
            left = right;
            right = mixed(column + 1, network);
        }
        return fmaf((float)beyond / (float)(2 * width), right - left, left);
    }
};

// Alphas 0..1 of `count` source pixels from (x, y) on, row after row.
__device__ __forceinline__ void alphas_of(
    const Network &network, int x, int y, int width, int height, int count, float *alphas) {
    const bool grows = network.width <= width && network.height <= height;
    Walk walk = {};
    if (grows) walk.start(network, x, y, width, height);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        if (i >= count) break;
        if (x == width) {
            x = 0;
            ++y;
            if (grows) walk.start(network, x, y, width, height);
        }
        alphas[i] = grows ? walk.at(network, x, width) : mean_alpha(network, x, y, width, height);
        ++x;
    }
}
