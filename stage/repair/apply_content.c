/* SPDX-License-Identifier: MIT */
/* Actions on the content store. */
#include <string.h>

#include "ground/os.h"
#include "ground/os_write.h"
#include "memory/at.h"
#include "repair/applier.h"

#define FREE_TRIES 64 /* names for one that has to make room */

/* ---- content ---- */

static const char *hex_of(const struct digest *d, char text[DIGEST_TEXT_BYTES])
{
	digest_format(d, text);
	return strchr(text, ':') + 1;
}

/* Bytes that are not under their own name: nothing needs them, or they were moved to where the next run looks. */
static bool may_go(const struct applier *w, size_t spare)
{
	return w->st->spares[spare].freed || !(w->s->spares[spare].moved || w->s->spares[spare].held);
}

enum rc remove_blob(struct applier *w, size_t index, bool aside)
{
	const struct blob *const b = &w->st->blob_files[index];
	char text[DIGEST_TEXT_BYTES];
	const char *const hex = hex_of(&b->digest, text);
	auto_fd dir = -1;
	enum rc rc = store_open_blob_dir(w->st, b->digest.kind, &dir, w->e);

	if (rc)
		return rc;
	for (size_t i = b->spares.first; i < b->spares.first + b->spares.count; i++)
		if (!aside && !may_go(w, i))
			return fail(w->e, RC_CORRUPT, "it has the bytes of another blob, which could not be taken out");
	if (aside) {
		rc = set_aside(w, dir, hex, hex);
		for (size_t i = b->spares.first; !rc && i < b->spares.first + b->spares.count; i++)
			w->st->spares[i].freed = true;
		return rc;
	}
	rc = os_unlink(dir, hex, w->e);
	return rc ? rc : os_fsync(dir, w->e);
}

enum rc open_or_make(int parent, const char *name, mode_t mode, int *fd, struct err *e)
{
	enum rc rc = os_open_dir(parent, name, fd, e);

	if (rc != RC_END)
		return rc == RC_CORRUPT ? fail(e, RC_IO, "%s is no directory", name) : rc;
	if ((rc = os_mkdir(parent, name, mode, e)) && rc != RC_END)
		return rc;
	if ((rc = os_fsync(parent, e)))
		return rc;
	return os_open_dir(parent, name, fd, e);
}

enum rc open_blobs(struct applier *w, enum digest_kind kind, int *fd, int *blobs)
{
	auto_fd content = -1;
	enum rc rc;

	if ((rc = os_open_dir(w->st->dir, STORE_CONTENT_DIR, &content, w->e)) || (rc = open_or_make(content, "blobs", 0755, blobs, w->e)))
		return rc;
	return open_or_make(*blobs, digest_name(kind), 0755, fd, w->e);
}

enum rc give_free_name(struct applier *w, int dir, const char *name, int blobs, const struct digest *d, char free_name[FREE_NAME_BYTES])
{
	char text[DIGEST_TEXT_BYTES];
	enum rc rc;

	for (unsigned i = 0; i < FREE_TRIES; i++) {
		(void)print_to(free_name, FREE_NAME_BYTES, "%s.found-%u", hex_of(d, text), i); /* fits */
		if ((rc = os_rename_new(dir, name, blobs, free_name, w->e)) == RC_END)
			continue;
		return rc || (rc = os_fsync(blobs, w->e)) ? rc : os_fsync(dir, w->e);
	}
	return fail(w->e, RC_IO, "%s is in the way", free_name);
}

enum rc free_bytes(struct applier *w, size_t index, bool aside)
{
	struct spare *const s = &w->st->spares[index];
	const size_t blob = w->s->spares[index].blob;
	struct freed *const freed = &w->freed[w->freed_count++];
	auto_fd blobs = -1, kind = -1, dir = -1;
	enum rc rc = store_open_path(w->st, s->dir, &dir, w->e);

	if (rc)
		return rc == RC_END ? fail(w->e, RC_IO, "%s is gone", s->dir) : rc;
	if (aside) {
		s->freed = (rc = set_aside(w, dir, s->name, s->name)) == RC_OK;
		return rc;
	}
	const struct digest *const d = &w->st->blob_files[blob].digest;
	if ((rc = open_blobs(w, d->kind, &kind, &blobs)) || (rc = give_free_name(w, dir, s->name, kind, d, freed->name)))
		return rc;
	s->dir = store_blob_dir_path(d->kind);
	s->name = freed->name;
	s->place = SPARE_IN_CONTENT;
	s->freed = true;
	return RC_OK;
}

enum rc is_in_place(struct applier *w, struct range spares)
{
	for (size_t i = spares.first; i < spares.first + spares.count; i++) {
		const size_t blob = w->s->spares[i].blob;
		if (blob != STORE_NONE && w->st->blob_files[blob].spare != STORE_NONE && !w->st->blob_files[blob].placed)
			return fail(w->e, RC_CORRUPT, "it has the bytes of a blob that could not be put into place");
	}
	return RC_OK;
}

enum rc place_blob(struct applier *w, size_t index)
{
	struct blob *const b = &w->st->blob_files[index];
	const struct spare *const s = &w->st->spares[b->spare];
	char text[DIGEST_TEXT_BYTES];
	const char *const hex = hex_of(&b->digest, text);
	auto_fd blobs = -1, algorithm = -1, dir = -1, data = -1;
	enum rc rc = store_open_path(w->st, s->dir, &dir, w->e);

	for (size_t i = b->spares.first; i < b->spares.first + b->spares.count; i++)
		if (!may_go(w, i))
			return fail(w->e, RC_CORRUPT, "what lies under its name may be the only copy of another blob");
	if (rc == RC_OK)
		rc = os_open_file(dir, s->name, &data, w->e);
	if (rc)
		return rc == RC_END || rc == RC_CORRUPT ? fail(w->e, RC_IO, "%s/%s changed", s->dir, s->name) : rc;
	if ((rc = open_blobs(w, b->digest.kind, &algorithm, &blobs)) ||
		(rc = os_chmod(dir, s->name, 0444, w->e)) || (rc = os_fsync(data, w->e)) ||
		(rc = os_rename(dir, s->name, algorithm, hex, w->e)) || (rc = os_fsync(algorithm, w->e)))
		return rc == RC_END || rc == RC_CORRUPT ? fail(w->e, RC_IO, "%s/%s changed", s->dir, s->name) : rc;
	b->placed = true;
	if (w->st->blobs < 0) /* it was lost as well: whoever reads the blob next finds it here */
		w->st->blobs = take_fd(&blobs);
	return os_fsync(dir, w->e);
}

enum rc cut_ingest(struct applier *w, size_t index)
{
	const char *const name = (const char *)w->st->ingests[index].name.at;
	auto_fd dir = -1, data = -1;
	enum rc rc = os_open_dir(w->st->ingest_dir, name, &dir, w->e);

	if (rc == RC_OK)
		rc = os_open_write(dir, "data", &data, w->e);
	if (rc)
		return rc == RC_END || rc == RC_CORRUPT ? fail(w->e, RC_IO, "ingest/%s changed", name) : rc;
	rc = os_truncate(data, w->s->ingests[index].settled_bytes, w->e);
	return rc ? rc : os_fsync(data, w->e);
}

enum rc remove_ingest(struct applier *w, size_t index)
{
	struct stat st = {0};
	const char *const name = (const char *)w->st->ingests[index].name.at;
	enum rc rc;

	if ((rc = is_in_place(w, w->st->ingests[index].spares)) || (rc = os_stat(w->st->ingest_dir, name, &st, w->e)))
		return rc;
	return remove_tree(w, w->st->ingest_dir, name);
}
