/* SPDX-License-Identifier: MIT */
/* metadata.db of the overlayfs snapshotter (containerd 1.6 to 2.3: snapshots/storage/bolt.go), and its directories. */
#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>

#include "ground/os.h"
#include "store/loading.h"

/* bytes of a database that are sent for at once, and in steps that no kernel cuts short (its readahead, at least) */
#define DATABASE_AHEAD ((uint64_t)128 << 20)
#define DATABASE_STEP ((uint64_t)128 << 10)

/* ---- metadata.db ---- */

bool store_split_key(struct span key, struct span *ns, uint64_t *number, struct span *rest)
{
	const uint8_t *const first = key.left ? memchr(key.at, '/', key.left) : NULL;

	if (!first)
		return false;
	const struct span name = span_of(key.at, (size_t)(first - key.at));
	(void)span_take(&key, name.left + 1);
	const uint8_t *const second = key.left ? memchr(key.at, '/', key.left) : NULL;
	if (!second || parse_decimal(span_of(key.at, (size_t)(second - key.at)), number))
		return false;
	(void)span_take(&key, (size_t)(second - key.at) + 1);
	*ns = name;
	*rest = key;
	return true;
}

void split_backend_key(struct backend *b)
{
	(void)store_split_key(b->key, &b->ns_name, &b->number, &b->user_key); /* a key that is not so has neither */
}

static enum rc add_backend(struct loader *l, const struct bolt_item *item, void *context)
{
	struct bolt_bucket bucket = {0};
	struct span id = {0}, kind = {0}, inodes = {0}, created = {0};
	enum rc rc;

	(void)context;
	if (!item->is_bucket)
		return bad_record(l, OVERLAY_PATH, "snapshot", item->key);
	if (l->st->backend_count == l->backend_cap) /* as in add_lease */
		return RC_CORRUPT;
	struct backend *const b = &l->st->backends[l->st->backend_count++];
	b->key = arena_copy(l->st->keep, item->key);
	b->parent_index = b->snapshot = STORE_NONE;
	if ((rc = bolt_bucket_of(item, &bucket)) || (rc = optional(lookup(l, &bucket, "id", &id))) ||
		(rc = optional(lookup(l, &bucket, "kind", &kind))) ||
		(rc = optional(get_value(l, &bucket, "parent", &b->parent))) ||
		(rc = optional(lookup(l, &bucket, "inodes", &inodes))) ||
		(rc = optional(lookup(l, &bucket, "createdat", &created))) ||
		(rc = get_labels(l, &bucket, &b->labels, NULL)))
		return rc;
	b->id = span_uvarint(&id);
	const uint8_t kind_byte = span_u8(&kind);
	if (id.bad || kind.bad || kind_byte < SNAPSHOT_VIEW || kind_byte > SNAPSHOT_COMMITTED || b->id == 0)
		return bad_record(l, OVERLAY_PATH, "snapshot", item->key);
	b->kind = (enum snapshot_kind)kind_byte;
	b->created_ns = decode_time_ns(created);
	if (b->kind == SNAPSHOT_COMMITTED && inodes.left) {
		const int64_t count = span_varint(&inodes);
		b->inodes = inodes.bad || count < 0 ? 0 : (uint64_t)count;
	}
	(void)print_to(b->dir, sizeof(b->dir), "%llu", (unsigned long long)b->id); /* 20 digits fit */
	split_backend_key(b);
	return RC_OK;
}

static int compare_backend_id(const void *a, const void *b)
{
	const struct backend *const left = *(struct backend *const *)a, *const right = *(struct backend *const *)b;
	return (left->id > right->id) - (left->id < right->id);
}

static struct backend *backend_by_id(struct backend **by_id, size_t count, uint64_t id)
{
	size_t low = 0, high = count;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		if (by_id[middle]->id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < count && by_id[low]->id == id ? by_id[low] : NULL;
}

struct parents_context {
	struct backend **by_id;
};

static enum rc add_parents_entry(struct loader *l, const struct bolt_item *item, void *context)
{
	const struct parents_context *const in = context;
	struct span key = item->key;
	const uint64_t parent = span_uvarint(&key);
	const uint8_t zero = span_u8(&key);
	const uint64_t child = span_uvarint(&key);

