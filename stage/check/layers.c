/* SPDX-License-Identifier: MIT */
/* Layers beside the snapshots they were unpacked to. */
#include <string.h>

#include "check/run.h"
#include "ground/os.h"
#include "layer/init.h"
#include "memory/at.h"

/* ---- pass 4b, 5: the other blobs, and the snapshots they prove ---- */

struct span snapshot_name(const struct store *st, size_t backend)
{
	const struct backend *const b = &st->backends[backend];
	return b->user_key.left ? b->user_key : b->key;
}

void pass_over_snapshot(struct survey_run *r, size_t i, const char *why)
{
	const struct backend *const b = &r->st->backends[i];

	r->s->snapshots[i].verdict = SNAPSHOT_IS_UNREADABLE;
	r->s->snapshots[i].why = why;
	r->s->snapshots[i].proof = STORE_NONE;
	r->s->snapshots[i].trusted = false;
	emit(r, (struct finding){.problem = P_SNAPSHOT_UNCHECKED,
			.subject = SUBJECT_BACKEND,
			.index = i,
			.ns = b->ns_name,
			.name = snapshot_name(r->st, i),
			.why = text_of(why)});
}

struct emit_context {
	struct survey_run *r;
	const size_t *backends; /* by target */
	struct span layer;
	bool notes_only;   /* of a comparison that is repeated if there is more to say, */
	bool alone;        /* of one target: what accuses it comes in front of its notes */
	bool made;         /* the layer is what dockerd makes: only what is gone is told */
	bool leased;       /* the layer was made of the snapshot, which keeps finer times: no notes */
	unsigned withheld;
};

static void emit_difference(void *self, const struct layer_difference *d)
{
	static const enum problem_id of_kind[DIFF_KINDS] = {[DIFF_MISSING] = P_ENTRY_MISSING,
		[DIFF_EMPTY] = P_FILE_EMPTY,
		[DIFF_SHORT] = P_FILE_SHORT,
		[DIFF_ZEROED] = P_FILE_ZEROED,
		[DIFF_CONTENT] = P_FILE_CONTENT,
		[DIFF_TYPE] = P_ENTRY_TYPE,
		[DIFF_SYMLINK] = P_ENTRY_SYMLINK,
		[DIFF_DEVICE] = P_ENTRY_DEVICE,
		[DIFF_METADATA] = P_ENTRY_METADATA,
		[DIFF_WHITEOUT] = P_WHITEOUT_MISSING,
		[DIFF_OPAQUE] = P_OPAQUE_MISSING,
		[DIFF_LINK] = P_LINK_BROKEN,
		[DIFF_LOST_ENTRIES] = P_NOTE_COUNT, /* the entries that are missing are findings of their own */
		[DIFF_FS_MISSING] = P_SNAPSHOT_FS,
		[DIFF_NOTE_EXTRA] = P_NOTE_EXTRA,
		[DIFF_NOTE_METADATA] = P_NOTE_METADATA,
		[DIFF_NOTE_WHITEOUTS] = P_NOTE_WHITEOUTS,
		[DIFF_NOTE_SYSTEMATIC] = P_NOTE_SYSTEMATIC,
		[DIFF_NOTE_COUNT] = P_NOTE_COUNT,
		[DIFF_UNREADABLE] = P_ENTRY_UNCHECKED};
	struct emit_context *const in = self;
	const struct store *const st = in->r->st;
	const size_t backend = in->backends[d->target];
	const struct backend *const b = &st->backends[backend];

	if (in->made && (d->kind >= DIFF_NOTE_EXTRA || d->kind == DIFF_METADATA))
		return;
	if (in->leased && d->kind >= DIFF_NOTE_EXTRA && d->kind != DIFF_UNREADABLE)
		return;
	if (in->notes_only && (d->kind < DIFF_NOTE_EXTRA || d->kind == DIFF_UNREADABLE || !in->alone || in->withheld)) {
		in->withheld++;
		return;
	}
	emit(in->r, (struct finding){.problem = of_kind[d->kind],
			    .subject = SUBJECT_BACKEND,
			    .index = backend,
			    .path = text_of(d->path),
			    .ns = b->ns_name,
			    .name = snapshot_name(st, backend),
			    .digest = in->layer,
			    .why = d->kind == DIFF_UNREADABLE ? text_of(error_text((int)d->got)) : (struct span){0},
			    .got = d->kind == DIFF_FS_MISSING ? b->id : d->got,
			    .want = d->want});
}

