/* Stub of the CUDA functions that ONNX Runtime's provider needs to open sessions: host memory, no kernels. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OK(name, ...) int name(__VA_ARGS__) { return 0; }
#define MAKE(name, ...) int name(void **made, ##__VA_ARGS__) { *made = calloc(1, 4096); return 0; }

static int captures, replays;
__attribute__((destructor)) static void report(void) {
    if (captures) fprintf(stderr, "captures %d replays %d\n", captures, replays);
}

int cuInit(unsigned flags) { return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuGetErrorString(int error, const char **text) { *text = "stub"; return 0; }
int cuTensorMapEncodeTiled(void) { return 999; }

int cudaGetDeviceCount(int *count) { *count = 1; return 0; }
int cudaGetDevice(int *device) { *device = 0; return 0; }
int cudaDriverGetVersion(int *version) { *version = 13000; return 0; }
int cudaRuntimeGetVersion(int *version) { *version = 13000; return 0; }
int cudaMemGetInfo(size_t *left, size_t *total) { *left = *total = 80ull << 30; return 0; }
int cudaDeviceGetAttribute(int *value, int attribute, int device) { *value = 9; return 0; }
int cudaGetDeviceProperties(void *found, int device) { memset(found, 0, 700); strcpy(found, "stub"); return 0; }
int cudaPointerGetAttributes(void *found, const void *address) { memset(found, 0, 32); return 0; }
int cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *n, void *f, int b, size_t s) { *n = 1; return 0; }
OK(cudaSetDevice, int device)
OK(cudaDeviceSynchronize, void)
OK(cudaGetLastError, void)
OK(cudaPeekAtLastError, void)
OK(cudaFuncSetAttribute, void)

int cudaMalloc(void **made, size_t size) { *made = malloc(size); return 0; }
int cudaHostAlloc(void **made, size_t size, unsigned flags) { *made = malloc(size); return 0; }
int cudaMallocHost(void **made, size_t size) { *made = malloc(size); return 0; }
int cudaFree(void *address) { free(address); return 0; }
int cudaFreeHost(void *address) { free(address); return 0; }
int cudaMemcpy(void *to, const void *from, size_t size, int kind) { memcpy(to, from, size); return 0; }
int cudaMemcpyAsync(void *to, const void *from, size_t size, int kind, void *s) { memcpy(to, from, size); return 0; }
int cudaMemset(void *to, int value, size_t size) { memset(to, value, size); return 0; }
int cudaMemsetAsync(void *to, int value, size_t size, void *stream) { memset(to, value, size); return 0; }

MAKE(cudaStreamCreate)
MAKE(cudaStreamCreateWithFlags, unsigned flags)
MAKE(cudaEventCreateWithFlags, unsigned flags)
int cudaStreamIsCapturing(void *stream, int *status) { *status = 0; return 0; }
int cudaLaunchHostFunc(void *stream, void (*call)(void *), void *with) { call(with); return 0; }
OK(cudaStreamDestroy, void *stream)
OK(cudaStreamSynchronize, void *stream)
OK(cudaStreamWaitEvent, void)
OK(cudaEventDestroy, void *event)
OK(cudaEventRecord, void)
OK(cudaEventQuery, void *event)
OK(cudaEventSynchronize, void *event)
OK(cudaLaunchKernel, void)
OK(cudaLaunchKernelExC, void)

int cudaStreamBeginCapture(void *stream, int mode) { captures++; return 0; }
int cudaStreamEndCapture(void *stream, void **graph) { *graph = malloc(8); return 0; }
int cudaGraphLaunch(void *graph, void *stream) { replays++; return 0; }
MAKE(cudaGraphInstantiate, void *graph, unsigned long long flags)
OK(cudaGraphDestroy, void *graph)
OK(cudaGraphExecDestroy, void *graph)

MAKE(cublasCreate_v2)
MAKE(cublasLtCreate)
OK(cublasDestroy_v2, void *handle)
OK(cublasLtDestroy, void *handle)
OK(cublasSetStream_v2, void)
OK(cublasSetMathMode, void)
OK(cublasSetWorkspace_v2, void)
