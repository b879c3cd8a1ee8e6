/* SPDX-License-Identifier: MIT */
/* What holds at every instant, whatever is cut:
 *
 *   1. Bytes are durable before the name, or the record, that shows them.
 *   2. A record goes before the directory it names; a damaged blob goes before its records, because containerd adopts
 *      a file without a record unseen; and a container's own directory is set aside before its record goes, because the
 *      next run, or containerd, removes a directory that no record names.
 *   3. A database changes by one meta page, written after its pages were made durable, read back and compared, and after a
 *      verified copy of the whole file was made. meta.db before metadata.db: what the first no longer knows, the next run
 *      removes from the second.
 *   4. A damaged entry of a snapshot is replaced by a rename of a whole new one.
 *   5. What is removed is first renamed to a place of ours, or is a single unlink: no half-removed thing keeps its old name.
 *   6. Every action looks again, and does nothing if it was done.
 *   7. What one action cannot do leaves that one. Where records depend on it, nothing of the databases is changed before the plan was
 *      made again without it; a directory whose record could not go stays.
 *
 * So after a cut the next run finds the rest, or a leftover of ours, and goes on. */
#include "repair/apply.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "ground/os.h"
#include "ground/os_write.h"
#include "memory/at.h"
#include "memory/own.h"
#include "repair/applier.h"

enum rc may_touch(void *self, struct err *e)
{
	const struct applier *const w = self;

	if (w->o->stop && *w->o->stop)
		return fail(e, RC_STOPPED, "the repair was stopped");
	if (w->o->deadline_ns && os_clock_ns() >= w->o->deadline_ns)
		return fail(e, RC_STOPPED, "the time allowed (--budget) was over");
	return RC_OK;
}

#define TELL_NS 500000000u

/* The same, of the thread that carries out the plan. */
static enum rc ask_and_tell(void *self, struct err *e)
{
	struct applier *const w = self;
	const uint64_t now = os_clock_ns();

	if (w->o->progress && now - w->told_ns >= TELL_NS) {
		w->told_ns = now;
		w->o->progress(w->o->self, &w->now);
	}
	return may_touch(w, e);
}

/* ---- the rest ---- */

static enum rc remove_stray(struct applier *w, size_t index, bool aside)
{
	const struct stray *const s = &w->st->strays[index];
	struct stat st = {0};
	auto_fd dir = -1;
	enum rc rc;

	if ((rc = is_in_place(w, s->spares)) || (rc = store_open_path(w->st, s->dir, &dir, w->e)) ||
		(rc = os_stat(dir, s->name, &st, w->e)))
		return rc;
	if (aside) {
		const char *const what = s->kind == STRAY_SNAPSHOT_DIR ? arena_printf(w->keep, "snapshot-%s", s->name) : s->name;
		return what ? set_aside(w, dir, s->name, what) : no_memory(w->e);
	}
	if (s->kind == STRAY_TMPMOUNT)
		rc = os_rmdir(dir, s->name, w->e); /* never more: it could be mounted on */
	else if (S_ISDIR(st.st_mode))
		return remove_tree(w, dir, s->name);
	else
		rc = os_unlink(dir, s->name, w->e);
	return rc ? rc : os_fsync(dir, w->e);
}

/* Intents of an earlier run are found with this run's, so that a rebuild that was cut off is still known. A cut leaves each in one of
 * the two places, where the next run looks as well. */
static enum rc move_intents(struct applier *w, int old, const struct os_name *names, size_t count)
{
	struct place *const root = &w->places[0];
	bool moved = false;
	enum rc rc = RC_OK;

	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		if (!store_is_intent(names[i].name))
			continue;
		rc = open_staging(w, root);
		rc = rc ? rc : os_rename(old, names[i].name, root->staging, names[i].name, w->e);
		moved = true;
	}
	if (rc || !moved)
		return rc;
	return (rc = os_fsync(root->staging, w->e)) ? rc : os_fsync(old, w->e);
}

/* What was in it and is named was taken out first. */
static enum rc is_free_of_bytes(struct applier *w, const struct stray *staging)
{
	const size_t dir = strlen(staging->dir), name = strlen(staging->name);