	if (item->is_bucket || key.bad || zero || key.left)
		return bad_record(l, OVERLAY_PATH, "entry of parents", item->key);
	struct backend *const b = backend_by_id(in->by_id, l->st->backend_count, child);
	if (b && span_equal(b->key, item->value) && b->parent_index != STORE_NONE &&
		l->st->backends[b->parent_index].id == parent)
		b->parents_entry = true;
	return RC_OK;
}

enum rc read_overlay(struct loader *l, struct backend ***by_id_out)
{
	struct store *const st = l->st;
	const struct bolt_bucket root = bolt_root(l->b);
	struct bolt_bucket v1 = {0}, snapshots = {0};
	enum rc rc;

	if ((rc = get_bucket(l, &root, "v1", &v1)) || (rc = get_bucket(l, &v1, "snapshots", &snapshots)))
		return optional(rc);
	st->overlay_sequence = snapshots.sequence;
	if ((rc = ROOM(l, &snapshots, backends, backend_count, backend_cap)) || (rc = each(l, &snapshots, add_backend, NULL)))
		return rc;
	struct backend **const by_id = arena_array(st->keep, st->backend_count + 1, sizeof(*by_id));
	if (!by_id)
		return no_memory(l->e);
	for (size_t i = 0; i < st->backend_count; i++)
		by_id[i] = &st->backends[i];
	if (st->backend_count)
		sort(by_id, st->backend_count, sizeof(*by_id), compare_backend_id);
	*by_id_out = by_id; /* also of a database that is not right: the directories are looked at */
	bool twice = false; /* then nothing is told of their parents */
	for (size_t i = 0; i + 1 < st->backend_count; i++)
		if (by_id[i]->id == by_id[i + 1]->id) {
			const bool told = by_id[i]->unusable;
			by_id[i]->unusable = by_id[i + 1]->unusable = twice = true;
			if (!told && (rc = add_fault(st, OVERLAY_PATH, STORE_DB_RECORD, "two snapshots have the id %llu",
					      (unsigned long long)by_id[i]->id)))
				return rc;
		}
	if (twice)
		return RC_OK;
	for (size_t i = 0; i < st->backend_count; i++) {
		struct backend *const b = &st->backends[i];
		if (b->parent.left)
			b->parent_index = store_find_backend(st, b->parent);
		if (b->parent_index != STORE_NONE)
			st->backends[b->parent_index].children++;
	}
	for (size_t i = 0; i < st->backend_count; i++) {
		/* up to one whose depth is known, or that has no parent; each is told its own once */
		size_t steps = 0, top = i;
		while (st->backends[top].parent_index != STORE_NONE && !st->backends[top].depth && steps <= st->backend_count) {
			top = st->backends[top].parent_index;
			steps++;
		}
		if (steps > st->backend_count) {
			for (; !st->backends[top].unusable; top = st->backends[top].parent_index)
				st->backends[top].unusable = true; /* by now it is on the circle */
			return add_fault(st, OVERLAY_PATH, STORE_DB_RECORD, "the parents of snapshot %llu go round in a circle",
				(unsigned long long)st->backends[i].id);
		}
		size_t depth = st->backends[top].depth + steps;
		if (depth >= LIMIT_LAYERS)
			return fail(l->e, RC_LIMIT, "a chain of more than %d snapshots is too deep to check", LIMIT_LAYERS);
		for (size_t at = i; at != top; at = st->backends[at].parent_index)
			st->backends[at].depth = (uint32_t)depth--;
	}
	struct parents_context in = {by_id};
	return each_in(l, &v1, "parents", add_parents_entry, &in);
}

/* ---- databases ---- */

enum rc open_database(struct store *st, struct database *d, int dir, const char *name, const char *path,
	struct arena scratch, struct err *e)
{
	struct bolt_fault fault = {0};
	enum rc rc;

