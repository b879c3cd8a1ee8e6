/* SPDX-License-Identifier: MIT */
/* What becomes of each image, and of its name. */
#include "policy/policy.h"
#include "repair/planner.h"

/* ---- images ---- */

/* A pull would find it there, and leave it. */
static const char damaged_stays[] = "is damaged, and could not be put right";

/* unknown: set to the rest of a sentence if neither is known. size: 0 if no document tells. */
static bool blob_is_here(
	const struct planner *w, size_t ns, const struct digest *d, uint64_t size, bool *damaged, const char **unknown)
{
	const size_t c = store_find_content(w->st, ns, d);
	const size_t blob = store_find_blob(w->st, d);

	if (blob != STORE_NONE && w->s->blobs[blob].verdict == BLOB_IS_UNREADABLE)
		*unknown = w->s->blobs[blob].passed_over ? "was not looked at: the last check ended there" : "could not be read";
	else if (blob != STORE_NONE && w->stuck_bytes[blob])
		*unknown = "could not be put into its place";
	else if (c == STORE_NONE && w->stuck_records && survey_unrecorded_in(w->s, d) == ns)
		*unknown = "has no record, and none could be written";
	if (blob == STORE_NONE && survey_may_be_found(w->s, d, c == STORE_NONE ? size : w->st->contents[c].size))
		*unknown = "may be in what could not be read";
	if (c == STORE_NONE)
		return gets_record(w, ns, d);
	/* damaged, and it stays: as good as gone */
	const bool stuck = blob != STORE_NONE && is_gone(w, blob);
	if (stuck && !w->drop_content[c])
		*unknown = damaged_stays;
	if (w->drop_content[c] || stuck)
		*damaged = true;
	return !w->drop_content[c] && !stuck;
}

static const struct oci_doc *doc_of(const struct planner *w, const struct digest *d)
{
	const size_t blob = store_find_blob(w->st, d);
	return blob == STORE_NONE ? NULL : w->s->blobs[blob].doc;
}

/* The snapshotter, other than overlayfs, that has this image's chain, or had it when that was noted: it stands in meta.db, or a label
 * of the config's record says so. NULL: none that is known. */
static const char *other_snapshotter(struct planner *w, size_t ns, const struct digest *config, const struct digest *top)
{
	/* of one record there may be very many: what is before overlayfs', then what is behind them */
	static const char prefix[] = "containerd.io/gc.ref.snapshot.", behind[] = "containerd.io/gc.ref.snapshot.overlayft";
	const struct store *const st = w->st;
	const size_t c = store_find_content(st, ns, config), foreign = top ? store_find_foreign(st, ns, top) : STORE_NONE;
	struct span name = foreign == STORE_NONE ? (struct span){0} : st->foreign[foreign].snapshotter;

	for (unsigned k = 0; !name.left && c != STORE_NONE && k < 2; k++) {
		const struct labels *const labels = &st->contents[c].labels;
		const size_t i = labels_from(labels, k ? behind : prefix);
		struct span key = i < labels->count ? labels->at[i].key : (struct span){0};
		if (!span_starts(key, prefix) || span_starts(key, SNAPSHOT_LABEL))
			continue;
		(void)span_take(&key, sizeof(prefix) - 1);
		name = key;
	}
	if (!name.left && top && st->foreign_cut)
		name = literal("other than overlayfs");
	if (!name.left)
		return NULL;
	const char *const text = arena_string(w->keep, name);
	w->no_memory |= !text;
	return text;
}

/* What is known of an image's parts in one namespace. */
struct image_facts {
	bool config_gone, config_garbled;
	const char *unknown;            /* of a blob of it */
	bool stays;                     /* a damaged layer does */
	bool paired;                    /* its config has a diff ID for each layer */
	bool lost_layer;                /* a layer's blob is, or was found damaged */
	bool left_out;                  /* a layer's blob is not here, and what it was unpacked to is */
	bool dropped, lost;             /* of its chain: records go; files are lost, and the records stay, */
	bool for_good;                  /* and no layer that can be fetched would have them */
	bool torn, blocked, stuck;      /* files are put back; are not, as containers run; or could not be */
	bool unverified, unread;        /* not compared with a layer; not even looked at */
	const char *unread_why;         /* of one of those; NULL: not known */
	bool complete;                  /* overlayfs has its whole chain */
	const char *other;              /* snapshotter that has it too, or alone */
	size_t layers, here, in_chain;
	size_t top;                     /* meta.db snapshot */
	uint64_t lost_entries, lost_bytes;
};

