/* SPDX-License-Identifier: MIT */
/* From the differences of all entries to what is damage. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <dirent.h>

#include "layer/view.h"

#define BITS_WHAT (BITS_CONTENT | BIT_SYMLINK | BIT_DEVICE)

bool alive(const struct judge *j, uint32_t node)
{
	return j->marks[node] & MARK_ALIVE;
}

uint32_t inode_of(const struct judge *j, uint32_t node)
{
	return layer_inode(j->c->layer, node);
}

/* As put_unreadable, when there are records no more. */
static enum rc mark_unreadable(struct judge *j, uint32_t node, unsigned clear, int sys_errno, struct err *e)
{
	j->late_errno = sys_errno;
	return put_bits(j->c, j->v, node, clear, BIT_UNREADABLE, e);
}

enum rc mark_alive(struct judge *j, struct err *e)
{
	const struct layer *const l = j->c->layer;

	j->nodes = layer_node_count(l);
	j->marks = arena_get(&j->work, j->nodes);
	if (!j->marks)
		return no_memory(e);
	for (uint32_t i = 0; i < j->nodes; i += CHUNK) /* from here on no bit needs memory: the arena's end is the walk's */
		if (!j->v->bits[i / CHUNK] && !(j->v->bits[i / CHUNK] = arena_array(j->c->arena, CHUNK, sizeof(uint16_t))))
			return no_memory(e);
	j->marks[LAYER_ROOT] = MARK_ALIVE;
	/* children lists leave out the dead, and a child of the dead is reached by no list */
	for (uint32_t i = 0; i < j->nodes; i++)
		if (j->marks[i] & MARK_ALIVE && layer_kind(l, i) == NODE_DIR)
			for (uint32_t n = layer_first_child(l, i); n != LAYER_NO_NODE; n = layer_next_child(l, n))
				j->marks[n] |= MARK_ALIVE;
	return RC_OK;
}

static int compare_records(const void *a, const void *b)
{
	const struct record *const x = a, *const y = b;
	return (x->node > y->node) - (x->node < y->node);
}

enum rc sort_records(struct judge *j, struct err *e)
{
	const uint32_t count = j->v->record_count;
	size_t kept = 0;

	j->records = arena_array(&j->work, count, sizeof(*j->records));
	if (!j->records)
		return no_memory(e);
	for (uint32_t i = 0; i < count; i++)
		j->records[i] = *record_at(j->v, i);
	if (count)
		sort(j->records, count, sizeof(*j->records), compare_records);
	for (uint32_t i = 0; i < count; i++) {
		const struct record r = j->records[i];
		if (!kept || j->records[kept - 1].node != r.node) {
			j->records[kept++] = r;
			continue;
		}
		struct record *const same = &j->records[kept - 1];
		same->stored_bits = same->want ? same->stored_bits : r.stored_bits;
		same->want = same->want ? same->want : r.want;
		same->sys_errno = same->sys_errno ? same->sys_errno : r.sys_errno;
	}
	j->record_count = kept;
	return RC_OK;
}

const struct record *find_record(const struct judge *j, uint32_t node)
{
	const struct record key = {.node = node};

	return j->record_count ? bsearch(&key, j->records, j->record_count, sizeof(key), compare_records) : NULL;
}

#define TAG_EXTRA UINT32_MAX

static enum rc path_on_disk(const struct judge *j, const struct tree *t, const char *name, char path[LIMIT_PATH_BYTES],
	struct err *e)
{
	size_t used = 0;

	(void)j;
	for (size_t i = 0; i < t->depth; i++) {
		const struct frame *const f = &t->frames[i];
		const char *const part = i + 1 < t->depth ? f->names[f->next - 1].name : name;
		const size_t n = strlen(part);
		if (used + n + 2 > LIMIT_PATH_BYTES)
			return fail(e, RC_LIMIT, "a path of more than %d bytes", LIMIT_PATH_BYTES);
		if (used)
			path[used++] = '/';
		memcpy(path + used, part, n);
		used += n;
	}
	path[used] = 0;
	return RC_OK;
}

static enum rc keep_extra(struct judge *j, const struct tree *t, const char *name, struct err *e)
{
	char path[LIMIT_PATH_BYTES];
	enum rc rc;

