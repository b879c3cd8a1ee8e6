/* SPDX-License-Identifier: MIT */
/* Carries out a plan: the only writer of the store. */
#ifndef APPLY_H
#define APPLY_H

#include "repair/plan.h"

struct apply_options {
	unsigned threads; /* above 1: a long layer is decompressed beside the writing of its files */
	const volatile sig_atomic_t *stop; /* set: stop, within an action too, as a power cut would; may be NULL */
	uint64_t deadline_ns; /* of os_clock_ns; after it nothing long is begun or gone on with, and short things go on for half a
			       * second; 0: none */
	const struct journal *stuck; /* what is passed over: the last checks or repairs ended at it; NULL: nothing is */
	struct at *at;               /* is told what is worked on; NULL: nobody is */
	/* Before each action, and within a long one now and then; may be NULL. */
	void (*progress)(void *self, const struct progress *p);
	void *self;
};

#define APPLY_ASIDE_MAX 4

/* Of all rounds of one run; begins as {0}. */
struct apply_result {
	size_t done;      /* actions that changed something */
	bool interrupted; /* stop was set */
	bool again;       /* something that records depend on was left: plan anew, with deeds, and apply that */
	bool no_memory;   /* deeds are not complete */
	bool starved;     /* something was left for want of memory, which says nothing of it */
	struct deeds deeds; /* what became of the actions; after a run that ended early, those it did not come to as well, with a reason */
	uint64_t written_bytes; /* into snapshots */
	size_t rebuilt;   /* snapshots */
	const char *backup; /* where the databases' copies are, relative to the root; NULL if none was changed */
	const char *aside[APPLY_ASIDE_MAX]; /* where something was set aside: directories relative to the root, below which it is in
					     * its aside_paths */
	const char *aside_paths[APPLY_ASIDE_MAX]; /* below each of them: of own_aside_paths */
	size_t aside_count;
	/* of apply.c alone */
	bool meta_left, overlay_left, keep_intents;
	bool *left_snapshot; /* by backend */
};

/* Carries out the actions of p that are pending, and sets their outcomes. What one cannot do (it is in use, immutable, on another
 * mount, cannot be read, there is no room) is left with the reason and the rest is done; if records depend on it, the databases stay as
 * they are in this round, and result->again says that the plan must be made anew.
 * A failure is the disk's (EIO, ENOSPC, EROFS, EDQUOT), or no memory at all: it ends the run. result->deeds says how far it got;
 * everything before it holds, nothing is worse than before, and the same run may be made again. */
CHECKED enum rc apply_plan(struct plan *p, struct store *st, const struct survey *s, const struct apply_options *o,
	struct arena *keep, struct apply_result *result, struct err *e);

#endif
