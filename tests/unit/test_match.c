/* SPDX-License-Identifier: MIT */
/* Chain IDs: which layer is that of which snapshot, and what is left open. */
#include "check/match.h"

#include <stdlib.h>
#include <string.h>

#include "format/oci.h"
#include "test.h"

#define LAYERS 4

static struct arena arena;
static struct store st;
static struct namespace namespaces[2];
static struct snapshot snapshots[24];
static struct backend backends[24];
static struct blob blobs[LAYERS + 1];
static struct digest diffs[LAYERS];
static bool is_open[24];
static bool stop;

static bool over(const void *self)
{
	(void)self;
	return stop;
}

static struct digest digest_of(const char *text)
{
	struct digest d;
	struct hash h;

	hash_begin(&h, DIGEST_SHA256);
	hash_add(&h, text, strlen(text));
	hash_end(&h, &d);
	return d;
}

static struct span text_of(const struct digest *d)
{
	char text[DIGEST_TEXT_BYTES];

	digest_format(d, text);
	return arena_copy(&arena, span_of_string(text));
}

static struct digest chain_of(const struct digest *parent, const struct digest *diff)
{
	struct digest chain;

	oci_chain_id(parent, diff, &chain);
	return chain;
}

/* A committed snapshot of this name, last in its namespace. */
static size_t add(size_t ns, struct digest chain, const struct digest *parent)
{
	const size_t i = st.backend_count++;
	const struct span key = text_of(&chain), below = parent ? text_of(parent) : (struct span){0};

	snapshots[i] = (struct snapshot){.ns = ns, .key = key, .parent = below, .backend = i};
	backends[i] = (struct backend){
		.user_key = key, .parent = below, .kind = SNAPSHOT_COMMITTED, .snapshot = i, .parent_index = STORE_NONE};
	if (!namespaces[ns].snapshots.count)
		namespaces[ns].snapshots.first = i;
	namespaces[ns].snapshots.count++;
	st.snapshot_count++;
	is_open[i] = true;
	return i;
}

static void begin(struct match *m)
{
	struct err e = {0};

	memset(namespaces, 0, sizeof(namespaces));
	st = (struct store){.namespaces = namespaces, .namespace_count = 2, .snapshots = snapshots, .backends = backends,
		.blob_files = blobs, .blob_count = LAYERS + 1};
	for (size_t i = 0; i < LAYERS; i++)
		diffs[i] = digest_of((const char[]){(char)('a' + i), 0});
	if (match_open(m, &st, &arena, &e))
		abort();
	m->chains = arena_array(&arena, 24, sizeof(*m->chains)); /* snapshots come later here */
}

static void say(struct match *m, size_t blob, const struct digest *diff)
{
	struct err e = {0};

	if (match_add(m, blob, diff, false, &e))
		abort();
}

static void resolve(struct match *m)
{
	struct err e = {0};

	match_sort(m);
	CHECK(match_resolve(m, is_open, over, NULL, &e) == RC_OK);
}

static bool proves(const struct match *m, size_t backend, size_t blob)
{
	size_t found[LIMIT_PROOFS];
	const size_t n = match_proofs(m, backend, found);

	for (size_t i = 0; i < n; i++)
		if (found[i] == blob)
			return true;
	return false;
}

/* Three layers, bottom-up, and the middle one twice, as two kinds of archive; in two namespaces. */
static void chains_without_a_manifest(void)
{
	struct match m;

	begin(&m);
	const struct digest one = chain_of(&diffs[0], &diffs[1]), two = chain_of(&one, &diffs[2]), other = chain_of(&diffs[0], &diffs[2]);
	const size_t base = add(0, diffs[0], NULL), middle = add(0, one, &diffs[0]), top = add(0, two, &one);
	const size_t beside = add(0, other, &diffs[0]);
	const size_t base_too = add(1, diffs[0], NULL), middle_too = add(1, one, &diffs[0]);
	say(&m, 0, &diffs[0]);
	say(&m, 1, &diffs[1]);
	say(&m, 4, &diffs[1]);
	say(&m, 4, &diffs[1]); /* in each namespace */
	say(&m, 2, &diffs[2]);
	resolve(&m);
	CHECK(m.layer_count == 4 && m.learnt[0] && !m.learnt[3] && !m.cut);
	CHECK(proves(&m, base, 0) && proves(&m, base_too, 0));
	CHECK(proves(&m, middle, 1) && proves(&m, middle, 4) && proves(&m, middle_too, 1) && !proves(&m, middle, 2));
	CHECK(proves(&m, top, 2) && proves(&m, beside, 2) && !proves(&m, beside, 1));
	struct digest known = {0};
	CHECK(match_diff_id(&m, top, &known) && digest_equal(&known, &diffs[2]));
}

static void what_no_layer_fits_is_left_open(void)
{
	struct match m;
	size_t found[LIMIT_PROOFS];

	begin(&m);
	const struct digest gone = digest_of("gone"), one = chain_of(&diffs[0], &gone);
	const size_t base = add(0, gone, NULL), upper = add(0, one, &diffs[0]);
	/* the databases contradict each other about what is below */
	const size_t torn = add(0, diffs[0], NULL);
	backends[torn].parent = text_of(&gone);
	const size_t half = add(0, chain_of(&diffs[0], &diffs[1]), &diffs[0]), bare = add(1, diffs[0], &gone);
	backends[half].parent = backends[bare].parent = (struct span){0};
	say(&m, 0, &diffs[0]);
	say(&m, 1, &diffs[1]);
	resolve(&m);
	CHECK(!m.chains[base].found && !m.chains[upper].found && !m.chains[torn].found);
	CHECK(!m.chains[half].found && !m.chains[bare].found);
	CHECK(match_proofs(&m, upper, found) == 0 && match_proofs(&m, torn, found) == 0);
	/* learnt later */
	say(&m, 3, &gone);
	resolve(&m);
	CHECK(proves(&m, base, 3) && proves(&m, upper, 3));
}

