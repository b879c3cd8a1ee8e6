/* SPDX-License-Identifier: MIT */
/* The databases that dockerd and the buildkit in it keep for themselves, below docker's data root: of the same format as containerd's,
 * and opened by a daemon that ends, or panics at the first write, where one is damaged (what each does: tests/docker). A list of free
 * pages is made anew, and a tree that is not whole gives way to that of the transaction before, if that is; both by one meta page, in
 * the file, behind a copy in backup/. What is a cache is set aside else, for the daemon makes it anew. All other damage is told. */
#ifndef DOCKERD_H
#define DOCKERD_H

#include "repair/apply.h"

/* A data root as a store in which there is nothing but such databases: st->dockerd says how many; 0: it is none. Looks at each, and with
 * write does what p then says, but for what it comes to (plan_conclude). *st is one that store_open refused, and the caller's to close.
 * RC_END: none is there. What cannot be looked at, or is in use, is a finding, and keeps nothing else from being done; only what the disk
 * refuses does. */
CHECKED enum rc dockerd_run(struct store *st, bool write, struct plan *p, struct apply_result *applied, struct arena *keep,
	struct arena scratch, struct err *e);

#endif
