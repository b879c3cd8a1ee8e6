/* SPDX-License-Identifier: MIT */
/* Reads and checks bbolt files; never writes, never recurses, and believes no number before its bounds are
 * checked. Format: bbolt 1.4.3, internal/common/page.go, meta.go, inode.go, bucket.go;
 * internal/freelist/shared.go; db.go for which meta wins. All integers are those of the CPU that wrote the
 * file; we read little-endian ones.
 *
 * Page header, 16 bytes, also of the page inside an inline bucket:
 *    0  8  id        its own page number; 0 in an inline page
 *    8  2  flags     1 branch, 2 leaf, 4 meta, 16 freelist
 *   10  2  count     elements
 *   12  4  overflow  further pages of this run
 * Meta, from byte 16 of page 0 and 1:
 *    0  4  magic      16  8  root page        40  8  high water: first page never allocated
 *    4  4  version    24  8  root sequence    48  8  txid
 *    8  4  page size  32  8  freelist page    56  8  FNV-1a of the 56 bytes before it
 *   12  4  flags
 * Leaf element i at 16 + 16 i:      Branch element:        Value of a bucket element:
 *    0  4  flags  1: a bucket          0  4  pos              0  8  root page; 0: an inline page at 16
 *    4  4  pos    from the element     4  4  ksize            8  8  sequence
 *    8  4  ksize                       8  8  child page
 *   12  4  vsize  after the key                                                                          */
#include "format/bolt.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "format/bolt_pages.h"

#define MAGIC_SWAPPED 0xEDDA0CEDu
#define META_BYTES 80u /* header included */

#define PAGE_SIZE_MIN 512u
#define PAGE_SIZE_MAX (16u << 20)
#define VALUE_MAX 0x7ffffffeu

/* ---- the page cache: windows onto the file, the least recently used one is filled again ---- */

#define WINDOW_COUNT 8
#define WINDOW_BYTES 16384u
#define WINDOW_ALIGN 4096u
#define PIECE_BYTES (WINDOW_BYTES - WINDOW_ALIGN) /* always found in one window */

struct bolt_cache {
	uint64_t clock;
	struct window {
		uint64_t at, used; /* used: the clock when it last was */
		size_t n;
		uint8_t *bytes;
	} window[WINDOW_COUNT];
};

/* Bytes somewhere: in memory, or in the file. */
struct extent {
	const uint8_t *memory; /* NULL: at offset `at` of the file */
	uint64_t at, bytes;
};

/* A branch or leaf: a run of pages, or an inline page. */
struct page {
	struct extent all;
	uint64_t id; /* of an inline page: the page it is inside */
	uint32_t count, overflow;
	bool is_leaf;
};

struct element {
	struct extent key, value;
	uint64_t child;
	uint32_t flags, pos;
};

PRINTF_LIKE(4, 5)
static enum rc broken(
	struct bolt_fault *fault, enum bolt_fault_kind kind, uint64_t page, const char *format, ...)
{
	va_list arguments;

	*fault = (struct bolt_fault){.kind = kind, .page = page};
	va_start(arguments, format);
	(void)print_to_v(fault->text, sizeof(fault->text), format, arguments); /* a cut text is still a text */
	va_end(arguments);
	return RC_CORRUPT;
}

/* For those who have no fault to fill. */
static enum rc told(enum rc rc, const struct bolt_fault *fault, struct err *e)
{
	if (rc == RC_CORRUPT)
		return fail(e, rc, "database page %llu: %s", (unsigned long long)fault->page, fault->text);
	return rc;
}

/* Yields n <= PIECE_BYTES bytes, valid while fewer than WINDOW_COUNT others are fetched. */
static enum rc fetch(const struct bolt *b, uint64_t off, size_t n, const uint8_t **at, struct err *e)
{
	struct bolt_cache *const cache = b->cache;
	struct window *w = &cache->window[0];
	enum rc rc = pace_on(b->pace, PACE_STEP + n, e);

	MUST(n <= PIECE_BYTES);
	if (rc)
		return rc;
	cache->clock++;
	for (size_t i = 0; i < WINDOW_COUNT; i++) {
		struct window *const have = &cache->window[i];
		if (off >= have->at && off - have->at <= have->n && n <= have->n - (off - have->at)) {
			have->used = cache->clock;
			*at = have->bytes + (off - have->at);
			return RC_OK;
		}
		if (have->used < w->used)
			w = have;
	}
	/* No further than the page: the next that is asked for is seldom the next in the file. */
	const uint64_t from = off - off % WINDOW_ALIGN, page = b->page_size < WINDOW_ALIGN ? WINDOW_ALIGN : b->page_size;
	const uint64_t wanted = min_u64(WINDOW_BYTES, (off + n + page - 1) / page * page - from);
	const uint64_t got = from < b->src.size ? min_u64(wanted, b->src.size - from) : 0;
	/* bolt_open: all pages end before the file does */
	MUST(got >= off - from && n <= got - (off - from));
	w->n = 0;
	if ((rc = src_read(&b->src, from, w->bytes, (size_t)got, e)))
		return rc;
	w->at = from;
	w->n = (size_t)got;
	w->used = cache->clock;
	*at = w->bytes + (off - from);
	return RC_OK;
}

/* The part [off, off + n) of x, which the caller knows to be inside. */
static struct extent extent_part(struct extent x, uint64_t off, uint64_t n)
{
	MUST(off <= x.bytes && n <= x.bytes - off);
	return (struct extent){x.memory ? x.memory + off : NULL, x.at + off, n};
}

/* Yields n <= PIECE_BYTES bytes of x. */
static enum rc extent_look(
	const struct bolt *b, struct extent x, uint64_t off, size_t n, struct span *bytes, struct err *e)
{
	const struct extent part = extent_part(x, off, n);
	const uint8_t *at = part.memory;
	enum rc rc;

	if (!at && (rc = fetch(b, part.at, n, &at, e)))
		return rc;
	*bytes = span_of(at, n);
	return RC_OK;
}

static enum rc extent_copy(const struct bolt *b, struct extent x, uint8_t *to, struct err *e)
{
	struct span bytes;
	enum rc rc;

	if (x.bytes == 0)
		return RC_OK;
	if (!x.memory && x.bytes > PIECE_BYTES)
		return src_read(&b->src, x.at, to, (size_t)x.bytes, e);
	if (x.memory)
		bytes = span_of(x.memory, (size_t)x.bytes);
	else if ((rc = extent_look(b, x, 0, (size_t)x.bytes, &bytes, e)))
		return rc;
	memcpy(to, bytes.at, bytes.left);
	return RC_OK;
}

/* *order is that of x against y, as span_compare. */
static enum rc extent_compare(
	const struct bolt *b, struct extent x, struct extent y, int *order, struct err *e)
{
	const uint64_t common = min_u64(x.bytes, y.bytes);
	enum rc rc;

	for (uint64_t off = 0; off < common;) {
		const size_t n = (size_t)min_u64(common - off, PIECE_BYTES);
		struct span in_x, in_y;
		if ((rc = extent_look(b, x, off, n, &in_x, e)) || (rc = extent_look(b, y, off, n, &in_y, e)))
			return rc;
		if ((*order = memcmp(in_x.at, in_y.at, n)) != 0)
			return RC_OK;
		off += n;
	}
	*order = (x.bytes > y.bytes) - (x.bytes < y.bytes);
	return RC_OK;
}

