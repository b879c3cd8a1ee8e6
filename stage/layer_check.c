/* SPDX-License-Identifier: MIT */
/* Compares a replay with snapshots on disk. While entries go by, each one is looked at and its findings are kept as bits of
 * its node (of its inode, where they are an inode's); later entries overwrite them. What the bits mean is decided only when
 * the whole layer, the whole directory and the recorded inode count are known (layer-format.md 6). */
#include "layer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <dirent.h>

#include "layer_dirs.h"
#include "os.h"

enum {
	/* of a name */
	BIT_MISSING = 1 << 0,
	BIT_TYPE = 1 << 1,
	BIT_OPAQUE = 1 << 2,
	BIT_LINK = 1 << 3,    /* another file than the group's, with other content */
	BIT_COPY = 1 << 4,    /* the same with equal content */
	BIT_UNREADABLE = 1 << 5,
	/* of an inode: at its first name */
	BIT_EMPTY = 1 << 6,
	BIT_SHORT = 1 << 7,
	BIT_ZEROED = 1 << 8,
	BIT_CONTENT = 1 << 9,
	BIT_SYMLINK = 1 << 10,
	BIT_DEVICE = 1 << 11,
	BIT_ATTRIBUTES = 1 << 12, /* mode, owner */
	BIT_TIME = 1 << 13,
	BIT_CAPABILITY = 1 << 14,
	BIT_XATTR = 1 << 15
};
#define BITS_CONTENT (BIT_EMPTY | BIT_SHORT | BIT_ZEROED | BIT_CONTENT)
#define BITS_WHAT (BITS_CONTENT | BIT_SYMLINK | BIT_DEVICE)
#define BITS_METADATA (BIT_ATTRIBUTES | BIT_TIME | BIT_CAPABILITY | BIT_XATTR)

#define CHUNK 4096u
#define CHUNKS (LIMIT_LAYER_NODES / CHUNK)
#define PAGE 4096u

/* What a node's bits cannot hold. In any order, until the verdict sorts them. */
struct record {
	uint32_t node;
	uint16_t sys_errno;   /* BIT_UNREADABLE */
	uint8_t stored_bits;  /* the layer has less than 2 to the power of this of the file's bytes, and the rest is holes; 0: it has all */
	uint64_t want;        /* bytes of a file that is not what it should be */
};

/* One snapshot directory. */
struct view {
	struct layer_target target;
	int fs;             /* -1: not there */
	struct err trouble; /* fs could not be opened: nothing can be said */
	struct layer_dirs dirs;
	uint16_t **bits;    /* CHUNKS pointers */
	struct record **records;
	uint32_t record_count;
	uint64_t xattrs_found;
	uint64_t owners_seen, owners_other; /* of files, as their entries went by */

	/* the file being compared, or to be compared later */
	int file;
	bool comparing, differs, other_than_zero;
	struct os_reader reader;
	uint8_t *buffer;
	struct span ahead; /* read and not compared yet */
	uint64_t offset;   /* of the next byte to compare */
};

/* Files that went by and are small enough: what the layer says of them, and where the system puts what the disk has, while those of
 * the next batch go by. Without that, a layer would wait for the medium once for each. */
#define BATCH_FILES 32
#define BATCH_BYTES ((size_t)512 << 10)
struct batch {
	struct os_small files[BATCH_FILES];
	struct {
		struct view *view;
		uint32_t node;
		const uint8_t *want; /* NULL: zeros only, as far as it went by */
	} of[BATCH_FILES];
	unsigned count;
	size_t want_used, got_used;
	uint8_t *want, *got; /* BATCH_BYTES each */
};

#define CAPABILITY_BYTES 24 /* the longest form */

/* What a hard link's entry says of its inode, which is the last word until the next one. Compared at the end: the link's own
 * name may be another file's by then. */
struct linked {
	uint32_t inode, mode, uid, gid;
	struct timespec modified;
	uint8_t capability_bytes; /* 0: the entry has none, and its chown took what there was (layer-format.md 0.4) */
	uint8_t capability[CAPABILITY_BYTES];
};

struct layer_check {
	struct layer *layer;
	struct arena *arena;
	unsigned count;
	struct view *views;
	struct linked **linked; /* CHUNKS pointers */
	uint32_t linked_count;
	struct batch batches[2], *batch; /* that which is filled; the other is under way */
	uint32_t batch_node;             /* of the file that goes by */
	size_t batch_filled, batch_size; /* bytes of it so far, and at the end */
	bool batch_zeros;                /* all of those so far: not copied, then */
	size_t batch_file;               /* bytes of one at most: it fits for all targets */
	uint64_t stored;                 /* bytes that the layer has of the file that goes by */
	bool hurry, differs;             /* differs: a file's content, or all: what is missing may yet be no damage */
	enum rc failed;                  /* a batch was not settled: nothing can be said of any target */
	uint8_t xattr_value[LIMIT_XATTR_BYTES];
};

static enum rc out_of_memory(struct err *e)
{
	return fail(e, RC_NOMEM, "no memory to compare a layer");
}

/* ---- bits ---- */

static uint16_t bits_of(const struct view *v, uint32_t node)
{
	const uint16_t *const chunk = v->bits[node / CHUNK];
	return chunk ? chunk[node % CHUNK] : 0;
}

static enum rc put_bits(const struct layer_check *c, struct view *v, uint32_t node, unsigned clear, unsigned set,
	struct err *e)
{
	uint16_t **const chunk = &v->bits[node / CHUNK];

	if (!*chunk && !set)
		return RC_OK;
	if (!*chunk && !(*chunk = arena_array(c->arena, CHUNK, sizeof(**chunk))))
		return out_of_memory(e);
	(*chunk)[node % CHUNK] = (uint16_t)(((*chunk)[node % CHUNK] & ~clear) | set);
	return RC_OK;
}

static struct record *record_at(const struct view *v, uint32_t i)
{
	return &v->records[i / CHUNK][i % CHUNK];
}