struct group next_group(const struct survey_run *r, const size_t *mine, size_t mine_count, size_t *from)
{
	struct group g = {0};
	const struct candidate *first = NULL;

	for (size_t i = *from; i < mine_count && g.count < LAYER_TARGETS_MAX; i++) {
		const struct candidate *const c = &r->candidates[mine[i]];
		if (first && (c->mode != first->mode || c->leased != first->leased || !digest_equal(&c->diff_id, &first->diff_id)))
			break; /* sorted: neighbours are alike */
		first = c;
		g.candidates[g.count++] = mine[i];
		*from = i + 1;
	}
	return g;
}

/* Files of one group's targets, open while they are compared. */
struct open_targets {
	struct layer_target at[LAYER_TARGETS_MAX];
	size_t backends[LAYER_TARGETS_MAX];
	size_t candidates[LAYER_TARGETS_MAX];
	unsigned count;
};

static void open_targets(const struct survey_run *r, const struct group *g, struct open_targets *t)
{
	const struct store *const st = r->st;

	for (unsigned i = 0; i < g->count; i++) {
		const struct candidate *const c = &r->candidates[g->candidates[i]];
		const size_t backend = c->backend;
		const struct backend *const b = &st->backends[backend];
		struct err ignored = {0}; /* what cannot be opened is judged by what was listed */
		int fd = -1;
		if (!b->dir_found || !b->dir_is_directory || os_open_dir(st->snapshots_dir, b->dir, &fd, &ignored))
			continue;
		t->at[t->count] = (struct layer_target){.snapshot = fd,
			.recorded_inodes = b->inodes,
			.half_repaired = b->interrupted,
			.deletions_written = st->schema && st->schema < STORE_SCHEMA_2,
			.by_mount = c->leased,
			.origin = c->leased,
			.ignore_owners = labels_get(&b->labels, "containerd.io/snapshot/uidmapping") ||
					 labels_get(&b->labels, "containerd.io/snapshot/gidmapping")};
		t->backends[t->count] = backend;
		t->candidates[t->count] = g->candidates[i];
		t->count++;
	}
}

static void close_targets(struct open_targets *t)
{
	for (unsigned i = 0; i < t->count; i++)
		os_close(&t->at[i].snapshot);
}

static void settle_whole_tree(
	struct survey_run *r, const struct layer *l, const struct candidate *c, const struct digest *diff_id, uint64_t bytes)
{
	struct snapshot_state *const state = &r->s->snapshots[c->backend];
	const struct backend *const b = &r->st->backends[c->backend];

	*state = (struct snapshot_state){.verdict = SNAPSHOT_IS_TORN,
		.proof = c->blob,
		.diff_id = diff_id,
		.mode = c->mode,
		.whole_tree = true,
		.by_mount = c->leased,
		.node_count = layer_node_count(l),
		.rewrite_bytes = bytes,
		.rewrite_inodes = layer_model_inodes(l)};
	if (!b->dir_found || !b->dir_is_directory)
		emit(r, (struct finding){.problem = P_SNAPSHOT_DIR,
				.subject = SUBJECT_BACKEND,
				.index = c->backend,
				.ns = b->ns_name,
				.name = snapshot_name(r->st, c->backend),
				.digest = r->st->blob_files[c->blob].text,
				.got = b->id});
}

static void settle(struct survey_run *r, const struct layer *l, const struct candidate *c, const struct digest *diff_id,
	const struct layer_verdict *v, uint64_t content_bytes)
{
	struct snapshot_state *const state = &r->s->snapshots[c->backend];

	if (v->count[DIFF_FS_MISSING]) {
		settle_whole_tree(r, l, c, diff_id, content_bytes);
		return;
	}
	*state = (struct snapshot_state){.proof = c->blob,
		.diff_id = diff_id,
		.mode = c->mode,
		.by_mount = c->leased,
		.damaged_bits = v->damaged_bits,
		.node_count = v->node_count,
		.unreadable = v->count[DIFF_UNREADABLE],
		.rewrite_bytes = v->rewrite_bytes,
		.rewrite_inodes = v->rewrite_inodes};
	/* What was unpacked through a mount cannot be rebuilt by our rules: its damage is real, its repair a pull. A label alone proves no
	 * mapping: annotations of whichever image was pulled first become labels of the layers that it shares with others. */
	const struct labels *const labels = &r->st->backends[c->backend].labels;
	const bool mapped = v->owners_differ && (labels_get(labels, "containerd.io/snapshot/uidmapping") ||
							labels_get(labels, "containerd.io/snapshot/gidmapping"));
	state->verdict = v->damaged ? v->unverified == UNVERIFIED_MOUNTED || mapped ? SNAPSHOT_IS_LOST : SNAPSHOT_IS_TORN
			 : v->count[DIFF_UNREADABLE] ? SNAPSHOT_IS_UNREADABLE
						     : SNAPSHOT_IS_WHOLE;
}

