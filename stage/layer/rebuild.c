/* SPDX-License-Identifier: MIT */
/* Staging holds a tree "fs" that mirrors the snapshot's: the damaged nodes, made by the system calls containerd makes and in
 * its order, inside stand-ins for the directories that are not damaged. So a new inode inherits from its directory what it
 * inherited then (group, default ACL), a missing subtree is published by one rename, and the whole tree is no special case.
 *
 * What a power cut leaves:
 *  1. while staging: things in staging, which nobody refers to. The snapshot is as it was.
 *  2. after syncfs, while publishing: each name in the snapshot is the old one or the new one, whole and durable. One that
 *     is of the wrong kind is first moved aside, so for a moment it is missing, which is damage of the kind it was.
 *  3. attributes of a directory that stays (its opaque mark, its times): each one old or new.
 * In all of them a check finds what is left, and running again repairs that. */
#include "layer/rebuild.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "layer/dirs.h"
#include "ground/os.h"
#include "ground/os_write.h"
#include "format/path.h"

enum {
	STATE_STAGED = 1,   /* made in staging */
	STATE_STAND_IN = 2, /* a directory in staging for one that stays */
	STATE_TOUCHED = 4   /* a directory of the snapshot in which a name was replaced */
};

#define CHUNK 4096u
#define CHUNKS (LIMIT_LAYER_NODES / CHUNK)
#define LABEL "security.selinux"
#define DEFAULT_ACL "system.posix_acl_default"

struct rebuild {
	struct layer *layer;
	struct rebuild_target target;
	struct arena *arena;
	bool whole;   /* every node is wanted, and fs is published as one */
	bool all_times;
	bool labels;  /* the snapshot's files carry SELinux labels */
	int snapshot; /* <id>; -1: to be made */
	int fs;       /* -1: not there */
	int tree;     /* staging/fs */
	struct layer_dirs staged, real;
	uint8_t **states; /* CHUNKS pointers */
	unsigned gone_count;

	int file; /* being written */
	uint64_t offset;
	bool ends_in_hole;
	const struct tar_entry *file_entry;

	/* what was immutable or append-only, and is not as long as it is worked on */
	struct locked {
		uint32_t node;
		unsigned flags;
	} *locked;
	size_t locked_count;

	char names[LIMIT_XATTR_BYTES];
	uint8_t value[LIMIT_XATTR_BYTES];
};

/* ---- state ---- */

static bool is_wanted(const struct rebuild *r, uint32_t node)
{
	if (r->whole)
		return true;
	return node < r->target.node_count && r->target.damaged_bits[node / 8] & 1 << node % 8;
}

static unsigned state_of(const struct rebuild *r, uint32_t node)
{
	const uint8_t *const chunk = r->states[node / CHUNK];
	return chunk ? chunk[node % CHUNK] : 0;
}

static enum rc set_state(struct rebuild *r, uint32_t node, unsigned state, struct err *e)
{
	uint8_t **const chunk = &r->states[node / CHUNK];

	if (!*chunk && !(*chunk = arena_get(r->arena, CHUNK)))
		return no_memory(e);
	(*chunk)[node % CHUNK] |= (uint8_t)state;
	return RC_OK;
}

/* "There already" in a place that is ours alone means that the place is not what it should be. */
static enum rc unexpected(enum rc rc, const char *name, struct err *e)
{
	if (rc != RC_END && rc != RC_CORRUPT)
		return rc;
	errno = rc == RC_END ? EEXIST : ENOTDIR;
	return fail(e, RC_IO, "%s is in the way of a repair, or gone during it", name);
}

/* ---- attributes ---- */

static bool is_ignored(enum rc rc, const struct err *why, struct span xattr, enum layer_node_kind kind)
{
	if (rc != RC_IO)
		return false;
	if (why->sys_errno == ENOTSUP)
		return true;
	return why->sys_errno == EPERM && span_starts(xattr, "user.") && kind != NODE_FILE && kind != NODE_DIR;
}

static enum rc put_xattr(int dir, const char *name, enum layer_node_kind kind, struct span key, struct span value,
	struct err *e)
{
	char text[LIMIT_NAME_BYTES + 1];
	struct err why = {0};

	if (!key.left || key.left > LIMIT_NAME_BYTES)
		return fail(e, RC_LIMIT, "an attribute name of %zu bytes", (size_t)key.left);
	memcpy(text, key.at, key.left);
	text[key.left] = 0;
	/* an empty value has no address of its own */
	const enum rc rc = os_xattr_set(dir, name, text, value.left ? value.at : (const uint8_t *)"", value.left, &why);
	if (!rc || is_ignored(rc, &why, key, kind))
		return RC_OK;
	errno = why.sys_errno;
	return fail(e, rc, "%s", why.text);
}