static uint8_t bits_for(uint64_t n)
{
	uint8_t bits = 1;

	while (n >>= 1)
		bits++;
	return bits;
}

/* stored: of want, bytes that the layer has. */
static enum rc put_record(const struct layer_check *c, struct view *v, uint32_t node, uint64_t want, uint64_t stored,
	int sys_errno, struct err *e)
{
	if (v->record_count >= LIMIT_LAYER_NODES)
		return fail(e, RC_LIMIT, "too many differences");
	struct record **const chunk = &v->records[v->record_count / CHUNK];
	if (!*chunk && !(*chunk = arena_array(c->arena, CHUNK, sizeof(**chunk))))
		return out_of_memory(e);
	*record_at(v, v->record_count++) = (struct record){
		.node = node, .sys_errno = (uint16_t)sys_errno, .stored_bits = stored < want ? bits_for(stored) : 0, .want = want};
	return RC_OK;
}

/* Nothing is concluded from what could not be looked at: not from what was seen of it before either (clear). */
static enum rc put_unreadable(const struct layer_check *c, struct view *v, uint32_t node, unsigned clear, int sys_errno,
	struct err *e)
{
	const enum rc rc = put_record(c, v, node, 0, 0, sys_errno, e);

	return rc ? rc : put_bits(c, v, node, clear, BIT_UNREADABLE, e);
}

static struct linked *linked_at(const struct layer_check *c, uint32_t i)
{
	return &c->linked[i / CHUNK][i % CHUNK];
}

static enum rc put_linked(struct layer_check *c, uint32_t inode, const struct tar_entry *te, struct err *e)
{
	struct linked made = {.inode = inode, .mode = te->mode, .uid = (uint32_t)te->uid, .gid = (uint32_t)te->gid,
		.modified = layer_times_of(te).modified};

	for (size_t i = 0; i < te->xattr_count; i++) {
		const struct tar_xattr *const x = &te->xattrs[i];
		if (!span_is(x->name, "security.capability") || !x->value.left || x->value.left > CAPABILITY_BYTES)
			continue; /* the kernel takes no longer one */
		memcpy(made.capability, x->value.at, x->value.left);
		made.capability_bytes = (uint8_t)x->value.left;
	}
	if (c->linked_count && linked_at(c, c->linked_count - 1)->inode == inode) {
		*linked_at(c, c->linked_count - 1) = made;
		return RC_OK;
	}
	struct linked **const chunk = &c->linked[c->linked_count / CHUNK];
	if (!*chunk && !(*chunk = arena_array(c->arena, CHUNK, sizeof(**chunk))))
		return out_of_memory(e);
	*linked_at(c, c->linked_count++) = made; /* fewer than nodes */
	return RC_OK;
}

/* ---- one entry: what it is ---- */

/* The name on disk. RC_END: not there. RC_IO: could not look. */
static enum rc look(struct view *v, uint32_t node, int *dir, struct stat *st, struct err *why)
{
	const enum rc rc = layer_dirs_get(&v->dirs, layer_parent(v->dirs.layer, node), dir, why);

	if (rc)
		return rc == RC_CORRUPT ? RC_END : rc;
	return os_stat(*dir, layer_name(v->dirs.layer, node), st, why);
}

static bool kind_fits(enum layer_node_kind kind, const struct stat *st)
{
	switch (kind) {
	case NODE_FILE:
		return S_ISREG(st->st_mode);
	case NODE_SYMLINK:
		return S_ISLNK(st->st_mode);
	case NODE_DIR:
		return S_ISDIR(st->st_mode);
	case NODE_CHAR:
		return S_ISCHR(st->st_mode);
	case NODE_BLOCK:
		return S_ISBLK(st->st_mode);
	case NODE_FIFO:
		return S_ISFIFO(st->st_mode);
	case NODE_WHITEOUT:
		return S_ISCHR(st->st_mode) && st->st_rdev == 0;
	}
	return false;
}

/* mknod keeps 12 and 20 bits of what the archive says (layer-format.md 3.5). */
static bool device_fits(const struct tar_entry *te, const struct stat *st)
{
	return major(st->st_rdev) == ((uint64_t)te->dev_major & 0xfff) &&
	       minor(st->st_rdev) == ((uint64_t)te->dev_minor & 0xfffff);
}

static bool link_fits(const char *want, int dir, const char *name, bool *unreadable)
{
	char got[LIMIT_PATH_BYTES + 1];
	struct err why = {0};
	size_t n = 0;
	const enum rc rc = os_read_link(dir, name, got, &n, &why);

	*unreadable = rc == RC_IO;
	return !rc && n == strlen(want) && memcmp(got, want, n) == 0;
}

/* ---- one entry: its metadata ---- */

static bool owner_fits(int64_t want, uint32_t got)
{
	const uint32_t cut = (uint32_t)want; /* as the system call cuts it; all ones leaves it as it was */
	return cut == UINT32_MAX || cut == got;
}

/* File systems keep coarser times or a shorter range. */
static bool time_fits(struct timespec want, struct timespec got)
{
	if (want.tv_sec > INT32_MAX && want.tv_sec != got.tv_sec)
		return true;
	return want.tv_sec == got.tv_sec && (want.tv_nsec == got.tv_nsec || got.tv_nsec == 0 ||
						    got.tv_nsec == want.tv_nsec - want.tv_nsec % 1000 ||
						    got.tv_nsec == want.tv_nsec - want.tv_nsec % 100);
}

struct capability {
	bool valid, effective;
	uint64_t permitted, inheritable;
};

/* struct vfs_cap_data (Linux: include/uapi/linux/capability.h): 0 4 revision << 24 | effective, then for each half
 * 4 permitted, 4 inheritable; revision 1 has one half, 2 and 3 have two, 3 a root id behind them. */
static struct capability capability_of(struct span s)
{
	struct capability c = {0};
	const uint32_t magic = span_u32le(&s);
	const unsigned halves = magic >> 24 == 1 ? 1 : 2;

