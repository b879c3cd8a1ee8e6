/* SPDX-License-Identifier: MIT */
/* What a store holds, for show. */
#include <stdarg.h>
#include <unistd.h>
#include <stdlib.h>

#include "ground/os.h"
#include "memory/journal.h"
#include "memory/own.h"
#include "policy/policy.h"
#include "repair/salvage.h"
#include "tell/runs.h"
#include "tell/sink.h"

/* ---- show ---- */

struct view {
	const struct store *store;
	const struct survey *survey;
	struct digest *awaited; /* what downloads that are here are to become, in order */
	size_t awaited_count;
	size_t *shown; /* by blob: 1 + the last namespace in which this manifest was shown; NULL: no memory */
	struct err *e; /* why it ended early */
};

/* Whether there is time for one more line of an image: names times indexes times layers are many; of all else each is a line. */
static bool go_on(const struct view *v)
{
	return !v->e->rc && pace_on(v->store->hints->pace, 4 * PACE_STEP, v->e) == RC_OK;
}

/* Without memory they are not told apart from what is nowhere. */
static void list_awaited(struct view *v, struct arena *a)
{
	v->awaited = arena_array(a, v->store->ingest_count + 1, sizeof(*v->awaited));
	for (size_t i = 0; v->awaited && i < v->store->ingest_count; i++)
		if (v->store->ingests[i].expected && v->store->ingests[i].has_data)
			v->awaited[v->awaited_count++] = *v->store->ingests[i].expected;
	if (v->awaited_count)
		sort(v->awaited, v->awaited_count, sizeof(*v->awaited), digest_order);
}

static const char *whereabouts(const struct view *v, const struct digest *d, size_t blob, size_t record)
{
	if (blob != STORE_NONE)
		return record == STORE_NONE ? "file, and no record" : "local";
	if (v->awaited_count && bsearch(d, v->awaited, v->awaited_count, sizeof(*d), digest_order))
		return "download not finished";
	return record == STORE_NONE ? "not local" : "record, and no file";
}

static void show_snapshot(struct sink *s, const struct store *st, size_t ns, const struct digest *chain)
{
	char text[DIGEST_TEXT_BYTES];

	digest_format(chain, text);
	const size_t i = store_find_snapshot(st, ns, span_of_string(text));
	if (i == STORE_NONE) {
		puts_to(s, "not unpacked");
		return;
	}
	const size_t b = st->snapshots[i].backend;
	if (b == STORE_NONE)
		puts_to(s, "snapshot in meta.db only");
	else
		putf(s, "snapshot %s%s", st->backends[b].dir, st->backends[b].dir_found ? "" : ", its directory is not there");
}

static void show_blob(struct sink *s, const struct view *v, size_t ns, const struct oci_descriptor *d)
{
	const struct store *const st = v->store;
	char text[DIGEST_TEXT_BYTES];

	if (!d->digest_known) {
		puts_to(s, "unknown digest");
		return;
	}
	digest_format(&d->digest, text);
	const size_t blob = store_find_blob(st, &d->digest);
	const size_t record = store_find_content(st, ns, &d->digest);
	putf(s, "%.19s  %s  %s", text, blob == STORE_NONE ? size_text(d->size).text : size_text(st->blob_files[blob].size).text,
		whereabouts(v, &d->digest, blob, record));
}

static const struct oci_doc *doc_of(const struct view *v, const struct oci_descriptor *d)
{
	const size_t blob = d->digest_known ? store_find_blob(v->store, &d->digest) : STORE_NONE;
	return blob == STORE_NONE ? NULL : v->survey->blobs[blob].doc;
}

/* What a manifest names, once in a namespace: names and indexes may lead to it as often as they like. */
static void show_manifest(struct sink *s, const struct view *v, size_t ns, const struct oci_descriptor *d, const char *indent)
{
	const size_t blob = d->digest_known ? store_find_blob(v->store, &d->digest) : STORE_NONE;
	const struct oci_doc *const m = blob == STORE_NONE ? NULL : v->survey->blobs[blob].doc;
	struct digest chain;
	size_t layer = 0;

	if (!m || m->kind != OCI_MANIFEST || d->attestation) {
		puts_to(s, d->attestation ? "  (attestation)\n" : "\n");
		return;
	}
	if (v->shown && v->shown[blob] == ns + 1) {
		puts_to(s, "  (as above)\n");
		return;
	}
	if (v->shown)
		v->shown[blob] = ns + 1;
	const struct oci_doc *const config = doc_of(v, &m->config);
	putf(s, "\n%sconfig    ", indent);
	show_blob(s, v, ns, &m->config);
	puts_to(s, "\n");
	for (size_t i = 0; i < m->child_count && go_on(v); i++) {
		putf(s, "%slayer     ", indent);
		show_blob(s, v, ns, &m->children[i]);
		if (oci_is_layer(&m->children[i]) && config && config->kind == OCI_CONFIG &&
			layer < config->diff_id_count) {
			oci_chain_id(layer ? &chain : NULL, &config->diff_ids[layer], &chain);
			layer++;
			puts_to(s, "  ->  ");
			show_snapshot(s, v->store, ns, &chain);
		}
		puts_to(s, "\n");
	}
}

