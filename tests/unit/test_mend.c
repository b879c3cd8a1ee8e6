/* SPDX-License-Identifier: MIT */
/* Databases written from their first page to their last, then broken page by page, and mended: with a sound copy beside nothing is
 * missing, without one only what is in a range that was told. */
#include "format/mend.h"

#include <stdlib.h>
#include <string.h>

#include "test.h"

static struct arena arena, other;

struct bytes {
	uint8_t *at;
	size_t n, cap;
};

static enum rc into_bytes(void *self, uint64_t off, const void *buf, size_t n, struct err *e)
{
	struct bytes *const b = self;

	(void)e;
	if (off + n > b->cap) {
		const size_t cap = (size_t)(off + n) * 2;
		b->at = realloc(b->at, cap);
		memset(b->at + b->cap, 0, cap - b->cap);
		b->cap = cap;
	}
	memcpy(b->at + off, buf, n);
	b->n = off + n > b->n ? (size_t)(off + n) : b->n;
	return RC_OK;
}

/* v1/ns0..ns2/{list: plain keys, deep: a bucket for each, of some keys}, and a value larger than a page. */
static struct bytes sample(uint32_t page_size, unsigned count, uint64_t txid)
{
	struct bytes out = {0};
	const struct bolt_sink sink = {into_bytes, &out};
	struct arena scratch = arena;
	struct bolt_writer *w = NULL;
	struct err e = {0};
	uint64_t bytes = 0;
	static uint8_t large[9000];
	char key[64], value[64];
	bool fine = true;

	fine &= !bolt_write_begin(&w, &sink, page_size, txid, &scratch, &e);
	fine &= !bolt_write_bucket(w, span_of_string("v1"), &e);
	for (unsigned ns = 0; ns < 3; ns++) {
		(void)snprintf(key, sizeof(key), "ns%u", ns);
		fine &= !bolt_write_bucket(w, span_of_string(key), &e);
		fine &= !bolt_write_bucket(w, span_of_string("deep"), &e);
		for (unsigned i = 0; i < count; i++) {
			(void)snprintf(key, sizeof(key), "thing-%05u", i);
			fine &= !bolt_write_bucket(w, span_of_string(key), &e);
			(void)snprintf(value, sizeof(value), "%u in %u", i, ns);
			fine &= !bolt_write_put(w, span_of_string("name"), span_of_string(value), &e);
			if (i % 7 == 0)
				fine &= !bolt_write_put(w, span_of_string("spec"), span_of(large, 600 + i % 1000), &e);
			fine &= !bolt_write_bucket_end(w, i, &e);
		}
		fine &= !bolt_write_bucket_end(w, 77, &e);
		fine &= !bolt_write_bucket(w, span_of_string("empty"), &e);
		fine &= !bolt_write_bucket_end(w, 5, &e);
		fine &= !bolt_write_bucket(w, span_of_string("list"), &e);
		for (unsigned i = 0; i < count; i++) {
			(void)snprintf(key, sizeof(key), "key-%05u", i);
			fine &= !bolt_write_put(w, span_of_string(key), i == 3 ? span_of(large, sizeof(large)) : span_of_string(key), &e);
		}
		fine &= !bolt_write_bucket_end(w, 0, &e);
		fine &= !bolt_write_bucket_end(w, 0, &e);
	}
	fine &= !bolt_write_put(w, span_of_string("version"), span_of_string("\6"), &e);
	fine &= !bolt_write_bucket_end(w, 0, &e);
	fine &= !bolt_write_end(w, 9, &bytes, &e);
	CHECK(fine && bytes == out.n);
	if (!fine)
		printf("# %s\n", e.text);
	return out;
}

