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
#include "apply.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "at.h"
#include "feed.h"
#include "layer.h"
#include "os.h"
#include "os_write.h"
#include "own.h"
#include "rebuild.h"

#define FREE_TRIES 64 /* names for one that has to make room */
#define COPY_BYTES ((size_t)1 << 20)
#define ASIDE_KEPT 64 /* entries of earlier runs in aside/ when one is added; the oldest go */

/* What a run of ours may need beside the content it writes: directories, journal of the file system. */
#define SPACE_MARGIN_BYTES ((uint64_t)4 << 20)

/* Where things are made before they take their names, and moved to before they go. A rename does not leave a mount, and parts of a
 * store may be mounts of their own, bind mounts of one file system among them: so each mount has a place of its own, containerd-fsck/
 * in the topmost directory of the store that is on it. What containerd sweeps (snapshots/) has it for no longer than a run takes. */
#define PLACES_MAX 4 /* the root, content, the snapshotter, snapshots/ */

struct place {
	const char *path;         /* of base, relative to the root; "." for the root */
	int base, own, staging, aside; /* -1 until needed */
	char staging_name[32];    /* of this run alone: what an earlier one could not remove is in nobody's way */
	uint64_t next;            /* numbers of names in staging */
	uint64_t aside_first, aside_next; /* numbers: first of this run, next */
	bool aside_listed;
	size_t aside_count, aside_old; /* what is in it, and what of earlier runs can go */
	const char *aside_path; /* of own_aside_paths */
};

struct applier {
	struct plan *p;
	struct store *st;
	const struct survey *s;
	const struct apply_options *o;
	struct arena *keep;
	struct apply_result *result;
	struct err *e;
	struct place places[PLACES_MAX];
	size_t place_count;
	bool published;   /* the rebuild under way has begun to rename */
	bool keep_intents; /* one that had is not done: its intent must be found by the next run */
	atomic_int idle;  /* processors, for feed */
	struct pace pace;
	struct progress now; /* the action under way */
	uint64_t told_ns;    /* when that was told last */
	struct freed {
		char name[2 * DIGEST_MAX_BYTES + 24];
	} *freed; /* names of ours, room for each that may get one */
	size_t freed_count;
	uint64_t edit_until_ns; /* so long no deadline ends the databases' change */
	struct arena edits; /* what both databases' changes take, until they are made; opened by prepare */
	struct bolt_image meta, overlay;
};

/* Of a struct pace; any thread's. */
static enum rc ask(void *self, struct err *e)
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
	return ask(w, e);
}

/* Records tell containerd what is not good: their change is made even where the time is over, if it does not take long. */
#define EDIT_NS 500000000u

static enum rc ask_of_edit(void *self, struct err *e)
{
	const struct applier *const w = self;

	return os_clock_ns() < w->edit_until_ns && !(w->o->stop && *w->o->stop) ? RC_OK : ask(self, e);
}

/* ---- our own directories ---- */

static enum rc add_place(struct applier *w, int base, const char *path)
{
	struct place *const p = &w->places[w->place_count];

	*p = (struct place){.path = path, .base = -1, .own = -1, .staging = -1, .aside = -1, .aside_path = own_aside_paths[0]};
	const enum rc rc = os_open_dir(base, ".", &p->base, w->e);
	w->place_count += !rc;
	return rc == RC_END || rc == RC_CORRUPT ? fail(w->e, RC_IO, "%s is gone", path) : rc;
}

/* The place behind whose mount dir lies. */
static enum rc place_of(struct applier *w, int dir, struct place **place)
{
	static const char *const paths[] = {STORE_CONTENT_DIR, STORE_OVERLAY_DIR, STORE_OVERLAY_DIR "/snapshots"};
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

static enum rc open_own(struct applier *w, struct place *p)
{
	return own_open_dir(p->base, STORE_OWN_DIR, &p->own, w->e);
}

/* A new directory of this run. */
static enum rc open_staging(struct applier *w, struct place *p)
{
	enum rc rc = open_own(w, p);

