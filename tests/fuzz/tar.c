/* SPDX-License-Identifier: MIT */
/* Any bytes as an archive, in pieces whose size the first byte chooses. Reads every entry and all content. */
#include "tar.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct pieces {
	struct span left;
	size_t piece;
};

static enum rc next_piece(void *self, struct span *piece, struct err *e)
{
	struct pieces *const p = self;

	(void)e;
	if (!p->left.left)
		return RC_END;
	*piece = span_sub(&p->left, p->piece < p->left.left ? p->piece : p->left.left);
	return RC_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t pieces_of[] = {1, 100, 512, 4096};
	static struct arena arena;
	struct err e = {0};
	struct tar *t = NULL;
	uint64_t bytes = 0;
	enum rc rc;

	if (!size || (!arena.region && arena_open(&arena, &e)))
		return 0;
	const struct arena mark = arena;
	struct pieces pieces = {span_of(data + 1, size - 1), pieces_of[data[0] % 4]};
	if (tar_open(&t, (struct tar_source){next_piece, &pieces}, &arena, &e))
		abort();
	for (rc = RC_OK; rc == RC_OK && bytes < 1u << 24;) {
		struct tar_entry te = {0};
		if ((rc = tar_next(t, &te, &e)) != RC_OK)
			break;
		while (te.type == TAR_FILE && rc == RC_OK && bytes < 1u << 24) {
			struct span s = {0};
			if ((rc = tar_data(t, &s, &e)) == RC_OK)
				bytes += s.left;
		}
		if (rc == RC_END)
			rc = RC_OK;
	}
	if (rc != RC_OK && rc != RC_END && rc != RC_CORRUPT && rc != RC_LIMIT && rc != RC_NOMEM)
		abort();
	arena = mark;
	return 0;
}
