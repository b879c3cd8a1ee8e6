/* SPDX-License-Identifier: MIT */
/* Known answers, every kind of damage, and bytes of all kinds that must neither crash nor hang the reader.
 * Databases that bbolt itself wrote are in tests/differential. */
#include "format/bolt.h"

#include <errno.h>

#include "bolt_file.h"
#include "test.h"

static struct arena arena;

static enum bolt_fault_kind kind_of(const struct file *f)
{
	struct arena scratch = arena;
	enum bolt_fault_kind kind;
	struct bolt_stats stats;
	struct bolt b;

	/* a copy that ends where the file does, for the address sanitizer */
	uint8_t *const copy = malloc(f->n + !f->n);
	memcpy(copy, f->at, f->n);
	const enum rc rc = look(copy, f->n, &scratch, &b, &stats, &kind);
	free(copy);
	CHECK((rc == RC_OK) == (kind == BOLT_SOUND) && (rc == RC_OK || rc == RC_CORRUPT));
	return kind;
}

/* ---- known answers ---- */

static void known_checksums(void)
{
	static const struct {
		uint32_t page_size;
		uint64_t sum[2];
	} known[] = {{4096, {0x07516e114689fdee, 0x264c351a5179480f}},
		{16384, {0x90f347e30dddf37e, 0xafee0eec18cd3d9f}},
		{65536, {0x05c392110dcba3a7, 0xe6c8cb0802dc5986}}};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		struct arena scratch = arena;
		struct file f = file_new(known[i].page_size);
		enum bolt_fault_kind kind;
		struct bolt_stats stats;
		struct bolt b;
		f.used = 3;
		(void)add_page(&f, 2, NULL, 0);
		le(page_at(&f, 2), 2, 8);
		le(page_at(&f, 2) + 8, 16, 2);
		for (unsigned slot = 0; slot < 2; slot++) {
			set_meta(&f, slot, 3, 2, 4, slot);
			le(page_at(&f, slot) + 72, known[i].sum[slot], 8);
		}
		f.n = 4 * (size_t)f.page_size;
		CHECK(look(f.at, f.n, &scratch, &b, &stats, &kind) == RC_OK);
		CHECK(b.meta[0].valid && b.meta[1].valid && b.current == 1 &&
			b.page_size == known[i].page_size);
		CHECK(stats.keys == 0 && stats.buckets == 0 && stats.pages_reachable == 4 &&
			stats.depth_max == 1);
		file_free(&f);
	}
}

static void known_first_page(void)
{
	static const uint8_t page_0[80] = {0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0xed, 0xda, 0x0c,
		0xed, 2, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		2, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xee, 0xfd, 0x89,
		0x46, 0x11, 0x6e, 0x51, 0x07};
	struct arena scratch = arena;
	struct file f = file_new(4096);
	struct bolt_fault fault;
	struct err e = {0};
	struct bolt b;

	memcpy(f.at, page_0, sizeof(page_0));
	const struct src src = src_of_memory(f.at, f.n);
	CHECK(bolt_open(&b, &src, &scratch, &fault, &e) == RC_OK);
	CHECK(b.current == 0 && b.meta[0].valid && !b.meta[1].valid);
	CHECK(b.meta[0].root == 3 && b.meta[0].freelist == 2 && b.meta[0].high_water == 4 &&
		b.meta[0].txid == 0);
	file_free(&f);
}

static void known_inline_bucket(void)
{
	struct arena scratch = arena;
	struct sample s = sample(512);
	const struct src src = src_of_memory(s.f.at, s.f.n);
	struct bolt_item item = {SPAN_LITERAL("x"), span_of(inline_example, sizeof(inline_example)), true};
	struct bolt_bucket bucket;
	struct bolt_cursor *c;
	struct bolt_fault fault;
	struct err e = {0};
	struct bolt b;

	CHECK(bolt_open(&b, &src, &scratch, &fault, &e) == RC_OK);
	CHECK(bolt_bucket_of(&item, &bucket) == RC_OK && bucket.root == 0 && bucket.sequence == 42);
	CHECK(bolt_cursor_open(&b, &bucket, &scratch, &c, &e) == RC_OK);
	CHECK(bolt_cursor_next(c, &item, &e) == RC_OK && span_is(item.key, "a") && span_is(item.value, "1"));
	CHECK(bolt_cursor_next(c, &item, &e) == RC_OK && span_is(item.key, "zero") && item.value.left == 0);
	CHECK(!item.is_bucket && bolt_cursor_next(c, &item, &e) == RC_END &&
		bolt_cursor_next(c, &item, &e) == RC_END);
	CHECK(bolt_get(&b, &bucket, SPAN_LITERAL("zero"), &scratch, &item, &e) == RC_OK &&
		item.value.left == 0);
	CHECK(bolt_get(&b, &bucket, SPAN_LITERAL("b"), &scratch, &item, &e) == RC_END);
	CHECK(bolt_get(&b, &bucket, SPAN_LITERAL(""), &scratch, &item, &e) == RC_END);
	CHECK(bolt_get(&b, &bucket, SPAN_LITERAL("zz"), &scratch, &item, &e) == RC_END);
	item = (struct bolt_item){
		.value = span_of(inline_example, sizeof(inline_example)), .is_bucket = false};
	CHECK(bolt_bucket_of(&item, &bucket) == RC_CORRUPT);
	for (size_t n = 0; n < 32; n++) {
		item = (struct bolt_item){.value = span_of(inline_example, n), .is_bucket = true};
		CHECK(bolt_bucket_of(&item, &bucket) == RC_CORRUPT);
	}
	file_free(&s.f);
}