	for (size_t i = 0; i < w->st->spare_count; i++) {
		const struct spare *const s = &w->st->spares[i];
		if (s->place == SPARE_IN_STAGING && !s->freed && (w->s->spares[i].moved || w->s->spares[i].held) &&
			strncmp(s->dir, staging->dir, dir) == 0 && s->dir[dir] == '/' &&
			strncmp(s->dir + dir + 1, staging->name, name) == 0 &&
			(!s->dir[dir + 1 + name] || s->dir[dir + 1 + name] == '/'))
			return fail(w->e, RC_CORRUPT, "it may have the only copy of what is missing, which could not be taken out");
	}
	return RC_OK;
}

/* Whether a directory is where p has its staging. What was a mount of its own in an earlier run had one there, too. */
static enum rc is_own(struct applier *w, struct place *p, int dir, bool *own)
{
	struct stat here = {0}, there = {0};
	enum rc rc;

	if ((rc = open_own(w, p)) || (rc = os_stat_fd(p->own, &here, w->e)) || (rc = os_stat_fd(dir, &there, w->e)))
		return rc;
	*own = here.st_dev == there.st_dev && here.st_ino == there.st_ino;
	return RC_OK;
}

/* A directory of ours where no run has its own any more; with something set aside in it, it stays. */
static enum rc leave_place(struct applier *w, const char *path)
{
	const char *const parent = arena_printf(w->keep, "%.*s", (int)(strlen(path) - strlen("/" STORE_OWN_DIR)), path);
	struct err left = {0};
	auto_fd dir = -1;
	enum rc rc;

	if (!parent)
		return no_memory(w->e);
	if ((rc = store_open_path(w->st, parent, &dir, w->e)))
		return rc;
	rc = os_rmdir(dir, STORE_OWN_DIR, &left);
	if (rc && os_write_failed()) {
		*w->e = left;
		return rc;
	}
	return RC_OK;
}

/* What an earlier run left in its staging goes before anything else, because it may be what fills the disk; for the same reason
 * nothing is made for that: the old staging is this run's, if all goes that is in it, and it is where this run has its own. */
static enum rc clean_staging(struct applier *w, size_t index)
{
	const struct stray *const s = &w->st->strays[index];
	struct place *p = NULL;
	struct os_name *names = NULL; /* in keep: they outlive the removals */
	size_t count = 0;
	auto_fd dir = -1, old = -1;
	enum rc rc;

	if ((rc = is_free_of_bytes(w, s)) || (rc = store_open_path(w->st, s->dir, &dir, w->e)) || (rc = place_of(w, dir, &p)))
		return rc;
	bool own = false;
	if ((rc = is_own(w, p, dir, &own)))
		return rc;
	if (own && p->staging >= 0 && strcmp(s->name, p->staging_name) == 0)
		return RC_END; /* it was not there any more, and is this run's now */
	rc = os_open_dir(dir, s->name, &old, w->e);
	if (rc == RC_CORRUPT)
		return (rc = os_unlink(dir, s->name, w->e)) ? rc : os_fsync(dir, w->e);
	if (rc || (rc = os_list(old, w->keep, &names, &count, w->e)))
		return rc;
	const bool adopted = own && p->staging < 0;
	if (!adopted && (rc = open_staging(w, p)))
		return rc;
	if (adopted) {
		(void)print_to(p->staging_name, sizeof(p->staging_name), "%s", s->name); /* find_prefixed passes no longer one */
		p->staging = take_fd(&old);
		for (size_t i = 0; i < count; i++) {
			uint64_t number = 0;
			if (parse_decimal(span_of_string(names[i].name), &number) == RC_OK && number >= p->next && number < UINT64_MAX)
				p->next = number + 1;
		}
	}
	const int from = adopted ? p->staging : old;
	const uint64_t first = p->next;
	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		char number[NUMBER_TEXT_BYTES];
		if (store_is_intent(names[i].name))
			continue;
		next_name(p, number);
		rc = os_rename_new(from, names[i].name, p->staging, number, w->e);
	}
	if (rc == RC_OK)
		rc = remove_staged(w, p, first);
	if (rc && (os_write_failed() || !adopted))
		return rc == RC_END ? fail(w->e, RC_IO, "%s changed while it was removed", s->name) : rc;
	struct err why = *w->e;
	if (rc) { /* it stays, in nobody's way */
		old = take_fd(&p->staging);
		p->next = 0;
	}
	if (rc || !adopted || p != &w->places[0]) {
		const enum rc moved = move_intents(w, old >= 0 ? old : p->staging, names, count);
		if (moved)
			return moved;
	}
	*w->e = why;
	if (rc || adopted)
		return rc;
	if ((rc = os_rmdir(dir, s->name, w->e)) || (rc = os_fsync(dir, w->e)))
		return rc;
	return own ? RC_OK : leave_place(w, s->dir);
}

