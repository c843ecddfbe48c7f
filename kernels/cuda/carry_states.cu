// A recurrent network's states brought to another place; zeros where nothing of the frame before
// holds.
//
//   target[i] = holds ? source[i] : 0;  holds: there is a source, and its scene was not cut
//
// Before a run: from a stream's memory to the addresses that the engine is bound to, which never
// change, so that one recorded graph serves every stream. After it: from there to the stream's
// memory. Whether the scene was cut is read from what `temporal_luma` counted (null: it was not);
// the host never waits for it.
// Buffers: source (null: none) and target of 16 bytes x count, aligned to 16.
// Work: one thread moves 16 bytes. Block: 256 threads.
// Bound by: memory, 16 bytes read and 16 written a thread.
// Launched by `carry_states` in carry_states.py; twin `kernels/reference/carry_states.py`.

extern "C" __global__ void carry_states(
    const uint4 *source, uint4 *target, const u32 *change, u32 cut, int count) {
    const int at = blockIdx.x * 256 + threadIdx.x;
    if (at >= count) return;
    const bool holds = source && (!change || *change < cut);
    target[at] = holds ? source[at] : make_uint4(0, 0, 0, 0);
}
