/* Sixteen bfloat16 as sixteen float32, and back, rounded to the nearest even. */
#pragma once
#include <immintrin.h>
#include <stdint.h>

typedef uint16_t bf16;

static inline __m512 wide(const bf16 *from) {
    __m256i narrow = _mm256_loadu_si256((const void *)from);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(narrow), 16));
}

static inline __m512 wide_some(const bf16 *from, __mmask16 some) {
    __m256i narrow = _mm256_maskz_loadu_epi16(some, from);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(narrow), 16));
}

static inline void store_some(bf16 *to, __m512 value, __mmask16 some) {
    _mm256_mask_storeu_epi16(to, some, (__m256i)_mm512_cvtneps_pbh(value));
}

/* The lanes that `left` numbers fill, at most all. */
static inline __mmask16 lanes(long left) { return left >= 16 ? 0xffff : left <= 0 ? 0 : (1u << left) - 1; }
