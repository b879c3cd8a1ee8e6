/* SPDX-License-Identifier: MIT */
/* Any bytes as a broken database, mended: alone, and with a sound one beside. It ends, and what is written passes the whole check. An input
 * is a byte that says how, then either the file itself or changes of a sound one, each of three bytes: where (2), and what. */
#include "format/mend.h"

#include "../unit/bolt_file.h"
#include "steps.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct out {
	uint8_t *at;
	size_t n, cap;
};

static enum rc into_memory(void *self, uint64_t off, const void *buf, size_t n, struct err *e)
{
	struct out *const o = self;

	if (off + n > o->cap)
		return fail(e, RC_LIMIT, "too much");
	memcpy(o->at + off, buf, n);
	o->n = off + n > o->n ? (size_t)off + n : o->n;
	return RC_OK;
}

static void examine(struct bolt *broken, struct bolt *sound, struct arena scratch, struct arena writing, struct out *out)
{
	const struct bolt_sink sink = {into_memory, out};
	const struct mend_hooks hooks = {0};
	struct bolt_fault fault = {0};
	struct bolt_writer *w = NULL;
	struct bolt_stats stats;
	uint64_t sequence = 0, bytes = 0;
	struct err e = {0};
	struct bolt b;

	out->n = 0;
	enum rc rc = bolt_write_begin(&w, &sink, 512, 1, &writing, &e);
	rc = rc ? rc : mend_write(broken, sound, &hooks, w, &fault, &sequence, scratch, &e);
	rc = rc ? rc : bolt_write_end(w, sequence, &bytes, &e);
	if (rc == RC_CORRUPT)
		abort();
	if (rc)
		return;
	const struct src src = src_of_memory(out->at, out->n);
	if (bolt_open(&b, &src, &scratch, &fault, &e) || bolt_check(&b, scratch, &stats, &fault, &e))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct arena arena, other;
	static struct out out;
	struct sample s = sample(512), whole = sample(512);
	struct bolt_fault fault = {0};
	struct bolt broken, sound;
	struct err e = {0};

	if (!out.at && (arena_open(&arena, &e) || arena_open(&other, &e) || !(out.at = calloc(1, out.cap = (size_t)16 << 20))))
		abort();
	if (n) {
		struct arena scratch = arena;
		const bool is_file = data[0] & 1;
		for (size_t i = 1; !is_file && i + 3 <= n; i += 3)
			s.f.at[((size_t)data[i] << 8 | data[i + 1]) % s.f.n] = data[i + 2];
		const struct src src = is_file ? src_of_memory(data + 1, n - 1) : src_of_memory(s.f.at, s.f.n);
		const struct src beside = src_of_memory(whole.f.at, whole.f.n);
		if (bolt_open(&sound, &beside, &scratch, &fault, &e))
			abort();
		if (bolt_open_cut(&broken, &src, &scratch, &fault, &e) == RC_OK) {
			steps_begin();
			examine(&broken, NULL, scratch, other, &out);
			examine(&broken, &sound, scratch, other, &out);
			steps_end(src.size + beside.size, 400, 200000);
		}
	}
	free(s.f.at);
	free(whole.f.at);
	return 0;
}
