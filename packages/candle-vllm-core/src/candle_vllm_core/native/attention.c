/* Attention over the paged cache where its blocks lie, for any mix of prompts and answers.

   A query's result has the same bits whatever else is computed with it. Its keys are taken KEYS at a time from
   positions that are multiples of KEYS, with a running maximum (online softmax, Milakov and Gimelshein 2018); sums are
   begun anew every SPLIT keys, and those of the splits are added in order. Answers are shared out over threads by
   splits, which changes nothing of that (Flash-Decoding, Dao et al. 2023). Hidden keys count nothing, and what no query
   of the step sees is not read. */
#include <math.h>
#include "panel.h"
#include "parallel.h"

#define KEYS 64
#define SPLIT 512
#define ROWS 32     /* queries, times the heads that share a KV head, at once */
#define MOST_DIM 640
#define NOTHING -1e30f
#define NONE -1L
#define LOG2E 1.44269504f

typedef struct {
    long first;         /* its first row of q */
    long count, length; /* its tokens in this step, and those that the cache has with them */
    const long *blocks;
    long pieces, room;  /* found out here: those of its work begin there, and the results of its splits */
} sequence;

typedef struct {
    const bf16 *q, *keys, *values; /* q [rows, heads, key_dim]; the others by slots, `slot_stride` numbers apart */
    bf16 *y;                       /* [rows, heads, value_dim] */
    const bf16 *sinks;             /* [heads], or null */
    sequence *sequences;
    float *room;                   /* of answers [kv_heads, splits, group, stride] */
    long count, heads, kv_heads, key_dim, value_dim, slot_stride, block_size, window;
    float scale, softcap;          /* softcap: 0 for none */
    long group, stride;            /* query heads of a KV head; numbers of a row of sums */
    long together;                 /* KV heads of an answer that are one piece of work */
    long pieces, merges, next;     /* next: what the next thread takes */
} attention_job;

/* Rows of queries that are computed at once; a row of sums is [value_dim filled to 16], the maximum, the total. */
typedef struct {
    bf16 q[ROWS][MOST_DIM], weights[ROWS][KEYS];
    int keys[MOST_DIM / 2 * KEYS], values[KEYS / 2 * MOST_DIM]; /* pairs of numbers of each key; of each dim's keys */
    long slots[2][KEYS];
    float scores[ROWS][KEYS], largest[ROWS], factor[ROWS], sums[ROWS * (MOST_DIM + 16)], total[ROWS * (MOST_DIM + 16)];
} scratch;

/* Rows of one KV head: queries, in each of them the heads that share it. */
typedef struct {
    const bf16 *q;
    float *sums;
    long q_stride, count, row; /* the first one's place among all of the sequence in this step */
    long position;             /* of the sequence's first query */
} rows_of;

INLINE long least(long a, long b) { return a < b ? a : b; }
INLINE long most(long a, long b) { return a > b ? a : b; }
INLINE long up(long a, long b) { return (a + b - 1) / b; }

/* Where, in numbers, the slot of each key from `key` on begins; NONE for those before `from`, and from `to` on. */
static void find(const attention_job *job, const sequence *s, long key, long from, long to, long slots[KEYS]) {
    long block = key / job->block_size, offset = key % job->block_size;
    for (long i = 0; i < KEYS; i++, offset++) {
        if (offset == job->block_size)
            block++, offset = 0;
        int read = key + i >= from && key + i < to;
        slots[i] = read ? (s->blocks[block] * job->block_size + offset) * job->slot_stride : NONE;
    }
}

/* Fetch `count` numbers of slots into the processor's cache. */
static void fetch(const bf16 *from, long count, const long slots[KEYS]) {
    for (long i = 0; i < KEYS; i++)
        for (long at = 0; slots[i] != NONE && at < count; at += 32)
            _mm_prefetch(from + slots[i] + at, _MM_HINT_T1);
}

/* Keys as [key_dim / 2][KEYS] pairs. */
static void pack_keys(const bf16 *keys, const long slots[KEYS], long dim, int *packed) {
    for (long pair = 0; pair < dim / 2; pair += 16)
        for (long first = 0; first < KEYS; first += 16) {
            words rows[16];
            mask some = lanes(dim / 2 - pair);
            EACH for (int i = 0; i < 16; i++) {
                long slot = slots[first + i];
                const bf16 *from = keys + (slot == NONE ? 0 : slot) + 2 * pair;
                rows[i] = load_some_words(from, slot == NONE ? 0 : some);
            }
            transpose(rows);
            for (long i = 0; i < least(16, dim / 2 - pair); i++)
                store_words(packed + (pair + i) * KEYS + first, rows[i]);
        }
}

