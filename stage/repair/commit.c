/* SPDX-License-Identifier: MIT */
/* The databases: edited in one transaction each, and copied before. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "ground/os.h"
#include "ground/os_write.h"
#include "memory/at.h"
#include "memory/own.h"
#include "repair/applier.h"

#define COPY_BYTES ((size_t)1 << 20)

/* Records tell containerd what is not good: their change is made even where the time is over, if it does not take long. */
static enum rc ask_of_edit(void *self, struct err *e)
{
	const struct applier *const w = self;

	return os_clock_ns() < w->edit_until_ns && !(w->o->stop && *w->o->stop) ? RC_OK : may_touch(self, e);
}

/* ---- databases ---- */

static enum rc add_edits(struct bolt_edit *t, const struct edits *edits, struct err *e)
{
	for (size_t i = 0; i < edits->count; i++) {
		const struct edit *const edit = &edits->at[i];
		struct bolt_path path = *edit->in;
		path.part[path.count++] = span_of(edit->name, edit->name_bytes);
		const enum rc rc = edit->kind == EDIT_PUT ? bolt_edit_put(t, &path, span_of(edit->value, edit->value_bytes), e)
							  : bolt_edit_remove(t, &path, e);
		if (rc)
			return rc == RC_END ? fail(e, RC_CORRUPT, "an edit does not fit the database") : rc;
	}
	return RC_OK;
}

enum rc prepare_edit(struct applier *w, struct database *d, const struct edits *edits, struct bolt_image *image)
{
	struct bolt_edit *t = NULL;
	enum rc rc;

	if (!edits->count)
		return RC_OK;
	struct pace pace = {.ask = ask_of_edit, .self = w};
	d->bolt.pace = &pace;
	if ((rc = bolt_edit_begin(&t, &d->bolt, &w->edits, w->e)) == RC_OK && (rc = add_edits(t, edits, w->e)) == RC_OK)
		rc = bolt_edit_make(t, image, w->e);
	d->bolt.pace = NULL; /* which outlives this */
	if (rc != RC_NOMEM || !arena_is_full(&w->edits))
		return rc;
	*w->e = (struct err){0};
	return fail(w->e, RC_LIMIT, "so many records are too big to change within %zu MiB of memory", LIMIT_KEEP_BYTES >> 20);
}

enum rc may_write(struct applier *w, const struct database *d, const char *file, const struct edits *edits)
{
	auto_fd fd = -1;
	const enum rc rc = edits->count ? os_open_write(d->dir, file, &fd, w->e) : RC_OK;

	return rc == RC_END ? fail(w->e, RC_IO, "%s is gone", d->path) : rc;
}

static enum rc compare_written(struct applier *w, int fd, uint64_t at, struct span want, const char *path)
{
	struct arena scratch = *w->keep;
	uint8_t *const buf = arena_get(&scratch, COPY_BYTES);

	if (!buf)
		return fail(w->e, RC_NOMEM, "no memory to read back %s", path);
	(void)posix_fadvise(fd, (off_t)at, (off_t)want.left, POSIX_FADV_DONTNEED); /* only a hint */
	for (size_t done = 0; done < want.left;) {
		const size_t n = want.left - done < COPY_BYTES ? want.left - done : COPY_BYTES;
		size_t got = 0;
		const enum rc rc = os_read(fd, at + done, buf, n, &got, w->e);
		if (rc)
			return rc;
		if (got != n || memcmp(buf, want.at + done, n) != 0) {
			errno = EIO;
			return fail(w->e, RC_IO, "%s does not read back as it was written", path);
		}
		done += n;
	}
	return RC_OK;
}

enum rc edit_database(struct applier *w, const struct database *d, const char *file, const struct bolt_image *image)
{
	auto_fd fd = -1;
	struct stat st = {0};
	enum rc rc;

	if (!image->changed)
		return RC_END;
	if ((rc = os_open_write(d->dir, file, &fd, w->e)))
		return rc == RC_END ? fail(w->e, RC_IO, "%s is gone", d->path) : rc;
	if ((rc = os_stat_fd(fd, &st, w->e)))
		return rc;
	if ((uint64_t)st.st_size < image->file_bytes && (rc = os_truncate(fd, image->file_bytes, w->e)))
		return rc;
	if ((rc = os_write(fd, image->append_at, image->append.at, image->append.left, w->e)) || (rc = os_fsync(fd, w->e)) ||
		(rc = compare_written(w, fd, image->append_at, image->append, d->path)) ||
		(rc = os_write(fd, image->meta_at, image->meta_page.at, image->meta_page.left, w->e)) ||
		(rc = os_fsync(fd, w->e)))
		return rc;
	return compare_written(w, fd, image->meta_at, image->meta_page, d->path);
}

enum rc back_up(struct applier *w)
{
	const int own = w->places[0].own;
	enum rc rc = RC_OK;

	if (w->meta.changed)
		rc = own_copy_file(own, &w->st->meta.src, w->st->meta.path, "meta.db", *w->keep, w->e);
	if (rc == RC_OK && w->overlay.changed)
		rc = own_copy_file(own, &w->st->overlay.src, w->st->overlay.path, "overlayfs-metadata.db", *w->keep, w->e);
	if (rc == RC_OK && (w->meta.changed || w->overlay.changed))
		w->result->backup = STORE_OWN_DIR "/" OWN_BACKUP_DIR;
	return rc;
}

enum rc open_edits(struct applier *w)
{
	const size_t taken = arena_in_use(w->keep);
	const enum rc rc = arena_open(&w->edits, w->e);

	w->edit_until_ns = os_clock_ns() + SHORT_NS;
	if (rc == RC_OK)
		arena_bound(&w->edits, taken < LIMIT_KEEP_BYTES ? LIMIT_KEEP_BYTES - taken : 0);
	return rc;
}