/* A file system that keeps none is one that containerd could not unpack this on: to say that it is done would be untrue. */
static enum rc put_opaque(int dir, const char *name, struct err *e)
{
	return os_xattr_set(dir, name, "trusted.overlay.opaque", "y", 1, e);
}

/* In containerd's order: owner, attributes, mode, times (containerd 2.3.4: pkg/archive/tar.go, createTarFile). */
static enum rc put_metadata(int dir, const char *name, enum layer_node_kind kind, const struct tar_entry *te, struct err *e)
{
	const struct layer_times times = layer_times_of(te);
	enum rc rc = os_chown(dir, name, (uid_t)(uint32_t)te->uid, (gid_t)(uint32_t)te->gid, e);

	for (size_t i = 0; !rc && i < te->xattr_count; i++)
		if (!span_starts(te->xattrs[i].name, "trusted."))
			rc = put_xattr(dir, name, kind, te->xattrs[i].name, te->xattrs[i].value, e);
	if (!rc && kind != NODE_SYMLINK)
		rc = os_chmod(dir, name, te->mode, e);
	return rc ? rc : os_set_times(dir, name, times.access, times.modified, e);
}

static bool entry_has_label(const struct tar_entry *te)
{
	for (size_t i = 0; te && i < te->xattr_count; i++)
		if (span_is(te->xattrs[i].name, LABEL))
			return true;
	return false;
}

/* A new inode gets the label of the one it replaces, else that of its directory. */
static enum rc put_label(struct rebuild *r, uint32_t node, int dir, const char *name, const struct tar_entry *te,
	struct err *e)
{
	struct err ignored = {0}; /* a label that cannot be read is one that cannot be copied */
	enum rc rc = RC_END;
	size_t n = 0;
	int old = -1;

	if (!r->labels || entry_has_label(te))
		return RC_OK;
	if (layer_dirs_get(&r->real, layer_parent(r->layer, node), &old, &ignored) == RC_OK) {
		rc = os_xattr_get(old, name, LABEL, r->value, sizeof(r->value), &n, &ignored);
		if (rc)
			rc = os_xattr_get(old, ".", LABEL, r->value, sizeof(r->value), &n, &ignored);
	}
	if (rc)
		rc = os_xattr_get(dir, ".", LABEL, r->value, sizeof(r->value), &n, &ignored);
	return rc ? RC_OK : put_xattr(dir, name, NODE_FILE, span_of_string(LABEL), span_of(r->value, n), e);
}

/* All but trusted ones, and labels that the system gave; fresh: only those that are not there yet. */
static enum rc copy_xattrs(struct rebuild *r, int from, const char *from_name, int to, const char *to_name, bool fresh,
	struct err *e)
{
	size_t bytes = 0;
	enum rc rc = os_xattr_list(from, from_name, r->names, sizeof(r->names), &bytes, e);

	for (size_t i = 0; !rc && i < bytes; i += strlen(r->names + i) + 1) {
		const char *const key = r->names + i;
		uint8_t there[1];
		size_t n = 0;
		if (strncmp(key, "trusted.", 8) == 0)
			continue;
		struct err ignored = {0}; /* any answer but "no such attribute" means that there is one */
		if (fresh && os_xattr_get(to, to_name, key, there, sizeof(there), &n, &ignored) != RC_END)
			continue;
		if ((rc = os_xattr_get(from, from_name, key, r->value, sizeof(r->value), &n, e)) == RC_END) {
			rc = RC_OK;
			continue;
		}
		if (!rc)
			rc = put_xattr(to, to_name, NODE_DIR, span_of_string(key), span_of(r->value, n), e);
	}
	return rc;
}

/* ---- what lower layers say of a directory made on the way (containerd 2.3.4: pkg/archive/tar_unix.go, mkparent) ---- */

struct lower {
	int fs;
};

/* The directory of path ("/a/b") beneath fs; RC_END where a component is absent or no directory. */
static enum rc open_along(int fs, const char *path, const char **last, int *fd, struct err *e)
{
	auto_fd at = -1;
	enum rc rc = os_open_dir(fs, ".", &at, e);

	for (const char *p = path + 1; !rc;) {
		char name[LIMIT_NAME_BYTES + 1];
		const size_t n = strcspn(p, "/");
		int next = -1;
		if (!p[n]) {
			*last = p;
			*fd = take_fd(&at);
			return RC_OK;
		}
		if (n > LIMIT_NAME_BYTES)
			return RC_END;
		memcpy(name, p, n);
		name[n] = 0;
		rc = os_open_dir(at, name, &next, e);
		os_close(&at);
		at = next;
		p += n + 1;
	}
	return rc == RC_CORRUPT ? RC_END : rc;
}