/* containerd's own words for a container whose task is gone after a reboot (containerd 2.3: internal/cri/store/container/
 * status.go): exited, 255, "Unknown". */
static enum rc write_status(struct applier *w, const struct state_file *f, int dir)
{
	const long long created = (long long)w->st->containers[f->container].created_ns;
	const char *const json = arena_printf(w->keep,
		"{\"Version\":\"v1\",\"Pid\":0,\"CreatedAt\":%lld,\"StartedAt\":%lld,\"FinishedAt\":%lld,\"ExitCode\":255,"
		"\"Reason\":\"Unknown\",\"Message\":\"\"}",
		created, created, created ? created : 1);
	struct place *p = NULL;
	char name[NUMBER_TEXT_BYTES];
	auto_fd fd = -1;
	enum rc rc;

	if (!json)
		return no_memory(w->e);
	if ((rc = place_of(w, dir, &p)) || (rc = open_staging(w, p)))
		return rc;
	next_name(p, name);
	if ((rc = os_create(p->staging, name, 0600, &fd, w->e)))
		return rc == RC_END ? fail(w->e, RC_IO, "%s/%s is in the way", p->staging_name, name) : rc;
	if ((rc = os_write(fd, 0, json, strlen(json), w->e)) || (rc = os_fsync(fd, w->e)) ||
		(rc = os_rename(p->staging, name, dir, "status", w->e)))
		return rc;
	return os_fsync(dir, w->e);
}

/* What containerd keeps of a container whose records go. It would delete it as soon as the records are gone. */
static enum rc set_cri_aside(struct applier *w, size_t index)
{
	const struct cri_record *const r = &w->st->cri[index];
	const bool sandbox = r->kind == CRI_SANDBOX;
	const char *const name = name_ok(r->id) ? arena_string(w->keep, r->id) : "";
	const char *const what = name ? arena_printf(w->keep, "%s-%s", sandbox ? "sandbox" : "container", name) : NULL;
	struct stat st = {0};
	auto_fd dir = -1;
	enum rc rc;

	if (!what)
		return no_memory(w->e);
	if (!*name)
		return RC_END;
	if ((rc = store_open_path(w->st, sandbox ? STORE_CRI_DIR "/sandboxes" : STORE_CRI_DIR "/containers", &dir, w->e)) ||
		(rc = os_stat(dir, name, &st, w->e)))
		return rc;
	return set_aside(w, dir, name, what);
}

static enum rc mend_state_file(struct applier *w, size_t index)
{
	const struct state_file *const f = &w->st->state_files[index];
	auto_fd dir = -1;
	enum rc rc = store_open_path(w->st, f->dir, &dir, w->e);

	if (rc)
		return rc;
	if (f->kind == STATE_CRI_STATUS)
		return write_status(w, f, dir);
	rc = os_unlink(dir, f->name, w->e);
	return rc ? rc : os_fsync(dir, w->e);
}

