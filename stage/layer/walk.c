/* SPDX-License-Identifier: MIT */
/* A walk over what the disk has, and what can be counted of a directory without its layer. */
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <dirent.h>

#include "layer/view.h"

/* ---- a walk over what the disk has ---- */

#define FRAMES_OPEN 24

static enum rc frame_fd(struct tree *t, struct err *e)
{
	size_t i = t->depth;
	enum rc rc = RC_OK;

	while (t->frames[i - 1].fd < 0) /* the first one is never closed */
		i--;
	for (; !rc && i < t->depth; i++) {
		const struct frame *const above = &t->frames[i - 1];
		rc = os_open_dir(above->fd, above->names[above->next - 1].name, &t->frames[i].fd, e);
	}
	return rc == RC_END || rc == RC_CORRUPT ? fail(e, RC_LIMIT, "a directory changed while it was read") : rc;
}

static enum rc push_frame(struct tree *t, int *fd, uint32_t tag, struct arena *a, struct err *e)
{
	struct frame *const f = &t->frames[t->depth];
	const struct arena mark = *a;

	if (t->depth > LIMIT_PATH_DEPTH)
		return fail(e, RC_LIMIT, "a directory more than %d deep", LIMIT_PATH_DEPTH);
	*f = (struct frame){.tag = tag, .fd = take_fd(fd), .mark = mark};
	t->depth++;
	const enum rc rc = os_list(f->fd, a, &f->names, &f->count, e);
	if (rc) {
		t->depth--;
		os_close(&f->fd);
		*a = mark;
		return rc;
	}
	if (t->depth > FRAMES_OPEN && t->depth - FRAMES_OPEN > 1)
		os_close(&t->frames[t->depth - FRAMES_OPEN].fd);
	return RC_OK;
}

/* One name of the top frame. */
static enum rc visit(struct tree *t, struct arena *a, struct err *e)
{
	struct frame *const f = &t->frames[t->depth - 1];
	const struct os_name *const n = &f->names[f->next++];
	uint8_t type = n->type;
	struct err why = {0};
	bool into = true;
	uint32_t tag = 0;
	auto_fd fd = -1;
	enum rc rc;

	if ((rc = pace_on(t->pace, PACE_STEP, e)) || (t->opened && f->fd < 0 && (rc = frame_fd(t, e))) ||
		(rc = t->name(t->self, t, n, &into, &tag, e)))
		return rc;
	if (!into || (type != DT_DIR && type != DT_UNKNOWN))
		return RC_OK;
	if (f->fd < 0 && (rc = frame_fd(t, e)))
		return rc;
	if ((rc = pace_on(t->pace, 4 * PACE_CALL, e)))
		return rc;
	/* RC_CORRUPT: no directory after all, which is all that DT_UNKNOWN had to ask */
	rc = os_open_dir(f->fd, n->name, &fd, &why);
	if (rc == RC_END || rc == RC_CORRUPT)
		return RC_OK;
	if (!rc)
		rc = push_frame(t, &fd, tag, a, &why);
	if (rc == RC_IO)
		return t->trouble(t->self, t, n->name, why.sys_errno, e);
	return rc ? fail(e, rc, "%s", why.text) : RC_OK;
}

enum rc walk_tree(struct tree *t, uint32_t tag, struct arena *a, struct err *e)
{
	auto_fd fd = -1;
	enum rc rc;

	t->depth = 0;
	t->frames = arena_array(a, LIMIT_PATH_DEPTH + 1, sizeof(*t->frames));
	if (!t->frames)
		return no_memory(e);
	if ((rc = os_open_dir(t->root, ".", &fd, e)))
		return rc == RC_IO ? rc : fail(e, RC_LIMIT, "a directory changed while it was read");
	rc = push_frame(t, &fd, tag, a, e);
	while (!rc && t->depth) {
		struct frame *const f = &t->frames[t->depth - 1];
		if (f->next < f->count) {
			rc = visit(t, a, e);
		} else {
			os_close(&f->fd);
			*a = f->mark;
			t->depth--;
		}
	}
	while (t->depth)
		os_close(&t->frames[--t->depth].fd);
	return rc;
}