/* ---- metas ---- */

struct slot {
	struct bolt_meta meta;
	uint64_t header_id, checksum;
	uint32_t magic, version;
	bool sum_ok, size_ok;
};

static enum rc slot_read(const struct src *src, uint64_t off, struct slot *slot, struct err *e)
{
	uint8_t raw[META_BYTES];
	enum rc rc;

	*slot = (struct slot){0};
	if (off > src->size || sizeof(raw) > src->size - off)
		return RC_OK; /* no meta there: an invalid one */
	if ((rc = src_read(src, off, raw, sizeof(raw), e)))
		return rc;
	struct span bytes = span_of(raw, sizeof(raw));
	slot->header_id = span_u64le(&bytes);
	(void)span_take(&bytes, 8); /* flags, count, overflow: bbolt looks at none of them in a meta */
	slot->magic = span_u32le(&bytes);
	slot->version = span_u32le(&bytes);
	slot->meta.page_size = span_u32le(&bytes);
	slot->meta.flags = span_u32le(&bytes);
	slot->meta.root = span_u64le(&bytes);
	slot->meta.root_sequence = span_u64le(&bytes);
	slot->meta.freelist = span_u64le(&bytes);
	slot->meta.high_water = span_u64le(&bytes);
	slot->meta.txid = span_u64le(&bytes);
	slot->checksum = span_u64le(&bytes);
	const uint32_t page_size = slot->meta.page_size;
	slot->sum_ok = slot->checksum == fnv1a(raw + HEADER_BYTES, META_BYTES - HEADER_BYTES - 8);
	slot->size_ok =
		page_size >= PAGE_SIZE_MIN && page_size <= PAGE_SIZE_MAX && !(page_size & (page_size - 1));
	slot->meta.valid = slot->magic == MAGIC && slot->version == VERSION && slot->sum_ok && slot->size_ok;
	return RC_OK;
}

/* A later format, a page size of somebody's own, or the other byte order: written on purpose, not damage. */
static bool slot_is_foreign(const struct slot *slot)
{
	return slot->magic == MAGIC && slot->sum_ok && !slot->meta.valid;
}

/* Finds the second meta where the first is gone. A value can hold a whole database, so the place must be the
 * one that the meta itself names. */
static enum rc find_page_size(const struct src *src, uint32_t *page_size, struct err *e)
{
	struct slot slot;
	enum rc rc;

	for (uint32_t size = PAGE_SIZE_MIN; size <= PAGE_SIZE_MAX; size *= 2) {
		if ((rc = slot_read(src, size, &slot, e)))
			return rc;
		if (slot.meta.valid && slot.meta.page_size == size && slot.header_id == 1) {
			*page_size = size;
			return RC_OK;
		}
	}
	return RC_END;
}

static enum rc read_metas(struct bolt *b, struct bolt_fault *fault, struct err *e)
{
	struct slot slot[2];
	enum rc rc;

	if (b->src.size == 0)
		return broken(fault, BOLT_EMPTY_FILE, 0,
			"the file is empty: bbolt would make a new database of it");
	if ((rc = slot_read(&b->src, 0, &slot[0], e)))
		return rc;
	b->page_size = slot[0].meta.page_size;
	if (slot_is_foreign(&slot[0]))
		return broken(fault, BOLT_FOREIGN, 0, "format version %u, page size %u: not known here",
			slot[0].version, slot[0].meta.page_size);
	if (!slot[0].meta.valid && (rc = find_page_size(&b->src, &b->page_size, e))) {
		if (rc != RC_END)
			return rc;
		if (slot[0].magic == MAGIC_SWAPPED)
			return broken(fault, BOLT_FOREIGN, 0, "written by a big-endian machine");
		if (slot[0].magic == MAGIC && slot[0].version != VERSION)
			return broken(
				fault, BOLT_FOREIGN, 0, "format version %u: not known here", slot[0].version);
		if (b->src.size / 2 < PAGE_SIZE_MIN)
			return broken(fault, BOLT_SHORT_FILE, 0, "%llu bytes are too few for a database",
				(unsigned long long)b->src.size);
		return broken(fault, BOLT_NO_META, 0, "neither meta page is valid");
	}
	if (b->src.size / b->page_size < 2)
		return broken(fault, BOLT_SHORT_FILE, 1, "%llu bytes do not hold two meta pages of %u",
			(unsigned long long)b->src.size, b->page_size);
	if ((rc = slot_read(&b->src, b->page_size, &slot[1], e)))
		return rc;
	if (slot_is_foreign(&slot[1]))
		return broken(fault, BOLT_FOREIGN, 1, "format version %u, page size %u: not known here",
			slot[1].version, slot[1].meta.page_size);
	if (slot[0].meta.valid && slot[1].meta.valid && slot[0].meta.page_size != slot[1].meta.page_size)
		return broken(fault, BOLT_NO_META, 1, "one meta page says pages of %u bytes, the other of %u",
			slot[0].meta.page_size, slot[1].meta.page_size);
	b->meta[0] = slot[0].meta;
	b->meta[1] = slot[1].meta;
	/* As bbolt: the larger transaction, slot 0 where they are equal; parity decides nothing. */
	b->current = !slot[0].meta.valid || (slot[1].meta.valid && slot[1].meta.txid > slot[0].meta.txid);
	return RC_OK;
}

#define SLOT_OF_BBOLT 2u

/* cut: the pages that the file has are taken for all, where it should have more. */
static enum rc open_on(struct bolt *b, const struct src *src, unsigned slot, bool cut, struct arena *a, struct bolt_fault *fault,
	struct err *e)
{
	struct bolt made = {.src = *src};
	enum rc rc;

	*fault = (struct bolt_fault){.kind = BOLT_SOUND};
	if (src->size > LIMIT_BOLT_BYTES)
		return fail(e, RC_LIMIT, "a database of %llu bytes", (unsigned long long)src->size);
	if ((rc = read_metas(&made, fault, e)))
		return rc;
	MUST(made.page_size);
	if (slot < SLOT_OF_BBOLT) {
		if (!made.meta[slot].valid)
			return broken(fault, BOLT_NO_META, slot, "the meta page is not valid");
		made.current = slot;
	}
	struct bolt_meta *const meta = &made.meta[made.current];
	if (cut)
		meta->high_water = min_u64(meta->high_water, src->size / made.page_size);
	if (meta->high_water > src->size / made.page_size)
		return broken(fault, BOLT_SHORT_FILE, meta->high_water,
			"the file ends at %llu bytes, before its %llu pages of %u do",
			(unsigned long long)src->size, (unsigned long long)meta->high_water, made.page_size);
	made.cache = arena_get(a, sizeof(*made.cache));
	if (!made.cache)
		return no_memory(e);
	for (size_t i = 0; i < WINDOW_COUNT; i++) {
		made.cache->window[i].bytes = arena_get(a, WINDOW_BYTES);
		if (!made.cache->window[i].bytes)
			return no_memory(e);
	}
	*b = made;
	return RC_OK;
}