/* What the comparison proves of each candidate; with notes_only, only if there is no more to say than notes: RC_END else. */
static enum rc settle_group(struct survey_run *r, struct worker *w, const struct group *g, const struct open_targets *targets,
	struct layer_check *check, const struct layer *layer, uint64_t content_bytes, bool notes_only)
{
	struct layer_verdict verdicts[LAYER_TARGETS_MAX] = {0};
	const char *whys[LAYER_TARGETS_MAX] = {0};
	bool known[LAYER_TARGETS_MAX] = {0};
	struct emit_context in = {.r = r, .backends = targets->backends,
		.layer = r->st->blob_files[r->candidates[g->candidates[0]].blob].text, .notes_only = notes_only,
		.alone = targets->count == 1, .leased = r->candidates[g->candidates[0]].leased};

	for (unsigned t = 0; t < targets->count; t++) {
		struct err why = {0};
		const enum rc rc = layer_check_finish(check, t, w->keep, emit_difference, &in, &verdicts[t], &why);
		if (rc == RC_OK)
			continue;
		if (rc == RC_NOMEM)
			return rc;
		known[t] = rc == RC_CORRUPT && in.leased;
		const struct span text = arena_copy(w->keep, span_of_string(why.text));
		whys[t] = text.bad ? "no memory" : (const char *)text.at;
		in.withheld++;
	}
	if (notes_only && in.withheld)
		return RC_END;
	/* one for all: they are of one diff ID */
	struct digest *const diff_id = arena_get(w->keep, sizeof(*diff_id));
	if (diff_id)
		*diff_id = r->candidates[g->candidates[0]].diff_id;
	for (unsigned i = 0; i < g->count; i++) {
		struct candidate *const c = &r->candidates[g->candidates[i]];
		const struct backend *const b = &r->st->backends[c->backend];
		unsigned t = 0;
		while (t < targets->count && targets->candidates[t] != g->candidates[i])
			t++;
		if (!diff_id) {
			c->why = "no memory";
			c->unknown = true;
		} else if (t == targets->count && b->dir_found && b->dir_is_directory) {
			c->why = "its directory could not be opened";
			c->unknown = true;
		} else if (t == targets->count && c->leased && b->inodes > layer_model_inodes(layer)) {
			c->why = "its layer is not all that was in it";
		} else if (t == targets->count) {
			settle_whole_tree(r, layer, c, diff_id, content_bytes);
		} else if (whys[t]) {
			c->why = whys[t];
			c->unknown = !known[t];
		} else {
			settle(r, layer, c, diff_id, &verdicts[t], content_bytes);
			lock_take(&r->lock);
			r->s->entries_compared += verdicts[t].entries;
			lock_give(&r->lock);
		}
	}
	return RC_OK;
}

enum rc open_feed(const struct store *st, size_t blob, const struct feed_options *o, struct arena *a, struct feed **out,
	struct err *e)
{
	const struct blob *const b = &st->blob_files[blob];
	auto_fd fd = -1;
	const enum rc rc = store_open_blob(st, blob, &fd, e);

	return rc ? rc : feed_open(out, &fd, b->size, &b->digest, o, a, e);
}

/* Replays a blob for one group and settles what it proves; out: what was learnt of the blob. label_is_enough: the
 * content is not hashed, and nothing is said against a snapshot; out->again if there would be something to say. */