	for (unsigned i = 0; i < halves; i++) {
		c.permitted |= (uint64_t)span_u32le(&s) << 32 * i;
		c.inheritable |= (uint64_t)span_u32le(&s) << 32 * i;
	}
	c.effective = magic & 1;
	c.valid = !s.bad;
	return c;
}

static bool capabilities_equal(struct span want, struct span got)
{
	const struct capability a = capability_of(want), b = capability_of(got);

	return a.valid && b.valid && a.effective == b.effective && a.permitted == b.permitted &&
	       a.inheritable == b.inheritable;
}

/* Names that belong to the archive: the system owns the rest, and ACLs are rewritten by the mode (layer-format.md 3.6). */
static bool xattr_is_compared(struct span name, enum layer_node_kind kind)
{
	static const char *const system[] = {"security.selinux", "security.ima", "security.evm"};

	if (name.left > LIMIT_NAME_BYTES)
		return false;
	for (size_t i = 0; i < sizeof(system) / sizeof(system[0]); i++)
		if (span_is(name, system[i]))
			return false;
	if (span_starts(name, "security."))
		return !span_starts(name, "security.SMACK64");
	return span_starts(name, "user.") && (kind == NODE_FILE || kind == NODE_DIR);
}

static unsigned compare_xattrs(struct layer_check *c, struct view *v, int dir, const char *name,
	enum layer_node_kind kind, const struct tar_entry *te, struct err *why)
{
	unsigned bits = 0;

	for (size_t i = 0; i < te->xattr_count; i++) {
		const struct tar_xattr *const x = &te->xattrs[i];
		char key[LIMIT_NAME_BYTES + 1];
		size_t n = 0;
		if (!xattr_is_compared(x->name, kind))
			continue;
		memcpy(key, x->name.at, x->name.left);
		key[x->name.left] = 0;
		const bool capability = kind == NODE_FILE && span_is(x->name, "security.capability");
		const enum rc rc = os_xattr_get(dir, name, key, c->xattr_value, sizeof(c->xattr_value), &n, why);
		const struct span got = span_of(c->xattr_value, n);
		v->xattrs_found += !capability && rc == RC_OK;
		if (rc == RC_IO)
			return bits | BIT_UNREADABLE;
		if (capability && (rc || !capabilities_equal(x->value, got)))
			bits |= BIT_CAPABILITY;
		if (!capability && (rc || !span_equal(x->value, got)))
			bits |= BIT_XATTR;
	}
	return bits;
}

static unsigned compare_metadata(struct layer_check *c, struct view *v, int dir, const struct layer_node *n,
	const struct tar_entry *te, const struct stat *st, struct err *why)
{
	const char *const name = (const char *)n->name.at;
	const enum layer_node_kind kind = n->kind;
	const bool whiteout = kind == NODE_WHITEOUT;
	const uint32_t mode = whiteout ? 0 : te->mode;
	unsigned bits = 0;

	if (kind != NODE_SYMLINK && (st->st_mode & 07777) != mode)
		bits |= BIT_ATTRIBUTES;
	const bool other = !owner_fits(te->uid, st->st_uid) || !owner_fits(te->gid, st->st_gid);
	if (other && !v->target.ignore_owners)
		bits |= BIT_ATTRIBUTES;
	v->owners_seen += kind == NODE_FILE;
	v->owners_other += other && kind == NODE_FILE;
	if (whiteout)
		return bits; /* made now, and without attributes */
	if (!time_fits(layer_times_of(te).modified, st->st_mtim))
		bits |= BIT_TIME;
	return te->xattr_count ? bits | compare_xattrs(c, v, dir, name, kind, te, why) : bits;
}

/* ---- one entry: as it goes by ---- */

static void stop_comparing(struct view *v)
{
	os_reader_settle(&v->reader);
	os_close(&v->file);
	v->comparing = false;
}

/* Decides by the size; equal sizes have to be read. */
static unsigned begin_file(const struct layer_check *c, struct view *v, int dir, const char *name, const struct tar_entry *te,
	const struct stat *st, struct err *why)
{
	const uint64_t got = (uint64_t)st->st_size;

	if (got != te->size)
		return got == 0 ? BIT_EMPTY : got < te->size ? BIT_SHORT : BIT_CONTENT;
	if (!got)
		return 0;
	const bool small = got <= c->batch_file;
	enum rc rc = small ? os_small_open(dir, name, &v->file, why) : os_open_file(dir, name, &v->file, why);
	if (!rc && small)
		return 0;
	if (!rc)
		rc = os_reader_open(&v->reader, v->file, v->buffer, OS_READER_BYTES, why);
	if (rc) {
		if (!why->sys_errno)
			why->sys_errno = ESTALE; /* it was a regular file a moment ago */
		stop_comparing(v);
		return BIT_UNREADABLE;
	}
	os_reader_ahead((struct os_reader *const[]){&v->reader}, 1);
	v->comparing = true;
	v->differs = false;
	v->other_than_zero = false;
	v->ahead = span_of(NULL, 0);
	v->offset = 0;
	return 0;
}

static enum rc see_new(struct layer_check *c, struct view *v, uint32_t node, const struct layer_node *n,
	const struct tar_entry *te, struct err *e)
{
	const char *const name = (const char *)n->name.at;
	struct err why = {0};
	struct stat st = {0};
	unsigned bits = 0;
	bool unreadable = false;
	int dir = -1;
	enum rc rc = look(v, node, &dir, &st, &why);

	if (rc == RC_END)
		bits = BIT_MISSING;
	else if (rc)
		bits = BIT_UNREADABLE;
	else if (!kind_fits(n->kind, &st))
		bits = BIT_TYPE;
	else if (te)
		bits = compare_metadata(c, v, dir, n, te, &st, &why);
	if (te && !(bits & (BIT_MISSING | BIT_TYPE | BIT_UNREADABLE))) {
		if (n->kind == NODE_FILE)
			bits |= begin_file(c, v, dir, name, te, &st, &why);
		else if (n->kind == NODE_SYMLINK && !link_fits(layer_link_text(c->layer, node), dir, name, &unreadable))
			bits |= unreadable ? BIT_UNREADABLE : BIT_SYMLINK;
		else if ((n->kind == NODE_CHAR || n->kind == NODE_BLOCK) && !device_fits(te, &st))
			bits |= BIT_DEVICE;
	}
	c->differs |= (bits & BITS_CONTENT) != 0;
	const unsigned trouble = BITS_CONTENT | BIT_MISSING | BIT_TYPE | BIT_UNREADABLE;
	const bool file = te && n->kind == NODE_FILE;
	if (bits & trouble &&
		(rc = put_record(c, v, node, file ? te->size : 0, file ? te->stored : 0, why.sys_errno, e)))
		return rc;
	return put_bits(c, v, node, ~0u, bits, e);
}

