// The threads of a block as fibres: how barriers and warp exchanges work on a CPU, and how their
// misuse is found. Included by cuda_cpu.h alone.
//
// A fibre takes one thread after another and runs it to its end. A thread that meets a barrier parks
// with its fibre; the scheduler goes on with a new one. When every thread has started, the barriers
// whose threads have all come are released, and so on. Stricter than a GPU: a `__syncthreads` that
// some threads never reach because they ended, or that they reach on different lines, is a fault.
#pragma once

#include <ucontext.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

namespace cuda_cpu {

enum Order { FORWARD, BACKWARD, STRIDED };
enum State { WAITING_TO_START, READY, AT_BLOCK_BARRIER, AT_WARP_BARRIER, ENDED };

constexpr int MAX_THREADS = 1024;
constexpr size_t STACK_BYTES = 256 * 1024;  // only what is touched costs memory

struct Thread {
    State state;
    int fibre;
    const char *file;  // where it waits
    int line;
    unsigned mask;   // lanes that it waits for
    uint64_t given;  // to the exchange
};

struct Fibre {
    ucontext_t context;
    char stack[STACK_BYTES];
    void *fake_stack;
};

struct Block {
    void (*body)(void *);
    void *closure;
    Order order;
    int threads, stride, started, current, fibre;
    Thread thread[MAX_THREADS];
    Fibre *fibres[MAX_THREADS];       // made when first needed
    uint64_t exchanged[MAX_THREADS];  // what each thread's lane gave to the last exchange
    int block_sum;                    // of what all threads gave to the last block barrier
    ucontext_t scheduler;
    const void *scheduler_stack;
    size_t scheduler_stack_bytes;
    void *scheduler_fake_stack;
    char *fault;
    int room;
    bool failed;
};
static Block block;

inline int stride_of(int count) {
    int stride = (int)(count * 0.618);  // far from 0 and count: neighbours run far apart
    for (;; ++stride) {
        int a = stride > 0 ? stride : 1, b = count;
        while (b) { const int rest = a % b; a = b; b = rest; }
        if (a == 1) return stride > 0 ? stride : 1;
    }
}

inline long long in_order(Order order, long long index, long long count, long long stride) {
    return order == FORWARD ? index : order == BACKWARD ? count - 1 - index : index * stride % count;
}

inline void enter(int index) {
    const unsigned x = blockDim.x, y = blockDim.y;
    block.current = index;
    threadIdx.x = index % x;
    threadIdx.y = index / x % y;
    threadIdx.z = index / (x * y);
}

template <class... T>
void fail(const char *format, T... values) {
    if (!block.failed) snprintf(block.fault, block.room, format, values...);
    block.failed = true;
}

inline void fibre_main() {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(nullptr, &block.scheduler_stack, &block.scheduler_stack_bytes);
#endif
    const int own = block.fibre;
    while (block.started < block.threads && !block.failed) {
        const int index = (int)in_order(block.order, block.started++, block.threads, block.stride);
        block.thread[index].fibre = own;
        enter(index);
        block.body(block.closure);
        block.thread[block.current].state = ENDED;
    }
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(nullptr, block.scheduler_stack, block.scheduler_stack_bytes);
#endif
    setcontext(&block.scheduler);
}

inline void resume(int fibre) {
    block.fibre = fibre;
    Fibre &next = *block.fibres[fibre];
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&block.scheduler_fake_stack, next.stack, STACK_BYTES);
#endif
    swapcontext(&block.scheduler, &next.context);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(block.scheduler_fake_stack, nullptr, nullptr);
#endif
}

inline void start_fibre(int fibre) {
    if (!block.fibres[fibre]) block.fibres[fibre] = (Fibre *)malloc(sizeof(Fibre));
    Fibre &fresh = *block.fibres[fibre];
    fresh.fake_stack = nullptr;
    getcontext(&fresh.context);
    fresh.context.uc_stack.ss_sp = fresh.stack;
    fresh.context.uc_stack.ss_size = STACK_BYTES;
    fresh.context.uc_link = nullptr;
    makecontext(&fresh.context, fibre_main, 0);
    resume(fibre);
}

// Leaves the running thread until the scheduler lets it go on.
inline void park(State state, const char *file, int line, unsigned mask, uint64_t given) {
    const int index = block.current;
    Thread &own = block.thread[index];
    own.state = state;
    own.file = file;
    own.line = line;
    own.mask = mask;
    own.given = given;
    Fibre &fibre = *block.fibres[own.fibre];
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&fibre.fake_stack, block.scheduler_stack,
                                   block.scheduler_stack_bytes);
