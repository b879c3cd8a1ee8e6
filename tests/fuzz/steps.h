/* SPDX-License-Identifier: MIT */
/* Steps: each place of stage/ and of the libraries at which ways part or meet is one (clang: SanitizerCoverage, trace-pc-guard), so that
 * every turn of every loop is counted, whoever wrote it. A target gives each input so many for each byte of it, and some to begin with:
 * more is a finding. What the target itself does is not counted, nor what the system does.
 *
 * SAY_STEPS=1 build/fuzzer/x: says the steps for a byte, whenever they are more than before. */
#ifndef STEPS_H
#define STEPS_H

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "ground/base.h"

/* of all threads, roughly: two that count at once may count one */
static atomic_uint_least64_t steps_counted;

void __wrap___sanitizer_cov_trace_pc_guard(uint32_t *where);
void __wrap___sanitizer_cov_trace_pc_guard_init(uint32_t *begin, uint32_t *end);

void __wrap___sanitizer_cov_trace_pc_guard(uint32_t *where)
{
	(void)where;
	atomic_store_explicit(&steps_counted, atomic_load_explicit(&steps_counted, memory_order_relaxed) + 1, memory_order_relaxed);
}

void __wrap___sanitizer_cov_trace_pc_guard_init(uint32_t *begin, uint32_t *end)
{
	(void)begin;
	(void)end;
}

/* Of the work since steps_begin: at most `first`, and for each of `bytes` so many. */
static inline void steps_begin(void)
{
	atomic_store(&steps_counted, 0);
}

static inline void steps_end(uint64_t bytes, uint64_t for_each, uint64_t first)
{
	static double most;
	const uint64_t taken = atomic_load(&steps_counted);
	const double each = taken > first ? (double)(taken - first) / (double)(bytes ? bytes : 1) : 0;

	if (each > most && getenv("SAY_STEPS")) {
		most = each;
		(void)fprintf(stderr, "%.1f steps for each of %llu bytes, after %llu\n", each, (unsigned long long)bytes,
			(unsigned long long)first);
	}
	if (taken > first + for_each * bytes) {
		(void)fprintf(stderr, "%llu steps for %llu bytes\n", (unsigned long long)taken, (unsigned long long)bytes);
		abort();
	}
}

#endif
