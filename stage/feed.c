/* SPDX-License-Identifier: MIT */
#include "feed.h"

#include <errno.h>

#include "os.h"

#define FEED_ALIGN ((size_t)4096) /* O_DIRECT: no device of the field wants more */

struct feed {
	struct digest name;
	int fd;
	bool content_read, content_failed;
	uint64_t content_bytes;
	struct os_reader reader;
	struct stream *stream;
	struct feed_options options;
	struct arena *arena;
};

static enum rc next_piece(void *self, struct span *piece, struct err *e)
{
	struct feed *const f = self;

	if (f->options.stop && *f->options.stop) {
		errno = EINTR;
		return fail(e, RC_IO, "stopped");
	}
	const enum rc rc = os_reader_next(&f->reader, piece, e);
	if (rc == RC_OK && f->options.bytes)
		*f->options.bytes += piece->left;
	return rc;
}

enum rc feed_open(struct feed **out, const struct store *st, size_t blob, const struct feed_options *o, struct arena *a,
	struct err *e)
{
	const struct blob *const b = &st->blob_files[blob];
	struct feed *const f = arena_get(a, sizeof(*f));
	/* most blobs are small, and memory that is not touched costs nothing */
	const size_t cap = (size_t)min_u64(OS_READER_BYTES, (b->size / FEED_ALIGN + 1) * FEED_ALIGN);
	uint8_t *const room = arena_get(a, cap + FEED_ALIGN);
	enum rc rc;

	if (!f || !room)
		return fail(e, RC_NOMEM, "no memory to read a blob");
	f->fd = -1;
	f->name = b->digest;
	f->options = *o;
	f->arena = a;
	uint8_t *const buf = room + (FEED_ALIGN - (uintptr_t)room % FEED_ALIGN);
	if ((rc = store_open_blob(st, blob, &f->fd, e)))
		return rc;
	if ((rc = os_reader_open(&f->reader, f->fd, buf, cap, e)) ||
		(rc = stream_open(&f->stream, (struct stream_source){next_piece, f}, b->digest.kind, o->hash_content, a, e))) {
		feed_close(f);
		return rc;
	}
	*out = f;
	return RC_OK;
}

static enum rc next_content(void *self, struct span *piece, struct err *e)
{
	struct feed *const f = self;
	enum rc rc = stream_read(f->stream, piece, e);

	if (rc == RC_OK) {
		f->content_bytes += piece->left;
		if (f->content_bytes > LIMIT_LAYER_BYTES)
			rc = fail(e, RC_LIMIT, "the layer decompresses to more than %llu GiB",
				(unsigned long long)(LIMIT_LAYER_BYTES >> 30));
	}
	if (rc == RC_END)
		f->content_read = true;
	else if (rc != RC_OK)
		f->content_failed = true;
	return rc;
}

enum rc feed_tar(struct feed *f, struct tar **t, struct err *e)
{
	return tar_open(t, (struct tar_source){next_content, f}, f->arena, e);
}

enum rc feed_finish(struct feed *f, bool want_content, struct feed_result *result, struct err *e)
{
	struct feed_result r = {0};
	struct err ignored = {0}; /* why it does not decompress matters to nobody once the digests are known */
	struct digest name;
	struct span piece = {0};
	uint64_t size = 0;
	enum rc rc = RC_OK;

	while (want_content && !f->content_read && !f->content_failed && rc == RC_OK)
		rc = next_content(f, &piece, &ignored);
	r.content_known = f->content_read;
	if (rc == RC_IO) {
		*e = e->rc ? *e : ignored;
		return rc;
	}
	if ((rc = stream_drain(f->stream, e)))
		return rc;
	stream_blob_digest(f->stream, &name, &size);
	r.blob_good = digest_equal(&name, &f->name);
	if (r.content_known && f->options.hash_content)
		stream_content_digest(f->stream, &r.content, &r.content_bytes);
	*result = r;
	return RC_OK;
}

void feed_close(struct feed *f)
{
	if (!f)
		return;
	if (f->stream)
		stream_close(f->stream);
	f->stream = NULL;
	os_reader_close(&f->reader);
	os_close(&f->fd);
}