/* ---- reading ---- */

static void sample_is_read(void)
{
	static const char *const fruit[] = {
		"apple", "banana", "cherry", "date", "elderberry", "fig", "grape", "hazelnut", "i"};
	struct arena scratch = arena;
	struct sample s = sample(512);
	enum bolt_fault_kind kind;
	struct bolt_stats stats;
	struct bolt_bucket root, tree, inner;
	struct bolt_cursor *c, *below;
	struct bolt_item item, found;
	struct err e = {0};
	struct bolt b;
	size_t i = 0;

	CHECK(look(s.f.at, s.f.n, &scratch, &b, &stats, &kind) == RC_OK);
	CHECK(stats.keys == 15 && stats.buckets == 6 && stats.pages_free == 1 && stats.pages_leaked == 1);
	CHECK(stats.pages_reachable + 2 == s.f.used && stats.pages_odd == 0 && stats.depth_max == 2);
	root = bolt_root(&b);
	CHECK(bolt_get(&b, &root, SPAN_LITERAL("tree"), &scratch, &item, &e) == RC_OK);
	CHECK(bolt_bucket_of(&item, &tree) == RC_OK && tree.sequence == 99 && tree.root == s.branch);
	CHECK(bolt_cursor_open(&b, &tree, &scratch, &c, &e) == RC_OK);
	while (bolt_cursor_next(c, &item, &e) == RC_OK) {
		CHECK(i < 9 && span_is(item.key, fruit[i]));
		/* another cursor on the way disturbs nothing */
		CHECK(bolt_cursor_open(&b, &tree, &scratch, &below, &e) == RC_OK);
		for (size_t k = 0; k <= i; k++)
			CHECK(bolt_cursor_next(below, &found, &e) == RC_OK);
		CHECK(i < 9 && span_is(item.key, fruit[i]) && span_equal(found.value, item.value));
		CHECK(bolt_get(&b, &tree, item.key, &scratch, &found, &e) == RC_OK &&
			span_equal(found.value, item.value));
		i++;
	}
	CHECK(i == 9);
	CHECK(bolt_get(&b, &tree, SPAN_LITERAL("aardvark"), &scratch, &item, &e) == RC_END);
	CHECK(bolt_get(&b, &tree, SPAN_LITERAL("dates"), &scratch, &item, &e) == RC_END);
	CHECK(bolt_get(&b, &root, SPAN_LITERAL("large"), &scratch, &item, &e) == RC_OK &&
		!bolt_bucket_of(&item, &inner));
	CHECK(bolt_get(&b, &inner, SPAN_LITERAL("large"), &scratch, &item, &e) == RC_OK &&
		item.value.left == 3000);
	CHECK(item.value.at[2999] == (uint8_t)(2999 * 31));
	CHECK(bolt_cursor_open(&b, &inner, &scratch, &c, &e) == RC_OK &&
		bolt_cursor_next(c, &item, &e) == RC_OK);
	CHECK(bolt_cursor_next(c, &item, &e) == RC_OK && item.value.left == 3000 &&
		item.value.at[2999] == (uint8_t)(2999 * 31));
	CHECK(e.rc == RC_OK);
	file_free(&s.f);
}

/* ---- which meta wins ---- */

static void meta_choice(void)
{
	/* txid of both, and which slots are broken: the slot that is current, 2 for none */
	static const struct {
		uint64_t txid[2];
		unsigned broken, current;
	} cases[] = {{{8, 7}, 0, 0}, {{8, 9}, 0, 1}, {{9, 8}, 0, 0}, {{8, 8}, 0, 0}, {{8, 1000}, 0, 1},
		{{8, 7}, 1, 1}, {{8, 7}, 2, 0}, {{8, 9}, 2, 0}, {{8, 9}, 3, 2}, {{UINT64_MAX, 0}, 0, 0},
		{{0, UINT64_MAX}, 0, 1}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct arena scratch = arena;
		struct sample s = sample(1024);
		struct bolt_fault fault;
		struct err e = {0};
		struct bolt b;
		for (unsigned slot = 0; slot < 2; slot++) {
			set_meta(&s.f, slot, s.root, s.freelist, s.f.used, cases[i].txid[slot]);
			if (cases[i].broken & 1u << slot)
				page_at(&s.f, slot)[40] ^= 1;
		}
		const struct src src = src_of_memory(s.f.at, s.f.n);
		const enum rc rc = bolt_open(&b, &src, &scratch, &fault, &e);
		if (cases[i].current == 2)
			CHECK(rc == RC_CORRUPT && fault.kind == BOLT_NO_META);
		else
			CHECK(rc == RC_OK && b.current == cases[i].current && b.page_size == 1024);
		file_free(&s.f);
	}
}

/* Torn at every byte of its body: the other one is used, or nothing changed. */
static void meta_torn(void)
{
	for (size_t cut = 17; cut < 80; cut++) {
		struct arena scratch = arena;
		struct sample s = sample(512);
		enum bolt_fault_kind kind;
		struct bolt_stats stats;
		struct bolt b;
		struct file fresh = file_new(512);
		set_meta(&fresh, 1, s.root + 1, 77, s.f.used + 5,
			0x0123456789abcdef); /* would be newer, and is not sound */
		memcpy(page_at(&s.f, 1), page_at(&fresh, 1), cut);
		const enum rc rc = look(s.f.at, s.f.n, &scratch, &b, &stats, &kind);
		CHECK(rc == RC_OK && b.current == 0);
		file_free(&fresh);
		file_free(&s.f);
	}
}

