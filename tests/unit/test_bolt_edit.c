/* SPDX-License-Identifier: MIT */
/* Edits of a small database that was written page by page, and what a power cut leaves of them. Edits of
 * bbolt's own databases, and what bbolt says of the results, are in tests/differential. */
#include "format/bolt_edit.h"

#include <errno.h>
#include <stdarg.h>

#include "bolt_file.h"
#include "test.h"

static struct arena arena;

/* "tree/apple": slashes part the names. */
static struct bolt_path path_of(const char *text)
{
	struct bolt_path path = {0};

	for (;;) {
		const size_t n = strcspn(text, "/");
		path.part[path.count++] = span_of(text, n);
		if (!text[n])
			return path;
		text += n + 1;
	}
}

struct edit {
	struct arena scratch;
	struct bolt b;
	struct bolt_edit *t;
	struct bolt_image image;
	struct err e;
	struct src src;
};

static void edit_open(struct edit *x, const struct file *f)
{
	struct bolt_fault fault;

	*x = (struct edit){.scratch = arena, .src = src_of_memory(f->at, f->n)};
	CHECK(bolt_open(&x->b, &x->src, &x->scratch, &fault, &x->e) == RC_OK);
	CHECK(bolt_edit_begin(&x->t, &x->b, &x->scratch, &x->e) == RC_OK);
}

static enum rc put(struct edit *x, const char *path, const char *value)
{
	const struct bolt_path p = path_of(path);
	struct err e = {0};
	return bolt_edit_put(x->t, &p, span_of_string(value), &e);
}

static enum rc take(struct edit *x, const char *path)
{
	const struct bolt_path p = path_of(path);
	struct err e = {0};
	return bolt_edit_remove(x->t, &p, &e);
}

static enum rc bucket(struct edit *x, const char *path)
{
	const struct bolt_path p = path_of(path);
	struct err e = {0};
	return bolt_edit_make_bucket(x->t, &p, &e);
}

static enum rc raise_to(struct edit *x, const char *path, uint64_t at_least)
{
	const struct bolt_path p = path_of(path);
	struct err e = {0};
	return bolt_edit_raise_sequence(x->t, &p, at_least, &e);
}

static void make(struct edit *x)
{
	CHECK(bolt_edit_make(x->t, &x->image, &x->e) == RC_OK);
	if (x->e.rc)
		printf("# %s\n", x->e.text);
}

/* What the caller of bolt_edit_make does to the file, in its order, up to `cut` bytes of the meta page. */
static void write_image(struct file *f, const struct bolt_image *image, size_t cut)
{
	if (!image->changed)
		return;
	if (image->file_bytes > f->n) {
		f->at = realloc(f->at, (size_t)image->file_bytes);
		memset(f->at + f->n, 0, (size_t)image->file_bytes - f->n);
		f->n = (size_t)image->file_bytes;
	}
	memcpy(f->at + image->append_at, image->append.at, image->append.left);
	memcpy(f->at + image->meta_at, image->meta_page.at,
		cut < image->meta_page.left ? cut : image->meta_page.left);
}

/* A database as a text: "key=value" or "name{...}@sequence", in order; a long value as its length. */
static void describe(struct bolt *b, struct bolt_bucket top, struct arena scratch, char *out, size_t cap)
{
	static struct {
		struct bolt_cursor *cursor;
		uint64_t sequence;
	} stack[16];
	struct bolt_item item;
	struct err e = {0};
	size_t depth = 1, used = 0;

	out[0] = 0;
	if (bolt_cursor_open(b, &top, &scratch, &stack[0].cursor, &e))
		return;
	while (depth && used + 200 < cap) {
		if (bolt_cursor_next(stack[depth - 1].cursor, &item, &e)) {
			depth--;
			if (depth)
				used += (size_t)snprintf(
					out + used, cap - used, "}@%d ", (int)stack[depth].sequence);
			continue;
		}
		used += (size_t)snprintf(
			out + used, cap - used, "%.*s", (int)item.key.left, (const char *)item.key.at);
		if (!item.is_bucket && item.value.left > 40) {
			used += (size_t)snprintf(out + used, cap - used, "=#%zu ", (size_t)item.value.left);
		} else if (!item.is_bucket) {
			used += (size_t)snprintf(out + used, cap - used, "=%.*s ", (int)item.value.left,
				(const char *)item.value.at);
		} else {
			const struct bolt_item kept = {item.key, arena_copy(&scratch, item.value), true};
			struct bolt_bucket below;
			used += (size_t)snprintf(out + used, cap - used, "{");
			if (bolt_bucket_of(&kept, &below) || depth == 16 ||
				bolt_cursor_open(b, &below, &scratch, &stack[depth].cursor, &e))
				return;
			stack[depth++].sequence = below.sequence;
		}
	}
	if (used)
		out[used - 1] = 0;
}

