/* SPDX-License-Identifier: MIT */
/* Telling of the differences, path by path. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <dirent.h>

#include "layer/view.h"

/* ---- the verdict: telling ---- */

static void tell(struct judge *j, enum layer_difference_kind kind, uint32_t node, const char *path, uint64_t got, uint64_t want)
{
	const struct layer_difference d = {
		.kind = kind, .target = j->target, .node = node, .path = path, .got = got, .want = want};

	j->emit(j->self, &d);
}

static void tell_one(struct judge *j, enum layer_difference_kind kind, uint32_t node, const char *path, uint64_t got,
	uint64_t want)
{
	j->verdict.count[kind]++;
	tell(j, kind, node, path, got, want);
}

static uint64_t size_on_disk(struct judge *j, uint32_t node)
{
	struct err ignored = {0}; /* only for the message */
	struct stat st = {0};
	int dir = -1;

	return look_at(j->v, node, &dir, &st, &ignored) ? 0 : (uint64_t)st.st_size;
}

static void tell_damage(struct judge *j, uint32_t node, const char *path)
{
	static const struct {
		unsigned bit;
		enum layer_difference_kind kind;
	} kinds[] = {{BIT_TYPE, DIFF_TYPE}, {BIT_EMPTY, DIFF_EMPTY}, {BIT_SHORT, DIFF_SHORT}, {BIT_ZEROED, DIFF_ZEROED},
		{BIT_CONTENT, DIFF_CONTENT}, {BIT_SYMLINK, DIFF_SYMLINK}, {BIT_DEVICE, DIFF_DEVICE}, {BIT_LINK, DIFF_LINK},
		{BIT_OPAQUE, DIFF_OPAQUE}, {BITS_METADATA & ~BIT_TIME, DIFF_METADATA}};
	const unsigned bits = damage_bits(j, node);
	const bool whiteout = layer_kind(j->c->layer, node) == NODE_WHITEOUT;
	unsigned told = 0;

	if (bits & BIT_MISSING) {
		tell_one(j, whiteout ? DIFF_WHITEOUT : DIFF_MISSING, node, path, 0, 0);
		return;
	}
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (!(bits & kinds[i].bit))
			continue;
		const bool sizes = kinds[i].bit & BITS_CONTENT;
		const struct record *const r = sizes ? find_record(j, inode_of(j, node)) : NULL;
		tell_one(j, kinds[i].kind, node, path, sizes ? size_on_disk(j, node) : 0, r ? r->want : 0);
		told |= kinds[i].bit;
	}
	if (bits && !told) /* BIT_TIME alone */
		tell_one(j, DIFF_METADATA, node, path, 0, 0);
}

static void tell_trouble(struct judge *j, uint32_t node, const char *path)
{
	const struct record *const r = find_record(j, node);

	if (bits_of(j->v, node) & BIT_UNREADABLE)
		tell_one(j, DIFF_UNREADABLE, node, path,
			(uint64_t)(r && r->sys_errno ? r->sys_errno : j->late_errno ? j->late_errno : EIO), 0);
}

static unsigned note_bits(const struct judge *j, uint32_t node)
{
	unsigned notes = BIT_ATTRIBUTES | BIT_TIME | BIT_COPY;

	/* what could not be read may be what makes it damage, or systematic */
	if (j->verdict.unverified != VERIFIED || j->systematic || j->unread || damage_bits(j, node))
		return 0;
	if (j->v->xattrs_found)
		notes |= BIT_XATTR; /* else the file system may keep none */
	return all_bits(j, node) & notes;
}

/* Damage and what could not be looked at in one pass over the tree, notes in another. */
static void tell_node(struct judge *j, uint32_t node, const char *path, bool notes)
{
	if (notes) {
		if (note_bits(j, node))
			tell_one(j, DIFF_NOTE_METADATA, node, path, 0, 0);
		return;
	}
	tell_damage(j, node, path);
	tell_trouble(j, node, path);
}

