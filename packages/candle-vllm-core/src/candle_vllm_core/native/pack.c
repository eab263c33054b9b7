/* Matrices as linear.c takes them. */
#include "lanes.h"
#include "parallel.h"

#define BLOCK 64

typedef struct {
    const char *from;
    int *to;
    long rows, width, steps; /* bytes of a row, and the words that they fill */
    int threads;
} pack_job;

/* Sixteen words of a row from `step` on, zeros after its end. */
static words part_of_row(const pack_job *job, long row, long step) {
    long left = row < job->rows ? job->width - 4 * step : 0;
    if (left >= 64)
        return load_words(job->from + row * job->width + 4 * step);
    char room[64] = {0};
    if (left > 0)
        memcpy(room, job->from + row * job->width + 4 * step, left);
    return load_words(room);
}

static void pack_part(void *given) {
    const pack_job *job = given;
    long from, to;
    share((job->rows + BLOCK - 1) / BLOCK, job->threads, &from, &to);
    for (long row = from * BLOCK; row < to * BLOCK; row += 16)
        for (long step = 0; step < job->steps; step += 16) {
            int *place = job->to + (row / BLOCK * job->steps + step) * BLOCK + row % BLOCK;
            words rows[16];
            for (int i = 0; i < 16; i++)
                rows[i] = part_of_row(job, row + i, step);
            transpose(rows);
            for (long i = 0; i < 16 && step + i < job->steps; i++)
                store_words(place + i * BLOCK, rows[i]);
        }
}

/* A matrix [rows, width bytes] to [rows / 64][width / 4][64] words, filled up with zeros. */
void native_pack(const void *from, void *to, long rows, long width, int threads) {
    pack_job job = {from, to, rows, width, (width + 3) / 4, threads};
    in_threads(pack_part, &job, threads);
}
