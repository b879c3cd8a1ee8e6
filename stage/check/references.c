/* SPDX-License-Identifier: MIT */
/* What refers to what, what nothing refers to any more, and the records of containerd's CRI plugin. */
#include <stdio.h>
#include <string.h>

#include "check/run.h"
#include "ground/os.h"
#include "memory/at.h"

/* ---- pass 6: references and leftovers ---- */

/* RC_OK: it is; RC_END: it is not; else that is not known. */
static enum rc snapshot_dir_is_empty(const struct store *st, const struct backend *b, struct arena scratch, struct err *e)
{
	auto_fd dir = -1, fs = -1;
	size_t count = 0;
	enum rc rc;

	if (!b->dir_found)
		return RC_OK;
	if ((rc = os_open_dir(st->snapshots_dir, b->dir, &dir, e)))
		return rc == RC_CORRUPT ? RC_END : rc;
	if ((rc = os_open_dir(dir, "fs", &fs, e)))
		return rc == RC_END ? RC_OK : rc == RC_CORRUPT ? RC_END : rc;
	rc = os_list(fs, &scratch, NULL, &count, e);
	return rc == RC_OK && count ? RC_END : rc;
}

static void emit_backend(struct survey_run *r, size_t index)
{
	const struct store *const st = r->st;
	const struct backend *const b = &st->backends[index];
	struct finding f = {.subject = SUBJECT_BACKEND, .index = index, .ns = b->ns_name, .name = snapshot_name(st, index)};

	struct backend_facts facts = store_backend_facts(st, b);
	struct err why = {0};
	/* a committed one has files */
	if (!facts.in_meta && !facts.it.committed && policy_owner(&facts.it) == OWNER_USER) {
		const enum rc empty = snapshot_dir_is_empty(st, b, *r->keep, &why);
		facts.content = empty == RC_OK ? IS_EMPTY : empty == RC_END ? IS_NOT_EMPTY : MAY_BE_EMPTY;
	}
	const struct ruling ruling = policy_backend(&facts);
	r->s->snapshots[index].content = facts.content;
	if (ruling.problem == P_COUNT)
		return;
	f.problem = ruling.problem;
	if (ruling.problem == P_ACTIVE_DIR)
		f.got = b->id;
	else if (ruling.problem == P_PARENT_MISSING)
		f.why = b->parent;
	else if (ruling.problem == P_SNAPSHOT_UNCHECKED)
		f.why = text_of(why.sys_errno ? error_text(why.sys_errno) : why.text);
	else if (!facts.in_meta)
		f.why = text_of("meta.db does not know it, and it may hold a container's data");
	emit(r, f);
}

static void emit_stray(struct survey_run *r, size_t index)
{
	static const enum problem_id of_kind[] = {[STRAY_BLOB_NAME] = P_BLOB_NAME,
		[STRAY_SNAPSHOT_DIR] = P_SNAPSHOT_DIR_ORPHAN,
		[STRAY_SNAPSHOT_NEW] = P_SNAPSHOT_HALF,
		[STRAY_SNAPSHOT_OTHER] = P_SNAPSHOT_STRAY,
		[STRAY_PROBE] = P_PROBE,
		[STRAY_TMPMOUNT] = P_TMPMOUNT,
		[STRAY_OWN] = P_OWN_STAGING};
	const struct stray *const s = &r->st->strays[index];
	char path[LIMIT_PATH_BYTES];

	if (s->kind == STRAY_TMPMOUNT && (!s->empty || !s->is_directory))
		return; /* not ours to judge */
	if (!s->is_directory && s->spares.count) {
		const struct spare_state *const bytes = &r->s->spares[s->spares.first];
		if (bytes->moved || (bytes->held && bytes->verdict == SPARE_IS_UNREADABLE))
			return; /* told as what its bytes are, or may be */
	}
	(void)print_to(path, sizeof(path), "%s/%s", s->dir, s->name); /* both are short */
	emit(r, (struct finding){
			.problem = of_kind[s->kind], .subject = SUBJECT_STRAY, .index = index, .path = span_of_string(path)});
}

