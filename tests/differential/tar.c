/* SPDX-License-Identifier: MIT */
/* Reads archives from standard input, each behind its length (4 bytes, little-endian), and prints what
 * tests/differential/tar.go prints; "limit" where we say that we cannot tell. The pieces in which an archive arrives have
 * sizes drawn from its number. */
#include "format/tar.h"

#include <stdio.h>
#include <stdlib.h>

#include "layer/layer.h"

struct pieces {
	struct span left;
	uint64_t seed;
};

static enum rc next_piece(void *self, struct span *piece, struct err *e)
{
	static const size_t sizes[] = {1, 3, 100, 511, 512, 513, 4096, 1 << 20};
	struct pieces *const p = self;

	(void)e;
	if (!p->left.left)
		return RC_END;
	p->seed = p->seed * 6364136223846793005u + 1442695040888963407u;
	const size_t want = p->left.left > 100000 ? 65536 : sizes[p->seed >> 61];
	*piece = span_sub(&p->left, want < p->left.left ? want : p->left.left);
	return RC_OK;
}

static void hex(struct span s)
{
	for (size_t i = 0; i < s.left; i++)
		printf("%02x", s.at[i]);
}

static void show(const struct tar_entry *te)
{
	const struct layer_times t = layer_times_of(te);

	if (te->type == TAR_GLOBAL) {
		printf("g ");
		hex(te->name);
		printf("\n");
		return;
	}
	printf("%02x ", te->raw_type);
	hex(te->name);
	printf(" ");
	hex(te->link_name);
	printf(" %llu %o %u %u %lld %lld %lld.%ld %lld.%ld",
		te->raw_type >= '1' && te->raw_type <= '6' ? 0 : (unsigned long long)te->size, te->mode, (uint32_t)te->uid,
		(uint32_t)te->gid, (long long)te->dev_major, (long long)te->dev_minor, (long long)t.modified.tv_sec,
		t.modified.tv_nsec, (long long)t.access.tv_sec, t.access.tv_nsec);
	for (size_t i = 0; i < te->xattr_count; i++) {
		printf(" ");
		hex(te->xattrs[i].name);
		printf("=");
		hex(te->xattrs[i].value);
	}
	printf("\n");
}

/* As Go's: at most 16 MiB of a file. */
static enum rc read_data(struct tar *t, bool *stop, struct err *e)
{
	uint64_t n = 0, hash = 0xcbf29ce484222325u;

	for (;;) {
		struct span piece = {0};
		const enum rc rc = tar_data(t, &piece, e);
		if (rc && rc != RC_END)
			return rc;
		const size_t take = (size_t)min_u64(piece.left, (1u << 24) - n);
		for (size_t i = 0; i < take; i++)
			hash = (hash ^ (piece.at ? piece.at[i] : 0)) * 0x100000001b3u;
		n += take;
		*stop = n == 1u << 24;
		if (rc == RC_END || *stop) {
			printf("data %llu %016llx\n", (unsigned long long)n, (unsigned long long)hash);
			return RC_OK;
		}
	}
}

static void read_archive(const uint8_t *data, size_t n, uint64_t number)
{
	struct pieces pieces = {span_of(data, n), number};
	struct arena a = {0};
	struct tar *t = NULL;
	struct err e = {0};
	bool stop = false;
	enum rc rc;

	if ((rc = arena_open(&a, &e)) || (rc = tar_open(&t, (struct tar_source){next_piece, &pieces}, &a, &e)))
		abort();
	while (!rc && !stop) {
		struct tar_entry te = {0};
		if ((rc = tar_next(t, &te, &e)))
			break;
		show(&te);
		if (te.type == TAR_FILE && !span_starts(te.name, "skip"))
			rc = read_data(t, &stop, &e);
	}
	printf("%s\n", stop ? "long" : rc == RC_END ? "end" : rc == RC_CORRUPT ? "refused" : rc == RC_LIMIT ? "limit" : "broken");
	arena_close(&a);
}

int main(void)
{
	uint8_t head[4];

	for (uint64_t number = 0; fread(head, 1, sizeof(head), stdin) == sizeof(head); number++) {
		struct span s = span_of(head, sizeof(head));
		const uint32_t n = span_u32le(&s);
		uint8_t *const data = malloc(n ? n : 1); /* exactly as long, so that reading past its end is seen */
		if (!data || fread(data, 1, n, stdin) != n)
			return 1;
		printf("== %llu\n", (unsigned long long)number);
		read_archive(data, n, number);
		free(data);
	}
	return 0;
}
