/* Stands for libnvinfer, libnvonnxparser and libnvinfer_plugin, so that TensorRT's Python bindings load
   on a machine without TensorRT and check the types of our calls themselves. Built and used by
   test_bindings.py; x86-64 Linux only.

   There is one object. Every factory gives it, and every virtual method of it gives it again, whatever
   the method returns by its own account:
   - a pointer to an object: the object;
   - bool, int, enum: its address, whose low 32 bits are 1: true, one, DataType.HALF;
   - a name: the bytes at its address, which are its vtable's address, which spells "tensor";
   - Dims, which the caller passes memory for: that memory, filled with (1, 3, 32, 32).
   What is not covered: sizes of host memory (nonsense), anything that a method does. */

#define _GNU_SOURCE
#include <stdint.h>
#include <sys/mman.h>

#define SLOTS 512
#define OBJECT 0x720000000001u         /* where the object lies */
#define VTABLE 0x726f736e6574u         /* where its vtable lies: "tensor" in little endian */
#define PAGE 4096u

/* TensorRT's Dims: a count and room for eight sizes. */
struct dims {
    int32_t count;
    int64_t sizes[8];
};

static void *any_method(void *first, void *second) {
    /* A method whose result needs the caller's memory gets that memory before `this`. */
    if ((uintptr_t)first != OBJECT && (uintptr_t)second == OBJECT) {
        struct dims *result = first;
        *result = (struct dims){4, {1, 3, 32, 32}};
        return result;
    }
    return (void *)(uintptr_t)OBJECT;
}

static void map(uintptr_t address, uintptr_t bytes) {
    uintptr_t start = address & ~(uintptr_t)(PAGE - 1);
    /* The second and third library find it mapped: all three share it. What lies before the vtable
       stays zero: no type information, so the bindings do not ask for the object's real class. */
    mmap((void *)start, bytes + PAGE, PROT_READ | PROT_WRITE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
}

__attribute__((constructor)) static void make_object(void) {
    map(OBJECT, PAGE);
    map(VTABLE, SLOTS * sizeof(void *));
    for (int slot = 0; slot < SLOTS; slot++)
        __builtin_memcpy((char *)VTABLE + slot * sizeof(void *), &(void *){(void *)any_method},
                         sizeof(void *));
    uintptr_t words[2] = {VTABLE, OBJECT}; /* the vtable; the implementation, which is itself */
    __builtin_memcpy((void *)(uintptr_t)OBJECT, words, sizeof words);
}

#define FACTORY(name)                                                                              \
    void *name(void) { return (void *)(uintptr_t)OBJECT; }

FACTORY(createInferBuilder_INTERNAL)
FACTORY(createInferRefitter_INTERNAL)
FACTORY(createInferRuntime_INTERNAL)
FACTORY(getBuilderPluginRegistry)
FACTORY(getPluginRegistry)
FACTORY(createNvOnnxParser_INTERNAL)
FACTORY(createNvOnnxParserRefitter_INTERNAL)
FACTORY(getNvOnnxParserVersion)
FACTORY(initLibNvInferPlugins)
