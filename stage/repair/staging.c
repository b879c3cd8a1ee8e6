/* SPDX-License-Identifier: MIT */
/* Our own directories beside what is repaired: where things are made, and where they are set aside. */
#include <errno.h>
#include <string.h>

#include "ground/os.h"
#include "ground/os_write.h"
#include "memory/own.h"
#include "repair/applier.h"

#define ASIDE_KEPT 64 /* entries of earlier runs in aside/ when one is added; the oldest go */

/* ---- our own directories ---- */

enum rc add_place(struct applier *w, int base, const char *path)
{
	struct place *const p = &w->places[w->place_count];

	*p = (struct place){.path = path, .base = -1, .own = -1, .staging = -1, .aside = -1, .aside_path = own_aside_paths[0]};
	const enum rc rc = os_open_dir(base, ".", &p->base, w->e);
	w->place_count += !rc;
	return rc == RC_END || rc == RC_CORRUPT ? fail(w->e, RC_IO, "%s is gone", path) : rc;
}

enum rc place_of(struct applier *w, int dir, struct place **place)
{
	const char *const paths[] = {STORE_CONTENT_DIR, STORE_OVERLAY_DIR, STORE_OVERLAY_DIR "/snapshots"};
	auto_fd content = -1;
	struct err ignored = {0}; /* then it is no candidate */
	enum rc rc;

	for (size_t i = 0; i < w->place_count; i++)
		if (os_same_mount(w->places[i].base, dir)) {
			*place = &w->places[i];
			return RC_OK;
		}
	if (os_open_dir(w->st->dir, STORE_CONTENT_DIR, &content, &ignored))
		content = -1;
	const int candidates[] = {content, w->st->overlay.dir, w->st->snapshots_dir};
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		if (candidates[i] < 0 || !os_same_mount(candidates[i], dir) || w->place_count == PLACES_MAX)
			continue;
		if ((rc = add_place(w, candidates[i], paths[i])))
			return rc;
		*place = &w->places[w->place_count - 1];
		return RC_OK;
	}
	errno = EXDEV;
	return fail(w->e, RC_IO, "it is on a mount of its own, where this program has no place to work");
}

enum rc open_own(struct applier *w, struct place *p)
{
	return own_open_dir(p->base, STORE_OWN_DIR, &p->own, w->e);
}

enum rc open_staging(struct applier *w, struct place *p)
{
	enum rc rc = open_own(w, p);

	if (rc || p->staging >= 0)
		return rc;
	for (unsigned i = 0; i < 10000; i++) {
		(void)print_to(p->staging_name, sizeof(p->staging_name), i ? OWN_STAGING "-%u" : OWN_STAGING, i); /* fits */
		rc = os_mkdir(p->own, p->staging_name, 0700, w->e);
		if (rc != RC_END)
			break; /* else it is of a run that was cut off */
	}
	if (rc)
		return rc == RC_END ? fail(w->e, RC_IO, "no free name in " STORE_OWN_DIR ": remove what is left there") : rc;
	if ((rc = os_fsync(p->own, w->e)) || (rc = os_open_dir(p->own, p->staging_name, &p->staging, w->e)))
		return rc == RC_END || rc == RC_CORRUPT ? fail(w->e, RC_IO, "%s is gone", p->staging_name) : rc;
	return RC_OK;
}

void next_name(struct place *p, char name[NUMBER_TEXT_BYTES])
{
	(void)print_to(name, NUMBER_TEXT_BYTES, "%llu", (unsigned long long)p->next++); /* fits */
}

/* ---- removing trees ---- */

/* Removes what is in one directory: files at once, directories by moving them up beside it, so that depth costs neither
 * descriptors nor stack. Never enters another file system. What cannot go stays in it, the rest goes. */
static enum rc empty_one(struct applier *w, struct place *p, const char *name, struct arena scratch)
{
	auto_fd dir = -1;
	struct os_name *names = NULL;
	struct stat here = {0}, inside = {0};
	size_t count = 0;
	enum rc rc, first = RC_OK;
	struct err why = {0};

