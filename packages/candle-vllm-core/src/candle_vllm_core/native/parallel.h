/* Work shared out over the threads that torch already has: a second pool would fight with them for the cores. */
#pragma once

typedef void (*run_fn)(void (*)(void *), void *, unsigned, unsigned);
typedef int (*number_fn)(void);

extern run_fn parallel_run;
extern number_fn parallel_index, parallel_count;

/* Call part(job) in so many threads at once, this one among them. */
static inline void in_threads(void (*part)(void *), void *job, int threads) {
    if (threads > 1)
        parallel_run(part, job, threads, 0);
    else
        part(job);
}

/* This thread's share [*from, *to) of `total` things; `threads` as given to `in_threads`. */
static inline void share(long total, int threads, long *from, long *to) {
    long index = threads > 1 ? parallel_index() : 0, count = threads > 1 ? parallel_count() : 1;
    *from = total * index / count;
    *to = total * (index + 1) / count;
}