/* A directory's entry comes again, or only now: its metadata is the last one's. */
static enum rc see_again(struct layer_check *c, struct view *v, uint32_t node, const struct layer_node *n,
	const struct tar_entry *te, struct err *e)
{
	const unsigned known = bits_of(v, node);
	struct err why = {0};
	struct stat st = {0};
	int dir = -1;

	if (known & (BIT_MISSING | BIT_TYPE | BIT_UNREADABLE))
		return RC_OK;
	const enum rc rc = look(v, node, &dir, &st, &why);
	const unsigned bits = rc ? BIT_UNREADABLE : compare_metadata(c, v, dir, n, te, &st, &why);
	return bits & BIT_UNREADABLE ? put_unreadable(c, v, node, BITS_METADATA, why.sys_errno, e)
				     : put_bits(c, v, node, BITS_METADATA, bits, e);
}

/* What the entry says of the inode is compared at the end; here is only whether the name is there. */
static enum rc see_link(struct layer_check *c, struct view *v, uint32_t node, const struct layer_node *n, struct err *e)
{
	const char *const name = (const char *)n->name.at;
	struct err why = {0};
	struct stat st = {0};
	unsigned bits = 0;
	bool unreadable = false;
	int dir = -1;
	enum rc rc = look(v, node, &dir, &st, &why);

	if (rc == RC_END)
		bits = BIT_MISSING;
	else if (rc)
		bits = BIT_UNREADABLE;
	else if (!kind_fits(n->kind, &st))
		bits = BIT_TYPE;
	else if (n->kind == NODE_SYMLINK && !link_fits(layer_link_text(c->layer, node), dir, name, &unreadable))
		bits = unreadable ? BIT_UNREADABLE : BIT_SYMLINK;
	if (bits && (rc = put_record(c, v, node, 0, 0, why.sys_errno, e)))
		return rc;
	return put_bits(c, v, node, ~0u, bits, e);
}

static enum rc see_opaque(struct layer_check *c, struct view *v, uint32_t node, struct err *e)
{
	struct err why = {0};
	uint8_t value[8];
	int dir = node == LAYER_ROOT ? v->target.snapshot : -1;
	size_t n = 0;

	if (bits_of(v, node) & (BIT_MISSING | BIT_TYPE | BIT_UNREADABLE) || v->fs < 0)
		return RC_OK;
	enum rc rc = node == LAYER_ROOT ? RC_OK : layer_dirs_get(&v->dirs, layer_parent(c->layer, node), &dir, &why);
	if (!rc)
		rc = os_xattr_get(dir, node == LAYER_ROOT ? "fs" : layer_name(c->layer, node), "trusted.overlay.opaque", value,
			sizeof(value), &n, &why);
	/* a directory that is gone: its own entry was there a moment ago. RC_LIMIT of the attribute: longer than "y" */
	if (dir < 0 || (rc && rc != RC_END && rc != RC_LIMIT))
		return put_unreadable(c, v, node, BIT_OPAQUE, why.sys_errno, e);
	return put_bits(c, v, node, BIT_OPAQUE, rc || n != 1 || value[0] != 'y' ? BIT_OPAQUE : 0, e);
}

/* Blocks in which the disk differs: are all of them zero? off: of a in the file. */
static bool zero_where_different(const uint8_t *want, const uint8_t *got, size_t n, uint64_t off)
{
	for (size_t i = 0; i < n;) {
		const size_t step = (size_t)min_u64(n - i, PAGE - (off + i) % PAGE);
		if (!bytes_equal(want + i, got + i, step))
			for (size_t k = i; k < i + step; k++)
				if (got[k])
					return false;
		i += step;
	}
	return true;
}

/* ---- small files ---- */

/* want: size bytes, or NULL if all of them are zero. */
static enum rc settle_file(struct layer_check *c, struct view *v, uint32_t node, const uint8_t *want, size_t size, struct span got,
	struct err *e)
{
	const bool fits = got.left == size;
	enum rc rc;

	if (fits && (want ? bytes_equal(want, got.at, size) : bytes_are_zero(got.at, size)))
		return RC_OK;
	const bool zeroed = fits && want && zero_where_different(want, got.at, size, 0);
	c->differs = true;
	if ((rc = put_record(c, v, node, size, size, 0, e)))
		return rc;
	return put_bits(c, v, node, 0, zeroed ? BIT_ZEROED : BIT_CONTENT, e);
}

static enum rc settle_batch(struct layer_check *c, struct batch *b, struct err *e)
{
	enum rc rc = RC_OK;

	for (unsigned i = 0; !rc && i < b->count; i++) {
		struct os_small *const s = &b->files[i];
		struct view *const v = b->of[i].view;
		const uint32_t node = b->of[i].node;
		struct err why = {0};
		size_t n = 0;
		if (os_small_take(s, &n, &why) == RC_OK)
			rc = settle_file(c, v, node, b->of[i].want, s->size, span_of(s->buf, n), e);
		else
			rc = put_unreadable(c, v, node, 0, why.sys_errno, e);
		os_close(&s->fd);
	}
	if (!rc)
		b->count = 0;
	return rc;
}