enum rc bolt_open(
	struct bolt *b, const struct src *src, struct arena *a, struct bolt_fault *fault, struct err *e)
{
	return open_on(b, src, SLOT_OF_BBOLT, false, a, fault, e);
}

enum rc bolt_open_slot(struct bolt *b, const struct src *src, unsigned slot, struct arena *a, struct bolt_fault *fault, struct err *e)
{
	MUST(slot < SLOT_OF_BBOLT);
	return open_on(b, src, slot, false, a, fault, e);
}

enum rc bolt_open_cut(struct bolt *b, const struct src *src, struct arena *a, struct bolt_fault *fault, struct err *e)
{
	return open_on(b, src, SLOT_OF_BBOLT, true, a, fault, e);
}

/* ---- pages and elements ---- */

/* Reads the header of a page that has all of bytes, as far as the caller knows. */
static enum rc header_read(const struct bolt *b, struct extent bytes, uint64_t id, uint64_t *self,
	uint16_t *flags, struct page *page, struct bolt_fault *fault, struct err *e)
{
	struct span head;
	enum rc rc;

	if (bytes.bytes < HEADER_BYTES)
		return broken(fault, BOLT_BAD_TREE, id, "too few bytes for a page header");
	if ((rc = extent_look(b, bytes, 0, HEADER_BYTES, &head, e)))
		return rc;
	*self = span_u64le(&head);
	*flags = span_u16le(&head);
	page->all = bytes;
	page->id = id;
	page->count = span_u16le(&head);
	page->overflow = span_u32le(&head);
	page->is_leaf = *flags == FLAG_LEAF;
	return RC_OK;
}

/* A run of pages, inside the allocated part of the file, that says of itself who and how long it is. */
static enum rc run_open(const struct bolt *b, uint64_t id, enum bolt_fault_kind kind, uint16_t *flags,
	struct page *page, struct bolt_fault *fault, struct err *e)
{
	const uint64_t high_water = b->meta[b->current].high_water;
	uint64_t self = 0;
	enum rc rc;

	if (id < 2 || id >= high_water)
		return broken(fault, kind, id,
			"a reference to page %llu of %llu, which is none of the tree's",
			(unsigned long long)id, (unsigned long long)high_water);
	const struct extent first = {NULL, id * b->page_size, b->page_size};
	if ((rc = header_read(b, first, id, &self, flags, page, fault, e)))
		return rc;
	if (self != id)
		return broken(fault, kind, id, "identifies itself as page %llu", (unsigned long long)self);
	if (page->overflow >= high_water - id)
		return broken(fault, kind, id, "its %u overflow pages pass the last page %llu",
			page->overflow, (unsigned long long)high_water - 1);
	page->all.bytes = ((uint64_t)page->overflow + 1) * b->page_size;
	return RC_OK;
}

static enum rc table_fits(const struct page *page, struct bolt_fault *fault)
{
	if (page->count > COUNT_MAX || HEADER_BYTES + (uint64_t)page->count * ELEMENT_BYTES > page->all.bytes)
		return broken(fault, BOLT_BAD_TREE, page->id, "%u elements do not fit in it", page->count);
	return RC_OK;
}

/* A branch or leaf page of the tree, its element table inside the run. */
static enum rc page_open(
	const struct bolt *b, uint64_t id, struct page *page, struct bolt_fault *fault, struct err *e)
{
	uint16_t flags = 0;
	enum rc rc;

	if ((rc = run_open(b, id, BOLT_BAD_TREE, &flags, page, fault, e)))
		return rc;
	if (flags != FLAG_BRANCH && flags != FLAG_LEAF)
		return broken(fault, BOLT_BAD_TREE, id, "is neither branch nor leaf (flags 0x%x)", flags);
	if (flags == FLAG_BRANCH && page->count == 0)
		return broken(fault, BOLT_BAD_TREE, id, "is a branch without children");
	return table_fits(page, fault);
}

/* value: that of a bucket element with root 0, at least the bucket header. */
static enum rc inline_open(const struct bolt *b, struct extent value, uint64_t inside, struct page *page,
	struct bolt_fault *fault, struct err *e)
{
	uint64_t self = 0;
	uint16_t flags = 0;
	enum rc rc;

	const struct extent bytes = extent_part(value, BUCKET_BYTES, value.bytes - BUCKET_BYTES);
	if ((rc = header_read(b, bytes, inside, &self, &flags, page, fault, e)))
		return rc;
	if (flags != FLAG_LEAF)
		return broken(
			fault, BOLT_BAD_TREE, inside, "an inline bucket that is no leaf (flags 0x%x)", flags);
	if ((rc = table_fits(page, fault)))
		return rc;
	if (self != 0 || page->overflow != 0)
		return broken(fault, BOLT_HAZARD, inside,
			"an inline bucket that says it is page %llu with %u more", (unsigned long long)self,
			page->overflow);
	return RC_OK;
}

/* i < page->count. */
static enum rc element_read(const struct bolt *b, const struct page *page, uint32_t i,
	struct element *element, struct bolt_fault *fault, struct err *e)
{
	const uint64_t at = HEADER_BYTES + (uint64_t)i * ELEMENT_BYTES;
	const uint64_t table_end = HEADER_BYTES + (uint64_t)page->count * ELEMENT_BYTES;
	struct element made = {0};
	uint32_t vsize = 0;
	struct span head;
	enum rc rc;

	if ((rc = extent_look(b, page->all, at, ELEMENT_BYTES, &head, e)))
		return rc;
	if (page->is_leaf)
		made.flags = span_u32le(&head);
	made.pos = span_u32le(&head);
	const uint32_t ksize = span_u32le(&head);
	if (page->is_leaf)
		vsize = span_u32le(&head);
	else
		made.child = span_u64le(&head);
	const uint64_t start = at + made.pos;
	if (start < table_end || start > page->all.bytes || (uint64_t)ksize + vsize > page->all.bytes - start)
		return broken(
			fault, BOLT_BAD_TREE, page->id, "element %u of %u lies outside", i, page->count);
	made.key = extent_part(page->all, start, ksize);
	made.value = extent_part(page->all, start + ksize, vsize);
	*element = made;
	return RC_OK;
}

struct bolt_bucket bolt_root(const struct bolt *b)
{
	const struct bolt_meta *const meta = &b->meta[b->current];
	return (struct bolt_bucket){.root = meta->root, .sequence = meta->root_sequence};
}

enum rc bolt_bucket_of(const struct bolt_item *item, struct bolt_bucket *bucket)
{
	struct span value = item->value;
	const uint64_t root = span_u64le(&value), sequence = span_u64le(&value);

	if (!item->is_bucket || value.bad || root == 1 ||
		(root == 0 ? value.left < HEADER_BYTES : value.left > 0))
		return RC_CORRUPT;
	*bucket = (struct bolt_bucket){root, sequence, root == 0 ? value : span_of(NULL, 0)};
	return RC_OK;
}