#define SAMPLE_TEXT                                                                                          \
	"empty{}@3 inline{a=1 zero= }@42 large{key=value large=#3000 }@0 outer{inner{x=y }@7 plain=value "   \
	"}@5 "                                                                                               \
	"tree{apple=1 banana=22 cherry=333 date= elderberry=5 fig=6 grape=7 hazelnut=8 i=9 }@99"

static void file_text(const struct file *f, char *out, size_t cap)
{
	struct arena scratch = arena;
	enum bolt_fault_kind kind;
	struct bolt_stats stats;
	struct bolt b;

	if (look(f->at, f->n, &scratch, &b, &stats, &kind))
		(void)snprintf(out, cap, "unsound: %d", kind);
	else
		describe(&b, bolt_root(&b), scratch, out, cap);
}

static bool text_is(const struct file *f, const char *expected)
{
	char text[4096];

	file_text(f, text, sizeof(text));
	if (strcmp(text, expected) != 0)
		printf("# %s\n# expected %s\n", text, expected);
	return strcmp(text, expected) == 0;
}

/* ---- the operations ---- */

static void nothing_changes(void)
{
	struct sample s = sample(512);
	struct edit x;

	CHECK(text_is(&s.f, SAMPLE_TEXT));
	edit_open(&x, &s.f);
	CHECK(take(&x, "tree/nothing") == RC_OK && take(&x, "nothing/at/all") == RC_OK &&
		take(&x, "nothing") == RC_OK);
	CHECK(take(&x, "tree/apple/below") == RC_OK && take(&x, "outer/inner/z") == RC_OK);
	CHECK(put(&x, "tree/apple", "1") == RC_OK && put(&x, "inline/a", "1") == RC_OK &&
		bucket(&x, "outer/inner") == RC_OK);
	CHECK(raise_to(&x, "outer", 5) == RC_OK && raise_to(&x, "outer/inner", 1) == RC_OK);
	make(&x);
	CHECK(!x.image.changed && x.image.append.left == 0 && x.image.meta_page.left == 0);
	file_free(&s.f);
}

static void all_operations(void)
{
	struct sample s = sample(512);
	struct edit x;

	edit_open(&x, &s.f);
	CHECK(put(&x, "tree/blueberry", "new") == RC_OK && put(&x, "tree/grape", "replaced") == RC_OK);
	CHECK(take(&x, "tree/apple") == RC_OK && take(&x, "tree/elderberry") == RC_OK &&
		take(&x, "large") == RC_OK);
	CHECK(put(&x, "outer/inner/x2", "z") == RC_OK && raise_to(&x, "outer/inner", 70) == RC_OK);
	CHECK(put(&x, "new/a/b/c", "deep") == RC_OK && bucket(&x, "new/a/empty") == RC_OK);
	CHECK(take(&x, "inline/a") == RC_OK && raise_to(&x, "inline", 41) == RC_OK &&
		raise_to(&x, "new/a", 12) == RC_OK);
	make(&x);
	CHECK(x.image.changed && x.image.append_at == s.f.used * 512 && x.image.append.left % 512 == 0);
	write_image(&s.f, &x.image, SIZE_MAX);
	CHECK(text_is(&s.f,
		"empty{}@3 inline{zero= }@42 new{a{b{c=deep }@0 empty{}@0 }@12 }@0 "
		"outer{inner{x=y x2=z }@70 plain=value }@5 "
		"tree{banana=22 blueberry=new cherry=333 date= fig=6 grape=replaced hazelnut=8 i=9 }@99"));

	/* once more: nothing is left to do but what was taken and put in one edit */
	edit_open(&x, &s.f);
	CHECK(put(&x, "tree/grape", "replaced") == RC_OK && take(&x, "tree/apple") == RC_OK &&
		take(&x, "large") == RC_OK);
	CHECK(raise_to(&x, "outer/inner", 70) == RC_OK && bucket(&x, "new/a/empty") == RC_OK);
	make(&x);
	CHECK(!x.image.changed);
	file_free(&s.f);
}