	j->verdict.count[DIFF_NOTE_EXTRA]++;
	if (j->extras_kept++ >= LIMIT_LISTED_PER_CODE)
		return RC_OK;
	if ((rc = path_on_disk(j, t, name, path, e)))
		return rc;
	struct extra *const x = arena_get(&j->work, sizeof(*x) + strlen(path) + 1);
	if (!x)
		return no_memory(e);
	memcpy(x->path, path, strlen(path) + 1);
	*j->extras_end = x;
	j->extras_end = &x->next;
	return RC_OK;
}

/* What cannot be asked is no verdict. */
static enum rc has_mark(int dir, const char *name, const char *mark, bool *has, struct err *e)
{
	static const char kinds[][8] = {"trusted", "user"};
	char key[40], value[1];
	size_t n = 0;

	for (unsigned i = 0; i < 2; i++) {
		(void)print_to(key, sizeof(key), "%s.overlay.%s", kinds[i], mark); /* fits */
		const enum rc rc = os_xattr_get(dir, name, key, value, sizeof(value), &n, e);
		*has |= rc == RC_OK || rc == RC_LIMIT; /* whatever it says */
		if (rc == RC_IO)
			return rc;
	}
	return RC_OK;
}

/* A file whose bytes overlayfs leaves in a layer below (Linux: fs/overlayfs/copy_up.c, metacopy); what is no directory, and not in the
 * layer; a directory that hides what is below, of which whoever made the layer wrote each name's deletion. */
static enum rc look_at_origin(struct judge *j, int dir, const struct os_name *n, uint32_t node, struct err *e)
{
	const bool extra = node == TAG_EXTRA || node == LAYER_NO_NODE;
	bool hides = false;
	enum rc rc = pace_on(layer_pace(j->c->layer), 2 * PACE_CALL, e);

	if (extra)
		j->unexplained |= n->type != DT_DIR && n->type != DT_SOCK && n->type != DT_FIFO;
	else if (rc == RC_OK && (n->type == DT_DIR || n->type == DT_UNKNOWN))
		rc = has_mark(dir, n->name, "opaque", &hides, e);
	if (hides)
		j->marks[node] |= MARK_HIDES;
	return rc == RC_OK && (n->type == DT_REG || n->type == DT_UNKNOWN) ? has_mark(dir, n->name, "metacopy", &j->unexplained, e) : rc;
}

static enum rc disk_name(void *self, const struct tree *t, const struct os_name *n, bool *into, uint32_t *tag, struct err *e)
{
	struct judge *const j = self;
	const uint32_t dir = t->frames[t->depth - 1].tag;

	(void)into; /* stays true: what is beneath counts in any case */
	j->names++;
	*tag = dir == TAG_EXTRA ? TAG_EXTRA : layer_child(j->c->layer, dir, span_of_string(n->name));
	const enum rc looked = j->v->target.origin ? look_at_origin(j, t->frames[t->depth - 1].fd, n, *tag, e) : RC_OK;
	if (looked)
		return looked;
	if (dir != TAG_EXTRA && *tag == LAYER_NO_NODE) {
		const enum rc rc = keep_extra(j, t, n->name, e);
		if (rc)
			return rc;
	}
	if (*tag != TAG_EXTRA && layer_kind(j->c->layer, *tag) != NODE_DIR)
		*tag = TAG_EXTRA; /* another kind of file here: reported as that */
	return add_inode(&j->numbers, n->inode, e);
}

/* What the layer has nothing to do with is told of at the nearest directory that it has: counts go by it. */
static enum rc disk_trouble(void *self, const struct tree *t, const char *name, int sys_errno, struct err *e)
{
	struct judge *const j = self;
	size_t at = t->depth;
	uint32_t node = LAYER_NO_NODE;

	j->walk_complete = false;
	while (t->frames[at - 1].tag == TAG_EXTRA) /* the first is fs */
		at--;
	if (at == t->depth)
		node = layer_child(j->c->layer, t->frames[at - 1].tag, span_of_string(name));
	if (node == LAYER_NO_NODE)
		node = t->frames[at - 1].tag;
	return bits_of(j->v, node) & BIT_UNREADABLE ? RC_OK : mark_unreadable(j, node, 0, sys_errno, e);
}

