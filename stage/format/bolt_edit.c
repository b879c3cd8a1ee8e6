/* SPDX-License-Identifier: MIT */
/* One transaction on a bbolt file as bytes to append. Touches no live page:
 *
 *   new pages start past the high water of every valid meta, so that neither fallback tree is touched;
 *   a changed bucket becomes one leaf run of at most 65534 elements, which cannot break the rules that bbolt
 *   relies on when it writes next; more elements make several leaves below one branch with exact first keys;
 *   a bucket that bbolt would write inline is written inline; one not changed keeps pages or inline bytes;
 *   the freelist is given up (2^64-1): bbolt finds free pages, replaced ones among them, by walking the tree;
 *   the slot written is never the current one, and the transaction id has that slot's parity: bbolt writes
 *   transaction T to slot T mod 2, and must not overwrite our meta while the other tree's pages are reused.
 *
 * Operations are kept as a tree of the buckets they touch, each with a list of what became of its names. */
#include "format/bolt_edit.h"

#include <string.h>

#include "format/bolt_pages.h"

/* What the operations made of one name. */
struct entry {
	struct entry *hash_next, *next; /* next: in its bucket; in key order once bolt_edit_make began */
	struct edited *in;
	struct span name;
	enum { ENTRY_GONE, ENTRY_VALUE, ENTRY_BUCKET } is;
	union {
		struct span value;     /* ENTRY_VALUE */
		struct edited *bucket; /* ENTRY_BUCKET */
	};
};

/* A leaf or branch to write: `pages` pages from id on; of an inline bucket: id 0. */
struct run {
	uint64_t id, pages, count;
	uint64_t data_bytes; /* keys and values */
	uint8_t *at;
};

/* A bucket on the path of an operation. */
struct edited {
	struct edited *older, *newer; /* in the order of their making: a bucket before the buckets in it */
	struct edited *parent;	      /* NULL: the database's own bucket */
	struct entry *entry;	      /* in parent, unless another bucket took the name since */
	struct entry *entries;
	bool has_old; /* it is in the file, and entries are changes of it; else they are all it has */
	bool changed, attached;
	struct bolt_bucket old;
	uint64_t sequence;
	struct span value; /* as an element of its parent: the old one, once measured the new one */
	struct run *leaves, branch;
	size_t leaf_count;	  /* 0: inline; above 1: there is a branch */
	struct bolt_bucket shown; /* as the new file has it, once its parent was compared */
};

struct bolt_edit {
	struct bolt *b;
	struct arena *arena;
	struct edited *root, *newest;
	struct entry **hash;
	size_t hash_size, entry_count; /* hash_size: a power of two */
	bool made, only_meta;
};

/* ---- the operations, as a tree of entries ---- */

static size_t hash_of(const struct edited *in, struct span name, size_t size)
{
	const uint64_t place = (uint64_t)(uintptr_t)in * 0x9e3779b97f4a7c15u;
	const uint64_t mixed = (fnv1a(name.at, name.left) ^ place) * 0x9e3779b97f4a7c15u;
	return (size_t)(mixed >> 32) & (size - 1);
}

static struct entry *entry_find(const struct bolt_edit *t, const struct edited *in, struct span name)
{
	for (struct entry *x = t->hash[hash_of(in, name, t->hash_size)]; x; x = x->hash_next)
		if (x->in == in && span_equal(x->name, name))
			return x;
	return NULL;
}

static bool hash_grow(struct bolt_edit *t, size_t size)
{
	struct entry **const hash = arena_array(t->arena, size, sizeof(void *));
	if (!hash)
		return false;
	for (size_t i = 0; i < t->hash_size; i++) {
		for (struct entry *x = t->hash[i], *next; x; x = next) {
			struct entry **const slot = &hash[hash_of(x->in, x->name, size)];
			next = x->hash_next;
			x->hash_next = *slot;
			*slot = x;
		}
	}
	t->hash = hash;
	t->hash_size = size;
	return true;
}

