/* SPDX-License-Identifier: MIT */
/* Directories on disk by the nodes of a layer's tree: beneath one root, no link followed on the way, the last few kept open.
 * Archives go depth first, so most entries find their directory open; any other takes one call. */
#ifndef LAYER_DIRS_H
#define LAYER_DIRS_H

#include "layer/layer.h"

#define LAYER_DIRS_OPEN 16

struct layer_dirs {
	const struct layer *layer;
	int root; /* borrowed; -1: nothing is there */
	uint32_t clock;
	struct layer_dirs_slot {
		uint32_t node, used;
		int fd; /* -1: free */
	} slots[LAYER_DIRS_OPEN];
};

void layer_dirs_init(struct layer_dirs *d, const struct layer *l, int root);
/* *fd is borrowed until the next call. RC_END: not there; RC_CORRUPT: there, but it or a parent is no directory. */
CHECKED enum rc layer_dirs_get(struct layer_dirs *d, uint32_t node, int *fd, struct err *e);
/* What is cached of this node and beneath it may have moved: forgets everything. */
void layer_dirs_close(struct layer_dirs *d);

#endif