/* Values as [KEYS / 2][MOST_DIM] pairs. */
static void pack_values(const bf16 *values, const long slots[KEYS], long dim, int *packed) {
    static const bf16 zeros[32];
    for (long key = 0; key < KEYS; key += 2, packed += MOST_DIM)
        for (long i = 0; i < dim; i += 32) {
            const bf16 *first = slots[key] == NONE ? zeros : values + slots[key] + i;
            const bf16 *second = slots[key + 1] == NONE ? zeros : values + slots[key + 1] + i;
            store_pairs(packed + i, first, second, dim - i);
        }
}

INLINE reals capped(reals score, float cap) {
    reals e = exp2_16(mul16(score, all16(2 * LOG2E / cap))), one = all16(1);
    reals share = div16(all16(2), add16(e, one));
    return mul16(sub16(one, share), all16(cap));
}

/* Scores of one query in units of 2's exponent, -inf where it sees none: keys from `from` up to `to` it does. */
static float scale_scores(const attention_job *job, float *scores, long from, long to, float largest_before) {
    reals largest = all16(largest_before);
    EACH for (int i = 0; i < KEYS / 16; i++) {
        mask seen = lanes(to - i * 16) & ~lanes(from - i * 16);
        reals score = mul16(load16(scores + i * 16), all16(job->scale));
        score = mul16(job->softcap ? capped(score, job->softcap) : score, all16(LOG2E));
        score = choose16(seen, score, all16(-INFINITY));
        largest = max16(largest, score);
        store16(scores + i * 16, score);
    }
    return largest16(largest);
}

/* Such scores as weights, beside the largest; returns their sum as they are rounded, so that they are shares of 1. */
static float weigh(const float *scores, float largest, bf16 *weights) {
    reals sum = none16();
    EACH for (int i = 0; i < KEYS / 16; i++) {
        reals weight = exp2_16(sub16(load16(scores + i * 16), all16(largest)));
        round_some(weights + i * 16, weight, 0xffff);
        sum = add16(sum, wide16(weights + i * 16));
    }
    return sum16(sum);
}

INLINE long position(const sequence *s, long query) { return s->length - s->count + query; }
INLINE long first_seen(const attention_job *job, long position) {
    return job->window ? most(0, position - job->window + 1) : 0;
}

/* The weights of KEYS keys from `key` on, and in `factor` what the sums so far count beside them. */
static void soften(const attention_job *job, const rows_of *rows, long key, scratch *t) {
    for (long r = 0; r < rows->count; r++) {
        float *state = rows->sums + (r + 1) * job->stride - 16;
        long seen = rows->position + (rows->row + r) / job->group;
        t->largest[r] = scale_scores(job, t->scores[r], first_seen(job, seen) - key, seen + 1 - key, state[0]);
        t->factor[r] = state[0] - t->largest[r];
    }
    for (long r = 0; r < rows->count; r += 16)
        store16(t->factor + r, exp2_16(load16(t->factor + r)));
    for (long r = 0; r < rows->count; r++) {
        float *state = rows->sums + (r + 1) * job->stride - 16;
        state[0] = t->largest[r];
        state[1] = state[1] * t->factor[r] + weigh(t->scores[r], state[0], t->weights[r]);
    }
}

/* Some rows over the packed KEYS keys from `key` on. */
static void attend_keys(const attention_job *job, const rows_of *rows, long key, scratch *t) {
    multiply(rows->count, KEYS, rows->q, rows->q_stride, t->keys, KEYS, job->key_dim / 2, t->scores[0], KEYS, 0);
    soften(job, rows, key, t);
    multiply(rows->count, job->stride - 16, t->weights[0], KEYS, t->values, MOST_DIM, KEYS / 2, rows->sums, job->stride,
             t->factor);
}

static void pack(const attention_job *job, long head, const long slots[KEYS], scratch *t) {
    pack_keys(job->keys + head * job->key_dim, slots, job->key_dim, t->keys);
    pack_values(job->values + head * job->key_dim, slots, job->value_dim, t->values);
}