/* A new entry for a name that has none; NULL: no memory. */
static struct entry *entry_add(struct bolt_edit *t, struct edited *in, struct span name)
{
	if (t->entry_count >= t->hash_size && !hash_grow(t, t->hash_size * 2))
		return NULL;
	struct entry *const made = arena_get(t->arena, sizeof(*made));
	if (!made)
		return NULL;
	struct entry **const slot = &t->hash[hash_of(in, name, t->hash_size)];
	*made = (struct entry){.hash_next = *slot, .next = in->entries, .in = in, .name = name};
	*slot = made;
	in->entries = made;
	t->entry_count++;
	return made;
}

static void edited_link(struct bolt_edit *t, struct edited *made)
{
	made->older = t->newest;
	if (t->newest)
		t->newest->newer = made;
	t->newest = made;
}

static void mark_changed(struct edited *b)
{
	for (; b && !b->changed; b = b->parent)
		b->changed = true;
}

/* What the bucket holds under the name now: an entry, or an item of the file (in `a`), or RC_END. */
static enum rc look_up(struct bolt_edit *t, const struct edited *in, struct span name, struct arena *a,
	struct entry **entry, struct bolt_item *old, struct err *e)
{
	*entry = entry_find(t, in, name);
	if (*entry)
		return (*entry)->is == ENTRY_GONE ? RC_END : RC_OK;
	return in->has_old ? bolt_get(t->b, &in->old, name, a, old, e) : RC_END;
}

/* Steps into the bucket `name`. RC_END: there is none, and create is false. RC_CORRUPT: a value is there. */
static enum rc step_into(
	struct bolt_edit *t, struct edited **at, struct span name, bool create, struct err *e)
{
	struct edited *const in = *at;
	struct bolt_item old;
	struct entry *entry;

	const enum rc rc = look_up(t, in, name, t->arena, &entry, &old, e);
	if (rc != RC_OK && rc != RC_END)
		return rc;
	if (rc == RC_END && !create)
		return RC_END;
	if (rc == RC_OK && !(entry ? entry->is == ENTRY_BUCKET : old.is_bucket))
		return fail(e, RC_CORRUPT, "a value stands where a bucket is expected");
	if (rc == RC_OK && entry) {
		*at = entry->bucket;
		return RC_OK;
	}
	struct edited *const made = arena_get(t->arena, sizeof(*made));
	if (!made)
		return no_memory(e);
	made->parent = in;
	if (rc == RC_OK) {
		if (bolt_bucket_of(&old, &made->old))
			return fail(e, RC_CORRUPT, "a malformed bucket");
		made->has_old = true;
		made->sequence = made->old.sequence;
		made->value = old.value;
	}
	if (!entry && !(entry = entry_add(t, in, name)))
		return no_memory(e);
	entry->is = ENTRY_BUCKET;
	entry->bucket = made;
	made->entry = entry;
	edited_link(t, made);
	if (!made->has_old)
		mark_changed(made);
	*at = made;
	return RC_OK;
}

static enum rc step_down(struct bolt_edit *t, const struct bolt_path *path, unsigned parts, bool create,
	struct edited **at, struct err *e)
{
	enum rc rc;

	*at = t->root;
	for (unsigned i = 0; i < parts; i++)
		if ((rc = step_into(t, at, path->part[i], create, e)))
			return rc;
	return RC_OK;
}

static enum rc path_ok(const struct bolt_edit *t, const struct bolt_path *path, struct err *e)
{
	MUST(!t->made);
	if (path->count == 0 || path->count > BOLT_PATH_MAX)
		return fail(e, RC_LIMIT, "a database path of %u names", path->count);
	for (unsigned i = 0; i < path->count; i++)
		if (path->part[i].bad || path->part[i].left == 0 || path->part[i].left > KEY_MAX)
			return fail(e, RC_LIMIT, "a database name of %zu bytes", (size_t)path->part[i].left);
	return RC_OK;
}

enum rc bolt_edit_begin(struct bolt_edit **t, struct bolt *b, struct arena *a, struct err *e)
{
	struct bolt_edit *const made = arena_get(a, sizeof(*made));

	if (!made)
		return no_memory(e);
	*made = (struct bolt_edit){.b = b, .arena = a};
	made->root = arena_get(a, sizeof(*made->root));
	if (!made->root || !hash_grow(made, 64))
		return no_memory(e);
	edited_link(made, made->root);
	made->root->has_old = true;
	made->root->old = bolt_root(b);
	made->root->sequence = made->root->old.sequence;
	*t = made;
	return RC_OK;
}