static void look_at_blobs(const struct planner *w, size_t ns, const struct oci_doc *m, struct image_facts *f, bool *damaged)
{
	f->config_gone = m->config.digest_known && !blob_is_here(w, ns, &m->config.digest, m->config.size, damaged, &f->unknown);
	const size_t config = f->config_gone || m->config.type != OCI_TYPE_CONFIG ? STORE_NONE : store_find_blob(w->st, &m->config.digest);
	f->config_garbled = config != STORE_NONE && w->s->blobs[config].garbled;
	for (size_t i = 0; i < m->child_count && !f->config_gone; i++) {
		const struct oci_descriptor *const d = &m->children[i];
		f->layers++;
		f->here += d->digest_known && blob_is_here(w, ns, &d->digest, d->size, &f->lost_layer, &f->unknown);
		f->stays |= f->unknown == damaged_stays;
	}
}

/* Not here, and nothing on the disk keeps containerd from fetching it. */
static bool can_be_fetched(const struct planner *w, size_t ns, const struct oci_descriptor *d)
{
	const size_t c = store_find_content(w->st, ns, &d->digest), blob = store_find_blob(w->st, &d->digest);
	const bool recorded = c == STORE_NONE ? gets_record(w, ns, &d->digest) : !w->drop_content[c];

	return d->digest_known && !recorded && !w->stuck_records && (blob == STORE_NONE || !w->stuck_blob[blob]);
}

/* comes: its layer can be fetched. */
static void look_at_snapshot(const struct planner *w, size_t s, bool comes, struct image_facts *f)
{
	const size_t b = w->st->snapshots[s].backend;
	const enum snapshot_verdict v = b != STORE_NONE		   ? w->s->snapshots[b].verdict
					: w->st->overlay_elsewhere ? SNAPSHOT_IS_UNVERIFIED
								   : SNAPSHOT_IS_LOST;

	f->in_chain++;
	if (w->drop_snapshot[s]) {
		f->dropped = true;
		return;
	}
	if (v == SNAPSHOT_IS_TORN) {
		f->torn = true;
		f->blocked |= w->st->mounted; /* plan_rebuilds does not touch it now */
		f->stuck |= w->stuck_rebuild[b] != NULL;
		f->unread |= w->s->snapshots[b].unreadable > 0;
		f->lost_entries += w->s->snapshots[b].rewrite_inodes;
		f->lost_bytes += w->s->snapshots[b].rewrite_bytes;
	}
	f->lost |= v == SNAPSHOT_IS_LOST;
	f->for_good |= v == SNAPSHOT_IS_LOST && (!comes || b == STORE_NONE);
	f->unverified |= v == SNAPSHOT_IS_UNVERIFIED;
	f->unread |= v == SNAPSHOT_IS_UNREADABLE || v == SNAPSHOT_NOT_CHECKED;
	if (b != STORE_NONE && v == SNAPSHOT_IS_UNREADABLE && !f->unread_why)
		f->unread_why = w->s->snapshots[b].why;
}

/* What a layer stands on that is of no layer itself, as that of docker commit does. Of the files in it nothing is compared. */
static void look_between(const struct planner *w, size_t ns, size_t s, struct image_facts *f)
{
	const struct image_facts before = *f;
	struct digest d;

	for (unsigned i = 0;; i++) {
		const struct span parent = w->st->snapshots[s].parent;
		if (!parent.left || digest_parse(parent, &d) == RC_OK || (s = store_find_snapshot(w->st, ns, parent)) == STORE_NONE)
			break;
		if (i == LIMIT_BETWEEN) {
			f->unread = true;
			break;
		}
		look_at_snapshot(w, s, false, f);
	}
	f->in_chain = before.in_chain;
	f->unverified = before.unverified;
}