/* Sends the batch that was filled, and compares the other, which was sent before. */
static enum rc turn_batches(struct layer_check *c, struct err *e)
{
	struct batch *const other = &c->batches[c->batch == c->batches];

	if (c->failed)
		return fail(e, c->failed, "the comparison failed before");
	os_small_send(c->batch->files, c->batch->count);
	c->batch = other;
	other->want_used = other->got_used = 0;
	return c->failed = settle_batch(c, other, e);
}

/* Takes over the files that the entry just seen has open. */
static enum rc put_in_batch(struct layer_check *c, uint32_t node, size_t size, unsigned files, struct err *e)
{
	const size_t room = (size + PAGE - 1) & ~(size_t)(PAGE - 1);
	struct batch *b = c->batch;
	enum rc rc;

	if (b->count + files > BATCH_FILES || b->want_used + size > BATCH_BYTES || b->got_used + files * room > BATCH_BYTES) {
		if ((rc = turn_batches(c, e)))
			return rc;
		b = c->batch;
	}
	for (unsigned i = 0; i < c->count; i++) {
		struct view *const v = &c->views[i];
		if (v->file < 0 || v->comparing)
			continue;
		b->files[b->count] = (struct os_small){.fd = take_fd(&v->file), .size = size, .buf = b->got + b->got_used};
		b->of[b->count].view = v;
		b->of[b->count].node = node;
		b->of[b->count++].want = NULL;
		b->got_used += room;
	}
	b->want_used += size;
	c->batch_node = node;
	c->batch_size = size;
	c->batch_filled = 0;
	c->batch_zeros = true;
	layer_want_data(c->layer);
	return RC_OK;
}

/* What the layer says of the file last put in. piece->at NULL: zeros. */
static void fill_batch(struct layer_check *c, struct span piece)
{
	struct batch *const b = c->batch;
	uint8_t *const want = b->want + b->want_used - c->batch_size;

	if (c->batch_zeros && piece.at && !bytes_are_zero(piece.at, piece.left)) {
		c->batch_zeros = false;
		memset(want, 0, c->batch_filled);
		for (unsigned i = b->count; i && b->of[i - 1].node == c->batch_node; i--)
			b->of[i - 1].want = want;
	}
	if (!c->batch_zeros && piece.at)
		memcpy(want + c->batch_filled, piece.at, piece.left);
	else if (!c->batch_zeros)
		memset(want + c->batch_filled, 0, piece.left);
	c->batch_filled += piece.left;
}

void layer_check_hurry(struct layer_check *c)
{
	c->hurry = true;
}

bool layer_check_differs(const struct layer_check *c)
{
	return c->differs;
}

static enum rc on_entry(void *self, uint32_t node, const struct layer_node *n, const struct tar_entry *te, struct err *e)
{
	struct layer_check *const c = self;
	unsigned small = 0;

	if (c->hurry && c->differs)
		return fail(e, RC_LIMIT, "a difference");
	enum rc rc = layer_go_on(c->layer, (c->count + 1) * (uint64_t)PACE_CALL, e);
	if (!rc && n->event == LAYER_LINKED)
		rc = put_linked(c, n->inode, te, e);
	c->stored = te ? te->stored : 0;
	for (unsigned i = 0; !rc && i < c->count; i++) {
		struct view *const v = &c->views[i];
		if (v->trouble.rc)
			continue;
		switch (n->event) {
		case LAYER_MADE:
			rc = see_new(c, v, node, n, te, e);
			break;
		case LAYER_APPLIED:
			rc = see_again(c, v, node, n, te, e);
			break;
		case LAYER_LINKED:
			rc = see_link(c, v, node, n, e);
			break;
		case LAYER_OPAQUED:
			rc = see_opaque(c, v, node, e);
			break;
		}
		if (v->comparing)
			layer_want_data(c->layer);
		small += v->file >= 0 && !v->comparing;
	}
	return rc || !small ? rc : put_in_batch(c, node, (size_t)te->size, small, e);
}

/* A hole of the layer's file, against one of the disk's if it has one there: neither is read. Anything else there is other than zero, or
 * as it should be. RC_END: as compare_piece. */
static enum rc compare_hole(struct view *v, struct layer *l, uint64_t left, struct err *why, struct err *e)
{
	while (left) {
		enum rc rc = layer_go_on(l, PACE_CALL, e);
		const uint64_t skipped = rc || v->ahead.left ? 0 : os_reader_skip_hole(&v->reader, left);
		left -= skipped;
		v->offset += skipped;
		if (!rc && left && !v->ahead.left)
			rc = os_reader_next(&v->reader, &v->ahead, why);
		if (rc == RC_END) { /* became shorter while we look */
			v->differs = true;
			v->other_than_zero = true;
		}
		if (rc)
			return rc;
		const size_t n = (size_t)min_u64(left, v->ahead.left);
		if (n && !bytes_are_zero(span_take(&v->ahead, n), n)) {
			v->differs = true;
			v->other_than_zero = true;
			return RC_END;
		}
		v->offset += n;
		left -= n;
		if ((rc = layer_go_on(l, n, e)))
			return rc;
	}
	return RC_OK;
}

/* RC_END: nothing more to learn. */
static enum rc compare_piece(struct view *v, struct span piece, struct err *why)
{
	while (piece.left) {
		if (!v->ahead.left) {
			const enum rc rc = os_reader_next(&v->reader, &v->ahead, why);
			if (rc == RC_END) { /* became shorter while we look */
				v->differs = true;
				v->other_than_zero = true;
			}
			if (rc)
				return rc;
		}
		const size_t n = (size_t)min_u64(piece.left, v->ahead.left);
		const uint8_t *const want = span_take(&piece, n);
		const uint8_t *const got = span_take(&v->ahead, n);
		if (!bytes_equal(want, got, n)) {
			v->differs = true;
			v->other_than_zero = v->other_than_zero || !zero_where_different(want, got, n, v->offset);
			if (v->other_than_zero)
				return RC_END;
		}
		v->offset += n;
	}
	return RC_OK;
}

