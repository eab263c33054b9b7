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
    const reals zero = none16();
    reals most = zero;
    mask wrong = 0;
    for (long c = 0; c < columns; c += 16) {
        reals v = wide_some(x + c, lanes(columns - c));
        wrong |= wrong16(v);
        most = max16(most, abs16(v));
    }
    *largest = wrong ? NAN : largest16(most);
    *largest += *largest - *largest; /* infinite: none */
    reals factor = *largest > 0 ? all16(127.0f / *largest) : zero;
    for (long c = 0; c < columns; c += 16) {
        mask some = lanes(columns - c);
        words nearest = words_of(mul16(wide_some(x + c, some), factor));
        words shifted = add_words(nearest, all_words(128));
        store_bytes(rounded + c, shifted, some);
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