enum rc bolt_edit_remove(struct bolt_edit *t, const struct bolt_path *path, struct err *e)
{
	struct err ignored = {0};
	struct edited *in;
	struct entry *entry;
	struct bolt_item old;
	enum rc rc;

	if ((rc = path_ok(t, path, e)))
		return rc;
	rc = step_down(t, path, path->count - 1, false, &in, &ignored);
	if (rc == RC_END || rc == RC_CORRUPT)
		return RC_OK;
	if (rc) {
		*e = ignored;
		return rc;
	}
	struct arena scratch = *t->arena;
	const struct span name = path->part[path->count - 1];
	if ((rc = look_up(t, in, name, &scratch, &entry, &old, e)))
		return rc == RC_END ? RC_OK : rc;
	if (!entry && !(entry = entry_add(t, in, name)))
		return no_memory(e);
	entry->is = ENTRY_GONE;
	mark_changed(in);
	return RC_OK;
}

enum rc bolt_edit_put(struct bolt_edit *t, const struct bolt_path *path, struct span value, struct err *e)
{
	struct edited *in;
	struct entry *entry;
	struct bolt_item old;
	enum rc rc;

	if ((rc = path_ok(t, path, e)))
		return rc;
	if (path->count < 2)
		return fail(e, RC_CORRUPT, "the root of a database holds buckets only");
	const struct span name = path->part[path->count - 1];
	if (value.bad || value.left > BOLT_ITEM_MAX - name.left)
		return fail(e, RC_LIMIT, "a database value of %zu bytes", (size_t)value.left);
	if ((rc = step_down(t, path, path->count - 1, true, &in, e)))
		return rc;
	struct arena scratch = *t->arena;
	rc = look_up(t, in, name, &scratch, &entry, &old, e);
	if (rc != RC_OK && rc != RC_END)
		return rc;
	if (rc == RC_OK && (entry ? entry->is == ENTRY_BUCKET : old.is_bucket))
		return fail(e, RC_CORRUPT, "a bucket stands where a value is to be put");
	if (rc == RC_OK && span_equal(entry ? entry->value : old.value, value))
		return RC_OK;
	if (!entry && !(entry = entry_add(t, in, name)))
		return no_memory(e);
	entry->is = ENTRY_VALUE;
	entry->value = value;
	mark_changed(in);
	return RC_OK;
}

enum rc bolt_edit_make_bucket(struct bolt_edit *t, const struct bolt_path *path, struct err *e)
{
	struct edited *in;
	enum rc rc;

	if ((rc = path_ok(t, path, e)))
		return rc;
	return step_down(t, path, path->count, true, &in, e);
}

enum rc bolt_edit_raise_sequence(
	struct bolt_edit *t, const struct bolt_path *path, uint64_t at_least, struct err *e)
{
	struct edited *in;
	enum rc rc;

	if ((rc = path_ok(t, path, e)) || (rc = step_down(t, path, path->count, false, &in, e)))
		return rc;
	if (in->sequence < at_least) {
		in->sequence = at_least;
		mark_changed(in);
	}
	return RC_OK;
}

/* ---- old elements and entries, merged in key order ---- */

struct merge {
	struct bolt_cursor *cursor; /* NULL: nothing old, or no more of it */
	struct bolt_item old;
	bool have_old;
	const struct entry *entry;
};

/* Takes from *scratch while it runs; *scratch must stay where it is. */
static enum rc merge_open(
	struct merge *m, struct bolt_edit *t, const struct edited *b, struct arena *scratch, struct err *e)
{
	*m = (struct merge){.entry = b->entries};
	return b->has_old ? bolt_cursor_open(t->b, &b->old, scratch, &m->cursor, e) : RC_OK;
}