static void look_at_chain(struct planner *w, size_t ns, const struct oci_doc *m, struct image_facts *f)
{
	const struct oci_doc *const config = m->config.type == OCI_TYPE_CONFIG ? doc_of(w, &m->config.digest) : NULL;
	struct digest chain;
	size_t layers = 0, child = 0, fetched = 0;

	f->top = STORE_NONE;
	if (!config || config->kind != OCI_CONFIG)
		return;
	for (size_t i = 0; i < m->child_count; i++)
		layers += oci_is_layer(&m->children[i]);
	f->paired = config->unpackable && config->diff_id_count && layers == config->diff_id_count;
	for (size_t i = 0; f->paired && i < config->diff_id_count; i++, child++) {
		char text[DIGEST_TEXT_BYTES];
		while (!oci_is_layer(&m->children[child]))
			child++;
		oci_chain_id(i ? &chain : NULL, &config->diff_ids[i], &chain);
		digest_format(&chain, text);
		f->top = store_find_snapshot(w->st, ns, literal(text));
		const bool comes = can_be_fetched(w, ns, &m->children[child]);
		fetched += comes;
		if (f->top == STORE_NONE)
			continue;
		look_at_snapshot(w, f->top, comes, f);
		look_between(w, ns, f->top, f);
		f->left_out |= comes && !w->drop_snapshot[f->top];
	}
	f->complete = f->top != STORE_NONE && !f->dropped && f->in_chain == layers;
	f->other = other_snapshotter(w, ns, &m->config.digest, f->paired ? &chain : NULL);
	/* some leave all layers where they are; what was here and is lost is another thing */
	f->left_out |= f->other && f->lost_layer && fetched;
}

static const char *unknown(struct planner *w, const char *what, const char *why)
{
	return why ? arena_printf(w->keep, "%s%s %s", why == damaged_stays ? "" : "unchecked: ", what, why) : NULL;
}

static const struct image_eval too_much = {.verdict = IMAGE_IS_UNVERIFIED, .why = "unchecked: what it and others lead to is too much"};

/* Whether an index or manifest is looked at for this image. The first look at each is free, and small images have steps of their own, so
 * that those that lead to much do not keep others from being looked at. */
static bool may_look(struct planner *w, size_t blob)
{
	const size_t n = w->s->blobs[blob].doc->child_count, before = w->evaluated[blob];

	w->evaluated[blob] = w->evaluation;
	w->image_steps += n;
	return !before || (w->steps[w->image_steps > LIMIT_SMALL_IMAGE] += n) <= LIMIT_IMAGE_STEPS;
}

/* Of an image's parts what becomes of it; the first row that holds says so. What was not compared is not verified: nothing else is
 * called whole or healed. */
static struct image_eval eval_manifest(struct planner *w, size_t ns, const struct oci_doc *m)
{
	struct image_facts f = {.top = STORE_NONE};
	struct image_eval r = {0};

