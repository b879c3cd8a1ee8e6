/* SPDX-License-Identifier: MIT */
/* What somebody with a network would have to fetch. */
#include <unistd.h>

#include "policy/policy.h"
#include "tell/sink.h"

static bool is_here(const struct outcome *o, const struct digest *d)
{
	const size_t blob = store_find_blob(o->store, d);
	return blob != STORE_NONE && o->survey->blobs[blob].verdict != BLOB_IS_BAD; /* what could not be read is not known to be gone */
}

/* It was here: somebody recorded it, or a file has its name. */
static bool was_here(const struct outcome *o, size_t ns, const struct digest *d)
{
	return store_find_blob(o->store, d) != STORE_NONE || store_find_content(o->store, ns, d) != STORE_NONE;
}

static bool lacks(const struct image_state *state)
{
	return state->verdict == IMAGE_NEEDS_PULL || state->damaged;
}

static void add(struct missing_list *l, struct arena *a, const struct digest *d, uint64_t size, size_t image)
{
	struct missing *const fresh = arena_push(a, (void **)&l->at, &l->count, sizeof(*fresh));

	l->no_memory |= !fresh;
	if (fresh)
		*fresh = (struct missing){*d, size, image};
}

/* Of an index that which was never here is another platform's, unless nothing of it is here; of a manifest a layer that was not kept
 * once it was unpacked, unless something of the image is wrong. */
static void add_children(struct missing_list *l, struct arena *a, const struct outcome *o, size_t image, const struct oci_doc *doc)
{
	const size_t ns = o->store->images[image].ns;
	bool all = doc->kind == OCI_INDEX || lacks(&o->plan->images[image]);

	for (size_t i = 0; doc->kind == OCI_INDEX && i < doc->child_count; i++)
		all &= !doc->children[i].digest_known || doc->children[i].attestation || !was_here(o, ns, &doc->children[i].digest);
	for (size_t i = 0; i <= doc->child_count; i++) {
		const struct oci_descriptor *const d = i ? &doc->children[i - 1] : &doc->config;
		if (d->digest_known && !d->attestation && !is_here(o, &d->digest) && (all || was_here(o, ns, &d->digest)))
			add(l, a, &d->digest, d->size, image);
	}
}

/* seen: by blob; each document is looked at once, whoever leads to it. */
static void walk(struct missing_list *l, struct arena *a, const struct outcome *o, size_t image, bool *seen)
{
	struct {
		const struct oci_doc *doc;
		size_t next;
	} stack[LIMIT_INDEX_DEPTH];
	size_t depth = 0;
	const struct digest *at = &o->store->images[image].target;

	if (!o->store->images[image].target_known)
		return;
	if (!is_here(o, at)) {
		const size_t record = store_find_content(o->store, o->store->images[image].ns, at);
		add(l, a, at, record == STORE_NONE ? 0 : o->store->contents[record].size, image);
	}
	for (;;) {
		const size_t blob = at ? store_find_blob(o->store, at) : STORE_NONE;
		const struct oci_doc *const doc = blob == STORE_NONE || seen[blob] ? NULL : o->survey->blobs[blob].doc;
		if (doc && (doc->kind == OCI_MANIFEST || doc->kind == OCI_INDEX)) {
			seen[blob] = true;
			add_children(l, a, o, image, doc);
			if (doc->kind == OCI_INDEX && depth < LIMIT_INDEX_DEPTH) {
				stack[depth].doc = doc;
				stack[depth++].next = 0;
			}
		}
		while (depth && stack[depth - 1].next == stack[depth - 1].doc->child_count)
			depth--;
		if (!depth)
			return;
		const struct oci_descriptor *const d = &stack[depth - 1].doc->children[stack[depth - 1].next++];
		at = d->digest_known ? &d->digest : NULL;
	}
}

static int by_digest(const void *a, const void *b)
{
	const struct missing *const x = a, *const y = b;
	const int order = digest_compare(&x->digest, &y->digest);

	return order ? order : (x->image > y->image) - (x->image < y->image);
}

struct missing_list missing_find(const struct outcome *o, struct arena *a)
{
	const struct store *const st = o->store;
	struct missing_list l = {0};
	bool *const seen = st && o->survey && o->plan && !o->survey->halted && !o->survey->interrupted
				   ? arena_array(a, st->blob_count + 1, sizeof(*seen))
				   : NULL;

	l.no_memory = !seen && st && o->plan;
	/* what something is wrong of leads; a name by a config is none that anything can be fetched by */
	for (unsigned pass = 0; seen && pass < 4; pass++)
		for (size_t i = 0; i < st->image_count; i++) {
			const bool right = !lacks(&o->plan->images[i]);
			if (right == (pass >= 2) && image_is_named_by_config(&st->images[i]) == (pass % 2 == 1))
				walk(&l, a, o, i, seen);
		}
	if (l.count)
		sort(l.at, l.count, sizeof(*l.at), by_digest);
	size_t kept = 0;
	for (size_t i = 0; i < l.count; i++)
		if (!kept || !digest_equal(&l.at[kept - 1].digest, &l.at[i].digest))
			l.at[kept++] = l.at[i];
	l.count = kept;
	return l;
}

bool report_missing(const struct outcome *o, const struct report_options *options)
{
	struct err ignored = {0};
	struct sink s = {.out = options->out, .e = &ignored};
	struct arena scratch = *o->store->keep;
	const struct missing_list l = missing_find(o, &scratch);
	char text[DIGEST_TEXT_BYTES];

	for (size_t i = 0; options->out && i < l.count; i++) {
		const struct image *const image = &o->store->images[l.at[i].image];
		digest_format(&l.at[i].digest, text);
		putf(&s, "%s %llu ", text, (unsigned long long)l.at[i].size);
		put_escaped(&s, o->store->namespaces[image->ns].name);
		puts_to(&s, " ");
		put_escaped(&s, image->name);
		puts_to(&s, "\n");
	}
	sink_flush(&s);
	return !l.no_memory && !o->failure && !o->survey->out_of_time && !o->survey->some_unread && !o->survey->bytes_unseen;
}
