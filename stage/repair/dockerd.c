/* SPDX-License-Identifier: MIT */
#include "repair/dockerd.h"

#include <string.h>

#include "ground/os.h"
#include "ground/os_write.h"
#include "memory/own.h"
#include "repair/salvage.h"

/* moby 28.5 (volume/service/db.go, libnetwork/internal/kvstore/boltdb, builder/builder-next/controller.go): the first two hold what
 * nothing else has. The rest, a cache, goes together, for each knows of others. */
static const char places[][30] = {"volumes", "network/files", "buildkit", "buildkit/containerd-overlayfs"};
static const char files[][19] = {"metadata.db", "local-kv.db", "cache.db", "history.db", "history_c8d.db", "metadata_v2.db",
	"metadata_v2.db", "containerdmeta.db", "snapshots.db"};
#define FILES (sizeof(files) / sizeof(files[0]))
#define FIRST_CACHE 2
#define COPIED_BYTES ((uint64_t)1 << 30) /* far more than any has; to copy it takes as long as whoever made it wants */
#define ELSEWHERE 6 /* in the last place */

struct looked {
	struct store *st;
	struct apply_result *applied;
	const char *path;
	struct src src;
	struct bolt b;     /* at the tree that is whole */
	bool whole, older; /* there is one; it is not the newest */
	size_t number;
};

static const char *place_of(size_t number)
{
	return places[number == ELSEWHERE ? 3 : number < FIRST_CACHE ? number : FIRST_CACHE];
}

/* RC_CORRUPT: *fault says what is wrong, and l->whole whether a tree of it is whole. */
static enum rc look(struct looked *l, struct bolt_fault *fault, struct arena *a, struct err *e)
{
	struct pace *const pace = l->st->hints->pace;
	struct bolt_stats stats;
	enum rc rc = bolt_open(&l->b, &l->src, a, fault, e);

	l->b.pace = pace;
	if (rc || (rc = bolt_check(&l->b, *a, &stats, fault, e)) != RC_CORRUPT)
		return rc;
	rc = salvage_find_tree(&l->b, &l->src, l->b.current, pace, &l->older, a, e);
	l->whole = rc == RC_OK;
	return l->whole ? RC_CORRUPT : rc;
}

/* A cut leaves the file as it was, or with the new meta page; or all of buildkit's here, or there. */
static enum rc mend(struct looked *l, struct arena scratch, struct err *e)
{
	const int root = l->st->dir;
	auto_fd own = -1, dir = -1;
	enum rc rc = own_open_dir(root, STORE_OWN_DIR, &own, e);

	if (rc)
		return rc;
	if (l->whole && l->src.size > COPIED_BYTES)
		return fail(e, RC_LIMIT, "it is too big to copy");
	if (l->whole)
		return (rc = own_copy_file(own, &l->src, l->path, files[l->number], scratch, e)) ||
				       (rc = store_open_path(l->st, place_of(l->number), &dir, e))
			       ? rc
			       : salvage_show(&l->b, dir, files[l->number], scratch, e);
	if ((rc = own_open_dir(own, OWN_ASIDE, &dir, e)) || (rc = os_rename_new(root, places[FIRST_CACHE], dir, places[FIRST_CACHE], e)))
		return rc == RC_END ? fail(e, RC_IO, "aside/%s is in the way: move it away and run again", places[FIRST_CACHE]) : rc;
	return (rc = os_fsync(dir, e)) ? rc : os_fsync(root, e);
}

/* Only what the disk refuses is a failure. */
static enum rc one(struct looked *l, int fd, bool write, struct plan *p, struct arena *keep, struct arena scratch, struct err *e)
{
	struct finding *const f = &p->findings[p->finding_count];
	struct bolt_fault fault = {0};
	struct err why = {0};
	enum rc rc = os_lock(fd, &why);

	if (rc == RC_END)
		(void)fail(&why, RC_LIMIT, "it is in use: stop docker");
	if (rc == RC_OK && !(rc = os_src(fd, &l->src, &why)))
		rc = look(l, &fault, &scratch, &why);
	if (rc == RC_OK || fault.kind == BOLT_EMPTY_FILE) /* which a daemon makes anew */
		return RC_OK;
	const bool broken = rc == RC_CORRUPT && fault.kind != BOLT_FOREIGN, lost = broken && !l->whole;
	const char *const text = arena_printf(keep, "%s%s", rc == RC_CORRUPT ? fault.text : why.text,
		l->whole && l->older ? "; the transaction before is whole" : "");
	f->path = span_of_string(l->path);
	f->why = span_of_string(text ? text : "");
	f->problem = !broken ? P_STATE_UNCHECKED : lost ? P_DOCKER_LOST : P_DOCKER_DB;
	f->fate = !broken ? FATE_UNCHECKED : !lost ? FATE_REPAIR : l->number < FIRST_CACHE ? FATE_LEFT : FATE_DROP;
	if (f->fate == FATE_LEFT)
		f->left = arena_printf(keep,
			"nothing else has what it held; docker starts without it after: cd '%s' && mv %s %s.broken", l->st->path, l->path,
			l->path);
	p->total[f->problem]++;
	p->finding_count++;
	if (!write || f->fate > FATE_DROP)
		return RC_OK;
	if ((rc = mend(l, scratch, e))) {
		f->fate = FATE_LEFT;
		f->left = arena_printf(keep, "%s", e->text);
		if (os_write_failed())
			return rc;
		*e = (struct err){0};
		return RC_OK;
	}
	l->applied->done++;
	if (l->whole) {
		l->applied->backup = STORE_OWN_DIR "/" OWN_BACKUP_DIR;
		return RC_OK;
	}
	l->applied->aside[0] = "";
	l->applied->aside_paths[0] = own_aside_paths[0];
	l->applied->aside_count = 1;
	return RC_OK;
}

enum rc dockerd_run(struct store *st, bool write, struct plan *p, struct apply_result *applied, struct arena *keep, struct arena scratch,
	struct err *e)
{
	enum rc rc = os_open_root(st->path, &st->dir, e);

	if (rc)
		return rc;
	p->findings = arena_array(keep, FILES, sizeof(*p->findings));
	p->actions = arena_get(keep, sizeof(*p->actions)); /* for all of them */
	if (!p->findings || !p->actions)
		return no_memory(e);
	p->actions->outcome = OUTCOME_DONE;
	for (size_t i = 0; rc == RC_OK && i < FILES; i++) {
		struct looked l = {.st = st, .applied = applied, .number = i, .path = arena_printf(keep, "%s/%s", place_of(i), files[i])};
		struct err ignored = {0}; /* what is behind a link, or no file, is none of them */
		auto_fd fd = -1;
		if (!l.path || store_open_below(st->dir, l.path, &fd, &ignored))
			continue;
		st->dockerd++;
		rc = one(&l, fd, write, p, keep, scratch, e);
	}
	return rc || st->dockerd ? rc : RC_END;
}