/* The next element of the bucket as it will be, borrowed until the next call. */
static enum rc merge_next(struct merge *m, struct bolt_item *item, struct err *e)
{
	for (;;) { /* each round uses up an old element or an entry */
		if (!m->have_old && m->cursor) {
			const enum rc rc = bolt_cursor_next(m->cursor, &m->old, e);
			if (rc && rc != RC_END)
				return rc;
			m->have_old = rc == RC_OK;
			if (rc == RC_END)
				m->cursor = NULL;
		}
		if (!m->have_old && !m->entry)
			return RC_END;
		const struct entry *const entry = m->entry;
		const int order = !m->have_old ? 1 : !entry ? -1 : span_compare(m->old.key, entry->name);
		if (order < 0) {
			*item = m->old;
			m->have_old = false;
			return RC_OK;
		}
		if (order == 0)
			m->have_old = false;
		m->entry = entry->next;
		if (entry->is == ENTRY_GONE)
			continue;
		item->key = entry->name;
		item->is_bucket = entry->is == ENTRY_BUCKET;
		item->value = item->is_bucket ? entry->bucket->value : entry->value;
		return RC_OK;
	}
}

static struct entry *lists_join(struct entry *x, struct entry *y)
{
	struct entry *first = NULL, **end = &first;

	while (x && y) {
		struct entry **const least = span_compare(x->name, y->name) <= 0 ? &x : &y;
		*end = *least;
		end = &(*least)->next;
		*least = (*least)->next;
	}
	*end = x ? x : y;
	return first;
}

/* Merge sort of a list; sorted[i] is a list of 2^i or none. */
static void entries_sort(struct edited *b)
{
	struct entry *sorted[sizeof(size_t) * 8] = {0};
	const size_t bits = sizeof(sorted) / sizeof(sorted[0]);

	for (struct entry *x = b->entries, *next; x; x = next) {
		struct entry *list = x;
		size_t i = 0;
		next = x->next;
		x->next = NULL;
		for (; i < bits - 1 && sorted[i]; i++) {
			list = lists_join(sorted[i], list);
			sorted[i] = NULL;
		}
		sorted[i] = lists_join(sorted[i], list);
	}
	b->entries = NULL;
	for (size_t i = 0; i < bits; i++)
		b->entries = lists_join(sorted[i], b->entries);
}

/* ---- writing pages ---- */

static void put_le(uint8_t *at, uint64_t value, size_t n)
{
	for (size_t i = 0; i < n; i++)
		at[i] = (uint8_t)(value >> 8 * i);
}

/* Elements go into one run, keys and values packed behind the table. */
struct writer {
	const struct run *run;
	uint64_t element_at, data_at, end; /* bytes from run->at */
};

static uint64_t run_bytes(const struct run *run)
{
	return HEADER_BYTES + run->count * ELEMENT_BYTES + run->data_bytes;
}

static struct writer writer_open(const struct run *run, unsigned flags)
{
	put_le(run->at, run->id, 8);
	put_le(run->at + 8, flags, 2);
	put_le(run->at + 10, run->count, 2);
	put_le(run->at + 12, run->id ? run->pages - 1 : 0, 4);
	return (struct writer){run, HEADER_BYTES, HEADER_BYTES + run->count * ELEMENT_BYTES, run_bytes(run)};
}

/* false: it does not fit: the file gave other elements than when they were counted. */
static bool writer_has_room(const struct writer *w, uint64_t bytes)
{
	const uint64_t table_end = HEADER_BYTES + w->run->count * ELEMENT_BYTES;
	return w->run->at && w->element_at < table_end && bytes <= w->end - w->data_at;
}

static void writer_data(struct writer *w, struct span bytes)
{
	if (bytes.left)
		memcpy(w->run->at + w->data_at, bytes.at, bytes.left);
	w->data_at += bytes.left;
}

static bool write_leaf(struct writer *w, const struct bolt_item *item)
{
	if (!writer_has_room(w, (uint64_t)item->key.left + item->value.left))
		return false;
	uint8_t *const element = w->run->at + w->element_at;
	put_le(element, item->is_bucket, 4);
	put_le(element + 4, w->data_at - w->element_at, 4);
	put_le(element + 8, item->key.left, 4);
	put_le(element + 12, item->value.left, 4);
	w->element_at += ELEMENT_BYTES;
	writer_data(w, item->key);
	writer_data(w, item->value);
	return true;
}