void pass_references(struct survey_run *r)
{
	const struct store *const st = r->st;

	for (size_t i = 0; i < st->backend_count; i++)
		emit_backend(r, i);
	for (size_t i = 0; i < st->snapshot_count; i++) {
		const struct snapshot *const s = &st->snapshots[i];
		const struct snapshot_facts facts = store_snapshot_facts(st, s->ns, s->key, false);
		if (s->backend == STORE_NONE && !st->overlay_elsewhere)
			emit(r, (struct finding){.problem = policy_meta_only(&facts, false).problem,
					.subject = SUBJECT_SNAPSHOT,
					.index = i,
					.ns = ns_name(st, s->ns),
					.name = s->key});
		if (s->unleased)
			emit(r, (struct finding){.problem = P_LEASE_GONE,
					.subject = SUBJECT_SNAPSHOT,
					.index = i,
					.ns = ns_name(st, s->ns),
					.name = s->key});
	}
	for (size_t i = 0; i < st->lease_count; i++) {
		const struct lease *const l = &st->leases[i];
		const struct lease_facts facts = store_lease_facts(st, l);
		const struct ruling ruling = policy_lease(&facts);
		if (ruling.problem != P_COUNT)
			emit(r, (struct finding){.problem = ruling.problem,
					.subject = SUBJECT_LEASE,
					.index = i,
					.ns = ns_name(st, l->ns),
					.name = l->id});
	}
	for (size_t i = 0; i < st->stray_count; i++)
		emit_stray(r, i);
	for (size_t i = 0; i < st->state_file_count; i++) {
		const struct state_file *const f = &st->state_files[i];
		char path[LIMIT_PATH_BYTES];
		(void)print_to(path, sizeof(path), "%s/%s", f->dir, f->name); /* both are short */
		emit(r, (struct finding){.problem = f->kind == STATE_UUID	    ? P_UUID_BROKEN
						    : f->kind == STATE_CRI_STATUS ? P_CRI_STATUS
										    : P_STATE_UNCHECKED,
				.subject = SUBJECT_STATE_FILE,
				.index = i,
				.path = span_of_string(path),
				.why = text_of(f->why),
				.name = f->container == STORE_NONE ? (struct span){0} : st->containers[f->container].id});
	}
}

/* ---- records of containerd's CRI plugin ---- */

static void emit_cri(struct survey_run *r, size_t index)
{
	const struct store *const st = r->st;
	const struct cri_record *const record = &st->cri[index];
	const struct cri_judgement *const j = &r->s->cri[index];
	const bool sandbox = record->kind != CRI_CONTAINER;
	const struct span id = record->id, name = record->metadata.name;
	char text[LIMIT_PATH_BYTES] = "";
	struct finding f = {.subject = SUBJECT_CRI, .index = index, .ns = span_of_string(STORE_KUBERNETES), .name = id};

	switch (j->verdict) {
	case CRI_NAME_IS_TAKEN:
		f.problem = sandbox ? P_CRI_SANDBOX_NAME : P_CRI_CONTAINER_NAME;
		(void)print_to(text, sizeof(text), "%.*s is that of %.*s", (int)min_u64(name.left, 1000), (const char *)name.at,
			(int)min_u64(st->cri[j->other].id.left, 1000), (const char *)st->cri[j->other].id.at); /* fits */
		f.why = span_of_string(text);
		break;
	case CRI_HAS_NO_SANDBOX:
		f.problem = P_CRI_NO_SANDBOX;
		(void)print_to(text, sizeof(text), "%.*s %s", (int)min_u64(record->metadata.sandbox.left, 1000),
			(const char *)record->metadata.sandbox.at, j->other == SIZE_MAX ? "is not there" : "cannot stay either"); /* fits */
		f.why = span_of_string(text);
		break;
	case CRI_HAS_NO_DIRECTORY:
	case CRI_IS_UNCHECKED:
		f.problem = j->verdict == CRI_IS_UNCHECKED ? P_CRI_UNCHECKED : P_CRI_NO_DIRECTORY;
		(void)print_to(text, sizeof(text), STORE_CRI_DIR "/containers/%.*s", (int)min_u64(id.left, 1000),
			(const char *)id.at); /* fits */
		f.path = span_of_string(text);
		if (j->verdict == CRI_IS_UNCHECKED)
			f.why = text_of(record->directory == CRI_DIR_UNKNOWN
						? "it, or the directory it is in, could not be opened"
						: "that of another container of its name could not be opened");
		break;
	case CRI_HAS_NO_METADATA:
		f.problem = P_CRI_NO_METADATA;
		f.why = text_of(sandbox ? "sandbox" : "container");
		break;
	case CRI_STAYS:
	case CRI_GOES_WITH: /* what it goes with is told of */
	default:
		return;
	}
	emit(r, f);
}

enum rc pass_cri(struct survey_run *r)
{
	struct survey *const s = r->s;
	const struct store *const st = r->st;

	s->cri = arena_array(r->keep, st->cri_count + 1, sizeof(*s->cri));
	if (!s->cri || cri_judge(st->cri, st->cri_count, *r->keep, s->cri))
		return no_memory(r->e);
	for (size_t i = 0; i < st->cri_count; i++)
		emit_cri(r, i);
	return RC_OK;
}
