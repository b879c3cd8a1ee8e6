/* SPDX-License-Identifier: MIT */
/* Names of images, containers and leases as a running containerd changes them, for the journal. Of session/record.c; nobody else includes
 * it. */
#ifndef RECORD_NAMES_H
#define RECORD_NAMES_H

#include "memory/journal.h"

/* What the journal says, sorted as it is, in an arena of its own. */
struct recorded_names {
	struct arena a;
	struct journal_name *names;
	size_t count;
};

/* Takes over what was read from a journal. RC_NOMEM. What was in *r before is closed. */
CHECKED enum rc record_names_begin(struct recorded_names *r, const struct journal *j, struct err *e);
void record_names_close(struct recorded_names *r);

/* Puts into w what is new and what is gone in meta.db, which is open as fd and which others write. On RC_OK *r is what the journal says
 * once w is in it. RC_CORRUPT: it changed while it was read, or is no database; RC_LIMIT: too many. Then nothing was put. */
CHECKED enum rc record_names_put(struct recorded_names *r, int fd, struct journal_writer *w, struct err *e);

#endif
