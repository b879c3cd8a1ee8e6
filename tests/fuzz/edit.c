/* SPDX-License-Identifier: MIT */
/* Edits of a database that was written page by page, sound or with bytes changed. Where the check finds nothing the edits are made, the
 * result passes the check, and what is in it is the old content with the edits, which are made on a list beside; with the new meta page
 * torn it is the old content. Where the check finds something nothing of that is promised, but that it ends.
 *
 * An input: a byte of choices, a count of changes of three bytes each, where (2) and what, and then edits. */
#include "format/bolt_edit.h"

#include "../unit/bolt_file.h"
#include "steps.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define ENTRIES_MOST 400
#define EDITS_MOST 40
#define WALK_DEPTH 12

static const char *const names[] = {"empty", "inline", "large", "outer", "tree", "inner", "plain", "a", "zero", "key", "x", "apple",
	"banana", "date", "fig", "i", "n", "new", "newer", "z", "", "b"};
#define NAMES (sizeof(names) / sizeof(names[0]))

/* ---- the list: a path as each part with its length before it, and what is there ---- */

struct entry {
	uint8_t path[400];
	size_t n;
	bool bucket;
	uint64_t sequence, value; /* value: a sum, with its length */
};
struct list {
	struct entry at[ENTRIES_MOST];
	size_t count;
	bool over; /* too many, or too long a name: not compared */
};

static size_t put_part(uint8_t *path, size_t n, struct span part)
{
	path[n] = (uint8_t)part.left;
	path[n + 1] = (uint8_t)(part.left >> 8);
	if (part.left)
		memcpy(path + n + 2, part.at, part.left);
	return n + 2 + part.left;
}

static struct entry *find(struct list *l, const uint8_t *path, size_t n)
{
	for (size_t i = 0; i < l->count; i++)
		if (l->at[i].n == n && memcmp(l->at[i].path, path, n) == 0)
			return &l->at[i];
	return NULL;
}

static struct entry *have(struct list *l, const uint8_t *path, size_t n, bool bucket)
{
	struct entry *found = find(l, path, n);

	if (!found && l->count < ENTRIES_MOST) {
		found = &l->at[l->count++];
		memcpy(found->path, path, n);
		*found = (struct entry){.n = n, .bucket = bucket};
		memcpy(found->path, path, n);
	} else if (!found) {
		l->over = true;
	}
	return found;
}

static uint64_t sum_of(struct span value)
{
	return fnv1a(value.at, value.left) ^ (uint64_t)value.left << 48;
}

static void walk(struct bolt *b, const struct bolt_bucket *bucket, const uint8_t *path, size_t n, unsigned depth, struct arena *a,
	struct list *l)
{
	struct bolt_cursor *c = NULL;
	struct bolt_item item;
	struct err e = {0};
	enum rc rc = bolt_cursor_open(b, bucket, a, &c, &e);

	while (!rc && !l->over && !(rc = bolt_cursor_next(c, &item, &e))) {
		uint8_t below[400];
		struct bolt_bucket inner = {0};
		if (n + item.key.left + 2 > sizeof(below) || depth == WALK_DEPTH) {
			l->over = true;
			return;
		}
		memcpy(below, path, n);
		const size_t m = put_part(below, n, item.key);
		struct entry *const one = have(l, below, m, item.is_bucket);
		if (!one)
			return;
		if (!item.is_bucket) {
			one->value = sum_of(item.value);
			continue;
		}
		const struct bolt_item kept = {item.key, arena_copy(a, item.value), true};
		if (bolt_bucket_of(&kept, &inner))
			abort();
		one->sequence = inner.sequence;
		walk(b, &inner, below, m, depth + 1, a, l);
	}
	if (!l->over && rc != RC_END)
		abort(); /* it has passed the check */
}

static void list_all(struct bolt *b, struct arena scratch, struct list *l)
{
	const struct bolt_bucket root = bolt_root(b);

	l->count = 0;
	l->over = false;
	walk(b, &root, (const uint8_t *)"", 0, 0, &scratch, l);
}