static enum rc look_below(void *self, const char *path, enum path_kind *kind, char link[LIMIT_PATH_BYTES], struct err *e)
{
	const struct lower *const lower = self;
	char target[LIMIT_PATH_BYTES + 1];
	const char *name = NULL;
	struct stat st = {0};
	auto_fd dir = -1;
	size_t n = 0;
	enum rc rc;

	*kind = PATH_ABSENT;
	if ((rc = open_along(lower->fs, path, &name, &dir, e)) || (rc = os_stat(dir, name, &st, e)))
		return rc == RC_END ? RC_OK : rc;
	*kind = S_ISDIR(st.st_mode) ? PATH_DIR : S_ISLNK(st.st_mode) ? PATH_LINK : PATH_OTHER;
	if (*kind != PATH_LINK)
		return RC_OK;
	if ((rc = os_read_link(dir, name, target, &n, e)))
		return rc == RC_END ? fail(e, RC_LIMIT, "a link changed while it was read") : rc;
	if (n >= LIMIT_PATH_BYTES)
		return fail(e, RC_LIMIT, "a link of more than %d bytes", LIMIT_PATH_BYTES);
	memcpy(link, target, n);
	link[n] = 0;
	return RC_OK;
}

static enum rc copy_dir(struct rebuild *r, int from, const char *from_name, const struct stat *st, int to, const char *to_name,
	struct err *e)
{
	enum rc rc;

	if ((rc = os_chown(to, to_name, st->st_uid, st->st_gid, e)) ||
		(rc = os_chmod(to, to_name, st->st_mode & 07777, e)) ||
		(rc = os_set_times(to, to_name, st->st_atim, st->st_mtim, e)))
		return rc;
	return copy_xattrs(r, from, from_name, to, to_name, true, e);
}

static enum rc copy_from_below(struct rebuild *r, uint32_t node, int dir, const char *name, struct err *e)
{
	char path[LIMIT_PATH_BYTES], resolved[LIMIT_PATH_BYTES];
	enum rc rc;

	if (r->target.mode != LAYER_DIRECT)
		return RC_OK;
	if ((rc = layer_node_path(r->layer, node, path, e)))
		return rc;
	for (size_t i = 0; i < r->target.lower_count; i++) {
		struct lower lower = {r->target.lower_fs[i]};
		const struct path_root root = {look_below, &lower};
		const char *last = NULL;
		struct stat st = {0};
		auto_fd from = -1;
		if ((rc = path_resolve(&root, span_of_string(path), resolved, e)))
			return rc;
		if (resolved[1]) {
			rc = open_along(lower.fs, resolved, &last, &from, e);
		} else {
			last = ".";
			rc = os_open_dir(lower.fs, ".", &from, e);
		}
		if (!rc)
			rc = os_stat(from, last, &st, e);
		if (rc == RC_END)
			continue;
		if (rc || !S_ISDIR(st.st_mode)) /* something else is there: attributes stay as made */
			return rc;
		return copy_dir(r, from, last, &st, dir, name, e);
	}
	return RC_OK;
}

/* ---- staging ---- */

/* A stand-in passes on what the real directory would: its group, if it is set-group-id, and its default ACL. Before its own
 * entry a directory is what containerd makes on the way; after it, what the disk has. */
static enum rc dress_stand_in(struct rebuild *r, uint32_t node, int dir, const char *name, struct err *e)
{
	const char *const real_name = node == LAYER_ROOT ? "fs" : name;
	struct err ignored = {0}; /* what cannot be read is not passed on */
	struct stat st = {0};
	int real = r->snapshot;
	size_t n = 0;
	enum rc rc;

	if (node != LAYER_ROOT && !layer_is_explicit(r->layer, node)) {
		rc = os_chmod(dir, name, 0755, e);
		return rc ? rc : copy_from_below(r, node, dir, name, e);
	}
	if (node != LAYER_ROOT && layer_dirs_get(&r->real, layer_parent(r->layer, node), &real, &ignored))
		return RC_OK;
	if (os_stat(real, real_name, &st, &ignored))
		return RC_OK;
	rc = RC_OK;
	if (os_xattr_get(real, real_name, DEFAULT_ACL, r->value, sizeof(r->value), &n, &ignored) == RC_OK)
		rc = put_xattr(dir, name, NODE_DIR, span_of_string(DEFAULT_ACL), span_of(r->value, n), e);
	else if (os_xattr_get(dir, name, DEFAULT_ACL, r->value, sizeof(r->value), &n, &ignored) == RC_OK)
		rc = os_xattr_remove(dir, name, DEFAULT_ACL, e); /* passed on by its parent, as the real one's did not */
	if (rc || (rc = os_chown(dir, name, 0, st.st_gid, e)))
		return rc;
	return os_chmod(dir, name, st.st_mode & S_ISGID ? 02700 : 0700, e);
}