static void show_image(struct sink *s, const struct view *v, size_t index)
{
	const struct image *const image = &v->store->images[index];
	const struct oci_descriptor target = {.digest = image->target, .digest_known = image->target_known};
	const struct oci_doc *const doc = doc_of(v, &target);

	puts_to(s, "  image       ");
	put_escaped(s, image->name);
	puts_to(s, "\n    ");
	puts_to(s, doc && doc->kind == OCI_INDEX ? "index     " : "manifest  ");
	show_blob(s, v, image->ns, &target);
	show_manifest(s, v, image->ns, &target, "      ");
	for (size_t i = 0; doc && doc->kind == OCI_INDEX && i < doc->child_count && go_on(v); i++) {
		puts_to(s, "      manifest  ");
		show_blob(s, v, image->ns, &doc->children[i]);
		show_manifest(s, v, image->ns, &doc->children[i], "        ");
	}
}

static void show_namespace(struct sink *s, const struct view *v, size_t index)
{
	static const char kinds[][10] = {"", "view", "active", "committed"};
	const struct store *const st = v->store;
	const struct namespace *const ns = &st->namespaces[index];

	puts_to(s, "namespace ");
	put_escaped(s, ns->name);
	puts_to(s, "\n");
	for (size_t i = ns->images.first; i < ns->images.first + ns->images.count && go_on(v); i++)
		show_image(s, v, i);
	for (size_t i = ns->snapshots.first; i < ns->snapshots.first + ns->snapshots.count; i++) {
		const struct snapshot *const snapshot = &st->snapshots[i];
		const struct backend *const b = snapshot->backend == STORE_NONE ? NULL : &st->backends[snapshot->backend];
		if (b && b->kind == SNAPSHOT_COMMITTED && span_starts(snapshot->key, "sha256:"))
			continue; /* with its image */
		puts_to(s, "  snapshot    ");
		put_escaped(s, snapshot->key);
		putf(s, "  %s, directory %s%s\n", b ? kinds[b->kind] : "in meta.db only", b ? b->dir : "-",
			b && b->dir_found ? "" : " (not there)");
	}
	for (size_t i = ns->containers.first; i < ns->containers.first + ns->containers.count; i++) {
		puts_to(s, "  container   ");
		put_escaped(s, st->containers[i].id);
		puts_to(s, "  of image ");
		put_escaped(s, st->containers[i].image);
		puts_to(s, "\n");
	}
	for (size_t i = ns->leases.first; i < ns->leases.first + ns->leases.count; i++) {
		const struct span *const expire = labels_get(&st->leases[i].labels, "containerd.io/gc.expire");
		puts_to(s, "  lease       ");
		put_escaped(s, st->leases[i].id);
		puts_to(s, expire ? "  expires " : "  without expiry");
		if (expire)
			put_escaped(s, *expire);
		const struct lease_facts facts = store_lease_facts(st, &st->leases[i]);
		puts_to(s, policy_lease(&facts).problem != P_COUNT ? "  (of an earlier boot)\n" : "\n");
	}
	for (size_t i = ns->ingests.first; i < ns->ingests.first + ns->ingests.count; i++) {
		const struct ingest_record *const r = &st->ingest_records[i];
		puts_to(s, "  download    ");
		put_escaped(s, r->client_ref);
		if (r->dir == STORE_NONE)
			puts_to(s, "  no data\n");
		else if (st->ingests[r->dir].total)
			putf(s, "  %s of %s\n", size_text(st->ingests[r->dir].data_size).text, size_text(st->ingests[r->dir].total).text);
		else
			putf(s, "  %s\n", size_text(st->ingests[r->dir].data_size).text);
	}
}

static void show_journal(struct sink *s, const struct outcome *o)
{
	auto_fd own = -1;
	struct arena scratch = *o->store->keep;
	struct journal j = {0};
	struct err ignored = {0};

	if (os_open_dir(o->store->dir, STORE_OWN_DIR, &own, &ignored) || journal_read(&j, own, &scratch, &ignored))
		return;
	if (!j.present) {
		puts_to(s, "journal: ");
		put_sentence(s, j.absent);
		puts_to(s, "\n");
		return;
	}
	putf(s, "journal: vouches for %zu blobs and %zu snapshots, doubts %zu; %s\n", j.blob_count, j.snapshot_count,
		j.blob_doubt_count + j.snapshot_doubt_count,
		j.clean			   ? "the last stop was clean"
		: !*j.boot_id		   ? "sealed, and not clean"
		: !j.done		   ? "a check began and did not end"
		: j.mode == JOURNAL_CLEAN  ? "in use since a clean stop"
		: j.mode == JOURNAL_SKIPPED ? "in use, the check was left out"
					   : "in use since a check");
	if (j.unfinished)
		putf(s, "journal: %u %s in a row did not end\n", j.unfinished, plural(j.unfinished, "check", "checks"));
}