	look_at_blobs(w, ns, m, &f, &r.damaged);
	if (!f.config_gone)
		look_at_chain(w, ns, m, &f);
	r.damaged |= f.lost_layer || f.torn || f.lost || f.dropped;
	/* a manifest for another platform may share the first layers: what was unpacked has its top */
	r.unpacked = f.top != STORE_NONE;
	r.top = f.top;
	r.pinned = f.lost;
	r.unproved = f.config_gone ? w->unproved[ns] : f.unverified || f.unread;
	r.left_out = f.config_gone ? w->uncompared[ns] : f.left_out && !f.for_good;
	if (f.complete && !f.lost) {
		r.chained = true;
		r.config = m->config.digest;
		r.lost_entries = f.lost_entries;
		r.lost_bytes = f.lost_bytes;
	}
	/* whatever is in what could not be read: what is lost beside it cannot be unpacked again, and no later run would tell so */
	const bool gone = f.paired && !f.complete && f.here < f.layers && !f.other && !f.lost && !f.stays;
	const char *const other =
		f.other ? arena_printf(w->keep, "snapshotter %s has unpacked it: its files there are not compared", f.other) : NULL;
	const char *const unread =
		arena_printf(w->keep, "unchecked: %s", f.unread_why ? f.unread_why : "not all of its files could be read and compared");
	const char *const lacks = arena_printf(w->keep, "%zu of its %zu layers are not local", f.layers - f.here, f.layers);
	const struct {
		bool holds;
		enum image_verdict verdict;
		const char *why;
	} rows[] = {
		{f.config_gone && f.unknown, IMAGE_IS_UNVERIFIED, unknown(w, "its config", f.unknown)},
		{f.config_gone, IMAGE_NEEDS_PULL, "its config is not local"},
		{f.config_garbled, IMAGE_IS_UNVERIFIED, "its config is nothing that containerd could read"},
		{f.unknown && !gone, IMAGE_IS_UNVERIFIED, unknown(w, "a part of it", f.unknown)},
		{f.lost && w->stuck_records, IMAGE_IS_UNVERIFIED,
			"files of it are lost, and the records that say otherwise could not be changed"},
		{f.for_good, IMAGE_NEEDS_PULL, "files of it are lost, and a container stands on the rest"},
		{f.lost, IMAGE_NEEDS_PULL,
			"files of it are lost, and a container stands on the rest: fetch or load its layers, then run repair"},
		{f.complete && f.stuck, IMAGE_IS_UNVERIFIED, "files of it are damaged and could not be put back"},
		{f.complete && f.blocked, IMAGE_IS_UNVERIFIED,
			"files of it are damaged, and can be put back when no container runs on this store"},
		{f.complete && f.torn && f.unread, IMAGE_IS_UNVERIFIED,
			"its local layers have the damaged files; others could not be read"},
		{f.complete && f.torn && f.unverified, IMAGE_IS_UNVERIFIED,
			"its local layers have the damaged files; others are not local to compare with"},
		{f.complete && f.other, IMAGE_IS_UNVERIFIED, other},
		{f.complete && f.unread, IMAGE_IS_UNVERIFIED, unread},
		{f.complete && f.unverified && w->st->overlay_elsewhere, IMAGE_IS_UNVERIFIED,
			"its snapshots are not in this directory: they were not compared"},
		{f.complete && f.unverified, IMAGE_IS_UNVERIFIED, "not all of its layers are local to compare with"},
		{f.complete && f.torn, IMAGE_IS_HEALED, "its local layers have the damaged files"},
		{f.complete && f.lost_layer, IMAGE_IS_WHOLE,
			"its files are whole, but a layer blob is lost: it cannot be pushed or unpacked again"},
		{f.complete && f.left_out, IMAGE_IS_WHOLE,
			"its files are whole, but a layer blob is not local: it cannot be pushed or unpacked again"},
		{f.complete, IMAGE_IS_WHOLE, NULL},
		{f.other != NULL, IMAGE_IS_UNVERIFIED, other},
		{f.here == f.layers && r.damaged, IMAGE_IS_HEALED, "it is unpacked again from its local layers when it is next used"},
		{f.here == f.layers, IMAGE_IS_WHOLE, NULL}, /* not unpacked, or a child of an index that shares its first layers */
		{true, IMAGE_NEEDS_PULL, lacks},
	};
	size_t i = 0;
	while (!rows[i].holds)
		i++;
	r.verdict = rows[i].verdict;
	r.why = rows[i].why;
	r.by_layers = i + 1 == sizeof(rows) / sizeof(rows[0]);
	return r;
}

static int rank(enum image_verdict v)
{
	return v == IMAGE_IS_WHOLE ? 0 : v == IMAGE_IS_HEALED ? 1 : v == IMAGE_IS_UNVERIFIED ? 2 : 3;
}

static const char no_image[] = "it is no image this program knows";

/* A walk over the manifests an index leads to. Indexes have a stack of their own: their depth is the image author's. */
struct index_walk {
	size_t ns;
	struct {
		const struct oci_doc *doc;
		size_t next;
	} stack[LIMIT_INDEX_DEPTH];
	size_t depth;
	struct image_eval best;
	bool any, any_unpacked, damaged, too_deep, too_much;
	const char *why; /* one could not be looked at */
};

/* Not here. Where it was, this is the platform that was pulled. */
static void walk_missing(const struct planner *w, struct index_walk *walk, bool damaged)
{
	if (!damaged)
		return;
	walk->any = walk->any_unpacked = walk->damaged = true;
	walk->best = (struct image_eval){.verdict = IMAGE_NEEDS_PULL,
		.unproved = w->unproved[walk->ns],
		.left_out = w->uncompared[walk->ns],
		.why = "its manifest is not local"};
}