static void begin(const attention_job *job, long rows, float *sums) {
    memset(sums, 0, rows * job->stride * sizeof *sums);
    for (long r = 0; r < rows; r++)
        sums[(r + 1) * job->stride - 16] = NOTHING;
}

/* Add a row's sums of one split to those of the splits before it. */
static void merge(const attention_job *job, float *total, const float *part) {
    long dim = job->stride - 16;
    float now = fmaxf(total[dim], part[dim]), before = exp2_1(total[dim] - now), own = exp2_1(part[dim] - now);
    for (long i = 0; i < dim; i += 16) {
        reals kept = mul16(load16(total + i), all16(before));
        reals added = mul16(load16(part + i), all16(own));
        store16(total + i, add16(kept, added));
    }
    total[dim] = now;
    total[dim + 1] = total[dim + 1] * before + part[dim + 1] * own;
}

/* A row's result, from its sums over all keys. */
static void finish(const attention_job *job, const sequence *s, long head, long row, const float *total) {
    long h = head * job->group + row % job->group, dim = job->stride - 16;
    bf16 *y = job->y + ((s->first + row / job->group) * job->heads + h) * job->value_dim;
    float sum = total[dim + 1];
    if (job->sinks)
        sum += exp2_1(first16(wide_some(job->sinks + h, 1)) * LOG2E - total[dim]);
    for (long i = 0; i < job->value_dim; i += 16) {
        reals mean = mul16(load16(total + i), all16(1 / sum));
        round_some(y + i, mean, lanes(job->value_dim - i));
    }
}

/* An answer is one new token; its splits are work of their own. */
INLINE long first_split(const attention_job *job, const sequence *s) { return first_seen(job, s->length - 1) / SPLIT; }
INLINE long splits(const attention_job *job, const sequence *s) {
    return up(s->length, SPLIT) - first_split(job, s);
}
INLINE float *result(const attention_job *job, const sequence *s, long head, long split) {
    return job->room + s->room + (head * splits(job, s) + split) * job->group * job->stride;
}

/* Rows from `row` on of a prompt's piece, over all keys that they see. */
static void attend_prompt(const attention_job *job, const sequence *s, long head, long row, scratch *t) {
    long count = least(ROWS, s->count * job->group - row), seen = first_seen(job, position(s, 0));
    long from = first_seen(job, position(s, row / job->group)), to = position(s, (row + count - 1) / job->group) + 1;
    rows_of rows = {t->q[0], t->sums, MOST_DIM, count, row, position(s, 0)};
    for (long r = 0; r < count; r++) {
        long token = s->first + (row + r) / job->group, h = head * job->group + (row + r) % job->group;
        memcpy(t->q[r], job->q + (token * job->heads + h) * job->key_dim, job->key_dim * sizeof(bf16));
    }
    begin(job, count, t->total);
    for (long split = from / SPLIT; split * SPLIT < to; split++) {
        begin(job, count, t->sums);
        for (long key = most(split * SPLIT, from / KEYS * KEYS); key < least((split + 1) * SPLIT, to); key += KEYS) {
            find(job, s, key, seen, s->length, t->slots[0]);
            pack(job, head, t->slots[0], t);
            attend_keys(job, &rows, key, t);
        }
        for (long r = 0; r < count; r++)
            merge(job, t->total + r * job->stride, t->sums + r * job->stride);
    }
    for (long r = 0; r < count; r++)
        finish(job, s, head, row + r, t->total + r * job->stride);
}

/* The heads from `head` up to `end` of an answer over one split: slots are read whole, as memory is fastest. */
static void attend_answer(const attention_job *job, const sequence *s, long head, long end, long split, scratch *t) {
    long seen = first_seen(job, s->length - 1), begun = (first_split(job, s) + split) * SPLIT, turn = 0;
    long from = most(seen, begun), to = least(s->length, begun + SPLIT), width = (end - head) * job->key_dim;
    for (long h = head; h < end; h++)
        begin(job, job->group, result(job, s, h, split));
    find(job, s, from / KEYS * KEYS, seen, to, t->slots[0]);
    for (long key = from / KEYS * KEYS; key < to; key += KEYS, turn ^= 1) {
        find(job, s, key + KEYS, seen, to, t->slots[turn ^ 1]);
        fetch(job->keys + head * job->key_dim, width, t->slots[turn ^ 1]);
        if (job->values != job->keys)
            fetch(job->values + head * job->key_dim, width, t->slots[turn ^ 1]);
        for (long h = head; h < end; h++) {
            pack(job, h, t->slots[turn], t);
            for (long row = 0; row < job->group; row += ROWS) {
                const bf16 *q = job->q + (s->first * job->heads + h * job->group + row) * job->key_dim;
                float *sums = result(job, s, h, split) + row * job->stride;
                rows_of rows = {q, sums, job->key_dim, least(ROWS, job->group - row), row, s->length - 1};
                attend_keys(job, &rows, key, t);
            }
        }
    }
    for (long h = head; splits(job, s) == 1 && h < end; h++)
        for (long row = 0; row < job->group; row++)
            finish(job, s, h, row, result(job, s, h, 0) + row * job->stride);
}

