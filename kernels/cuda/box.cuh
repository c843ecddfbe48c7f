// Which samples make one output sample when a side is resized. Part of network.cuh and
// resize_normalise.cu.

// The samples first..last that make one output sample, with whole weights that add up to `length`:
// a box of max(1, s) samples around (output + 1/2) s, s = samples / outputs, in units of 1 / (2
// outputs) of a sample. That is the area average when shrinking and bilinear when growing;
// resize_normalise.cu has the reasons. Needs samples * outputs < 2^30.
struct Box {
    int low, high;    // its ends
    int cell;         // length of a sample
    int first, last;  // samples
    __device__ __forceinline__ bool empty() const { return low == high; }
    __device__ __forceinline__ int length() const { return high - low; }
    __device__ __forceinline__ int overlap(int sample) const {
        const int left = sample * cell, right = left + cell;
        return (right < high ? right : high) - (left > low ? left : low);
    }
};

__device__ __forceinline__ int low_end(int output, int samples, int outputs) {
    const int length = 2 * (samples > outputs ? samples : outputs);
    const int furthest = 2 * outputs * samples - length;
    const int low = (2 * output + 1) * samples - length / 2;
    return low < 0 ? 0 : (low > furthest ? furthest : low);
}

__device__ __forceinline__ Box box_of(int output, int samples, int outputs) {
    const int cell = 2 * outputs, length = 2 * (samples > outputs ? samples : outputs);
    const int low = low_end(output, samples, outputs);
    return {low, low + length, cell, low / cell, (low + length - 1) / cell};
}