static void meta_damage(void)
{
	struct sample s;

	/* the header of a meta page is nobody's business, its flags neither */
	s = sample(512);
	memset(page_at(&s.f, 0), 0xff, 16);
	le(page_at(&s.f, 0) + 28, 4, 4);
	seal(&s.f, 0);
	CHECK(kind_of(&s.f) == BOLT_SOUND);
	file_free(&s.f);

	/* checksum 0: 1.3.6 would take the newer, others the older; an older one without is only a torn
	 * one */
	s = sample(512);
	le(page_at(&s.f, 0) + 72, 0, 8);
	CHECK(kind_of(&s.f) == BOLT_NO_META);
	s.f.at[16] ^= 1;
	CHECK(kind_of(&s.f) == BOLT_SOUND);
	file_free(&s.f);
	s = sample(512);
	le(page_at(&s.f, 1) + 72, 0, 8);
	CHECK(kind_of(&s.f) == BOLT_SOUND);
	file_free(&s.f);

	s = sample(512);
	le(page_at(&s.f, 1) + 24, 1024, 4);
	seal(&s.f, 1);
	CHECK(kind_of(&s.f) == BOLT_NO_META);
	file_free(&s.f);

	for (unsigned which = 1; which < 4; which++) {
		s = sample(512);
		for (unsigned slot = 0; slot < 2; slot++) {
			if (which & 1u << slot) {
				le(page_at(&s.f, slot) + 20, 3, 4);
				seal(&s.f, slot);
			}
		}
		CHECK(kind_of(&s.f) == BOLT_FOREIGN);
		file_free(&s.f);
	}
	s = sample(512); /* another version may have another checksum */
	le(page_at(&s.f, 0) + 20, 3, 4);
	le(page_at(&s.f, 1) + 20, 3, 4);
	CHECK(kind_of(&s.f) == BOLT_FOREIGN);
	file_free(&s.f);
	s = sample(1024); /* room for half a meta page, though nothing more is promised */
	set_meta(&s.f, 0, s.root, s.freelist, 1, 8);
	s.f.n = 1536;
	CHECK(kind_of(&s.f) == BOLT_SHORT_FILE);
	file_free(&s.f);
	static const uint32_t odd_sizes[] = {0, 1, 256, 4095, 4097, 5000, 33554432, 0xffffffff};
	for (size_t i = 0; i < sizeof(odd_sizes) / sizeof(odd_sizes[0]); i++) {
		s = sample(512);
		le(page_at(&s.f, 0) + 24, odd_sizes[i], 4);
		seal(&s.f, 0);
		CHECK(kind_of(&s.f) == BOLT_FOREIGN);
		file_free(&s.f);
	}
	s = sample(512);
	for (unsigned slot = 0; slot < 2; slot++)
		le(page_at(&s.f, slot) + 16, 0xEDDA0CED, 4);
	CHECK(kind_of(&s.f) == BOLT_FOREIGN);
	file_free(&s.f);

	/* a value may hold a whole database: only the place a meta names counts */
	s = sample(4096);
	s.f.at[16] ^= 1;
	const struct file inside = {page_at(&s.f, s.free_page), 8192, 1024, 2};
	set_meta(&(struct file){inside.at, 8192, 1024, 2}, 1, 3, 2, 4, 1);
	CHECK(kind_of(&s.f) == BOLT_SOUND);
	page_at(&s.f, 1)[16] ^= 1;
	CHECK(kind_of(&s.f) == BOLT_NO_META);
	file_free(&s.f);
}

static void page_sizes(void)
{
	for (uint32_t size = 512; size <= 1u << 20; size *= 2) {
		struct sample s = sample(size);
		CHECK(kind_of(&s.f) == BOLT_SOUND);
		s.f.at[20] ^= 1; /* meta 0 gone: the size is found by looking for meta 1 */
		CHECK(kind_of(&s.f) == BOLT_SOUND);
		file_free(&s.f);
	}
}

/* ---- damage ---- */

static void seal_both(struct sample *s)
{
	seal(&s->f, 0);
	seal(&s->f, 1);
}

static void set_current(struct sample *s, size_t at, uint64_t value)
{
	le(page_at(&s->f, 0) + at, value, 8);
	le(page_at(&s->f, 1) + at, value, 8);
	seal_both(s);
}

static void set_branch(struct sample *s, const struct kv *kv, size_t count)
{
	memset(page_at(&s->f, s->branch), 0, s->f.page_size);
	(void)lay_page(page_at(&s->f, s->branch), s->branch, 1, kv, count);
}

/* Lays another bucket value where the inline bucket is, as the root's second element. */
static void set_inline(struct sample *s, const void *value, size_t n)
{
	uint8_t headers[4][16];
	const struct kv root[] = {BUCKET("empty", bucket_value(headers[0], s->empty, 3), 16),
		BUCKET("inline", value, n), BUCKET("large", bucket_value(headers[1], s->large, 0), 16),
		BUCKET("outer", bucket_value(headers[2], s->outer, 5), 16),
		BUCKET("tree", bucket_value(headers[3], s->branch, 99), 16)};
	memset(page_at(&s->f, s->root), 0, s->f.page_size);
	(void)lay_page(page_at(&s->f, s->root), s->root, 2, root, 5);
}