/* The page a bucket begins with. */
static enum rc bucket_open(const struct bolt *b, const struct bolt_bucket *bucket, struct page *page,
	struct bolt_fault *fault, struct err *e)
{
	if (bucket->root)
		return page_open(b, bucket->root, page, fault, e);
	uint64_t self = 0;
	uint16_t flags = 0;
	const struct extent bytes = {bucket->inline_page.at, 0, bucket->inline_page.left};
	const enum rc rc = header_read(b, bytes, 0, &self, &flags, page, fault, e);
	if (rc)
		return rc;
	return page->is_leaf ? table_fits(page, fault)
			     : broken(fault, BOLT_BAD_TREE, 0, "an inline bucket that is no leaf");
}

/* ---- walking and finding ---- */

struct bolt_cursor {
	const struct bolt *b;
	struct arena *arena;
	uint8_t *bytes; /* key and value of the item last given */
	size_t cap;
	uint64_t pages_left; /* a tree cannot have more pages than the file */
	unsigned depth, depth_max;
	struct level {
		struct page page;
		uint32_t next;
	} level[];
};

enum rc bolt_cursor_open(struct bolt *b, const struct bolt_bucket *bucket, struct arena *a,
	struct bolt_cursor **c, struct err *e)
{
	const unsigned depth_max = bucket->root ? LIMIT_BOLT_DEPTH : 1;
	struct bolt_fault fault = {0};
	enum rc rc;

	struct bolt_cursor *const made = arena_get(a, sizeof(*made) + depth_max * sizeof(made->level[0]));
	if (!made)
		return no_memory(e);
	made->b = b;
	made->arena = a;
	made->depth = 1;
	made->depth_max = depth_max;
	made->pages_left = b->meta[b->current].high_water;
	if ((rc = bucket_open(b, bucket, &made->level[0].page, &fault, e)))
		return told(rc, &fault, e);
	*c = made;
	return RC_OK;
}

/* Key and value, which follow each other, in memory. */
static enum rc give(
	struct bolt_cursor *c, const struct element *element, struct bolt_item *item, struct err *e)
{
	const uint64_t n = element->key.bytes + element->value.bytes;
	const struct extent both = {element->key.memory, element->key.at, n};
	const uint8_t *at = both.memory;
	enum rc rc;

	if (!at) {
		if (n > BOLT_ITEM_MAX)
			return fail(e, RC_LIMIT, "a database value of %llu bytes", (unsigned long long)n);
		if (n > c->cap || !c->bytes) {
			const size_t cap = n < 1024 ? 1024 : (size_t)n * 2;
			uint8_t *const bytes = arena_get(c->arena, cap);
			if (!bytes)
				return fail(e, RC_NOMEM, "no memory for a database value of %llu bytes",
					(unsigned long long)n);
			c->bytes = bytes;
			c->cap = cap;
		}
		if ((rc = extent_copy(c->b, both, c->bytes, e)))
			return rc;
		at = c->bytes;
	}
	item->key = span_of(at, (size_t)element->key.bytes);
	item->value = span_of(at + element->key.bytes, (size_t)element->value.bytes);
	item->is_bucket = (element->flags & 1) != 0;
	return RC_OK;
}

enum rc bolt_cursor_next(struct bolt_cursor *c, struct bolt_item *item, struct err *e)
{
	struct bolt_fault fault = {0};
	struct element element;
	enum rc rc;

	while (c->depth) {
		struct level *const at = &c->level[c->depth - 1];
		if (at->next >= at->page.count) {
			c->depth--;
			continue;
		}
		if ((rc = element_read(c->b, &at->page, at->next, &element, &fault, e)))
			return told(rc, &fault, e);
		at->next++;
		if (at->page.is_leaf)
			return give(c, &element, item, e);
		if (c->depth == c->depth_max || c->pages_left-- == 0)
			return fail(e, RC_CORRUPT, "database page %llu: the tree does not end",
				(unsigned long long)at->page.id);
		struct level *const below = &c->level[c->depth];
		below->next = 0;
		if ((rc = page_open(c->b, element.child, &below->page, &fault, e)))
			return told(rc, &fault, e);
		c->depth++;
	}
	return RC_END;
}

/* The number of elements with a key <= key, by halving; *found: the last of them is equal. */
static enum rc page_search(const struct bolt *b, const struct page *page, struct span key, uint32_t *below,
	bool *found, struct bolt_fault *fault, struct err *e)
{
	const struct extent wanted = {key.at, 0, key.left};
	uint32_t from = 0, to = page->count;
	struct element element;
	int order;
	enum rc rc;

	*found = false;
	while (from < to) {
		const uint32_t middle = from + (to - from) / 2;
		if ((rc = element_read(b, page, middle, &element, fault, e)) ||
			(rc = extent_compare(b, element.key, wanted, &order, e)))
			return rc;
		if (order <= 0)
			from = middle + 1;
		else
			to = middle;
		*found = *found || order == 0;
	}
	*below = from;
	return RC_OK;
}

static enum rc find(const struct bolt *b, const struct bolt_bucket *bucket, struct span key,
	struct element *element, struct bolt_fault *fault, struct err *e)
{
	struct page page = {0};
	uint32_t below;
	bool found;
	enum rc rc;

	if ((rc = bucket_open(b, bucket, &page, fault, e)))
		return rc;
	for (unsigned depth = 0; depth < LIMIT_BOLT_DEPTH; depth++) {
		if ((rc = page_search(b, &page, key, &below, &found, fault, e)))
			return rc;
		if (page.is_leaf)
			return found ? element_read(b, &page, below - 1, element, fault, e) : RC_END;
		if ((rc = element_read(b, &page, below ? below - 1 : 0, element, fault, e)) ||
			(rc = page_open(b, element->child, &page, fault, e)))
			return rc;
	}
	return broken(fault, BOLT_BAD_TREE, page.id, "the tree does not end");
}

enum rc bolt_get(struct bolt *b, const struct bolt_bucket *bucket, struct span key, struct arena *a,
	struct bolt_item *item, struct err *e)
{
	static const uint8_t nothing[1];
	struct bolt_fault fault = {0};
	struct element element;
	enum rc rc;

	if (!key.at)
		key.at = nothing; /* an empty key may have no place; an extent must */
	if ((rc = find(b, bucket, key, &element, &fault, e)))
		return told(rc, &fault, e);
	const uint64_t n = element.key.bytes + element.value.bytes;
	if (n > BOLT_ITEM_MAX)
		return fail(e, RC_LIMIT, "a database value of %llu bytes", (unsigned long long)n);
	uint8_t *const bytes = arena_get(a, (size_t)n);
	if (!bytes)
		return fail(
			e, RC_NOMEM, "no memory for a database value of %llu bytes", (unsigned long long)n);
	if ((rc = extent_copy(b, element.key, bytes, e)) ||
		(rc = extent_copy(b, element.value, bytes + element.key.bytes, e)))
		return rc;
	item->key = span_of(bytes, (size_t)element.key.bytes);
	item->value = span_of(bytes + element.key.bytes, (size_t)element.value.bytes);
	item->is_bucket = (element.flags & 1) != 0;
	return RC_OK;
}

/* ---- the complete check ---- */

/* A page on the way from the root to where the walk is. */
struct frame {
	struct page page;
	uint32_t next;	     /* the element to follow next */
	unsigned level;	     /* 0: root page of its bucket */
	unsigned nesting;    /* 0: the database's own bucket */
	struct extent upper; /* keys of this page are below; bytes 0: no bound */
};

