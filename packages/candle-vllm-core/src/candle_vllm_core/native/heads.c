/* Queries and keys as they attend: each head normalised, then rotated; keys and values into the cache. */
#include <math.h>
#include "lanes.h"
#include "parallel.h"

#define MOST_DIM 1024

typedef struct {
    const bf16 *projected;    /* [tokens, heads + 2 * kv_heads, dim] */
    const float *weight;      /* [heads + kv_heads, dim], or null: no normalisation */
    const float *cosines;     /* [tokens, turning], or null: no rotation */
    const float *sines;       /* [tokens, turning], those of each pair's first number negative */
    bf16 *q, *k, *v;          /* [tokens, heads, dim]; [.., kv_heads, dim] in slots `slot_stride` numbers apart */
    const long *slots;        /* [tokens], or null: 0, 1, 2 ... */
    long tokens, heads, kv_heads, dim, turning, slot_stride;
    float eps;
    int interleaved, threads;
} heads_job;

static void load(const bf16 *x, float *head, long dim) {
    for (long i = 0; i < dim; i += 16)
        store_some(head + i, wide_some(x + i, lanes(dim - i)), lanes(dim - i));
}

static void store(const float *head, bf16 *y, long dim) {
    for (long i = 0; i < dim; i += 16)
        round_some(y + i, load_some(head + i, lanes(dim - i)), lanes(dim - i));
}

static void normalise(float *head, const float *weight, long dim, float eps) {
    reals sum = none16();
    for (long i = 0; i < dim; i += 16) {
        reals v = load_some(head + i, lanes(dim - i));
        sum = muladd16(v, v, sum);
    }
    float factor = 1 / sqrtf(sum16(sum) / dim + eps);
    for (long i = 0; i < dim; i++)
        head[i] = head[i] * factor * weight[i];
}

static void rotate(const float *head, float *turned, const float *cosines, const float *sines, long turning,
                   int interleaved) {
    long half = turning / 2;
    if (interleaved)
        for (long i = 0; i < turning; i++)
            turned[i] = head[i] * cosines[i] + head[i ^ 1] * sines[i];
    else
        for (long i = 0; i < half; i++) {
            turned[i] = head[i] * cosines[i] + head[i + half] * sines[i];
            turned[i + half] = head[i + half] * cosines[i + half] + head[i] * sines[i + half];
        }
}

static void one_head(const heads_job *job, long token, long index, bf16 *y) {
    float head[MOST_DIM], turned[MOST_DIM];
    long all = job->heads + 2 * job->kv_heads;
    load(job->projected + (token * all + index) * job->dim, head, job->dim);
    if (job->weight)
        normalise(head, job->weight + index * job->dim, job->dim, job->eps);
    if (!job->cosines) {
        store(head, y, job->dim);
        return;
    }
    const float *cosines = job->cosines + token * job->turning, *sines = job->sines + token * job->turning;
    rotate(head, turned, cosines, sines, job->turning, job->interleaved);
    store(turned, y, job->turning);
    store(head + job->turning, y + job->turning, job->dim - job->turning);
}

static void heads_part(void *given) {
    const heads_job *job = given;
    long from, to, all = job->heads + 2 * job->kv_heads, dim = job->dim;
    share(job->tokens, job->threads, &from, &to);
    for (long token = from; token < to; token++) {
        long slot = (job->slots ? job->slots[token] : token) * job->slot_stride;
        const bf16 *values = job->projected + (token * all + job->heads + job->kv_heads) * dim;
        for (long h = 0; h < job->heads; h++)
            one_head(job, token, h, job->q + (token * job->heads + h) * dim);
        for (long h = 0; h < job->kv_heads; h++)
            one_head(job, token, job->heads + h, job->k + slot + h * dim);
        for (long i = 0; i < job->kv_heads * dim; i++)
            job->v[slot + i] = values[i];
    }
}

/* See `heads_job`; dim is at most 1024. */
void native_heads(const void *projected, const float *weight, const float *cosines, const float *sines, void *q,
                  void *k, void *v, const long *slots, long tokens, long heads, long kv_heads, long dim, long turning,
                  long slot_stride, float eps, int interleaved, int threads) {
    heads_job job = {projected, weight, cosines, sines, q, k, v, slots, tokens, heads, kv_heads, dim, turning,
                     slot_stride, eps, interleaved, threads};
    in_threads(heads_part, &job, threads);
}
