// The network's alpha at the size of the picture that it was made from.
//
//   target[y, x] = alpha resized (area average per axis that shrinks, bilinear per axis that
//   grows), as bytes round(255 alpha) or as floats
//
// Buffers: alpha float, the part of the network's plane that the image covers (its rows are
// `stride` samples apart); target (height, width) u8 or float, tightly packed, aligned to 16 bytes.
// Work: one thread makes 4 pixels, the 4 i-th to 4 i + 3-rd of the whole image whatever its rows,
// so that its store is one aligned word or four at any width.
// Bound by: memory, 1 (float: 4) byte written a pixel; the plane is small and stays in cache.
// Arithmetic is close behind: three integer divisions per 4 pixels.
// Block: 256 threads, no shared memory.
// Launched by `alpha_to_source` in alpha_to_source.py; twin `kernels/reference/alpha_to_source.py`.

#include "network.cuh"

extern "C" __global__ void alpha_to_source_u8(Network network, u8 *target, int width, int height) {
    const long long first = 4 * ((long long)blockIdx.x * 256 + threadIdx.x);
    const long long left = (long long)width * height - first;
    if (left <= 0) return;
    const int count = left < 4 ? (int)left : 4, y = (int)(first / width);
    float alphas[4] = {};
    alphas_of(network, (int)(first - (long long)y * width), y, width, height, count, alphas);
    u32 word = 0;
    for (int i = 0; i < 4; ++i) word |= (u32)to_u8(255.0f * alphas[i]) << 8 * i;
    if (count == 4)
        *reinterpret_cast<u32 *>(target + first) = word;
    else
        for (int i = 0; i < count; ++i) target[first + i] = (u8)(word >> 8 * i);
}

extern "C" __global__ void alpha_to_source_f32(
    Network network, float *target, int width, int height) {
    const long long first = 4 * ((long long)blockIdx.x * 256 + threadIdx.x);
    const long long left = (long long)width * height - first;
    if (left <= 0) return;
    const int count = left < 4 ? (int)left : 4, y = (int)(first / width);
    float alphas[4] = {};
    alphas_of(network, (int)(first - (long long)y * width), y, width, height, count, alphas);
    if (count == 4)
        *reinterpret_cast<float4 *>(target + first) =
            make_float4(alphas[0], alphas[1], alphas[2], alphas[3]);
    else
#pragma unroll
        for (int i = 0; i < 3; ++i)
            if (i < count) target[first + i] = alphas[i];
}