static void order_matters(void)
{
	struct sample s = sample(512);
	struct edit x;

	edit_open(&x, &s.f);
	CHECK(take(&x, "tree") == RC_OK &&
		put(&x, "tree/only", "one") == RC_OK); /* a new bucket: sequence 0 */
	CHECK(put(&x, "empty/k", "v") == RC_OK && take(&x, "empty/k") == RC_OK);
	CHECK(put(&x, "gone/k", "v") == RC_OK && take(&x, "gone") == RC_OK);
	CHECK(take(&x, "large") == RC_OK && put(&x, "outer/now", "value") == RC_OK);
	CHECK(put(&x, "outer/now", "later") == RC_OK && take(&x, "outer/inner") == RC_OK);
	CHECK(put(&x, "outer/inner", "a value now") == RC_OK && take(&x, "outer/plain") == RC_OK);
	CHECK(put(&x, "outer/plain/k", "a bucket now") == RC_OK);
	CHECK(put(&x, "inline/a", "2") == RC_OK && put(&x, "inline/a", "1") == RC_OK);
	make(&x);
	write_image(&s.f, &x.image, SIZE_MAX);
	CHECK(text_is(&s.f, "empty{}@3 inline{a=1 zero= }@42 outer{inner=a value now now=later "
			    "plain{k=a bucket now }@0 }@5 tree{only=one }@0"));
	file_free(&s.f);
}

/* What cannot be leaves nothing behind. */
static void refused(void)
{
	static char long_name[40000];
	struct sample s = sample(512);
	struct edit x;
	struct bolt_path path;

	edit_open(&x, &s.f);
	CHECK(put(&x, "tree/apple/core", "seed") == RC_CORRUPT && put(&x, "outer/inner", "v") == RC_CORRUPT);
	CHECK(bucket(&x, "tree/apple") == RC_CORRUPT && bucket(&x, "tree/apple/core") == RC_CORRUPT);
	CHECK(put(&x, "top", "v") == RC_CORRUPT && put(&x, "tree", "v") == RC_CORRUPT);
	CHECK(raise_to(&x, "nothing", 1) == RC_END && raise_to(&x, "outer/plain", 1) == RC_CORRUPT);
	CHECK(put(&x, "tree//x", "v") == RC_LIMIT && take(&x, "") == RC_LIMIT);
	path = path_of("a/b");
	path.count = 0;
	CHECK(bolt_edit_remove(x.t, &path, &x.e) == RC_LIMIT);
	path.count = BOLT_PATH_MAX + 1;
	CHECK(bolt_edit_remove(x.t, &path, &x.e) == RC_LIMIT);
	memset(long_name, 'n', sizeof(long_name));
	path = (struct bolt_path){{SPAN_LITERAL("tree"), span_of(long_name, 32769)}, 2};
	CHECK(bolt_edit_put(x.t, &path, SPAN_LITERAL("v"), &x.e) == RC_LIMIT);
	path.part[1].left = 5;
	CHECK(bolt_edit_put(x.t, &path, span_of(long_name, BOLT_ITEM_MAX), &x.e) == RC_LIMIT);
	x.e = (struct err){0};
	make(&x);
	CHECK(!x.image.changed);

	edit_open(&x, &s.f);
	path = (struct bolt_path){{SPAN_LITERAL("tree"), span_of(long_name, 32768)}, 2};
	CHECK(bolt_edit_put(x.t, &path, SPAN_LITERAL("v"), &x.e) == RC_OK);
	make(&x);
	write_image(&s.f, &x.image, SIZE_MAX);
	char text[65536];
	file_text(&s.f, text, sizeof(text));
	CHECK(strlen(text) > 32768);
	file_free(&s.f);
}

/* ---- form ---- */

/* bbolt's rule: header, elements, keys and values in a quarter of a page, no bucket inside. */
static void inline_or_not(void)
{
	static char value[600];

	for (size_t n = 0; n < sizeof(value); n++) {
		struct sample s = sample(1024);
		enum bolt_fault_kind kind;
		struct bolt_stats stats;
		struct bolt_bucket top, made;
		struct bolt_item item;
		struct edit x;
		struct bolt b;

		memset(value, 0, sizeof(value));
		memset(value, 'v', n);
		edit_open(&x, &s.f);
		CHECK(put(&x, "inline/a", value) == RC_OK);
		make(&x);
		write_image(&s.f, &x.image, SIZE_MAX);
		CHECK(look(s.f.at, s.f.n, &x.scratch, &b, &stats, &kind) == RC_OK);
		top = bolt_root(&b);
		CHECK(bolt_get(&b, &top, SPAN_LITERAL("inline"), &x.scratch, &item, &x.e) == RC_OK);
		CHECK(bolt_bucket_of(&item, &made) == RC_OK && made.sequence == 42);
		CHECK((made.root == 0) == (16 + 2 * 16 + 1 + 4 + n <= 256 || n == 1)); /* n == 1: a="v" */
		CHECK(bolt_get(&b, &made, SPAN_LITERAL("a"), &x.scratch, &item, &x.e) == RC_OK &&
			item.value.left == n);
		file_free(&s.f);
	}
}