	if (rc || p->staging >= 0)
		return rc;
	for (unsigned i = 0; i < 10000; i++) {
		(void)snprintf(p->staging_name, sizeof(p->staging_name), i ? OWN_STAGING "-%u" : OWN_STAGING, i); /* fits */
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

#define NUMBER_TEXT_BYTES 32

static void next_name(struct place *p, char name[NUMBER_TEXT_BYTES])
{
	(void)snprintf(name, NUMBER_TEXT_BYTES, "%llu", (unsigned long long)p->next++); /* fits */
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

/* Removes a directory in staging, by its number. A cut leaves staging behind, which is a finding of the next run. */
static enum rc remove_staged(struct applier *w, struct place *p, uint64_t number)
{
	enum rc rc, first = RC_OK;
	struct err why = {0};

	for (; number < p->next && !os_write_failed(); number++) { /* what rises gets the next numbers */
		char name[NUMBER_TEXT_BYTES];
		struct stat st = {0};
		(void)snprintf(name, sizeof(name), "%llu", (unsigned long long)number); /* fits */
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

/* Out of sight in one step, then gone; with what cannot go left in staging. */
static enum rc remove_tree(struct applier *w, int dir, const char *name)
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

/* A directory of staging for one action. */
static enum rc begin_work(struct applier *w, struct place *p, uint64_t *number, int *fd)
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

/* The place that a rebuild made in aside/ for what is in its way. RC_END: something is in it. */
static enum rc remove_unused_place(int aside, const char *name, struct err *e)
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

/* The first that can be listed: what cannot be may hold anything, and stays as it is. */
static enum rc open_aside(struct applier *w, struct place *p)
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
		if (strncmp(names[i].name, "snapshot-", 9) != 0)
			continue;
		if (!(rc = os_stat(aside, names[i].name, &st, w->e)) && S_ISDIR(st.st_mode))
			rc = remove_unused_place(aside, names[i].name, w->e);
		if (rc == RC_END)
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

/* Removes this run's staging, empty by then but for what could not be removed, and intents of what is not done. Of a place that is not
 * the root's, ours goes too, unless something was set aside there. */
static enum rc close_place(struct applier *w, struct place *p)
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

static void forget_places(struct applier *w)
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
	const int n = snprintf(path, sizeof(path), "%s%s%s", strcmp(p->path, ".") == 0 ? "" : p->path,
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
		return fail(w->e, RC_NOMEM, "no memory to set something aside");
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
		qsort(old, old_count, sizeof(*old), compare_numbers);
	struct arena *const keep = w->keep; /* what is removed is listed behind this list */
	w->keep = &scratch;
	p->aside_count = count;
	p->aside_old = old_count;
	for (size_t i = 0; rc == RC_OK && i < old_count && p->aside_count >= ASIDE_KEPT; i++) {
		p->aside_old--;
		if (is_held_aside(w, p, old[i].name))
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

/* To aside/<number>-<what>. */
static enum rc set_aside(struct applier *w, int dir, const char *name, const char *what)
{
	struct place *p = NULL;
	char to[LIMIT_NAME_BYTES + 1];
	enum rc rc;

	if ((rc = place_of(w, dir, &p)) || (rc = open_aside(w, p)))
		return rc;
	if ((!p->aside_listed || (p->aside_count >= ASIDE_KEPT && p->aside_old)) && (rc = prune_aside(w, p)))
		return rc;
	(void)snprintf(to, sizeof(to), "%llu-%s", (unsigned long long)p->aside_next++, what); /* a cut name is still one */
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

/* ---- databases ---- */

static enum rc add_edits(struct bolt_edit *t, const struct edits *edits, struct err *e)
{
	for (size_t i = 0; i < edits->count; i++) {
		const struct edit *const edit = &edits->at[i];
		struct bolt_path path = *edit->in;
		path.part[path.count++] = span_of(edit->name, edit->name_bytes);
		const enum rc rc = edit->kind == EDIT_PUT ? bolt_edit_put(t, &path, span_of(edit->value, edit->value_bytes), e)
							  : bolt_edit_remove(t, &path, e);
		if (rc)
			return rc == RC_END ? fail(e, RC_CORRUPT, "an edit does not fit the database") : rc;
	}
	return RC_OK;
}

/* Computed before anything is written: an edit that cannot be made stops the whole run. */
static enum rc prepare_edit(struct applier *w, struct database *d, const struct edits *edits, struct bolt_image *image)
{
	struct bolt_edit *t = NULL;
	enum rc rc;

	if (!edits->count)
		return RC_OK;
	struct pace pace = {.ask = ask_of_edit, .self = w};
	d->bolt.pace = &pace;
	if ((rc = bolt_edit_begin(&t, &d->bolt, &w->edits, w->e)) == RC_OK && (rc = add_edits(t, edits, w->e)) == RC_OK)
		rc = bolt_edit_make(t, image, w->e);
	d->bolt.pace = NULL; /* which outlives this */
	if (rc != RC_NOMEM || !arena_is_full(&w->edits))
		return rc;
	*w->e = (struct err){0};
	return fail(w->e, RC_LIMIT, "so many records are too big to change within %zu MiB of memory", LIMIT_KEEP_BYTES >> 20);
}

/* Whether a database that is to be changed can be opened for that: asked before anything is done that only its change makes whole. */
static enum rc may_write(struct applier *w, const struct database *d, const char *file, const struct edits *edits)
{
	auto_fd fd = -1;
	const enum rc rc = edits->count ? os_open_write(d->dir, file, &fd, w->e) : RC_OK;

	return rc == RC_END ? fail(w->e, RC_IO, "%s is gone", d->path) : rc;
}

static enum rc compare_written(struct applier *w, int fd, uint64_t at, struct span want, const char *path)
{
	struct arena scratch = *w->keep;
	uint8_t *const buf = arena_get(&scratch, COPY_BYTES);

	if (!buf)
		return fail(w->e, RC_NOMEM, "no memory to read back %s", path);
	(void)posix_fadvise(fd, (off_t)at, (off_t)want.left, POSIX_FADV_DONTNEED); /* only a hint */
	for (size_t done = 0; done < want.left;) {
		const size_t n = want.left - done < COPY_BYTES ? want.left - done : COPY_BYTES;
		size_t got = 0;
		const enum rc rc = os_read(fd, at + done, buf, n, &got, w->e);
		if (rc)
			return rc;
		if (got != n || memcmp(buf, want.at + done, n) != 0) {
			errno = EIO;
			return fail(w->e, RC_IO, "%s does not read back as it was written", path);
		}
		done += n;
	}
	return RC_OK;
}

/* Before the meta page is durable: the old database, perhaps with pages behind it that nothing refers to. After: the new.
 * A torn meta page fails its checksum, and the other one still shows the old. */
static enum rc edit_database(struct applier *w, const struct database *d, const char *file, const struct bolt_image *image)
{
	auto_fd fd = -1;
	struct stat st = {0};
	enum rc rc;

	if (!image->changed)
		return RC_END;
	if ((rc = os_open_write(d->dir, file, &fd, w->e)))
		return rc == RC_END ? fail(w->e, RC_IO, "%s is gone", d->path) : rc;
	if ((rc = os_stat_fd(fd, &st, w->e)))
		return rc;
	if ((uint64_t)st.st_size < image->file_bytes && (rc = os_truncate(fd, image->file_bytes, w->e)))
		return rc;
	if ((rc = os_write(fd, image->append_at, image->append.at, image->append.left, w->e)) || (rc = os_fsync(fd, w->e)) ||
		(rc = compare_written(w, fd, image->append_at, image->append, d->path)) ||
		(rc = os_write(fd, image->meta_at, image->meta_page.at, image->meta_page.left, w->e)) ||
		(rc = os_fsync(fd, w->e)))
		return rc;
	return compare_written(w, fd, image->meta_at, image->meta_page, d->path);
}

/* ---- content ---- */

static const char *hex_of(const struct digest *d, char text[DIGEST_TEXT_BYTES])
{
	digest_format(d, text);
	return strchr(text, ':') + 1;
}

/* Bytes that are not under their own name: nothing needs them, or they were moved to where the next run looks. */
static bool may_go(const struct applier *w, size_t spare)
{
	return w->st->spares[spare].freed || !(w->s->spares[spare].moved || w->s->spares[spare].held);
}

static enum rc remove_blob(struct applier *w, size_t index, bool aside)
{
	const struct blob *const b = &w->st->blob_files[index];
	char text[DIGEST_TEXT_BYTES];
	const char *const hex = hex_of(&b->digest, text);
	auto_fd dir = -1;
	enum rc rc = store_open_blob_dir(w->st, b->digest.kind, &dir, w->e);

	if (rc)
		return rc;
	for (size_t i = b->spares.first; i < b->spares.first + b->spares.count; i++)
		if (!aside && !may_go(w, i))
			return fail(w->e, RC_CORRUPT, "it has the bytes of another blob, which could not be taken out");
	if (aside) {
		rc = set_aside(w, dir, hex, hex);
		for (size_t i = b->spares.first; !rc && i < b->spares.first + b->spares.count; i++)
			w->st->spares[i].freed = true;
		return rc;
	}
	rc = os_unlink(dir, hex, w->e);
	return rc ? rc : os_fsync(dir, w->e);
}

static enum rc open_or_make(int parent, const char *name, mode_t mode, int *fd, struct err *e)
{
	enum rc rc = os_open_dir(parent, name, fd, e);

	if (rc != RC_END)
		return rc == RC_CORRUPT ? fail(e, RC_IO, "%s is no directory", name) : rc;
	if ((rc = os_mkdir(parent, name, mode, e)) && rc != RC_END)
		return rc;
	if ((rc = os_fsync(parent, e)))
		return rc;
	return os_open_dir(parent, name, fd, e);
}

/* What lies in the way of a blob's bytes is not in the way of the blob's name: so that no two of them, each with the other's bytes,
 * are in each other's way either. The name is one that the next run takes for a stray, and hashes. */
static enum rc free_bytes(struct applier *w, size_t index, bool aside)
{
	struct spare *const s = &w->st->spares[index];
	const size_t blob = w->s->spares[index].blob;
	char text[DIGEST_TEXT_BYTES];
	struct freed *const freed = &w->freed[w->freed_count++];
	auto_fd content = -1, blobs = -1, kind = -1, dir = -1;
	enum rc rc = store_open_path(w->st, s->dir, &dir, w->e);

	if (rc)
		return rc == RC_END ? fail(w->e, RC_IO, "%s is gone", s->dir) : rc;
	if (aside) {
		s->freed = (rc = set_aside(w, dir, s->name, s->name)) == RC_OK;
		return rc;
	}
	const struct digest *const d = &w->st->blob_files[blob].digest;
	const char *const hex = hex_of(d, text);
	if ((rc = os_open_dir(w->st->dir, STORE_CONTENT_DIR, &content, w->e)) ||
		(rc = open_or_make(content, "blobs", 0755, &blobs, w->e)) ||
		(rc = open_or_make(blobs, digest_name(d->kind), 0755, &kind, w->e)))
		return rc;
	for (unsigned i = 0; i < FREE_TRIES; i++) {
		(void)snprintf(freed->name, sizeof(freed->name), "%s.found-%u", hex, i); /* fits */
		if ((rc = os_rename_new(dir, s->name, kind, freed->name, w->e)) == RC_END)
			continue;
		if (rc || (rc = os_fsync(kind, w->e)) || (rc = os_fsync(dir, w->e)))
			return rc;
		s->dir = store_blob_dir_path(d->kind);
		s->name = freed->name;
		s->place = SPARE_IN_CONTENT;
		s->freed = true;
		return RC_OK;
	}
	return fail(w->e, RC_IO, "%s.found is in the way", hex);
}

/* Of the files in something that is to be removed: all that is named lies under its own name by now. The plan sees to it; but nothing
 * goes without having been asked about. */
static enum rc is_in_place(struct applier *w, struct range spares)
{
	for (size_t i = spares.first; i < spares.first + spares.count; i++) {
		const size_t blob = w->s->spares[i].blob;
		if (blob != STORE_NONE && w->st->blob_files[blob].spare != STORE_NONE && !w->st->blob_files[blob].placed)
			return fail(w->e, RC_CORRUPT, "it has the bytes of a blob that could not be put into place");
	}
	return RC_OK;
}

/* The bytes were verified; they are made durable, sealed, and then take their name. Replaces a damaged blob of that name. */
static enum rc place_blob(struct applier *w, size_t index)
{
	struct blob *const b = &w->st->blob_files[index];
	const struct spare *const s = &w->st->spares[b->spare];
	char text[DIGEST_TEXT_BYTES];
	const char *const hex = hex_of(&b->digest, text);
	auto_fd content = -1, blobs = -1, algorithm = -1, dir = -1, data = -1;
	enum rc rc = store_open_path(w->st, s->dir, &dir, w->e);

	for (size_t i = b->spares.first; i < b->spares.first + b->spares.count; i++)
		if (!may_go(w, i))
			return fail(w->e, RC_CORRUPT, "what lies under its name may be the only copy of another blob");
	if (rc == RC_OK)
		rc = os_open_file(dir, s->name, &data, w->e);
	if (rc)
		return rc == RC_END || rc == RC_CORRUPT ? fail(w->e, RC_IO, "%s/%s changed", s->dir, s->name) : rc;
	if ((rc = os_open_dir(w->st->dir, STORE_CONTENT_DIR, &content, w->e)) ||
		(rc = open_or_make(content, "blobs", 0755, &blobs, w->e)) ||
		(rc = open_or_make(blobs, digest_name(b->digest.kind), 0755, &algorithm, w->e)) ||
		(rc = os_chmod(dir, s->name, 0444, w->e)) || (rc = os_fsync(data, w->e)) ||
		(rc = os_rename(dir, s->name, algorithm, hex, w->e)) || (rc = os_fsync(algorithm, w->e)))
		return rc == RC_END || rc == RC_CORRUPT ? fail(w->e, RC_IO, "%s/%s changed", s->dir, s->name) : rc;
	b->placed = true;
	if (w->st->blobs < 0) /* it was lost as well: whoever reads the blob next finds it here */
		w->st->blobs = take_fd(&blobs);
	return os_fsync(dir, w->e);
}

/* containerd goes on at the end of the data. A cut leaves it longer, and the next run does this again. */
static enum rc cut_ingest(struct applier *w, size_t index)
{
	const char *const name = (const char *)w->st->ingests[index].name.at;
	auto_fd dir = -1, data = -1;
	enum rc rc = os_open_dir(w->st->ingest_dir, name, &dir, w->e);

	if (rc == RC_OK)
		rc = os_open_write(dir, "data", &data, w->e);
	if (rc)
		return rc == RC_END || rc == RC_CORRUPT ? fail(w->e, RC_IO, "ingest/%s changed", name) : rc;
	rc = os_truncate(data, w->s->ingests[index].settled_bytes, w->e);
	return rc ? rc : os_fsync(data, w->e);
}

static enum rc remove_ingest(struct applier *w, size_t index)
{
	struct stat st = {0};
	const char *const name = (const char *)w->st->ingests[index].name.at;
	enum rc rc;

	if ((rc = is_in_place(w, w->st->ingests[index].spares)) || (rc = os_stat(w->st->ingest_dir, name, &st, w->e)))
		return rc;
	return remove_tree(w, w->st->ingest_dir, name);
}

/* ---- snapshots ---- */

/* fs directories of the ancestors, nearest first. */
struct lowers {
	int *fd;
	size_t count;
};

static void close_lowers(struct lowers *l)
{
	for (size_t i = 0; i < l->count; i++)
		os_close(&l->fd[i]);
	l->count = 0;
}

static enum rc open_lowers(struct applier *w, size_t backend, struct arena *a, struct lowers *l)
{
	const struct store *const st = w->st;
	size_t depth = 0;

	for (size_t at = st->backends[backend].parent_index; at != STORE_NONE && depth < LIMIT_LAYERS;
		at = st->backends[at].parent_index)
		depth++;
	l->fd = arena_array(a, depth + 1, sizeof(*l->fd));
	if (!l->fd)
		return fail(w->e, RC_NOMEM, "no memory for the layers below");
	for (size_t at = st->backends[backend].parent_index; at != STORE_NONE && l->count < depth;
		at = st->backends[at].parent_index) {
		auto_fd dir = -1;
		int fs = -1;
		enum rc rc = os_open_dir(st->snapshots_dir, st->backends[at].dir, &dir, w->e);
		if (rc == RC_OK)
			rc = os_open_dir(dir, "fs", &fs, w->e);
		if (rc == RC_IO) {
			close_lowers(l);
			return rc;
		}
		if (rc == RC_OK) /* one that is lost has nothing to copy an attribute from */
			l->fd[l->count++] = fs;
	}
	return RC_OK;
}

/* One replay of the proof with somebody watching; ok only if blob and content are what they were. */
static enum rc replay(struct applier *w, size_t backend, struct layer *l, const struct layer_watch *watch, struct arena *a)
{
	const struct snapshot_state *const state = &w->s->snapshots[backend];
	const struct pace beside = {.ask = ask, .self = w};
	const struct feed_options options = {.hash_content = true, .pace = &beside, .idle = &w->idle};
	struct feed_result result = {0};
	struct feed *feed = NULL;
	struct tar *tar = NULL;
	const struct blob *const b = &w->st->blob_files[state->proof];
	auto_fd fd = -1;
	enum rc rc = store_open_blob(w->st, state->proof, &fd, w->e);

	if (rc == RC_OK && (rc = feed_open(&feed, &fd, b->size, &b->digest, &options, a, w->e)) == RC_OK &&
		(rc = feed_tar(feed, &tar, w->e)) == RC_OK && (rc = layer_replay(l, tar, watch, w->e)) == RC_OK)
		rc = feed_finish(feed, true, &result, w->e);
	feed_close(feed);
	if (rc)
		return rc == RC_END || rc == RC_CORRUPT ? fail(w->e, RC_IO, "a layer changed since it was checked") : rc;
	if (result.too_much) {
		*w->e = result.why;
		return result.why.rc;
	}
	if (!result.blob_good || !result.content_known || !digest_equal(&result.content, state->diff_id)) {
		errno = EIO;
		return fail(w->e, RC_IO, "a layer reads differently than when it was checked");
	}
	return RC_OK;
}

static void ignore_difference(void *self, const struct layer_difference *d)
{
	(void)self;
	(void)d;
}

/* Looks at the finished work as survey would. */
static enum rc verify_rebuilt(struct applier *w, size_t backend, struct arena scratch)
{
	const struct backend *const b = &w->st->backends[backend];
	struct layer_verdict v = {0};
	struct layer_check *check = NULL;
	struct layer *l = NULL;
	auto_fd dir = -1;
	enum rc rc;

	if ((rc = os_open_dir(w->st->snapshots_dir, b->dir, &dir, w->e)))
		return rc == RC_END || rc == RC_CORRUPT ? fail(w->e, RC_IO, "snapshots/%s is gone", b->dir) : rc;
	const struct layer_target target = {.snapshot = dir, .recorded_inodes = b->inodes};
	if ((rc = layer_open(&l, w->s->snapshots[backend].mode, &w->pace, &scratch, w->e)) ||
		(rc = layer_check_open(&check, l, &target, 1, &scratch, w->e)))
		return rc;
	const struct layer_watch watch = layer_check_watch(check);
	if ((rc = replay(w, backend, l, &watch, &scratch)) == RC_OK)
		rc = layer_check_finish(check, 0, &scratch, ignore_difference, NULL, &v, w->e);
	layer_check_close(check);
	if (rc)
		return rc;
	/* what could not be read before need not be readable now */
	if (v.damaged || v.count[DIFF_UNREADABLE] > w->s->snapshots[backend].unreadable) {
		errno = EIO;
		return fail(w->e, RC_IO, "snapshots/%s does not read back as it was written", b->dir);
	}
	return RC_OK;
}

/* From here until drop_intent the snapshot's directories may have times of today: rebuild_publish sets them last. A run that
 * finds the intent sets them again. */
static enum rc note_intent(struct applier *w, const char *id)
{
	struct place *const p = &w->places[0];
	char name[48];
	auto_fd fd = -1;
	enum rc rc;

	(void)snprintf(name, sizeof(name), STORE_INTENT "%s", id); /* fits */
	if ((rc = open_staging(w, p)))
		return rc;
	rc = os_create(p->staging, name, 0600, &fd, w->e);
	if (rc == RC_END)
		return RC_OK; /* of the run that was cut off */
	return rc ? rc : os_fsync(p->staging, w->e);
}

static enum rc drop_intent(struct applier *w, const char *id)
{
	char name[48];
	enum rc rc;

	(void)snprintf(name, sizeof(name), STORE_INTENT "%s", id); /* fits */
	rc = w->places[0].staging < 0 ? RC_END : os_unlink(w->places[0].staging, name, w->e);
	return rc == RC_END ? RC_OK : rc;
}

/* snapshots/ itself may be what was lost: as containerd makes it, and durable before anything is in it. */
static enum rc open_snapshots(struct applier *w)
{
	return w->st->snapshots_dir >= 0 ? RC_OK : open_or_make(w->st->overlay.dir, "snapshots", 0700, &w->st->snapshots_dir, w->e);
}

/* What does not fit is left, and the rest is done. */
static enum rc check_room(struct applier *w, int dir, uint64_t bytes, uint64_t inodes)
{
	uint64_t free_bytes = 0, free_inodes = 0;
	const uint64_t need = bytes + bytes / 20 + SPACE_MARGIN_BYTES;
	const enum rc rc = os_free(dir, &free_bytes, &free_inodes, w->e);

	if (rc)
		return rc;
	if (need > free_bytes || inodes + 16 > free_inodes)
		return fail(w->e, RC_LIMIT,
			"it needs %llu MiB and %llu inodes, %llu MiB and %llu are free: make room and run again",
			(unsigned long long)(need >> 20) + 1, (unsigned long long)inodes + 16, (unsigned long long)(free_bytes >> 20),
			(unsigned long long)free_inodes);
	return RC_OK;
}

/* What is beneath is whole, as far as can be told: an implicit directory copies from the layers below. */
static bool stands_on_left(const struct applier *w, size_t backend)
{
	for (size_t at = w->st->backends[backend].parent_index; at != STORE_NONE; at = w->st->backends[at].parent_index)
		if (w->result->left_snapshot[at] || w->s->snapshots[at].verdict == SNAPSHOT_IS_UNREADABLE)
			return true;
	return false;
}

static enum rc rebuild_in(struct applier *w, size_t backend, int work, int snapshot_aside)
{
	const struct snapshot_state *const state = &w->s->snapshots[backend];
	const struct backend *const b = &w->st->backends[backend];
	struct arena scratch = *w->keep;
	struct lowers lowers = {0};
	struct rebuild *r = NULL;
	struct layer *l = NULL;
	const uint8_t *bits = state->damaged_bits;
	enum rc rc;

	if ((rc = open_lowers(w, backend, &scratch, &lowers)))
		return rc;
	if (!bits && !state->whole_tree) { /* nothing but times */
		bits = arena_get(&scratch, (size_t)state->node_count / 8 + 1);
		if (!bits) {
			close_lowers(&lowers);
			return fail(w->e, RC_NOMEM, "no memory to rebuild snapshots/%s", b->dir);
		}
	}
	const struct rebuild_target target = {.snapshots = w->st->snapshots_dir,
		.id = b->dir,
		.mode = state->mode,
		.lower_fs = lowers.fd,
		.lower_count = lowers.count,
		.damaged_bits = state->whole_tree ? NULL : bits,
		.node_count = state->node_count,
		.staging = work,
		.aside = snapshot_aside,
		.all_times = true}; /* the cut took those of directories that lost nothing else */
	if ((rc = layer_open(&l, state->mode, &w->pace, &scratch, w->e)) == RC_OK &&
		(rc = rebuild_open(&r, l, &target, &scratch, w->e)) == RC_OK) {
		const struct layer_watch watch = rebuild_watch(r);
		rc = replay(w, backend, l, &watch, &scratch);
		if (rc == RC_OK) {
			w->published = true;
			rc = rebuild_publish(r, w->e);
		}
	}
	close_lowers(&lowers);
	rebuild_close(r);
	return rc;
}

static enum rc rebuild_snapshot(struct applier *w, size_t backend)
{
	const struct snapshot_state *const state = &w->s->snapshots[backend];
	const struct backend *const b = &w->st->backends[backend];
	struct place *p = NULL;
	char aside[48];
	auto_fd snapshot_aside = -1, work = -1;
	uint64_t number = 0;
	enum rc rc;

	if (stands_on_left(w, backend))
		return fail(w->e, RC_CORRUPT, "a layer below it could not be put back, or was not checked");
	if ((rc = ask(w, w->e)))
		return rc;
	(void)snprintf(aside, sizeof(aside), "snapshot-%s", b->dir); /* fits */
	if ((rc = open_snapshots(w)) || (rc = place_of(w, w->st->snapshots_dir, &p)) ||
		(rc = check_room(w, w->st->snapshots_dir, state->rewrite_bytes, state->rewrite_inodes)) ||
		(rc = note_intent(w, b->dir)) || (rc = begin_work(w, p, &number, &work)) ||
		(rc = open_aside(w, p)) ||
		(rc = own_open_dir(p->aside, aside, &snapshot_aside, w->e)))
		return rc;
	rc = rebuild_in(w, backend, work, snapshot_aside);
	os_close(&work);
	os_close(&snapshot_aside);
	if (rc) {
		struct err more = {0}; /* the first reason is the one to tell */
		struct err *const outer = w->e;
		w->e = &more;
		if (!os_write_failed()) {
			enum rc swept = remove_staged(w, p, number);
			swept = swept ? swept : remove_unused_place(p->aside, aside, &more);
			if (!w->published && !os_write_failed())
				swept = drop_intent(w, b->dir);
			(void)swept; /* what stays there the next run finds */
		}
		w->e = outer;
		return rc;
	}
	if ((rc = remove_staged(w, p, number)))
		return rc;
	if ((rc = remove_unused_place(p->aside, aside, w->e)) == RC_END)
		rc = set_aside(w, p->aside, aside, aside);
	if (rc)
		return rc;
	struct arena check = *w->keep;
	if ((rc = verify_rebuilt(w, backend, check)))
		return rc;
	if ((rc = drop_intent(w, b->dir)))
		return rc;
	w->result->rebuilt++;
	w->result->written_bytes += state->rewrite_bytes;
	return RC_OK;
}

static enum rc remove_snapshot(struct applier *w, size_t backend, bool aside)
{
	const char *const name = w->st->backends[backend].dir;
	struct stat st = {0};
	const enum rc rc = os_stat(w->st->snapshots_dir, name, &st, w->e);

	if (rc)
		return rc;
	if (!aside)
		return remove_tree(w, w->st->snapshots_dir, name);
	const char *const what = arena_printf(w->keep, "snapshot-%s", name);
	return what ? set_aside(w, w->st->snapshots_dir, name, what) : fail(w->e, RC_NOMEM, "no memory");
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
		return what ? set_aside(w, dir, s->name, what) : fail(w->e, RC_NOMEM, "no memory");
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
		return fail(w->e, RC_NOMEM, "no memory");
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
		(void)snprintf(p->staging_name, sizeof(p->staging_name), "%s", s->name); /* find_prefixed passes no longer one */
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
		return fail(w->e, RC_NOMEM, "no memory");
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
		return fail(w->e, RC_NOMEM, "no memory");
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
		e->sys_errno ? strerror(e->sys_errno) : "");
	return text ? text : "no memory";
}

/* What an action that needs the databases' change waits for; NULL: nothing. */
static const char *waits(const struct applier *w, const struct action *a)
{
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

/* Before the first change: a database whose copy cannot be made must not lose what refers to blobs removed by then. */
static enum rc back_up(struct applier *w)
{
	const int own = w->places[0].own;
	enum rc rc = RC_OK;

	if (w->meta.changed)
		rc = own_copy_file(own, &w->st->meta.src, w->st->meta.path, "meta.db", *w->keep, w->e);
	if (rc == RC_OK && w->overlay.changed)
		rc = own_copy_file(own, &w->st->overlay.src, w->st->overlay.path, "overlayfs-metadata.db", *w->keep, w->e);
	if (rc == RC_OK && (w->meta.changed || w->overlay.changed))
		w->result->backup = STORE_OWN_DIR "/" OWN_BACKUP_DIR;
	return rc;
}

static enum rc open_edits(struct applier *w)
{
	const size_t taken = arena_in_use(w->keep);
	const enum rc rc = arena_open(&w->edits, w->e);

	w->edit_until_ns = os_clock_ns() + EDIT_NS;
	if (rc == RC_OK)
		arena_bound(&w->edits, taken < LIMIT_KEEP_BYTES ? LIMIT_KEEP_BYTES - taken : 0);
	return rc;
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
		return fail(e, RC_NOMEM, "no memory to repair");
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
		rc = fail(e, RC_NOMEM, "no memory to go on with the repair");
	return rc;
}