/* Of what was unpacked the worst counts, of what never was the best. */
static void walk_platform(struct planner *w, struct index_walk *walk, const struct oci_doc *doc)
{
	const struct image_eval r = eval_manifest(w, walk->ns, doc);

	walk->damaged |= r.damaged;
	if (!walk->any || (r.unpacked && !walk->any_unpacked) ||
		(r.unpacked && walk->any_unpacked && rank(r.verdict) > rank(walk->best.verdict)) ||
		(!r.unpacked && !walk->any_unpacked && rank(r.verdict) < rank(walk->best.verdict)))
		walk->best = r;
	walk->any = true;
	walk->any_unpacked |= r.unpacked;
}

static void walk_child(struct planner *w, struct index_walk *walk, const struct oci_descriptor *d)
{
	bool damaged = false;

	if (!d->digest_known || d->attestation)
		return;
	if (!blob_is_here(w, walk->ns, &d->digest, d->size, &damaged, &walk->why)) {
		walk_missing(w, walk, damaged);
		return;
	}
	const size_t blob = store_find_blob(w->st, &d->digest);
	const struct oci_doc *const doc = blob == STORE_NONE ? NULL : w->s->blobs[blob].doc;
	/* once each: indexes that name the next one twice would be walked as often as there are ways */
	if (doc && w->evaluated[blob] == w->evaluation)
		return;
	if (doc ? !may_look(w, blob) : blob != STORE_NONE && w->s->blobs[blob].beyond_limits) {
		walk->too_much = true;
		return;
	}
	if (!walk->any && (!doc || doc->kind == OCI_CONFIG)) { /* a checkpoint: an index of other things */
		walk->best = (struct image_eval){.verdict = IMAGE_IS_UNVERIFIED, .why = no_image};
		walk->any = true;
	}
	if (doc && doc->kind == OCI_INDEX && walk->depth < LIMIT_INDEX_DEPTH) {
		walk->stack[walk->depth].doc = doc;
		walk->stack[walk->depth++].next = 0;
	} else if (doc && doc->kind == OCI_INDEX) {
		walk->too_deep = true;
	} else if (doc && doc->kind == OCI_MANIFEST) {
		walk_platform(w, walk, doc);
	}
}

static struct image_eval eval_index(struct planner *w, size_t ns, const struct oci_doc *root)
{
	struct index_walk walk = {.ns = ns,
		.depth = 1,
		.best = {.verdict = IMAGE_NEEDS_PULL, .left_out = w->uncompared[ns], .why = "no platform of it is local"}};

	walk.stack[0].doc = root;
	while (walk.depth && !walk.too_much) {
		const struct oci_doc *const index = walk.stack[walk.depth - 1].doc;
		if (walk.stack[walk.depth - 1].next == index->child_count) {
			walk.depth--;
			continue;
		}
		walk_child(w, &walk, &index->children[walk.stack[walk.depth - 1].next++]);
	}
	if (walk.too_much)
		return too_much;
	struct image_eval best = walk.best;
	best.damaged |= walk.damaged;
	if (walk.too_deep && best.verdict != IMAGE_IS_HEALED) {
		best.verdict = IMAGE_IS_UNVERIFIED;
		best.why = "unchecked: its indexes are nested too deep";
	}
	if (walk.why && best.verdict == IMAGE_NEEDS_PULL) { /* the one that could not be read may be the one that matters */
		best.verdict = IMAGE_IS_UNVERIFIED;
		best.why = unknown(w, "a manifest of it", walk.why);
	}
	return best;
}

static struct image_eval eval_image(struct planner *w, size_t ns, const struct digest *target)
{
	bool damaged = false;
	const char *why = NULL;

	w->evaluation++;
	w->image_steps = 0;
	const bool here = blob_is_here(w, ns, target, 0, &damaged, &why);
	const struct oci_doc *const root = here ? doc_of(w, target) : NULL;
	if (!here)
		return (struct image_eval){.verdict = why ? IMAGE_IS_UNVERIFIED : IMAGE_NEEDS_PULL,
			.damaged = damaged,
			.left_out = w->uncompared[ns],
			.unproved = w->unproved[ns],
			.why = why ? unknown(w, "its manifest", why) : "its manifest is not local"};
	if (why || !root || (root->kind != OCI_MANIFEST && root->kind != OCI_INDEX))
		return (struct image_eval){.verdict = IMAGE_IS_UNVERIFIED, .why = why ? unknown(w, "its manifest", why) : no_image};
	if (!may_look(w, store_find_blob(w->st, target)))
		return too_much;
	return root->kind == OCI_MANIFEST ? eval_manifest(w, ns, root) : eval_index(w, ns, root);
}

