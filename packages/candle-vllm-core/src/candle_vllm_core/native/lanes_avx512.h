/* Sixteen lanes in one register, for processors that multiply bfloat16 and 8-bit integers themselves. */

#define TILE 6       /* rows whose sums have room in the registers, */
#define AT_ONCE(M) 4 /* so many times 16 for each of M rows */

typedef __m512 reals; /* float32 */
typedef __m512i words; /* 32 bits: an integer, two bfloat16 or four 8-bit integers */

INLINE reals all16(float x) { return _mm512_set1_ps(x); }
INLINE reals none16(void) { return _mm512_setzero_ps(); }
INLINE reals load16(const float *from) { return _mm512_loadu_ps(from); }
INLINE reals load_some(const float *from, mask some) { return _mm512_maskz_loadu_ps(some, from); }
INLINE void store16(float *to, reals x) { _mm512_storeu_ps(to, x); }
INLINE void store_some(float *to, reals x, mask some) { _mm512_mask_storeu_ps(to, some, x); }
INLINE reals add16(reals a, reals b) { return _mm512_add_ps(a, b); }
INLINE reals sub16(reals a, reals b) { return _mm512_sub_ps(a, b); }
INLINE reals mul16(reals a, reals b) { return _mm512_mul_ps(a, b); }
INLINE reals div16(reals a, reals b) { return _mm512_div_ps(a, b); }
INLINE reals min16(reals a, reals b) { return _mm512_min_ps(a, b); }
INLINE reals max16(reals a, reals b) { return _mm512_max_ps(a, b); }
INLINE reals abs16(reals x) { return _mm512_abs_ps(x); }
INLINE reals muladd16(reals a, reals b, reals c) { return _mm512_fmadd_ps(a, b, c); }  /* a b + c */
INLINE reals mulsub16(reals a, reals b, reals c) { return _mm512_fnmadd_ps(a, b, c); } /* c - a b */
INLINE reals whole16(reals x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE reals scale16(reals x, reals n) { return _mm512_scalef_ps(x, n); } /* x 2^n, n whole */
INLINE reals choose16(mask which, reals a, reals b) { return _mm512_mask_blend_ps(which, b, a); } /* a where a bit is */
INLINE mask wrong16(reals x) { return _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q); } /* NaN */
INLINE float sum16(reals x) { return _mm512_reduce_add_ps(x); }
INLINE float largest16(reals x) { return _mm512_reduce_max_ps(x); }
INLINE float first16(reals x) { return _mm512_cvtss_f32(x); }

INLINE words no_words(void) { return _mm512_setzero_si512(); }
INLINE words all_words(int x) { return _mm512_set1_epi32(x); }
INLINE words load_words(const void *from) { return _mm512_loadu_si512(from); }
INLINE words load_some_words(const void *from, mask some) { return _mm512_maskz_loadu_epi32(some, from); }
INLINE void store_words(void *to, words x) { _mm512_storeu_si512(to, x); }
INLINE words add_words(words a, words b) { return _mm512_add_epi32(a, b); }
INLINE words sub_words(words a, words b) { return _mm512_sub_epi32(a, b); }
INLINE reals reals_of(words x) { return _mm512_cvtepi32_ps(x); }
INLINE words words_of(reals x) { return _mm512_cvtps_epi32(x); } /* to the nearest even */
INLINE void store_bytes(uint8_t *to, words x, mask some) { _mm512_mask_cvtepi32_storeu_epi8(to, some, x); }

/* Numbers as 32 bits with zeros above them. */
INLINE words narrow(const bf16 *from, mask some) {
    return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(some, from));
}

INLINE reals wide_some(const bf16 *from, mask some) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(narrow(from, some), 16));
}

INLINE reals wide16(const bf16 *from) {
    __m256i found = _mm256_loadu_si256((const void *)from);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(found), 16));
}

/* Rounded to the nearest even. */
INLINE void round_some(bf16 *to, reals x, mask some) {
    _mm256_mask_storeu_epi16(to, some, (__m256i)_mm512_cvtneps_pbh(x));
}

/* Pairs of a number of `a` and one of `b`, 32 of them; zeros after the first `left` numbers. */
INLINE void store_pairs(int *to, const bf16 *a, const bf16 *b, long left) {
    static const uint16_t low[32] = {0,  32, 1,  33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                     8,  40, 9,  41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
    const words lows = _mm512_loadu_si512(low), highs = _mm512_add_epi16(lows, _mm512_set1_epi16(16));
    __mmask32 some = left >= 32 ? ~0u : (1u << left) - 1;
    words first = _mm512_maskz_loadu_epi16(some, a), second = _mm512_maskz_loadu_epi16(some, b);
    store_words(to, _mm512_permutex2var_epi16(first, lows, second));
    store_words(to + 16, _mm512_permutex2var_epi16(first, highs, second));
}

/* sum + x w, of two bfloat16 each, and of four integers each: those of x are from 0 to 255, those of w signed. */
INLINE reals dot_bf16(reals sum, words x, words w) { return _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)w); }
INLINE words dot_int8(words sum, words x, words w) { return _mm512_dpbusd_epi32(sum, x, w); }

/* Rows become columns. */
INLINE void transpose(words r[16]) {
    words t[16];
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
        words a = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88), b = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xdd);
        words c = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88);
        words d = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xdd);
        t[j] = _mm512_shuffle_i32x4(a, c, 0x88);
        t[4 + j] = _mm512_shuffle_i32x4(b, d, 0x88);
        t[8 + j] = _mm512_shuffle_i32x4(a, c, 0xdd);
        t[12 + j] = _mm512_shuffle_i32x4(b, d, 0xdd);
    }
    EACH for (int i = 0; i < 16; i++)
        r[i] = t[i];
}