static enum rc end_file(struct layer_check *c, struct view *v, uint32_t node, struct err *e)
{
	const unsigned bit = v->other_than_zero ? BIT_CONTENT : BIT_ZEROED;
	const bool differs = v->differs;
	const uint64_t size = v->reader.size;
	enum rc rc;

	stop_comparing(v);
	if (!differs)
		return RC_OK;
	c->differs = true;
	if ((rc = put_record(c, v, node, size, c->stored, 0, e)))
		return rc;
	return put_bits(c, v, node, 0, bit, e);
}

static enum rc on_data(void *self, uint32_t node, struct span piece, struct err *e)
{
	struct layer_check *const c = self;

	if (c->batch_node == node && piece.left <= c->batch_size - c->batch_filled)
		fill_batch(c, piece);
	for (unsigned i = 0; i < c->count; i++) {
		struct view *const v = &c->views[i];
		struct err why = {0};
		enum rc rc = !v->comparing ? RC_OK
			     : piece.at	   ? compare_piece(v, piece, &why)
					   : compare_hole(v, c->layer, piece.left, &why, e);
		if (rc == RC_END) {
			rc = end_file(c, v, node, e);
		} else if (rc && rc != RC_STOPPED) {
			stop_comparing(v);
			rc = put_unreadable(c, v, node, 0, why.sys_errno, e);
		}
		if (rc)
			return rc;
	}
	return RC_OK;
}

static enum rc on_data_end(void *self, uint32_t node, struct err *e)
{
	struct layer_check *const c = self;
	enum rc rc = RC_OK;

	for (unsigned i = 0; !rc && i < c->count; i++)
		if (c->views[i].comparing)
			rc = end_file(c, &c->views[i], node, e);
	return rc;
}

struct layer_watch layer_check_watch(struct layer_check *c)
{
	return (struct layer_watch){.entry = on_entry, .data = on_data, .data_end = on_data_end, .self = c};
}

static enum rc open_view(struct layer_check *c, struct view *v, const struct layer_target *t, struct err *e)
{
	uint8_t *const room = arena_get(c->arena, OS_READER_BYTES + PAGE);

	*v = (struct view){.target = *t, .fs = -1, .file = -1};
	v->bits = arena_array(c->arena, CHUNKS, sizeof(*v->bits));
	v->records = arena_array(c->arena, CHUNKS, sizeof(*v->records));
	if (!room || !v->bits || !v->records)
		return out_of_memory(e);
	v->buffer = room + (PAGE - (uintptr_t)room % PAGE) % PAGE;
	const enum rc rc = os_open_dir(t->snapshot, "fs", &v->fs, &v->trouble);
	if (rc == RC_END || rc == RC_CORRUPT)
		v->trouble = (struct err){0}; /* not there: a finding, and not ours */
	layer_dirs_init(&v->dirs, c->layer, v->fs);
	return RC_OK;
}

enum rc layer_check_open(struct layer_check **c, struct layer *l, const struct layer_target *targets, unsigned count,
	struct arena *a, struct err *e)
{
	struct layer_check *const made = arena_get(a, sizeof(*made));
	enum rc rc = RC_OK;

	if (!made || count > LAYER_TARGETS_MAX || !(made->views = arena_array(a, count, sizeof(*made->views))) ||
		!(made->linked = arena_array(a, CHUNKS, sizeof(*made->linked))))
		return out_of_memory(e);
	made->layer = l;
	made->arena = a;
	made->batch = made->batches;
	made->batch_node = LAYER_NO_NODE;
	made->batch_file = count ? BATCH_BYTES / count & ~(size_t)(PAGE - 1) : 0;
	for (unsigned i = 0; i < 2; i++) {
		uint8_t *const room = arena_get(a, 2 * BATCH_BYTES + PAGE);
		if (!room)
			return out_of_memory(e);
		made->batches[i].got = room + (PAGE - (uintptr_t)room % PAGE) % PAGE;
		made->batches[i].want = made->batches[i].got + BATCH_BYTES;
	}
	for (unsigned i = 0; !rc && i < count; i++, made->count++)
		rc = open_view(made, &made->views[i], &targets[i], e);
	for (unsigned i = 0; i < made->count; i++)
		made->differs |= made->views[i].fs < 0;
	if (rc)
		layer_check_close(made);
	else
		*c = made;
	return rc;
}

static void close_view(struct view *v)
{
	stop_comparing(v);
	layer_dirs_close(&v->dirs);
	os_close(&v->fs);
	v->dirs.root = -1;
}

void layer_check_close(struct layer_check *c)
{
	for (unsigned i = 0; c && i < 2; i++)
		for (unsigned k = 0; k < c->batches[i].count; k++) {
			os_small_drop(&c->batches[i].files[k]);
			os_close(&c->batches[i].files[k].fd);
		}
	for (unsigned i = 0; c && i < c->count; i++)
		close_view(&c->views[i]);
}

/* ---- a walk over what the disk has ---- */

/* Names of one directory of the walk. tag: whatever the visitor made of it. */
struct frame {
	struct os_name *names;
	size_t count, next;
	uint32_t tag;
	int fd; /* -1: closed meanwhile, to be opened again from above */
	struct arena mark;
};
#define FRAMES_OPEN 24

struct tree {
	struct frame *frames;
	size_t depth; /* frames in use */
	int root;
	/* Says what a name is. *into: look inside, if it is a directory; *tag: its own. */
	enum rc (*name)(void *self, const struct tree *t, const struct os_name *n, bool *into, uint32_t *tag, struct err *e);
	/* The directory of the top frame, or the name it looked at last, could not be read. */
	enum rc (*trouble)(void *self, const struct tree *t, const char *name, int sys_errno, struct err *e);
	void *self;
	struct pace *pace;
};

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

	if ((rc = pace_on(t->pace, PACE_STEP, e)) || (rc = t->name(t->self, t, n, &into, &tag, e)))
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