/* The staged directory of a node. Parents that stay get stand-ins. */
static enum rc staged_dir(struct rebuild *r, uint32_t node, int *fd, struct err *e)
{
	uint32_t missing[LIMIT_PATH_DEPTH + 1];
	size_t depth = 0;
	enum rc rc;

	for (uint32_t n = node; n != LAYER_ROOT && !(state_of(r, n) & (STATE_STAGED | STATE_STAND_IN));
		n = layer_parent(r->layer, n)) {
		if (depth > LIMIT_PATH_DEPTH)
			return fail(e, RC_LIMIT, "a directory too deep");
		missing[depth++] = n;
	}
	while (depth) {
		const uint32_t n = missing[--depth], parent = layer_parent(r->layer, n);
		const char *const name = layer_name(r->layer, n);
		int dir = -1;
		if ((rc = layer_dirs_get(&r->staged, parent, &dir, e)) || (rc = os_mkdir(dir, name, 0700, e)))
			return unexpected(rc, name, e);
		if ((rc = set_state(r, n, STATE_STAND_IN, e)) || (rc = dress_stand_in(r, n, dir, name, e)))
			return rc;
	}
	rc = layer_dirs_get(&r->staged, node, fd, e);
	return unexpected(rc, node == LAYER_ROOT ? "staging" : layer_name(r->layer, node), e);
}

static dev_t device_of(const struct tar_entry *te)
{
	return makedev((unsigned)te->dev_major & 0xfffu, (unsigned)te->dev_minor & 0xfffffu);
}

/* A new inode of any kind but a regular file. */
static enum rc make_other(struct rebuild *r, uint32_t node, const struct layer_node *n, const struct tar_entry *te, int dir,
	struct err *e)
{
	const char *const name = (const char *)n->name.at;

	switch (n->kind) {
	case NODE_SYMLINK:
		return os_symlink(layer_link_text(r->layer, node), dir, name, e);
	case NODE_DIR:
		return os_mkdir(dir, name, 0755, e);
	case NODE_CHAR:
		return os_mknod(dir, name, S_IFCHR | te->mode, device_of(te), e);
	case NODE_BLOCK:
		return os_mknod(dir, name, S_IFBLK | te->mode, device_of(te), e);
	case NODE_FIFO:
		return os_mknod(dir, name, S_IFIFO | te->mode, 0, e);
	case NODE_WHITEOUT:
		return os_mknod(dir, name, S_IFCHR, 0, e);
	case NODE_FILE:
		break;
	}
	return fail(e, RC_LIMIT, "a node of an unknown kind");
}

static enum rc stage_new(struct rebuild *r, uint32_t node, const struct layer_node *n, const struct tar_entry *te,
	struct err *e)
{
	const char *const name = (const char *)n->name.at;
	int dir = -1;
	enum rc rc;

	if ((rc = staged_dir(r, n->parent, &dir, e)) || (rc = set_state(r, node, STATE_STAGED, e)))
		return rc;
	if (n->kind == NODE_FILE) {
		if ((rc = os_create(dir, name, 0600, &r->file, e)))
			return unexpected(rc, name, e);
		r->offset = 0;
		r->ends_in_hole = false;
		r->file_entry = te;
		layer_want_data(r->layer);
		return RC_OK; /* its metadata comes after its content */
	}
	if ((rc = make_other(r, node, n, te, dir, e)))
		return unexpected(rc, name, e);
	if (n->kind == NODE_WHITEOUT)
		rc = os_chown(dir, name, (uid_t)(uint32_t)te->uid, (gid_t)(uint32_t)te->gid, e);
	else if (te)
		rc = put_metadata(dir, name, n->kind, te, e);
	else if (!(rc = os_chmod(dir, name, 0755, e)))
		rc = copy_from_below(r, node, dir, name, e);
	return rc ? rc : put_label(r, node, dir, name, te, e);
}

static enum rc stage_link(struct rebuild *r, uint32_t node, const struct layer_node *n, const struct tar_entry *te,
	struct err *e)
{
	const char *const name = (const char *)n->name.at, *const old = layer_name(r->layer, n->target);
	auto_fd from = -1; /* of our own: what layer_dirs_get gave may be closed to open the other one */
	int dir = -1, old_dir = -1;
	enum rc rc;

	/* the damaged set holds all names of an inode or none (layer_check_finish) */
	if (!(state_of(r, n->target) & STATE_STAGED))
		return fail(e, RC_LIMIT, "a hard link whose other name is not repaired with it");
	if ((rc = staged_dir(r, layer_parent(r->layer, n->target), &old_dir, e)) ||
		(rc = os_open_dir(old_dir, ".", &from, e)) || (rc = staged_dir(r, n->parent, &dir, e)) ||
		(rc = set_state(r, node, STATE_STAGED, e)))
		return rc;
	if ((rc = os_link(from, old, dir, name, e)))
		return unexpected(rc, name, e);
	return put_metadata(dir, name, n->kind, te, e);
}