	if ((rc = os_open_dir(p->staging, name, &dir, w->e)) || (rc = os_stat_fd(p->staging, &here, w->e)) ||
		(rc = os_stat_fd(dir, &inside, w->e)))
		return rc == RC_CORRUPT || rc == RC_END ? fail(w->e, RC_IO, "%s changed while it was removed", name) : rc;
	if (here.st_dev != inside.st_dev || !os_same_mount(p->staging, dir)) {
		errno = EBUSY;
		return fail(w->e, RC_IO, "a mount or a subvolume is in it");
	}
	if ((rc = os_list(dir, &scratch, &names, &count, w->e)))
		return rc;
	for (size_t i = 0; i < count && !os_write_failed(); i++) {
		struct stat st = {0};
		struct err one = {0};
		if ((rc = pace_on(&w->pace, 8 * PACE_CALL, &one))) {
			*w->e = one;
			return rc;
		}
		rc = os_stat(dir, names[i].name, &st, &one);
		if (!rc && S_ISDIR(st.st_mode)) {
			char up[NUMBER_TEXT_BYTES];
			next_name(p, up);
			rc = os_rename_new(dir, names[i].name, p->staging, up, &one);
		} else if (!rc) {
			rc = os_unlink(dir, names[i].name, &one);
		}
		if (rc == RC_END)
			rc = fail(&one, RC_IO, "%s changed while it was removed", name);
		if (rc && !first) {
			first = rc;
			why = one;
		}
	}
	if (first)
		*w->e = why;
	return first;
}

enum rc remove_staged(struct applier *w, struct place *p, uint64_t number)
{
	enum rc rc, first = RC_OK;
	struct err why = {0};

	for (; number < p->next && !os_write_failed(); number++) { /* what rises gets the next numbers */
		char name[NUMBER_TEXT_BYTES];
		struct stat st = {0};
		(void)print_to(name, sizeof(name), "%llu", (unsigned long long)number); /* fits */
		struct err one = {0};
		struct err *const outer = w->e;
		w->e = &one;
		rc = os_stat(p->staging, name, &st, &one);
		if (!rc && S_ISDIR(st.st_mode)) {
			rc = empty_one(w, p, name, *w->keep);
			if (!rc)
				rc = os_rmdir(p->staging, name, &one);
		} else if (!rc) {
			rc = os_unlink(p->staging, name, &one);
		}
		w->e = outer;
		if (rc && rc != RC_END && !first) {
			first = rc;
			why = one;
		}
		if (rc == RC_STOPPED)
			break;
	}
	if (first)
		*w->e = why;
	return first;
}

enum rc remove_tree(struct applier *w, int dir, const char *name)
{
	struct place *p = NULL;
	char trash[NUMBER_TEXT_BYTES];
	enum rc rc;

	if ((rc = place_of(w, dir, &p)) || (rc = open_staging(w, p)))
		return rc;
	const uint64_t number = p->next;
	next_name(p, trash);
	if ((rc = os_rename_new(dir, name, p->staging, trash, w->e)))
		return rc == RC_END ? fail(w->e, RC_IO, "%s/%s is in the way", p->staging_name, trash) : rc;
	if ((rc = os_fsync(dir, w->e)))
		return rc;
	return remove_staged(w, p, number);
}

enum rc begin_work(struct applier *w, struct place *p, uint64_t *number, int *fd)
{
	char name[NUMBER_TEXT_BYTES];
	enum rc rc = open_staging(w, p);

	if (rc)
		return rc;
	*number = p->next;
	next_name(p, name);
	if ((rc = os_mkdir(p->staging, name, 0700, w->e)) || (rc = os_open_dir(p->staging, name, fd, w->e)))
		return rc == RC_END || rc == RC_CORRUPT ? fail(w->e, RC_IO, "%s/%s is in the way", p->staging_name, name) : rc;
	return RC_OK;
}

enum rc remove_unused_place(int aside, const char *name, struct err *e)
{
	const enum rc rc = os_rmdir(aside, name, e);

	if (rc == RC_IO && (e->sys_errno == ENOTEMPTY || e->sys_errno == EEXIST)) {
		*e = (struct err){0};
		return RC_END;
	}
	return rc == RC_END ? RC_OK : rc;
}

/* Its name in containerd-fsck/. */
static const char *aside_name(const struct place *p)
{
	return p->aside_path + sizeof(STORE_OWN_DIR "/") - 1;
}

enum rc open_aside(struct applier *w, struct place *p)
{
	enum rc rc = open_own(w, p);