static bool write_branch(struct writer *w, struct span key, uint64_t child)
{
	if (!writer_has_room(w, key.left))
		return false;
	uint8_t *const element = w->run->at + w->element_at;
	put_le(element, w->data_at - w->element_at, 4);
	put_le(element + 4, key.left, 4);
	put_le(element + 8, child, 8);
	w->element_at += ELEMENT_BYTES;
	writer_data(w, key);
	return true;
}

/* Writes all leaves of a bucket, and the branch above them if there are several. */
static enum rc bucket_write(struct bolt_edit *t, const struct edited *b, size_t leaf_count, struct err *e)
{
	struct arena scratch = *t->arena;
	const bool has_branch = leaf_count > 1;
	struct writer leaf = writer_open(&b->leaves[0], FLAG_LEAF), branch = {0};
	struct bolt_item item;
	struct merge m;
	uint64_t count = 0;
	bool fits = true;
	enum rc rc;

	if (has_branch)
		branch = writer_open(&b->branch, FLAG_BRANCH);
	if ((rc = merge_open(&m, t, b, &scratch, e)))
		return rc;
	while (fits && !(rc = merge_next(&m, &item, e))) {
		const uint64_t i = count / COUNT_MAX;
		if (i >= leaf_count) {
			fits = false;
			break;
		}
		if (count % COUNT_MAX == 0 && has_branch) {
			leaf = writer_open(&b->leaves[i], FLAG_LEAF);
			fits = write_branch(&branch, item.key, b->leaves[i].id);
		}
		fits = fits && write_leaf(&leaf, &item);
		count++;
	}
	if (rc != RC_OK && rc != RC_END)
		return rc;
	if (!fits || leaf.data_at != leaf.end || (has_branch && branch.data_at != branch.end))
		return fail(e, RC_IO, "the database changed while it was read");
	return RC_OK;
}

/* ---- the form of each changed bucket, and where it goes ---- */

/* Counts the elements of the bucket, and of each of its leaves as far as leaves[] goes. */
static enum rc bucket_count(struct bolt_edit *t, const struct edited *b, struct run *leaves, size_t leaf_max,
	uint64_t *count, uint64_t *bucket_count, uint64_t *branch_bytes, struct err *e)
{
	struct arena scratch = *t->arena;
	struct bolt_item item;
	struct merge m;
	enum rc rc;

	*count = *bucket_count = *branch_bytes = 0;
	if ((rc = merge_open(&m, t, b, &scratch, e)))
		return rc;
	while (!(rc = merge_next(&m, &item, e))) {
		const uint64_t i = *count / COUNT_MAX;
		if (*count % COUNT_MAX == 0)
			*branch_bytes += item.key.left;
		if (i < leaf_max) {
			leaves[i].count++;
			leaves[i].data_bytes += (uint64_t)item.key.left + item.value.left;
		}
		*bucket_count += item.is_bucket;
		++*count;
	}
	return rc == RC_END ? RC_OK : rc;
}

static void run_place(const struct bolt_edit *t, struct run *run, uint64_t *next_page)
{
	run->id = *next_page;
	run->pages = (run_bytes(run) + t->b->page_size - 1) / t->b->page_size;
	*next_page += run->pages;
}

/* bbolt's own rule (bucket.go: inlineable), for a bucket that has one leaf and is not the root. */
static bool is_inlineable(const struct bolt_edit *t, const struct edited *b, uint64_t buckets_inside)
{
	return b->parent && buckets_inside == 0 && run_bytes(&b->leaves[0]) <= t->b->page_size / 4;
}

/* Decides the bucket's form, gives it pages, makes the value its parent holds. The buckets inside are
 * done. */
static enum rc bucket_plan(struct bolt_edit *t, struct edited *b, uint64_t *next_page, struct err *e)
{
	uint64_t count, buckets_inside, branch_bytes, value_bytes = BUCKET_BYTES;
	enum rc rc;

