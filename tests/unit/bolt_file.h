/* SPDX-License-Identifier: MIT */
/* A database in memory, written page by page with no code of the modules under test but FNV-1a: what
 * test_bolt.c damages and test_bolt_edit.c edits. */
#ifndef BOLT_FILE_H
#define BOLT_FILE_H

#include <stdlib.h>
#include <string.h>

#include "format/bolt.h"

#define FILE_PAGES_MAX 160

struct file {
	uint8_t *at;
	size_t n;
	uint32_t page_size;
	uint64_t used; /* pages handed out */
};

static inline void le(uint8_t *at, uint64_t value, size_t n)
{
	for (size_t i = 0; i < n; i++)
		at[i] = (uint8_t)(value >> 8 * i);
}

static inline uint64_t le_get(const uint8_t *at, size_t n)
{
	uint64_t value = 0;
	for (size_t i = 0; i < n; i++)
		value |= (uint64_t)at[i] << 8 * i;
	return value;
}

static inline uint8_t *page_at(const struct file *f, uint64_t id)
{
	return f->at + id * f->page_size;
}

struct kv {
	const char *key;
	size_t ksize;
	const void *value;
	size_t vsize;
	uint32_t flags;
	uint64_t child; /* branch */
};

#define KV(k, v)                                                                                             \
	{                                                                                                    \
		.key = (k), .ksize = sizeof(k) - 1, .value = (v), .vsize = sizeof(v) - 1                     \
	}
#define BUCKET(k, v, n)                                                                                      \
	{                                                                                                    \
		.key = (k), .ksize = sizeof(k) - 1, .value = (v), .vsize = (n), .flags = 1                   \
	}
#define CHILD(k, id)                                                                                         \
	{                                                                                                    \
		.key = (k), .ksize = sizeof(k) - 1, .child = (id)                                            \
	}

/* Lays a leaf (2) or branch (1) at `to`; returns its bytes. id 0: an inline page. */
static inline size_t lay_page(uint8_t *to, uint64_t id, unsigned flags, const struct kv *kv, size_t count)
{
	size_t data = 16 + 16 * count;

	le(to, id, 8);
	le(to + 8, flags, 2);
	le(to + 10, count, 2);
	le(to + 12, 0, 4);
	for (size_t i = 0; i < count; i++) {
		uint8_t *const element = to + 16 + 16 * i;
		const size_t pos = data - (16 + 16 * i);
		if (flags == 1) {
			le(element, pos, 4);
			le(element + 4, kv[i].ksize, 4);
			le(element + 8, kv[i].child, 8);
		} else {
			le(element, kv[i].flags, 4);
			le(element + 4, pos, 4);
			le(element + 8, kv[i].ksize, 4);
			le(element + 12, kv[i].vsize, 4);
		}
		if (kv[i].ksize)
			memcpy(to + data, kv[i].key, kv[i].ksize);
		data += kv[i].ksize;
		if (kv[i].vsize)
			memcpy(to + data, kv[i].value, kv[i].vsize);
		data += kv[i].vsize;
	}
	return data;
}

/* The next free page, or run of pages, with these elements. */
static inline uint64_t add_page(struct file *f, unsigned flags, const struct kv *kv, size_t count)
{
	const uint64_t id = f->used;
	const size_t n = lay_page(page_at(f, id), id, flags, kv, count);
	const uint64_t pages = (n + f->page_size - 1) / f->page_size;

	le(page_at(f, id) + 12, pages - 1, 4);
	f->used += pages;
	return id;
}

static inline void seal(struct file *f, unsigned slot)
{
	uint8_t *const meta = page_at(f, slot) + 16;
	le(meta + 56, fnv1a(meta, 56), 8);
}

static inline void set_meta(
	struct file *f, unsigned slot, uint64_t root, uint64_t freelist, uint64_t high_water, uint64_t txid)
{
	uint8_t *const page = page_at(f, slot);

	memset(page, 0, f->page_size);
	le(page, slot, 8);
	le(page + 8, 4, 2);
	le(page + 16, 0xED0CDAED, 4);
	le(page + 20, 2, 4);
	le(page + 24, f->page_size, 4);
	le(page + 32, root, 8);
	le(page + 48, freelist, 8);
	le(page + 56, high_water, 8);
	le(page + 64, txid, 8);
	seal(f, slot);
}

static inline struct file file_new(uint32_t page_size)
{
	const size_t n = (size_t)page_size * FILE_PAGES_MAX;
	return (struct file){calloc(1, n), n, page_size, 2};
}

