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
#define CACHES_MOST 64

static const char in_use[] = "it is in use: stop docker";

struct looked {
	struct store *st;
	struct apply_result *applied;
	const char *path;
	struct src src;
	struct bolt b;     /* at the tree that is whole */
	bool whole, older; /* there is one; it is not the newest */
	size_t number;
	bool *busy;        /* a daemon has one of the cache's files open */
	bool *moved;       /* the cache is not here any more */
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

/* The whole of it, under a name that is free: buildkit, buildkit.1 and so on. */
static enum rc move_cache(const struct looked *l, int own, struct err *e)
{
	const char *const cache = places[FIRST_CACHE];
	const int root = l->st->dir;
	char name[40];
	auto_fd aside = -1;
	enum rc rc = own_open_dir(own, OWN_ASIDE, &aside, e);

	for (unsigned i = 0; rc == RC_OK && i < CACHES_MOST; i++) {
		(void)print_to(name, sizeof(name), "%s.%u", cache, i); /* fits */
		name[i ? sizeof(name) - 1 : strlen(cache)] = 0;
		if ((rc = os_rename_new(root, cache, aside, name, e)) == RC_OK) {
			*l->moved = true;
			return (rc = os_fsync(aside, e)) ? rc : os_fsync(root, e);
		}
		rc = rc == RC_END ? RC_OK : rc;
	}
	return rc ? rc : fail(e, RC_LIMIT, "aside/%s is in the way: remove what is there of earlier ones", name);
}

/* A cut leaves the file as it was, or with the new meta page; or all of buildkit's here, or there. */
static enum rc mend(struct looked *l, struct arena scratch, struct err *e)
{
	char name[sizeof(places[0]) + sizeof(files[0])];
	auto_fd own = -1, dir = -1;
	enum rc rc = own_open_dir(l->st->dir, STORE_OWN_DIR, &own, e);

	if (rc)
		return rc;
	if (!l->whole)
		return move_cache(l, own, e);
	if (l->src.size > COPIED_BYTES)
		return fail(e, RC_LIMIT, "it is too big to copy");
	(void)print_to(name, sizeof(name), "%s", l->path); /* fits */
	for (char *at = name; *at; at++)
		if (*at == '/')
			*at = '-';
	if ((rc = own_copy_file(own, &l->src, l->path, name, scratch, e)) || (rc = store_open_path(l->st, place_of(l->number), &dir, e)))
		return rc;
	return salvage_show(&l->b, dir, files[l->number], scratch, e);
}

/* As it is told; "no memory" where there is none. */
static const char *reason(struct arena *keep, const struct err *e)
{
	const char *const text = arena_printf(keep, "%s%s%s", e->text, e->sys_errno ? ": " : "",
		e->sys_errno ? error_text(e->sys_errno) : "");
	return text ? text : "no memory";
}

/* One that is there, and locked if opened is RC_OK; else why says more. Only what the disk refuses is a failure. */
static enum rc one(struct looked *l, int fd, enum rc opened, struct err why, bool write, struct plan *p, struct arena *keep,
	struct arena scratch, struct err *e)
{
	struct finding *const f = &p->findings[p->finding_count];
	struct bolt_fault fault = {0};
	enum rc rc = opened;

	if (rc == RC_OK && !(rc = os_src(fd, &l->src, &why)))
		rc = look(l, &fault, &scratch, &why);
	if (rc == RC_OK || fault.kind == BOLT_EMPTY_FILE) /* which a daemon makes anew */
		return RC_OK;
	const bool broken = rc == RC_CORRUPT && fault.kind != BOLT_FOREIGN, lost = broken && !l->whole;
	const char *const text = rc != RC_CORRUPT	 ? reason(keep, &why)
				 : l->whole && l->older ? arena_printf(keep, "%s; the transaction before is whole", fault.text)
							: arena_string(keep, span_of_string(fault.text));
	f->path = span_of_string(l->path);
	f->why = span_of_string(text ? text : "");
	f->problem = !broken ? P_STATE_UNCHECKED : lost ? P_DOCKER_LOST : P_DOCKER_DB;
	f->fate = !broken ? FATE_UNCHECKED : !lost ? FATE_REPAIR : l->number < FIRST_CACHE ? FATE_LEFT : FATE_DROP;
	if (f->fate == FATE_LEFT)
		f->left = arena_printf(keep, "nothing else has what it held; docker starts without it after, in %s: mv %s %s.broken",
			l->st->path, l->path, l->path);
	p->total[f->problem]++;
	p->finding_count++;
	if (f->fate == FATE_DROP && *l->busy) { /* all of it would go */
		f->fate = FATE_LEFT;
		f->left = in_use;
	}
	if (!write || f->fate > FATE_DROP)
		return RC_OK;
	if ((rc = mend(l, scratch, e))) {
		f->fate = FATE_LEFT;
		f->left = reason(keep, e);
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
	struct looked all[FILES];
	struct err why[FILES] = {0};
	enum rc opened[FILES];
	int fds[FILES];
	bool busy = false, moved = false;
	enum rc rc = os_open_root(st->path, &st->dir, e);

	if (rc)
		return rc;
	p->findings = arena_array(keep, FILES, sizeof(*p->findings));
	p->actions = arena_get(keep, sizeof(*p->actions)); /* for all of them */
	if (!p->findings || !p->actions)
		return no_memory(e);
	p->actions->outcome = OUTCOME_DONE;
	/* all that are there are locked before one is touched: what goes aside is the cache as a whole */
	for (size_t i = 0; i < FILES; i++) {
		const char *const path = arena_printf(keep, "%s/%s", place_of(i), files[i]);
		all[i] = (struct looked){.st = st, .applied = applied, .number = i, .path = path, .busy = &busy, .moved = &moved};
		fds[i] = -1;
		opened[i] = path ? store_open_below(st->dir, path, &fds[i], &why[i]) : no_memory(&why[i]);
		/* not there; or a link, or no file: none of them */
		if (opened[i] == RC_END || opened[i] == RC_CORRUPT)
			continue;
		st->dockerd++;
		if (opened[i] == RC_OK && (opened[i] = os_lock(fds[i], &why[i])) == RC_END) {
			opened[i] = fail(&why[i], RC_LIMIT, in_use);
			busy |= i >= FIRST_CACHE;
		}
	}
	for (size_t i = 0; i < FILES; i++) {
		if (rc == RC_OK && !(moved && i >= FIRST_CACHE) && opened[i] != RC_END && opened[i] != RC_CORRUPT)
			rc = all[i].path ? one(&all[i], fds[i], opened[i], why[i], write, p, keep, scratch, e) : no_memory(e);
		os_close(&fds[i]);
	}
	return rc || st->dockerd ? rc : RC_END;
}