	entries_sort(b);
	b->leaf_count = 1;
	b->leaves = arena_get(t->arena, sizeof(*b->leaves));
	if (!b->leaves)
		return no_memory(e);
	if ((rc = bucket_count(t, b, b->leaves, 1, &count, &buckets_inside, &branch_bytes, e)))
		return rc;
	if (count > COUNT_MAX) {
		b->leaf_count = (size_t)((count + COUNT_MAX - 1) / COUNT_MAX);
		if (b->leaf_count > COUNT_MAX)
			return fail(e, RC_LIMIT, "a bucket of %llu elements", (unsigned long long)count);
		b->leaves = arena_array(t->arena, b->leaf_count, sizeof(*b->leaves));
		if (!b->leaves)
			return no_memory(e);
		if ((rc = bucket_count(
			     t, b, b->leaves, b->leaf_count, &count, &buckets_inside, &branch_bytes, e)))
			return rc;
		b->branch.count = b->leaf_count;
		b->branch.data_bytes = branch_bytes;
	}
	const bool is_inline = b->leaf_count == 1 && is_inlineable(t, b, buckets_inside);
	if (is_inline) {
		b->leaf_count = 0;
		value_bytes += run_bytes(&b->leaves[0]);
	}
	for (size_t i = 0; i < b->leaf_count; i++)
		run_place(t, &b->leaves[i], next_page);
	if (b->leaf_count > 1)
		run_place(t, &b->branch, next_page);

	uint8_t *const value = arena_get(t->arena, (size_t)value_bytes);
	if (!value)
		return no_memory(e);
	put_le(value, b->leaf_count > 1 ? b->branch.id : b->leaves[0].id, 8);
	put_le(value + 8, b->sequence, 8);
	b->value = span_of(value, (size_t)value_bytes);
	if (!is_inline)
		return RC_OK;
	b->leaves[0].at = value + BUCKET_BYTES;
	return bucket_write(t, b, 1, e);
}

/* ---- the image ---- */

static void runs_lay(struct edited *b, uint8_t *append, uint64_t first_page, uint32_t page_size)
{
	for (size_t i = 0; i < b->leaf_count; i++)
		b->leaves[i].at = append + (b->leaves[i].id - first_page) * page_size;
	if (b->leaf_count > 1)
		b->branch.at = append + (b->branch.id - first_page) * page_size;
}

static enum rc meta_make(
	struct bolt_edit *t, uint64_t root, uint64_t high_water, struct bolt_image *image, struct err *e)
{
	const struct bolt_meta *const now = &t->b->meta[t->b->current];
	const uint32_t page_size = t->b->page_size;
	const unsigned slot = 1 - t->b->current;
	uint8_t *const page = arena_get(t->arena, page_size);

	if (!page)
		return no_memory(e);
	if (now->txid > UINT64_MAX - 8)
		return fail(e, RC_LIMIT, "the database has no transaction numbers left");
	const uint64_t txid = now->txid + ((now->txid + 1) % 2 == slot ? 1 : 2);
	put_le(page, slot, 8);
	put_le(page + 8, FLAG_META, 2);
	put_le(page + 16, MAGIC, 4);
	put_le(page + 20, VERSION, 4);
	put_le(page + 24, page_size, 4);
	put_le(page + 32, root, 8);
	put_le(page + 40, t->root->sequence, 8);
	put_le(page + 48, BOLT_NO_FREELIST, 8);
	put_le(page + 56, high_water, 8);
	put_le(page + 64, txid, 8);
	put_le(page + META_SUM_AT, fnv1a(page + HEADER_BYTES, META_SUM_AT - HEADER_BYTES), 8);
	image->meta_at = (uint64_t)slot * page_size;
	image->meta_page = span_of(page, page_size);
	return RC_OK;
}

/* Behind the pages of both transactions, of which a cut may show either. What lies beyond the file's end is no page: a meta page that
 * nobody reads any more may tell of more than a file can have. */
static uint64_t first_unused(const struct bolt *b)
{
	const uint64_t there = b->src.size / b->page_size;
	uint64_t first = b->meta[b->current].high_water;

	for (unsigned i = 0; i < 2; i++)
		if (b->meta[i].valid && min_u64(b->meta[i].high_water, there) > first)
			first = min_u64(b->meta[i].high_water, there);
	return first;
}

static enum rc image_make(struct bolt_edit *t, struct bolt_image *image, struct err *e)
{
	const struct bolt *const b = t->b;
	struct bolt_image made = {.changed = true};
	const uint64_t first_page = first_unused(b);
	uint64_t next_page = first_page;
	enum rc rc;