static enum rc on_entry(void *self, uint32_t node, const struct layer_node *n, const struct tar_entry *te, struct err *e)
{
	struct rebuild *const r = self;
	int dir = -1;
	enum rc rc = layer_go_on(r->layer, PACE_STEP, e);

	if (rc || (!is_wanted(r, node) && !(n->event == LAYER_APPLIED && state_of(r, node) & STATE_STAND_IN)))
		return rc;
	if ((rc = layer_go_on(r->layer, 8 * PACE_CALL, e)))
		return rc;
	switch (n->event) {
	case LAYER_MADE:
		return stage_new(r, node, n, te, e);
	case LAYER_LINKED:
		return stage_link(r, node, n, te, e);
	case LAYER_APPLIED:
		rc = staged_dir(r, n->parent, &dir, e);
		return rc ? rc : put_metadata(dir, (const char *)n->name.at, n->kind, te, e);
	case LAYER_OPAQUED:
		break;
	}
	if (node == LAYER_ROOT)
		return put_opaque(r->target.staging, "fs", e);
	if ((rc = staged_dir(r, n->parent, &dir, e)))
		return rc;
	return put_opaque(dir, (const char *)n->name.at, e);
}

/* A hole stays one: the file's length comes with its end. */
static enum rc on_data(void *self, uint32_t node, struct span piece, struct err *e)
{
	struct rebuild *const r = self;
	const enum rc rc = piece.at ? os_write(r->file, r->offset, piece.at, piece.left, e) : RC_OK;

	(void)node;
	r->ends_in_hole = !piece.at;
	r->offset += piece.left;
	return rc;
}

static enum rc on_data_end(void *self, uint32_t node, struct err *e)
{
	struct rebuild *const r = self;
	const char *const name = layer_name(r->layer, node);
	int dir = -1;
	enum rc rc = r->ends_in_hole ? os_truncate(r->file, r->offset, e) : RC_OK;

	if (!rc)
		rc = staged_dir(r, layer_parent(r->layer, node), &dir, e);
	os_close(&r->file); /* made durable by syncfs, which tells of errors */
	if (!rc)
		rc = put_metadata(dir, name, NODE_FILE, r->file_entry, e);
	return rc ? rc : put_label(r, node, dir, name, r->file_entry, e);
}

/* Directories go to the top of staging, out of the tree's way; clearing staging removes them. */
static enum rc on_removed(void *self, uint32_t node, struct err *e)
{
	struct rebuild *const r = self;
	const char *const name = layer_name(r->layer, node);
	char gone[32];
	int dir = -1;
	enum rc rc;

	if (!(state_of(r, node) & (STATE_STAGED | STATE_STAND_IN)))
		return RC_OK;
	if ((rc = staged_dir(r, layer_parent(r->layer, node), &dir, e)))
		return rc;
	if (layer_kind(r->layer, node) != NODE_DIR)
		return unexpected(os_unlink(dir, name, e), name, e);
	(void)print_to(gone, sizeof(gone), "gone-%u", r->gone_count++); /* it fits */
	rc = os_rename(dir, name, r->target.staging, gone, e);
	layer_dirs_close(&r->staged);
	return rc;
}

struct layer_watch rebuild_watch(struct rebuild *r)
{
	return (struct layer_watch){
		.entry = on_entry, .data = on_data, .data_end = on_data_end, .removed = on_removed, .self = r};
}

/* ---- beginning and end ---- */

/* Optional directory: RC_OK with -1 where there is none, or something else. */
static enum rc open_if_there(int dir, const char *name, int *fd, struct err *e)
{
	const enum rc rc = os_open_dir(dir, name, fd, e);
	return rc == RC_END || rc == RC_CORRUPT ? RC_OK : rc;
}

/* fs itself: 0755, the owner of the parent's (containerd 2.3.4: plugins/snapshots/overlay/overlay.go). */
static enum rc make_tree(struct rebuild *r, struct err *e)
{
	const struct rebuild_target *const t = &r->target;
	struct err ignored = {0}; /* a label that cannot be read is one that cannot be copied */
	struct stat st = {0};
	size_t n = 0;
	enum rc rc;

