/* A decoder layer of the most usual kind in one call: for few rows, what stands between two products of matrices is
   computed sooner than it is asked for one by one. Each part is the function that is called by itself elsewhere. */
#include "matrix.h"

#define ALONE (1 << 15) /* so many numbers are worth more than one thread */

typedef struct {
    const void *weight; /* null: no normalisation */
    long is_wide;
    float eps;
} norm;

typedef struct {
    norm before_attention, of_heads, before_feed_forward;
    matrix qkv, out, gate_up, down;
    const void *sinks;
    long heads, kv_heads, head_dim, turning, is_interleaved, window, is_gelu;
    float scale, softcap;
} layer;

typedef struct {
    const long *slots;
    void *sequences;
    float *room;
    long rows, count, block_size, threads, attention_threads;
} step;

/* Where things lie for a while: as many rows of each as the step has. */
typedef struct {
    bf16 *seen, *projected, *q, *attended, *sum, *gate_up, *inner; /* sum: the residual stream after attention */
    uint8_t *rounded;
    float *largest;
} places;

void native_rms_norm(const void *, long, const void *, int, void *, long, long, float, int);
void native_gated(const void *, void *, long, long, int, int);
void native_heads(const void *, const float *, const float *, const float *, void *, void *, void *, const long *, long,
                  long, long, long, long, long, float, int, int);
void native_attention(const void *, const void *, const void *, void *, const void *, void *, float *, long, long, long,
                      long, long, long, long, long, float, float, int);

static void multiply(const matrix *w, const bf16 *x, const bf16 *residual, bf16 *y, const step *s, const places *p) {
    const void *given = taken(w, x, p->rounded, p->largest, s->rows, s->threads);
    times(w, given, p->largest, 0, residual, y, s->rows, s->threads);
}

static int threads_for(const step *s, long width) { return s->rows > 1 && s->rows * width >= ALONE ? s->threads : 1; }

static void normalise(const norm *n, const bf16 *x, bf16 *y, long dim, const step *s) {
    native_rms_norm(x, dim, n->weight, n->is_wide, y, s->rows, dim, n->eps, threads_for(s, dim));
}

static void attend(const layer *l, const step *s, bf16 *cache, long slot_stride, const float *cosines,
                   const float *sines, const places *p) {
    bf16 *values = cache + l->kv_heads * l->head_dim;
    native_heads(p->projected, l->of_heads.weight, cosines, sines, p->q, cache, values, s->slots, s->rows, l->heads,
                 l->kv_heads, l->head_dim, l->turning, slot_stride, l->of_heads.eps, l->is_interleaved,
                 threads_for(s, l->qkv.rows));
    native_attention(p->q, cache, values, p->attended, l->sinks, s->sequences, s->room, s->count, l->heads, l->kv_heads,
                     l->head_dim, l->head_dim, slot_stride, s->block_size, l->window, l->scale, l->softcap,
                     s->attention_threads);
}

/* From x [rows, dim] to y, the residual stream before and after the layer; keys and values go to the cache [slots, 2,
   kv_heads, head_dim]. Cosines and sines are as native_heads takes them, or null. */
void native_layer(const layer *l, const step *s, const places *p, const void *x, void *y, void *cache, long slot_stride,
                  const float *cosines, const float *sines) {
    long dim = l->out.rows, width = l->down.columns;
    normalise(&l->before_attention, x, p->seen, dim, s);
    multiply(&l->qkv, p->seen, 0, p->projected, s, p);
    attend(l, s, cache, slot_stride, cosines, sines, p);
    multiply(&l->out, p->attended, x, p->sum, s, p);
    normalise(&l->before_feed_forward, p->sum, p->seen, dim, s);
    multiply(&l->gate_up, p->seen, 0, p->gate_up, s, p);
    native_gated(p->gate_up, p->inner, s->rows, width, l->is_gelu, threads_for(s, width));
    multiply(&l->down, p->inner, p->sum, y, s, p);
}
