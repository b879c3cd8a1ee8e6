/* SPDX-License-Identifier: MIT */
/* Compares a replay with snapshots on disk. While entries go by, each one is looked at and its findings are kept as bits of
 * its node (of its inode, where they are an inode's); later entries overwrite them. What the bits mean is decided only when
 * the whole layer, the whole directory and the recorded inode count are known (verdict.c). */
#include "layer/layer.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <dirent.h>

#include "layer/view.h"

#define CHUNKS (LIMIT_LAYER_NODES / CHUNK)
#define PAGE 4096u
#define BATCH_BYTES ((size_t)512 << 10)

/* ---- bits ---- */

uint16_t bits_of(const struct view *v, uint32_t node)
{
	const uint16_t *const chunk = v->bits[node / CHUNK];
	return chunk ? chunk[node % CHUNK] : 0;
}

enum rc put_bits(const struct layer_check *c, struct view *v, uint32_t node, unsigned clear, unsigned set,
	struct err *e)
{
	uint16_t **const chunk = &v->bits[node / CHUNK];

	if (!*chunk && !set)
		return RC_OK;
	if (!*chunk && !(*chunk = arena_array(c->arena, CHUNK, sizeof(**chunk))))
		return no_memory(e);
	(*chunk)[node % CHUNK] = (uint16_t)(((*chunk)[node % CHUNK] & ~clear) | set);
	return RC_OK;
}

struct record *record_at(const struct view *v, uint32_t i)
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
		return no_memory(e);
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

struct linked *linked_at(const struct layer_check *c, uint32_t i)
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
		return no_memory(e);
	*linked_at(c, c->linked_count++) = made; /* fewer than nodes */
	return RC_OK;
}

/* ---- one entry: what it is ---- */

enum rc look_at(struct view *v, uint32_t node, int *dir, struct stat *st, struct err *why)
{
	const enum rc rc = layer_dirs_get(&v->dirs, layer_parent(v->dirs.layer, node), dir, why);

	if (rc)
		return rc == RC_CORRUPT ? RC_END : rc;
	return os_stat(*dir, layer_name(v->dirs.layer, node), st, why);
}

bool kind_fits(enum layer_node_kind kind, const struct stat *st)
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

/* mknod keeps 12 and 20 bits of what the archive says: 4097:3 was found as 1:3. */
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

bool owner_fits(int64_t want, uint32_t got)
{
	const uint32_t cut = (uint32_t)want; /* as the system call cuts it; all ones leaves it as it was */
	return cut == UINT32_MAX || cut == got;
}

bool time_fits(struct timespec want, struct timespec got)
{
	if (want.tv_sec > INT32_MAX && want.tv_sec != got.tv_sec)
		return true;
	return want.tv_sec == got.tv_sec && (want.tv_nsec == got.tv_nsec || got.tv_nsec == 0 ||
						    got.tv_nsec == want.tv_nsec - want.tv_nsec % 1000 ||
						    got.tv_nsec == want.tv_nsec - want.tv_nsec % 100);
}

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

bool capabilities_equal(struct span want, struct span got)
{
	const struct capability a = capability_of(want), b = capability_of(got);

	return a.valid && b.valid && a.effective == b.effective && a.permitted == b.permitted &&
	       a.inheritable == b.inheritable;
}

/* Names that belong to the archive: the system owns the rest, and ACLs are rewritten by the mode. */
static bool xattr_is_compared(struct span name, enum layer_node_kind kind)
{
	static const char system[][17] = {"security.selinux", "security.ima", "security.evm"};

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
	enum rc rc = look_at(v, node, &dir, &st, &why);

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
	const enum rc rc = look_at(v, node, &dir, &st, &why);
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
	enum rc rc = look_at(v, node, &dir, &st, &why);

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

enum rc turn_batches(struct layer_check *c, struct err *e)
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
		return no_memory(e);
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
		return no_memory(e);
	made->layer = l;
	made->arena = a;
	made->batch = made->batches;
	made->batch_node = LAYER_NO_NODE;
	made->batch_file = count ? BATCH_BYTES / count & ~(size_t)(PAGE - 1) : 0;
	for (unsigned i = 0; i < 2; i++) {
		uint8_t *const room = arena_get(a, 2 * BATCH_BYTES + PAGE);
		if (!room)
			return no_memory(e);
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

void close_view(struct view *v)
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