	if ((rc = os_mkdir(t->staging, "fs", 0700, e)) || (rc = os_open_dir(t->staging, "fs", &r->tree, e)))
		return unexpected(rc, "fs in staging", e);
	if (!r->whole)
		return dress_stand_in(r, LAYER_ROOT, t->staging, "fs", e);
	if ((rc = os_chmod(t->staging, "fs", 0755, e)))
		return rc;
	if (t->lower_count && ((rc = os_stat_fd(t->lower_fs[0], &st, e)) ||
				      (rc = os_chown(t->staging, "fs", st.st_uid, st.st_gid, e))))
		return rc;
	const int model = r->fs >= 0 ? r->fs : t->lower_count ? t->lower_fs[0] : t->snapshots;
	if (os_xattr_get(model, ".", LABEL, r->value, sizeof(r->value), &n, &ignored) == RC_OK)
		rc = put_xattr(t->staging, "fs", NODE_DIR, span_of_string(LABEL), span_of(r->value, n), e);
	return rc;
}

static bool is_empty_set(const struct rebuild_target *t)
{
	for (uint32_t i = 0; t->damaged_bits && i < t->node_count; i++)
		if (t->damaged_bits[i / 8] & 1 << i % 8)
			return false;
	return t->damaged_bits != NULL;
}

enum rc rebuild_open(struct rebuild **r, struct layer *l, const struct rebuild_target *t, struct arena *a, struct err *e)
{
	struct rebuild *const made = arena_get(a, sizeof(*made));
	struct err ignored = {0}; /* labels that cannot be read cannot be copied */
	uint8_t label[1];
	size_t n = 0;
	enum rc rc;

	if (!made || !(made->states = arena_array(a, CHUNKS, sizeof(*made->states))))
		return no_memory(e);
	made->layer = l;
	made->target = *t;
	made->arena = a;
	made->snapshot = made->fs = made->tree = made->file = -1;
	layer_dirs_init(&made->staged, l, -1);
	layer_dirs_init(&made->real, l, -1);
	rc = open_if_there(t->snapshots, t->id, &made->snapshot, e);
	if (!rc && made->snapshot >= 0)
		rc = open_if_there(made->snapshot, "fs", &made->fs, e);
	made->whole = !t->damaged_bits || made->fs < 0;
	made->all_times = t->all_times || is_empty_set(t);
	/* any answer but "no such attribute": a label longer than a byte is RC_LIMIT */
	made->labels = os_xattr_get(made->fs >= 0 ? made->fs : t->snapshots, ".", LABEL, label, sizeof(label), &n, &ignored) !=
		       RC_END;
	if (!rc)
		rc = make_tree(made, e);
	if (rc) {
		rebuild_close(made);
		return rc;
	}
	made->staged.root = made->tree;
	made->real.root = made->fs;
	*r = made;
	return RC_OK;
}

void rebuild_close(struct rebuild *r)
{
	if (!r)
		return;
	layer_dirs_close(&r->staged);
	layer_dirs_close(&r->real);
	os_close(&r->file);
	os_close(&r->tree);
	os_close(&r->fs);
	os_close(&r->snapshot);
}

/* ---- publishing ---- */

/* Nobody is asked but the person who set them: the layer has no such flags. */
static enum rc unlock(struct rebuild *r, int dir, const char *name, uint32_t node, struct err *e)
{
	unsigned flags = 0;
	enum rc rc = os_locked_flags(dir, name, &flags, e);

	if (rc || !flags)
		return rc == RC_END ? RC_OK : rc;
	struct locked *const l = arena_push(r->arena, (void **)&r->locked, &r->locked_count, sizeof(*l));
	if (!l)
		return no_memory(e);
	*l = (struct locked){node, flags};
	return unexpected(os_set_locked_flags(dir, name, 0, e), name, e);
}

/* What is there now of each, in the order opposite to that in which they were found: a directory after what is in it. */
static enum rc lock_again(struct rebuild *r, struct err *e)
{
	for (size_t i = r->locked_count; i-- > 0;) {
		const struct locked *const l = &r->locked[i];
		int dir = r->snapshot;
		enum rc rc = RC_OK;
		if (l->node != LAYER_ROOT)
			rc = layer_dirs_get(&r->real, layer_parent(r->layer, l->node), &dir, e);
		const char *const name = l->node == LAYER_ROOT ? "fs" : layer_name(r->layer, l->node);
		if (rc || (rc = os_set_locked_flags(dir, name, l->flags, e)))
			return unexpected(rc, name, e);
	}
	r->locked_count = 0;
	return RC_OK;
}

/* Moves what is at a name to aside, under a name that is free there. */
static enum rc set_aside(struct rebuild *r, int dir, const char *name, uint32_t node, struct err *e)
{
	for (unsigned i = 0; i < 1000; i++) { /* an aside directory is emptied long before */
		char free_name[128];
		(void)print_to(free_name, sizeof(free_name), "%.64s-%u-%u", r->target.id, node, i); /* it fits */
		const enum rc rc = os_rename_new(dir, name, r->target.aside, free_name, e);
		if (rc != RC_END)
			return rc;
	}
	errno = EEXIST;
	return fail(e, RC_IO, "no free name to set %s aside", name);
}

