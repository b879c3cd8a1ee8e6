/* SPDX-License-Identifier: MIT */
/* The journal while containerd runs: what it has finished is made durable and then recorded, so that a power cut costs the last
 * seconds and no more. Never waits for containerd and never holds anything that containerd wants; the databases are read beside
 * it. Everything is recorded only after the sync that makes it durable; a cut, or our own end, at any instant leaves the journal
 * as it was or with whole records that hold. */
#ifndef RECORD_H
#define RECORD_H

#include <signal.h>

#include "ground/base.h"

struct record_options {
	uint64_t interval_ns; /* from the first event to the sync */
	uint64_t distance_ns; /* from one sync to the next, at least */
	const volatile sig_atomic_t *stop;
	void (*say)(void *self, const char *text); /* a sentence for a person; what is going on changed */
	void *self;
};

/* Runs until *stop: then what is known is recorded once more, and RC_OK. A store that is not there yet, goes away or is not checked
 * in this boot is waited for. RC_IO and others: nothing can be recorded any more (a full disk, a failed sync); the journal says
 * nothing that is not so. */
CHECKED enum rc record_run(const char *root, const struct record_options *o, struct err *e);

#endif
