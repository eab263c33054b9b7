/* y = x W^T + bias + residual.

   W [rows, columns] lies in blocks of 64 rows, a block as [columns / step][64][step]: step is 2 for bfloat16 and 4 for
   8-bit integers, 4 bytes that few instructions multiply and add for 16 rows at once. A block is read from its first
   byte to its last, by one thread, which is what memory is fastest at (for several rows on AVX2, a part of each line of
   it at a time): a span of it stays in the processor's cache while up to MOST_ROWS rows of x, TILE at a time, are
   multiplied with it, and meanwhile the next span is fetched. Where x has more rows, a few blocks stay in the cache
   while all of them take their turns. Each span is summed from zero before it is added to those before, and each row
   by itself, in an order that columns alone say. */
#include "lanes.h"
#include "parallel.h"

#define MOST_ROWS 64
#define BLOCK 64
#define LINE 64          /* bytes of one step of a block for 16 rows, */
#define STEP (4 * LINE)  /* and for all of them */
#define SPAN 512         /* steps */
#define NEAR 4096        /* bytes that are fetched ahead where a block is not read in one go */
#define KEPT (384 << 10) /* bytes of blocks, or one block, that stay in the cache while all rows of x take turns */

typedef struct {
    const void *x;        /* [m, columns] bfloat16, or bytes from 1 to 255 that stand for -127 to 127 */
    long stride;          /* bytes from one row of x to the next */
    const char *weight;
    long rows, steps;     /* of W: rows, and columns / step */
    const bf16 *bias, *residual;
    const float *scale;   /* [rows], integers only: what W's integers are multiplied with */
    const int *sums;      /* [rows], integers only: of W's integers, times 128 */
    const float *largest; /* [m], integers only: what each row of x is multiplied with */
    bf16 *y;              /* [m, rows] */
    long m;
    int threads;
} linear_job;

typedef reals sum_bf16;
typedef words sum_int8;

INLINE reals zero_bf16(void) { return none16(); }
INLINE words zero_int8(void) { return no_words(); }
INLINE reals add_bf16(reals a, reals b) { return add16(a, b); }
INLINE words add_int8(words a, words b) { return add_words(a, b); }

INLINE void put(const linear_job *job, long m, long row, reals sum) {
    mask some = lanes(job->rows - row);
    if (job->bias)
        sum = add16(sum, wide_some(job->bias + row, some));
    if (job->residual)
        sum = add16(sum, wide_some(job->residual + m * job->rows + row, some));
    round_some(job->y + m * job->rows + row, sum, some);
}

INLINE void put_bf16(const linear_job *job, long m, long row, reals sum) { put(job, m, row, sum); }

INLINE void put_int8(const linear_job *job, long m, long row, words sum) {
    mask some = lanes(job->rows - row);
    words exact = sub_words(sum, load_some_words(job->sums + row, some));
    reals scaled = mul16(reals_of(exact), load_some(job->scale + row, some));
    put(job, m, row, mul16(scaled, all16(job->largest[m])));
}

/* How many rows of x are multiplied at once, of those that are left: a tile of one or two would wait for memory. */
INLINE int next_rows(int left) { return left <= TILE ? left : left <= TILE + 2 ? (left + 1) / 2 : TILE; }

/* The sums of M rows of x, from the m-th after the first, over some steps, added to `total` [m][4] or beginning it.
   Tiles share the fetching of the next span, each in its turn, at a little more than the pace that it takes, which is 3
   to 5 % faster than at that; one alone leaves it to the processor, or to NEAR. */
#define TILE_OF(kind, M)                                                                                           \
    static void tile_##kind##_##M(const linear_job *job, const char *weight, long first, int m, long from, long to,\
                                  int turn, int turns, sum_##kind *total) {                                        \
        const char *x = (const char *)job->x + (first + m) * job->stride;                                          \
        const long stride = job->stride, span = (to - from) * STEP;                                                \
        const long pace = turns > 1 ? STEP / turns + 1 : AT_ONCE(M) < 4 ? STEP : 0;                                \
        const char *next = weight + from * STEP + (turns > 1 ? span + span / turns * turn : NEAR);                 \
        for (int part = 0; part < 4; part += AT_ONCE(M)) {                                                         \
            const char *at = weight + from * STEP + part * LINE;                                                   \
            sum_##kind sum[M][AT_ONCE(M)];                                                                         \
            EACH for (int r = 0; r < M; r++)                                                                       \
                EACH for (int i = 0; i < AT_ONCE(M); i++)                                                          \
                    sum[r][i] = zero_##kind();                                                                     \
            for (long step = from; step < to; step++, at += STEP, next += pace) {                                  \
                words w[AT_ONCE(M)];                                                                               \
                if (part == 0)                                                                                     \
                    for (long each = 0; each < pace; each += LINE)                                                 \
                        _mm_prefetch(next + each, _MM_HINT_T1);                                                    \
                EACH for (int i = 0; i < AT_ONCE(M); i++)                                                          \
                    w[i] = load_words(at + i * LINE);                                                              \
                EACH for (int r = 0; r < M; r++) {                                                                 \
                    words four = all_words(*(const int *)(x + r * stride + 4 * step));                             \
                    EACH for (int i = 0; i < AT_ONCE(M); i++)                                                      \
                        sum[r][i] = dot_##kind(sum[r][i], four, w[i]);                                             \
                }                                                                                                  \
            }                                                                                                      \
            EACH for (int r = 0; r < M; r++)                                                                       \
                EACH for (int i = 0; i < AT_ONCE(M); i++) {                                                        \
                    sum_##kind *own = total + (m + r) * 4 + part + i;                                              \
                    *own = from ? add_##kind(*own, sum[r][i]) : sum[r][i];                                         \
                }                                                                                                  \
        }                                                                                                          \
    }