static void hurt(struct sample *s, unsigned which)
{
	uint8_t *const branch = page_at(&s->f, s->branch), *const leaf = page_at(&s->f, s->leaf[1]);
	uint8_t *const root = page_at(&s->f, s->root), *const list = page_at(&s->f, s->freelist);
	const uint64_t *const l = s->leaf;
	uint8_t value[256] = {0};

	memcpy(value, inline_example, sizeof(inline_example));
	switch (which) {
	case 0: /* R1: any key between the two would do for a reader */
		set_branch(s, (const struct kv[]){CHILD("apple", l[0]), CHILD("d", l[1]), CHILD("fig", l[2])},
			3);
		break;
	case 1: /* R1, leftmost */
		set_branch(
			s, (const struct kv[]){CHILD("a", l[0]), CHILD("date", l[1]), CHILD("fig", l[2])}, 3);
		break;
	case 2: /* above the child's first key: that one is not found */
		set_branch(s,
			(const struct kv[]){CHILD("apple", l[0]), CHILD("dates", l[1]), CHILD("fig", l[2])},
			3);
		break;
	case 3: /* R2 */
		le(leaf + 10, 0, 2);
		break;
	case 4: /* R3 */
		le(branch + 10, 0, 2);
		break;
	case 5: /* R4 */
		set_branch(s, (const struct kv[]){CHILD("apple", l[0])}, 1);
		break;
	case 6: { /* R5: the second leaf one level deeper */
		const struct kv below[] = {CHILD("date", l[1]), CHILD("fig", l[2])};
		(void)lay_page(page_at(&s->f, s->free_page), s->free_page, 1, below, 2);
		set_branch(s, (const struct kv[]){CHILD("apple", l[0]), CHILD("date", s->free_page)}, 2);
		break;
	}
	case 7: /* R6 */
		le(leaf, s->leaf[2], 8);
		break;
	case 8:
		leaf[8] |= 4;
		break;
	case 9: /* R7 */
		set_branch(s,
			(const struct kv[]){CHILD("apple", l[0]), CHILD("date", l[1]), CHILD("fig", l[1])},
			3);
		break;
	case 10: /* R8 */
		set_branch(s, (const struct kv[]){CHILD("apple", l[0]), CHILD("date", s->f.used)}, 2);
		break;
	case 11:
		set_branch(s, (const struct kv[]){CHILD("apple", l[0]), CHILD("date", UINT64_MAX)}, 2);
		break;
	case 12: /* a cycle */
		set_branch(s, (const struct kv[]){CHILD("apple", l[0]), CHILD("date", s->branch)}, 2);
		break;
	case 13:
		set_branch(s, (const struct kv[]){CHILD("apple", l[0]), CHILD("date", 1)}, 2);
		break;
	case 14:
		set_branch(s, (const struct kv[]){CHILD("apple", l[0]), CHILD("date", s->freelist)}, 2);
		break;
	case 15: /* children swapped */
		set_branch(s,
			(const struct kv[]){CHILD("apple", l[1]), CHILD("date", l[0]), CHILD("fig", l[2])},
			3);
		break;
	case 16: /* a key past the next entry */
		leaf[16 + 32 + 4] = 'z';
		break;
	case 17:
		le(leaf + 12, 0xffffffff, 4);
		break;
	case 18: /* runs into the next page */
		le(leaf + 12, 1, 4);
		break;
	case 19:
		le(leaf + 10, 0xffff, 2);
		break;
	case 20:
		le(leaf + 10, 31, 2);
		break;
	case 21: /* pos into the table */
		le(leaf + 20, 8, 4);
		break;
	case 22:
		le(leaf + 20, 0xffffffff, 4);
		break;
	case 23:
		le(leaf + 24, 0xffffffff, 4);
		break;
	case 24:
		le(leaf + 28, 0xffffffff, 4);
		break;
	case 25: /* an empty key */
		le(leaf + 28, 4, 4);
		le(leaf + 24, 0, 4);
		break;
	case 26:
		le(leaf + 16, 2, 4);
		break;
	case 27: /* a plain value called a bucket */
		le(leaf + 16, 1, 4);
		break;
	case 28: /* order */
		leaf[16 + 32] = 'f';
		break;
	case 29: /* the same key twice */
		(void)lay_page(leaf, s->leaf[1], 2, (const struct kv[]){KV("date", "1"), KV("date", "2")}, 2);
		break;
	case 30: /* elements on the same bytes, many times */
		for (unsigned i = 0; i < 3; i++)
			le(page_at(&s->f, s->leaf[2]) + 16 + 16 * i + 12, 200, 4);
		break;
	case 31:
		memset(leaf, 0, s->f.page_size);
		break;
	case 32: /* a bucket twice, an ancestor, a root that is none */
		le(root + 16 + 16 * 5 + 5, s->outer, 8);
		break;
	case 33:
		le(root + 16 + 16 * 5 + 5, s->root, 8);
		break;
	case 34:
		le(root + 16 + 16 * 5 + 5, 1, 8);
		break;
	case 35: /* root 0 and no page behind it */
		le(root + 16 + 16 * 5 + 5, 0, 8);
		break;
	case 36:
		set_inline(s, value, 15);
		break;
	case 37:
		set_inline(s, value, 31);
		break;
	case 38: /* trailing bytes */
		set_inline(s, value, sizeof(inline_example) + 1);
		break;
	case 39:
		value[16] = 9;
		set_inline(s, value, sizeof(inline_example));
		break;
	case 40:
		value[28] = 1;
		set_inline(s, value, sizeof(inline_example));
		break;
	case 41:
		value[24] = 1;
		set_inline(s, value, sizeof(inline_example));
		break;
	case 42:
		value[26] = 1;
		set_inline(s, value, sizeof(inline_example));
		break;
	case 43:
		value[26] = 0xff;
		set_inline(s, value, sizeof(inline_example));
		break;
	case 44: { /* a bucket inside */
		const struct kv inside[] = {BUCKET("in", inline_example, sizeof(inline_example))};
		set_inline(s, value, 16 + lay_page(value + 16, 0, 2, inside, 1));
		break;
	}
	case 45: { /* order inside */
		const struct kv inside[] = {KV("b", "1"), KV("a", "2")};
		set_inline(s, value, 16 + lay_page(value + 16, 0, 2, inside, 2));
		break;
	}
	case 46:
		set_current(s, 32, 0);
		break;
	case 47:
		set_current(s, 32, s->freelist);
		break;
	case 48:
		set_current(s, 32, UINT64_MAX);
		break;
	case 49: /* the freelist: flags, id, bounds, contents */
		le(list + 8, 2, 2);
		break;
	case 50:
		le(list, 2, 8);
		break;
	case 51:
		le(list + 12, 0xffffffff, 4);
		break;
	case 52:
		le(list + 10, 0xfffe, 2);
		break;
	case 53:
		le(list + 10, 0xffff, 2);
		le(list + 16, (uint64_t)1 << 61, 8);
		break;
	case 54:
		le(list + 16, s->leaf[0], 8);
		break;
	case 55:
		le(list + 16, s->freelist, 8);
		break;
	case 56:
		le(list + 16, 1, 8);
		break;
	case 57:
		le(list + 16, s->f.used, 8);
		break;
	case 58:
		le(list + 10, 2, 2);
		le(list + 24, s->free_page, 8);
		break;
	case 59: /* an overflow page of a live run */
		le(list + 16, s->large + 1, 8);
		break;
	case 60:
		set_current(s, 48, s->root);
		break;
	case 61:
		set_current(s, 48, 0);
		break;
	case 62:
		set_current(s, 48, s->f.used);
		break;
	case 63:
		set_current(s, 56, s->f.used + 1);
		break;
	case 64:
		set_current(s, 56, 0);
		break;
	case 65:
		s->f.n = 0;
		break;
	case 66:
		s->f.n--;
		break;
	case 67: /* the last page of all runs past the end */
		set_current(s, 48, BOLT_NO_FREELIST);
		set_current(s, 56, s->f.used - 1);
		le(root + 12, 1, 4);
		break;
	case 68:
		branch[8] |= 16;
		break;
	case 69: /* an inline bucket that is an empty branch */
		le(value + 24, 1, 4);
		set_inline(s, value, 32);
		break;
	case 70: { /* the freelist inside a value */
		uint8_t *const inside = page_at(&s->f, s->large + 1);
		le(inside, s->large + 1, 8);
		le(inside + 8, 16, 8);
		set_current(s, 48, s->large + 1);
		break;
	}
	default:
		break;
	}
}

