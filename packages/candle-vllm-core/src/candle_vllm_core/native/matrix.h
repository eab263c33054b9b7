/* A packed matrix of either kind. */
#pragma once
#include "lanes.h"

#define FEW 4 /* rows that one thread rounds */

typedef struct {
    const void *weight, *bias; /* bias may be null */
    const float *scale;        /* of 8-bit integers, as native_linear_int8 takes them; null for bfloat16 */
    const int *sums;
    long rows, columns;
} matrix;

void native_linear_bf16(const void *, const void *, const void *, const void *, void *, long, long, long, int);
void native_linear_int8(const void *, const void *, const float *, const int *, const float *, const void *,
                        const void *, void *, long, long, long, int);
void native_round(const void *, void *, float *, long, long, long, int);

/* Bytes of a row of 8-bit integers. */
static inline long rounded_stride(const matrix *w) { return (w->columns + 3) / 4 * 4; }

/* x [m, columns] as `w` takes it, in `rounded` and `largest` where that is 8-bit integers. */
static inline const void *taken(const matrix *w, const bf16 *x, uint8_t *rounded, float *largest, long m, int threads) {
    if (!w->scale)
        return x;
    native_round(x, rounded, largest, m, w->columns, rounded_stride(w), m > FEW ? threads : 1);
    return rounded;
}

/* y [m, rows] of what `taken` gave, from its `first` row on. */
static inline void times(const matrix *w, const void *x, const float *largest, long first, const bf16 *residual,
                         bf16 *y, long m, int threads) {
    if (!w->scale)
        native_linear_bf16((const bf16 *)x + first * w->columns, w->weight, w->bias, residual, y, m, w->rows,
                           w->columns, threads);
    else
        native_linear_int8((const uint8_t *)x + first * rounded_stride(w), w->weight, w->scale, w->sums,
                           largest + first, w->bias, residual, y, m, w->rows, w->columns, threads);
}