/* block: up to MOST_ROWS rows of x times 64 rows of W. part: a thread's share of the blocks. */
#define LINEAR(kind)                                                                                               \
    TILE_OF(kind, 1)                                                                                               \
    TILE_OF(kind, 2)                                                                                               \
    TILE_OF(kind, 3)                                                                                               \
    TILE_OF(kind, 4)                                                                                               \
    TILE_OF(kind, 5)                                                                                               \
    TILE_OF(kind, 6)                                                                                               \
    static void block_##kind(const linear_job *job, long block, long first, int count) {                           \
        const char *weight = job->weight + block * job->steps * STEP;                                              \
        const int turns = (count + TILE - 1) / TILE;                                                               \
        sum_##kind total[MOST_ROWS * 4];                                                                           \
        for (long from = 0; from < job->steps; from += SPAN) {                                                     \
            long to = from + SPAN < job->steps ? from + SPAN : job->steps;                                         \
            for (int turn = 0, m = 0, rows; turn < turns; turn++, m += rows) {                                     \
                rows = next_rows(count - m);                                                                       \
                switch (rows) {                                                                                    \
                case 1: tile_##kind##_1(job, weight, first, m, from, to, turn, turns, total); break;               \
                case 2: tile_##kind##_2(job, weight, first, m, from, to, turn, turns, total); break;               \
                case 3: tile_##kind##_3(job, weight, first, m, from, to, turn, turns, total); break;               \
                case 4: tile_##kind##_4(job, weight, first, m, from, to, turn, turns, total); break;               \
                case 5: tile_##kind##_5(job, weight, first, m, from, to, turn, turns, total); break;               \
                default: tile_##kind##_6(job, weight, first, m, from, to, turn, turns, total); break;              \
                }                                                                                                  \
            }                                                                                                      \
        }                                                                                                          \
        for (int m = 0; m < count; m++)                                                                            \
            for (int i = 0; i < 4; i++)                                                                            \
                put_##kind(job, first + m, block * BLOCK + i * 16, total[m * 4 + i]);                              \
    }                                                                                                              \
    static void part_##kind(void *given) {                                                                         \
        const linear_job *job = given;                                                                             \
        long from, to;                                                                                             \
        share((job->rows + BLOCK - 1) / BLOCK, job->threads, &from, &to);                                          \
        const long fit = KEPT / (job->steps * STEP), kept = fit > 1 ? fit : 1;                                     \
        for (; from < to; from += kept)                                                                            \
            for (long first = 0; first < job->m; first += MOST_ROWS)                                               \
                for (long block = from; block < to && block < from + kept; block++)                                \
                    block_##kind(job, block, first, job->m - first < MOST_ROWS ? job->m - first : MOST_ROWS);      \
    }

LINEAR(bf16)
LINEAR(int8)

/* x [m, columns] and y [m, rows] are bfloat16, columns even; bias [rows] and residual [m, rows] may be null. */
void native_linear_bf16(const void *x, const void *weight, const void *bias, const void *residual, void *y, long m,
                        long rows, long columns, int threads) {
    linear_job job = {.x = x, .stride = 2 * columns, .weight = weight, .rows = rows, .steps = columns / 2,
                      .bias = bias, .residual = residual, .y = y, .m = m, .threads = threads};
    in_threads(part_bf16, &job, threads);
}

/* As native_linear_bf16, where `x` is what native_round made of the activations, with what it found in `largest`. */
void native_linear_int8(const void *x, const void *weight, const float *scale, const int *sums, const float *largest,
                        const void *bias, const void *residual, void *y, long m, long rows, long columns, int threads) {
    long steps = (columns + 3) / 4;
    linear_job job = {.x = x, .stride = 4 * steps, .weight = weight, .rows = rows, .steps = steps, .bias = bias,
                      .residual = residual, .scale = scale, .sums = sums, .largest = largest, .y = y, .m = m,
                      .threads = threads};
    in_threads(part_int8, &job, threads);
}