	for (size_t i = 0; rc == RC_OK && p->aside < 0 && i < OWN_ASIDES; i++) {
		struct arena scratch = *w->keep;
		struct os_name *names = NULL;
		struct err why = {0};
		size_t count = 0;
		p->aside_path = own_aside_paths[i];
		if ((rc = own_open_dir(p->own, aside_name(p), &p->aside, &why)) == RC_OK &&
			(rc = os_list(p->aside, &scratch, &names, &count, &why)) == RC_OK)
			return RC_OK;
		os_close(&p->aside);
		if (i + 1 == OWN_ASIDES || rc != RC_IO || os_write_failed())
			*w->e = why;
		else
			rc = RC_OK;
	}
	return rc;
}

/* Places that a rebuild made in aside/ and had no use for, before it was cut off. */
static enum rc sweep_aside(struct applier *w, const struct place *p)
{
	struct arena scratch = *w->keep;
	struct os_name *names = NULL;
	auto_fd aside = -1;
	size_t count = 0;
	struct err why = {0}; /* one that cannot be listed has a successor: what is in it stays */
	enum rc rc = os_open_dir(p->own, aside_name(p), &aside, &why);

	if (rc == RC_OK)
		rc = os_list(aside, &scratch, &names, &count, &why);
	if (rc)
		return rc == RC_NOMEM ? fail(w->e, rc, "%s", why.text) : RC_OK;
	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		struct stat st = {0};
		struct err left = {0}; /* what stays is in nobody's way */
		if (strncmp(names[i].name, "snapshot-", 9) != 0)
			continue;
		if (!(rc = os_stat(aside, names[i].name, &st, &left)) && S_ISDIR(st.st_mode))
			rc = remove_unused_place(aside, names[i].name, &left);
		if (rc && os_write_failed())
			*w->e = left;
		else
			rc = RC_OK;
	}
	return rc;
}

/* Intents, once nothing waits for them. */
static enum rc drop_intents(struct applier *w, const struct place *p)
{
	struct arena scratch = *w->keep;
	struct os_name *names = NULL;
	size_t count = 0;
	enum rc rc = w->keep_intents ? RC_OK : os_list(p->staging, &scratch, &names, &count, w->e);

	for (size_t i = 0; rc == RC_OK && i < count; i++)
		if (store_is_intent(names[i].name) &&
			(rc = os_unlink(p->staging, names[i].name, w->e)) == RC_END)
			rc = RC_OK;
	return rc;
}

enum rc close_place(struct applier *w, struct place *p)
{
	const bool root = p == &w->places[0];
	enum rc rc = RC_OK;

	if (p->staging >= 0) {
		struct err left = {0}; /* told by the action that could not empty it */
		if ((rc = sweep_aside(w, p)) || (rc = drop_intents(w, p)))
			return rc;
		os_close(&p->staging);
		rc = os_rmdir(p->own, p->staging_name, &left);
		if (rc && rc != RC_END && left.sys_errno != ENOTEMPTY && left.sys_errno != EEXIST) {
			*w->e = left;
			return rc;
		}
	}
	if (!root && p->own >= 0) {
		struct err left = {0};
		os_close(&p->aside);
		rc = os_rmdir(p->own, aside_name(p), &left);
		rc = os_rmdir(p->base, STORE_OWN_DIR, &left);
		if (rc && os_write_failed()) {
			*w->e = left;
			return rc;
		}
	}
	return RC_OK;
}

void forget_places(struct applier *w)
{
	for (size_t i = 0; i < w->place_count; i++) {
		os_close(&w->places[i].staging);
		os_close(&w->places[i].aside);
		os_close(&w->places[i].own);
		os_close(&w->places[i].base);
	}
	w->place_count = 0;
}

/* ---- setting aside ---- */

