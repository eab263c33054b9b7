/* Small matrices in the processor's registers: products of bfloat16, transposition, powers of two. */
#pragma once
#include <string.h>
#include "lanes.h"

#define TILE 6 /* rows whose sums have room in the processor's registers, 4 each */
#define EACH _Pragma("GCC unroll 8")
#define INLINE static inline __attribute__((always_inline))

/* 2^x: Taylor's series of exp(x ln 2) between -1/2 and 1/2, its error below float32's own. */
INLINE __m512 exp2_16(__m512 x) {
    static const float c[] = {1.52527338e-5f, 1.54035304e-4f, 1.33335581e-3f, 9.61812911e-3f,
                              5.55041087e-2f, 2.40226507e-1f, 6.93147181e-1f, 1};
    x = _mm512_max_ps(x, _mm512_set1_ps(-200));
    __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 rest = _mm512_sub_ps(x, whole), sum = _mm512_set1_ps(c[0]);
    EACH for (int i = 1; i < 8; i++)
        sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(c[i]));
    return _mm512_scalef_ps(sum, whole);
}

static float exp2_1(float x) { return _mm512_cvtss_f32(exp2_16(_mm512_set1_ps(x))); }

/* y [M][16 N] = factor y + x w, where w is [steps][.. 16 N] pairs of bfloat16; no factor: y is begun. */
INLINE void product(const int M, const int N, const bf16 *x, long x_stride, const int *w, long w_stride, long steps,
                    float *y, long y_stride, const float *factor) {
    __m512 sum[TILE][4];
    EACH for (int r = 0; r < M; r++)
        EACH for (int i = 0; i < N; i++)
            sum[r][i] = factor ? _mm512_mul_ps(_mm512_loadu_ps(y + r * y_stride + i * 16), _mm512_set1_ps(factor[r]))
                               : _mm512_setzero_ps();
    for (long step = 0; step < steps; step++, w += w_stride) {
        __m512bh column[4];
        EACH for (int i = 0; i < N; i++)
            column[i] = (__m512bh)_mm512_loadu_si512(w + i * 16);
        EACH for (int r = 0; r < M; r++) {
            int pair;
            memcpy(&pair, x + r * x_stride + 2 * step, sizeof pair);
            EACH for (int i = 0; i < N; i++)
                sum[r][i] = _mm512_dpbf16_ps(sum[r][i], (__m512bh)_mm512_set1_epi32(pair), column[i]);
        }
    }
    EACH for (int r = 0; r < M; r++)
        EACH for (int i = 0; i < N; i++)
            _mm512_storeu_ps(y + r * y_stride + i * 16, sum[r][i]);
}

#define PRODUCT(M)                                                                                           \
    case M:                                                                                                  \
        for (; columns - at >= 64; at += 64)                                                                 \
            product(M, 4, x, x_stride, w + at, w_stride, steps, y + at, y_stride, factor);                   \
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

/* Rows become columns: 16 of 16 numbers of 4 bytes. */
INLINE void transpose(__m512i r[16]) {
    __m512i t[16];
    EACH for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    EACH for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    EACH for (int j = 0; j < 4; j++) {
        __m512i a = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88), b = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xdd);
        __m512i c = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88);
        __m512i d = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xdd);
        t[j] = _mm512_shuffle_i32x4(a, c, 0x88);
        t[4 + j] = _mm512_shuffle_i32x4(b, d, 0x88);
        t[8 + j] = _mm512_shuffle_i32x4(a, c, 0xdd);
        t[12 + j] = _mm512_shuffle_i32x4(b, d, 0xdd);
    }
    EACH for (int i = 0; i < 16; i++)
        r[i] = t[i];
}
