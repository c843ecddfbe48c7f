// An alpha steadied by the one before it, where nothing moves.
//
//   luma   = round(255 (0.299 R + 0.587 G + 0.114 B)), from the network's normalised input
//   change = |luma - previous luma|
//   motion = max(ramp(mean of change over 5x5), ramp(|alpha - previous alpha|))
//   result = alpha + smooth (1 - motion) (previous alpha - alpha)
//
// ramp: 0 up to a first threshold, 1 from a second on. The result becomes the previous alpha: a
// recursive filter with a motion switch (McMann et al., A Digital Noise Reducer for Encoded NTSC
// Signals, SMPTE Journal 1978). On the first frame the result is the alpha.
//
// plane   (3, height, width) or (height, width, 3), float32 or half: what the network saw
// change  (height, width) u8, scratch
// luma    (height, width) u8, kept from frame to frame
// kept    (height, width) float32, alpha kept from frame to frame
// alpha, target  (height, width) float32 in [0, 1]; they may be the same
//
// All of it at the network's resolution. Two launches, because the neighbourhood reads what its
// neighbours' threads write; each keeps its state pixel by pixel, so it is updated in place and the
// addresses never change: a captured graph may hold them.
// Bound by memory, most of it in the L2 cache: 12 (float32) or 6 (half) + 3 bytes a plane pixel,
// then 1 + 4 + 4 + 4 + 4. Blocks of 32 x 8: a warp reads rows, the 5x5 neighbours come from L1.
//
// Launched by kernels/cuda/temporal_blend.py. Twin: kernels/reference/temporal_blend.py.

#define NEIGHBOURHOOD 2

extern "C" __global__ void temporal_luma(
    const u8 *plane, int is_half, int channel_step, int pixel_step, float4 weights, u8 *luma,
    u8 *change, int width, int height, int first) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    const int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height) return;
    const int at = y * width + x;
    float channel[3];
    for (int c = 0; c < 3; ++c) {
        const int i = c * channel_step + at * pixel_step;
        channel[c] = is_half ? from_half(((const u16 *)plane)[i]) : ((const float *)plane)[i];
    }
    const u8 now = to_u8(
        weights.x * channel[0] + weights.y * channel[1] + weights.z * channel[2] + weights.w);
    const int before = first ? now : luma[at];
    change[at] = (u8)(now > before ? now - before : before - now);
    luma[at] = now;
}

__device__ __forceinline__ float ramp(float value, float low, float high) {
    return clamp_to((value - low) / (high - low), 0.0f, 1.0f);
}

// `thresholds`: luma still, luma moving, alpha still, alpha moving.
extern "C" __global__ void temporal_blend(
    const float *alpha, const u8 *change, float *kept, float *target, int width, int height,
    float smooth, float4 thresholds, int first) {
    const int x = blockIdx.x * blockDim.x + threadIdx.x;
    const int y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height) return;
    const int at = y * width + x;
    const float now = alpha[at];
    float result = now;
    if (!first) {
        const int left = max(x - NEIGHBOURHOOD, 0), right = min(x + NEIGHBOURHOOD, width - 1);
        const int top = max(y - NEIGHBOURHOOD, 0), bottom = min(y + NEIGHBOURHOOD, height - 1);
        int sum = 0;
        for (int v = top; v <= bottom; ++v)
            for (int u = left; u <= right; ++u) sum += change[v * width + u];
        const float mean = (float)sum / (float)((right - left + 1) * (bottom - top + 1));
        const float before = kept[at];
        const float motion = fmaxf(
            ramp(mean, thresholds.x, thresholds.y),
            ramp(fabsf(now - before), thresholds.z, thresholds.w));
        result = now + smooth * (1.0f - motion) * (before - now);
    }
    kept[at] = result;
    target[at] = result;
}
