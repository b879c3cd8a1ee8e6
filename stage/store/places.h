/* SPDX-License-Identifier: MIT */
/* What containerd's configuration on this machine says of its roots: that of containerd itself, of k3s, rke2, k0s and microk8s, and
 * docker's daemon.json, each with what it imports. Looks only. A file that cannot be read whole makes what it says unknown. */
#ifndef PLACES_H
#define PLACES_H

#include "store/store.h"

/* sysroot: put before every path; "" for none. file: the only one, as a person names it; NULL: those that are usual and there. The
 * array is in the arena. RC_IO: the file that a person named cannot be read, or says nothing that could be used. */
CHECKED enum rc places_read(const char *sysroot, const char *file, struct arena *a, struct arena scratch,
	const struct store_known **known, size_t *count, struct err *e);

/* What a directory is that is no root of containerd, a phrase that ends with what to do; NULL: nothing known. */
const char *places_explain(const char *path, struct arena *a, struct arena scratch);

#define PLACES_SOURCES_MAX 32 /* lines of the file sources */

/* Second places of blobs (check/survey.h) of a store that is open: named, the lines of the file sources in our directory in it, and
 * what k3s and rke2 import from, beside a root of theirs. say: what is wrong with that file. */
CHECKED enum rc places_sources(const struct store *st, const char *const *named, size_t named_count, struct arena *a,
	struct arena scratch, void (*say)(void *self, const char *text), void *self, const char ***places, size_t *count, struct err *e);

#endif