	for (struct edited *x = t->newest; x; x = x->older)
		if (x->changed && x->attached && (rc = bucket_plan(t, x, &next_page, e)))
			return rc;
	if (next_page >= LIMIT_BOLT_BYTES / b->page_size)
		return fail(
			e, RC_LIMIT, "the database would grow to %llu pages", (unsigned long long)next_page);
	const uint64_t append_bytes = (next_page - first_page) * b->page_size;
	uint8_t *const append =
		append_bytes > LIMIT_ARENA_BYTES ? NULL : arena_get(t->arena, (size_t)append_bytes);
	if (!append)
		return no_memory(e);
	for (struct edited *x = t->newest; x; x = x->older) {
		if (!x->changed || !x->attached || x->leaf_count == 0)
			continue;
		runs_lay(x, append, first_page, b->page_size);
		if ((rc = bucket_write(t, x, x->leaf_count, e)))
			return rc;
	}
	made.append_at = first_page * b->page_size;
	made.append = span_of(append, (size_t)append_bytes);
	made.file_bytes = b->src.size;
	if (b->src.size < next_page * b->page_size)
		made.file_bytes = (next_page + 1) * b->page_size; /* one more, as bbolt grows it */
	struct span root = t->root->value;
	if ((rc = meta_make(t, t->root->changed ? span_u64le(&root) : t->root->old.root, next_page, &made, e)))
		return rc;
	*image = made;
	return RC_OK;
}

static enum rc overlay_read_at(const struct src *s, uint64_t off, void *buf, size_t n, struct err *e)
{
	const struct bolt_overlay *const o = s->memory; /* whoever opens the src copies it */
	const struct {
		uint64_t at;
		struct span bytes;
	} over[] = {{o->image->append_at, o->image->append}, {o->image->meta_at, o->image->meta_page}};

	memset(buf, 0, n);
	if (off < o->old->size) {
		const enum rc rc = src_read(o->old, off, buf, (size_t)min_u64(n, o->old->size - off), e);
		if (rc)
			return rc;
	}
	for (size_t i = 0; i < sizeof(over) / sizeof(over[0]); i++) {
		const uint64_t from = off > over[i].at ? off : over[i].at;
		const uint64_t to = min_u64(off + n, over[i].at + over[i].bytes.left);
		if (from < to)
			memcpy((uint8_t *)buf + (from - off), over[i].bytes.at + (from - over[i].at),
				(size_t)(to - from));
	}
	return RC_OK;
}

void bolt_overlay_open(struct bolt_overlay *o, const struct src *old, const struct bolt_image *image)
{
	*o = (struct bolt_overlay){.src = *old, .old = old, .image = image};
	if (image->changed)
		o->src = (struct src){
			.size = image->file_bytes, .read_at = overlay_read_at, .memory = o, .fd = -1};
}

/* ---- looking at the image as bbolt will, and comparing it with what was asked for ---- */

static enum rc bug(struct err *e, const char *what)
{
	return fail(e, RC_CORRUPT, "our own edit of the database is wrong (nothing was written): %s", what);
}

/* An element of the new file that an entry speaks of. Remembers where a changed bucket is found. */
static enum rc entry_match(const struct entry *entry, const struct bolt_item *item, struct err *e)
{
	if (entry->is == ENTRY_GONE || item->is_bucket != (entry->is == ENTRY_BUCKET))
		return bug(e, "something removed is there");
	if (entry->is == ENTRY_VALUE)
		return span_equal(item->value, entry->value) ? RC_OK : bug(e, "a value differs");
	struct edited *const b = entry->bucket;
	if (!span_equal(item->value, b->value))
		return bug(e, "a bucket differs");
	const struct bolt_item kept = {
		item->key, b->value, true}; /* item is gone with the cursor's next step */
	if (b->changed && bolt_bucket_of(&kept, &b->shown))
		return bug(e, "a malformed bucket");
	return RC_OK;
}

/* Walks a bucket as it was and as it will be side by side; every difference must be an entry's doing. */
static enum rc bucket_compare(struct bolt_edit *t, const struct edited *b, struct bolt *new_b, struct err *e)
{
	struct arena scratch = *t->arena;
	struct bolt_cursor *old_cursor = NULL, *new_cursor;
	struct bolt_item was = {0}, is = {0};
	bool have_was = false, have_is = false, old_ended = !b->has_old, new_ended = false;
	uint64_t met = 0, live = 0;
	enum rc rc;