static enum rc replay_group(struct survey_run *r, struct worker *w, size_t blob, const struct group *g, bool label_is_enough,
	struct group_result *out, struct err *e)
{
	struct open_targets targets = {0};
	const struct feed_options options = {
		.hash_content = !label_is_enough, .pace = &w->pace, .bytes = &r->bytes, .idle = &r->idle};
	const struct candidate *const first = &r->candidates[g->candidates[0]];
	struct layer_watch watch = {0};
	struct layer_check *check = NULL;
	struct layer *layer = NULL;
	struct feed *feed = NULL;
	struct tar *tar = NULL;
	struct group_result result = {0};
	enum rc rc = open_feed(r->st, blob, &options, &w->scratch, &feed, e);

	if (rc)
		return rc;
	open_targets(r, g, &targets);
	if ((result.again = label_is_enough && targets.count < g->count)) {
		*out = result;
		goto out;
	}
	if ((rc = layer_open(&layer, first->mode, &w->pace, &w->scratch, e)) || (rc = feed_tar(feed, &tar, e)))
		goto out;
	if (targets.count) {
		rc = layer_check_open(&check, layer, targets.at, targets.count, &w->scratch, e);
		if (rc)
			goto out;
		watch = layer_check_watch(check);
		if (label_is_enough)
			layer_check_hurry(check);
	}
	result.replay = layer_replay(layer, tar, check ? &watch : NULL, &result.why);
	result.again = label_is_enough && check && layer_check_differs(check);
	if (result.again) {
		*out = result;
		goto out;
	}
	/* of what cannot be a layer too it is learnt what it is, lest others that name it ask again */
	rc = feed_finish(feed, result.replay == RC_OK || result.replay == RC_CORRUPT, &result.feed, e);
	if (rc)
		goto out;
	result.hashed = !label_is_enough;
	result.paired = result.feed.content_known && (label_is_enough || digest_equal(&result.feed.content, &first->diff_id));
	if (result.feed.blob_good && result.replay == RC_OK && result.paired) {
		const uint64_t most = w->most;
		w->most = 0; /* what is left is as much as there is on the disk */
		rc = settle_group(r, w, g, &targets, check, layer, result.feed.content_bytes, label_is_enough);
		w->most = most;
		result.again = rc == RC_END;
		rc = rc == RC_NOMEM ? no_memory(e) : RC_OK;
	}
	*out = result;
out:
	layer_check_close(check);
	close_targets(&targets);
	feed_close(feed);
	return rc;
}

enum rc judge_group(struct survey_run *r, struct worker *w, size_t blob, const struct group *g,
	struct group_result *out, struct err *e)
{
	/* a cut seldom takes from one snapshot alone, and to read a layer twice costs more than to hash its content at once */
	bool labelled = !r->some_differ;

	for (unsigned i = 0; i < g->count; i++)
		labelled &= r->candidates[g->candidates[i]].labelled;
	if (labelled) {
		const struct arena scratch = w->scratch, keep = *w->keep;
		const enum rc rc = replay_group(r, w, blob, g, true, out, e);
		if (rc || !out->again)
			return rc;
		r->some_differ = true;
		w->spent = 0;
		w->scratch = scratch;
		*w->keep = keep;
	}
	return replay_group(r, w, blob, g, false, out, e);
}

static int compare_likeness(const void *a, const void *b, const void *context)
{
	const struct survey_run *const r = context;
	const size_t x = *(const size_t *)a, y = *(const size_t *)b;
	const struct candidate *const one = &r->candidates[x], *const other = &r->candidates[y];
	const int order = one->mode != other->mode	 ? (int)one->mode - (int)other->mode
			  : one->leased != other->leased ? one->leased - other->leased
							 : digest_compare(&one->diff_id, &other->diff_id);

	return order ? order : (x > y) - (x < y);
}

size_t count_chosen(const struct survey_run *r, size_t blob)
{
	size_t n = 0;

	for (size_t i = r->first[blob]; i != STORE_NONE; i = r->candidates[i].next)
		n++;
	return n;
}

size_t gather(const struct survey_run *r, size_t blob, size_t *mine)
{
	size_t n = 0;

	for (size_t i = r->first[blob]; i != STORE_NONE; i = r->candidates[i].next)
		mine[n++] = i;
	sort_by(mine, n, sizeof(*mine), compare_likeness, r);
	return n;
}

/* Chooses for each snapshot still open the next candidate not tried; claims only when there is nothing else to try for any. What an
 * image, or whoever made a label, only says may be made to take for ever: where there is another to ask, it has a share of the time. */