/* What docker commits stands on a snapshot of its container, and is named as if it stood on the image. */
static void what_is_not_named_by_a_layer_is_stepped_over(void)
{
	struct match m;

	begin(&m);
	const struct digest one = chain_of(&diffs[0], &diffs[1]), two = chain_of(&diffs[0], &diffs[2]);
	const size_t init = add(1, digest_of("init"), &diffs[0]), top = add(1, one, NULL), lost = add(1, two, NULL);
	snapshots[init].key = backends[init].user_key = SPAN_LITERAL("0-init"); /* first of its namespace, as keys are sorted */
	snapshots[top].parent = backends[top].parent = SPAN_LITERAL("0-init");
	snapshots[lost].parent = backends[lost].parent = SPAN_LITERAL("0-lost");
	backends[init].depth = 1;
	backends[top].depth = backends[lost].depth = 2;
	say(&m, 0, &diffs[0]);
	say(&m, 1, &diffs[1]);
	say(&m, 2, &diffs[2]);
	resolve(&m);
	CHECK(proves(&m, top, 1) && !m.chains[init].found && !m.chains[lost].found);
}

/* Of so many, and no more; and what stands on more is not known to have no layer here. */
static void so_many_are_stepped_over(void)
{
	for (unsigned more = 0; more < 2; more++) {
		const unsigned count = LIMIT_BETWEEN + more;
		struct match m;
		begin(&m);
		for (unsigned i = 0; i < count; i++) {
			const size_t at = add(1, digest_of("nameless"), &diffs[0]);
			snapshots[at].key = backends[at].user_key = span_of_string(arena_printf(&arena, "0-%02u", i));
			if (i)
				snapshots[at - 1].parent = backends[at - 1].parent = snapshots[at].key;
		}
		const size_t top = add(1, chain_of(&diffs[0], &diffs[1]), &diffs[0]);
		snapshots[top].parent = backends[top].parent = SPAN_LITERAL("0-00");
		say(&m, 0, &diffs[0]);
		say(&m, 1, &diffs[1]);
		resolve(&m);
		CHECK(m.chains[top].found == !more && m.chains[top].deep == more);
	}
}

/* A config tells whose a snapshot is though its layer is not here; and a chain that it does not have is nobody's. */
static void a_config_names_its_chain(void)
{
	struct match m;
	size_t found[LIMIT_PROOFS];

	begin(&m);
	const struct digest one = chain_of(&diffs[0], &diffs[1]), none = digest_of("none");
	const size_t upper = add(0, one, &diffs[0]);
	match_name(&m, 0, &one, &diffs[1]);
	match_name(&m, 0, &none, &diffs[2]);
	match_name(&m, 1, &one, &diffs[1]);
	resolve(&m);
	CHECK(m.chains[upper].found && match_proofs(&m, upper, found) == 0 && m.pairs == 0);
	say(&m, 1, &diffs[1]);
	resolve(&m);
	CHECK(proves(&m, upper, 1));
}

static void one_that_is_not_open_is_not_looked_for(void)
{
	struct match m;

	begin(&m);
	const struct digest one = chain_of(&diffs[0], &diffs[1]);
	const size_t upper = add(0, one, &diffs[0]);
	is_open[upper] = false;
	say(&m, 1, &diffs[1]);
	resolve(&m);
	CHECK(!m.chains[upper].found && m.pairs == 0);
}

static void the_work_is_bounded(void)
{
	struct match m;

	begin(&m);
	const struct digest one = chain_of(&diffs[0], &diffs[2]);
	const size_t upper = add(0, one, &diffs[0]);
	for (size_t i = 0; i < 3; i++)
		say(&m, i, &diffs[i]);
	m.pairs = LIMIT_CHAIN_PAIRS;
	resolve(&m);
	CHECK(m.cut && !m.chains[upper].found);
	m.cut = false;
	m.pairs = 1023; /* asked at each 1024th */
	stop = true;
	resolve(&m);
	stop = false;
	CHECK(m.cut);
}

static void proofs_are_bounded_and_hashed_with_sha256(void)
{
	struct match m;
	size_t found[LIMIT_PROOFS];
	struct digest wide = {.kind = DIGEST_SHA512};

	begin(&m);
	const size_t base = add(0, diffs[0], NULL);
	say(&m, 0, &wide);
	CHECK(m.layer_count == 0);
	for (size_t i = 0; i < 100; i++) {
		struct match_layer *const l = arena_push(&arena, (void **)&m.layers, &m.layer_count, sizeof(*l));
		*l = (struct match_layer){diffs[0], i};
	}
	resolve(&m);
	CHECK(match_proofs(&m, base, found) == LIMIT_PROOFS);
}

int main(void)
{
	struct err e = {0};

	if (arena_open(&arena, &e))
		return 1;
	RUN(chains_without_a_manifest);
	RUN(what_no_layer_fits_is_left_open);
	RUN(what_is_not_named_by_a_layer_is_stepped_over);
	RUN(so_many_are_stepped_over);
	RUN(a_config_names_its_chain);
	RUN(one_that_is_not_open_is_not_looked_for);
	RUN(the_work_is_bounded);
	RUN(proofs_are_bounded_and_hashed_with_sha256);
	return test_failed != 0;
}
