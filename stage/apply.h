/* SPDX-License-Identifier: MIT */
/* Carries out a plan: the only writer of the store. */
#ifndef APPLY_H
#define APPLY_H

#include "plan.h"

struct apply_options {
	unsigned threads; /* above 1: a long layer is decompressed beside the writing of its files */
	const volatile sig_atomic_t *stop; /* set: stop before the next action; may be NULL */
	void (*progress)(void *self, const struct progress *p); /* before each action; may be NULL */
	void *self;
};

struct apply_result {
	size_t done;      /* actions carried out, of plan.action_count */
	bool interrupted;
	uint64_t written_bytes; /* into snapshots */
	size_t rebuilt;   /* snapshots */
	const char *backup; /* where the databases' copies are, relative to the root; NULL if none was changed */
	bool used_aside;  /* something was set aside */
	bool *failed;     /* by backend: could not be rebuilt, stays as it is; NULL if there was nothing to do */
};

/* A snapshot that cannot be rebuilt because something cannot be read stays as it is: its findings become FATE_LEFT with the
 * reason, plan.something_left is set, and the rest goes on.
 * RC_IO with ENOSPC: there is no room, and nothing was written. Any other failure: *result says how far it got; everything
 * before it holds, nothing is worse than before, and the same run may be made again. */
CHECKED enum rc apply_plan(struct plan *p, struct store *st, const struct survey *s, const struct apply_options *o,
	struct arena *keep, struct apply_result *result, struct err *e);

#endif