/* How many pieces of work a sequence is. */
static long pieces(const attention_job *job, const sequence *s) {
    if (s->count == 1)
        return up(job->kv_heads, job->together) * splits(job, s);
    return up(s->count * job->group, ROWS) * job->kv_heads;
}

static void attend_piece(const attention_job *job, const sequence *s, long piece, scratch *t) {
    if (s->count == 1) {
        long head = piece / splits(job, s) * job->together;
        attend_answer(job, s, head, least(head + job->together, job->kv_heads), piece % splits(job, s), t);
    } else {
        long tiles = up(s->count * job->group, ROWS);
        attend_prompt(job, s, piece / tiles, piece % tiles * ROWS, t);
    }
}

static void attend_part(void *given) {
    attention_job *job = given;
    scratch t;
    const sequence *s = job->sequences;
    unsigned before = denormals_off(); /* as products of bfloat16 do that the processor has */
    for (long piece; (piece = __atomic_fetch_add(&job->next, 1, __ATOMIC_RELAXED)) < job->pieces;) {
        while (s + 1 < job->sequences + job->count && piece >= s[1].pieces)
            s++;
        attend_piece(job, s, piece - s->pieces, &t);
    }
    denormals_as(before);
}

/* Answers of several splits, which are all done. */
static void merge_part(void *given) {
    attention_job *job = given;
    float total[MOST_DIM + 16];
    unsigned before = denormals_off();
    for (long index; (index = __atomic_fetch_add(&job->next, 1, __ATOMIC_RELAXED)) < job->count * job->kv_heads;) {
        const sequence *s = job->sequences + index / job->kv_heads;
        long head = index % job->kv_heads, rows = s->count == 1 && splits(job, s) > 1 ? job->group : 0;
        for (long row = 0; row < rows; row++) {
            begin(job, 1, total);
            for (long split = 0; split < splits(job, s); split++)
                merge(job, total, result(job, s, head, split) + row * job->stride);
            finish(job, s, head, row, total);
        }
    }
    denormals_as(before);
}

/* Number the pieces of work of all sequences, and give answers' splits their room; returns the pieces. */
static long share_out(attention_job *job) {
    long done = 0, room = 0;
    job->merges = 0;
    for (sequence *s = job->sequences; s < job->sequences + job->count; s++) {
        long parts = s->count == 1 ? splits(job, s) : 0;
        s->pieces = done;
        s->room = room;
        done += pieces(job, s);
        room += parts * job->heads * job->stride;
        job->merges |= parts > 1;
    }
    return done;
}

/* See `attention_job`. `room` must have, for every split of an answer, a row for each head, which is value_dim filled
   to 16 and 16 more. */
void native_attention(const void *q, const void *keys, const void *values, void *y, const void *sinks, void *sequences,
                      float *room, long count, long heads, long kv_heads, long key_dim, long value_dim,
                      long slot_stride, long block_size, long window, float scale, float softcap, int threads) {
    attention_job job = {.q = q, .keys = keys, .values = values, .y = y, .sinks = sinks, .sequences = sequences,
                         .room = room, .count = count, .heads = heads, .kv_heads = kv_heads, .key_dim = key_dim,
                         .value_dim = value_dim, .slot_stride = slot_stride, .block_size = block_size,
                         .window = window, .scale = scale, .softcap = softcap, .group = heads / kv_heads,
                         .stride = up(value_dim, 16) * 16 + 16, .together = kv_heads};
    while ((job.pieces = share_out(&job)) < 2 * threads && job.together > 1)
        job.together = up(job.together, 2);
    in_threads(attend_part, &job, threads);
    job.next = 0;
    if (job.merges)
        in_threads(merge_part, &job, threads);
}