static uint64_t root_of(const struct file *f, const char *path)
{
	struct arena scratch = arena;
	enum bolt_fault_kind kind;
	struct bolt_bucket at;
	struct bolt_stats stats;
	struct bolt_item item;
	struct err e = {0};
	struct bolt b;

	CHECK(look(f->at, f->n, &scratch, &b, &stats, &kind) == RC_OK);
	at = bolt_root(&b);
	const struct bolt_path p = path_of(path);
	for (unsigned i = 0; i < p.count; i++)
		if (bolt_get(&b, &at, p.part[i], &scratch, &item, &e) || bolt_bucket_of(&item, &at))
			return UINT64_MAX;
	return at.root;
}

/* Buckets beside the path of an edit keep their pages, and no byte below the high water changes but in one
 * meta. */
static void untouched(void)
{
	struct sample s = sample(512);
	struct edit x;

	edit_open(&x, &s.f);
	CHECK(put(&x, "outer/plain", "changed") == RC_OK);
	make(&x);
	CHECK(x.image.append.left == 2 * 512); /* outer and the root */
	CHECK(x.image.append_at == s.f.used * 512 && x.image.meta_at == 512);
	CHECK(x.image.file_bytes == (s.f.used + 3) * 512);
	write_image(&s.f, &x.image, SIZE_MAX);
	CHECK(root_of(&s.f, "tree") == s.branch && root_of(&s.f, "large") == s.large);
	CHECK(root_of(&s.f, "outer/inner") == s.inner && root_of(&s.f, "empty") == s.empty);
	CHECK(root_of(&s.f, "inline") == 0 && root_of(&s.f, "outer") == s.f.used);
	file_free(&s.f);

	s = sample(512); /* a file that has the room keeps its size */
	s.f.at = realloc(s.f.at, s.f.n + 8000);
	memset(s.f.at + s.f.n, 0x5a, 8000);
	s.f.n += 8000;
	edit_open(&x, &s.f);
	CHECK(put(&x, "outer/plain", "changed") == RC_OK);
	make(&x);
	CHECK(x.image.file_bytes == s.f.n && x.image.append_at == s.f.used * 512);
	file_free(&s.f);
}

/* The slot that is not current, a transaction of that slot's parity, the freelist given up, the root's
 * sequence kept. */
static void meta_rules(void)
{
	static const struct {
		uint64_t txid[2];
		unsigned slot;
		uint64_t made;
	} cases[] = {{{8, 7}, 1, 9}, {{8, 9}, 0, 10}, {{9, 8}, 1, 11}, {{8, 1001}, 0, 1002},
		{{8, 1002}, 0, 1004}, {{5, 5}, 1, 7}, {{6, 6}, 1, 7}, {{0, 1}, 0, 2}, {{1, 0}, 1, 3},
		{{8, 0}, 1, 9}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct sample s = sample(512);
		struct edit x;
		set_meta(&s.f, 0, s.root, s.freelist, s.f.used, cases[i].txid[0]);
		set_meta(&s.f, 1, s.root, s.freelist, s.f.used, cases[i].txid[1]);
		for (unsigned slot = 0; slot < 2; slot++) {
			le(page_at(&s.f, slot) + 40, 77, 8);
			seal(&s.f, slot);
		}
		if (cases[i].txid[1] == 0)
			page_at(&s.f, 1)[64] ^= 1; /* no second meta */
		edit_open(&x, &s.f);
		CHECK(put(&x, "outer/plain", "changed") == RC_OK);
		make(&x);
		if (!x.image.changed)
			continue; /* make() has told why */
		const uint8_t *const meta = x.image.meta_page.at;
		CHECK(x.image.meta_page.left == 512 && x.image.meta_at == 512 * cases[i].slot);
		CHECK(le_get(meta, 8) == cases[i].slot && le_get(meta + 8, 8) == 4 &&
			le_get(meta + 16, 4) == 0xED0CDAED);
		CHECK(le_get(meta + 20, 4) == 2 && le_get(meta + 24, 4) == 512 && le_get(meta + 28, 4) == 0);
		CHECK(le_get(meta + 40, 8) == 77 && le_get(meta + 48, 8) == UINT64_MAX);
		CHECK(le_get(meta + 56, 8) == s.f.used + 2 && le_get(meta + 64, 8) == cases[i].made);
		CHECK(le_get(meta + 72, 8) == fnv1a(meta + 16, 56));
		for (size_t k = 80; k < 512; k++)
			CHECK(meta[k] == 0);
		file_free(&s.f);
	}
}

