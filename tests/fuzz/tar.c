/* SPDX-License-Identifier: MIT */
/* Any bytes as an archive, in pieces whose size the first byte chooses, and with the checksums as they are, or put right in every
 * block that may be a header: an archive is the attacker's, who can add. Reads every entry and all content. */
#include "format/tar.h"

#include "../unit/tar_file.h"
#include "steps.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OUT_MOST ((uint64_t)1 << 24) /* of content: holes have no end */

static size_t octal(const uint8_t *at, size_t digits)
{
	size_t value = 0;

	for (size_t i = 0; i < digits && at[i] >= '0' && at[i] <= '7'; i++)
		value = value << 3 | (size_t)(at[i] - '0');
	return value;
}

/* Of each header there would be: content is stepped over, for the records of a pax header are content too. */
static void put_sums(uint8_t *at, size_t n)
{
	for (size_t step; n >= 512; at += step, n -= step) {
		const bool has_content = at[156] && !strchr("123456", at[156]);
		step = 512;
		if (bytes_are_zero(at, 512))
			continue; /* the end, and stays */
		archive_sum(at);
		if (at[156] == 'S' && at[482]) /* blocks of more sparse entries */
			for (step += 512; step < n && n - step >= 512 && at[step - 8]; step += 512)
				;
		step += has_content || !at[156] ? (octal(at + 124, 11) + 511) / 512 * 512 : 0;
		step = step < n ? step : n;
	}
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
	uint8_t *const copy = malloc(size);
	if (!copy)
		abort();
	memcpy(copy, data + 1, size - 1);
	if (!(data[0] & 4))
		put_sums(copy, size - 1);
	struct pieces pieces = {.left = span_of(copy, size - 1), .piece = pieces_of[data[0] % 4]};
	steps_begin();
	if (tar_open(&t, (struct tar_source){next_piece, &pieces}, &arena, &e))
		abort();
	for (rc = RC_OK; rc == RC_OK && bytes < OUT_MOST;) {
		struct tar_entry te = {0};
		if ((rc = tar_next(t, &te, &e)) != RC_OK)
			break;
		while (te.type == TAR_FILE && rc == RC_OK && bytes < OUT_MOST) {
			struct span s = {0};
			if ((rc = tar_data(t, &s, &e)) == RC_OK)
				bytes += s.left;
		}
		if (rc == RC_END)
			rc = RC_OK;
	}
	if (rc != RC_OK && rc != RC_END && rc != RC_CORRUPT && rc != RC_LIMIT && rc != RC_NOMEM)
		abort();
	steps_end(size, 60, 20000);
	free(copy);
	arena = mark;
	return 0;
}