static enum rc carry_out(struct applier *w, const struct action *a)
{
	switch (a->kind) {
	case ACTION_CLEAN_STAGING:
		return clean_staging(w, a->index);
	case ACTION_REBUILD:
		return rebuild_snapshot(w, a->index);
	case ACTION_REMOVE_BLOB:
		return remove_blob(w, a->index, a->set_aside);
	case ACTION_FREE_BYTES:
		return free_bytes(w, a->index, a->set_aside);
	case ACTION_PLACE_BLOB:
		return place_blob(w, a->index);
	case ACTION_EDIT_META:
		return edit_database(w, &w->st->meta, "meta.db", &w->meta);
	case ACTION_EDIT_OVERLAY:
		return edit_database(w, &w->st->overlay, "metadata.db", &w->overlay);
	case ACTION_CUT_INGEST:
		return cut_ingest(w, a->index);
	case ACTION_REMOVE_INGEST:
		return remove_ingest(w, a->index);
	case ACTION_ASIDE_SNAPSHOT:
	case ACTION_REMOVE_SNAPSHOT:
		return remove_snapshot(w, a->index, a->set_aside);
	case ACTION_REMOVE_STRAY:
		return remove_stray(w, a->index, a->set_aside);
	case ACTION_STATE_FILE:
		return mend_state_file(w, a->index);
	case ACTION_ASIDE_CRI:
		return set_cri_aside(w, a->index);
	default:
		return RC_OK;
	}
}

static const char *phrase(enum action_kind k)
{
	switch (k) {
	case ACTION_REBUILD:
		return "putting files back";
	case ACTION_EDIT_META:
	case ACTION_EDIT_OVERLAY:
		return "changing databases";
	case ACTION_REMOVE_BLOB:
	case ACTION_CUT_INGEST:
	case ACTION_FREE_BYTES:
	case ACTION_PLACE_BLOB:
		return "mending content";
	case ACTION_CLEAN_STAGING:
	case ACTION_REMOVE_INGEST:
	case ACTION_ASIDE_SNAPSHOT:
	case ACTION_ASIDE_CRI:
	case ACTION_REMOVE_SNAPSHOT:
	case ACTION_REMOVE_STRAY:
	case ACTION_STATE_FILE:
	default:
		return "removing leftovers";
	}
}

/* ---- outcomes ---- */

static void note_deed(struct applier *w, const struct action *a)
{
	struct deed *const d = arena_push(w->keep, (void **)&w->result->deeds.at, &w->result->deeds.count, sizeof(*d));

	if (d)
		*d = (struct deed){a->kind, a->index, a->outcome, a->why};
	else
		w->result->no_memory = true;
}

/* The reason, which outlives the run. */
static const char *reason(struct applier *w, const struct err *e)
{
	const char *const text = arena_printf(w->keep, "%s%s%s", e->text, e->sys_errno ? ": " : "",
		e->sys_errno ? error_text(e->sys_errno) : "");
	return text ? text : "no memory";
}

/* What keeps an action from being begun; NULL: nothing. What is short is done after the deadline too, but 100,000 of it are not short. */
static const char *waits(const struct applier *w, const struct action *a)
{
	if (w->o->deadline_ns && a->kind != ACTION_EDIT_META && a->kind != ACTION_EDIT_OVERLAY &&
		os_clock_ns() >= w->o->deadline_ns + SHORT_NS)
		return "the time allowed (--budget) was over";
	if (a->kind == ACTION_EDIT_OVERLAY && w->result->meta_left)
		return "meta.db could not be changed";
	if (!a->recorded || !(w->result->meta_left || (a->kind == ACTION_REMOVE_SNAPSHOT && w->result->overlay_left)))
		return NULL;
	return "its record could not be removed";
}

/* Records stay as they are, with the reason. */
static void leave_edits(struct applier *w)
{
	const char *const why = reason(w, w->e);

	w->result->starved |= w->e->rc == RC_NOMEM;
	w->result->interrupted |= w->e->rc == RC_STOPPED && w->o->stop && *w->o->stop;
	for (size_t i = 0; i < w->p->action_count; i++) {
		struct action *const a = &w->p->actions[i];
		if ((a->kind != ACTION_EDIT_META && a->kind != ACTION_EDIT_OVERLAY) || a->outcome != OUTCOME_PENDING)
			continue;
		a->outcome = OUTCOME_LEFT;
		a->why = why;
		w->result->again |= a->kind == ACTION_EDIT_META;
		w->result->meta_left |= a->kind == ACTION_EDIT_META;
		w->result->overlay_left = true;
	}
	*w->e = (struct err){0};
}

