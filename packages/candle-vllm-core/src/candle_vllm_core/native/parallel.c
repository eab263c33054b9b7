#include "parallel.h"

run_fn parallel_run;
number_fn parallel_index, parallel_count;

/* Take the OpenMP runtime that torch has loaded: GOMP_parallel, omp_get_thread_num and omp_get_num_threads. */
void native_setup(run_fn run, number_fn index, number_fn count) {
    parallel_run = run;
    parallel_index = index;
    parallel_count = count;
}