enum rc walk_disk(struct judge *j, struct err *e)
{
	struct tree t = {.root = j->v->fs, .name = disk_name, .trouble = disk_trouble, .self = j, .pace = layer_pace(j->c->layer),
		.opened = j->v->target.origin};
	struct arena scratch = *j->c->arena;
	struct stat st = {0};
	enum rc rc;

	j->names = 1;
	j->walk_complete = true;
	j->numbers = (struct inodes){.arena = &j->lists};
	if ((rc = os_stat_fd(j->v->fs, &st, e)) || (rc = add_inode(&j->numbers, (uint64_t)st.st_ino, e)) ||
		(rc = walk_tree(&t, LAYER_ROOT, &scratch, e)))
		return rc;
	j->inodes = distinct(&j->numbers);
	return RC_OK;
}

/* ---- the verdict: hard links ---- */

struct name_of_inode {
	uint32_t inode, node;
	uint64_t device, number, size;
	bool regular;
};

static int compare_link_names(const void *a, const void *b)
{
	const struct name_of_inode *const x = a, *const y = b;
	if (x->inode != y->inode)
		return x->inode < y->inode ? -1 : 1;
	return (x->node > y->node) - (x->node < y->node);
}

/* The last word on an inode, against any of its names that is there. */
static enum rc judge_linked(struct judge *j, const struct linked *last, const struct name_of_inode *name, struct err *e)
{
	const enum layer_node_kind kind = layer_kind(j->c->layer, name->node);
	struct err why = {0};
	struct stat st = {0};
	unsigned bits = 0;
	int dir = -1;
	size_t n = 0;

	if (look_at(j->v, name->node, &dir, &st, &why)) { /* a name that was there a moment ago */
		const enum rc rc = put_bits(j->c, j->v, name->inode, BITS_METADATA, 0, e);
		return rc ? rc : mark_unreadable(j, name->node, 0, why.sys_errno, e);
	}
	if (!kind_fits(kind, &st))
		return RC_OK;
	if (kind != NODE_SYMLINK && (st.st_mode & 07777) != last->mode)
		bits |= BIT_ATTRIBUTES;
	if (!j->v->target.ignore_owners && (!owner_fits(last->uid, st.st_uid) || !owner_fits(last->gid, st.st_gid)))
		bits |= BIT_ATTRIBUTES;
	if (!time_fits(last->modified, st.st_mtim))
		bits |= BIT_TIME;
	if (kind == NODE_FILE && last->capability_bytes) {
		const enum rc rc = os_xattr_get(dir, layer_name(j->c->layer, name->node), "security.capability",
			j->c->xattr_value, sizeof(j->c->xattr_value), &n, &why);
		if (rc && rc != RC_END && mark_unreadable(j, name->node, 0, why.sys_errno, e))
			return RC_NOMEM;
		if (rc == RC_END || (!rc && !capabilities_equal(span_of(last->capability, last->capability_bytes),
						    span_of(j->c->xattr_value, n))))
			bits |= BIT_CAPABILITY;
	}
	/* of other attributes several entries may speak, and which of them counts is not worth keeping them all */
	return put_bits(j->c, j->v, name->inode, BITS_METADATA, bits, e);
}

struct last_word {
	uint32_t inode, at; /* at: in c->linked */
};

static int compare_last_words(const void *a, const void *b)
{
	const struct last_word *const x = a, *const y = b;
	if (x->inode != y->inode)
		return x->inode < y->inode ? -1 : 1;
	return (x->at > y->at) - (x->at < y->at);
}

/* list: sorted by inode. */
static enum rc judge_all_linked(struct judge *j, const struct name_of_inode *list, size_t used, struct err *e)
{
	const uint32_t count = j->c->linked_count;
	struct last_word *const words = arena_array(&j->work, count, sizeof(*words));
	size_t k = 0;