/* Walks everything beneath root, names of a directory in order, a directory before what is in it. */
static enum rc walk_tree(struct tree *t, uint32_t tag, struct arena *a, struct err *e)
{
	auto_fd fd = -1;
	enum rc rc;

	t->depth = 0;
	t->frames = arena_array(a, LIMIT_PATH_DEPTH + 1, sizeof(*t->frames));
	if (!t->frames)
		return out_of_memory(e);
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

/* Inode numbers of names; in an arena in which nothing else grows. */
struct inodes {
	struct arena *arena;
	uint64_t *at;
	size_t count, cap;
};

static enum rc add_inode(struct inodes *s, uint64_t inode, struct err *e)
{
	if (s->count == s->cap) {
		const size_t cap = s->cap ? s->cap * 2 : 1024;
		uint64_t *const at = arena_grow(s->arena, s->at, s->cap * sizeof(*at), cap * sizeof(*at));
		if (!at)
			return out_of_memory(e);
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

static uint64_t distinct(struct inodes *s)
{
	uint64_t n = 0;

	if (s->count)
		qsort(s->at, s->count, sizeof(*s->at), compare_numbers);
	for (size_t i = 0; i < s->count; i++)
		n += i == 0 || s->at[i] != s->at[i - 1];
	return n;
}

/* Unpacked or used through an overlay mount: the kernel leaves work/work, or marks of its own on fs. */
static enum rc was_mounted(int snapshot, bool *mounted, struct err *e)
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

enum {
	MARK_ALIVE = 1,
	MARK_DAMAGED = 2, /* one of its names or its inode: at the inode's first name */
	MARK_SHOWN = 4,   /* has something to say, or something beneath it has */
	MARK_BEHIND = 8,  /* the inode's first name is gone, and was compared at a place that is another's by now */
	MARK_LATE = 16,   /* its time is set by the entry of another path (layer-format.md 3.7) */
	MARK_UNKNOWN = 32 /* one of its names could not be looked at, so which of them are one file is not known */
};

/* All that layer_check_finish knows on its way. */
struct judge {
	struct layer_check *c;
	struct view *v;
	struct arena work;  /* its own, closed at the end: marks, sorted lists, extras */
	struct arena lists; /* the same: lists of the walk, or the inode numbers */
	uint8_t *marks;     /* MARK_ by node */
	struct record *records; /* sorted, one for a node */
	size_t record_count;
	uint32_t nodes;
	unsigned target;
	void (*emit)(void *self, const struct layer_difference *d);
	void *self;
	struct layer_verdict verdict;

	uint64_t names, inodes;
	bool walk_complete;
	/* deletions: whiteouts and opaque marks. Unknown: could not be looked at; unread: that and everything else */
	uint64_t whiteouts_missing, opaques_missing, deletions_there, deletions_unknown, other_missing, unread;
	bool systematic, chowned, whiteouts_unwritten, entries_lost, opaque_is_damage;
	bool torn; /* something is damaged, or a repair of it was cut off: see half_made_bits */
	int late_errno; /* of what could not be looked at after the records were sorted */
	struct inodes numbers;

	struct extra {
		struct extra *next;
		char path[];
	} *extras, **extras_end;
	uint64_t extras_kept;
};

static bool alive(const struct judge *j, uint32_t node)
{
	return j->marks[node] & MARK_ALIVE;
}

static uint32_t inode_of(const struct judge *j, uint32_t node)
{
	return layer_inode(j->c->layer, node);
}

/* As put_unreadable, when there are records no more. */
static enum rc mark_unreadable(struct judge *j, uint32_t node, unsigned clear, int sys_errno, struct err *e)
{
	j->late_errno = sys_errno;
	return put_bits(j->c, j->v, node, clear, BIT_UNREADABLE, e);
}

static enum rc mark_alive(struct judge *j, struct err *e)
{
	const struct layer *const l = j->c->layer;

	j->nodes = layer_node_count(l);
	j->marks = arena_get(&j->work, j->nodes);
	if (!j->marks)
		return out_of_memory(e);
	for (uint32_t i = 0; i < j->nodes; i += CHUNK) /* from here on no bit needs memory: the arena's end is the walk's */
		if (!j->v->bits[i / CHUNK] && !(j->v->bits[i / CHUNK] = arena_array(j->c->arena, CHUNK, sizeof(uint16_t))))
			return out_of_memory(e);
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

static enum rc sort_records(struct judge *j, struct err *e)
{
	const uint32_t count = j->v->record_count;
	size_t kept = 0;

	j->records = arena_array(&j->work, count, sizeof(*j->records));
	if (!j->records)
		return out_of_memory(e);
	for (uint32_t i = 0; i < count; i++)
		j->records[i] = *record_at(j->v, i);
	if (count)
		qsort(j->records, count, sizeof(*j->records), compare_records);
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

static const struct record *find_record(const struct judge *j, uint32_t node)
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
		return out_of_memory(e);
	memcpy(x->path, path, strlen(path) + 1);
	*j->extras_end = x;
	j->extras_end = &x->next;
	return RC_OK;
}

static enum rc disk_name(void *self, const struct tree *t, const struct os_name *n, bool *into, uint32_t *tag, struct err *e)
{
	struct judge *const j = self;
	const uint32_t dir = t->frames[t->depth - 1].tag;

	(void)into; /* stays true: what is beneath counts in any case */
	j->names++;
	*tag = dir == TAG_EXTRA ? TAG_EXTRA : layer_child(j->c->layer, dir, span_of_string(n->name));
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

static enum rc walk_disk(struct judge *j, struct err *e)
{
	struct tree t = {.root = j->v->fs, .name = disk_name, .trouble = disk_trouble, .self = j, .pace = layer_pace(j->c->layer)};
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

	if (look(j->v, name->node, &dir, &st, &why)) { /* a name that was there a moment ago */
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
		return out_of_memory(e);
	for (uint32_t i = 0; i < count; i++)
		words[i] = (struct last_word){linked_at(j->c, i)->inode, i};
	if (count)
		qsort(words, count, sizeof(*words), compare_last_words);
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

static enum rc judge_links(struct judge *j, struct err *e)
{
	uint8_t *const grouped = arena_get(&j->work, j->nodes / 8 + 1);
	size_t count = 0, used = 0;

	if (!grouped)
		return out_of_memory(e);
	for (uint32_t i = 0; i < j->nodes; i++)
		if (inode_of(j, i) != i)
			grouped[inode_of(j, i) / 8] |= (uint8_t)(1 << inode_of(j, i) % 8);
	for (uint32_t i = 0; i < j->nodes; i++)
		count += alive(j, i) && has_group(j, i, grouped);
	if (!count)
		return RC_OK;
	struct name_of_inode *const list = arena_array(&j->work, count, sizeof(*list));
	if (!list)
		return out_of_memory(e);
	for (uint32_t i = 0; i < j->nodes; i++) {
		struct err why = {0};
		struct stat st = {0};
		int dir = -1;
		if (!alive(j, i) || !has_group(j, i, grouped))
			continue;
		enum rc rc = look(j->v, i, &dir, &st, &why);
		if (rc && rc != RC_END && (rc = mark_unreadable(j, i, 0, why.sys_errno, e)))
			return rc;
		if (bits_of(j->v, i) & BIT_UNREADABLE)
			j->marks[inode_of(j, i)] |= MARK_UNKNOWN;
		if (rc || bits_of(j->v, i) & BIT_UNREADABLE)
			continue; /* what is missing was noted when its entry went by */
		list[used++] = (struct name_of_inode){inode_of(j, i), i, (uint64_t)st.st_dev, (uint64_t)st.st_ino,
			(uint64_t)st.st_size, S_ISREG(st.st_mode)};
	}
	qsort(list, used, sizeof(*list), compare_link_names);
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

/* Entries of directories whose names lead elsewhere by the end: times as the last of them has it. */
static enum rc judge_times(struct judge *j, struct err *e)
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
		enum rc rc = look(j->v, late.node, &dir, &st, &why);
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

/* A node's own bits and those of its inode. */
static unsigned all_bits(const struct judge *j, uint32_t node)
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
	if (layer_kind(j->c->layer, node) != NODE_DIR)
		bits |= BIT_TIME; /* those of directories are set anyway, and nobody is told */
	if (j->v->xattrs_found)
		bits |= BIT_XATTR; /* else the file system may keep none */
	return bits;
}

/* Those bits that are damage, all things considered. */
static unsigned damage_bits(const struct judge *j, uint32_t node)
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
	if (kind == NODE_WHITEOUT && j->whiteouts_unwritten)
		damage &= ~(unsigned)BIT_MISSING;
	if (j->torn)
		damage |= half_made_bits(j, node);
	return bits & damage;
}

static void count_missing(struct judge *j)
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

/* Times of directories count for nothing: containerd sets them last, and a cut takes all of them. What could not be looked at
 * may differ as the rest does. */
static void count_systematic(struct judge *j)
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

/* Which of the possible models containerd committed, and whether names were lost since (layer-format.md 6.3).
 *
 * Deletions that are not there were lost, or never written: containerd 2.2.0 to 2.2.2 wrote neither whiteouts nor opaque marks.
 *
 *   recorded count      any deletion there    other damage    all whiteouts missing    an opaque mark missing
 *   the model's         -                     -               lost                     lost if any deletion is there, or
 *                                                                                      something else is lost
 *   less by all of them no                    -               never written            never written
 *   not known           no                    no              never written            never written
 *   not known           yes, or 2.2 never ran -               lost                     lost
 *   not known           no                    yes             lost                     lost
 *
 * What was not seen may be what decides: then nothing is lost and nothing is noted. */
static void judge_counts(struct judge *j)
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

/* The closure of what is damaged over the names of inodes; dead names are in it, for a repair writes through them. Where
 * something is damaged, inodes that could not be compared for want of their first name are taken to be so too: they get
 * what the layer says, and nobody is told. */
static enum rc settle_damage(struct judge *j, struct arena *keep, struct err *e)
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
			return out_of_memory(e);
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
		else if (!look(j->v, i, &dir, &st, &ignored) && S_ISREG(st.st_mode))
			j->verdict.rewrite_bytes += (uint64_t)st.st_size;
	}
	j->verdict.damaged_bits = set;
	return RC_OK;
}

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

	return look(j->v, node, &dir, &st, &ignored) ? 0 : (uint64_t)st.st_size;
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
		return out_of_memory(e);
	for (uint32_t n = layer_first_child(l, dir); n != LAYER_NO_NODE; n = layer_next_child(l, n))
		if (j->marks[n] & MARK_SHOWN)
			level->children[level->count++] = (struct rank){layer_name(l, n), n};
	qsort(level->children, level->count, sizeof(*level->children), compare_ranks);
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
		return out_of_memory(e);
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
		return out_of_memory(e);
	j->verdict.damaged_bits[0] |= 1;
	j->verdict.damaged++;
	j->verdict.rewrite_inodes++;
	tell_one(j, DIFF_FS_MISSING, LAYER_ROOT, "", 0, 0);
	return RC_OK;
}

static enum rc judge(struct judge *j, struct arena *keep, struct err *e)
{
	bool mounted = false;
	enum rc rc = turn_batches(j->c, e); /* sends the last one */

	if (!rc)
		rc = turn_batches(j->c, e);
	if (rc || (rc = mark_alive(j, e)) || (rc = sort_records(j, e)))
		return rc;
	if (j->v->fs < 0)
		return judge_nothing(j, keep, e);
	if ((rc = was_mounted(j->v->target.snapshot, &mounted, e)) || (rc = walk_disk(j, e)) ||
		(rc = judge_links(j, e)) || (rc = judge_times(j, e)))
		return rc;
	j->verdict.unverified = mounted ? UNVERIFIED_MOUNTED : VERIFIED;
	count_missing(j);
	count_systematic(j);
	judge_counts(j);
	if ((rc = settle_damage(j, keep, e)))
		return rc;
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
