/* SPDX-License-Identifier: MIT */
#include "layer/feed.h"

#include <string.h>

#include "ground/os.h"
#include "ground/threads.h"

#define FEED_ALIGN ((size_t)4096) /* O_DIRECT: no device of the field wants more */

/* A layer's content on its way from the thread that decompresses it to the one that looks at it. */
#define PUMP_SLOTS 4
#define PUMP_SLOT_BYTES ((size_t)128 << 10) /* what a stream decompresses at a time */
/* bytes still to be read; below that a thread costs more than it saves */
#define PUMP_WORTH ((uint64_t)2 << 20)

struct pump {
	bool runs;   /* the stream and the reader belong to the thread until it is joined */
	bool lent;   /* the first slot is what the caller has */
	bool stop;
	bool ended;  /* the stream says why, to whoever asks it again */
	pthread_t thread;
	struct lock lock;
	uint8_t *room; /* PUMP_SLOTS slots; NULL: never worth it */
	size_t bytes[PUMP_SLOTS];
	unsigned first, count;
};

struct feed {
	struct digest name;
	int fd;
	bool content_read, content_failed;
	uint64_t content_bytes;
	struct os_reader reader;
	struct stream *stream;
	struct feed_options options;
	struct pace reading, looking; /* of whoever reads the blob, and of whoever has its content: they may be two threads */
	struct arena *arena;
	struct pump pump;
};

static enum rc next_piece(void *self, struct span *piece, struct err *e)
{
	struct feed *const f = self;

	enum rc rc = os_reader_next(&f->reader, piece, e);

	if (rc)
		return rc;
	if (f->options.bytes)
		*f->options.bytes += piece->left;
	return pace_on(&f->reading, piece->left + PACE_CALL, e);
}

enum rc feed_open(struct feed **out, int *fd, uint64_t size, const struct digest *name, const struct feed_options *o,
	struct arena *a, struct err *e)
{
	auto_fd file = take_fd(fd);
	struct feed *const f = arena_get(a, sizeof(*f));
	/* most blobs are small */
	const size_t cap = (size_t)min_u64(OS_READER_BYTES, (size / FEED_ALIGN + 1) * FEED_ALIGN);
	uint8_t *const room = arena_get(a, cap + FEED_ALIGN);
	enum rc rc;

	if (!f || !room)
		return no_memory(e);
	f->fd = take_fd(&file);
	f->name = *name;
	f->options = *o;
	if (o->pace)
		f->reading = f->looking = (struct pace){.ask = o->pace->ask, .self = o->pace->self};
	f->arena = a;
	uint8_t *const buf = room + (FEED_ALIGN - (uintptr_t)room % FEED_ALIGN);
	if ((rc = os_reader_open(&f->reader, f->fd, buf, cap, e)) ||
		(rc = stream_open(&f->stream, (struct stream_source){next_piece, f}, name->kind, o->hash_content, a, e))) {
		feed_close(f);
		return rc;
	}
	/* from the arena now: whoever looks at the content sets marks in it */
	if (o->idle && size >= PUMP_WORTH && stream_kind(f->stream) != STREAM_PLAIN)
		f->pump.room = arena_get(a, PUMP_SLOTS * PUMP_SLOT_BYTES); /* without: as ever */
	*out = f;
	return RC_OK;
}

/* ---- the content, decompressed by another thread ---- */

static void *pump_content(void *self)
{
	struct feed *const f = self;
	struct pump *const p = &f->pump;
	struct span piece = {0};
	bool stop = false;

	while (!stop && stream_read(f->stream, &piece, NULL) == RC_OK) {
		while (piece.left) {
			lock_take(&p->lock);
			while (!p->stop && p->count == PUMP_SLOTS)
				lock_wait(&p->lock, -1);
			const unsigned slot = (p->first + p->count) % PUMP_SLOTS;
			stop = p->stop;
			lock_give(&p->lock);
			if (stop)
				break;
			const size_t n = (size_t)min_u64(piece.left, PUMP_SLOT_BYTES);
			memcpy(p->room + slot * PUMP_SLOT_BYTES, span_take(&piece, n), n); /* free: only this thread fills slots */
			lock_take(&p->lock);
			p->bytes[slot] = n;
			p->count++;
			lock_tell(&p->lock);
			lock_give(&p->lock);
		}
	}
	os_reader_settle(&f->reader);
	os_reader_leave();
	lock_take(&p->lock);
	p->ended = true;
	lock_tell(&p->lock);
	lock_give(&p->lock);
	return NULL;
}