static bool is_sound(const struct bytes *b, struct bolt_stats *stats)
{
	const struct src src = src_of_memory(b->at, b->n);
	struct arena scratch = arena;
	struct bolt_fault fault = {0};
	struct err e = {0};
	struct bolt db;

	if (bolt_open(&db, &src, &scratch, &fault, &e) || bolt_check(&db, scratch, stats, &fault, &e)) {
		printf("# page %llu: %s %s\n", (unsigned long long)fault.page, fault.text, e.text);
		return false;
	}
	return true;
}

/* Every key and value, and sequences, as one sum that their order and place are part of; count: of keys. */
static uint64_t sum_of(const struct bytes *b, size_t *count)
{
	const struct src src = src_of_memory(b->at, b->n);
	struct arena scratch = arena;
	struct bolt_fault fault = {0};
	struct err e = {0};
	struct bolt db;
	struct bolt_cursor *c[16];
	struct bolt_bucket bucket;
	struct bolt_item item;
	unsigned depth = 1;
	uint64_t sum = 0;

	*count = 0;
	CHECK(bolt_open(&db, &src, &scratch, &fault, &e) == RC_OK);
	bucket = bolt_root(&db);
	CHECK(bolt_cursor_open(&db, &bucket, &scratch, &c[0], &e) == RC_OK);
	while (depth) {
		const enum rc rc = bolt_cursor_next(c[depth - 1], &item, &e);
		if (rc == RC_END) {
			depth--;
			sum = sum * 31 + 7;
			continue;
		}
		CHECK(rc == RC_OK);
		sum = sum * 31 + fnv1a(item.key.at, item.key.left);
		if (!item.is_bucket) {
			++*count;
			sum = sum * 31 + fnv1a(item.value.at, item.value.left);
			continue;
		}
		CHECK(bolt_bucket_of(&item, &bucket) == RC_OK);
		sum = sum * 31 + bucket.sequence;
		CHECK(bolt_cursor_open(&db, &bucket, &scratch, &c[depth++], &e) == RC_OK);
	}
	return sum;
}

struct told {
	size_t gaps, seconds;
};

static enum rc on_gap(void *self, const struct mend_path *path, struct span from, struct span to, struct err *e)
{
	struct told *const t = self;

	(void)e;
	CHECK(path->count < 8 && (from.bad || to.bad || span_compare(from, to) <= 0));
	t->gaps++;
	return RC_OK;
}

static enum rc on_gone(void *self, const struct mend_path *path, struct err *e)
{
	struct told *const t = self;

	(void)e;
	CHECK(path->count > 0 && path->count < 8 && path->part[path->count - 1].left);
	t->gaps++;
	return RC_OK;
}

static enum rc on_bucket(void *self, const struct mend_path *path, bool of_second, struct err *e)
{
	struct told *const t = self;

	(void)e;
	CHECK(path->count > 0);
	t->seconds += of_second;
	return RC_OK;
}

static enum rc mend(const struct bytes *broken, const struct bytes *copy, struct bytes *out, struct told *told)
{
	const struct mend_hooks hooks = {.gone = on_gone, .bucket = on_bucket, .gap = on_gap, .self = told};
	const struct bolt_sink sink = {into_bytes, out};
	struct arena mine = arena, its = other;
	const struct src src = src_of_memory(broken->at, broken->n), src2 = copy ? src_of_memory(copy->at, copy->n) : (struct src){0};
	struct bolt_fault fault = {0};
	struct bolt first, second;
	struct bolt_writer *w = NULL;
	uint64_t sequence = 0, bytes = 0;
	struct err e = {0};

	*told = (struct told){0};
	out->n = 0;
	const enum rc opened = bolt_open(&first, &src, &mine, &fault, &e);
	if (copy)
		CHECK(bolt_open(&second, &src2, &mine, &fault, &e) == RC_OK);
	CHECK(bolt_write_begin(&w, &sink, 512, 100, &its, &e) == RC_OK);
	enum rc rc = mend_write(opened ? NULL : &first, copy ? &second : NULL, &hooks, w, &fault, &sequence, mine, &e);
	rc = rc ? rc : bolt_write_end(w, sequence, &bytes, &e);
	if (rc)
		printf("# %s\n", e.text);
	return rc;
}

