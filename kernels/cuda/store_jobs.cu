// Jobs that come with the launch itself -> the batch's job table.
//
//   target[i] = jobs.job[i], i < count
//
// Kernel parameters travel with the launch command, so the sizes of a batch reach the device
// without a copy of their own, and without a host buffer that has to stay untouched until it is
// done.
// Buffers: jobs 8 structs by value (832 bytes; parameters may have 4 KiB), target Job[>= count].
// Work: one thread moves 4 bytes. Bound by: the launch (832 bytes read and written).
// Block: 256 threads, one block: 208 words.
// Launched by `store_jobs` in store_jobs.py; twin: the table itself, `kernels.image.JOB`.

struct Jobs {
    Job job[8];
};

extern "C" __global__ void store_jobs(Job *target, Jobs jobs, int count) {
    constexpr int WORDS = sizeof(Job) / sizeof(u32);
    const u32 *words = reinterpret_cast<const u32 *>(&jobs);
    if ((int)threadIdx.x < count * WORDS)
        reinterpret_cast<u32 *>(target)[threadIdx.x] = words[threadIdx.x];
}