static inline void file_free(struct file *f)
{
	free(f->at);
	f->at = NULL;
}

/* Bucket header: root page and sequence. */
static inline const uint8_t *bucket_value(uint8_t to[16], uint64_t root, uint64_t sequence)
{
	le(to, root, 8);
	le(to + 8, sequence, 8);
	return to;
}

/* An inline bucket (bbolt 1.4.3: bucket.go): sequence 42, a="1" and zero="". */
static const uint8_t inline_example[70] = {0, 0, 0, 0, 0, 0, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0, /* bucket */
	0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 2, 0, 0, 0, 0, 0,					    /* page */
	0, 0, 0, 0, 0x20, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0,				    /* a */
	0, 0, 0, 0, 0x12, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0,				    /* zero */
	'a', '1', 'z', 'e', 'r', 'o'};

/* What sample() made, for those who damage it. */
struct sample {
	struct file f;
	uint64_t root, freelist, branch, leaf[3], large, empty, outer, inner, free_page;
};

/* A small database with everything in it: an inline bucket, a tree of two levels, a value of several
 * pages, an empty bucket with a page, a bucket in a bucket, a stored freelist, a leaked page, and an
 * unused page. */
static inline struct sample sample(uint32_t page_size)
{
	static uint8_t large_value[3000];
	struct sample s = {.f = file_new(page_size)};
	uint8_t value[5][16];

	for (size_t i = 0; i < sizeof(large_value); i++)
		large_value[i] = (uint8_t)(i * 31);
	s.free_page = s.f.used++;
	const struct kv one[] = {KV("apple", "1"), KV("banana", "22"), KV("cherry", "333")};
	const struct kv two[] = {KV("date", ""), KV("elderberry", "5")};
	const struct kv three[] = {KV("fig", "6"), KV("grape", "7"), KV("hazelnut", "8"), KV("i", "9")};
	s.leaf[0] = add_page(&s.f, 2, one, 3);
	s.leaf[1] = add_page(&s.f, 2, two, 2);
	s.leaf[2] = add_page(&s.f, 2, three, 4);
	const struct kv children[] = {
		CHILD("apple", s.leaf[0]), CHILD("date", s.leaf[1]), CHILD("fig", s.leaf[2])};
	s.branch = add_page(&s.f, 1, children, 3);
	s.f.used++; /* leaked */
	const struct kv big[] = {KV("key", "value"), {"large", 5, large_value, sizeof(large_value), 0, 0}};
	s.large = add_page(&s.f, 2, big, 2);
	s.empty = add_page(&s.f, 2, NULL, 0);
	const struct kv deep[] = {KV("x", "y")};
	s.inner = add_page(&s.f, 2, deep, 1);
	const struct kv outer[] = {
		BUCKET("inner", bucket_value(value[0], s.inner, 7), 16), KV("plain", "value")};
	s.outer = add_page(&s.f, 2, outer, 2);
	const struct kv root[] = {
		BUCKET("empty", bucket_value(value[1], s.empty, 3), 16),
		BUCKET("inline", inline_example, sizeof(inline_example)),
		BUCKET("large", bucket_value(value[2], s.large, 0), 16),
		BUCKET("outer", bucket_value(value[3], s.outer, 5), 16),
		BUCKET("tree", bucket_value(value[4], s.branch, 99), 16),
	};
	s.root = add_page(&s.f, 2, root, 5);
	s.freelist = s.f.used++;
	le(page_at(&s.f, s.freelist), s.freelist, 8);
	le(page_at(&s.f, s.freelist) + 8, 16, 2);
	le(page_at(&s.f, s.freelist) + 10, 1, 2);
	le(page_at(&s.f, s.freelist) + 16, s.free_page, 8);
	set_meta(&s.f, 0, s.root, s.freelist, s.f.used, 8);
	set_meta(&s.f, 1, s.root, s.freelist, s.f.used, 7);
	s.f.n = s.f.used * page_size;
	return s;
}

/* Opens and checks; kind: what was found. */
static inline enum rc look(const void *at, size_t n, struct arena *a, struct bolt *b,
	struct bolt_stats *stats, enum bolt_fault_kind *kind)
{
	const struct src src = src_of_memory(at, n);
	struct bolt_fault fault = {0};
	struct err e = {0};

	enum rc rc = bolt_open(b, &src, a, &fault, &e);
	if (!rc)
		rc = bolt_check(b, *a, stats, &fault, &e);
	*kind = fault.kind;
	return rc;
}

#endif
