/* y = x W^T + bias + residual for some rows of x, W in oneDNN's layout, so that both multiply the same memory.

   W [rows, columns] lies in blocks of 64 rows, a block as [columns / step][64][step]: step is 2 for bfloat16 and 4 for
   8-bit integers, 4 bytes that one instruction multiplies and adds for 16 rows at once. A block is read from its first
   byte to its last, by one thread, which is what memory is fastest at: a span of it stays in the processor's cache
   while all rows of x, TILE at a time, are multiplied with it, and meanwhile the next span is fetched. */
#include "lanes.h"
#include "parallel.h"

#define MOST_ROWS 64
#define BLOCK 64
#define TILE 6 /* rows of x whose sums have room in the processor's registers, 4 each */

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
    long m;
    int threads;
} linear_job;

#define EACH _Pragma("GCC unroll 8")

typedef __m512 sum_bf16;
typedef __m512i sum_int8;

static inline __m512 zero_bf16(void) { return _mm512_setzero_ps(); }
static inline __m512i zero_int8(void) { return _mm512_setzero_si512(); }
static inline __m512 add_bf16(__m512 a, __m512 b) { return _mm512_add_ps(a, b); }
static inline __m512i add_int8(__m512i a, __m512i b) { return _mm512_add_epi32(a, b); }
static inline __m512 multiply_bf16(__m512 sum, __m512i x, __m512i w) {
    return _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)w);
}
static inline __m512i multiply_int8(__m512i sum, __m512i x, __m512i w) { return _mm512_dpbusd_epi32(sum, x, w); }

static inline void put(const linear_job *job, long m, long row, __m512 sum) {
    __mmask16 some = lanes(job->rows - row);
    if (job->bias)
        sum = _mm512_add_ps(sum, wide_some(job->bias + row, some));
    if (job->residual)
        sum = _mm512_add_ps(sum, wide_some(job->residual + m * job->rows + row, some));
    store_some(job->y + m * job->rows + row, sum, some);
}

static inline void put_bf16(const linear_job *job, long m, long row, __m512 sum) { put(job, m, row, sum); }

static inline void put_int8(const linear_job *job, long m, long row, __m512i sum) {
    __mmask16 some = lanes(job->rows - row);
    __m512i exact = _mm512_sub_epi32(sum, _mm512_maskz_loadu_epi32(some, job->sums + row));
    __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(exact), _mm512_maskz_loadu_ps(some, job->scale + row));
    put(job, m, row, _mm512_mul_ps(scaled, _mm512_set1_ps(job->largest[m])));
}

/* The sums of M rows of x, from the m-th after the first, over some steps, added to `total` [m][4] or beginning it. */
#define TILE_OF(kind, M)                                                                                     \
    static void tile_##kind##_##M(const linear_job *job, const char *weight, long first, int m, long from,   \
                                  long to, sum_##kind *total) {                                              \
        const char *x = (const char *)job->x + (first + m) * job->stride, *at = weight + from * 4 * BLOCK;   \
        const long stride = job->stride, ahead = m == TILE ? (to - from) * 4 * BLOCK : 0;                    \
        sum_##kind sum[M][4];                                                                                \
        EACH for (int r = 0; r < M; r++)                                                                     \
            EACH for (int i = 0; i < 4; i++)                                                                 \
                sum[r][i] = zero_##kind();                                                                   \
        for (long step = from; step < to; step++, at += 4 * BLOCK) {                                         \
            if (ahead)                                                                                       \
                EACH for (int i = 0; i < 4; i++)                                                             \
                    _mm_prefetch(at + ahead + i * 64, _MM_HINT_T1);                                          \
            __m512i w[4];                                                                                    \
            EACH for (int i = 0; i < 4; i++)                                                                 \
                w[i] = _mm512_loadu_si512(at + i * 64);                                                      \
            EACH for (int r = 0; r < M; r++) {                                                               \
                __m512i four = _mm512_set1_epi32(*(const int *)(x + r * stride + 4 * step));                 \
                EACH for (int i = 0; i < 4; i++)                                                             \
                    sum[r][i] = multiply_##kind(sum[r][i], four, w[i]);                                      \
            }                                                                                                \
        }                                                                                                    \
        EACH for (int r = 0; r < M; r++)                                                                     \
            EACH for (int i = 0; i < 4; i++) {                                                               \
                sum_##kind *own = total + (m + r) * 4 + i;                                                   \
                *own = from ? add_##kind(*own, sum[r][i]) : sum[r][i];                                       \
            }                                                                                                \
    }

