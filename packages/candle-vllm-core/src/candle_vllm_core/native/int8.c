/* Activations as 8-bit integers. */
#include <math.h>
#include "lanes.h"
#include "parallel.h"

typedef struct {
    const bf16 *x;
    uint8_t *rounded;
    float *largest;
    long m, columns, stride;
    int threads;
} round_job;

static void round_row(const bf16 *x, uint8_t *rounded, float *largest, long columns) {
    const __m512 zero = _mm512_setzero_ps();
    __m512 most = zero;
    __mmask16 wrong = 0;
    for (long c = 0; c < columns; c += 16) {
        __m512 v = wide_some(x + c, lanes(columns - c));
        wrong |= _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
        most = _mm512_max_ps(most, _mm512_abs_ps(v));
    }
    *largest = wrong ? NAN : _mm512_reduce_max_ps(most);
    __m512 factor = *largest > 0 ? _mm512_set1_ps(127.0f / *largest) : zero;
    for (long c = 0; c < columns; c += 16) {
        __mmask16 some = lanes(columns - c);
        __m512i nearest = _mm512_cvtps_epi32(_mm512_mul_ps(wide_some(x + c, some), factor));
        __m512i shifted = _mm512_add_epi32(nearest, _mm512_set1_epi32(128));
        _mm512_mask_cvtepi32_storeu_epi8(rounded + c, some, shifted);
    }
}

static void round_part(void *given) {
    const round_job *job = given;
    long from, to;
    share(job->m, job->threads, &from, &to);
    for (long m = from; m < to; m++)
        round_row(job->x + m * job->columns, job->rounded + m * job->stride, job->largest + m, job->columns);
}

/* x [m, columns] bfloat16 to bytes [m, stride] from 1 to 255, 128 for zero, and each row's largest size [m]. */
void native_round(const void *x, void *rounded, float *largest, long m, long columns, long stride, int threads) {
    round_job job = {x, rounded, largest, m, columns, stride, threads};
    in_threads(round_part, &job, threads);
}
