/* The largest of every 64 numbers, which is where a greedy answer's next token is looked for. */
#include <math.h>
#include "lanes.h"
#include "parallel.h"

#define BLOCK 64

typedef struct {
    const bf16 *x;
    float *peaks;
    long blocks;
    int threads;
} peaks_job;

static float largest(const bf16 *x) {
    reals most = wide16(x);
    mask wrong = wrong16(most);
    for (int i = 16; i < BLOCK; i += 16) {
        reals v = wide16(x + i);
        wrong |= wrong16(v);
        most = max16(most, v);
    }
    return wrong ? NAN : largest16(most);
}

static void peaks_part(void *given) {
    const peaks_job *job = given;
    long from, to;
    share(job->blocks, job->threads, &from, &to);
    for (long block = from; block < to; block++)
        job->peaks[block] = largest(job->x + block * BLOCK);
}

/* x [blocks, 64] bfloat16 to the largest of each block [blocks], or to NaN where one is. */
void native_peaks(const void *x, float *peaks, long blocks, int threads) {
    peaks_job job = {x, peaks, blocks, threads};
    in_threads(peaks_part, &job, threads);
}