	if (!words)
		return no_memory(e);
	for (uint32_t i = 0; i < count; i++)
		words[i] = (struct last_word){linked_at(j->c, i)->inode, i};
	if (count)
		sort(words, count, sizeof(*words), compare_last_words);
	for (uint32_t i = 0; i < count; i++) {
		if (i + 1 < count && words[i + 1].inode == words[i].inode)
			continue;
		while (k < used && list[k].inode < words[i].inode)
			k++;
		if (k == used || list[k].inode != words[i].inode)
			continue; /* no name of it is left, or there */
		const enum rc rc = judge_linked(j, linked_at(j->c, words[i].at), &list[k], e);
		if (rc)
			return rc;
	}
	return RC_OK;
}

static bool has_group(const struct judge *j, uint32_t node, const uint8_t *grouped)
{
	return inode_of(j, node) != node || grouped[node / 8] & 1 << node % 8;
}

static enum rc read_to(struct judge *j, uint32_t node, int *fd, struct err *e)
{
	int dir = -1;
	const enum rc rc = layer_dirs_get(&j->v->dirs, layer_parent(j->c->layer, node), &dir, e);
	return rc ? rc : os_open_file(dir, layer_name(j->c->layer, node), fd, e);
}

/* RC_OK: equal; RC_END: not. */
static enum rc compare_files(struct judge *j, uint32_t a, uint32_t b, struct err *e)
{
	uint8_t *const left = j->v->buffer, *const right = j->v->buffer + OS_READER_BYTES / 2;
	auto_fd fd_a = -1, fd_b = -1;
	enum rc rc;

	if ((rc = read_to(j, a, &fd_a, e)) || (rc = read_to(j, b, &fd_b, e)))
		return rc == RC_CORRUPT ? RC_END : rc; /* RC_END: it was there a moment ago, and is another one by now */
	for (uint64_t off = 0;; off += OS_READER_BYTES / 2) {
		size_t n = 0, m = 0;
		if ((rc = layer_go_on(j->c->layer, OS_READER_BYTES, e)) ||
			(rc = os_read(fd_a, off, left, OS_READER_BYTES / 2, &n, e)) ||
			(rc = os_read(fd_b, off, right, OS_READER_BYTES / 2, &m, e)))
			return rc;
		if (n != m || !bytes_equal(left, right, n))
			return RC_END;
		if (n < OS_READER_BYTES / 2)
			return RC_OK;
	}
}

/* A name that is another file than the group's first one. */
static enum rc judge_copy(struct judge *j, const struct name_of_inode *first, const struct name_of_inode *other,
	struct err *e)
{
	struct err why = {0};
	unsigned bit = BIT_COPY;

	if (first->regular && other->regular) {
		const enum rc rc = first->size == other->size ? compare_files(j, first->node, other->node, &why) : RC_END;
		if (rc == RC_NOMEM || rc == RC_LIMIT || rc == RC_STOPPED)
			return fail(e, rc, "%s", why.text);
		if (rc && rc != RC_END)
			return mark_unreadable(j, other->node, 0, why.sys_errno, e);
		bit = rc == RC_END ? BIT_LINK : BIT_COPY;
	}
	return put_bits(j->c, j->v, other->node, 0, bit, e);
}

/* The first name was compared before it was removed, at a path that now is something else: only the size, if it was noted,
 * can speak about those that are left. */
static enum rc judge_orphan(struct judge *j, const struct name_of_inode *name, struct err *e)
{
	const struct record *const r = find_record(j, name->inode);

	j->marks[name->inode] |= MARK_BEHIND;
	if (!r || !name->regular || name->size == r->want)
		return RC_OK;
	return put_bits(j->c, j->v, name->node, 0,
		name->size == 0 ? BIT_EMPTY : name->size < r->want ? BIT_SHORT : BIT_CONTENT, e);
}

enum rc judge_links(struct judge *j, struct err *e)
{
	uint8_t *const grouped = arena_get(&j->work, j->nodes / 8 + 1);
	size_t count = 0, used = 0;

