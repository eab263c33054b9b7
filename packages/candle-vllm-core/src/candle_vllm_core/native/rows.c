/* What a layer does to each row by itself; sums are float32, and a row's are the same whatever rows stand beside it. */
#include <math.h>
#include "lanes.h"
#include "parallel.h"

/* e^x within 2 units of the last place: x is brought into [-ln 2 / 2, ln 2 / 2], where seven terms are enough. */
static inline __m512 power_of_e(__m512 x) {
    x = _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(-104)), _mm512_set1_ps(89));
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    const float terms[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1, 1};
    __m512 sum = _mm512_set1_ps(terms[0]);
    for (int i = 1; i < 7; i++)
        sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(terms[i]));
    return _mm512_scalef_ps(sum, n);
}

/* x / (1 + e^-t) */
static inline __m512 share_of(__m512 x, __m512 t) {
    __m512 below = _mm512_add_ps(_mm512_set1_ps(1), power_of_e(_mm512_sub_ps(_mm512_setzero_ps(), t)));
    return _mm512_div_ps(x, below);
}

/* gelu by tanh, written as x / (1 + e^-t) with t = 2 sqrt(2 / pi) (x + 0.044715 x^3) */
static inline __m512 gelu(__m512 x) {
    __m512 cube = _mm512_mul_ps(_mm512_mul_ps(x, x), _mm512_mul_ps(x, _mm512_set1_ps(0.044715f)));
    return share_of(x, _mm512_mul_ps(_mm512_add_ps(x, cube), _mm512_set1_ps(1.59576912f)));
}

typedef struct {
    const bf16 *gate_up;
    bf16 *y;
    long m, width;
    int is_gelu, threads;
} gated_job;

static void gated_part(void *given) {
    const gated_job *job = given;
    long from, to;
    share(job->m, job->threads, &from, &to);
    for (long m = from; m < to; m++) {
        const bf16 *gate = job->gate_up + m * 2 * job->width, *up = gate + job->width;
        for (long i = 0; i < job->width; i += 16) {
            __mmask16 some = lanes(job->width - i);
            __m512 x = wide_some(gate + i, some);
            x = job->is_gelu ? gelu(x) : share_of(x, x);
            store_some(job->y + m * job->width + i, _mm512_mul_ps(x, wide_some(up + i, some)), some);
        }
    }
}

/* gate_up [m, 2 * width] to act(gate) * up [m, width], where act is silu or gelu by tanh. */
void native_gated(const void *gate_up, void *y, long m, long width, int is_gelu, int threads) {
    gated_job job = {gate_up, y, m, width, is_gelu, threads};
    in_threads(gated_part, &job, threads);
}

/* 1 / sqrt(mean of squares + eps), of numbers in lanes that are summed in an order that only `dim` says */
static inline float inverse_length(const bf16 *x, long dim, float eps) {
    __m512 sum = _mm512_setzero_ps();
    for (long i = 0; i < dim; i += 16) {
        __m512 v = wide_some(x + i, lanes(dim - i));
        sum = _mm512_fmadd_ps(v, v, sum);
    }
    return 1 / sqrtf(_mm512_reduce_add_ps(sum) / dim + eps);
}

typedef struct {
    const bf16 *x;
    long stride;
    const void *weight;
    bf16 *y;
    long m, dim;
    float eps;
    int is_wide, threads;
} norm_job;

static void norm_part(void *given) {
    const norm_job *job = given;
    long from, to, dim = job->dim;
    share(job->m, job->threads, &from, &to);
    for (long m = from; m < to; m++) {
        const bf16 *x = job->x + m * job->stride;
        __m512 factor = _mm512_set1_ps(inverse_length(x, dim, job->eps));
        for (long i = 0; i < dim; i += 16) {
            __mmask16 some = lanes(dim - i);
            __m512 v = _mm512_mul_ps(wide_some(x + i, some), factor);
            __m512 weight = job->is_wide ? _mm512_maskz_loadu_ps(some, (const float *)job->weight + i)
                                         : wide_some((const bf16 *)job->weight + i, some);
            store_some(job->y + m * dim + i, _mm512_mul_ps(v, weight), some);
        }
    }
}

/* Rows x [m, dim], `stride` numbers apart, over the root of their mean square, times weight [dim], which is float32 or
   bfloat16 (Zhang and Sennrich 2019). */
void native_rms_norm(const void *x, long stride, const void *weight, int is_wide, void *y, long m, long dim, float eps,
                     int threads) {
    norm_job job = {x, stride, weight, y, m, dim, eps, is_wide, threads};
    in_threads(norm_part, &job, threads);
}