#endif
    swapcontext(&fibre.context, &block.scheduler);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fibre.fake_stack, &block.scheduler_stack,
                                    &block.scheduler_stack_bytes);
#endif
}

// Lets the threads of a block barrier go on when all are there.
inline bool release_block() {
    int waiting = 0, ended = 0, sum = 0;
    const Thread *first = nullptr;
    for (int i = 0; i < block.threads; ++i) {
        const Thread &one = block.thread[i];
        if (one.state == ENDED) ++ended;
        if (one.state != AT_BLOCK_BARRIER) continue;
        if (!first) first = &one;
        ++waiting;
        sum += (int)one.given;
    }
    if (!waiting || waiting + ended < block.threads) return false;
    if (ended) {
        fail("block barrier at %s:%d: %d of %d threads ended before it", first->file, first->line,
             ended, block.threads);
        return false;
    }
    for (int i = 0; i < block.threads; ++i) {
        const Thread &one = block.thread[i];
        if (one.line != first->line || strcmp(one.file, first->file)) {
            fail("block barrier in divergent code: some threads wait at %s:%d, others at %s:%d",
                 first->file, first->line, one.file, one.line);
            return false;
        }
    }
    block.block_sum = sum;
    for (int i = 0; i < block.threads; ++i) block.thread[i].state = READY;
    return true;
}

// Lets the lanes that wait for one another go on.
inline bool release_warp(int start) {
    const int lanes = block.threads - start < 32 ? block.threads - start : 32;
    bool any = false;
    for (int lane = 0; lane < lanes; ++lane) {
        const Thread &one = block.thread[start + lane];
        if (one.state != AT_WARP_BARRIER) continue;
        bool complete = true;
        for (int other = 0; other < 32; ++other) {
            if (!(one.mask >> other & 1)) continue;
            if (other >= lanes || block.thread[start + other].state == ENDED) {
                fail("warp exchange at %s:%d: its mask %#x names lane %d, which %s", one.file,
                     one.line, one.mask, other, other >= lanes ? "the block lacks" : "has ended");
                return false;
            }
            const Thread &peer = block.thread[start + other];
            complete = complete && peer.state == AT_WARP_BARRIER && peer.mask == one.mask &&
                       peer.line == one.line && !strcmp(peer.file, one.file);
        }
        if (!complete) continue;
        const unsigned mask = one.mask;
        for (int other = 0; other < lanes; ++other)
            if (mask >> other & 1) {
                block.thread[start + other].state = READY;
                block.exchanged[start + other] = block.thread[start + other].given;
            }
        any = true;
    }
    return any;
}

inline void report_deadlock() {
    const Thread *first = nullptr, *second = nullptr;
    for (int i = 0; i < block.threads; ++i) {
        const Thread &one = block.thread[i];
        if (one.state != AT_BLOCK_BARRIER && one.state != AT_WARP_BARRIER) continue;
        if (!first) first = &one;
        else if (one.line != first->line || one.mask != first->mask) second = &one;
    }
    if (!second) second = first;
    fail("deadlock: threads wait at %s:%d (%s) and at %s:%d (%s), and no others are left to come",
         first->file, first->line, first->state == AT_BLOCK_BARRIER ? "the block" : "lanes",
         second->file, second->line, second->state == AT_BLOCK_BARRIER ? "the block" : "lanes");
}

inline void run_block() {
    block.started = 0;
    for (int i = 0; i < block.threads; ++i) block.thread[i].state = WAITING_TO_START;
#ifndef __SANITIZE_ADDRESS__
    if (__start_cuda_shared)
        memset(__start_cuda_shared, 0xFF, __stop_cuda_shared - __start_cuda_shared);
#endif
    int fibres = 0;
    while (block.started < block.threads && !block.failed) start_fibre(fibres++);
    while (!block.failed) {
        int live = 0;
        for (int i = 0; i < block.threads; ++i) live += block.thread[i].state != ENDED;
        if (!live) return;
        bool any = release_block();
        for (int start = 0; start < block.threads; start += 32) any |= release_warp(start);
        if (block.failed) break;
        if (!any) report_deadlock();
        for (int i = 0; i < block.threads && !block.failed; ++i) {
            const int index = (int)in_order(block.order, i, block.threads, block.stride);
            if (block.thread[index].state != READY) continue;
            enter(index);
            resume(block.thread[index].fibre);
        }
    }
    // Stacks of threads that will never go on are thrown away, not used again.
    for (Fibre *&one : block.fibres) {
        free(one);
        one = nullptr;
    }
}

