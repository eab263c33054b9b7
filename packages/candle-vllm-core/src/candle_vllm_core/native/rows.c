/* What a layer does to each row by itself; sums are float32, and a row's are the same whatever rows stand beside it. */
#include <math.h>
#include "lanes.h"
#include "parallel.h"

/* e^x within 2 units of the last place: x is brought into [-ln 2 / 2, ln 2 / 2], where seven terms are enough. */
static inline reals power_of_e(reals x) {
    x = min16(max16(x, all16(-104)), all16(89));
    reals n = whole16(mul16(x, all16(1.44269504f)));
    reals r = mulsub16(n, all16(0.693359375f), x);
    r = mulsub16(n, all16(-2.12194440e-4f), r);
    const float terms[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1, 1};
    reals sum = all16(terms[0]);
    for (int i = 1; i < 7; i++)
        sum = muladd16(sum, r, all16(terms[i]));
    return scale16(sum, n);
}

/* x / (1 + e^-t) */
static inline reals share_of(reals x, reals t) {
    reals below = add16(all16(1), power_of_e(sub16(none16(), t)));
    return div16(x, below);
}

/* gelu by tanh, written as x / (1 + e^-t) with t = 2 sqrt(2 / pi) (x + 0.044715 x^3) */
static inline reals gelu(reals x) {
    reals cube = mul16(mul16(x, x), mul16(x, all16(0.044715f)));
    return share_of(x, mul16(add16(x, cube), all16(1.59576912f)));
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
            mask some = lanes(job->width - i);
            reals x = wide_some(gate + i, some);
            x = job->is_gelu ? gelu(x) : share_of(x, x);
            round_some(job->y + m * job->width + i, mul16(x, wide_some(up + i, some)), some);
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
    reals sum = none16();
    for (long i = 0; i < dim; i += 16) {
        reals v = wide_some(x + i, lanes(dim - i));
        sum = muladd16(v, v, sum);
    }
    return 1 / sqrtf(sum16(sum) / dim + eps);
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
        reals factor = all16(inverse_length(x, dim, job->eps));
        for (long i = 0; i < dim; i += 16) {
            mask some = lanes(dim - i);
            reals v = mul16(wide_some(x + i, some), factor);
            reals weight = job->is_wide ? load_some((const float *)job->weight + i, some)
                                         : wide_some((const bf16 *)job->weight + i, some);
            round_some(job->y + m * dim + i, mul16(v, weight), some);
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