/* ---- counting ---- */

enum rc add_inode(struct inodes *s, uint64_t inode, struct err *e)
{
	if (s->count == s->cap) {
		const size_t cap = s->cap ? s->cap * 2 : 1024;
		uint64_t *const at = arena_grow(s->arena, s->at, s->cap * sizeof(*at), cap * sizeof(*at));
		if (!at)
			return no_memory(e);
		s->at = at;
		s->cap = cap;
	}
	s->at[s->count++] = inode;
	return RC_OK;
}

static int compare_numbers(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

uint64_t distinct(struct inodes *s)
{
	uint64_t n = 0;

	if (s->count)
		sort(s->at, s->count, sizeof(*s->at), compare_numbers);
	for (size_t i = 0; i < s->count; i++)
		n += i == 0 || s->at[i] != s->at[i - 1];
	return n;
}

enum rc was_mounted(int snapshot, bool *mounted, struct err *e)
{
	char names[4096];
	struct stat st = {0};
	auto_fd work = -1;
	size_t n = 0;
	enum rc rc = os_open_dir(snapshot, "work", &work, e);

	*mounted = false;
	if (rc && rc != RC_END && rc != RC_CORRUPT)
		return rc;
	for (unsigned i = 0; work >= 0 && i < 2 && !*mounted; i++) {
		rc = os_stat(work, i ? "index" : "work", &st, e);
		*mounted = rc == RC_OK;
		if (rc && rc != RC_END)
			return rc;
	}
	rc = os_xattr_list(snapshot, "fs", names, sizeof(names), &n, e);
	if (rc)
		return rc;
	for (size_t i = 0; i < n; i += strlen(names + i) + 1) {
		const struct span name = span_of_string(names + i);
		if ((span_starts(name, "trusted.overlay.") || span_starts(name, "user.overlay.")) &&
			!span_is(name, "trusted.overlay.opaque") && !span_is(name, "user.overlay.opaque"))
			*mounted = true;
	}
	return RC_OK;
}

struct census_walk {
	struct layer_census *census;
	struct inodes inodes;
};

static enum rc census_name(void *self, const struct tree *t, const struct os_name *n, bool *into, uint32_t *tag,
	struct err *e)
{
	struct census_walk *const w = self;

	(void)t;
	(void)into; /* stays true */
	(void)tag;
	w->census->names++;
	return add_inode(&w->inodes, n->inode, e);
}

static enum rc census_trouble(void *self, const struct tree *t, const char *name, int sys_errno, struct err *e)
{
	struct census_walk *const w = self;

	(void)t;
	(void)name;
	(void)sys_errno;
	(void)e;
	w->census->unreadable++;
	return RC_OK;
}

enum rc layer_census(int snapshot, struct pace *pace, struct arena scratch, struct layer_census *c, struct err *e)
{
	struct arena numbers = {0};
	struct layer_census made = {0};
	struct stat st = {0};
	auto_fd fs = -1;
	enum rc rc = os_open_dir(snapshot, "fs", &fs, e);

	if (rc == RC_END || rc == RC_CORRUPT) {
		*c = (struct layer_census){.fs_missing = true};
		return RC_OK;
	}
	if (rc || (rc = os_stat_fd(fs, &st, e)) || (rc = was_mounted(snapshot, &made.was_mounted, e)) ||
		(rc = arena_open(&numbers, e)))
		return rc;
	struct census_walk w = {&made, {.arena = &numbers}};
	struct tree t = {.root = fs, .name = census_name, .trouble = census_trouble, .self = &w, .pace = pace};
	made.names = 1;
	if (!(rc = add_inode(&w.inodes, (uint64_t)st.st_ino, e)))
		rc = walk_tree(&t, 0, &scratch, e);
	made.inodes = distinct(&w.inodes);
	arena_close(&numbers);
	if (!rc)
		*c = made;
	return rc;
}

/* ---- the verdict: gathering ---- */