static void mark_shown(struct judge *j, bool notes)
{
	for (uint32_t i = j->nodes; i-- > 0;) { /* a parent has a smaller number */
		const bool own = alive(j, i) && (notes ? note_bits(j, i) != 0
						       : damage_bits(j, i) || bits_of(j->v, i) & BIT_UNREADABLE);
		if (own)
			j->marks[i] |= MARK_SHOWN;
		if (j->marks[i] & MARK_SHOWN && i != LAYER_ROOT)
			j->marks[layer_parent(j->c->layer, i)] |= MARK_SHOWN;
	}
}

/* Children that have something to say, in the order of their names. */
struct rank {
	const char *name;
	uint32_t node;
};

static int compare_ranks(const void *a, const void *b)
{
	return strcmp(((const struct rank *)a)->name, ((const struct rank *)b)->name);
}

struct level {
	struct rank *children;
	size_t count, next, path_bytes;
	struct arena mark;
};

static enum rc open_level(struct judge *j, struct level *level, uint32_t dir, size_t path_bytes, struct arena *a,
	struct err *e)
{
	const struct layer *const l = j->c->layer;
	size_t count = 0;

	*level = (struct level){.path_bytes = path_bytes, .mark = *a};
	for (uint32_t n = layer_first_child(l, dir); n != LAYER_NO_NODE; n = layer_next_child(l, n))
		count += (j->marks[n] & MARK_SHOWN) != 0;
	level->children = arena_array(a, count, sizeof(*level->children));
	if (!level->children)
		return no_memory(e);
	for (uint32_t n = layer_first_child(l, dir); n != LAYER_NO_NODE; n = layer_next_child(l, n))
		if (j->marks[n] & MARK_SHOWN)
			level->children[level->count++] = (struct rank){layer_name(l, n), n};
	sort(level->children, level->count, sizeof(*level->children), compare_ranks);
	return RC_OK;
}

static enum rc tell_tree(struct judge *j, bool notes, struct err *e)
{
	struct arena scratch = *j->c->arena;
	struct level *const levels = arena_array(&scratch, LIMIT_PATH_DEPTH + 1, sizeof(*levels));
	char path[LIMIT_PATH_BYTES] = "";
	size_t depth = 0;
	enum rc rc;

	if (!levels)
		return no_memory(e);
	for (uint32_t i = 0; i < j->nodes; i++)
		j->marks[i] &= (uint8_t)~MARK_SHOWN;
	mark_shown(j, notes);
	if (!(j->marks[LAYER_ROOT] & MARK_SHOWN))
		return RC_OK;
	tell_node(j, LAYER_ROOT, "", notes);
	rc = open_level(j, &levels[depth++], LAYER_ROOT, 0, &scratch, e);
	while (!rc && depth) {
		struct level *const level = &levels[depth - 1];
		if (level->next == level->count) {
			scratch = level->mark;
			depth--;
			continue;
		}
		const struct rank *const child = &level->children[level->next++];
		size_t used = level->path_bytes;
		if (used + strlen(child->name) + 2 > sizeof(path) || depth > LIMIT_PATH_DEPTH)
			return fail(e, RC_LIMIT, "a path of more than %d bytes", LIMIT_PATH_BYTES);
		if (used)
			path[used++] = '/';
		memcpy(path + used, child->name, strlen(child->name) + 1);
		used += strlen(child->name);
		tell_node(j, child->node, path, notes);
		if (layer_kind(j->c->layer, child->node) == NODE_DIR)
			rc = open_level(j, &levels[depth++], child->node, used, &scratch, e);
	}
	return rc;
}

static enum rc tell_all(struct judge *j, struct err *e)
{
	struct layer_verdict *const v = &j->verdict;
	const uint64_t recorded = j->v->target.recorded_inodes;
	enum rc rc;

