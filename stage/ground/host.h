/* SPDX-License-Identifier: MIT */
/* What runs on this machine on a store: mounts, processes, sockets of shims, as /proc and /run show them. Looks only. A look that
 * fails never makes the answer a better one: what could not be seen is told as such. Linux: proc(5). */
#ifndef HOST_H
#define HOST_H

#include "ground/base.h"

struct host_question {
	int root, snapshots;      /* descriptors of the root and of the directory of the snapshots; -1: there is none */
	const char *const *names; /* of the root, NULL at the end: for paths that lead nowhere from here */
};

struct host_view {
	const char *mounted; /* where an overlay is mounted that has snapshots of this store in it; NULL: nowhere that was seen */
	const char *held;    /* "process 12 (containerd)": has a file below the root open; NULL: none that was seen */
	bool mounts_seen;    /* those that this process has */
	bool all_seen;       /* each process of the machine, and all that are mounted for any */
};

/* Processes of this program do not count: they hold no more than directories. RC_NOMEM only. */
CHECKED enum rc host_look(struct host_view *v, const struct host_question *q, struct arena *keep, struct arena scratch, struct err *e);

/* A socket of a shim: a container has run since the machine started. They lie in one place whatever containerd's state directory
 * is (containerd 1.6 to 2.3: pkg/shim/util_unix.go, socketRoot). What cannot be looked at is taken for one. */
bool host_has_shims(const char *sysroot, struct arena scratch);

/* Whether something is at a path below sysroot ("" for none), or it cannot be told. */
bool host_may_have(const char *sysroot, const char *path);

/* The calendar's time at which the machine started, in nanoseconds; 0: not known. Its clock may be wrong. */
int64_t host_started_ns(struct arena scratch);

#endif