static void damage(void)
{
	static const enum bolt_fault_kind expected[] = {
		[0] = BOLT_HAZARD,
		BOLT_HAZARD,
		BOLT_BAD_TREE,
		BOLT_HAZARD,
		BOLT_BAD_TREE,
		BOLT_HAZARD,
		BOLT_HAZARD,
		[7] = BOLT_BAD_TREE,
		BOLT_BAD_TREE,
		BOLT_BAD_TREE,
		BOLT_BAD_TREE,
		BOLT_BAD_TREE,
		BOLT_BAD_TREE,
		BOLT_BAD_TREE,
		[14] = BOLT_BAD_TREE,
		BOLT_BAD_TREE,
		BOLT_BAD_TREE,
		BOLT_BAD_TREE,
		BOLT_BAD_TREE,
		BOLT_BAD_TREE,
		[20] = BOLT_BAD_TREE,
		BOLT_BAD_TREE,
		BOLT_BAD_TREE,
		BOLT_BAD_TREE,
		BOLT_BAD_TREE,
		BOLT_HAZARD,
		[26] = BOLT_BAD_TREE,
		BOLT_BAD_TREE,
		BOLT_BAD_TREE,
		BOLT_BAD_TREE,
		BOLT_BAD_TREE,
		BOLT_BAD_TREE,
		[32] = BOLT_BAD_TREE,
		BOLT_BAD_TREE,
		BOLT_BAD_TREE,
		BOLT_BAD_TREE,
		BOLT_BAD_TREE,
		BOLT_BAD_TREE,
		[38] = BOLT_BAD_TREE,
		BOLT_HAZARD,
		BOLT_HAZARD,
		BOLT_BAD_TREE,
		BOLT_BAD_TREE,
		BOLT_BAD_TREE,
		[44] = BOLT_HAZARD,
		BOLT_BAD_TREE,
		BOLT_BAD_TREE,
		BOLT_BAD_TREE,
		BOLT_BAD_TREE,
		[49] = BOLT_BAD_FREELIST,
		BOLT_BAD_FREELIST,
		BOLT_BAD_FREELIST,
		BOLT_BAD_FREELIST,
		BOLT_BAD_FREELIST,
		[54] = BOLT_BAD_FREELIST,
		BOLT_BAD_FREELIST,
		BOLT_BAD_FREELIST,
		BOLT_BAD_FREELIST,
		BOLT_BAD_FREELIST,
		[59] = BOLT_BAD_FREELIST,
		BOLT_BAD_FREELIST,
		BOLT_BAD_FREELIST,
		BOLT_BAD_FREELIST,
		[63] = BOLT_SHORT_FILE,
		BOLT_BAD_TREE,
		BOLT_EMPTY_FILE,
		BOLT_SHORT_FILE,
		[67] = BOLT_BAD_TREE,
		BOLT_BAD_TREE,
		BOLT_BAD_TREE,
		[70] = BOLT_BAD_FREELIST,
		BOLT_SOUND,
	};

	for (unsigned i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		struct sample s = sample(512);
		hurt(&s, i);
		const enum bolt_fault_kind kind = kind_of(&s.f);
		if (kind != expected[i])
			printf("# damage %u is called %d, not %d\n", i, kind, expected[i]);
		CHECK(kind == expected[i]);
		file_free(&s.f);
	}
}