static bool choose_candidates(struct survey_run *r)
{
	bool any = false;
	size_t *const chosen = r->chosen; /* by backend: 1 + the candidate */

	for (size_t i = 0; i < r->st->backend_count; i++) {
		chosen[i] = 0;
		if (r->s->snapshots[i].verdict == SNAPSHOT_NOT_CHECKED)
			r->s->snapshots[i].proof = STORE_NONE;
	}
	for (size_t i = 0; i < r->candidate_count; i++)
		r->candidates[i].chosen = r->candidates[i].contested = false;
	for (unsigned rank = 0; rank < RANKS; rank++) {
		const bool late = any && rank == RANK_CLAIMED;
		for (size_t i = 0; i < r->candidate_count; i++) {
			struct candidate *const c = &r->candidates[i];
			struct snapshot_state *const state = &r->s->snapshots[c->backend];
			const enum blob_verdict blob = r->s->blobs[c->blob].verdict;
			if (rank_of(c) != rank || state->verdict != SNAPSHOT_NOT_CHECKED || c->tried || (c->put_off && !r->last) ||
				blob == BLOB_IS_BAD || blob == BLOB_IS_UNREADABLE)
				continue;
			if (chosen[c->backend])
				r->candidates[chosen[c->backend] - 1].contested = true;
			if (chosen[c->backend] || late)
				continue;
			c->chosen = any = true;
			c->contested = rank == RANK_CLAIMED;
			chosen[c->backend] = i + 1;
			state->proof = c->blob;
		}
	}
	return any;
}

/* Those that are chosen, by blob. */
static void list_chosen(struct survey_run *r)
{
	for (size_t i = 0; i < r->st->blob_count; i++) {
		r->first[i] = STORE_NONE;
		r->wanted[i] = false;
	}
	for (size_t i = r->candidate_count; i-- > 0;) {
		struct candidate *const c = &r->candidates[i];
		if (!c->chosen)
			continue;
		c->next = r->first[c->blob];
		r->first[c->blob] = i;
		r->wanted[c->blob] = true;
	}
}

enum rc pass_layers(struct survey_run *r)
{
	const struct store *const st = r->st;
	size_t *const order = arena_array(r->keep, st->blob_count + 1, sizeof(*order));
	bool *const wanted = r->wanted = arena_array(r->keep, st->blob_count + 1, sizeof(*wanted));
	enum rc rc = RC_OK;

	r->first = arena_array(r->keep, st->blob_count + 1, sizeof(*r->first));
	r->chosen = arena_array(r->keep, st->backend_count + 1, sizeof(*r->chosen));
	if (!order || !wanted || !r->first || !r->chosen)
		return no_memory(r->e);
	for (unsigned round = 0; rc == RC_OK && !stopped(r); round++) {
		size_t count = 0;
		const bool any = choose_candidates(r);
		if (round && !any)
			break;
		const uint64_t now = os_clock_ns();
		r->contested_until_ns = now < r->o->deadline_ns ? now + (r->o->deadline_ns - now) / 2 : r->o->deadline_ns;
		list_chosen(r);
		for (size_t i = 0; i < st->blob_count; i++)
			if (wanted[i] || r->s->blobs[i].verdict == BLOB_NOT_CHECKED) {
				order[count++] = i;
				r->total_bytes += round ? st->blob_files[i].size : 0;
			}
		sort_jobs(r, order, count);
		rc = run_pool(r, "reading layers", job_blob, order, count);
		if (out_of_time(r))
			break; /* what was not begun would be chosen again for ever */
	}
	return rc;
}

/* Why nothing here proves what is in a snapshot's directory. */
struct unproved {
	struct span layer;   /* the blob that comes nearest; empty: none */
	const char *why;
	const char *unknown; /* not NULL: it may be provable, and why that could not be found out */
	bool passed_over;
};

static bool is_init(const struct store *st, size_t backend)
{
	const struct backend *const b = &st->backends[backend];
	return store_is_init(st, store_find_namespace(st, b->ns_name), b->user_key);
}

/* NULL: it is not of a cache of builds. */
static const char *find_cache(const struct survey_run *r, size_t index)
{
	return !r->cached[index] ? NULL
	       : span_is(r->st->backends[index].ns_name, "moby")
		       ? "it is of the build cache, which this empties: docker builder prune -af"
		       : "a lease keeps it, as buildkit keeps its cache, which this empties: buildctl prune --all";
}

