// Counting an alpha: per thread, per block, and into memory. Part of alpha_statistics.cu and
// finish.cu, for blocks of 256 threads.

// `STATISTICS` of kernels/statistics.py: all zero is "nothing seen", so that clearing starts it.
struct Statistics {
    u64 sum, unsure_pixels, unsure_sum, unsure_squares;  // of alpha in 0..255; unsure: above 12
    u32 from_right, from_bottom, right, bottom;  // of alpha >= 128: most of width - x, height - y,
                                                 // x + 1, y + 1
    u32 not_finite, unused[3];
};

// What one thread, then one warp has seen: the first eight members, in 32 bits.
struct Tally {
    u32 of[8];
    __device__ __forceinline__ void add(u32 alpha, int x, int y, int width, int height) {
        of[0] += alpha;
        if (alpha > 12) {
            of[1] += 1;
            of[2] += alpha;
            of[3] += alpha * alpha;
        }
        if (alpha >= 128) {
            const u32 ends[4] = {(u32)(width - x), (u32)(height - y), (u32)x + 1, (u32)y + 1};
            for (int i = 0; i < 4; ++i) of[4 + i] = ends[i] > of[4 + i] ? ends[i] : of[4 + i];
        }
    }
    // Adds what all 256 threads of the block have seen to `statistics`; every thread must call it.
    __device__ __forceinline__ void give(Statistics *statistics) {
        __shared__ u32 warps[8][8];
        for (int i = 0; i < 8; ++i)
            for (int by = 16; by > 0; by /= 2) {
                const u32 other = __shfl_xor_sync(0xffffffffu, of[i], by);
                of[i] = i < 4 ? of[i] + other : (other > of[i] ? other : of[i]);
            }
        if (threadIdx.x % 32 == 0)
            for (int i = 0; i < 8; ++i) warps[i][threadIdx.x / 32] = of[i];
        __syncthreads();
        const int own = threadIdx.x;  // the member that this thread brings home
        if (own < 4) {
            u64 sum = 0;
            for (int warp = 0; warp < 8; ++warp) sum += warps[own][warp];
            if (sum) atomicAdd(&statistics->sum + own, sum);
        } else if (own < 8) {
            u32 most = 0;
            for (int warp = 0; warp < 8; ++warp)
                most = warps[own][warp] > most ? warps[own][warp] : most;
            if (most) atomicMax(&statistics->from_right + (own - 4), most);
        }
    }
};
