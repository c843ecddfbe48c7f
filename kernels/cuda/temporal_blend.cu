// An alpha steadied by the one before it, where nothing moves.
//
//   luma   = round(255 (0.299 R + 0.587 G + 0.114 B)), from the network's normalised input
//   change = sum of |luma - luma before| over the plane: from `cut` on another scene is shown
//   motion = max(ramp(mean of |luma - luma before| over 5x5), ramp(|alpha - alpha before|))
//   result = alpha + smooth (1 - motion) (alpha before - alpha)
//
// ramp: 0 up to a first threshold, 1 from a second on. The result becomes the alpha before: a
// recursive filter with a motion switch (McMann et al., A Digital Noise Reducer for Encoded NTSC
// Signals, SMPTE Journal 1978). On the first frame, and at a cut, the result is the alpha.
//
// plane   (3, height, width) or (height, width, 3), float32 or half: what the network saw
// luma, luma_before    (height, width) u8; luma_before is null on the first frame
// change  u32, 0 before the launch; null where nobody asks
// kept, alpha_before   (height, width) float32
// alpha, target        (height, width) float32 in [0, 1]; they may be the same
//
// All of it at the network's resolution. What is read and what is written of a stream's memory are
// two places: a frame that fails afterwards has changed nothing of what the next one goes by. Two
// launches, because the neighbourhood reads what its neighbours' threads write, and because a
// recurrent network must know of a cut before it runs. Whether it is one is read from `change` on
// the device: the host never waits for it.
// Work: temporal_luma takes every (blocks * 256)th pixel per thread; sums go through a warp by
// shuffles, through a block by shared memory, and reach memory once a block. temporal_blend: one
// thread makes one pixel.
// Bound by memory, most of it in the L2 cache: 12 (float32) or 6 (half) + 2 bytes a plane pixel,
// then 2 + 4 + 4 + 4 + 4. Blocks of 256, and of 32 x 8: a warp reads rows, the 5x5 neighbours come
// from L1.
//
// Launched by kernels/cuda/temporal_blend.py. Twin: kernels/reference/temporal_blend.py.

#define NEIGHBOURHOOD 2

extern "C" __global__ void temporal_luma(
    const u8 *plane, int is_half, int channel_step, int pixel_step, float4 weights,
    const u8 *luma_before, u8 *luma, u32 *change, int pixels) {
    u32 sum = 0;
    for (int at = blockIdx.x * 256 + threadIdx.x; at < pixels; at += gridDim.x * 256) {
        float channel[3];
        for (int c = 0; c < 3; ++c) {
            const int i = c * channel_step + at * pixel_step;
            channel[c] = is_half ? from_half(((const u16 *)plane)[i]) : ((const float *)plane)[i];
        }
        const u8 now = to_u8(
            weights.x * channel[0] + weights.y * channel[1] + weights.z * channel[2] + weights.w);
        luma[at] = now;
        if (luma_before) {
            const u8 before = luma_before[at];
            sum += now > before ? now - before : before - now;
        }
    }
    if (!change) return;  // the same for all threads: none is missed at the barrier
    __shared__ u32 warps[8];
    for (int by = 16; by > 0; by /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, by);
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (int warp = 1; warp < 8; ++warp) sum += warps[warp];
    if (sum) atomicAdd(change, sum);
}

__device__ __forceinline__ float ramp(float value, float low, float high) {
    return clamp_to((value - low) / (high - low), 0.0f, 1.0f);
}

// `thresholds`: luma still, luma moving, alpha still, alpha moving.
extern "C" __global__ void temporal_blend(
    const float *alpha, const float *alpha_before, float *kept, float *target,
    const u8 *luma, const u8 *luma_before, const u32 *change, u32 cut, int width, int height,
    float smooth, float4 thresholds) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    const int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height) return;
    const int at = y * width + x;
    const float now = alpha[at];
    float result = now;
    if (luma_before && *change < cut) {
        const int left = max(x - NEIGHBOURHOOD, 0), right = min(x + NEIGHBOURHOOD, width - 1);
        const int top = max(y - NEIGHBOURHOOD, 0), bottom = min(y + NEIGHBOURHOOD, height - 1);
        int sum = 0;
        for (int v = top; v <= bottom; ++v)
            for (int u = left; u <= right; ++u)
                sum += abs((int)luma[v * width + u] - (int)luma_before[v * width + u]);
        const float mean = (float)sum / (float)((right - left + 1) * (bottom - top + 1));
        const float before = alpha_before[at];
        const float motion = fmaxf(
            ramp(mean, thresholds.x, thresholds.y),
            ramp(fabsf(now - before), thresholds.z, thresholds.w));
        result = now + smooth * (1.0f - motion) * (before - now);
    }
    kept[at] = result;
    target[at] = result;
}