struct check {
	const struct bolt *b;
	struct bolt_stats *stats;
	struct bolt_fault *fault;
	struct err *e;
	uint8_t *seen; /* a bit for each page below the high water */
	uint64_t high_water;
	struct frame *frame;
	size_t frame_count;
	unsigned leaf_level[LIMIT_BUCKET_DEPTH]; /* of the bucket walked at each nesting */
};

#define LEVEL_UNKNOWN (~0u) /* no leaf seen yet */
#define FRAME_MAX ((size_t)LIMIT_BOLT_DEPTH * LIMIT_BUCKET_DEPTH)

/* false: one of them was seen before. The run is below the high water. */
static bool mark(struct check *k, uint64_t id, uint64_t pages)
{
	for (uint64_t i = id; i < id + pages; i++) {
		const uint8_t bit = (uint8_t)(1u << i % 8);
		if (k->seen[i / 8] & bit)
			return false;
		k->seen[i / 8] |= bit;
	}
	return true;
}

/* Every element of one page for itself and against its neighbours. *buckets: some are buckets. For an inline
 * page the bytes must be filled exactly; for a page, gaps are no fault: bbolt reads by pos and size alone. */
static enum rc elements_check(struct check *k, const struct page *page, bool is_inline, bool *buckets)
{
	uint64_t used = HEADER_BYTES + (uint64_t)page->count * ELEMENT_BYTES;
	struct element element = {0}, before = {0};
	bool packed = true;
	int order;
	enum rc rc;

	*buckets = false;
	for (uint32_t i = 0; i < page->count; i++, before = element) {
		if ((rc = element_read(k->b, page, i, &element, k->fault, k->e)))
			return rc;
		packed = packed && HEADER_BYTES + (uint64_t)i * ELEMENT_BYTES + element.pos == used;
		used += element.key.bytes + element.value.bytes;
		if (used > page->all.bytes)
			return broken(k->fault, BOLT_BAD_TREE, page->id, "its elements overlap");
		if (element.flags > 1)
			return broken(k->fault, BOLT_BAD_TREE, page->id, "element %u has flags 0x%x", i,
				element.flags);
		if (element.key.bytes == 0)
			return broken(k->fault, BOLT_HAZARD, page->id, "element %u has an empty key", i);
		if ((page->is_leaf && element.flags == 0 && element.key.bytes > KEY_MAX) ||
			element.value.bytes > VALUE_MAX)
			return broken(k->fault, BOLT_BAD_TREE, page->id,
				"element %u is too large: a key of %llu bytes, a value of %llu", i,
				(unsigned long long)element.key.bytes,
				(unsigned long long)element.value.bytes);
		if (i) {
			if ((rc = extent_compare(k->b, before.key, element.key, &order, k->e)))
				return rc;
			if (order >= 0)
				return broken(k->fault, BOLT_BAD_TREE, page->id,
					"element %u is not in key order", i);
		}
		if (element.flags == 1) {
			if (is_inline)
				return broken(
					k->fault, BOLT_HAZARD, page->id, "a bucket inside an inline bucket");
			*buckets = true;
			k->stats->buckets++;
		} else if (page->is_leaf) {
			k->stats->keys++;
		}
	}
	if (is_inline && (!packed || used != page->all.bytes))
		return broken(k->fault, BOLT_BAD_TREE, page->id,
			"an inline bucket of %llu bytes has elements for %llu",
			(unsigned long long)page->all.bytes, (unsigned long long)used);
	const uint64_t pages = (used + k->b->page_size - 1) / k->b->page_size;
	if (!is_inline && (!packed || pages != (uint64_t)page->overflow + 1))
		k->stats->pages_odd++;
	return RC_OK;
}

/* The bounds that a parent sets, and what bbolt relies on when it writes next and does not check (tried with
 * bbolt 1.3.6 to 1.5.0): exact separators (R1), no empty leaf below a branch (R2), no branch of one child (R4),
 * one depth (R5). */
static enum rc place_check(struct check *k, const struct frame *f, struct extent lower)
{
	const struct page *const page = &f->page;
	struct element first, last;
	int order;
	enum rc rc;

	if (page->count == 0) /* a leaf: page_open refuses such a branch */
		return f->level ? broken(k->fault, BOLT_HAZARD, page->id, "an empty leaf below a branch (R2)")
				: RC_OK;
	if ((rc = element_read(k->b, page, 0, &first, k->fault, k->e)) ||
		(rc = element_read(k->b, page, page->count - 1, &last, k->fault, k->e)))
		return rc;
	if (f->upper.bytes) {
		if ((rc = extent_compare(k->b, last.key, f->upper, &order, k->e)))
			return rc;
		if (order >= 0)
			return broken(
				k->fault, BOLT_BAD_TREE, page->id, "its last key belongs to the next page");
	}
	if (f->level) {
		if ((rc = extent_compare(k->b, lower, first.key, &order, k->e)))
			return rc;
		if (order > 0)
			return broken(k->fault, BOLT_BAD_TREE, page->id,
				"its first key is below the parent's entry");
		if (order < 0)
			return broken(k->fault, BOLT_HAZARD, page->id,
				"its first key is not the parent's entry (R1)");
	}
	if (!page->is_leaf && page->count == 1)
		return broken(k->fault, BOLT_HAZARD, page->id, "a branch with a single child (R4)");
	return RC_OK;
}

/* Checks a page and puts it on the stack. */
static enum rc enter(struct check *k, uint64_t id, struct frame f, struct extent lower)
{
	bool buckets;
	enum rc rc;

	if (f.level >= LIMIT_BOLT_DEPTH)
		return broken(k->fault, BOLT_HAZARD, id, "deeper than any tree of equal depth can be (R5)");
	if (f.nesting >= LIMIT_BUCKET_DEPTH)
		return fail(k->e, RC_LIMIT, "database page %llu: buckets nested more than %d deep",
			(unsigned long long)id, LIMIT_BUCKET_DEPTH);
	if ((rc = page_open(k->b, id, &f.page, k->fault, k->e)))
		return rc;
	if (!mark(k, id, (uint64_t)f.page.overflow + 1))
		return broken(k->fault, BOLT_BAD_TREE, id, "is reached twice, or runs into another page");
	k->stats->pages_reachable += (uint64_t)f.page.overflow + 1;
	if ((rc = elements_check(k, &f.page, false, &buckets)) || (rc = place_check(k, &f, lower)))
		return rc;
	if (f.page.is_leaf) {
		unsigned *const leaf_level = &k->leaf_level[f.nesting];
		if (*leaf_level != LEVEL_UNKNOWN && *leaf_level != f.level)
			return broken(k->fault, BOLT_HAZARD, id,
				"a leaf %u levels deep beside leaves of %u (R5)", f.level, *leaf_level);
		*leaf_level = f.level;
		if (f.level + 1 > k->stats->depth_max)
			k->stats->depth_max = f.level + 1;
		if (!buckets)
			return RC_OK; /* nothing to follow */
	}
	MUST(k->frame_count < FRAME_MAX);
	k->frame[k->frame_count++] = f;
	return RC_OK;
}