/* Of names for the same target the first is evaluated. */
static struct image_eval eval_name(struct planner *w, size_t index)
{
	const struct image *const image = &w->st->images[index];
	const size_t blob = image->target_known ? store_find_blob(w->st, &image->target) : STORE_NONE;
	const size_t known = blob == STORE_NONE ? 0 : w->answered[blob];
	struct image_eval *const eval = &w->evals[index];

	if (!image->target_known)
		*eval = (struct image_eval){.verdict = IMAGE_IS_UNVERIFIED, .why = "its record names no digest"};
	else if (known && w->st->images[known - 1].ns == image->ns)
		*eval = w->evals[known - 1];
	else
		*eval = eval_image(w, image->ns, &image->target);
	if (blob != STORE_NONE)
		w->answered[blob] = index + 1;
	return *eval;
}

/* The cut came between the last unpacked layer and the label that refers to it (containerd 2.3.4: core/unpack/unpacker.go sets it
 * last): the lease that goes is all that held the chain. On a store without such a lease a missing label means nothing. */
static bool is_unreferenced(const struct planner *w, size_t ns, const struct image_eval *r)
{
	const size_t c = store_find_content(w->st, ns, &r->config);

	return w->let_go[r->top] && c != STORE_NONE && !labels_get(&w->st->contents[c].labels, SNAPSHOT_LABEL);
}

static void find_let_go(struct planner *w)
{
	const struct store *const st = w->st;

	for (size_t i = 0; i < st->lease_count; i++) {
		const size_t count = is_stale(st, &st->leases[i]) ? st->leases[i].snapshots.count : 0;
		for (size_t k = 0; k < count; k++) {
			const size_t held = store_find_snapshot(st, st->leases[i].ns, st->leases[i].snapshots.at[k]);
			if (held != STORE_NONE)
				w->let_go[held] = true;
		}
	}
}

/* No pull noted a registry at what the name leads to. Of what is not recorded at all nothing is known. */
static bool is_imported(const struct planner *w, const struct image *image)
{
	const size_t c = image->target_known ? store_find_content(w->st, image->ns, &image->target) : STORE_NONE;
	return c != STORE_NONE && !w->st->contents[c].has_source;
}

/* Somebody relies on it being here always: CRI's own sandbox image, what a product brings along. */
static bool is_pinned_name(const struct image *image)
{
	static const char keys[][25] = {"io.cri-containerd.pinned", "io.cattle.k3s.pinned"};

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (labels_get(&image->labels, keys[i]))
			return true;
	return false;
}

/* Of an image that must be pulled. */
static struct ruling rule_on_name(struct planner *w, const struct image *image, const struct image_eval *r)
{
	const char *const at_work =
		w->st->boot_proved_new ? "" : arena_printf(w->keep, "%s; its name is dropped at the next boot", w->st->boot_evidence);
	const struct name_facts facts = {.kubernetes = w->st->namespaces[image->ns].kubernetes,
		.by_config = image_is_named_by_config(image),
		.damaged = r->damaged,
		.only_layers = r->by_layers && w->st->other_snapshots,
		.records_stay = r->pinned,
		.pinned = is_pinned_name(image),
		.imported = is_imported(w, image),
		.unseen = w->s->wants_unknown || w->s->bytes_unseen || w->s->unread_count || w->s->unread_size_count,
		.may_be_at_work = w->st->boot_proved_new ? NULL : at_work ? at_work : "there is no memory to say why"};
	struct ruling ruling = policy_name(&facts);

	if (ruling.problem != P_COUNT && w->stuck_records)
		ruling = (struct ruling){.problem = ruling.problem, .fate = FATE_LEFT, .why = w->stuck_records};
	return ruling;
}

