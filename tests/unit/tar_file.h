/* SPDX-License-Identifier: MIT */
/* Archives in memory for unit tests: a writer, and a source that hands bytes out in pieces of a chosen size. */
#ifndef TAR_FILE_H
#define TAR_FILE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/tar.h"

struct archive {
	uint8_t *at;
	size_t n, cap;
};

static inline void archive_add(struct archive *a, const void *data, size_t n)
{
	if (a->n + n > a->cap) {
		a->cap = (a->n + n) * 2;
		a->at = realloc(a->at, a->cap);
		if (!a->at)
			abort();
	}
	memcpy(a->at + a->n, data, n);
	a->n += n;
}

static inline void archive_pad(struct archive *a)
{
	static const uint8_t zeros[512];
	archive_add(a, zeros, (512 - a->n % 512) % 512);
}

struct member {
	char type; /* '0' if 0 */
	const char *name, *link;
	const void *data;
	size_t size;
	unsigned mode; /* 0644 or 0755 if 0 */
	unsigned uid, gid;
	unsigned long mtime; /* 1600000000 if 0 */
	unsigned major, minor;
	const char *records; /* "key=value" lines, a pax header before the member */
};

static inline void archive_octal(uint8_t *field, size_t digits, unsigned long value)
{
	for (; digits > 0; value >>= 3)
		field[--digits] = (uint8_t)('0' + (value & 7));
}

static inline void archive_sum(uint8_t *h)
{
	unsigned sum = 0;
	memset(h + 148, ' ', 8);
	for (size_t i = 0; i < 512; i++)
		sum += h[i];
	archive_octal(h + 148, 7, sum);
	h[155] = 0;
}

static inline void archive_header(struct archive *a, const struct member *m, char type, size_t size)
{
	uint8_t h[512] = {0};
	const unsigned mode = m->mode ? m->mode : type == '5' ? 0755 : 0644;

	strncpy((char *)h, m->name, 100);
	archive_octal(h + 100, 7, mode);
	archive_octal(h + 108, 7, m->uid);
	archive_octal(h + 116, 7, m->gid);
	archive_octal(h + 124, 11, size);
	archive_octal(h + 136, 11, m->mtime ? m->mtime : 1600000000ul);
	h[156] = (uint8_t)type;
	if (m->link)
		strncpy((char *)h + 157, m->link, 100);
	memcpy(h + 257, "ustar\00000", 8);
	archive_octal(h + 329, 7, m->major);
	archive_octal(h + 337, 7, m->minor);
	archive_sum(h);
	archive_add(a, h, sizeof(h));
}

static inline void archive_records(struct archive *a, const char *lines)
{
	struct archive block = {0};

	while (*lines) {
		const size_t n = strcspn(lines, "\n");
		size_t total = n + 3;
		char digits[24];
		for (int i = 0; i < 3; i++)
			total = n + 2 + (size_t)snprintf(digits, sizeof(digits), "%zu", total);
		snprintf(digits, sizeof(digits), "%zu ", total);
		archive_add(&block, digits, strlen(digits));
		archive_add(&block, lines, n);
		archive_add(&block, "\n", 1);
		lines += n + (lines[n] != 0);
	}
	const struct member head = {.name = "PaxHeaders/x"};
	archive_header(a, &head, 'x', block.n);
	archive_add(a, block.at, block.n);
	archive_pad(a);
	free(block.at);
}

static inline void archive_member(struct archive *a, struct member m)
{
	if (m.records)
		archive_records(a, m.records);
	archive_header(a, &m, m.type ? m.type : '0', m.size);
	if (m.data)
		archive_add(a, m.data, m.size);
	archive_pad(a);
}

static inline void archive_end(struct archive *a)
{
	static const uint8_t zeros[1024];
	archive_add(a, zeros, sizeof(zeros));
}

/* A source; fails with RC_IO at byte fail_at, if that is not 0. */
struct pieces {
	struct span left;
	size_t piece, done, fail_at;
};

static inline enum rc next_piece(void *self, struct span *piece, struct err *e)
{
	struct pieces *const p = self;

	if (p->fail_at && p->done >= p->fail_at)
		return fail(e, RC_IO, "a sector that cannot be read");
	if (!p->left.left)
		return RC_END;
	*piece = span_sub(&p->left, p->piece < p->left.left ? p->piece : p->left.left);
	p->done += piece->left;
	return RC_OK;
}

#endif