/* Both metas' pages stay: new ones start past the higher high water. */
static void older_meta_is_kept(void)
{
	struct sample s = sample(512);
	struct edit x;

	s.f.n += 512;
	set_meta(&s.f, 1, s.root, BOLT_NO_FREELIST, s.f.used + 1, 7);
	edit_open(&x, &s.f);
	CHECK(put(&x, "outer/plain", "changed") == RC_OK);
	make(&x);
	CHECK(x.image.append_at == (s.f.used + 1) * 512);
	file_free(&s.f);

	s = sample(512);
	set_meta(&s.f, 0, s.root, s.freelist, s.f.used, UINT64_MAX - 1);
	edit_open(&x, &s.f);
	CHECK(put(&x, "outer/plain", "changed") == RC_OK);
	CHECK(bolt_edit_make(x.t, &x.image, &x.e) == RC_LIMIT && !x.image.changed);
	file_free(&s.f);
}

/* More elements than a page counts: leaves below a branch; fewer again: one leaf. */
static void many_elements(void)
{
	enum { COUNT = 131100 };
	static char names[COUNT][8];
	struct sample s = sample(4096);
	enum bolt_fault_kind kind;
	struct bolt_stats stats;
	struct bolt_path path;
	struct edit x;
	struct bolt b;

	for (unsigned round = 0; round < 3; round++) {
		edit_open(&x, &s.f);
		for (unsigned i = 0; i < COUNT; i++) {
			const unsigned shuffled = (unsigned)((uint64_t)i * 7919 % COUNT);
			(void)snprintf(names[shuffled], sizeof(names[0]), "%07u", shuffled);
			path = (struct bolt_path){
				{SPAN_LITERAL("outer"), SPAN_LITERAL("many"), span_of(names[shuffled], 7)},
				3};
			if (round == 0)
				CHECK(bolt_edit_put(x.t, &path, span_of(names[shuffled], shuffled % 8),
					      &x.e) == RC_OK);
			else if (round == 1 ? shuffled == 65534 || shuffled % 5 == 0 : shuffled % 5)
				CHECK(bolt_edit_remove(x.t, &path, &x.e) == RC_OK);
		}
		make(&x);
		write_image(&s.f, &x.image, SIZE_MAX);
		CHECK(look(s.f.at, s.f.n, &x.scratch, &b, &stats, &kind) == RC_OK);
		const uint64_t left = round == 0 ? COUNT : round == 1 ? COUNT - COUNT / 5 - 1 : 0;
		CHECK(stats.keys == 15 + left && stats.buckets == 7 && stats.depth_max == 2);
		CHECK(stats.pages_odd == 0);
	}
	CHECK(root_of(&s.f, "outer/many") == 0); /* empty: inline again */
	file_free(&s.f);
}

/* ---- a power cut ---- */

/* Whatever part of the meta page got there: the old content or the new one, never another. */
static void cuts(void)
{
	static const uint64_t txids[][2] = {{8, 7}, {8, 9}, {9, 8}};
	char before[4096], after[4096], text[4096];
	unsigned old_states = 0, new_states = 0;

	for (size_t i = 0; i < 3; i++) {
		for (size_t cut = 0; cut <= 96; cut++) {
			struct sample s = sample(512);
			struct edit x;
			set_meta(&s.f, 0, s.root, s.freelist, s.f.used, txids[i][0]);
			set_meta(&s.f, 1, s.root, s.freelist, s.f.used, txids[i][1]);
			file_text(&s.f, before, sizeof(before));
			edit_open(&x, &s.f);
			CHECK(take(&x, "tree") == RC_OK && put(&x, "inline/a", "2") == RC_OK);
			make(&x);
			struct bolt_overlay overlay;
			struct bolt_fault fault;
			struct bolt shown;
			bolt_overlay_open(&overlay, &x.src, &x.image);
			CHECK(bolt_open(&shown, &overlay.src, &x.scratch, &fault, &x.e) == RC_OK);
			describe(&shown, bolt_root(&shown), x.scratch, after, sizeof(after));
			write_image(&s.f, &x.image, cut);
			file_text(&s.f, text, sizeof(text));
			const bool is_old = strcmp(text, before) == 0, is_new = strcmp(text, after) == 0;
			CHECK(is_old != is_new && (cut < 80 || is_new) && (cut > 16 || is_old));
			old_states += is_old;
			new_states += is_new;
			file_free(&s.f);
		}
	}
	CHECK(old_states >= 3 * 72 && new_states >= 3 * 17);
}

