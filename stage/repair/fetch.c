/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "repair/fetch.h"

#include <string.h>

#include "ground/os.h"
#include "ground/os_write.h"
#include "repair/applier.h"

#define SYNCED_BYTES ((uint64_t)16 << 20) /* of a copy, between two syncs */

struct fetch {
	struct applier w;
	struct apply_result result;
	struct survey_fetch calls;
	enum rc (*first)(void *self, struct err *e);
	void *self;
	bool noted, begun;
	int blobs, file; /* blobs/sha256; the copy: -1 if there is none */
	struct place *place;
	uint64_t off;
	char name[NUMBER_TEXT_BYTES];
};

static void close_places(struct fetch *f)
{
	forget_places(&f->w);
	os_close(&f->blobs);
	f->begun = false;
}

static enum rc open_places(struct fetch *f)
{
	struct applier *const w = &f->w;
	auto_fd blobs = -1;
	enum rc rc;

	if (f->begun)
		return RC_OK;
	if ((rc = add_place(w, w->st->dir, ".")) || (rc = open_blobs(w, DIGEST_SHA256, &f->blobs, &blobs)) ||
		(rc = place_of(w, f->blobs, &f->place))) {
		close_places(f);
		return rc == RC_END || rc == RC_CORRUPT ? fail(w->e, RC_IO, "%s is gone", STORE_CONTENT_DIR) : rc;
	}
	f->begun = true;
	return RC_OK;
}

/* What is in the way of one copy, and no fault of the disk, is in the way of nothing else. */
static enum rc only_this(enum rc rc, struct err *e)
{
	return rc == RC_IO && !os_write_failed() ? (e->rc = RC_LIMIT) : rc;
}

static enum rc begin(void *self, uint64_t size, struct err *e)
{
	struct fetch *const f = self;
	enum rc rc;

	f->w.e = e;
	if (!f->noted && (rc = f->first(f->self, e)))
		return rc;
	f->noted = true;
	if ((rc = open_places(f)) || (rc = check_room(&f->w, f->blobs, size, 1)) || (rc = open_staging(&f->w, f->place)))
		return only_this(rc, e);
	next_name(f->place, f->name);
	f->off = 0;
	rc = os_create(f->place->staging, f->name, 0444, &f->file, e);
	return rc == RC_END ? fail(e, RC_IO, "%s/%s is in the way", f->place->staging_name, f->name) : rc;
}

static enum rc add(void *self, struct span piece, struct err *e)
{
	struct fetch *const f = self;
	const enum rc rc = os_write(f->file, f->off, piece.at, piece.left, e);
	const uint64_t before = f->off;

	f->off += piece.left;
	if (rc && (e->sys_errno == ENOSPC || e->sys_errno == EDQUOT)) {
		os_write_begin(); /* of this one file: there is room again once it is gone */
		return e->rc = RC_LIMIT;
	}
	/* a sync cannot be interrupted: it stays short */
	return rc || f->off / SYNCED_BYTES == before / SYNCED_BYTES ? rc : os_fsync(f->file, e);
}

/* After a cut the copy is in staging, or has all of its bytes under its new name. */
static enum rc end(void *self, const struct digest *d, const char **name, struct err *e)
{
	struct fetch *const f = self;
	char *const free_name = d ? arena_get(f->w.keep, FREE_NAME_BYTES) : NULL;
	enum rc rc = RC_OK;

	f->w.e = e;
	if (d && !free_name)
		rc = no_memory(e);
	else if (d && !(rc = os_fsync(f->file, e)))
		rc = give_free_name(&f->w, f->place->staging, f->name, f->blobs, d, free_name);
	os_close(&f->file);
	*name = free_name;
	struct err stays = {0}; /* then the next run finds it */
	if (!d || (rc == RC_IO && !os_write_failed()))
		stays.rc = os_unlink(f->place->staging, f->name, d ? &stays : e);
	return d ? only_this(rc, e) : stays.rc == RC_IO ? RC_IO : RC_OK;
}

enum rc fetch_open(struct fetch **out, struct store *st, const struct apply_options *o,
	enum rc (*first)(void *self, struct err *e), void *self, struct arena *keep, struct err *e)
{
	struct fetch *const f = arena_get(keep, sizeof(*f));

	if (!f)
		return no_memory(e);
	f->w = (struct applier){.st = st, .o = o, .keep = keep, .result = &f->result, .e = e};
	f->calls = (struct survey_fetch){begin, add, end, f};
	f->first = first;
	f->self = self;
	f->blobs = f->file = -1;
	*out = f;
	return RC_OK;
}

const struct survey_fetch *fetch_calls(const struct fetch *f)
{
	return &f->calls;
}

enum rc fetch_close(struct fetch *f, struct err *e)
{
	enum rc rc = RC_OK;

	if (!f)
		return RC_OK;
	f->w.e = e;
	os_close(&f->file);
	for (size_t i = 0; rc == RC_OK && i < f->w.place_count; i++)
		rc = close_place(&f->w, &f->w.places[i]);
	close_places(f);
	return rc;
}
