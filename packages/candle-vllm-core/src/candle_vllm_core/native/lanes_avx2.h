/* Sixteen lanes in two registers, for processors with AVX2 and FMA, which know neither masks nor bfloat16. */

#define TILE 6                                       /* rows whose sums have room in the registers, */
#define AT_ONCE(M) ((M) == 1 ? 4 : (M) == 2 ? 2 : 1) /* so many times 16 for each of M rows */

typedef struct { __m256 a, b; } reals;  /* float32 */
typedef struct { __m256i a, b; } words; /* 32 bits: an integer, two bfloat16 or four 8-bit integers */

#define BOTH(kind, f, x) ((kind){f((x).a), f((x).b)})
#define BOTH_OF(kind, f, x, y) ((kind){f((x).a, (y).a), f((x).b, (y).b)})

INLINE reals all16(float x) { return (reals){_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
INLINE reals none16(void) { return all16(0); }
INLINE reals load16(const float *from) { return (reals){_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
INLINE void store16(float *to, reals x) { _mm256_storeu_ps(to, x.a), _mm256_storeu_ps(to + 8, x.b); }
INLINE reals add16(reals x, reals y) { return BOTH_OF(reals, _mm256_add_ps, x, y); }
INLINE reals sub16(reals x, reals y) { return BOTH_OF(reals, _mm256_sub_ps, x, y); }
INLINE reals mul16(reals x, reals y) { return BOTH_OF(reals, _mm256_mul_ps, x, y); }
INLINE reals div16(reals x, reals y) { return BOTH_OF(reals, _mm256_div_ps, x, y); }
INLINE reals min16(reals x, reals y) { return BOTH_OF(reals, _mm256_min_ps, x, y); }
INLINE reals max16(reals x, reals y) { return BOTH_OF(reals, _mm256_max_ps, x, y); }
INLINE reals muladd16(reals x, reals y, reals z) { /* x y + z */
    return (reals){_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
INLINE reals mulsub16(reals x, reals y, reals z) { /* z - x y */
    return (reals){_mm256_fnmadd_ps(x.a, y.a, z.a), _mm256_fnmadd_ps(x.b, y.b, z.b)};
}

INLINE words no_words(void) { return (words){_mm256_setzero_si256(), _mm256_setzero_si256()}; }
INLINE words all_words(int x) { return (words){_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
INLINE words load_words(const void *from) {
    return (words){_mm256_loadu_si256(from), _mm256_loadu_si256((const __m256i *)from + 1)};
}
INLINE void store_words(void *to, words x) {
    _mm256_storeu_si256(to, x.a), _mm256_storeu_si256((__m256i *)to + 1, x.b);
}
INLINE words add_words(words x, words y) { return BOTH_OF(words, _mm256_add_epi32, x, y); }
INLINE words sub_words(words x, words y) { return BOTH_OF(words, _mm256_sub_epi32, x, y); }
INLINE words and_words(words x, words y) { return BOTH_OF(words, _mm256_and_si256, x, y); }
INLINE words up_words(words x, int by) { return (words){_mm256_slli_epi32(x.a, by), _mm256_slli_epi32(x.b, by)}; }
INLINE words down_words(words x, int by) { return (words){_mm256_srli_epi32(x.a, by), _mm256_srli_epi32(x.b, by)}; }
INLINE reals reals_of(words x) { return BOTH(reals, _mm256_cvtepi32_ps, x); }
INLINE words words_of(reals x) { return BOTH(words, _mm256_cvtps_epi32, x); } /* to the nearest even */
INLINE reals as_reals(words x) { return BOTH(reals, _mm256_castsi256_ps, x); }
INLINE words as_words(reals x) { return BOTH(words, _mm256_castps_si256, x); }

INLINE reals abs16(reals x) { return as_reals(and_words(as_words(x), all_words(0x7fffffff))); }
INLINE reals whole16(reals x) {
    const int how = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    return (reals){_mm256_round_ps(x.a, how), _mm256_round_ps(x.b, how)};
}

/* x 2^n, n whole: by halves of n, since 2^n itself may be no float32 where the result is one. */
INLINE reals scale16(reals x, reals n) {
    words all = words_of(min16(max16(n, all16(-250)), all16(250)));
    words half = {_mm256_srai_epi32(all.a, 1), _mm256_srai_epi32(all.b, 1)};
    reals first = as_reals(up_words(add_words(half, all_words(127)), 23));
    reals second = as_reals(up_words(add_words(sub_words(all, half), all_words(127)), 23));
    return mul16(mul16(x, first), second);
}

/* 32 bits of ones for each bit. */
INLINE words spread(mask some) {
    const __m256i low = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128), high = _mm256_slli_epi32(low, 8);
    const __m256i all = _mm256_set1_epi32(some);
    return (words){_mm256_cmpeq_epi32(_mm256_and_si256(all, low), low),
                   _mm256_cmpeq_epi32(_mm256_and_si256(all, high), high)};
}

INLINE reals choose16(mask which, reals x, reals y) { /* x where a bit is */
    reals there = as_reals(spread(which));
    return (reals){_mm256_blendv_ps(y.a, x.a, there.a), _mm256_blendv_ps(y.b, x.b, there.b)};
}
INLINE mask wrong16(reals x) { /* NaN */
    int low = _mm256_movemask_ps(_mm256_cmp_ps(x.a, x.a, _CMP_UNORD_Q));
    return low | _mm256_movemask_ps(_mm256_cmp_ps(x.b, x.b, _CMP_UNORD_Q)) << 8;
}

INLINE words load_some_words(const void *from, mask some) {
    words there = spread(some);
    return (words){_mm256_maskload_epi32(from, there.a), _mm256_maskload_epi32((const int *)from + 8, there.b)};
}
INLINE reals load_some(const float *from, mask some) { return as_reals(load_some_words(from, some)); }
INLINE void store_some(float *to, reals x, mask some) {
    words there = spread(some);
    _mm256_maskstore_ps(to, there.a, x.a), _mm256_maskstore_ps(to + 8, there.b, x.b);
}

INLINE float first16(reals x) { return _mm256_cvtss_f32(x.a); }
INLINE float sum16(reals x) {
    __m256 eight = _mm256_add_ps(x.a, x.b);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
INLINE float largest16(reals x) {
    __m256 eight = _mm256_max_ps(x.a, x.b);
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}

/* 32 bytes, or the first ones of them: masks of loads and stores here are of the first lanes. */
INLINE __m256i first_numbers(const bf16 *from, mask some) {
    if (some == EVERY)
        return _mm256_loadu_si256((const void *)from);
    bf16 room[16] = {0};
    memcpy(room, from, __builtin_popcount(some) * sizeof(bf16));
    return _mm256_loadu_si256((const void *)room);
}

/* Numbers as 32 bits with zeros above them. */
INLINE words narrow(const bf16 *from, mask some) {
    __m256i found = first_numbers(from, some);
    return (words){_mm256_cvtepu16_epi32(_mm256_castsi256_si128(found)),
                   _mm256_cvtepu16_epi32(_mm256_extracti128_si256(found, 1))};
}

INLINE reals wide_some(const bf16 *from, mask some) { return as_reals(up_words(narrow(from, some), 16)); }
INLINE reals wide16(const bf16 *from) { return wide_some(from, EVERY); }

/* Sixteen numbers below 65,536, in their order. */
INLINE __m256i halves(words x) {
    return _mm256_permute4x64_epi64(_mm256_packus_epi32(x.a, x.b), 0xd8);
}

/* Rounded to the nearest even; NaN stays NaN. */
INLINE void round_some(bf16 *to, reals x, mask some) {
    words bits = as_words(x), odd = and_words(down_words(bits, 16), all_words(1));
    words rounded = down_words(add_words(bits, add_words(odd, all_words(0x7fff))), 16);
    __m256i found = halves(as_words(choose16(wrong16(x), as_reals(all_words(0x7fc0)), as_reals(rounded))));
    if (some == EVERY) {
        _mm256_storeu_si256((void *)to, found);
        return;
    }
    bf16 room[16];
    _mm256_storeu_si256((void *)room, found);
    memcpy(to, room, __builtin_popcount(some) * sizeof(bf16));
}

INLINE void store_bytes(uint8_t *to, words x, mask some) {
    __m256i found = halves(x);
    __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(found), _mm256_extracti128_si256(found, 1));
    uint8_t room[16];
    _mm_storeu_si128((void *)room, bytes);
    memcpy(to, room, __builtin_popcount(some));
}

/* Pairs of a number of `a` and one of `b`, 32 of them; zeros after the first `left` numbers. */
INLINE void store_pairs(int *to, const bf16 *a, const bf16 *b, long left) {
    EACH for (int i = 0; i < 32; i += 16) {
        words low = narrow(a + i, lanes(left - i)), high = up_words(narrow(b + i, lanes(left - i)), 16);
        store_words(to + i, BOTH_OF(words, _mm256_or_si256, low, high));
    }
}

/* sum + x w, of two bfloat16 each: those in the higher half are float32 when the lower is taken away. */
INLINE reals dot_bf16(reals sum, words x, words w) {
    const words high = all_words(0xffff0000);
    sum = muladd16(as_reals(up_words(x, 16)), as_reals(up_words(w, 16)), sum);
    return muladd16(as_reals(and_words(x, high)), as_reals(and_words(w, high)), sum);
}

/* The same of four integers each, those of x from 0 to 255, those of w signed: as 16 bits, since the instruction for
   8 bits cuts off what is too large. */
INLINE __m256i dot_eight(__m256i sum, __m256i x, __m256i w) {
    __m256i low = _mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8), high = _mm256_srai_epi16(w, 8);
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_and_si256(x, _mm256_set1_epi16(0xff)), low));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_srli_epi16(x, 8), high));
}
INLINE words dot_int8(words sum, words x, words w) {
    return (words){dot_eight(sum.a, x.a, w.a), dot_eight(sum.b, x.b, w.b)};
}

/* Rows become columns: 8 of 8. */
INLINE void transpose_eight(__m256i r[8]) {
    __m256i t[8];
    EACH for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
    }
    EACH for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    EACH for (int i = 0; i < 4; i++) {
        t[i] = _mm256_permute2x128_si256(r[i], r[4 + i], 0x20);
        t[4 + i] = _mm256_permute2x128_si256(r[i], r[4 + i], 0x31);
    }
    EACH for (int i = 0; i < 8; i++)
        r[i] = t[i];
}

/* Rows become columns. */
INLINE void transpose(words r[16]) {
    __m256i quarter[4][8];
    EACH for (int i = 0; i < 8; i++) {
        quarter[0][i] = r[i].a, quarter[1][i] = r[i].b;
        quarter[2][i] = r[8 + i].a, quarter[3][i] = r[8 + i].b;
    }
    EACH for (int q = 0; q < 4; q++)
        transpose_eight(quarter[q]);
    EACH for (int i = 0; i < 8; i++) {
        r[i] = (words){quarter[0][i], quarter[2][i]};
        r[8 + i] = (words){quarter[1][i], quarter[3][i]};
    }
}