/* A bucket element of a leaf: its inline page here and now, its tree onto the stack. */
static enum rc bucket_check(struct check *k, const struct frame *f, const struct element *element)
{
	const uint64_t inside = f->page.id;
	struct page page = {0};
	struct span head;
	bool buckets;
	enum rc rc;

	if (element->value.bytes < BUCKET_BYTES)
		return broken(k->fault, BOLT_BAD_TREE, inside, "a bucket of %llu bytes",
			(unsigned long long)element->value.bytes);
	if ((rc = extent_look(k->b, element->value, 0, BUCKET_BYTES, &head, k->e)))
		return rc;
	const uint64_t root = span_u64le(&head);
	if (root == 0) {
		if ((rc = inline_open(k->b, element->value, inside, &page, k->fault, k->e)))
			return rc;
		return elements_check(k, &page, true, &buckets);
	}
	if (element->value.bytes != BUCKET_BYTES)
		return broken(k->fault, BOLT_BAD_TREE, inside, "a bucket with root page %llu and %llu bytes",
			(unsigned long long)root, (unsigned long long)element->value.bytes);
	if (f->nesting + 1 < LIMIT_BUCKET_DEPTH)
		k->leaf_level[f->nesting + 1] = LEVEL_UNKNOWN;
	return enter(k, root, (struct frame){.nesting = f->nesting + 1}, (struct extent){0});
}

static enum rc tree_check(struct check *k)
{
	struct element element = {0}, after = {0};
	enum rc rc;

	k->leaf_level[0] = LEVEL_UNKNOWN;
	if ((rc = enter(k, k->b->meta[k->b->current].root, (struct frame){0}, (struct extent){0})))
		return rc;
	while (k->frame_count) { /* each page is entered once: mark() */
		struct frame *const f = &k->frame[k->frame_count - 1];
		if (f->next == f->page.count) {
			k->frame_count--;
			continue;
		}
		if ((rc = element_read(k->b, &f->page, f->next++, &element, k->fault, k->e)))
			return rc;
		if (f->page.is_leaf) {
			if (element.flags == 1 && (rc = bucket_check(k, f, &element)))
				return rc;
			continue;
		}
		struct frame child = {.level = f->level + 1, .nesting = f->nesting, .upper = f->upper};
		if (f->next < f->page.count) {
			if ((rc = element_read(k->b, &f->page, f->next, &after, k->fault, k->e)))
				return rc;
			child.upper = after.key;
		}
		if ((rc = enter(k, element.child, child, element.key)))
			return rc;
	}
	return RC_OK;
}

static enum rc freelist_check(struct check *k)
{
	const uint64_t id = k->b->meta[k->b->current].freelist;
	struct page page = {0};
	struct span bytes;
	uint16_t flags = 0;
	enum rc rc;

	if ((rc = run_open(k->b, id, BOLT_BAD_FREELIST, &flags, &page, k->fault, k->e)))
		return rc;
	if (flags != FLAG_FREELIST)
		return broken(k->fault, BOLT_BAD_FREELIST, id, "is no freelist (flags 0x%x)", flags);
	if (!mark(k, id, (uint64_t)page.overflow + 1))
		return broken(k->fault, BOLT_BAD_FREELIST, id, "the freelist lies on pages of the tree");
	k->stats->pages_reachable += (uint64_t)page.overflow + 1;
	uint64_t count = page.count, at = HEADER_BYTES;
	if (count == 0xffff) {
		if ((rc = extent_look(k->b, page.all, at, 8, &bytes, k->e)))
			return rc;
		count = span_u64le(&bytes);
		at += 8;
	}
	if (count > (page.all.bytes - at) / 8)
		return broken(k->fault, BOLT_BAD_FREELIST, id, "%llu free pages do not fit in it",
			(unsigned long long)count);
	for (uint64_t i = 0; i < count; i++) {
		if ((rc = extent_look(k->b, page.all, at + i * 8, 8, &bytes, k->e)))
			return rc;
		const uint64_t free_id = span_u64le(&bytes);
		if (free_id < 2 || free_id >= k->high_water)
			return broken(k->fault, BOLT_BAD_FREELIST, id, "the freelist names page %llu of %llu",
				(unsigned long long)free_id, (unsigned long long)k->high_water);
		if (!mark(k, free_id, 1))
			return broken(k->fault, BOLT_BAD_FREELIST, id,
				"the freelist names page %llu, which is in use or named twice",
				(unsigned long long)free_id);
	}
	k->stats->pages_free = count;
	k->stats->pages_leaked = k->high_water - k->stats->pages_reachable - count;
	return RC_OK;
}

/* bbolt up to 1.3.6 takes a meta with checksum 0 for valid, later versions do not: where such a meta has the
 * larger transaction, what the database says depends on who opens it. */
static enum rc metas_check(struct check *k)
{
	const struct bolt *const b = k->b;
	struct slot slot;
	enum rc rc;

	for (unsigned i = 0; i < 2; i++) {
		if ((rc = slot_read(&b->src, (uint64_t)i * b->page_size, &slot, k->e)))
			return rc;
		if (slot.magic != MAGIC || slot.version != VERSION || slot.checksum != 0 || slot.meta.valid)
			continue;
		const uint64_t txid = b->meta[b->current].txid;
		if (slot.meta.txid > txid || (slot.meta.txid == txid && i == 0))
			return broken(k->fault, BOLT_NO_META, i,
				"a newer meta page without checksum: bbolt 1.3.6 would use it, "
				"later versions the other one");
	}
	return RC_OK;
}

static enum rc check_all(struct bolt *b, bool only_tree, struct arena scratch, struct bolt_stats *stats, struct bolt_fault *fault,
	struct err *e)
{
	const struct bolt_meta *const meta = &b->meta[b->current];
	struct bolt_stats counted = {.pages_reachable = 2};
	struct check k = {.b = b, .stats = &counted, .fault = fault, .e = e, .high_water = meta->high_water};
	enum rc rc;

	*fault = (struct bolt_fault){.kind = BOLT_SOUND};
	k.seen =
		arena_get(&scratch, (size_t)(k.high_water / 8 + 1)); /* LIMIT_BOLT_BYTES / 512 bits at most */
	k.frame = arena_array(&scratch, FRAME_MAX, sizeof(*k.frame));
	if (!k.seen || !k.frame)
		return no_memory(e);
	if ((!only_tree && (rc = metas_check(&k))) || (rc = tree_check(&k)))
		return rc;
	if (only_tree || meta->freelist == BOLT_NO_FREELIST)
		counted.pages_free = k.high_water - counted.pages_reachable;
	else if ((rc = freelist_check(&k)))
		return rc;
	*stats = counted;
	return RC_OK;
}

enum rc bolt_check(struct bolt *b, struct arena scratch, struct bolt_stats *stats, struct bolt_fault *fault,
	struct err *e)
{
	return check_all(b, false, scratch, stats, fault, e);
}

enum rc bolt_check_tree(struct bolt *b, struct arena scratch, struct bolt_stats *stats, struct bolt_fault *fault, struct err *e)
{
	return check_all(b, true, scratch, stats, fault, e);
}