	if (v->count[DIFF_LOST_ENTRIES])
		tell(j, DIFF_LOST_ENTRIES, LAYER_NO_NODE, "", j->names, recorded);
	if ((rc = tell_tree(j, false, e)))
		return rc;
	if (v->count[DIFF_NOTE_SYSTEMATIC])
		tell(j, DIFF_NOTE_SYSTEMATIC, LAYER_NO_NODE, "", v->count[DIFF_NOTE_SYSTEMATIC], v->entries);
	if (v->count[DIFF_NOTE_COUNT])
		tell(j, DIFF_NOTE_COUNT, LAYER_NO_NODE, "", j->inodes, recorded);
	if (v->count[DIFF_NOTE_WHITEOUTS])
		tell(j, DIFF_NOTE_WHITEOUTS, LAYER_NO_NODE, "", 0, j->whiteouts_missing + j->opaques_missing);
	v->count[DIFF_NOTE_SYSTEMATIC] = v->count[DIFF_NOTE_SYSTEMATIC] != 0;
	if ((rc = tell_tree(j, true, e)))
		return rc;
	if (v->unverified != VERIFIED)
		v->count[DIFF_NOTE_EXTRA] = 0;
	else
		for (const struct extra *x = j->extras; x; x = x->next)
			tell(j, DIFF_NOTE_EXTRA, LAYER_NO_NODE, x->path, 0, 0);
	return RC_OK;
}

/* fs is not there: one difference, and every node is damaged. */
static enum rc judge_nothing(struct judge *j, struct arena *keep, struct err *e)
{
	const enum rc rc = settle_damage(j, keep, e);

	if (rc)
		return rc;
	if (!j->verdict.damaged_bits && !(j->verdict.damaged_bits = arena_get(keep, j->nodes / 8 + 1)))
		return no_memory(e);
	j->verdict.damaged_bits[0] |= 1;
	j->verdict.damaged++;
	j->verdict.rewrite_inodes++;
	tell_one(j, DIFF_FS_MISSING, LAYER_ROOT, "", 0, 0);
	return RC_OK;
}

static const char not_all[] = "its layer is not all that was in it";

enum rc judge(struct judge *j, struct arena *keep, struct err *e)
{
	bool mounted = false;
	enum rc rc = turn_batches(j->c, e); /* sends the last one */

	if (!rc)
		rc = turn_batches(j->c, e);
	if (rc || (rc = mark_alive(j, e)) || (rc = sort_records(j, e)))
		return rc;
	if (j->v->fs < 0 && j->v->target.origin && j->v->target.recorded_inodes > layer_model_inodes(j->c->layer))
		return fail(e, RC_CORRUPT, "%s", not_all);
	if (j->v->fs < 0)
		return judge_nothing(j, keep, e);
	if ((rc = was_mounted(j->v->target.snapshot, &mounted, e)) || (rc = walk_disk(j, e)) ||
		(rc = judge_links(j, e)) || (rc = judge_times(j, e)))
		return rc;
	if (j->v->target.origin && !j->walk_complete) /* what lies there may be what explains the rest */
		return fail(e, RC_LIMIT, "a directory in it cannot be read");
	j->verdict.unverified = mounted && !j->v->target.by_mount ? UNVERIFIED_MOUNTED : VERIFIED;
	count_missing(j);
	count_systematic(j);
	judge_counts(j);
	/* what is missing is no damage then: of a layer that only a label names it may be all there is of it */
	if (j->c->hurry && j->verdict.unverified != VERIFIED)
		return fail(e, RC_LIMIT, "a difference");
	if ((rc = settle_damage(j, keep, e)))
		return rc;
	if (j->v->target.origin && !is_explained(j))
		return j->unread ? fail(e, RC_LIMIT, "a file in it cannot be read") : fail(e, RC_CORRUPT, "%s", not_all);
	return tell_all(j, e);
}

enum rc layer_check_finish(struct layer_check *c, unsigned target, struct arena *keep,
	void (*emit)(void *self, const struct layer_difference *d), void *self, struct layer_verdict *v, struct err *e)
{
	struct view *const view = &c->views[target];
	struct judge j = {.c = c, .v = view, .target = target, .emit = emit, .self = self};
	enum rc rc;

	if (view->trouble.rc) {
		errno = view->trouble.sys_errno;
		return fail(e, view->trouble.rc, "%s", view->trouble.text);
	}
	j.extras_end = &j.extras;
	if (!(rc = arena_open(&j.work, e)) && !(rc = arena_open(&j.lists, e)))
		rc = judge(&j, keep, e);
	arena_close(&j.work);
	arena_close(&j.lists);
	close_view(view);
	j.verdict.node_count = j.nodes;
	if (!rc)
		*v = j.verdict;
	return rc;
}