static void legal(void)
{
	struct sample s = sample(512);

	set_current(&s, 48, BOLT_NO_FREELIST);
	CHECK(kind_of(&s.f) == BOLT_SOUND);
	s.f.n += 3; /* odd tail */
	CHECK(kind_of(&s.f) == BOLT_SOUND);
	file_free(&s.f);

	s = sample(512); /* the list in its long form, and unsorted */
	uint8_t *const list = page_at(&s.f, s.freelist);
	le(list + 10, 0xffff, 2);
	le(list + 16, 2, 8);
	le(list + 24, s.branch + 1, 8);
	le(list + 32, s.free_page, 8);
	CHECK(kind_of(&s.f) == BOLT_SOUND);
	file_free(&s.f);

	for (unsigned n = 62; n <= 63; n++) { /* a page of 512 bytes holds 62 */
		s = sample(512);
		for (unsigned i = 0; i < n; i++)
			le(page_at(&s.f, s.freelist) + 16 + 8 * i, s.f.used + i, 8);
		le(page_at(&s.f, s.freelist) + 10, n, 2);
		s.f.n += 64 * 512;
		set_current(&s, 56, s.f.used + 64);
		CHECK(kind_of(&s.f) == (n == 62 ? BOLT_SOUND : BOLT_BAD_FREELIST));
		file_free(&s.f);
	}

	/* an inline bucket longer than a page, in a root of several pages */
	struct file f = file_new(512);
	uint8_t big[2000] = {0}, value[1500] = {0};
	const struct kv inside[] = {{"k", 1, value, sizeof(value), 0, 0}};
	const size_t n = 16 + lay_page(big + 16, 0, 2, inside, 1);
	const struct kv root[] = {BUCKET("big", big, n)};
	const uint64_t id = add_page(&f, 2, root, 1);
	set_meta(&f, 0, id, BOLT_NO_FREELIST, f.used, 2);
	set_meta(&f, 1, id, BOLT_NO_FREELIST, f.used, 1);
	f.n = f.used * f.page_size;
	CHECK(kind_of(&f) == BOLT_SOUND);
	/* gaps and spare pages are odd, and no fault */
	struct arena scratch = arena;
	enum bolt_fault_kind kind;
	struct bolt_stats stats;
	struct bolt b;
	le(page_at(&f, id) + 12, f.used - id, 4);
	f.n += f.page_size;
	set_meta(&f, 0, id, BOLT_NO_FREELIST, f.used + 1, 2);
	CHECK(look(f.at, f.n, &scratch, &b, &stats, &kind) == RC_OK && stats.pages_odd == 1);
	file_free(&f);
}

/* A page can count 65535 elements; bbolt takes that for too many. */
static void most_elements(void)
{
	static char names[65535][6];
	static struct kv kv[65535];

	for (unsigned i = 0; i < 65535; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "%05u", i);
		kv[i] = (struct kv){.key = names[i], .ksize = 5};
	}
	for (size_t n = 65534; n <= 65535; n++) {
		struct file f = file_new(32768);
		const uint64_t id = add_page(&f, 2, kv, n);
		set_meta(&f, 0, id, BOLT_NO_FREELIST, f.used, 2);
		f.n = f.used * f.page_size;
		CHECK(kind_of(&f) == (n == 65534 ? BOLT_SOUND : BOLT_BAD_TREE));
		file_free(&f);
	}
}

/* bbolt bounds keys, and not the names of buckets. */
static void longest_keys(void)
{
	static char name[32769];

	memset(name, 'n', sizeof(name));
	for (size_t n = 32768; n <= 32769; n++) {
		for (unsigned is_bucket = 0; is_bucket < 2; is_bucket++) {
			struct file f = file_new(4096);
			const struct kv kv[] = {
				{name, n, inline_example, sizeof(inline_example), is_bucket, 0}};
			const uint64_t id = add_page(&f, 2, kv, 1);
			set_meta(&f, 0, id, BOLT_NO_FREELIST, f.used, 2);
			f.n = f.used * f.page_size;
			CHECK(kind_of(&f) == (n == 32768 || is_bucket ? BOLT_SOUND : BOLT_BAD_TREE));
			file_free(&f);
		}
	}
}