/* ---- what can be read of a broken file ---- */

/* A page on the way, as far as it can be read: `last` is the key of the last element given or stepped over, bytes 0 before the first. */
struct sieve_level {
	struct page page;
	uint32_t next;
	struct extent from, to; /* what its parent has it for; bytes 0: no bound */
	struct extent last;
};

struct bolt_sieve {
	const struct bolt *b;
	struct arena *arena;
	uint8_t *seen, *bytes, *bound[2]; /* bytes of the item, of a gap's bounds */
	size_t cap, bound_cap[2];
	unsigned depth;
	bool root_gone;
	struct bolt_fault *fault;
	struct sieve_level level[LIMIT_BOLT_DEPTH];
};

uint8_t *bolt_sieve_seen(const struct bolt *b, struct arena *a)
{
	return arena_get(a, (size_t)(b->meta[b->current].high_water / 8 + 1));
}

/* Of the pages behind its first those that its elements reach into: what its header says may be what is broken, and would keep others
 * from being read. */
static enum rc sieve_shrink(const struct bolt *b, struct page *page, struct err *e)
{
	uint64_t end = HEADER_BYTES + (uint64_t)page->count * ELEMENT_BYTES;

	for (uint32_t i = 0; i < page->count && page->overflow; i++) {
		struct bolt_fault ignored = {0}; /* told when it is its turn */
		struct element element = {0};
		const enum rc rc = element_read(b, page, i, &element, &ignored, e);
		if (rc && rc != RC_CORRUPT)
			return rc;
		if (rc == RC_OK && element.value.at + element.value.bytes - page->all.at > end)
			end = element.value.at + element.value.bytes - page->all.at;
	}
	page->overflow = (uint32_t)((end - 1) / b->page_size);
	page->all.bytes = ((uint64_t)page->overflow + 1) * b->page_size;
	return RC_OK;
}

/* A page that none has been reached of before, as far as it can be used; *seen stays as it is. */
static enum rc sieve_page(
	const struct bolt *b, const uint8_t *seen, uint64_t id, struct page *page, struct bolt_fault *fault, struct err *e)
{
	uint16_t flags = 0;
	enum rc rc = page_open(b, id, page, fault, e);

	if (rc == RC_CORRUPT && page->id == id && page->overflow >= b->meta[b->current].high_water - id) {
		/* too many pages behind it: the first may be right all the same */
		uint64_t self = 0;
		struct bolt_fault again = {0};
		const struct extent first = {NULL, id * b->page_size, b->page_size};
		rc = header_read(b, first, id, &self, &flags, page, &again, e);
		page->overflow = 0;
		if (rc == RC_OK && (self != id || (flags != FLAG_BRANCH && flags != FLAG_LEAF) || table_fits(page, &again)))
			rc = RC_CORRUPT;
	}
	if (rc == RC_OK && page->overflow)
		rc = sieve_shrink(b, page, e);
	for (uint64_t i = id; rc == RC_OK && i <= id + page->overflow; i++)
		if (seen[i / 8] & 1u << i % 8)
			rc = broken(fault, BOLT_BAD_TREE, id, "is reached twice, or runs into another page");
	return rc;
}

/* RC_CORRUPT: nothing of it can be used. */
static enum rc sieve_enter(struct bolt_sieve *c, uint64_t id, struct extent from, struct extent to, struct err *e)
{
	struct bolt_fault fault = {0};
	struct sieve_level l = {.from = from, .to = to};
	enum rc rc = RC_OK;

	if (c->depth == LIMIT_BOLT_DEPTH)
		rc = broken(&fault, BOLT_BAD_TREE, id, "the tree does not end");
	if (rc == RC_OK)
		rc = sieve_page(c->b, c->seen, id, &l.page, &fault, e);
	if (rc == RC_OK) {
		for (uint64_t i = id; i <= id + l.page.overflow; i++)
			c->seen[i / 8] |= (uint8_t)(1u << i % 8);
		c->level[c->depth++] = l;
	}
	if (rc == RC_CORRUPT && c->fault->kind == BOLT_SOUND)
		*c->fault = fault;
	return rc;
}

enum rc bolt_bucket_begins(struct bolt *b, const struct bolt_bucket *bucket, const uint8_t *seen, struct err *e)
{
	struct bolt_fault fault = {0};
	struct page page = {0};

	return bucket->root ? sieve_page(b, seen, bucket->root, &page, &fault, e) : bucket_open(b, bucket, &page, &fault, e);
}

enum rc bolt_sieve_open(struct bolt *b, const struct bolt_bucket *bucket, uint8_t *seen, struct bolt_fault *fault, struct arena *a,
	struct bolt_sieve **c, struct err *e)
{
	struct bolt_sieve *const made = arena_get(a, sizeof(*made));
	enum rc rc;

	if (!made)
		return no_memory(e);
	made->b = b;
	made->arena = a;
	made->seen = seen;
	made->fault = fault;
	if (bucket->root) {
		rc = sieve_enter(made, bucket->root, (struct extent){0}, (struct extent){0}, e);
	} else {
		struct bolt_fault ignored = {0}; /* of a few bytes in a page: told as elements are */
		rc = bucket_open(b, bucket, &made->level[0].page, &ignored, e);
		made->depth = rc == RC_OK;
	}
	if (rc && rc != RC_CORRUPT)
		return rc;
	made->root_gone = rc == RC_CORRUPT;
	*c = made;
	return RC_OK;
}

/* A bound of a gap, in memory until the next call; bad: none. */
static enum rc sieve_bound(struct bolt_sieve *c, unsigned which, struct extent key, struct span *out, struct err *e)
{
	const size_t n = (size_t)key.bytes;
	enum rc rc;

	*out = (struct span){.bad = true};
	if (!n)
		return RC_OK;
	if (n > c->bound_cap[which]) {
		if (n > BOLT_ITEM_MAX || !(c->bound[which] = arena_get(c->arena, n)))
			return fail(e, RC_NOMEM, "no memory for a database key of %zu bytes", n);
		c->bound_cap[which] = n;
	}
	if ((rc = extent_copy(c->b, key, c->bound[which], e)))
		return rc;
	*out = span_of(c->bound[which], n);
	return RC_OK;
}

static enum rc sieve_gap(struct bolt_sieve *c, struct extent from, struct extent to, struct bolt_piece *piece, struct err *e)
{
	enum rc rc;

	*piece = (struct bolt_piece){.is_gap = true};
	if ((rc = sieve_bound(c, 0, from, &piece->from, e)) || (rc = sieve_bound(c, 1, to, &piece->to, e)))
		return rc;
	return RC_OK;
}

/* Whether a branch has its child by that child's first key, exactly, as bbolt keeps it: if not, one of the two is not what was meant. Of a
 * child that cannot be read at all the key is believed. */
static enum rc sieve_agrees(const struct bolt_sieve *c, const struct element *element, bool *agrees, struct err *e)
{
	struct bolt_fault fault = {0};
	struct element first = {0};
	struct page child = {0};
	int order = 0;
	enum rc rc = page_open(c->b, element->child, &child, &fault, e);

