/* SPDX-License-Identifier: MIT */
/* Buckets as they come, depth first. Elements of an open bucket are collected in one page; when the next does not fit, the page is
 * written as a leaf and its first key kept. At a bucket's end branches are built over these, level by level, none with a single child;
 * a bucket that bbolt would keep inline (bbolt 1.4.3: bucket.go, inlineable) is given to its parent as a value. An element that is
 * larger than a page is a run of its own. */
#include "format/bolt_write.h"

#include <string.h>

#include "format/bolt_pages.h"

/* A page that is written, for the branch above it. */
struct child {
	struct span key;
	uint64_t id;
};

struct element {
	struct span key, value;
	uint64_t child;
	bool is_bucket;
};

struct open_bucket {
	struct open_bucket *parent;
	struct arena mark; /* as it was before this bucket took of it */
	struct span name, last;
	size_t last_cap;
	/* the elements of the page that is being filled: bytes behind one another, in order */
	struct element *elements;
	size_t count, count_cap;
	uint8_t *bytes;
	size_t used, cap;
	bool has_bucket;
	struct child *children;
	size_t child_count;
};

struct bolt_writer {
	struct bolt_sink sink;
	struct arena *arena;
	uint32_t page_size;
	uint64_t next_page, txid;
	uint8_t *carry; /* a bucket's name and value, on the way to its parent */
	struct open_bucket *at;
	unsigned depth;
};

