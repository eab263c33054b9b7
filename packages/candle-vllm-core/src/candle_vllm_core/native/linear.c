/* y = x W^T + bias + residual for a few rows of x, W in oneDNN's layout, so that both multiply the same memory.

   W [rows, columns] lies in blocks of 64 rows, a block as [columns / step][64][step]: step is 2 for bfloat16 and 4 for
   8-bit integers, 4 bytes that one instruction multiplies and adds for 16 rows at once. Every block is read from its
   first byte to its last, by one thread: that is what a processor's memory is fastest at. */
#include "lanes.h"
#include "parallel.h"

#define MOST_ROWS 4
#define BLOCK 64

typedef struct {
    const void *x;            /* [m, columns] bfloat16, or bytes from 1 to 255 that stand for -127 to 127 */
    long stride;              /* bytes from one row of x to the next */
    const char *weight;
    long rows, steps, filled; /* of W: rows, columns / step, and that with what oneDNN fills up */
    long span;                /* steps that are summed from zero before they are added to those before */
    const bf16 *bias, *residual;
    const float *scale;       /* [rows], integers only: what W's integers are multiplied with */
    const int *sums;          /* [rows], integers only: of W's integers, times 128 */
    const float *largest;     /* [m], integers only: what each row of x is multiplied with */
    bf16 *y;                  /* [m, rows] */
    int m, threads;
} linear_job;

static inline void put(const linear_job *job, int m, long row, __m512 sum) {
    __mmask16 some = lanes(job->rows - row);
    if (job->bias)
        sum = _mm512_add_ps(sum, wide_some(job->bias + row, some));
    if (job->residual)
        sum = _mm512_add_ps(sum, wide_some(job->residual + m * job->rows + row, some));
    store_some(job->y + m * job->rows + row, sum, some);
}

static inline int four_bytes(const linear_job *job, int m, long step) {
    return *(const int *)((const char *)job->x + m * job->stride + 4 * step);
}

static inline __attribute__((always_inline)) void block_bf16(const linear_job *job, long block, const int M) {
    const char *weight = job->weight + block * job->filled * 4 * BLOCK;
    __m512 total[MOST_ROWS][4] = {0};
    for (long from = 0; from < job->steps; from += job->span) {
        long to = from + job->span < job->steps ? from + job->span : job->steps;
        __m512 sum[MOST_ROWS][4];
        for (int m = 0; m < M; m++)
            for (int i = 0; i < 4; i++)
                sum[m][i] = _mm512_setzero_ps();
        for (long step = from; step < to; step++)
            for (int i = 0; i < 4; i++) {
                __m512bh w = (__m512bh)_mm512_loadu_si512(weight + step * 4 * BLOCK + i * 64);
                for (int m = 0; m < M; m++)
                    sum[m][i] = _mm512_dpbf16_ps(sum[m][i], (__m512bh)_mm512_set1_epi32(four_bytes(job, m, step)), w);
            }
        for (int m = 0; m < M; m++)
            for (int i = 0; i < 4; i++)
                total[m][i] = from ? _mm512_add_ps(total[m][i], sum[m][i]) : sum[m][i];
    }
    for (int m = 0; m < M; m++)
        for (int i = 0; i < 4; i++)
            put(job, m, block * BLOCK + i * 16, total[m][i]);
}

static inline __attribute__((always_inline)) void block_int8(const linear_job *job, long block, const int M) {
    const char *weight = job->weight + block * job->filled * 4 * BLOCK;
    __m512i sum[MOST_ROWS][4];
    for (int m = 0; m < M; m++)
        for (int i = 0; i < 4; i++)
            sum[m][i] = _mm512_setzero_si512();
    for (long step = 0; step < job->steps; step++)
        for (int i = 0; i < 4; i++) {
            __m512i w = _mm512_loadu_si512(weight + step * 4 * BLOCK + i * 64);
            for (int m = 0; m < M; m++)
                sum[m][i] = _mm512_dpbusd_epi32(sum[m][i], _mm512_set1_epi32(four_bytes(job, m, step)), w);
        }
    for (int m = 0; m < M; m++)
        for (int i = 0; i < 4; i++) {
            long row = block * BLOCK + i * 16;
            __mmask16 some = lanes(job->rows - row);
            __m512i exact = _mm512_sub_epi32(sum[m][i], _mm512_maskz_loadu_epi32(some, job->sums + row));
            __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(exact), _mm512_maskz_loadu_ps(some, job->scale + row));
            put(job, m, row, _mm512_mul_ps(scaled, _mm512_set1_ps(job->largest[m])));
        }
}

#define PART(kind)                                                     \
    static void part_##kind(void *given) {                             \
        const linear_job *job = given;                                 \
        long from, to;                                                 \
        share((job->rows + BLOCK - 1) / BLOCK, job->threads, &from, &to); \
        for (long block = from; block < to; block++)                   \
            switch (job->m) {                                          \
            case 1: block_##kind(job, block, 1); break;                \
            case 2: block_##kind(job, block, 2); break;                \
            case 3: block_##kind(job, block, 3); break;                \
            default: block_##kind(job, block, 4); break;               \
            }                                                          \
    }

PART(bf16)
PART(int8)

/* x [m, columns] and y [m, rows] are bfloat16, m at most 4; bias [rows] and residual [m, rows] may be null. */
void native_linear_bf16(const void *x, const void *weight, const void *bias, const void *residual, void *y, int m,
                        long rows, long columns, long span, int threads) {
    linear_job job = {.x = x, .stride = 2 * columns, .weight = weight, .rows = rows, .steps = columns / 2,
                      .filled = (columns + 31) / 32 * 16, .span = span / 2, .bias = bias, .residual = residual,
                      .y = y, .m = m, .threads = threads};
    in_threads(part_bf16, &job, threads);
}

/* As native_linear_bf16, where `x` is what native_round made of the activations, with what it found in `largest`. */
void native_linear_int8(const void *x, const void *weight, const float *scale, const int *sums, const float *largest,
                        const void *bias, const void *residual, void *y, int m, long rows, long columns, int threads) {
    long steps = (columns + 3) / 4;
    linear_job job = {.x = x, .stride = 4 * steps, .weight = weight, .rows = rows, .steps = steps,
                      .filled = (columns + 63) / 64 * 16, .bias = bias, .residual = residual, .scale = scale,
                      .sums = sums, .largest = largest, .y = y, .m = m, .threads = threads};
    in_threads(part_int8, &job, threads);
}