	if (rc == RC_OK && child.count && !(rc = element_read(c->b, &child, 0, &first, &fault, e)))
		rc = extent_compare(c->b, element->key, first.key, &order, e);
	*agrees = order == 0;
	return rc == RC_CORRUPT ? RC_OK : rc;
}

/* Whether the key of an element lies behind what came before it on its page, and within what the page is for. */
static enum rc sieve_fits(const struct bolt_sieve *c, const struct sieve_level *l, const struct element *element, bool *fits, struct err *e)
{
	int order = 1;
	enum rc rc = RC_OK;

	*fits = element->key.bytes > 0 && element->key.bytes <= KEY_MAX && element->flags <= 1 &&
		element->key.bytes + element->value.bytes <= BOLT_ITEM_MAX;
	if (*fits && l->last.bytes && !(rc = extent_compare(c->b, element->key, l->last, &order, e)))
		*fits = order > 0;
	else if (*fits && l->from.bytes && !(rc = extent_compare(c->b, element->key, l->from, &order, e)))
		*fits = order >= 0;
	if (!rc && *fits && l->to.bytes && !(rc = extent_compare(c->b, element->key, l->to, &order, e)))
		*fits = order < 0;
	return rc || !*fits || l->page.is_leaf ? rc : sieve_agrees(c, element, fits, e);
}

/* Whether there may be more on the page than its count says: bbolt packs keys and values right behind the table. */
static enum rc sieve_has_more(const struct bolt_sieve *c, const struct page *page, bool *more, struct err *e)
{
	struct bolt_fault fault = {0};
	struct element first = {0};
	struct span head;
	enum rc rc;

	*more = false;
	if (page->count == 0) {
		if (page->all.bytes < HEADER_BYTES + ELEMENT_BYTES)
			return RC_OK;
		if ((rc = extent_look(c->b, page->all, HEADER_BYTES, ELEMENT_BYTES, &head, e)))
			return rc;
		*more = !bytes_are_zero(head.at, head.left);
		return RC_OK;
	}
	rc = element_read(c->b, page, 0, &first, &fault, e);
	*more = rc == RC_CORRUPT || (rc == RC_OK && first.pos != page->count * ELEMENT_BYTES);
	return rc == RC_CORRUPT ? RC_OK : rc;
}

/* The next element of a page that can be used, *after 1 if others were stepped over. RC_END: none. An element that the one behind it
 * would contradict, which fits itself, is the wrong one of the two. */
static enum rc sieve_element(struct bolt_sieve *c, struct sieve_level *l, struct element *element, bool *stepped, struct err *e)
{
	struct bolt_fault fault = {0};
	enum rc rc;

	*stepped = false;
	while (l->next < l->page.count) {
		struct element after = {0};
		bool fits = false, after_fits = false;
		int order = -1;
		rc = element_read(c->b, &l->page, l->next, element, &fault, e);
		if (rc == RC_OK)
			rc = sieve_fits(c, l, element, &fits, e);
		if (rc && rc != RC_CORRUPT)
			return rc;
		if (fits && l->next + 1 < l->page.count) {
			rc = element_read(c->b, &l->page, l->next + 1, &after, &fault, e);
			if (rc == RC_OK && !(rc = sieve_fits(c, l, &after, &after_fits, e)) && after_fits)
				rc = extent_compare(c->b, element->key, after.key, &order, e);
			if (rc && rc != RC_CORRUPT)
				return rc;
			fits = order < 0;
		}
		l->next++;
		if (fits) {
			l->last = element->key;
			return RC_OK;
		}
		*stepped = true;
		if (c->fault->kind == BOLT_SOUND)
			(void)broken(c->fault, BOLT_BAD_TREE, l->page.id, "element %u of %u cannot be read, or is out of order",
				l->next - 1, l->page.count);
	}
	return RC_END;
}

/* The key of the first element from next on that can be used; bytes 0: none. Nothing moves. */
static enum rc sieve_peek(struct bolt_sieve *c, const struct sieve_level *l, struct extent *key, struct err *e)
{
	struct sieve_level copy = *l;
	struct element element = {0};
	bool stepped;
	const enum rc rc = sieve_element(c, &copy, &element, &stepped, e);

	*key = rc == RC_OK ? element.key : (struct extent){0};
	return rc == RC_END ? RC_OK : rc;
}

static enum rc sieve_give(struct bolt_sieve *c, const struct element *element, struct bolt_piece *piece, struct err *e)
{
	const uint64_t n = element->key.bytes + element->value.bytes;
	enum rc rc;

	if (n > BOLT_ITEM_MAX)
		return fail(e, RC_LIMIT, "a database value of %llu bytes", (unsigned long long)n);
	if (n > c->cap || !c->bytes) {
		const size_t cap = n < 1024 ? 1024 : (size_t)n * 2;
		if (!(c->bytes = arena_get(c->arena, cap)))
			return fail(e, RC_NOMEM, "no memory for a database value of %llu bytes", (unsigned long long)n);
		c->cap = cap;
	}
	if ((rc = extent_copy(c->b, (struct extent){element->key.memory, element->key.at, n}, c->bytes, e)))
		return rc;
	*piece = (struct bolt_piece){.item = {.key = span_of(c->bytes, (size_t)element->key.bytes),
					     .value = span_of(c->bytes + element->key.bytes, (size_t)element->value.bytes),
					     .is_bucket = element->flags == 1}};
	return RC_OK;
}

enum rc bolt_sieve_next(struct bolt_sieve *c, struct bolt_piece *piece, struct err *e)
{
	enum rc rc;

	if (c->root_gone) {
		c->root_gone = false;
		return sieve_gap(c, (struct extent){0}, (struct extent){0}, piece, e);
	}
	while (c->depth) {
		struct sieve_level *const l = &c->level[c->depth - 1];
		const struct extent last = l->last, before = last.bytes ? last : l->from;
		struct element element = {0};
		struct extent next = {0};
		bool stepped = false;
		rc = sieve_element(c, l, &element, &stepped, e);
		if (rc && rc != RC_END)
			return rc;
		if (rc == RC_END) {
			bool more = false;
			if ((rc = sieve_has_more(c, &l->page, &more, e)))
				return rc;
			if (more && c->fault->kind == BOLT_SOUND)
				(void)broken(c->fault, BOLT_BAD_TREE, l->page.id, "its %u elements are not all that is on it",
					l->page.count);
			c->depth--;
			if (stepped || more)
				return sieve_gap(c, before, l->to, piece, e);
			continue;
		}
		if (stepped) { /* the gap now, what it ends at next time */
			l->last = last;
			l->next--;
			return sieve_gap(c, before, element.key, piece, e);
		}
		if (l->page.is_leaf)
			return sieve_give(c, &element, piece, e);
		if ((rc = sieve_peek(c, l, &next, e)))
			return rc;
		next = next.bytes ? next : l->to;
		/* what is below the first entry of a branch belongs to its first child too; of an entry behind one that was passed over, to
		 * the gap */
		const struct extent from = l->next > 1 ? element.key : l->from;
		rc = sieve_enter(c, element.child, from, next, e);
		if (rc == RC_CORRUPT)
			return sieve_gap(c, from, next, piece, e);
		if (rc)
			return rc;
	}
	return RC_END;
}
