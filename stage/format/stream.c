/* SPDX-License-Identifier: MIT */
/* Formats: gzip (RFC 1952) through zlib, zstd (RFC 8878) through libzstd; detection as containerd 2.3:
 * pkg/archive/compression/compression.go: DetectCompression. */
#include "format/stream.h"

#define Z_SOLO
#define ZSTD_STATIC_LINKING_ONLY
#include <string.h>
#include <sys/mman.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "ground/threads.h"

/* ---- streams ---- */

/* bytes; decompressed at a time: a block of zstd, and a good stretch for zlib */
#define OUT_BYTES ((size_t)128 << 10)

/* bytes; zlib 1.2.13: sizeof(struct inflate_state) is 7160, the window 32768 */
#define ZLIB_BYTES ((size_t)64 << 10)

/* bytes; what image builders write by default (klauspost/compress 1.17.11: zstd/encoder_options.go; the zstd
 * tool up to level 19). A larger window is mapped on its own. */
#define ZSTD_ARENA_WINDOW ((size_t)8 << 20)

/* bytes; the longest frame header (RFC 8878: 3.1.1.1, with the magic number) */
#define PEEK_BYTES 18

struct stream {
	struct stream_source source;
	enum stream_kind kind;
	bool hash_content;
	enum rc source_rc; /* not RC_OK: the source has no more, or failed */
	struct err source_err;
	enum rc ended; /* not RC_OK: what stream_read says from now on */
	struct err ended_err;

	struct span in;    /* the next bytes, here or in the source's piece */
	struct span after; /* the rest of the piece while in lies in peeked */
	uint8_t peeked[PEEK_BYTES];
	uint8_t *out;

	bool inside; /* a gzip member or zstd frame */
	z_stream z;
	uint8_t *zlib_room;
	size_t zlib_used;

	void *zstd_room;     /* in the arena, for windows up to ZSTD_ARENA_WINDOW */
	ZSTD_DStream *zstd;  /* in zstd_room or in mapped */
	unsigned head_bytes; /* of a frame's header that it is given first, alone: see stream_never */
	void *mapped;        /* while it has the big window */
	size_t mapped_bytes;

	uint64_t blob_bytes, content_bytes;
	struct hash blob, content;
};

/* Whichever stream has it taken has the one mapping for a window above ZSTD_ARENA_WINDOW: memory is bounded, whatever the threads.
 * Not a mutex: another thread may go on with a stream, and give it back. */
static struct lock big_window_lock;

static bool big_window_taken;

static void give_big_window(void)
{
	lock_take(&big_window_lock);
	big_window_taken = false;
	lock_tell(&big_window_lock);
	lock_give(&big_window_lock);
}

static void take_big_window(void)
{
	lock_take(&big_window_lock);
	while (big_window_taken)
		lock_wait(&big_window_lock, -1);
	big_window_taken = true;
	lock_give(&big_window_lock);
}

static void window_unmap(struct stream *s)
{
	if (!s->mapped)
		return;
	(void)munmap(s->mapped, s->mapped_bytes); /* nothing to do about a failed give-back */
	s->mapped = NULL;
	s->zstd = NULL;
	give_big_window();
}

static enum rc window_map(struct stream *s, size_t bytes, struct err *e)
{
	take_big_window();
	void *const at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED) {
		give_big_window();
		return fail(e, RC_NOMEM, "zstd: no memory for a window of %zu bytes", bytes);
	}
	s->mapped = at;
	s->mapped_bytes = bytes;
	return RC_OK;
}

/* The source's next piece into *piece, hashed. Errors stay. */
static enum rc pull(struct stream *s, struct span *piece, struct err *e)
{
	if (s->source_rc == RC_OK) {
		struct span got = {0};
		s->source_rc = s->source.next(s->source.self, &got, &s->source_err);
		if (s->source_rc == RC_OK) {
			hash_add(&s->blob, got.at, got.left);
			s->blob_bytes += got.left;
			*piece = got;
			return RC_OK;
		}
	}
	if (s->source_rc != RC_END && e && e->rc == RC_OK)
		*e = s->source_err;
	return s->source_rc;
}

/* Makes s->in hold something. RC_END: nothing is left. */
static enum rc refill(struct stream *s, struct err *e)
{
	enum rc rc = RC_OK;