/* A directory that stays: the opaque mark, and of one with an entry what the staged one has. */
static enum rc publish_attributes(struct rebuild *r, uint32_t node, int from, const char *from_name, int to,
	const char *to_name, struct err *e)
{
	struct stat st = {0};
	enum rc rc = RC_OK;

	if ((rc = unlock(r, to, to_name, node, e)))
		return rc;
	if (layer_is_explicit(r->layer, node) &&
		((rc = os_stat(from, from_name, &st, e)) || (rc = os_chown(to, to_name, st.st_uid, st.st_gid, e)) ||
			(rc = copy_xattrs(r, from, from_name, to, to_name, false, e)) ||
			(rc = os_chmod(to, to_name, st.st_mode & 07777, e))))
		return unexpected(rc, to_name, e);
	if (layer_is_opaque(r->layer, node))
		rc = put_opaque(to, to_name, e);
	return rc;
}

/* One staged node takes its place. */
static enum rc publish_node(struct rebuild *r, uint32_t node, struct err *e)
{
	const uint32_t parent = layer_parent(r->layer, node);
	const char *const name = layer_name(r->layer, node);
	const bool is_dir = layer_kind(r->layer, node) == NODE_DIR;
	struct stat st = {0};
	int from = -1, to = -1;
	enum rc rc = layer_dirs_get(&r->staged, parent, &from, e);

	if (rc == RC_END)
		return RC_OK; /* it moved along with its directory */
	if (!rc)
		rc = layer_dirs_get(&r->real, parent, &to, e);
	if (rc)
		return unexpected(rc, name, e);
	if ((rc = unlock(r, to, ".", parent, e)) || (rc = unlock(r, to, name, node, e)))
		return rc;
	rc = os_stat(to, name, &st, e);
	if (rc && rc != RC_END)
		return rc;
	if (!rc && is_dir && S_ISDIR(st.st_mode))
		return publish_attributes(r, node, from, name, to, name, e);
	if (!rc && (is_dir || S_ISDIR(st.st_mode))) {
		rc = set_aside(r, to, name, node, e);
		layer_dirs_close(&r->real); /* what was beneath it moved */
		if (rc || (rc = layer_dirs_get(&r->real, parent, &to, e)))
			return unexpected(rc, name, e);
	}
	if ((rc = os_rename(from, name, to, name, e)) || (rc = set_state(r, parent, STATE_TOUCHED, e)))
		return rc;
	if (is_dir)
		layer_dirs_close(&r->staged); /* it is not there any more, though it can still be reached */
	return RC_OK;
}

/* Of directories with entries, and of what containerd's last pass hits in their stead. With all_times of
 * all of them: a power cut takes the times of directories that lost nothing else, and so does a cut of an earlier repair. */
static enum rc publish_times(struct rebuild *r, struct layer_dirs *dirs, int root_dir, struct err *e)
{
	const size_t count = layer_late_time_count(r->layer);

	for (size_t i = 0; i < count; i++) {
		const struct layer_late_time late = layer_late_time_at(r->layer, i);
		const uint32_t node = late.node;
		int dir = root_dir;
		enum rc rc = RC_OK;
		if (!is_wanted(r, node) && !(state_of(r, node) & STATE_TOUCHED) && !r->all_times)
			continue;
		if ((rc = layer_go_on(r->layer, 2 * PACE_CALL, e)))
			return rc;
		if (node != LAYER_ROOT)
			rc = layer_dirs_get(dirs, layer_parent(r->layer, node), &dir, e);
		const char *const name = node == LAYER_ROOT ? "fs" : layer_name(r->layer, node);
		struct stat st = {0};
		if (!rc)
			rc = os_stat(dir, name, &st, e);
		/* a directory that was no damage, where only contents were compared, has no time to set */
		if ((rc == RC_END || rc == RC_CORRUPT) && !is_wanted(r, node))
			continue;
		if (!rc && st.st_mtim.tv_sec == late.times.modified.tv_sec &&
			st.st_mtim.tv_nsec == late.times.modified.tv_nsec)
			continue;
		if (rc || (dirs == &r->real && (rc = unlock(r, dir, name, node, e))) ||
			(rc = os_set_times(dir, name, late.times.access, late.times.modified, e)))
			return unexpected(rc, name, e);
	}
	return RC_OK;
}

static enum rc publish_all(struct rebuild *r, struct err *e)
{
	const uint32_t count = layer_node_count(r->layer);
	enum rc rc;

