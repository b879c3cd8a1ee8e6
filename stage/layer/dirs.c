/* SPDX-License-Identifier: MIT */
#include "layer/dirs.h"

#include "ground/os.h"

void layer_dirs_init(struct layer_dirs *d, const struct layer *l, int root)
{
	*d = (struct layer_dirs){.layer = l, .root = root};
	for (size_t i = 0; i < LAYER_DIRS_OPEN; i++)
		d->slots[i].fd = -1;
}

void layer_dirs_close(struct layer_dirs *d)
{
	for (size_t i = 0; i < LAYER_DIRS_OPEN; i++)
		os_close(&d->slots[i].fd);
}

static struct layer_dirs_slot *find_slot(struct layer_dirs *d, uint32_t node)
{
	for (size_t i = 0; i < LAYER_DIRS_OPEN; i++)
		if (d->slots[i].fd >= 0 && d->slots[i].node == node)
			return &d->slots[i];
	return NULL;
}

static struct layer_dirs_slot *free_slot(struct layer_dirs *d)
{
	struct layer_dirs_slot *oldest = &d->slots[0];

	for (size_t i = 0; i < LAYER_DIRS_OPEN; i++) {
		if (d->slots[i].fd < 0)
			return &d->slots[i];
		if (d->clock - d->slots[i].used > d->clock - oldest->used)
			oldest = &d->slots[i];
	}
	os_close(&oldest->fd);
	return oldest;
}

/* Keeps a directory open; never in place of the one just used. */
static void keep(struct layer_dirs *d, uint32_t node, int fd)
{
	*free_slot(d) = (struct layer_dirs_slot){node, ++d->clock, fd};
}

enum rc layer_dirs_get(struct layer_dirs *d, uint32_t node, int *fd, struct err *e)
{
	uint32_t missing[LIMIT_PATH_DEPTH + 1];
	struct layer_dirs_slot *slot = NULL;
	size_t depth = 0;
	int from = d->root;

	if (from < 0)
		return RC_END;
	for (uint32_t n = node; n != LAYER_ROOT && !(slot = find_slot(d, n)); n = layer_parent(d->layer, n)) {
		if (depth > LIMIT_PATH_DEPTH)
			return fail(e, RC_LIMIT, "a directory too deep");
		missing[depth++] = n;
	}
	if (slot) {
		slot->used = ++d->clock;
		from = slot->fd;
	}
	/* what lies between is not wanted for itself: where entries are in no order, most calls would be for that */
	char path[LIMIT_PATH_BYTES];
	struct err ignored = {0}; /* step by step it comes again, and older kernels can do it in no other way */
	if (depth > 1 && layer_node_path(d->layer, node, path, &ignored) == RC_OK) {
		int opened = -1;
		const enum rc rc = os_open_dir(d->root, path, &opened, &ignored);
		if (rc == RC_OK) {
			keep(d, node, opened);
			from = opened;
			depth = 0;
		} else if (rc == RC_END) {
			return rc;
		}
	}
	while (depth) {
		int opened = -1;
		const uint32_t n = missing[--depth];
		const enum rc rc = os_open_dir(from, layer_name(d->layer, n), &opened, e);
		if (rc)
			return rc;
		keep(d, n, opened);
		from = opened;
	}
	*fd = from;
	return RC_OK;
}
