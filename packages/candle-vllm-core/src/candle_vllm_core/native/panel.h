/* Small matrices in the processor's registers: products of bfloat16, powers of two. */
#pragma once
#include "lanes.h"

/* 2^x: Taylor's series of exp(x ln 2) between -1/2 and 1/2, its error below float32's own. */
INLINE reals exp2_16(reals x) {
    static const float c[] = {1.52527338e-5f, 1.54035304e-4f, 1.33335581e-3f, 9.61812911e-3f,
                              5.55041087e-2f, 2.40226507e-1f, 6.93147181e-1f, 1};
    x = max16(x, all16(-200));
    reals whole = whole16(x);
    reals rest = sub16(x, whole), sum = all16(c[0]);
    EACH for (int i = 1; i < 8; i++)
        sum = muladd16(sum, rest, all16(c[i]));
    return scale16(sum, whole);
}

static float exp2_1(float x) { return first16(exp2_16(all16(x))); }

/* y [M][16 N] = factor y + x w, where w is [steps][.. 16 N] pairs of bfloat16; no factor: y is begun. */
INLINE void product(const int M, const int N, const bf16 *x, long x_stride, const int *w, long w_stride, long steps,
                    float *y, long y_stride, const float *factor) {
    reals sum[TILE][4];
    EACH for (int r = 0; r < M; r++)
        EACH for (int i = 0; i < N; i++)
            sum[r][i] = factor ? mul16(load16(y + r * y_stride + i * 16), all16(factor[r])) : none16();
    for (long step = 0; step < steps; step++, w += w_stride) {
        words column[4];
        EACH for (int i = 0; i < N; i++)
            column[i] = load_words(w + i * 16);
        EACH for (int r = 0; r < M; r++) {
            int pair;
            memcpy(&pair, x + r * x_stride + 2 * step, sizeof pair);
            words both = all_words(pair);
            EACH for (int i = 0; i < N; i++)
                sum[r][i] = dot_bf16(sum[r][i], both, column[i]);
        }
    }
    EACH for (int r = 0; r < M; r++)
        EACH for (int i = 0; i < N; i++)
            store16(y + r * y_stride + i * 16, sum[r][i]);
}

#define PRODUCT(M)                                                                                           \
    case M:                                                                                                  \
        for (; columns - at >= 16 * AT_ONCE(M); at += 16 * AT_ONCE(M))                                       \
            product(M, AT_ONCE(M), x, x_stride, w + at, w_stride, steps, y + at, y_stride, factor);          \
        for (; at < columns; at += 16)                                                                       \
            product(M, 1, x, x_stride, w + at, w_stride, steps, y + at, y_stride, factor);                   \
        break;

static void multiply(long rows, long columns, const bf16 *x, long x_stride, const int *w, long w_stride, long steps,
                     float *y, long y_stride, const float *factor) {
    for (long m = 0; m < rows; m += TILE, x += TILE * x_stride, y += TILE * y_stride) {
        long at = 0;
        switch (rows - m < TILE ? rows - m : TILE) { PRODUCT(1) PRODUCT(2) PRODUCT(3) PRODUCT(4) PRODUCT(5) PRODUCT(6) }
        factor = factor ? factor + TILE : factor;
    }
}