static struct unproved find_why_unproved(struct survey_run *r, size_t index)
{
	struct unproved u = {.why = "no local manifest leads to it"};
	struct digest d;

	for (size_t i = r->first[index]; i != STORE_NONE; i = r->candidates[i].next) {
		const struct candidate *const c = &r->candidates[i];
		u.layer = r->st->blob_files[c->blob].text;
		u.passed_over |= journal_is_stuck(r->o->stuck, AT_BLOB, u.layer);
		u.why = c->why ? c->why : c->pairing_failed ? "its layer unpacks to something else" : "its layer is damaged";
		if (r->s->blobs[c->blob].verdict == BLOB_IS_UNREADABLE || c->unknown)
			u.unknown = c->unknown && c->why ? c->why : "its layer could not be read";
		else if (!c->tried && r->s->blobs[c->blob].verdict != BLOB_IS_BAD)
			u.unknown = "not all that may be its layer was tried";
	}
	if (u.layer.left)
		return u;
	if (r->cached[index]) {
		u.why = "the lease that keeps it pairs it with no layer that is here";
		return u;
	}
	if (is_init(r->st, index)) {
		u.why = "dockerd made it, of no layer";
		return u;
	}
	if (digest_parse(r->st->backends[index].user_key, &d) == RC_OK) {
		u.why = "its layer is not local";
		u.unknown = r->match.chains[index].deep && !r->match.chains[index].found
				    ? "it stands on too many snapshots that are not named as layers"
			    : r->match.cut && !r->match.chains[index].found ? "there are more layers here than can be tried"
			    : r->some_unlearnt				  ? "a blob that may be its layer could not be read"
									  : NULL;
	}
	if (r->some_unread)
		u.unknown = "a manifest could not be read";
	else if (r->st->unseen_path)
		u.unknown = "a file that may be its layer could not be looked at";
	else if (r->s->unread_count || r->s->unread_size_count)
		u.unknown = "a file that may be its layer could not be read";
	return u;
}

/* What the names in its directory prove, which were counted; rc, e: how that went. */
static void judge_by_count(struct survey_run *r, size_t index, const struct unproved *u, const struct layer_census *census, enum rc rc,
	const struct err *e, struct finding f)
{
	const struct backend *const b = &r->st->backends[index];
	struct snapshot_state *const state = &r->s->snapshots[index];

	f.why = text_of(u->unknown ? u->unknown : u->why);
	if (rc || (census->unreadable && !census->fs_missing)) {
		state->verdict = SNAPSHOT_IS_UNREADABLE;
		state->why = !rc	   ? "a directory in it cannot be read"
			     : e->sys_errno ? error_text(e->sys_errno)
					    : arena_string(r->keep, span_of_string(e->text));
		f.problem = P_SNAPSHOT_UNCHECKED;
		f.why = text_of(state->why);
	} else if (census->fs_missing) {
		state->verdict = u->unknown ? SNAPSHOT_IS_UNREADABLE : SNAPSHOT_IS_LOST;
		f.problem = P_SNAPSHOT_FS;
		f.got = b->id;
	} else if (b->inodes > census->names && !u->unknown) { /* else its layer may be here and whole */
		state->verdict = SNAPSHOT_IS_LOST;
		f.problem = P_SNAPSHOT_LOSSY;
		f.got = census->names;
		f.want = b->inodes;
	} else {
		state->verdict = u->unknown ? SNAPSHOT_IS_UNREADABLE : SNAPSHOT_IS_UNVERIFIED;
		f.problem = u->unknown ? P_SNAPSHOT_UNCHECKED : P_SNAPSHOT_UNVERIFIED;
	}
	emit(r, f);
}

/* Of what dockerd makes something is gone: all of it is empty, and known. dir: -1 if that is. False: it is not, or, then u says so, that
 * could not be found out. */
