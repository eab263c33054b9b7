/* Sixteen numbers at once: what the other files compute with. Each kind of processor has a file that says how. */
#pragma once
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define EACH _Pragma("GCC unroll 8")
#define INLINE static inline __attribute__((always_inline))

typedef uint16_t bf16;
typedef uint16_t mask; /* a bit for each of sixteen lanes */

#define EVERY ((mask)0xffff)

/* The lanes that `left` numbers fill, at most all. */
INLINE mask lanes(long left) { return left >= 16 ? EVERY : left <= 0 ? 0 : (mask)((1u << left) - 1); }

#if defined(__AVX512BF16__) && defined(__AVX512VNNI__)
#include "lanes_avx512.h"
#else
#include "lanes_avx2.h"
#endif

/* Numbers too small to be normal count as 0 until `denormals_as` is given what this returned. */
INLINE unsigned denormals_off(void) {
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);
    return before;
}

INLINE void denormals_as(unsigned before) { _mm_setcsr(before); }