static bool are_equal(struct list *a, struct list *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		const struct entry *const x = &a->at[i], *const y = find(b, x->path, x->n);
		if (!y || x->bucket != y->bucket || x->sequence != y->sequence || x->value != y->value)
			return false;
	}
	return true;
}

/* ---- one edit, of the database and of the list ---- */

enum { REMOVE, PUT, MAKE, RAISE, KINDS };

/* The buckets on the way, made where they are not there. false: a value stands there. */
static bool make_way(struct list *l, const struct bolt_path *p, unsigned parts)
{
	uint8_t path[400];
	size_t n = 0;

	for (unsigned i = 0; i < parts; i++) {
		n = put_part(path, n, p->part[i]);
		const struct entry *const found = have(l, path, n, true);
		if (!found || !found->bucket)
			return false;
	}
	return true;
}

static void edit_list(struct list *l, unsigned kind, const struct bolt_path *p, struct span value, uint64_t at_least)
{
	uint8_t path[400];
	size_t n = 0, kept = 0;

	for (unsigned i = 0; i < p->count; i++)
		n = put_part(path, n, p->part[i]);
	if (kind == REMOVE) {
		for (size_t i = 0; i < l->count; i++)
			if (l->at[i].n < n || memcmp(l->at[i].path, path, n) != 0)
				l->at[kept++] = l->at[i];
		l->count = kept;
		return;
	}
	if (kind == RAISE) {
		struct entry *const found = find(l, path, n);
		if (!found || !found->bucket)
			abort(); /* it said that there is one */
		found->sequence = found->sequence > at_least ? found->sequence : at_least;
		return;
	}
	if (!make_way(l, p, p->count - (kind == PUT)) && !l->over)
		abort(); /* it said that this can be done */
	struct entry *const one = kind == PUT ? have(l, path, n, false) : NULL;
	if (one && one->bucket)
		abort();
	if (one)
		one->value = sum_of(value);
}

/* values: borrowed until the image is made */
#define VALUE_MOST (64 * 256)
static enum rc edit(struct bolt_edit *t, struct span *s, struct list *l, uint8_t values[VALUE_MOST])
{
	struct bolt_path p = {.count = 0};
	struct err e = {0};
	const uint8_t what = span_u8(s);
	enum rc rc = RC_OK;

	p.count = 1 + (what >> 2) % 4;
	for (unsigned i = 0; i < p.count; i++)
		p.part[i] = span_of_string(names[span_u8(s) % NAMES]);
	const uint8_t size = span_u8(s);
	if (s->bad)
		return RC_END;
	for (size_t i = 0; i < VALUE_MOST; i++)
		values[i] = (uint8_t)(size + i * 7);
	const struct span value = span_of(values, what & 0x80 ? (size_t)size * 64 : size);
	const unsigned kind = what % KINDS;
	const uint64_t at_least = what & 0x40 ? UINT64_MAX - size : size;
	if (kind == REMOVE)
		rc = bolt_edit_remove(t, &p, &e);
	else if (kind == PUT)
		rc = bolt_edit_put(t, &p, value, &e);
	else if (kind == MAKE)
		rc = bolt_edit_make_bucket(t, &p, &e);
	else
		rc = bolt_edit_raise_sequence(t, &p, at_least, &e);
	if (rc == RC_OK && l)
		edit_list(l, kind, &p, value, at_least);
	if (l && rc != RC_OK && rc != RC_CORRUPT && rc != RC_LIMIT && !(kind == RAISE && rc == RC_END))
		abort();
	return rc == RC_OK || rc == RC_CORRUPT || rc == RC_LIMIT || rc == RC_END ? RC_OK : rc; /* then it did nothing */
}

/* ---- the file as it is written ---- */