/* Whether bytes that something names may be in it, for all that could be looked at: see why_held in plan.c. */
static bool is_held_aside(const struct applier *w, const struct place *p, const char *name)
{
	char path[LIMIT_PATH_BYTES];
	const int n = print_to(path, sizeof(path), "%s%s%s", strcmp(p->path, ".") == 0 ? "" : p->path,
		strcmp(p->path, ".") == 0 ? "" : "/", p->aside_path); /* fits */
	const size_t name_length = strlen(name);

	if (w->s->bytes_unseen) /* and what names its bytes may be in that */
		return true;
	for (size_t i = 0; i < w->st->spare_count; i++) {
		const struct spare *const s = &w->st->spares[i];
		if (s->place != SPARE_IN_ASIDE || !(w->s->spares[i].held || w->s->spares[i].moved) ||
			strncmp(s->dir, path, (size_t)n) != 0)
			continue;
		const char *const below = s->dir + n; /* "", or "/<name>..." */
		if (*below ? strncmp(below + 1, name, name_length) == 0 && (!below[1 + name_length] || below[1 + name_length] == '/')
			   : strcmp(s->name, name) == 0)
			return true;
	}
	return false;
}

struct old_aside {
	uint64_t number;
	const char *name;
};

static int compare_numbers(const void *a, const void *b)
{
	const struct old_aside *const x = a, *const y = b;

	return (x->number > y->number) - (x->number < y->number);
}

/* Makes room in aside/ for one more: of what earlier runs set aside the oldest goes. Listed once, and again only as long as there is
 * something of theirs left to go: this run may set aside as much as somebody has put into the store. */
static enum rc prune_aside(struct applier *w, struct place *p)
{
	struct arena scratch = *w->keep;
	struct os_name *names = NULL;
	size_t count = 0, old_count = 0;
	enum rc rc = os_list(p->aside, &scratch, &names, &count, w->e);
	struct old_aside *const old = rc ? NULL : arena_array(&scratch, count + 1, sizeof(*old));

	if (rc)
		return rc;
	if (!old)
		return no_memory(w->e);
	for (size_t i = 0; i < count; i++) {
		uint64_t number = 0;
		const size_t digits = strcspn(names[i].name, "-");
		if (!names[i].name[digits] || parse_decimal(span_of(names[i].name, digits), &number))
			continue;
		if (number >= p->aside_next)
			p->aside_next = number + 1;
		if (!p->aside_listed || number < p->aside_first)
			old[old_count++] = (struct old_aside){number, names[i].name};
	}
	if (!p->aside_listed)
		p->aside_first = p->aside_next;
	p->aside_listed = true;
	if (old_count)
		sort(old, old_count, sizeof(*old), compare_numbers);
	struct arena *const keep = w->keep; /* what is removed is listed behind this list */
	w->keep = &scratch;
	p->aside_count = count;
	p->aside_old = old_count;
	for (size_t i = 0; rc == RC_OK && i < old_count && p->aside_count >= ASIDE_KEPT; i++) {
		p->aside_old--;
		if ((rc = pace_on(&w->pace, 4 * w->st->spare_count, w->e)) || is_held_aside(w, p, old[i].name))
			continue;
		if (!(rc = remove_tree(w, p->aside, old[i].name))) {
			p->aside_count--;
		} else if (!os_write_failed() && rc != RC_STOPPED) {
			*w->e = (struct err){0}; /* one that cannot go is one more */
			rc = RC_OK;
		}
	}
	w->keep = keep;
	return rc;
}

enum rc set_aside(struct applier *w, int dir, const char *name, const char *what)
{
	struct place *p = NULL;
	char to[LIMIT_NAME_BYTES + 1];
	enum rc rc;

	if ((rc = place_of(w, dir, &p)) || (rc = open_aside(w, p)))
		return rc;
	if ((!p->aside_listed || (p->aside_count >= ASIDE_KEPT && p->aside_old)) && (rc = prune_aside(w, p)))
		return rc;
	(void)print_to(to, sizeof(to), "%llu-%s", (unsigned long long)p->aside_next++, what); /* a cut name is still one */
	if ((rc = os_rename_new(dir, name, p->aside, to, w->e)))
		return rc == RC_END ? fail(w->e, RC_IO, "aside/%s is in the way", to) : rc;
	p->aside_count++;
	bool told = false;
	for (size_t i = 0; i < w->result->aside_count; i++)
		told |= w->result->aside[i] == p->path;
	if (!told && w->result->aside_count < APPLY_ASIDE_MAX) {
		w->result->aside[w->result->aside_count] = p->path;
		w->result->aside_paths[w->result->aside_count++] = p->aside_path;
	}
	/* both ends: without the second, a cut could show it in neither place */
	return (rc = os_fsync(p->aside, w->e)) ? rc : os_fsync(dir, w->e);
}