	if (state_of(r, LAYER_ROOT) & STATE_STAGED || is_wanted(r, LAYER_ROOT)) /* only its mark can be */
		if ((rc = publish_attributes(r, LAYER_ROOT, r->target.staging, "fs", r->snapshot, "fs", e)))
			return rc;
	for (uint32_t i = 1; i < count; i++) { /* a parent has a smaller number */
		if (!is_wanted(r, i) || !layer_node_at(r->layer, i).alive)
			continue;
		if ((rc = layer_go_on(r->layer, 8 * PACE_CALL, e)) || (rc = publish_node(r, i, e)))
			return rc;
	}
	return publish_times(r, &r->real, r->snapshot, e);
}

/* What was unlocked for it is locked again, also where it was stopped or failed: as far as the disk still lets it. */
static enum rc publish_nodes(struct rebuild *r, struct err *e)
{
	const enum rc rc = publish_all(r, e);
	struct err more = {0}; /* the first reason is the one to tell */
	const enum rc locked = os_write_failed() ? RC_OK : lock_again(r, rc ? &more : e);

	return rc ? rc : locked;
}

/* The snapshot's directory, with the modes containerd gives them, and its fs in one rename. */
static enum rc publish_tree(struct rebuild *r, struct err *e)
{
	const struct rebuild_target *const t = &r->target;
	struct stat st = {0};
	enum rc rc;

	if (r->snapshot < 0) {
		rc = os_stat(t->snapshots, t->id, &st, e);
		if (!rc)
			rc = set_aside(r, t->snapshots, t->id, LAYER_ROOT, e);
		if ((rc && rc != RC_END) || (rc = os_mkdir(t->snapshots, t->id, 0700, e)) ||
			(rc = os_open_dir(t->snapshots, t->id, &r->snapshot, e)))
			return unexpected(rc, t->id, e);
	}
	rc = os_mkdir(r->snapshot, "work", 0711, e);
	if (rc && rc != RC_END)
		return rc;
	rc = os_stat(r->snapshot, "fs", &st, e);
	if (!rc && (!(rc = unlock(r, r->snapshot, "fs", LAYER_ROOT, e))))
		rc = set_aside(r, r->snapshot, "fs", LAYER_ROOT, e);
	r->locked_count = 0; /* that goes aside */
	if (rc && rc != RC_END)
		return rc;
	return os_rename(t->staging, "fs", r->snapshot, "fs", e);
}

enum rc rebuild_publish(struct rebuild *r, struct err *e)
{
	enum rc rc = RC_OK;

	layer_dirs_close(&r->real); /* opened while it was looked at, before anything changed */
	if (r->whole)
		rc = publish_times(r, &r->staged, r->target.staging, e);
	if (rc || (rc = os_syncfs(r->target.staging, e)))
		return rc;
	rc = r->whole ? publish_tree(r, e) : publish_nodes(r, e);
	return rc ? rc : os_syncfs(r->target.snapshots, e);
}

/* ---- clearing ---- */

/* Empties one directory: files go, directories rise to the top under new names, so that depth costs nothing. */
static enum rc drain(int top, const char *name, unsigned *risen, struct arena scratch, struct err *e)
{
	struct os_name *names = NULL;
	size_t count = 0;
	auto_fd dir = -1;
	enum rc rc;

	if ((rc = os_open_dir(top, name, &dir, e)))
		return rc == RC_END ? RC_OK : unexpected(rc, name, e);
	rc = os_list(dir, &scratch, &names, &count, e);
	for (size_t i = 0; !rc && i < count; i++) {
		struct stat st = {0};
		if ((rc = os_stat(dir, names[i].name, &st, e)))
			break;
		if (!S_ISDIR(st.st_mode)) {
			rc = os_unlink(dir, names[i].name, e);
			continue;
		}
		do {
			char free_name[32];
			(void)print_to(free_name, sizeof(free_name), "~%u", (*risen)++); /* it fits */
			rc = os_rename_new(dir, names[i].name, top, free_name, e);
		} while (rc == RC_END); /* each name is tried once */
	}
	return rc ? unexpected(rc, name, e) : os_rmdir(top, name, e);
}

enum rc rebuild_clear(int dir, struct arena scratch, struct err *e)
{
	const struct arena mark = scratch;
	unsigned risen = 0;

	for (;;) { /* each turn removes what it lists; what rises was inside */
		struct os_name *names = NULL;
		size_t count = 0;
		enum rc rc;
		scratch = mark;
		if ((rc = os_list(dir, &scratch, &names, &count, e)) || !count)
			return rc;
		for (size_t i = 0; !rc && i < count; i++) {
			struct stat st = {0};
			if (!(rc = os_stat(dir, names[i].name, &st, e)))
				rc = S_ISDIR(st.st_mode) ? drain(dir, names[i].name, &risen, scratch, e)
							 : os_unlink(dir, names[i].name, e);
		}
		if (rc)
			return unexpected(rc, "something in staging", e);
	}
}