/* Takes an idle processor, if there is one and something to do for it. */
static void pump_begin(struct feed *f)
{
	struct pump *const p = &f->pump;
	int idle = atomic_load_explicit(f->options.idle, memory_order_relaxed);

	if (idle <= 0 || f->reader.size - f->reader.off < PUMP_WORTH ||
		!atomic_compare_exchange_strong(f->options.idle, &idle, idle - 1))
		return;
	os_reader_settle(&f->reader); /* ours until here */
	p->runs = thread_begin(&p->thread, pump_content, f);
	if (!p->runs) { /* no memory: as ever */
		p->room = NULL;
		(*f->options.idle)++;
	}
}

/* After it the stream is this thread's again. */
static void pump_end(struct feed *f)
{
	struct pump *const p = &f->pump;

	if (!p->runs)
		return;
	lock_take(&p->lock);
	p->stop = true;
	lock_tell(&p->lock);
	lock_give(&p->lock);
	(void)pthread_join(p->thread, NULL); /* it ends */
	p->runs = false;
	p->room = NULL;
	(*f->options.idle)++;
}

/* As stream_read. */
static enum rc read_content(struct feed *f, struct span *piece, struct err *e)
{
	struct pump *const p = &f->pump;
	bool some = false;

	if (p->room && !p->runs)
		pump_begin(f);
	if (!p->runs)
		return stream_read(f->stream, piece, e);
	lock_take(&p->lock);
	if (p->lent) {
		p->first = (p->first + 1) % PUMP_SLOTS;
		p->count--;
		lock_tell(&p->lock);
	}
	while (!p->count && !p->ended)
		lock_wait(&p->lock, -1);
	some = p->lent = p->count > 0;
	if (some)
		*piece = span_of(p->room + p->first * PUMP_SLOT_BYTES, p->bytes[p->first]);
	lock_give(&p->lock);
	if (some)
		return RC_OK;
	pump_end(f);
	return stream_read(f->stream, piece, e); /* how it ended, once more */
}

static enum rc next_content(void *self, struct span *piece, struct err *e)
{
	struct feed *const f = self;
	enum rc rc = read_content(f, piece, e);

	if (rc == RC_OK)
		rc = pace_on(&f->looking, piece->left, e);
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
	struct err why = {0}; /* it does not decompress, which matters to nobody once the digests are known: unless it is we who cannot */
	struct span piece = {0};
	uint64_t size = 0;
	enum rc rc = RC_OK;

	while (want_content && !f->content_read && !f->content_failed && rc == RC_OK)
		rc = next_content(f, &piece, &why);
	pump_end(f);
	r.content_known = f->content_read;
	r.too_much = rc == RC_LIMIT || rc == RC_NOMEM;
	r.why = why;
	if (rc == RC_IO || rc == RC_STOPPED) {
		*e = e->rc ? *e : why;
		return rc;
	}
	if ((rc = stream_drain(f->stream, e)))
		return rc;
	stream_blob_digest(f->stream, &r.blob, &size);
	r.blob_good = digest_equal(&r.blob, &f->name);
	if (r.content_known && f->options.hash_content)
		stream_content_digest(f->stream, &r.content, &r.content_bytes);
	*result = r;
	return RC_OK;
}

void feed_close(struct feed *f)
{
	if (!f)
		return;
	pump_end(f);
	if (f->stream)
		stream_close(f->stream);
	f->stream = NULL;
	os_reader_settle(&f->reader);
	os_close(&f->fd);
}