	if (b->shown.sequence != b->sequence || (b->has_old && b->sequence < b->old.sequence))
		return bug(e, "a sequence differs");
	if (b->has_old && (rc = bolt_cursor_open(t->b, &b->old, &scratch, &old_cursor, e)))
		return rc;
	if ((rc = bolt_cursor_open(new_b, &b->shown, &scratch, &new_cursor, e)))
		return rc;
	for (;;) { /* each round uses up an element of one side */
		if (!have_was && !old_ended) {
			if ((rc = bolt_cursor_next(old_cursor, &was, e)) && rc != RC_END)
				return rc;
			have_was = !(old_ended = rc == RC_END);
		}
		if (!have_is && !new_ended) {
			if ((rc = bolt_cursor_next(new_cursor, &is, e)) && rc != RC_END)
				return rc;
			have_is = !(new_ended = rc == RC_END);
		}
		if (!have_was && !have_is)
			break;
		const int order = !have_was ? 1 : !have_is ? -1 : span_compare(was.key, is.key);
		const struct entry *const entry = entry_find(t, b, order < 0 ? was.key : is.key);
		if (order < 0 && !(entry && entry->is == ENTRY_GONE))
			return bug(e, "an element is missing");
		if (order > 0 && !entry)
			return bug(e, "an element came from nowhere");
		if (order == 0 && !entry &&
			(was.is_bucket != is.is_bucket || !span_equal(was.value, is.value)))
			return bug(e, "an element not edited differs");
		if (order >= 0 && entry) {
			if ((rc = entry_match(entry, &is, e)))
				return rc;
			met++;
		}
		have_was = have_was && order > 0;
		have_is = have_is && order < 0;
	}
	for (const struct entry *x = b->entries; x; x = x->next)
		live += x->is != ENTRY_GONE;
	return live == met ? RC_OK : bug(e, "something put is not there");
}

static enum rc image_verify(struct bolt_edit *t, const struct bolt_image *image, struct err *e)
{
	const struct bolt_meta *const now = &t->b->meta[t->b->current];
	struct bolt_overlay overlay;
	struct bolt_stats stats;
	struct bolt_fault fault;
	struct bolt shown;
	enum rc rc;

	bolt_overlay_open(&overlay, &t->b->src, image);
	rc = bolt_open(&shown, &overlay.src, t->arena, &fault, e);
	shown.pace = t->b->pace;
	if (!rc)
		rc = bolt_check(&shown, *t->arena, &stats, &fault, e);
	if (rc == RC_CORRUPT)
		return bug(e, fault.text);
	if (rc)
		return rc;
	const struct bolt_meta *const next = &shown.meta[shown.current];
	if (shown.current == t->b->current || next->txid <= now->txid || next->txid % 2 != shown.current ||
		next->freelist != BOLT_NO_FREELIST || next->high_water < now->high_water)
		return bug(e, "the meta page");
	if (image->append_at / t->b->page_size < first_unused(t->b))
		return bug(e, "it overwrites pages");
	t->root->shown = bolt_root(&shown);
	for (struct edited *x = t->root; x; x = x->newer)
		if (x->changed && x->attached && (rc = bucket_compare(t, x, &shown, e)))
			return rc;
	return RC_OK;
}

void bolt_edit_drop_freelist(struct bolt_edit *t)
{
	t->only_meta = true;
}

enum rc bolt_edit_make(struct bolt_edit *t, struct bolt_image *image, struct err *e)
{
	struct bolt_image made = {0};
	enum rc rc;

	MUST(!t->made);
	t->made = true;
	if (t->root->changed || t->only_meta) {
		for (struct edited *x = t->root; x; x = x->newer)
			x->attached = !x->parent || (x->parent->attached && x->entry->is == ENTRY_BUCKET &&
							    x->entry->bucket == x);
		if ((rc = image_make(t, &made, e)) || (rc = image_verify(t, &made, e)))
			return rc;
	}
	*image = made;
	return RC_OK;
}