/* ---- a disk that fails, a file that changes ---- */

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

static void unreadable(void)
{
	enum rc rc = RC_IO;
	unsigned n = 0;

	on_disk = sample(16384);
	for (; rc != RC_OK && n < 2000; n++) {
		struct edit x = {.scratch = arena};
		struct bolt_fault fault;
		const struct bolt_path inner = path_of("outer/inner/x"), large = path_of("large/key"),
				       tree = path_of("tree");
		reads_left = n;
		x.src = (struct src){.size = on_disk.f.n, .read_at = failing_read, .fd = -1};
		rc = bolt_open(&x.b, &x.src, &x.scratch, &fault, &x.e);
		if (!rc)
			rc = bolt_edit_begin(&x.t, &x.b, &x.scratch, &x.e);
		if (!rc)
			rc = bolt_edit_put(x.t, &inner, SPAN_LITERAL("w"), &x.e);
		if (!rc)
			rc = bolt_edit_remove(x.t, &large, &x.e);
		if (!rc)
			rc = bolt_edit_remove(x.t, &tree, &x.e);
		if (!rc)
			rc = bolt_edit_make(x.t, &x.image, &x.e);
		CHECK(rc == RC_OK ? x.image.changed
				  : rc == RC_IO && x.e.sys_errno == EIO && !x.image.changed);
	}
	CHECK(rc == RC_OK && n > 5);
	file_free(&on_disk.f);
}

/* A database damaged under our hands, or edited without having been checked, is not made worse. */
static void damaged_below(void)
{
	uint64_t state = 0x9e3779b97f4a7c15;
	struct sample s = sample(512);
	uint8_t *const whole = malloc(s.f.n);
	unsigned done = 0, refusals = 0;

	memcpy(whole, s.f.at, s.f.n);
	for (unsigned round = 0; round < 5000; round++) {
		struct edit x = {.scratch = arena, .src = src_of_memory(s.f.at, s.f.n)};
		const struct bolt_path paths[] = {
			path_of("tree/date"), path_of("outer/inner/x"), path_of("inline/a")};
		struct bolt_fault fault;
		enum rc rc = bolt_open(&x.b, &x.src, &x.scratch, &fault, &x.e);
		if (!rc)
			rc = bolt_edit_begin(&x.t, &x.b, &x.scratch, &x.e);
		for (unsigned i = 0; i < 4 && !rc; i++) {
			state = state * 6364136223846793005u + 1442695040888963407u;
			s.f.at[1024 + (state >> 33) % (s.f.n - 1024)] = (uint8_t)(state >> 56);
			if (i < 3)
				rc = i % 2 ? bolt_edit_remove(x.t, &paths[i], &x.e)
					   : bolt_edit_put(x.t, &paths[i], SPAN_LITERAL("put"), &x.e);
		}
		if (!rc)
			rc = bolt_edit_make(x.t, &x.image, &x.e);
		CHECK(rc != RC_NOMEM && rc != RC_END);
		done += !rc;
		refusals += rc != RC_OK;
		memcpy(s.f.at, whole, s.f.n);
	}
	CHECK(done > 100 && refusals > 100);
	free(whole);
	file_free(&s.f);
}

int main(void)
{
	struct err e = {0};

	if (arena_open(&arena, &e))
		return 1;
	RUN(nothing_changes);
	RUN(all_operations);
	RUN(order_matters);
	RUN(refused);
	RUN(inline_or_not);
	RUN(untouched);
	RUN(meta_rules);
	RUN(older_meta_is_kept);
	RUN(many_elements);
	RUN(cuts);
	RUN(unreadable);
	RUN(damaged_below);
	arena_close(&arena);
	return test_failed != 0;
}