/* Without the check, too, nothing goes round for ever. */
static void cycle(void)
{
	struct arena scratch = arena;
	struct sample s = sample(512);
	struct bolt_bucket tree = {.root = s.branch};
	struct bolt_cursor *c;
	struct bolt_item item;
	struct bolt_fault fault;
	struct err e = {0};
	struct bolt b;
	enum rc rc;

	hurt(&s, 12);
	const struct src src = src_of_memory(s.f.at, s.f.n);
	CHECK(bolt_open(&b, &src, &scratch, &fault, &e) == RC_OK);
	CHECK(bolt_get(&b, &tree, SPAN_LITERAL("grape"), &scratch, &item, &e) == RC_CORRUPT &&
		e.rc == RC_CORRUPT);
	CHECK(bolt_cursor_open(&b, &tree, &scratch, &c, &e) == RC_OK);
	while (!(rc = bolt_cursor_next(c, &item, &e)))
		continue;
	CHECK(rc == RC_CORRUPT);
	file_free(&s.f);
}

/* A chain of branches with a single child each, deeper than any tree; and buckets in buckets beyond the
 * bound. */
static void deep(void)
{
	struct arena scratch = arena;
	struct file f = file_new(512);
	enum bolt_fault_kind kind;
	struct bolt_stats stats;
	uint8_t value[16];
	struct bolt b;

	uint64_t id = add_page(&f, 2, (const struct kv[]){KV("k", "v")}, 1);
	for (unsigned i = 0; i < 55; i++)
		id = add_page(&f, 1, (const struct kv[]){CHILD("k", id)}, 1);
	set_meta(&f, 0, id, BOLT_NO_FREELIST, f.used, 2);
	CHECK(kind_of(&f) == BOLT_HAZARD);
	file_free(&f);

	/* two children each, the deeper one first: no leaf is met on the way down */
	f = file_new(512);
	id = add_page(&f, 2, (const struct kv[]){KV("\1", "v")}, 1);
	for (unsigned i = 0; i < 70; i++) {
		const char key = (char)(16 + i);
		const uint64_t leaf = add_page(&f, 2, (const struct kv[]){{&key, 1, "v", 1, 0, 0}}, 1);
		id = add_page(&f, 1, (const struct kv[]){CHILD("\1", id), {&key, 1, NULL, 0, 0, leaf}}, 2);
	}
	set_meta(&f, 0, id, BOLT_NO_FREELIST, f.used, 2);
	CHECK(kind_of(&f) == BOLT_HAZARD);
	file_free(&f);

	f = file_new(512);
	id = add_page(&f, 2, NULL, 0);
	for (unsigned i = 0; i < LIMIT_BUCKET_DEPTH + 1; i++) {
		set_meta(&f, 0, id, BOLT_NO_FREELIST, f.used, 2);
		const enum rc rc = look(f.at, f.n, &scratch, &b, &stats, &kind);
		CHECK(rc == (i < LIMIT_BUCKET_DEPTH ? RC_OK : RC_LIMIT));
		id = add_page(&f, 2, (const struct kv[]){BUCKET("b", bucket_value(value, id, 0), 16)}, 1);
	}
	file_free(&f);
}

/* ---- anything at all ---- */

struct place {
	struct bolt_bucket bucket;
	struct bolt_cursor *cursor;
	struct arena arena;
};

/* Reads all there is, as far as it goes, and looks up what it read. Returns how it ended. */
static enum rc walk(struct bolt *b, struct arena scratch)
{
	static struct place stack[LIMIT_BUCKET_DEPTH + 2];
	struct bolt_item item, found;
	size_t depth = 1;
	struct err e = {0};
	enum rc rc, worst = RC_OK;

	stack[0] = (struct place){.bucket = bolt_root(b), .arena = scratch};
	if ((rc = bolt_cursor_open(b, &stack[0].bucket, &stack[0].arena, &stack[0].cursor, &e)))
		return rc;
	for (unsigned steps = 0; depth && steps < 2000; steps++) {
		struct place *const at = &stack[depth - 1];
		rc = bolt_cursor_next(at->cursor, &item, &e);
		if (rc) {
			worst = rc == RC_END ? worst : rc;
			depth--;
			continue;
		}
		struct arena given_back = at->arena;
		rc = bolt_get(b, &at->bucket, item.key, &given_back, &found, &e);
		worst = rc ? rc : worst;
		struct place below = {.arena = at->arena};
		if (!item.is_bucket || depth == LIMIT_BUCKET_DEPTH + 1)
			continue;
		const struct bolt_item kept = {item.key, arena_copy(&below.arena, item.value), true};
		if ((rc = bolt_bucket_of(&kept, &below.bucket))) {
			worst = rc;
			continue;
		}
		stack[depth] = below;
		rc = bolt_cursor_open(b, &stack[depth].bucket, &stack[depth].arena, &stack[depth].cursor, &e);
		worst = rc ? rc : worst;
		depth += !rc;
	}
	return worst;
}

/* Nothing crashes; what passes the check can be read to its end. */
static void survive(const uint8_t *at, size_t n)
{
	struct arena scratch = arena;
	struct bolt_fault fault;
	struct bolt_stats stats;
	struct err e = {0};
	struct bolt b;

	const struct src src = src_of_memory(at, n);
	enum rc rc = bolt_open(&b, &src, &scratch, &fault, &e);
	if (!rc) {
		rc = bolt_check(&b, scratch, &stats, &fault, &e);
		const enum rc walked = walk(&b, scratch);
		CHECK(rc != RC_OK || walked == RC_OK);
	}
	CHECK(rc == RC_OK || (rc == RC_CORRUPT && fault.kind != BOLT_SOUND && fault.text[0]));
	CHECK(rc != RC_OK || fault.kind == BOLT_SOUND);
}