inline int run_grid(void (*body)(void *), void *closure, const int *shape, Order order, char *fault,
                    int room) {
    const long long grid = (long long)shape[0] * shape[1] * shape[2];
    const long long threads = (long long)shape[3] * shape[4] * shape[5];
    block.fault = fault;
    block.room = room;
    block.failed = false;
    for (int i = 0; i < 6; ++i)
        if (shape[i] < 1) fail("invalid launch: side %d of grid and block is %d", i, shape[i]);
    if (shape[1] > 65535 || shape[2] > 65535 || shape[5] > 64 || threads > 1024)
        fail("invalid launch: a block has at most 1024 threads and 64 along z, a grid at most "
             "65535 blocks along y and z; this one has %lld threads and %d, %d blocks", threads,
             shape[1], shape[2]);
    if (block.failed) return 1;
    gridDim.x = shape[0], gridDim.y = shape[1], gridDim.z = shape[2];
    blockDim.x = shape[3], blockDim.y = shape[4], blockDim.z = shape[5];
    block.body = body;
    block.closure = closure;
    block.order = order;
    block.threads = (int)threads;
    block.stride = stride_of((int)threads);
    const long long stride = stride_of((int)grid);
    for (long long i = 0; i < grid && !block.failed; ++i) {
        const long long index = in_order(order, i, grid, stride);
        blockIdx.x = (unsigned)(index % shape[0]);
        blockIdx.y = (unsigned)(index / shape[0] % shape[1]);
        blockIdx.z = (unsigned)(index / shape[0] / shape[1]);
        run_block();
    }
    return block.failed;
}

inline void sync_block(const char *file, int line, int given) {
    park(AT_BLOCK_BARRIER, file, line, 0, (uint64_t)given);
}

inline int block_count(const char *file, int line, int predicate) {
    sync_block(file, line, predicate != 0);
    return block.block_sum;
}

inline int block_and(const char *file, int line, int predicate) {
    return block_count(file, line, predicate) == block.threads;
}

inline void exchange(const char *file, int line, unsigned mask, uint64_t given) {
    const unsigned lane = (unsigned)block.current % 32;
    if (!(mask >> lane & 1)) {
        fail("warp exchange at %s:%d: lane %d is not in its own mask %#x", file, line, (int)lane,
             mask);
    }
    park(AT_WARP_BARRIER, file, line, mask, given);
}

inline void sync_warp(const char *file, int line, unsigned mask = 0xffffffffu) {
    exchange(file, line, mask, 0);
}

inline unsigned ballot(const char *file, int line, unsigned mask, int predicate) {
    const int start = block.current / 32 * 32;
    exchange(file, line, mask, predicate != 0);
    unsigned votes = 0;
    for (int lane = 0; lane < 32; ++lane)
        if (mask >> lane & 1) votes |= (unsigned)block.exchanged[start + lane] << lane;
    return votes;
}

// What lane `from` of the warp gave; a lane outside the mask gives garbage, as on a GPU.
template <class T>
T shuffled(const char *file, int line, unsigned mask, T value, int from) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "shuffles take 4 and 8 bytes");
    const int start = block.current / 32 * 32;
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    exchange(file, line, mask, bits);
    bits = mask >> from & 1 ? block.exchanged[start + from] : ~(uint64_t)0;
    memcpy(&value, &bits, sizeof value);
    return value;
}

template <class T>
T shuffle(const char *file, int line, unsigned mask, T value, int from, int width = 32) {
    const int lane = block.current % 32;
    return shuffled(file, line, mask, value, lane / width * width + (from & (width - 1)));
}

template <class T>
T shuffle_up(const char *file, int line, unsigned mask, T value, unsigned by, int width = 32) {
    const int lane = block.current % 32;
    return shuffled(file, line, mask, value, lane % width >= (int)by ? lane - (int)by : lane);
}

template <class T>
T shuffle_down(const char *file, int line, unsigned mask, T value, unsigned by, int width = 32) {
    const int lane = block.current % 32;
    return shuffled(file, line, mask, value, lane % width + (int)by < width ? lane + (int)by : lane);
}

template <class T>
T shuffle_xor(const char *file, int line, unsigned mask, T value, int by, int width = 32) {
    const int lane = block.current % 32, other = lane ^ by;
    return shuffled(file, line, mask, value, other / width <= lane / width ? other : lane);
}

}  // namespace cuda_cpu