	if (!s->in.left) {
		s->in = s->after;
		s->after = (struct span){0};
	}
	while (!s->in.left && rc == RC_OK)
		rc = pull(s, &s->in, e);
	return rc;
}

/* Makes s->in hold at least want bytes in a row, fewer only where the blob ends. */
static enum rc peek(struct stream *s, size_t want, struct err *e)
{
	enum rc rc = RC_OK;

	if (s->in.left >= want)
		return RC_OK;
	const size_t had = s->in.left;
	if (had)
		memmove(s->peeked, s->in.at, had);
	s->in = span_of(s->peeked, had);
	while (s->in.left < want && rc == RC_OK) {
		if (!s->after.left && (rc = pull(s, &s->after, e)))
			break;
		const size_t n = (size_t)min_u64(want - s->in.left, s->after.left);
		if (n)
			memcpy(s->peeked + s->in.left, span_take(&s->after, n), n);
		s->in.left = (s->in.left + n) & SPAN_BYTES_MAX;
	}
	return rc == RC_END ? RC_OK : rc;
}

/* ---- gzip ---- */

/* inflate asks for its window when it first needs it, long after the caller may have set a mark in the arena: so it gets
 * all of it from a piece taken when the stream was opened. */
static void *zlib_get(void *self, unsigned n, unsigned size)
{
	struct stream *const s = self;
	const size_t bytes = ((size_t)n * size + 15) & ~(size_t)15;

	if (bytes > ZLIB_BYTES - s->zlib_used)
		return NULL;
	s->zlib_used += bytes;
	return s->zlib_room + s->zlib_used - bytes;
}

static void zlib_put(void *self, void *at)
{
	(void)self;
	(void)at; /* given back with the arena */
}

static enum rc gzip_open(struct stream *s, struct arena *a, struct err *e)
{
	s->zlib_room = arena_get(a, ZLIB_BYTES);
	if (!s->zlib_room)
		return no_memory(e);
	s->z.zalloc = zlib_get;
	s->z.zfree = zlib_put;
	s->z.opaque = s;
	s->inside = true;
	if (inflateInit2(&s->z, 15 + 16) != Z_OK)
		return fail(e, RC_NOMEM, "zlib asks for more than %zu bytes", ZLIB_BYTES);
	if (!s->hash_content) /* then the blob's digest says enough of the content */
		(void)inflateValidate(&s->z, 0); /* fails only for a stream that is none */
	return RC_OK;
}

/* zlib is built with BUILDFIXED, which is 2 KiB less: it makes the tables of deflate's fixed codes when a stream first has a block
 * with them, without a lock (zlib 1.2.13: inflate.c: fixedtables). So the first such block, an empty one, is here, before there are
 * threads. */
__attribute__((constructor)) static void make_fixed_tables(void)
{
	static uint8_t room[ZLIB_BYTES];
	struct stream s = {.zlib_room = room, .z = {.zalloc = zlib_get, .zfree = zlib_put, .opaque = &s}};

	s.z.next_in = (z_const Bytef *)"\3";
	s.z.avail_in = 2;
	s.z.next_out = room;
	MUST(inflateInit2(&s.z, -15) == Z_OK && inflate(&s.z, Z_NO_FLUSH) == Z_STREAM_END);
}

/* After a member: another one, or the end. What else follows is ignored as unpigz and igzip do, and the diff ID judges. */
static enum rc gzip_next_member(struct stream *s, struct err *e)
{
	const enum rc rc = peek(s, 3, e);

	if (rc != RC_OK)
		return rc;
	if (s->in.left < 3 || memcmp(s->in.at, "\x1f\x8b\x08", 3) != 0)
		return RC_END;
	if (inflateReset(&s->z) != Z_OK)
		return fail(e, RC_CORRUPT, "gzip: cannot begin another member");
	s->inside = true;
	return RC_OK;
}

static enum rc gzip_read(struct stream *s, size_t *n, struct err *e)
{
	enum rc rc = RC_OK;