static void every_truncation(void)
{
	struct sample s = sample(512);

	for (size_t n = 0; n <= s.f.n; n++) {
		uint8_t *const copy = malloc(n + !n);
		memcpy(copy, s.f.at, n);
		survive(copy, n);
		free(copy);
		const struct file cut = {s.f.at, n, 512, 0};
		const enum bolt_fault_kind kind = kind_of(&cut);
		CHECK(kind == (n == 0 ? BOLT_EMPTY_FILE : n == s.f.n ? BOLT_SOUND : BOLT_SHORT_FILE));
	}
	file_free(&s.f);
}

static void every_byte(void)
{
	static const uint8_t flips[] = {0x01, 0x80, 0xff};
	struct sample s = sample(512);

	for (size_t i = 0; i < s.f.n; i++) {
		for (size_t k = 0; k < sizeof(flips); k++) {
			s.f.at[i] ^= flips[k];
			survive(s.f.at, s.f.n);
			s.f.at[i] ^= flips[k];
		}
	}
	file_free(&s.f);
}

/* Several damages at once, mostly in headers and tables, with the metas sealed again so that they are
 * looked at. */
static void random_damage(void)
{
	uint64_t state = 0x853c49e6748fea9b;
	struct sample s = sample(512);
	uint8_t *const whole = malloc(s.f.n);

	memcpy(whole, s.f.at, s.f.n);
	for (unsigned round = 0; round < 20000; round++) {
		for (unsigned i = 0; i < 1 + round % 4; i++) {
			state = state * 6364136223846793005u + 1442695040888963407u;
			const uint64_t page = (state >> 33) % s.f.used,
				       at = (state >> 17) % (round % 2 ? 96 : 512);
			const uint64_t value = (state >> 40) % 5 ? (state >> 50) % 20 : state >> 56;
			le(page_at(&s.f, page) + (at < 504 ? at : 504), value, 1 + (state >> 60) % 8);
		}
		seal_both(&s);
		survive(s.f.at, s.f.n);
		memcpy(s.f.at, whole, s.f.n);
	}
	free(whole);
	file_free(&s.f);
}

/* ---- a disk that fails ---- */

static struct sample on_disk;
static unsigned reads_left;

static enum rc failing_read(const struct src *src, uint64_t off, void *buf, size_t n, struct err *e)
{
	(void)src;
	errno = EIO;
	if (reads_left-- == 0)
		return fail(e, RC_IO, "read");
	memcpy(buf, on_disk.f.at + off, n);
	return RC_OK;
}

/* Not being able to look is never damage. */
static void unreadable(void)
{
	on_disk = sample(16384);
	const struct src src = {.size = on_disk.f.n, .read_at = failing_read, .fd = -1};
	enum rc rc = RC_IO;
	unsigned n = 0;

	for (; rc != RC_OK && n < 1000; n++) {
		struct arena scratch = arena;
		struct bolt_fault fault;
		struct bolt_stats stats;
		struct err e = {0};
		struct bolt b;
		reads_left = n;
		rc = bolt_open(&b, &src, &scratch, &fault, &e);
		if (!rc)
			rc = bolt_check(&b, scratch, &stats, &fault, &e);
		CHECK(rc == RC_OK || (rc == RC_IO && e.sys_errno == EIO && fault.kind == BOLT_SOUND));
	}
	CHECK(rc == RC_OK && n > 5);
	file_free(&on_disk.f);
}

static void too_large(void)
{
	struct arena scratch = arena;
	struct bolt_fault fault;
	struct err e = {0};
	struct bolt b;
	struct src src = src_of_memory("", 0);

	src.size = LIMIT_BOLT_BYTES + 1;
	CHECK(bolt_open(&b, &src, &scratch, &fault, &e) == RC_LIMIT);
}

static enum rc tell_to_stop(void *self, struct err *e)
{
	(void)self;
	return fail(e, RC_STOPPED, "told to stop");
}

static void whoever_is_told_to_stop_reads_no_further(void)
{
	struct sample whole = sample(4096);
	const struct src src = src_of_memory(whole.f.at, whole.f.n);
	struct pace pace = {.ask = tell_to_stop};
	struct arena scratch = arena;
	struct bolt_fault fault;
	struct bolt_stats stats;
	struct err e = {0};
	struct bolt b;

	CHECK(bolt_open(&b, &src, &scratch, &fault, &e) == RC_OK && !b.pace);
	b.pace = &pace;
	CHECK(bolt_check(&b, scratch, &stats, &fault, &e) == RC_OK && pace.done > 0); /* so little is not worth a question */
	pace.done = PACE_WORK - 1;
	CHECK(bolt_check(&b, scratch, &stats, &fault, &e) == RC_STOPPED && e.rc == RC_STOPPED && fault.kind == BOLT_SOUND);
	pace.done = PACE_WORK - 1;
	CHECK(walk(&b, scratch) == RC_STOPPED);
	file_free(&whole.f);
}

int main(void)
{
	struct err e = {0};

	if (arena_open(&arena, &e))
		return 1;
	RUN(known_checksums);
	RUN(known_first_page);
	RUN(known_inline_bucket);
	RUN(sample_is_read);
	RUN(meta_choice);
	RUN(meta_torn);
	RUN(meta_damage);
	RUN(page_sizes);
	RUN(damage);
	RUN(legal);
	RUN(most_elements);
	RUN(longest_keys);
	RUN(cycle);
	RUN(deep);
	RUN(every_truncation);
	RUN(every_byte);
	RUN(random_damage);
	RUN(unreadable);
	RUN(too_large);
	RUN(whoever_is_told_to_stop_reads_no_further);
	arena_close(&arena);
	return test_failed != 0;
}