/* block: up to MOST_ROWS rows of x times 64 rows of W. part: a thread's share of the blocks. */
#define LINEAR(kind)                                                                                         \
    TILE_OF(kind, 1)                                                                                         \
    TILE_OF(kind, 2)                                                                                         \
    TILE_OF(kind, 3)                                                                                         \
    TILE_OF(kind, 4)                                                                                         \
    TILE_OF(kind, 5)                                                                                         \
    TILE_OF(kind, 6)                                                                                         \
    static void block_##kind(const linear_job *job, long block, long first, int count) {                     \
        const char *weight = job->weight + block * job->filled * 4 * BLOCK;                                  \
        sum_##kind total[MOST_ROWS * 4];                                                                     \
        for (long from = 0; from < job->steps; from += job->span) {                                          \
            long to = from + job->span < job->steps ? from + job->span : job->steps;                         \
            for (int m = 0; m < count; m += TILE)                                                            \
                switch (count - m) {                                                                         \
                case 1: tile_##kind##_1(job, weight, first, m, from, to, total); break;                      \
                case 2: tile_##kind##_2(job, weight, first, m, from, to, total); break;                      \
                case 3: tile_##kind##_3(job, weight, first, m, from, to, total); break;                      \
                case 4: tile_##kind##_4(job, weight, first, m, from, to, total); break;                      \
                case 5: tile_##kind##_5(job, weight, first, m, from, to, total); break;                      \
                default: tile_##kind##_6(job, weight, first, m, from, to, total); break;                     \
                }                                                                                            \
        }                                                                                                    \
        for (int m = 0; m < count; m++)                                                                      \
            for (int i = 0; i < 4; i++)                                                                      \
                put_##kind(job, first + m, block * BLOCK + i * 16, total[m * 4 + i]);                        \
    }                                                                                                        \
    static void part_##kind(void *given) {                                                                   \
        const linear_job *job = given;                                                                       \
        long from, to;                                                                                       \
        share((job->rows + BLOCK - 1) / BLOCK, job->threads, &from, &to);                                    \
        for (long first = 0; first < job->m; first += MOST_ROWS)                                             \
            for (long block = from; block < to; block++)                                                     \
                block_##kind(job, block, first, job->m - first < MOST_ROWS ? job->m - first : MOST_ROWS);    \
    }

LINEAR(bf16)
LINEAR(int8)

/* x [m, columns] and y [m, rows] are bfloat16; bias [rows] and residual [m, rows] may be null. */
void native_linear_bf16(const void *x, const void *weight, const void *bias, const void *residual, void *y, long m,
                        long rows, long columns, long span, int threads) {
    linear_job job = {.x = x, .stride = 2 * columns, .weight = weight, .rows = rows, .steps = columns / 2,
                      .filled = (columns + 31) / 32 * 16, .span = span / 2, .bias = bias, .residual = residual,
                      .y = y, .m = m, .threads = threads};
    in_threads(part_bf16, &job, threads);
}

/* As native_linear_bf16, where `x` is what native_round made of the activations, with what it found in `largest`. */
void native_linear_int8(const void *x, const void *weight, const float *scale, const int *sums, const float *largest,
                        const void *bias, const void *residual, void *y, long m, long rows, long columns, int threads) {
    long steps = (columns + 3) / 4;
    linear_job job = {.x = x, .stride = 4 * steps, .weight = weight, .rows = rows, .steps = steps,
                      .filled = (columns + 63) / 64 * 16, .span = 512, .bias = bias, .residual = residual,
                      .scale = scale, .sums = sums, .largest = largest, .y = y, .m = m, .threads = threads};
    in_threads(part_int8, &job, threads);
}