static void write_image(struct file *f, const struct bolt_image *image, size_t cut)
{
	if (image->file_bytes > f->n) {
		f->at = realloc(f->at, (size_t)image->file_bytes);
		if (!f->at)
			abort();
		memset(f->at + f->n, 0, (size_t)image->file_bytes - f->n);
		f->n = (size_t)image->file_bytes;
	}
	memcpy(f->at + image->append_at, image->append.at, image->append.left);
	memcpy(f->at + image->meta_at, image->meta_page.at, cut < image->meta_page.left ? cut : image->meta_page.left);
}

static void must_be(const struct file *f, struct arena scratch, struct list *want, struct list *found)
{
	const struct src src = src_of_memory(f->at, f->n);
	struct bolt_fault fault = {0};
	struct bolt_stats stats;
	struct err e = {0};
	struct bolt b;

	if (bolt_open(&b, &src, &scratch, &fault, &e) || bolt_check(&b, scratch, &stats, &fault, &e)) {
		(void)fprintf(stderr, "after the edit: %s\n", fault.text);
		abort();
	}
	list_all(&b, scratch, found);
	if (!want->over && !found->over && !are_equal(want, found))
		abort();
}

static void examine(struct file *f, struct span s, struct arena scratch)
{
	static struct list old, want, found;
	static uint8_t values[EDITS_MOST][VALUE_MOST];
	const struct src src = src_of_memory(f->at, f->n);
	const struct arena whole = scratch;
	struct bolt_fault fault;
	struct bolt_stats stats;
	struct bolt_image image = {0};
	struct bolt_edit *t = NULL;
	struct err e = {0};
	struct bolt b;
	uint64_t edits = 0;

	if (bolt_open(&b, &src, &scratch, &fault, &e))
		return;
	const bool sound = bolt_check(&b, scratch, &stats, &fault, &e) == RC_OK;
	if (sound) {
		list_all(&b, scratch, &old);
		want = old;
	}
	e = (struct err){0};
	steps_begin();
	if (bolt_edit_begin(&t, &b, &scratch, &e))
		return;
	for (; s.left && edits < EDITS_MOST; edits++)
		if (edit(t, &s, sound ? &want : NULL, values[edits]))
			break;
	const enum rc rc = bolt_edit_make(t, &image, &e);
	steps_end(f->n * (edits + 1), 60, 100000);
	if (!sound)
		return;
	if (rc) {
		(void)fprintf(stderr, "%s\n", e.text);
		abort();
	}
	if (!image.changed) {
		if (!old.over && !are_equal(&old, &want))
			abort();
		return;
	}
	write_image(f, &image, 16 + 40); /* in the middle of what has a checksum */
	struct arena again = whole;
	again.used = scratch.used; /* the image lives there */
	must_be(f, again, &old, &found);
	write_image(f, &image, SIZE_MAX);
	must_be(f, again, &want, &found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct arena scratch;
	static struct sample sound[2];
	struct span s = span_of(data, n);
	struct err e = {0};

	if (!scratch.region && arena_open(&scratch, &e))
		abort();
	if (!sound[0].f.at) {
		sound[0] = sample(512);
		sound[1] = sample(4096);
	}
	const uint8_t choice = span_u8(&s);
	const struct sample *const from = &sound[choice >> 2 & 1];
	struct file f = {.n = from->f.n, .page_size = from->f.page_size};
	f.at = malloc(f.n);
	if (!f.at)
		abort();
	memcpy(f.at, from->f.at, f.n);
	for (unsigned left = choice & 1 ? span_u8(&s) % 16 : 0; left; left--) {
		const uint16_t where = span_u16le(&s);
		f.at[(size_t)where % f.n] = span_u8(&s);
	}
	/* A second meta page is looked for by the number in its header, which has no checksum, and which bbolt always writes (bbolt 1.3.7:
	 * db.go: meta.write): with another one it is found only as long as the first is whole, and an edit may be cut there. */
	memset(f.at + f.page_size, 0, 8);
	f.at[f.page_size] = 1;
	if (choice & 2) {
		seal(&f, 0);
		seal(&f, 1);
	}
	if (!s.bad)
		examine(&f, s, scratch);
	free(f.at);
	return 0;
}