/* What it is about, if that has a name that can be passed over. */
static bool name_of(const struct applier *w, const struct action *a, struct at_name *out)
{
	const struct store *const st = w->st;

	switch (a->kind) {
	case ACTION_REBUILD:
	case ACTION_ASIDE_SNAPSHOT:
	case ACTION_REMOVE_SNAPSHOT:
		return at_make_number(out, AT_SNAPSHOT, st->backends[a->index].id);
	case ACTION_REMOVE_BLOB:
	case ACTION_PLACE_BLOB:
		return at_make(out, AT_BLOB, st->blob_files[a->index].text);
	case ACTION_CUT_INGEST:
	case ACTION_REMOVE_INGEST:
		return at_make(out, AT_INGEST, st->ingests[a->index].name);
	case ACTION_FREE_BYTES:
	case ACTION_CLEAN_STAGING:
	case ACTION_ASIDE_CRI:
	case ACTION_EDIT_META:
	case ACTION_EDIT_OVERLAY:
	case ACTION_REMOVE_STRAY:
	case ACTION_STATE_FILE:
	default:
		return false;
	}
}

static enum rc one_action(struct applier *w, struct action *a)
{
	const struct arena mark = *w->keep;
	const struct journal *const stuck = w->o->stuck;
	struct at_name name;
	const bool named = name_of(w, a, &name);
	const bool passed_over = named && stuck && at_listed(stuck->stuck, stuck->stuck_count, &name);
	const char *const waiting = passed_over ? "the last check or repair ended here" : waits(w, a);
	enum rc rc = RC_OK;

	w->published = false;
	if (!waiting)
		at_put(w->o->at, 0, &name, named);
	if (!waiting)
		rc = carry_out(w, a);
	at_nothing(w->o->at, 0);
	/* rest of the arena: what a later action needs was made before */
	*w->keep = mark;
	if (!waiting && (rc == RC_OK || rc == RC_END)) {
		a->outcome = rc ? OUTCOME_NOTHING : OUTCOME_DONE;
		w->result->done += rc == RC_OK;
		return RC_OK;
	}
	w->result->interrupted |= rc == RC_STOPPED && w->o->stop && *w->o->stop;
	if (!waiting && os_write_failed()) {
		a->outcome = OUTCOME_DISK;
		a->why = reason(w, w->e);
		return rc;
	}
	a->outcome = OUTCOME_LEFT;
	a->why = waiting ? waiting : reason(w, w->e);
	w->result->starved |= !waiting && rc == RC_NOMEM;
	*w->e = (struct err){0};
	w->result->again |= plan_depends_on(a->kind);
	w->result->meta_left |= a->kind == ACTION_EDIT_META;
	w->result->overlay_left |= a->kind == ACTION_EDIT_OVERLAY;
	if (a->kind == ACTION_REBUILD) {
		w->result->left_snapshot[a->index] = true;
		w->keep_intents |= w->published;
	}
	return RC_OK;
}

/* If one before the databases' change was left, nothing from there on is done here: the plan is made again first. */
static enum rc all_actions(struct applier *w, bool first)
{
	struct plan *const p = w->p;
	enum rc rc = RC_OK;

	for (size_t i = 0; rc == RC_OK && i < p->action_count; i++) {
		struct action *const a = &p->actions[i];
		if (first && a->kind > ACTION_CLEAN_STAGING)
			break;
		if (a->outcome != OUTCOME_PENDING)
			continue; /* of an earlier round */
		if (a->kind >= ACTION_EDIT_META && w->result->again)
			break;
		if (w->result->interrupted || (w->o->stop && *w->o->stop)) {
			w->result->interrupted = true;
			break;
		}
		w->now = (struct progress){phrase(a->kind), w->result->written_bytes, p->write_bytes};
		if (w->o->progress)
			w->o->progress(w->o->self, &w->now);
		rc = one_action(w, a);
	}
	return rc;
}

/* What the run did not come to waits for the next. */
static void note_deeds(struct applier *w, enum rc rc)
{
	const bool ended = rc || w->result->interrupted;

	for (size_t i = 0; i < w->p->action_count; i++) {
		const struct action *const a = &w->p->actions[i];
		if (a->earlier)
			continue;
		if (a->outcome == OUTCOME_PENDING && ended) {
			struct action late = *a;
			late.why = w->result->interrupted ? "the repair was stopped before it" : "the repair ended before it";
			note_deed(w, &late);
		} else if (a->outcome != OUTCOME_PENDING) {
			note_deed(w, a);
		}
	}
}