/* Where a manifest or a config is lost, nobody knows which files a pull of it takes as they are. */
static void find_unproved(struct planner *w)
{
	for (size_t i = 0; i < w->st->namespace_count; i++)
		w->unproved[i] = w->uncompared[i] = w->st->namespaces[i].foreign.count || w->st->foreign_cut;
	for (size_t i = 0; i < w->st->snapshot_count; i++) {
		const struct snapshot *const s = &w->st->snapshots[i];
		const enum snapshot_verdict v =
			s->backend == STORE_NONE ? SNAPSHOT_IS_UNVERIFIED : w->s->snapshots[s->backend].verdict;
		struct digest d;
		if (w->drop_snapshot[i] || digest_parse(s->key, &d) != RC_OK)
			continue;
		w->unproved[s->ns] |= v == SNAPSHOT_IS_UNVERIFIED || v == SNAPSHOT_IS_UNREADABLE;
		w->uncompared[s->ns] |= v == SNAPSHOT_IS_UNVERIFIED || v == SNAPSHOT_IS_UNREADABLE || v == SNAPSHOT_NOT_CHECKED ||
					(s->backend != STORE_NONE && w->s->snapshots[s->backend].trusted);
	}
}

void plan_images(struct planner *w, struct finding *extra, size_t *extra_count)
{
	const struct store *const st = w->st;

	find_unproved(w);
	find_let_go(w);
	for (size_t i = 0; i < st->image_count; i++) {
		const struct image *const image = &st->images[i];
		struct image_state *const state = &w->p->images[i];
		const struct image_eval r = eval_name(w, i);
		*state = (struct image_state){.verdict = r.verdict,
			.damaged = r.damaged,
			.pinned = r.pinned,
			.unproved = r.unproved,
			.left_out = r.left_out,
			.imported = is_imported(w, image),
			.top = r.unpacked ? r.top : STORE_NONE,
			.lost_entries = r.lost_entries,
			.lost_bytes = r.lost_bytes,
			.why = r.why ? r.why : r.verdict == IMAGE_NEEDS_PULL ? "parts of it are not local" : NULL};
		if (r.chained && !w->stuck_records && is_unreferenced(w, image->ns, &r)) {
			const size_t c = store_find_content(st, image->ns, &r.config);
			meta_put(w, META_PATH(image->ns, literal("content"), literal("blob"), st->contents[c].text,
					    literal("labels"), literal(SNAPSHOT_LABEL)),
				st->snapshots[r.top].key);
			extra[(*extra_count)++] = (struct finding){.problem = P_CHAIN_UNREFERENCED,
				.subject = SUBJECT_IMAGE,
				.index = i,
				.ns = st->namespaces[image->ns].name,
				.name = image->name};
			w->p->total[P_CHAIN_UNREFERENCED]++;
		}
		if (r.verdict != IMAGE_NEEDS_PULL)
			continue;
		const struct ruling ruling = rule_on_name(w, image, &r);
		if (ruling.problem == P_COUNT)
			continue; /* the list of images tells what it lacks */
		state->left = ruling.why;
		struct finding *const f = &extra[(*extra_count)++];
		*f = (struct finding){.problem = ruling.problem,
			.subject = SUBJECT_IMAGE,
			.index = i,
			.ns = st->namespaces[image->ns].name,
			.name = image->name,
			.why = literal(state->why)};
		w->p->total[ruling.problem]++;
		if (ruling.fate == FATE_DROP && st->namespaces[image->ns].kubernetes && !image_is_named_by_config(image)) {
			meta_remove(w, META_PATH(image->ns, literal("images"), image->name));
			state->name_dropped = true;
		}
	}
	/* whatever a dropped name, or a dropped manifest, config or index, kept alive */
	for (size_t i = 0; i < st->content_count; i++)
		if (w->drop_content[i])
			lease_references(w, &st->contents[i]);
	bool *const rooted = arena_array(w->keep, st->content_count + 1, sizeof(*rooted));
	w->no_memory |= !rooted;
	for (unsigned dropped = 0; rooted && dropped < 2; dropped++)
		for (size_t i = 0; i < st->image_count; i++) {
			const struct image *const image = &st->images[i];
			const bool wanted = image->target_known && w->p->images[i].name_dropped == dropped;
			const size_t c = wanted ? store_find_content(st, image->ns, &image->target) : STORE_NONE;
			if (c == STORE_NONE)
				continue;
			if (!dropped)
				rooted[c] = true;
			else if (!rooted[c] && !w->drop_content[c])
				lease_content(w, image->ns, st->contents[c].text);
		}
}