static void written_is_sound(void)
{
	static const uint32_t sizes[] = {512, 1024, 4096, 16384, 65536};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		for (unsigned count = 0; count < 400; count = count * 3 + 1) {
			struct bolt_stats stats = {0};
			struct bytes b = sample(sizes[i], count, 41);
			size_t keys = 0;
			CHECK(is_sound(&b, &stats) && stats.pages_odd == 0 && stats.buckets == 1 + 3 * 4 + 3 * (uint64_t)count);
			(void)sum_of(&b, &keys);
			CHECK(keys == 1 + 3 * (2 * (size_t)count + (count + 6) / 7) && keys == stats.keys);
			free(b.at);
		}
}

/* Levels of branches: enough keys for three. */
static void deep_tree(void)
{
	struct bolt_stats stats = {0};
	struct bytes b = sample(512, 9000, 7);

	CHECK(is_sound(&b, &stats) && stats.depth_max >= 4);
	free(b.at);
}

static void out_of_order(void)
{
	struct bytes out = {0};
	const struct bolt_sink sink = {into_bytes, &out};
	struct arena scratch = arena;
	struct bolt_writer *w = NULL;
	struct err e = {0};

	CHECK(bolt_write_begin(&w, &sink, 512, 0, &scratch, &e) == RC_OK);
	CHECK(bolt_write_put(w, span_of_string("a"), span_of_string("b"), &e) == RC_CORRUPT);
	CHECK(bolt_write_bucket(w, span_of_string("b"), &e) == RC_OK);
	CHECK(bolt_write_put(w, span_of_string("b"), span_of_string("1"), &e) == RC_OK);
	CHECK(bolt_write_put(w, span_of_string("b"), span_of_string("1"), &e) == RC_CORRUPT);
	CHECK(bolt_write_put(w, span_of_string("a"), span_of_string("1"), &e) == RC_CORRUPT);
	CHECK(bolt_write_put(w, span_of_string(""), span_of_string("1"), &e) == RC_CORRUPT);
	CHECK(bolt_write_bucket_end(w, 1, &e) == RC_OK);
	CHECK(bolt_write_bucket(w, span_of_string("b"), &e) == RC_CORRUPT);
	free(out.at);
}

static void same_again(void)
{
	struct bytes b = sample(512, 300, 3), out = {0};
	struct bolt_stats stats = {0};
	struct told told;
	size_t keys = 0, again = 0;

	CHECK(mend(&b, NULL, &out, &told) == RC_OK && told.gaps == 0 && told.seconds == 0);
	CHECK(is_sound(&out, &stats) && sum_of(&b, &keys) == sum_of(&out, &again) && keys == again);
	free(b.at);
	free(out.at);
}

/* How a page can be broken. */
static void hurt(struct bytes *b, const struct bytes *whole, size_t page, unsigned how, uint32_t size)
{
	uint8_t *const at = b->at + page * size;

	memcpy(b->at, whole->at, whole->n);
	switch (how) {
	case 0: memset(at, 0, size); break;
	case 1: memset(at + size / 2, 0, size / 2); break; /* torn */
	case 2: memcpy(at, whole->at + (page + 1 < whole->n / size ? page + 1 : 2) * size, size); break;
	case 3: at[0] ^= 4; break;
	case 4: at[10] ^= 1; break;
	case 5: at[16 + 4 + (page * 16) % 64] ^= 0x20; break;
	case 6: at[size - 9] ^= 0x40; break;
	default: memset(at, 0xff, size); break;
	}
}

