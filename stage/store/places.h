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

#endif