static void show_aside(struct sink *s, const struct outcome *o)
{
	for (size_t k = 0; k < OWN_ASIDES; k++) {
		struct arena scratch = *o->store->keep;
		struct os_name *names = NULL;
		struct err ignored = {0};
		auto_fd aside = -1;
		size_t count = 0;
		if (store_open_path(o->store, own_aside_paths[k], &aside, &ignored) ||
			os_list(aside, &scratch, &names, &count, &ignored))
			continue;
		for (size_t i = 0; i < count; i++) {
			puts_to(s, "set aside     ");
			put_escaped(s, span_of_string(names[i].name));
			puts_to(s, "\n");
		}
	}
}

/* What a broken database could be made of, or a person go back to. */
static void show_copies(struct sink *s, const struct outcome *o)
{
	struct salvage_copy copies[SALVAGE_COPIES_MAX];
	const int64_t now_s = (int64_t)(os_calendar_ns() / 1000000000u);
	struct arena scratch = *o->store->keep;
	struct err ignored = {0}; /* what cannot be listed is not */
	size_t count = 0;

	if (salvage_copies(o->store, copies, &count, scratch, &ignored))
		return;
	for (size_t i = 0; i < count; i++) {
		const struct salvage_copy *const c = &copies[i];
		const long long minutes = (now_s - c->made_s) / 60;
		putf(s, "copy          backup/%s  ", c->name);
		if (!c->sound) {
			puts_to(s, "unsound, or of another store\n");
			continue;
		}
		putf(s, "%lld h %lld min old, txid %llu: ", minutes / 60, minutes % 60, (unsigned long long)c->txid);
		if (c->is_meta)
			putf(s, "%zu %s, %zu %s, ", c->images, plural(c->images, "image", "images"), c->containers,
				plural(c->containers, "container", "containers"));
		putf(s, "%zu %s\n", c->snapshots, plural(c->snapshots, "snapshot", "snapshots"));
	}
}

enum rc report_show(const struct outcome *o, const struct report_options *options, struct err *e)
{
	struct err ignored = {0};
	struct sink s = {.out = options->out ? options->out : STDOUT_FILENO, .e = &ignored};
	const struct store *const st = o->store;
	struct view v = {.store = st, .survey = o->survey, .e = e};
	struct arena scratch = *st->keep;

	if (o->survey->halted) { /* of the rest nothing is known */
		show_copies(&s, o);
		sink_flush(&s);
		return RC_OK;
	}
	list_awaited(&v, &scratch);
	v.shown = arena_array(&scratch, st->blob_count + 1, sizeof(*v.shown));
	put_escaped(&s, span_of_string(o->root));
	putf(&s, "  schema %llu, meta.db txid %llu, metadata.db txid %llu, last snapshot id %llu\n",
		(unsigned long long)st->schema,
		(unsigned long long)(st->meta.sound ? st->meta.bolt.meta[st->meta.bolt.current].txid : 0),
		(unsigned long long)(st->overlay.sound ? st->overlay.bolt.meta[st->overlay.bolt.current].txid : 0),
		(unsigned long long)st->overlay_sequence);
	for (size_t i = 0; i < st->namespace_count; i++)
		show_namespace(&s, &v, i);
	for (size_t i = 0; i < st->ingest_count; i++)
		if (st->ingests[i].record == STORE_NONE) {
			puts_to(&s, "download without record  ");
			put_escaped(&s, st->ingests[i].name);
			putf(&s, "  %s\n", size_text(st->ingests[i].data_size).text);
		}
	for (size_t i = 0; i < st->backend_count; i++)
		if (st->backends[i].snapshot == STORE_NONE) {
			puts_to(&s, "snapshot in metadata.db only  ");
			put_escaped(&s, st->backends[i].key);
			putf(&s, "  directory %s\n", st->backends[i].dir);
		}
	if (e->rc) {
		puts_to(&s, "not all is shown\n");
		sink_flush(&s);
		return e->rc;
	}
	show_aside(&s, o);
	show_copies(&s, o);
	show_journal(&s, o);
	sink_flush(&s);
	struct runs_root *const last = arena_get(&scratch, sizeof(*last));
	if (last) {
		last->path = o->root;
		runs_read(last, scratch);
		(void)runs_tell(last, 1, s.out, false, true, &ignored); /* a console that is gone cannot be told so */
	}
	return RC_OK;
}