static void every_page(void)
{
	const struct bytes whole = sample(512, 150, 3);
	struct bytes broken = {malloc(whole.n), whole.n, whole.n}, out = {0};
	size_t keys = 0, again = 0, lost = 0;
	const uint64_t sum = sum_of(&whole, &keys);

	for (size_t page = 0; page < whole.n / 512; page++)
		for (unsigned how = 0; how < 8; how++) {
			struct bolt_stats stats = {0};
			struct told told;
			hurt(&broken, &whole, page, how, 512);
			CHECK(mend(&broken, NULL, &out, &told) == RC_OK);
			CHECK(is_sound(&out, &stats));
			(void)sum_of(&out, &again);
			CHECK(again <= keys + 2 && (told.gaps || again >= keys || page < 2));

			lost += again < keys;
			CHECK(mend(&broken, &whole, &out, &told) == RC_OK && is_sound(&out, &stats));
			/* a value with other bytes is not seen here; a page that is gone, or in another's place, is */
			const bool begins = page >= 2 && whole.at[page * 512] == (uint8_t)page && whole.at[page * 512 + 1] == page >> 8 &&
					    (whole.at[page * 512 + 8] == 1 || whole.at[page * 512 + 8] == 2);
			if (begins && (how == 0 || how == 2 || how == 3 || how == 4 || how == 7))
				CHECK(sum_of(&out, &again) == sum && again == keys && told.gaps);
			(void)sum_of(&out, &again);
			CHECK(again + 2 >= keys);
		}
	CHECK(lost > 100);
	free(whole.at);
	free(broken.at);
	free(out.at);
}

/* What the second has and the first had removed does not come back, but where the first cannot be read. */
static void removed_stays(void)
{
	struct bytes older = sample(512, 160, 3), newer = sample(512, 120, 5), out = {0};
	struct bolt_stats stats = {0};
	struct told told;
	size_t keys = 0, again = 0;

	CHECK(mend(&newer, &older, &out, &told) == RC_OK && is_sound(&out, &stats) && told.gaps == 0);
	CHECK(sum_of(&out, &again) == sum_of(&newer, &keys) && again == keys);
	free(older.at);
	free(newer.at);
	free(out.at);
}

static void nothing_of_the_first(void)
{
	struct bytes whole = sample(512, 60, 3), gone = {calloc(1, 4096), 4096, 4096}, out = {0};
	struct bolt_stats stats = {0};
	struct told told;
	size_t keys = 0, again = 0;

	CHECK(mend(&gone, &whole, &out, &told) == RC_OK && is_sound(&out, &stats));
	CHECK(sum_of(&out, &again) == sum_of(&whole, &keys) && again == keys);
	CHECK(mend(&gone, NULL, &out, &told) == RC_OK && is_sound(&out, &stats) && stats.keys == 0);
	free(whole.at);
	free(gone.at);
	free(out.at);
}

/* Any bytes at all: it ends, and what it writes is sound. */
static void random_damage(void)
{
	const struct bytes whole = sample(512, 100, 3);
	struct bytes broken = {malloc(whole.n), whole.n, whole.n}, out = {0};
	uint64_t r = 1;

	for (unsigned i = 0; i < 3000; i++) {
		struct bolt_stats stats = {0};
		struct told told;
		memcpy(broken.at, whole.at, whole.n);
		for (unsigned k = 0; k < 1 + i % 20; k++) {
			r = r * 6364136223846793005u + 1442695040888963407u;
			broken.at[1024 + (r >> 20) % (whole.n - 1024)] = (uint8_t)(r >> 56);
		}
		CHECK(mend(&broken, i % 2 ? &whole : NULL, &out, &told) == RC_OK && is_sound(&out, &stats));
	}
	free(whole.at);
	free(broken.at);
	free(out.at);
}

int main(void)
{
	struct err e = {0};

	if (arena_open(&arena, &e) || arena_open(&other, &e))
		return 1;
	RUN(written_is_sound);
	RUN(deep_tree);
	RUN(out_of_order);
	RUN(same_again);
	RUN(every_page);
	RUN(removed_stays);
	RUN(nothing_of_the_first);
	RUN(random_damage);
	return test_failed != 0;
}