	while (*n == 0) {
		if (!s->inside && (rc = gzip_next_member(s, e)))
			return rc;
		const unsigned offered = (unsigned)min_u64(s->in.left, 1u << 30);
		s->z.next_in = (z_const Bytef *)s->in.at;
		s->z.avail_in = offered;
		s->z.next_out = s->out;
		s->z.avail_out = OUT_BYTES;
		const int got = inflate(&s->z, Z_NO_FLUSH);
		(void)span_take(&s->in, offered - s->z.avail_in);
		*n = OUT_BYTES - s->z.avail_out;
		if (got == Z_STREAM_END)
			s->inside = false;
		else if (got != Z_OK && got != Z_BUF_ERROR)
			return fail(e, got == Z_MEM_ERROR ? RC_NOMEM : RC_CORRUPT, "gzip: %s",
				s->z.msg ? s->z.msg : "broken");
		else if (*n == 0 && (rc = refill(s, e)))
			return rc == RC_END ? fail(e, RC_CORRUPT, "gzip: cut short") : rc;
	}
	return RC_OK;
}

/* ---- zstd ---- */

__attribute__((used)) size_t stream_never(void)
{
	return SIZE_MAX;
}

static enum rc zstd_open(struct stream *s, struct arena *a, struct err *e)
{
	s->zstd_room = arena_get(a, ZSTD_estimateDStreamSize(ZSTD_ARENA_WINDOW));
	return s->zstd_room ? RC_OK : no_memory(e);
}

/* A decoder with room for a window. */
static enum rc zstd_decoder(struct stream *s, uint64_t window_bytes, struct err *e)
{
	const bool big = window_bytes > ZSTD_ARENA_WINDOW;
	const size_t need = ZSTD_estimateDStreamSize(big ? (size_t)window_bytes : ZSTD_ARENA_WINDOW);
	enum rc rc;

	if (s->zstd && (!big || (s->mapped && s->mapped_bytes >= need)))
		return RC_OK;
	window_unmap(s);
	if (big && (rc = window_map(s, need, e)))
		return rc;
	s->zstd = ZSTD_initStaticDStream(big ? s->mapped : s->zstd_room, need);
	return s->zstd ? RC_OK : fail(e, RC_NOMEM, "zstd asks for more than %zu bytes", need);
}

/* A number of zstd_errors.h: the library's texts take 2 KiB. */
static enum rc zstd_failed(ZSTD_ErrorCode code, struct err *e)
{
	const enum rc rc = code == ZSTD_error_frameParameter_windowTooLarge ? RC_LIMIT
			   : code == ZSTD_error_memory_allocation	    ? RC_NOMEM
									    : RC_CORRUPT;

	return fail(e, rc, "zstd: error %d", (int)code);
}

static enum rc zstd_next_frame(struct stream *s, struct err *e)
{
	ZSTD_frameHeader head;
	enum rc rc;

	if ((rc = peek(s, PEEK_BYTES, e)))
		return rc;
	if (!s->in.left)
		return RC_END;
	const size_t got = ZSTD_getFrameHeader(&head, s->in.at, s->in.left);
	if (ZSTD_isError(got))
		return zstd_failed(ZSTD_getErrorCode(got), e);
	if (got)
		return fail(e, RC_CORRUPT, "zstd: cut short in a frame header");
	if (head.frameType == ZSTD_skippableFrame) {
		s->inside = true;
		return zstd_decoder(s, 0, e);
	}
	if (head.dictID)
		return fail(e, RC_LIMIT, "zstd: needs dictionary %u", head.dictID);
	if (head.windowSize > LIMIT_ZSTD_WINDOW_BYTES)
		return fail(e, RC_LIMIT, "zstd: needs a window of %llu bytes", head.windowSize);
	s->inside = true;
	s->head_bytes = head.headerSize;
	return zstd_decoder(s, head.windowSize, e);
}

static enum rc zstd_read(struct stream *s, size_t *n, struct err *e)
{
	enum rc rc = RC_OK;

	while (*n == 0) {
		if (!s->inside && (rc = zstd_next_frame(s, e)))
			return rc;
		ZSTD_inBuffer in = {s->in.at, s->head_bytes ? min_u64(s->head_bytes, s->in.left) : s->in.left, 0};
		ZSTD_outBuffer out = {s->out, OUT_BYTES, 0};
		const size_t got = ZSTD_decompressStream(s->zstd, &out, &in);
		(void)span_take(&s->in, in.pos);
		s->head_bytes -= (unsigned)min_u64(s->head_bytes, in.pos);
		*n = out.pos;
		if (ZSTD_isError(got))
			return zstd_failed(ZSTD_getErrorCode(got), e);
		if (got == 0)
			s->inside = false;
		else if (*n == 0 && !s->in.left && (rc = refill(s, e)))
			return rc == RC_END ? fail(e, RC_CORRUPT, "zstd: cut short") : rc;
	}
	return RC_OK;
}

