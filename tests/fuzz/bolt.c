/* SPDX-License-Identifier: MIT */
/* Any bytes as a database: opened, checked, walked, and, where the check finds nothing, edited. An input is a byte that
 * says how, then either the file itself or changes of a sound one, each of three bytes: where (2), and what. */
#include "format/bolt_edit.h"

#include "../unit/bolt_file.h"
#include "steps.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* Every bucket met, one after the other, up to 64 of them and 5000 elements. */
static enum rc walk(struct bolt *b, struct arena scratch, struct arena keep)
{
	struct bolt_bucket todo[64] = {bolt_root(b)};
	size_t count = 1, steps = 0;

	for (size_t i = 0; i < count; i++) {
		struct arena level = scratch;
		struct bolt_cursor *c;
		struct bolt_item item;
		struct err e = {0};
		enum rc rc = bolt_cursor_open(b, &todo[i], &level, &c, &e);
		while (!rc && steps++ < 5000 && !(rc = bolt_cursor_next(c, &item, &e))) {
			struct arena lookup = keep;
			struct bolt_item found;
			if (!(rc = bolt_get(b, &todo[i], item.key, &lookup, &found, &e)) && item.is_bucket &&
				count < 64) {
				const struct bolt_item kept = {item.key, arena_copy(&keep, item.value), true};
				rc = bolt_bucket_of(&kept, &todo[count]);
				count += !rc;
			}
		}
		if (rc && rc != RC_END)
			return rc;
	}
	return RC_OK;
}

static void examine(const uint8_t *file, size_t n, struct arena scratch, struct arena keep)
{
	const struct src src = src_of_memory(file, n);
	const struct bolt_path path = {{SPAN_LITERAL("outer"), SPAN_LITERAL("b"), SPAN_LITERAL("c")}, 3};
	struct bolt_fault fault;
	struct bolt_stats stats;
	struct bolt_image image;
	struct bolt_edit *t;
	struct err e = {0};
	struct bolt b;

	steps_begin();
	if (bolt_open(&b, &src, &scratch, &fault, &e)) {
		steps_end(n, 100, 20000);
		return;
	}
	const enum rc checked = bolt_check(&b, scratch, &stats, &fault, &e);
	steps_end(n, 100, 20000);
	const enum rc walked = walk(&b, scratch, keep);
	if (checked == RC_OK && walked == RC_CORRUPT)
		abort();
	e = (struct err){0};
	if (bolt_edit_begin(&t, &b, &scratch, &e) || bolt_edit_put(t, &path, SPAN_LITERAL("d"), &e))
		return;
	const enum rc made = bolt_edit_make(t, &image, &e);
	if (checked == RC_OK && made == RC_CORRUPT)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct arena scratch, keep;
	static struct sample sound;
	struct err e = {0};

	if (!scratch.region && (arena_open(&scratch, &e) || arena_open(&keep, &e)))
		abort();
	if (!sound.f.at)
		sound = sample(512);
	if (n == 0)
		return 0;
	const bool is_patch = data[0] & 1;
	struct file f = {.n = is_patch ? sound.f.n : n - 1, .page_size = 512};
	f.at = malloc(f.n + 1);
	memcpy(f.at, is_patch ? sound.f.at : data + 1, f.n);
	for (size_t i = 1; is_patch && i + 3 <= n; i += 3)
		f.at[((size_t)data[i] | (size_t)data[i + 1] << 8) % f.n] = data[i + 2];
	if (data[0] & 2 && f.n >= 2 * f.page_size) {
		seal(&f, 0);
		seal(&f, 1);
	}
	examine(f.at, f.n, scratch, keep);
	free(f.at);
	return 0;
}
