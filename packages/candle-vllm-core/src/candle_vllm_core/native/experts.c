/* The experts of a mixture, each times its own rows, into one result. */
#include "matrix.h"
#include "parallel.h"

/* x [pairs, columns] sorted by expert, `counts` rows for each of `count` matrices of one shape and kind: y [pairs, rows].
   `rounded` and `largest` have room for x as 8-bit integers, where the matrices are such. */
void native_experts(const matrix *experts, const long *counts, long count, const void *x, void *rounded, float *largest,
                    void *y, long pairs, int threads) {
    const void *given = taken(experts, x, rounded, largest, pairs, threads);
    long first = 0;
    for (long i = 0; i < count; first += counts[i], i++)
        if (counts[i])
            times(experts + i, given, largest, first, 0, (bf16 *)y + first * experts->rows, counts[i], threads);
}

typedef struct {
    const bf16 *given, *added[2];
    const long *places;
    const float *weights;
    bf16 *y;
    long tokens, choices, dim;
    int threads;
} combine_job;

static void combine_part(void *job_) {
    const combine_job *job = job_;
    long from, to, dim = job->dim;
    share(job->tokens, job->threads, &from, &to);
    for (long token = from; token < to; token++)
        for (long i = 0; i < dim; i += 16) {
            mask some = lanes(dim - i);
            reals sum = none16();
            for (long pair = token * job->choices; pair < (token + 1) * job->choices; pair++) {
                reals its = wide_some(job->given + job->places[pair] * dim + i, some);
                sum = muladd16(its, all16(job->weights[pair]), sum);
            }
            for (int each = 0; each < 2; each++)
                if (job->added[each])
                    sum = add16(sum, wide_some(job->added[each] + token * dim + i, some));
            round_some(job->y + token * dim + i, sum, some);
        }
}

/* y [tokens, dim]: the sum of what a token's experts give, weighed, and of `added` [tokens, dim], which may be null.
   Pair p, of token p / choices, has weight p [pairs], and row places[p] of what is given [pairs, dim]. */
void native_combine(const void *given, const long *places, const float *weights, const void *added, const void *more,
                    void *y, long tokens, long choices, long dim, int threads) {
    combine_job job = {given, {added, more}, places, weights, y, tokens, choices, dim, threads};
    in_threads(combine_part, &job, threads);
}
