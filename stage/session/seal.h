/* SPDX-License-Identifier: MIT */
/* Writes down what can be vouched for: at shutdown, when containerd has stopped, and after a check. What a journal lists was
 * made durable (syncfs of each file system under the root) before the journal was, by somebody who held containerd's lock.
 * It says nothing of what containers write: shims and containers may still run, until systemd-shutdown ends them
 * (systemd 257: src/shutdown/shutdown.c). */
#ifndef SEAL_H
#define SEAL_H

#include "repair/apply.h"
#include "memory/journal.h"

struct seal_result {
	uint64_t blobs, snapshots, doubts;
	bool clean;      /* the marker was written */
	bool later;      /* all there is was noted and nothing is wrong: the next boot has something to compare, see why */
	const char *why; /* else: a phrase */
};

/* At shutdown. Vouches for what the last check found right, unless it was touched since, and for what has come since, which
 * containerd made; not for what that check doubted or had nothing to compare with. Should a layer have come that a snapshot of the
 * latter could be of, no marker is written, so that the next boot compares it. Without a check in this boot nothing can be said of
 * objects that no journal lists, and the journal stays as it is. Keeps a copy of the databases in containerd-fsck/backup/.
 * Cuts: all of the old journal, whose marker boot has used up, or all of the new. */
CHECKED enum rc seal_stop(const struct store *st, struct seal_result *result, struct arena scratch, struct err *e);

/* After a check or a repair: what the plan's outcomes say was put right counts, of a run that ended early too. The boot that began
 * ends with this status. only_update: nothing is written if there is no journal yet.
 * Cuts: the old journal, in which this boot did not end, or the new. */
struct seal_check {
	const struct survey *survey;
	const struct plan *plan;
	unsigned status;
	const struct journal *stuck; /* what was passed over, and is by the next as well; NULL: nothing */
	bool only_update;
};
CHECKED enum rc seal_checked(const struct store *st, const struct seal_check *c, struct arena scratch, struct err *e);

#endif