/* Copies that there is no room for, an edit that does not fit, a database that may not be written: then records stay as they are, and
 * what needs no record changed is done. */
static enum rc prepare(struct applier *w)
{
	struct store *const st = w->st;
	enum rc rc = RC_OK;

	if (!w->p->meta.count && !w->p->overlay.count)
		return RC_OK;
	if ((rc = open_edits(w)) || (rc = may_write(w, &st->meta, "meta.db", &w->p->meta)) ||
		(rc = may_write(w, &st->overlay, "metadata.db", &w->p->overlay)) ||
		(rc = prepare_edit(w, &st->meta, &w->p->meta, &w->meta)) ||
		(rc = prepare_edit(w, &st->overlay, &w->p->overlay, &w->overlay)))
		return rc;
	const uint64_t grown = (w->meta.changed ? w->meta.append.left : 0) + (w->overlay.changed ? w->overlay.append.left : 0);
	const uint64_t copies = (w->meta.changed ? st->meta.src.size : 0) + (w->overlay.changed ? st->overlay.src.size : 0);
	if (!grown)
		return RC_OK;
	if ((rc = check_room(w, st->dir, grown + copies, 0)) ||
		(w->meta.changed && (rc = check_room(w, st->meta.dir, w->meta.append.left, 0))) ||
		(w->overlay.changed && (rc = check_room(w, st->overlay.dir, w->overlay.append.left, 0))) ||
		(rc = open_own(w, &w->places[0])))
		return rc;
	return back_up(w);
}

enum rc apply_plan(struct plan *p, struct store *st, const struct survey *s, const struct apply_options *o,
	struct arena *keep, struct apply_result *result, struct err *e)
{
	struct applier applier = {.p = p, .st = st, .s = s, .o = o, .keep = keep, .result = result, .e = e, .idle = o->threads > 1};
	struct applier *const w = &applier;
	w->pace = (struct pace){.ask = ask_and_tell, .self = w};
	struct own_synced synced = {0};
	enum rc rc;

	result->again = result->interrupted = false;
	if (p->action_count == 0)
		return RC_OK;
	if (!result->left_snapshot)
		result->left_snapshot = arena_array(keep, st->backend_count + 1, sizeof(*result->left_snapshot));
	for (size_t i = 0; i < p->action_count; i++)
		w->freed_count += p->actions[i].kind == ACTION_FREE_BYTES;
	w->freed = arena_array(keep, w->freed_count + 1, sizeof(*w->freed));
	w->freed_count = 0;
	if (!result->left_snapshot || !w->freed)
		return no_memory(e);
	if ((rc = add_place(w, st->dir, ".")))
		return rc;
	w->keep_intents = result->keep_intents; /* of an earlier round */
	for (size_t i = 0; i < st->backend_count; i++) /* half put right, it waits for who does not pass over it */
		w->keep_intents |= st->backends[i].interrupted && journal_is_stuck_number(o->stuck, AT_SNAPSHOT, st->backends[i].id);
	const size_t before = result->done;
	rc = all_actions(w, true);
	if (rc == RC_OK && !result->interrupted && (rc = prepare(w)) && !os_write_failed()) {
		leave_edits(w);
		rc = RC_OK;
	}
	if (rc == RC_OK && !result->interrupted && !result->again)
		rc = all_actions(w, false);
	arena_close(&w->edits);
	result->keep_intents = w->keep_intents;
	note_deeds(w, rc);
	for (size_t i = 0; rc == RC_OK && i < w->place_count; i++)
		rc = close_place(w, &w->places[i]);
	/* the removals too, so that a cut shows none of them again */
	for (size_t i = 0; rc == RC_OK && result->done > before && i < w->place_count; i++)
		rc = own_sync(&synced, w->places[i].base, e);
	forget_places(w);
	if (rc == RC_OK && result->no_memory)
		rc = no_memory(e);
	return rc;
}