	d->path = path;
	rc = d->fd >= 0 ? RC_OK : os_open_file(dir, name, &d->fd, e); /* meta.db is open already: it holds the lock */
	if (rc == RC_END)
		return RC_OK;
	if (rc == RC_CORRUPT)
		return add_fault(st, path, STORE_DB_MISSING, "is not a regular file");
	if (rc || (rc = os_src(d->fd, &d->src, e)))
		return rc;
	d->present = true;
	rc = bolt_open(&d->bolt, &d->src, st->keep, &fault, e);
	if (rc == RC_OK) {
		d->bolt.pace = st->hints->pace;
		/* most of it is wanted, page by page in no order */
		const uint64_t bytes = min_u64(d->bolt.meta[d->bolt.current].high_water * d->bolt.page_size, DATABASE_AHEAD);
		for (uint64_t at = 0; at < bytes; at += DATABASE_STEP)
			(void)posix_fadvise(d->fd, (off_t)at, (off_t)DATABASE_STEP, POSIX_FADV_WILLNEED); /* only a hint */
		rc = bolt_check(&d->bolt, scratch, &d->stats, &fault, e);
	}
	if (rc == RC_OK) {
		d->sound = true;
		return RC_OK;
	}
	if (rc != RC_CORRUPT)
		return rc;
	struct store_fault *const f = PUSH(st, faults, fault_count);
	if (!f)
		return no_memory(e);
	*f = (struct store_fault){path, STORE_DB_FAULT, fault};
	return RC_OK;
}

enum rc read_foreigners(struct store *st, struct arena scratch, struct err *e)
{
	static const char of_content[][16] = {"blobs", "ingest", STORE_OWN_DIR, ""};
	static const char of_blobs[][16] = {"sha256", "sha384", "sha512", ""};
	enum rc rc;

	if ((rc = add_foreigners(st, STORE_CONTENT_DIR, of_content, scratch, e)) ||
		(rc = add_foreigners(st, STORE_CONTENT_DIR "/blobs", of_blobs, scratch, e)) ||
		(rc = read_own(st, STORE_OWN_DIR, scratch, e)))
		return rc;
	return read_own(st, STORE_CONTENT_DIR "/" STORE_OWN_DIR, scratch, e);
}

static enum rc read_intents_of(struct store *st, struct backend **by_id, int own, const char *name, struct arena scratch,
	struct err *e)
{
	auto_fd staging = -1;
	struct os_name *names = NULL;
	size_t count = 0;
	struct err why = {0}; /* it is told of as a place that may hold bytes: read_own_place */
	enum rc rc = os_open_dir(own, name, &staging, &why);

	if (rc == RC_OK)
		rc = os_list(staging, &scratch, &names, &count, &why);
	if (rc == RC_NOMEM)
		return no_memory(e);
	st->intents_unseen |= rc && rc != RC_END;
	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		uint64_t id = 0;
		if (!store_is_intent(names[i].name) ||
			parse_decimal(span_of_string(names[i].name + sizeof(STORE_INTENT) - 1), &id))
			continue;
		struct backend *const b = backend_by_id(by_id, st->backend_count, id);
		if (b)
			b->interrupted = true;
	}
	return RC_OK;
}

enum rc read_intents(struct store *st, struct backend **by_id, struct arena scratch, struct err *e)
{
	auto_fd own = -1;
	struct os_name *names = NULL;
	size_t count = 0;
	enum rc rc = os_open_dir(st->dir, STORE_OWN_DIR, &own, e);

	if (rc)
		return rc == RC_END || rc == RC_CORRUPT ? RC_OK : rc;
	rc = os_list(own, &scratch, &names, &count, e);
	for (size_t i = 0; rc == RC_OK && i < count; i++)
		if (strncmp(names[i].name, "staging", 7) == 0)
			rc = read_intents_of(st, by_id, own, names[i].name, scratch, e);
	return rc;
}