	if (!grouped)
		return no_memory(e);
	for (uint32_t i = 0; i < j->nodes; i++)
		if (inode_of(j, i) != i)
			grouped[inode_of(j, i) / 8] |= (uint8_t)(1 << inode_of(j, i) % 8);
	for (uint32_t i = 0; i < j->nodes; i++)
		count += alive(j, i) && has_group(j, i, grouped);
	if (!count)
		return RC_OK;
	struct name_of_inode *const list = arena_array(&j->work, count, sizeof(*list));
	if (!list)
		return no_memory(e);
	for (uint32_t i = 0; i < j->nodes; i++) {
		struct err why = {0};
		struct stat st = {0};
		int dir = -1;
		if (!alive(j, i) || !has_group(j, i, grouped))
			continue;
		enum rc rc = look_at(j->v, i, &dir, &st, &why);
		if (rc && rc != RC_END && (rc = mark_unreadable(j, i, 0, why.sys_errno, e)))
			return rc;
		if (bits_of(j->v, i) & BIT_UNREADABLE)
			j->marks[inode_of(j, i)] |= MARK_UNKNOWN;
		if (rc || bits_of(j->v, i) & BIT_UNREADABLE)
			continue; /* what is missing was noted when its entry went by */
		list[used++] = (struct name_of_inode){inode_of(j, i), i, (uint64_t)st.st_dev, (uint64_t)st.st_ino,
			(uint64_t)st.st_size, S_ISREG(st.st_mode)};
	}
	sort(list, used, sizeof(*list), compare_link_names);
	enum rc rc = judge_all_linked(j, list, used, e);
	if (rc)
		return rc;
	for (size_t i = 0, first = 0; i < used; i++) {
		if (list[i].inode != list[first].inode)
			first = i;
		if (!alive(j, list[i].inode))
			rc = judge_orphan(j, &list[i], e);
		const bool other = list[i].number != list[first].number || list[i].device != list[first].device;
		if (!rc && other && !(j->marks[list[i].inode] & MARK_UNKNOWN))
			rc = judge_copy(j, &list[first], &list[i], e);
		if (rc)
			return rc;
	}
	return RC_OK;
}

enum rc judge_times(struct judge *j, struct err *e)
{
	const struct layer *const l = j->c->layer;
	const size_t count = layer_late_time_count(l);
	bool any = false;

	for (size_t i = 0; i < count; i++) {
		const struct layer_late_time late = layer_late_time_at(l, i);
		if (late.elsewhere)
			j->marks[inode_of(j, late.node)] |= MARK_LATE;
		any = any || late.elsewhere;
	}
	for (size_t i = 0; any && i < count; i++) {
		const struct layer_late_time late = layer_late_time_at(l, i);
		struct err why = {0};
		struct stat st = {0};
		int dir = -1;
		if (!(j->marks[inode_of(j, late.node)] & MARK_LATE) || late.node == LAYER_ROOT)
			continue;
		enum rc rc = look_at(j->v, late.node, &dir, &st, &why);
		const bool seen = rc == RC_OK, unknown = rc && rc != RC_END; /* RC_END: its own entry told */
		rc = put_bits(j->c, j->v, inode_of(j, late.node), BIT_TIME,
			seen && !time_fits(late.times.modified, st.st_mtim) ? BIT_TIME : 0, e);
		if (!rc && unknown)
			rc = mark_unreadable(j, late.node, 0, why.sys_errno, e);
		if (rc)
			return rc;
	}
	return RC_OK;
}

/* ---- the verdict: deciding ---- */

unsigned all_bits(const struct judge *j, uint32_t node)
{
	const uint32_t inode = inode_of(j, node);
	const unsigned of_name = BIT_MISSING | BIT_TYPE | BIT_OPAQUE | BIT_LINK | BIT_COPY | BIT_UNREADABLE;
	const unsigned own = bits_of(j->v, node);

	if (inode == node)
		return own;
	unsigned of_inode = bits_of(j->v, inode) & ~of_name;
	if (j->marks[inode] & MARK_BEHIND)
		of_inode &= ~(unsigned)BITS_WHAT;
	return own | of_inode;
}

/* Bits that alone are a note, but where other things are lost tell of an entry that was being made when the file system last
 * committed (btrfs, in the middle of an extraction): its name is durable, its owner, attributes and times are not. */
static unsigned half_made_bits(const struct judge *j, uint32_t node)
{
	unsigned bits = BIT_ATTRIBUTES;

	if (j->systematic || !layer_is_explicit(j->c->layer, node))
		return 0;
	if (layer_kind(j->c->layer, node) != NODE_DIR && !j->v->target.by_mount) /* an archive may have coarser ones than were made */
		bits |= BIT_TIME; /* those of directories are set anyway, and nobody is told */
	if (j->v->xattrs_found)
		bits |= BIT_XATTR; /* else the file system may keep none */
	return bits;
}