/* ---- all kinds ---- */

static enum stream_kind detect(struct span head)
{
	if (span_starts(head, "\x1f\x8b\x08"))
		return STREAM_GZIP;
	if (span_starts(head, "\x28\xb5\x2f\xfd"))
		return STREAM_ZSTD;
	/* a skippable frame, which containerd takes for one only with its size */
	return head.left >= 8 && (span_u32le(&head) & 0xfffffff0u) == 0x184d2a50u ? STREAM_ZSTD : STREAM_PLAIN;
}

/* What is not compressed is hashed once, as the blob. */
static bool is_its_content(const struct stream *s)
{
	return s->kind == STREAM_PLAIN && s->blob.kind == DIGEST_SHA256;
}

enum rc stream_open(struct stream **out, struct stream_source source, enum digest_kind blob_kind, bool hash_content,
	struct arena *a, struct err *e)
{
	struct stream *const s = arena_get(a, sizeof(*s));
	enum rc rc;

	if (!s)
		return no_memory(e);
	s->source = source;
	hash_begin(&s->blob, blob_kind);
	hash_begin(&s->content, DIGEST_SHA256);
	if ((rc = peek(s, 8, e)))
		return rc;
	s->kind = detect(s->in);
	s->hash_content = hash_content && !is_its_content(s);
	if (s->kind != STREAM_PLAIN && !(s->out = arena_get(a, OUT_BYTES)))
		return no_memory(e);
	if (s->kind == STREAM_GZIP)
		rc = gzip_open(s, a, e);
	if (s->kind == STREAM_ZSTD)
		rc = zstd_open(s, a, e);
	if (rc == RC_OK)
		*out = s;
	return rc;
}

enum stream_kind stream_kind(const struct stream *s)
{
	return s->kind;
}

static enum rc read_more(struct stream *s, struct span *piece, struct err *e)
{
	enum rc rc = RC_OK;
	size_t n = 0;

	switch (s->kind) {
	case STREAM_PLAIN:
		if ((rc = refill(s, e)))
			return rc;
		*piece = s->in;
		s->in = (struct span){0};
		return RC_OK;
	case STREAM_GZIP:
		rc = gzip_read(s, &n, e);
		break;
	case STREAM_ZSTD:
		rc = zstd_read(s, &n, e);
		break;
	}
	*piece = span_of(s->out, n);
	return rc;
}

enum rc stream_read(struct stream *s, struct span *piece, struct err *e)
{
	struct span got = {0};

	if (s->ended == RC_OK) {
		s->ended = read_more(s, &got, &s->ended_err);
		if (s->ended == RC_OK) {
			if (s->hash_content)
				hash_add(&s->content, got.at, got.left);
			s->content_bytes += got.left;
			*piece = got;
			return RC_OK;
		}
		window_unmap(s);
	}
	if (s->ended != RC_END && e && e->rc == RC_OK)
		*e = s->ended_err;
	return s->ended;
}

enum rc stream_drain(struct stream *s, struct err *e)
{
	struct span piece;
	enum rc rc;

	if (s->ended == RC_OK) /* what is drained past cannot be decompressed any more */
		s->ended = fail(&s->ended_err, RC_CORRUPT, "the rest was not decompressed");
	window_unmap(s);
	while ((rc = pull(s, &piece, e)) == RC_OK)
		;
	return rc == RC_END ? RC_OK : rc;
}

void stream_blob_digest(const struct stream *s, struct digest *d, uint64_t *size_bytes)
{
	hash_end(&s->blob, d);
	*size_bytes = s->blob_bytes;
}

void stream_content_digest(const struct stream *s, struct digest *d, uint64_t *size_bytes)
{
	hash_end(is_its_content(s) ? &s->blob : &s->content, d);
	*size_bytes = s->content_bytes;
}

void stream_close(struct stream *s)
{
	if (s)
		window_unmap(s);
}