enum rc read_snapshot_dirs(struct store *st, struct backend **by_id, struct arena scratch, struct err *e)
{
	static const char path[] = STORE_OVERLAY_DIR "/snapshots";
	struct os_name *names = NULL;
	size_t count = 0;
	enum rc rc = st->snapshots_dir < 0 ? RC_OK : os_list(st->snapshots_dir, &scratch, &names, &count, e);

	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		const char *const name = names[i].name;
		struct stat found = {0};
		uint64_t id = 0;
		struct err why = {0};
		if (strcmp(name, STORE_OWN_DIR) == 0)
			continue; /* ours, where snapshots/ is a mount of its own */
		if ((rc = go_on(st, e)))
			return rc;
		rc = os_stat(st->snapshots_dir, name, &found, &why);
		if (rc == RC_IO) /* it is there, and whoever opens it will be told what is wrong with it */
			found.st_mode = S_IFDIR;
		const bool gone = rc == RC_END;
		rc = RC_OK;
		if (gone)
			continue;
		const bool is_directory = S_ISDIR(found.st_mode);
		const bool number = parse_decimal(span_of_string(name), &id) == RC_OK;
		struct backend *const b = number ? backend_by_id(by_id, st->backend_count, id) : NULL;
		if (b) {
			b->dir_found = true;
			b->dir_is_directory = is_directory;
			b->dir_inode = found.st_ino; /* 0 after a failed stat */
			b->dir_ctime_ns = os_ctime_ns(&found);
			continue;
		}
		bool empty = true;
		/* what is behind the counter is a leftover whether or not it holds something */
		if (number && is_directory && id > st->overlay_sequence) {
			if ((rc = holds_nothing(st->snapshots_dir, name, scratch, e)) && rc != RC_END)
				return rc;
			empty = rc == RC_OK;
			rc = RC_OK;
		}
		const bool half = strncmp(name, "new-", 4) == 0 || strncmp(name, "rm-", 3) == 0;
		rc = add_stray(st, path, name,
			number ? STRAY_SNAPSHOT_DIR : half ? STRAY_SNAPSHOT_NEW : STRAY_SNAPSHOT_OTHER, is_directory, empty, e);
		if (rc == RC_OK)
			st->strays[st->stray_count - 1].id = id;
	}
	return rc;
}

enum rc find_prefixed(struct store *st, const char *dir_name, const char *prefix, enum stray_kind kind,
	struct arena scratch, struct err *e)
{
	auto_fd dir = -1;
	struct os_name *names = NULL;
	struct stat here = {0};
	size_t count = 0;
	struct err why = {0};
	enum rc rc = store_open_path(st, dir_name, &dir, &why);

	if (rc == RC_OK && (rc = os_list(dir, &scratch, &names, &count, &why)) == RC_OK)
		rc = os_stat_fd(dir, &here, &why);
	if (rc) /* leftovers that cannot be seen are left */
		return note_unseen(st, dir_name, prefix, rc, &why, e);
	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		struct stat found = {0};
		if (strncmp(names[i].name, prefix, strlen(prefix)) != 0)
			continue;
		if ((rc = go_on(st, e)))
			return rc;
		bool empty = false;
		rc = os_stat(dir, names[i].name, &found, &why);
		if (rc == RC_OK && found.st_dev == here.st_dev && S_ISDIR(found.st_mode) && kind == STRAY_TMPMOUNT) {
			rc = is_empty_dir(dir, names[i].name, scratch, &why);
			empty = rc == RC_OK;
			rc = optional(rc);
		}
		if (rc) {
			char *const kept = arena_string(st->keep, span_of_string(names[i].name));
			if (!kept)
				return no_memory(e);
			rc = note_unseen(st, dir_name, kept, rc, &why, e);
			continue;
		}
		if (found.st_dev == here.st_dev) /* a mount point is in use */
			rc = add_stray(st, dir_name, names[i].name, kind, S_ISDIR(found.st_mode), empty, e);
	}
	return rc;
}
