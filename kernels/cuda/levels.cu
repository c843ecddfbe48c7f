// Black level, white level and threshold of an alpha.
//
//   target[i] = table.value[alpha[i]]
//
// The host works the 256 results out (`levels_table`), so the kernel is exact whatever the formula.
// Buffers: alpha, target (height, width) u8, tightly packed; they may be the same memory.
// Work: one thread takes 16 bytes as one load and one store where both addresses allow it.
// Bound by: memory, 1 byte read and 1 written a pixel, one pass.
// Block: 256 threads, so that each brings one entry of the table into shared memory; there 32
// lanes look up different entries at once, which constant memory would do one after another.
// Launched by `levels` in levels.py; twin `kernels/reference/levels.py`.

struct Table {
    u8 value[256];
};

extern "C" __global__ void levels(const u8 *alpha, u8 *target, long long pixels, Table table) {
    __shared__ u8 value[256];
    value[threadIdx.x] = table.value[threadIdx.x];
    __syncthreads();
    const long long first = 16 * ((long long)blockIdx.x * 256 + threadIdx.x);
    if (first >= pixels) return;
    if (first + 16 <= pixels && (((u64)alpha | (u64)target) & 15) == 0) {
        const uint4 four = *reinterpret_cast<const uint4 *>(alpha + first);
        u32 word[4] = {four.x, four.y, four.z, four.w};
        for (int i = 0; i < 4; ++i)
            word[i] = value[word[i] & 255] | (u32)value[word[i] >> 8 & 255] << 8 |
                      (u32)value[word[i] >> 16 & 255] << 16 | (u32)value[word[i] >> 24] << 24;
        *reinterpret_cast<uint4 *>(target + first) = make_uint4(word[0], word[1], word[2], word[3]);
        return;
    }
    const long long end = first + 16 < pixels ? first + 16 : pixels;
    for (long long i = first; i < end; ++i) target[i] = value[alpha[i]];
}