static bool judge_init(struct survey_run *r, size_t index, int dir, struct unproved *u)
{
	const struct backend *const b = &r->st->backends[index];
	const struct layer_target target = {.snapshot = dir, .recorded_inodes = b->inodes, .by_mount = true};
	struct emit_context in = {.r = r, .backends = &index, .layer = SPAN_LITERAL("by dockerd"), .made = true};
	struct snapshot_state made = {.verdict = SNAPSHOT_IS_TORN, .proof = STORE_NONE, .mode = LAYER_DIRECT, .whole_tree = dir < 0,
		.by_mount = true};
	struct arena scratch = *r->keep; /* what is kept of it is copied */
	struct layer_verdict v = {0};
	struct layer_check *check = NULL;
	struct layer *l = NULL;
	struct tar *tar = NULL;
	struct err e = {0};
	uint8_t bits[8] = {0};

	if (!is_init(r->st, index) || !init_layer_fits(b->inodes))
		return false;
	enum rc rc = layer_open(&l, LAYER_DIRECT, &r->alone.pace, &scratch, &e);
	rc = rc ? rc : init_layer_tar(b->inodes, &scratch, &tar, &e);
	if (rc == RC_OK && dir >= 0)
		rc = layer_check_open(&check, l, &target, 1, &scratch, &e);
	const struct layer_watch watch = check ? layer_check_watch(check) : (struct layer_watch){0};
	rc = rc ? rc : layer_replay(l, tar, check ? &watch : NULL, &e);
	if (rc == RC_OK && check)
		rc = layer_check_finish(check, 0, &scratch, emit_difference, &in, &v, &e);
	layer_check_close(check);
	if (rc) {
		u->unknown = arena_string(r->keep, span_of_string(e.text));
		u->unknown = u->unknown ? u->unknown : "no memory";
		return false;
	}
	made.whole_tree |= v.count[DIFF_FS_MISSING] > 0;
	made.node_count = layer_node_count(l);
	made.unreadable = v.count[DIFF_UNREADABLE];
	made.rewrite_inodes = layer_model_inodes(l);
	if (!made.whole_tree && (!v.damaged || made.node_count > 8 * sizeof(bits)))
		return false;
	if (!made.whole_tree) {
		memcpy(bits, v.damaged_bits, made.node_count / 8 + 1);
		const struct span kept = arena_copy(r->keep, span_of(bits, sizeof(bits)));
		if (kept.bad) {
			u->unknown = "no memory";
			return false;
		}
		made.damaged_bits = (uint8_t *)(uintptr_t)kept.at; /* of the arena, and ours */
	}
	r->s->snapshots[index] = made;
	return true;
}

void judge_without_layer(struct survey_run *r, size_t index)
{
	const struct backend *const b = &r->st->backends[index];
	struct snapshot_state *const state = &r->s->snapshots[index];
	struct unproved u = find_why_unproved(r, index);
	const char *const cache = find_cache(r, index);
	struct finding f = {.subject = SUBJECT_BACKEND,
		.index = index,
		.ns = b->ns_name,
		.name = snapshot_name(r->st, index),
		.digest = u.layer};

	state->proof = STORE_NONE;
	if (u.passed_over) {
		pass_over_snapshot(r, index, "the last check ended at its layer"); /* perhaps in its files */
		return;
	}
	state->why = u.unknown ? u.unknown : cache;
	if (!b->dir_found || !b->dir_is_directory) {
		if (judge_init(r, index, -1, &u)) {
			f.digest = SPAN_LITERAL("by dockerd");
			u.unknown = NULL;
		} else {
			state->why = u.unknown ? u.unknown : cache;
			state->verdict = u.unknown ? SNAPSHOT_IS_UNREADABLE : SNAPSHOT_IS_LOST;
		}
		f.problem = P_SNAPSHOT_DIR;
		f.got = b->id;
		f.why = text_of(u.unknown);
		emit(r, f);
		return;
	}
	auto_fd dir = -1;
	struct layer_census census = {0};
	struct err e = {0};
	const struct arena scratch = *r->keep;
	at_number(r->o->at, 0, AT_SNAPSHOT, b->id);
	enum rc rc = os_open_dir(r->st->snapshots_dir, b->dir, &dir, &e);
	if (!rc)
		rc = layer_census(dir, &r->alone.pace, scratch, &census, &e);
	at_nothing(r->o->at, 0);
	if (!rc && !census.unreadable && (census.fs_missing || b->inodes > census.names) && judge_init(r, index, dir, &u))
		return;
	state->why = u.unknown ? u.unknown : cache;
	if (rc != RC_STOPPED) /* then it is not checked */
		judge_by_count(r, index, &u, &census, rc, &e, f);
}