static void put_le(uint8_t *at, uint64_t value, size_t n)
{
	for (size_t i = 0; i < n; i++)
		at[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t page_bytes(size_t count, size_t data)
{
	return HEADER_BYTES + (uint64_t)count * ELEMENT_BYTES + data;
}

/* A branch or leaf, of `bytes` bytes that are zero. */
static void page_fill(uint8_t *at, uint64_t id, unsigned flags, uint64_t overflow, const struct element *elements, size_t count)
{
	uint8_t *data = at + HEADER_BYTES + count * ELEMENT_BYTES;

	put_le(at, id, 8);
	put_le(at + 8, flags, 2);
	put_le(at + 10, count, 2);
	put_le(at + 12, overflow, 4);
	for (size_t i = 0; i < count; i++) {
		const struct element *const x = &elements[i];
		uint8_t *const element = at + HEADER_BYTES + i * ELEMENT_BYTES;
		if (flags == FLAG_LEAF) {
			put_le(element, x->is_bucket, 4);
			put_le(element + 4, (uint64_t)(data - element), 4);
			put_le(element + 8, x->key.left, 4);
			put_le(element + 12, x->value.left, 4);
		} else {
			put_le(element, (uint64_t)(data - element), 4);
			put_le(element + 4, x->key.left, 4);
			put_le(element + 8, x->child, 8);
		}
		memcpy(data, x->key.at, x->key.left);
		data += x->key.left;
		if (x->value.left)
			memcpy(data, x->value.at, x->value.left);
		data += x->value.left;
	}
}

/* A page, or a run of them, behind the last one. */
static enum rc page_write(struct bolt_writer *w, unsigned flags, const struct element *elements, size_t count, uint64_t *id, struct err *e)
{
	struct arena scratch = *w->arena;
	size_t data = 0;
	enum rc rc;

	for (size_t i = 0; i < count; i++)
		data += elements[i].key.left + elements[i].value.left;
	const uint64_t pages = (page_bytes(count, data) + w->page_size - 1) / w->page_size;
	const uint64_t bytes = pages * w->page_size;
	uint8_t *const at = bytes > LIMIT_ARENA_BYTES ? NULL : arena_get(&scratch, (size_t)bytes);
	if (!at)
		return no_memory(e);
	if (w->next_page + pages >= LIMIT_BOLT_BYTES / w->page_size)
		return fail(e, RC_LIMIT, "the database would grow to %llu pages", (unsigned long long)(w->next_page + pages));
	page_fill(at, w->next_page, flags, pages - 1, elements, count);
	if ((rc = w->sink.put(w->sink.self, w->next_page * w->page_size, at, (size_t)bytes, e)))
		return rc;
	*id = w->next_page;
	w->next_page += pages;
	return RC_OK;
}

/* The page that was being filled is a leaf. */
static enum rc leaf_end(struct bolt_writer *w, struct open_bucket *b, struct err *e)
{
	uint64_t id = 0;
	const enum rc rc = page_write(w, FLAG_LEAF, b->elements, b->count, &id, e);

	if (rc)
		return rc;
	struct child *const child = arena_push(w->arena, (void **)&b->children, &b->child_count, sizeof(*child));
	if (!child)
		return no_memory(e);
	*child = (struct child){b->count ? arena_copy(w->arena, b->elements[0].key) : (struct span){0}, id};
	if (child->key.bad)
		return no_memory(e);
	b->count = b->used = 0;
	return RC_OK;
}

static enum rc bucket_open(struct bolt_writer *w, struct span name, struct err *e)
{
	const struct arena mark = *w->arena;
	struct open_bucket *const made = arena_get(w->arena, sizeof(*made));

	if (!made)
		return no_memory(e);
	made->mark = mark;
	made->parent = w->at;
	made->cap = w->page_size;
	made->bytes = arena_get(w->arena, made->cap);
	/* keys have a byte at least */
	made->count_cap = w->page_size / (ELEMENT_BYTES + 1);
	made->elements = arena_array(w->arena, made->count_cap, sizeof(*made->elements));
	made->name = arena_copy(w->arena, name);
	if (!made->bytes || !made->elements || made->name.bad)
		return no_memory(e);
	w->at = made;
	w->depth++;
	return RC_OK;
}

enum rc bolt_write_begin(struct bolt_writer **w, const struct bolt_sink *sink, uint32_t page_size, uint64_t txid, struct arena *a,
	struct err *e)
{
	struct bolt_writer *const made = arena_get(a, sizeof(*made));

	MUST(page_size >= 512 && !(page_size & (page_size - 1)));
	if (!made)
		return no_memory(e);
	if (txid > UINT64_MAX - 8)
		return fail(e, RC_LIMIT, "the database has no transaction numbers left");
	*made = (struct bolt_writer){
		.sink = *sink, .arena = a, .page_size = page_size, .next_page = 2, .txid = (txid / 2 + 1) * 2};
	if (!(made->carry = arena_get(a, KEY_MAX + BUCKET_BYTES + page_size / 4)))
		return no_memory(e);
	*w = made;
	return bucket_open(made, (struct span){0}, e);
}

static enum rc element_put(struct bolt_writer *w, struct span key, struct span value, bool is_bucket, struct err *e)
{
	struct open_bucket *const b = w->at;
	enum rc rc;

	if (key.bad || value.bad || key.left == 0 || key.left > KEY_MAX || value.left > BOLT_ITEM_MAX)
		return fail(e, RC_CORRUPT, "an element that no database holds");
	if (b->last.left && span_compare(b->last, key) >= 0)
		return fail(e, RC_CORRUPT, "elements of a database out of order");
	const size_t n = key.left + value.left;
	if (b->count && (b->count == b->count_cap || page_bytes(b->count + 1, b->used + n) > w->page_size) && (rc = leaf_end(w, b, e)))
		return rc;
	if (n > b->cap) {
		b->bytes = arena_get(w->arena, n);
		if (!b->bytes)
			return no_memory(e);
		b->cap = n;
	}
	if (key.left > b->last_cap) {
		uint8_t *const last = arena_get(w->arena, 2 * key.left);
		if (!last)
			return no_memory(e);
		b->last.at = last;
		b->last_cap = 2 * key.left;
	}
	memcpy((uint8_t *)(uintptr_t)b->last.at, key.at, key.left);
	b->last.left = key.left;
	uint8_t *const at = b->bytes + b->used;
	memcpy(at, key.at, key.left);
	if (value.left)
		memcpy(at + key.left, value.at, value.left);
	b->elements[b->count++] = (struct element){span_of(at, key.left), span_of(at + key.left, value.left), 0, is_bucket};
	b->used += n;
	b->has_bucket |= is_bucket;
	return RC_OK;
}

enum rc bolt_write_put(struct bolt_writer *w, struct span key, struct span value, struct err *e)
{
	if (!w->at->parent)
		return fail(e, RC_CORRUPT, "the root of a database holds buckets only");
	return element_put(w, key, value, false, e);
}

enum rc bolt_write_bucket(struct bolt_writer *w, struct span name, struct err *e)
{
	if (name.bad || name.left == 0 || name.left > KEY_MAX || (w->at->last.left && span_compare(w->at->last, name) >= 0))
		return fail(e, RC_CORRUPT, "elements of a database out of order");
	if (w->depth >= LIMIT_BUCKET_DEPTH)
		return fail(e, RC_LIMIT, "buckets nested more than %d deep", LIMIT_BUCKET_DEPTH);
	return bucket_open(w, name, e);
}

/* One level of branches over the children of b, which become its pages. */
static enum rc branches(struct bolt_writer *w, struct open_bucket *b, struct err *e)
{
	size_t made = 0, from = 0;

	while (from < b->child_count) {
		struct arena scratch = *w->arena;
		size_t n = 0, data = 0;
		while (from + n < b->child_count && n < COUNT_MAX &&
			(n < 2 || page_bytes(n + 1, data + b->children[from + n].key.left) <= w->page_size))
			data += b->children[from + n++].key.left;
		if (from + n + 1 == b->child_count) { /* none is left alone: of three two go on, or all */
			if (n > 2)
				n--;
			else
				n++;
		}
		struct element *const elements = arena_array(&scratch, n, sizeof(*elements));
		if (!elements)
			return no_memory(e);
		for (size_t i = 0; i < n; i++)
			elements[i] = (struct element){.key = b->children[from + i].key, .child = b->children[from + i].id};
		uint64_t id = 0;
		const struct arena keep = *w->arena;
		*w->arena = scratch; /* the page is taken behind the elements */
		const enum rc rc = page_write(w, FLAG_BRANCH, elements, n, &id, e);
		*w->arena = keep;
		if (rc)
			return rc;
		b->children[made++] = (struct child){b->children[from].key, id};
		from += n;
	}
	b->child_count = made;
	return RC_OK;
}

/* Its pages, all of them; *root: the one they begin with. */
static enum rc bucket_pages(struct bolt_writer *w, struct open_bucket *b, uint64_t *root, struct err *e)
{
	enum rc rc;

	if ((b->count || b->child_count == 0) && (rc = leaf_end(w, b, e)))
		return rc;
	while (b->child_count > 1)
		if ((rc = branches(w, b, e)))
			return rc;
	*root = b->children[0].id;
	return RC_OK;
}

enum rc bolt_write_bucket_end(struct bolt_writer *w, uint64_t sequence, struct err *e)
{
	struct open_bucket *const b = w->at;
	const uint64_t inline_bytes = page_bytes(b->count, b->used);
	uint8_t head[BUCKET_BYTES] = {0};
	enum rc rc;

	MUST(b->parent);
	put_le(head + 8, sequence, 8);
	const bool is_inline = b->child_count == 0 && !b->has_bucket && inline_bytes <= w->page_size / 4;
	uint8_t *value = head;
	size_t n = sizeof(head);
	if (is_inline) {
		n += (size_t)inline_bytes;
		if (!(value = arena_get(w->arena, n)))
			return no_memory(e);
		memcpy(value, head, sizeof(head));
		page_fill(value + BUCKET_BYTES, 0, FLAG_LEAF, 0, b->elements, b->count);
	} else {
		uint64_t root = 0;
		if ((rc = bucket_pages(w, b, &root, e)))
			return rc;
		put_le(head, root, 8);
	}
	/* carried over: the memory of this bucket goes, and its parent takes of the same */
	const size_t name_bytes = b->name.left;
	memcpy(w->carry, b->name.at, name_bytes);
	memcpy(w->carry + name_bytes, value, n);
	w->at = b->parent;
	w->depth--;
	*w->arena = b->mark;
	return element_put(w, span_of(w->carry, name_bytes), span_of(w->carry + name_bytes, n), true, e);
}

static enum rc meta_write(struct bolt_writer *w, unsigned slot, uint64_t root, uint64_t sequence, struct err *e)
{
	struct arena scratch = *w->arena;
	uint8_t *const page = arena_get(&scratch, w->page_size);

	if (!page)
		return no_memory(e);
	put_le(page, slot, 8);
	put_le(page + 8, FLAG_META, 2);
	put_le(page + 16, MAGIC, 4);
	put_le(page + 20, VERSION, 4);
	put_le(page + 24, w->page_size, 4);
	put_le(page + 32, root, 8);
	put_le(page + 40, sequence, 8);
	put_le(page + 48, BOLT_NO_FREELIST, 8);
	put_le(page + 56, w->next_page, 8);
	put_le(page + 64, w->txid - slot, 8); /* slot 0 has the even one, which is the newer */
	put_le(page + META_SUM_AT, fnv1a(page + HEADER_BYTES, META_SUM_AT - HEADER_BYTES), 8);
	return w->sink.put(w->sink.self, (uint64_t)slot * w->page_size, page, w->page_size, e);
}

enum rc bolt_write_end(struct bolt_writer *w, uint64_t root_sequence, uint64_t *bytes, struct err *e)
{
	uint64_t root = 0;
	enum rc rc;

	MUST(!w->at->parent);
	if ((rc = bucket_pages(w, w->at, &root, e)) || (rc = meta_write(w, 1, root, root_sequence, e)) ||
		(rc = meta_write(w, 0, root, root_sequence, e)))
		return rc;
	*bytes = w->next_page * w->page_size;
	return RC_OK;
}