unsigned damage_bits(const struct judge *j, uint32_t node)
{
	const enum layer_node_kind kind = layer_kind(j->c->layer, node);
	const unsigned bits = all_bits(j, node);
	unsigned damage = BIT_MISSING | BIT_TYPE | BIT_LINK | BITS_WHAT | BIT_CAPABILITY;

	switch (j->verdict.unverified) {
	case UNVERIFIED_MODEL:
		return bits & BIT_MISSING ? 0 : bits & (BITS_CONTENT | BIT_SYMLINK);
	case UNVERIFIED_MOUNTED:
		if (bits & BIT_MISSING)
			return 0;
		return bits & (BITS_WHAT | (kind == NODE_FILE ? BIT_TYPE : 0));
	case VERIFIED:
		break;
	}
	if (j->systematic && j->chowned) /* whoever gives a file away takes its capability */
		damage &= ~(unsigned)BIT_CAPABILITY;
	if (j->opaque_is_damage)
		damage |= BIT_OPAQUE;
	/* as many names as were recorded: it may never have been there */
	if (j->v->target.origin && (!j->entries_lost ||
					   (kind == NODE_WHITEOUT && j->marks[layer_parent(j->c->layer, node)] & MARK_HIDES)))
		damage &= ~(unsigned)BIT_MISSING;
	if (kind == NODE_WHITEOUT && j->whiteouts_unwritten)
		damage &= ~(unsigned)BIT_MISSING;
	if (j->torn)
		damage |= half_made_bits(j, node);
	return bits & damage;
}

void count_missing(struct judge *j)
{
	const struct layer *const l = j->c->layer;

	for (uint32_t i = 0; i < j->nodes; i++) {
		if (!alive(j, i))
			continue;
		const unsigned bits = all_bits(j, i);
		const bool whiteout = layer_kind(l, i) == NODE_WHITEOUT, opaque = layer_is_opaque(l, i);
		const unsigned gone = BIT_MISSING | BIT_TYPE | BIT_OPAQUE;
		j->whiteouts_missing += whiteout && bits & BIT_MISSING;
		j->other_missing += bits & (BIT_TYPE | BIT_LINK | BITS_WHAT) || (!whiteout && bits & BIT_MISSING);
		j->opaques_missing += (bits & BIT_OPAQUE) != 0;
		j->deletions_there += (whiteout || opaque) && !(bits & (gone | BIT_UNREADABLE));
		j->deletions_unknown += (whiteout || opaque) && bits & BIT_UNREADABLE;
		j->unread += (bits & BIT_UNREADABLE) != 0;
	}
}

void count_systematic(struct judge *j)
{
	uint64_t odd = 0, unknown = 0;

	for (uint32_t i = 0; i < j->nodes; i++) {
		if (!alive(j, i) || !layer_is_explicit(j->c->layer, i))
			continue;
		const unsigned time = layer_kind(j->c->layer, i) == NODE_DIR ? 0 : BIT_TIME;
		const bool differs = all_bits(j, i) & (BIT_ATTRIBUTES | time);
		j->verdict.entries++;
		odd += differs;
		unknown += !differs && all_bits(j, i) & BIT_UNREADABLE;
	}
	j->systematic = (odd + unknown) * 2 > j->verdict.entries;
	j->verdict.owners_differ = (j->v->owners_other + unknown) * 2 > j->v->owners_seen || !j->v->owners_seen;
	j->chowned = j->v->target.ignore_owners || (j->v->owners_seen && j->verdict.owners_differ);
	if (odd * 2 > j->verdict.entries)
		j->verdict.count[DIFF_NOTE_SYSTEMATIC] = odd;
}

