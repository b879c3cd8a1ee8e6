/* SPDX-License-Identifier: MIT */
/* Any bytes as a blob: ends, within its memory, with the same result however the bytes are cut into pieces. */
#include "format/stream.h"

#include "steps.h"
#include <string.h>

#define MOST_BYTES ((uint64_t)32 << 20) /* of content: a bomb is cut off */

/* A zstd block of a few bytes may claim 98,047 sequences, and fill a window, before something is found to be wrong with it: that is the
 * stream's end, so it happens once (zstd 1.5.7: lib/common/zstd_internal.h, LONGNBSEQ; lib/decompress/zstd_decompress_block.c). */
#define MOST_OF_BAD_BLOCK (100 * (0x7F00 + 0xFFFF) + 2 * LIMIT_ZSTD_WINDOW_BYTES)

struct feeder {
	const uint8_t *at;
	size_t left, step;
	uint8_t *given;
};

static enum rc next(void *self, struct span *piece, struct err *e)
{
	struct feeder *const f = self;
	const size_t n = (size_t)min_u64(f->step, f->left);

	(void)e;
	free(f->given);
	f->given = NULL;
	if (!n)
		return RC_END;
	f->given = malloc(n);
	memcpy(f->given, f->at, n);
	f->at += n;
	f->left -= n;
	*piece = span_of(f->given, n);
	return RC_OK;
}

struct result {
	enum rc rc;
	struct digest blob, content;
	uint64_t blob_bytes, content_bytes;
};

static struct result unpack(struct arena scratch, const uint8_t *data, size_t n, size_t step)
{
	struct feeder f = {data, n, step, NULL};
	struct result r = {0};
	struct stream *s = NULL;
	struct span piece;
	struct err e = {0};
	uint64_t got = 0;

	steps_begin();
	r.rc = stream_open(&s, (struct stream_source){next, &f}, DIGEST_SHA256, true, &scratch, &e);
	while (r.rc == RC_OK && got < MOST_BYTES)
		if ((r.rc = stream_read(s, &piece, &e)) == RC_OK)
			got += piece.left;
	if (!s || stream_drain(s, &e) != RC_OK)
		abort();
	stream_blob_digest(s, &r.blob, &r.blob_bytes);
	if (r.rc == RC_END)
		stream_content_digest(s, &r.content, &r.content_bytes);
	if (r.blob_bytes != n || (r.rc == RC_END && r.content_bytes != got))
		abort();
	stream_close(s);
	steps_end(n + got, 100, r.rc == RC_OK || r.rc == RC_END ? 100000 : 100000 + MOST_OF_BAD_BLOCK);
	free(f.given);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct arena memory;
	struct err e = {0};

	if (!memory.region && arena_open(&memory, &e) != RC_OK)
		abort();
	const struct result whole = unpack(memory, data, n, n + !n);
	const struct result cut = unpack(memory, data, n, n ? 1 + data[n - 1] % 16u : 1);
	if (whole.rc != cut.rc || !digest_equal(&whole.blob, &cut.blob) || !digest_equal(&whole.content, &cut.content))
		abort();
	return 0;
}