void judge_counts(struct judge *j)
{
	const uint64_t model = layer_model_inodes(j->c->layer), whiteouts = layer_whiteouts(j->c->layer);
	const uint64_t recorded = j->v->target.recorded_inodes;
	const bool unsure = j->unread || !j->walk_complete;
	const bool none_there = !j->deletions_there && !j->v->target.deletions_written;
	const bool none_written = whiteouts && none_there &&
				  j->whiteouts_missing + (unsure ? j->deletions_unknown : 0) >= whiteouts;
	const bool off = recorded && j->walk_complete && recorded != j->inodes;

	j->whiteouts_unwritten =
		none_written && (recorded ? recorded + whiteouts == model : unsure || !j->other_missing);
	j->entries_lost = j->walk_complete && recorded > j->names;
	const bool fits = !recorded || recorded == model || (j->whiteouts_unwritten && !j->deletions_unknown);
	if (j->verdict.unverified == VERIFIED && !fits && !j->entries_lost)
		j->verdict.unverified = UNVERIFIED_MODEL;
	j->opaque_is_damage = !j->whiteouts_unwritten &&
			      (!none_there || j->whiteouts_missing || (!j->deletions_unknown && (j->other_missing || off)));
	const bool told = !fits && j->walk_complete && !j->deletions_unknown;
	if (told && j->entries_lost)
		j->verdict.count[DIFF_LOST_ENTRIES] = 1;
	else if (told && recorded != j->inodes)
		j->verdict.count[DIFF_NOTE_COUNT] = 1;
	const bool unwritten = j->whiteouts_unwritten || (j->opaques_missing && !j->opaque_is_damage);
	if (j->verdict.unverified == VERIFIED && unwritten && !unsure)
		j->verdict.count[DIFF_NOTE_WHITEOUTS] = 1;
}

/* Whether all that an origin was recorded with is there, or in the layer: else what can be compared is not all of it. */
bool is_explained(const struct judge *j)
{
	uint64_t restored = 0;

	for (uint32_t i = 0; i < j->nodes; i++)
		if (alive(j, i) && all_bits(j, i) & BIT_MISSING) {
			const bool damage = damage_bits(j, i) & BIT_MISSING;
			if (!damage && layer_kind(j->c->layer, i) != NODE_WHITEOUT)
				return false;
			restored += damage;
		}
	return !j->unexplained && j->v->target.recorded_inodes <= j->names + restored;
}

enum rc settle_damage(struct judge *j, struct arena *keep, struct err *e)
{
	bool any = false;

	for (uint32_t i = 0; i < j->nodes && !any; i++)
		any = alive(j, i) && damage_bits(j, i);
	j->torn = any || j->v->target.half_repaired;
	for (uint32_t i = 0; j->torn && i < j->nodes; i++)
		if (alive(j, i) && damage_bits(j, i))
			j->marks[inode_of(j, i)] |= MARK_DAMAGED;
	for (uint32_t i = 0; any && j->verdict.unverified == VERIFIED && i < j->nodes; i++)
		if (j->marks[i] & MARK_BEHIND)
			j->marks[i] |= MARK_DAMAGED;
	uint8_t *set = NULL;
	for (uint32_t i = 0; i < j->nodes; i++) {
		if (!(j->marks[inode_of(j, i)] & MARK_DAMAGED))
			continue;
		if (!set && !(set = arena_get(keep, j->nodes / 8 + 1)))
			return no_memory(e);
		set[i / 8] |= (uint8_t)(1 << i % 8);
		j->verdict.damaged += alive(j, i);
		if (inode_of(j, i) != i)
			continue;
		j->verdict.rewrite_inodes++;
		const enum rc rc = layer_go_on(j->c->layer, PACE_CALL, e);
		if (rc)
			return rc;
		const struct record *const r = find_record(j, i);
		struct err ignored = {0}; /* a size that cannot be had is small change in an estimate */
		struct stat st = {0};
		int dir = -1;
		if (layer_kind(j->c->layer, i) != NODE_FILE)
			continue;
		if (r && r->want)
			j->verdict.rewrite_bytes += r->stored_bits ? min_u64(r->want, (uint64_t)1 << r->stored_bits) : r->want;
		else if (!look_at(j->v, i, &dir, &st, &ignored) && S_ISREG(st.st_mode))
			j->verdict.rewrite_bytes += (uint64_t)st.st_size;
	}
	j->verdict.damaged_bits = set;
	return RC_OK;
}
