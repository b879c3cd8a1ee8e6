/* SPDX-License-Identifier: MIT */
/* The replay. Follows applyNaive and createTarFile of containerd (1.6.20: archive/tar.go, the same in 2.3: pkg/archive/tar.go)
 * step for step, on a tree in memory instead of a disk. */
#include "layer/layer.h"

#include <stddef.h>
#include <string.h>

#include "format/path.h"

enum {
	FLAG_DEAD = 1,
	FLAG_EXPLICIT = 2, /* had an entry of its own: containerd's unpackedPaths */
	FLAG_OPAQUE = 4
};

/* 28 bytes. Children of a directory are a list through next_sibling, in which removed ones stay until somebody walks by; those with
 * equal hashes one through next_equal, in which they do not. */
struct node {
	uint32_t parent;
	uint32_t next_equal;
	uint32_t name; /* offset in the arena: name, NUL, and a symlink's target, NUL */
	uint32_t inode;
	uint32_t first_child;
	uint32_t next_sibling;
	uint8_t name_bytes;
	uint8_t kind;
	uint8_t flags;
};

/* A directory entry's times, due after the last entry. name: the cleaned name, if it is not the node's own path. */
struct late {
	uint32_t node;
	uint32_t name;
	bool elsewhere;
	struct layer_times times;
};

#define CHUNK 4096u
#define CHUNKS (LIMIT_LAYER_NODES / CHUNK)
#define NAMES_BYTES 65536u

struct layer {
	enum layer_mode mode;
	struct arena *arena;
	struct pace *pace;
	struct tar *tar;
	const struct layer_watch *watch;
	bool wants_data, replayed;

	struct node **nodes; /* CHUNKS pointers */
	uint32_t node_count;
	uint32_t *buckets;
	uint32_t bucket_count; /* a power of two */
	char *names;
	size_t names_left;

	struct late **lates; /* CHUNKS pointers */
	uint32_t late_count;

	uint64_t *gone;      /* base mode: hashes of paths that had an entry and were removed; open addressing */
	uint32_t gone_cap, gone_count;

	uint64_t steps, inodes, whiteouts;

	/* the directory that the last entry was in, and the last path looked at on the way to it */
	bool dir_known;
	uint32_t dir_node;
	char dir_text[LIMIT_PATH_BYTES];
	uint32_t seen_node;
	size_t seen_bytes;
	char seen[LIMIT_PATH_BYTES];

	char name[LIMIT_PATH_BYTES]; /* the current entry's, cleaned */
	char path[LIMIT_PATH_BYTES]; /* its directory, resolved */
};

/* ---- nodes ---- */

static struct node *at(const struct layer *l, uint32_t node)
{
	return &l->nodes[node / CHUNK][node % CHUNK];
}

static char *text_at(const struct layer *l, uint32_t offset)
{
	return (char *)l->arena->region + offset;
}

static struct span name_of(const struct layer *l, uint32_t node)
{
	const struct node *const n = at(l, node);
	return span_of(text_at(l, n->name), n->name_bytes);
}

static const char *link_of(const struct layer *l, uint32_t node)
{
	const struct node *const n = at(l, node);
	return text_at(l, n->name) + n->name_bytes + 1;
}

static enum rc count_step(struct layer *l, struct err *e)
{
	return ++l->steps > LIMIT_LAYER_STEPS ? fail(e, RC_LIMIT, "a layer that takes too many steps")
					      : pace_on(l->pace, PACE_STEP, e);
}

/* An offset of texts with NULs behind them, one after the other. 0: no memory. */
static uint32_t keep_text(struct layer *l, struct span first, struct span second)
{
	const size_t n = first.left + 1 + (second.left ? second.left + 1 : 0);

	if (n > l->names_left) {
		l->names = arena_get(l->arena, NAMES_BYTES);
		l->names_left = l->names ? NAMES_BYTES : 0;
		if (!l->names)
			return 0;
	}
	char *const text = l->names;
	memcpy(text, first.at, first.left);
	text[first.left] = 0;
	if (second.left) {
		memcpy(text + first.left + 1, second.at, second.left);
		text[n - 1] = 0;
	}
	l->names += n;
	l->names_left -= n;
	return (uint32_t)(text - (char *)l->arena->region);
}

static uint32_t bucket_of(const struct layer *l, uint32_t parent, struct span name)
{
	const uint64_t hash = (fnv1a(name.at, name.left) ^ parent) * 0x9e3779b97f4a7c15u;
	return (uint32_t)(hash >> 32) & (l->bucket_count - 1);
}

static bool spread(struct layer *l)
{
	const uint32_t count = l->bucket_count ? l->bucket_count * 2 : 256;
	uint32_t *const buckets = arena_array(l->arena, count, sizeof(*buckets));

	if (!buckets)
		return false;
	memset(buckets, 0xff, count * sizeof(*buckets));
	const uint32_t *const old = l->buckets;
	const uint32_t old_count = l->bucket_count;
	l->buckets = buckets;
	l->bucket_count = count;
	for (uint32_t i = 0; i < old_count; i++) {
		for (uint32_t node = old[i]; node != LAYER_NO_NODE;) {
			struct node *const n = at(l, node);
			const uint32_t next = n->next_equal;
			uint32_t *const head = &buckets[bucket_of(l, n->parent, name_of(l, node))];
			n->next_equal = *head;
			*head = node;
			node = next;
		}
	}
	return true;
}

static enum rc find(struct layer *l, uint32_t dir, struct span name, uint32_t *node, struct err *e)
{
	*node = l->buckets[bucket_of(l, dir, name)];
	for (;; *node = at(l, *node)->next_equal) {
		const enum rc rc = count_step(l, e);
		if (rc)
			return rc;
		if (*node == LAYER_NO_NODE || (at(l, *node)->parent == dir && span_equal(name_of(l, *node), name)))
			return RC_OK;
	}
}

static void *chunk_slot(struct layer *l, void **chunks, uint32_t index, size_t size)
{
	if (index >= LIMIT_LAYER_NODES)
		return NULL;
	if (index % CHUNK == 0)
		chunks[index / CHUNK] = arena_array(l->arena, CHUNK, size);
	uint8_t *const chunk = chunks[index / CHUNK];
	return chunk ? chunk + index % CHUNK * size : NULL;
}

static enum rc add(struct layer *l, uint32_t parent, struct span name, enum layer_node_kind kind, struct span link,
	uint32_t *node, struct err *e)
{
	if (l->node_count >= LIMIT_LAYER_NODES)
		return fail(e, RC_LIMIT, "a layer with more than %u entries", LIMIT_LAYER_NODES);
	if (l->node_count / 2 >= l->bucket_count && !spread(l)) /* those that were outgrown stay in the arena */
		return no_memory(e);
	struct node *const n = chunk_slot(l, (void **)l->nodes, l->node_count, sizeof(*n));
	const uint32_t text = keep_text(l, name, link);
	if (!n || !text)
		return no_memory(e);
	const uint32_t made = l->node_count++;
	*n = (struct node){.parent = parent, .next_equal = LAYER_NO_NODE, .name = text, .inode = made,
		.first_child = LAYER_NO_NODE, .next_sibling = LAYER_NO_NODE, .name_bytes = (uint8_t)name.left,
		.kind = (uint8_t)kind};
	if (made != LAYER_ROOT) {
		uint32_t *const head = &l->buckets[bucket_of(l, parent, name)];
		n->next_equal = *head;
		*head = made;
		n->next_sibling = at(l, parent)->first_child;
		at(l, parent)->first_child = made;
	}
	if (kind == NODE_SYMLINK)
		l->dir_known = false;
	*node = made;
	return RC_OK;
}

enum rc layer_open(struct layer **l, enum layer_mode mode, struct pace *pace, struct arena *a, struct err *e)
{
	struct layer *const made = arena_get(a, sizeof(*made));
	uint32_t root = 0;

	if (!made)
		return no_memory(e);
	made->mode = mode;
	made->arena = a;
	made->pace = pace;
	made->nodes = arena_array(a, CHUNKS, sizeof(*made->nodes));
	made->lates = arena_array(a, CHUNKS, sizeof(*made->lates));
	if (!made->nodes || !made->lates)
		return no_memory(e);
	const enum rc rc = add(made, LAYER_NO_NODE, SPAN_LITERAL(""), NODE_DIR, (struct span){0}, &root, e);
	if (rc)
		return rc;
	*l = made;
	return RC_OK;
}

struct pace *layer_pace(const struct layer *l)
{
	return l->pace;
}

enum rc layer_go_on(struct layer *l, uint64_t work, struct err *e)
{
	return pace_on(l->pace, work, e);
}

static bool is_alive(const struct layer *l, uint32_t node)
{
	for (;; node = at(l, node)->parent) { /* a parent has a smaller number */
		if (at(l, node)->flags & FLAG_DEAD)
			return false;
		if (node == LAYER_ROOT)
			return true;
	}
}

static struct layer_node describe(const struct layer *l, uint32_t node, bool alive)
{
	const struct node *const n = at(l, node);
	return (struct layer_node){.kind = (enum layer_node_kind)n->kind, .parent = n->parent, .inode = n->inode,
		.name = name_of(l, node), .alive = alive, .explicit_entry = n->flags & FLAG_EXPLICIT,
		.opaque = n->flags & FLAG_OPAQUE};
}

uint32_t layer_node_count(const struct layer *l)
{
	return l->node_count;
}

struct layer_node layer_node_at(const struct layer *l, uint32_t node)
{
	return describe(l, node, is_alive(l, node));
}

uint32_t layer_parent(const struct layer *l, uint32_t node)
{
	return at(l, node)->parent;
}

uint32_t layer_inode(const struct layer *l, uint32_t node)
{
	return at(l, node)->inode;
}

const char *layer_name(const struct layer *l, uint32_t node)
{
	return text_at(l, at(l, node)->name);
}

enum layer_node_kind layer_kind(const struct layer *l, uint32_t node)
{
	return (enum layer_node_kind)at(l, node)->kind;
}

bool layer_is_explicit(const struct layer *l, uint32_t node)
{
	return at(l, node)->flags & FLAG_EXPLICIT;
}

bool layer_is_opaque(const struct layer *l, uint32_t node)
{
	return at(l, node)->flags & FLAG_OPAQUE;
}

enum layer_mode layer_mode_of(const struct layer *l)
{
	return l->mode;
}

/* Removed ones are taken out of the list as they are met, so that nobody steps over them again. */
static uint32_t skip_dead(const struct layer *l, uint32_t *link)
{
	while (*link != LAYER_NO_NODE && at(l, *link)->flags & FLAG_DEAD)
		*link = at(l, *link)->next_sibling;
	return *link;
}

uint32_t layer_first_child(const struct layer *l, uint32_t dir)
{
	return skip_dead(l, &at(l, dir)->first_child);
}

uint32_t layer_next_child(const struct layer *l, uint32_t child)
{
	return skip_dead(l, &at(l, child)->next_sibling);
}

uint32_t layer_child(const struct layer *l, uint32_t dir, struct span name)
{
	uint32_t node = l->buckets[bucket_of(l, dir, name)];

	while (node != LAYER_NO_NODE && (at(l, node)->parent != dir || !span_equal(name_of(l, node), name)))
		node = at(l, node)->next_equal;
	return node;
}

const char *layer_link_text(const struct layer *l, uint32_t node)
{
	return link_of(l, node);
}

enum rc layer_node_path(const struct layer *l, uint32_t node, char path[LIMIT_PATH_BYTES], struct err *e)
{
	size_t left = LIMIT_PATH_BYTES - 1;

	path[left] = 0;
	for (uint32_t n = node; n != LAYER_ROOT; n = at(l, n)->parent) {
		const struct span name = name_of(l, n);
		if (name.left + 1 > left)
			return fail(e, RC_LIMIT, "a path of more than %d bytes", LIMIT_PATH_BYTES);
		if (n != node)
			path[--left] = '/';
		left -= name.left;
		memcpy(path + left, name.at, name.left);
	}
	memmove(path, path + left, LIMIT_PATH_BYTES - left);
	return RC_OK;
}

uint64_t layer_model_inodes(const struct layer *l)
{
	return l->inodes;
}

uint64_t layer_whiteouts(const struct layer *l)
{
	return l->whiteouts;
}

/* ---- telling the watcher ---- */

void layer_want_data(struct layer *l)
{
	l->wants_data = true;
}

static enum rc tell(struct layer *l, enum layer_event event, uint32_t node, uint32_t target, const struct tar_entry *te,
	struct err *e)
{
	l->wants_data = false;
	if (!l->watch || !l->watch->entry)
		return RC_OK;
	struct layer_node n = describe(l, node, true);
	n.event = event;
	n.target = target;
	return l->watch->entry(l->watch->self, node, &n, te, e);
}

/* ---- removal ---- */

static uint64_t mix_name(uint64_t hash, struct span name)
{
	hash = (hash ^ fnv1a(name.at, name.left)) * 0x9e3779b97f4a7c15u;
	return hash ^ hash >> 29;
}

/* Of a name in a directory, and of the directory's names up to the root. */
static uint64_t path_hash(const struct layer *l, uint32_t dir, struct span name)
{
	uint64_t hash = mix_name(0, name);

	for (; dir != LAYER_ROOT; dir = at(l, dir)->parent)
		hash = mix_name(hash, name_of(l, dir));
	return hash ? hash : 1;
}

static uint64_t node_hash(const struct layer *l, uint32_t node)
{
	return path_hash(l, at(l, node)->parent, name_of(l, node));
}

static bool was_unpacked(const struct layer *l, uint64_t hash)
{
	for (uint32_t i = (uint32_t)hash; l->gone_cap; i++) { /* at least half of the slots are 0 */
		const uint64_t found = l->gone[i & (l->gone_cap - 1)];
		if (found == hash || !found)
			return found;
	}
	return false;
}

/* containerd forgets no path it unpacked: one that is made again without an entry still counts as unpacked. */
static enum rc remember_unpacked(struct layer *l, uint64_t hash, struct err *e)
{
	if (l->mode != LAYER_BASE || was_unpacked(l, hash))
		return RC_OK;
	if (l->gone_count * 2 >= l->gone_cap) {
		const uint64_t *const old = l->gone;
		const uint32_t old_cap = l->gone_cap;
		l->gone_cap = old_cap ? old_cap * 2 : 256;
		l->gone = arena_array(l->arena, l->gone_cap, sizeof(*l->gone));
		if (!l->gone)
			return no_memory(e);
		for (uint32_t i = 0; i < old_cap; i++) {
			uint32_t slot = (uint32_t)old[i];
			while (old[i] && l->gone[slot & (l->gone_cap - 1)])
				slot++;
			if (old[i])
				l->gone[slot & (l->gone_cap - 1)] = old[i];
		}
	}
	uint32_t slot = (uint32_t)hash;
	while (l->gone[slot & (l->gone_cap - 1)])
		slot++;
	l->gone[slot & (l->gone_cap - 1)] = hash;
	l->gone_count++;
	return RC_OK;
}

/* The node after this one in a walk over the tree beneath top; LAYER_NO_NODE at its end. */
static uint32_t walk_on(const struct layer *l, uint32_t top, uint32_t node, bool into)
{
	uint32_t next = into ? layer_first_child(l, node) : LAYER_NO_NODE;

	while (next == LAYER_NO_NODE && node != top) {
		next = layer_next_child(l, node);
		node = at(l, node)->parent;
	}
	return next;
}

static enum rc remove_node(struct layer *l, uint32_t node, struct err *e)
{
	enum rc rc;

	if (l->watch && l->watch->removed && (rc = l->watch->removed(l->watch->self, node, e)))
		return rc;
	if (l->mode == LAYER_BASE)
		for (uint32_t n = node; n != LAYER_NO_NODE; n = walk_on(l, node, n, true))
			if ((rc = count_step(l, e)) || (at(l, n)->flags & FLAG_EXPLICIT &&
							       (rc = remember_unpacked(l, node_hash(l, n), e))))
				return rc;
	uint32_t *link = &l->buckets[bucket_of(l, at(l, node)->parent, name_of(l, node))];
	while (*link != node)
		link = &at(l, *link)->next_equal;
	*link = at(l, node)->next_equal;
	at(l, node)->flags |= FLAG_DEAD;
	l->dir_known = false;
	l->seen_bytes = 0;
	return RC_OK;
}

/* ---- paths ---- */

/* What the kernel finds when a path leads through links on its way, which is not at its last component. A target outside
 * the root is on the host, where the path is taken as absent. */
static enum rc look_through_links(struct layer *l, const char *path, uint32_t *node, struct err *e)
{
	char rest[2 * LIMIT_PATH_BYTES], link[2 * LIMIT_PATH_BYTES];
	uint32_t dir = LAYER_ROOT;
	unsigned links = 0;

	memcpy(rest, path, strlen(path) + 1);
	for (char *p = rest + strspn(rest, "/");;) { /* each turn takes a name off, or follows one of 40 links */
		const size_t n = strcspn(p, "/");
		const size_t more = n + strspn(p + n, "/");
		uint32_t found = LAYER_NO_NODE;
		enum rc rc = RC_OK;

		*node = LAYER_NO_NODE;
		if (n == 2 && memcmp(p, "..", 2) == 0 && dir == LAYER_ROOT)
			return RC_OK;
		if (n == 2 && memcmp(p, "..", 2) == 0)
			found = at(l, dir)->parent;
		else if (n == 0 || (n == 1 && p[0] == '.'))
			found = dir;
		else
			rc = find(l, dir, span_of(p, n), &found, e);
		if (rc)
			return rc;
		if (!p[more]) {
			*node = found;
			return RC_OK;
		}
		if (found == LAYER_NO_NODE)
			return RC_OK;
		if (at(l, found)->kind == NODE_SYMLINK) {
			const size_t target = strlen(link_of(l, found));
			if (link_of(l, found)[0] == '/')
				return RC_OK;
			if (++links > 40 || target + strlen(p + more) + 2 > sizeof(rest))
				return fail(e, RC_CORRUPT, "a path through too many links");
			memcpy(link, link_of(l, found), target);
			link[target] = '/';
			memcpy(link + target + 1, p + more, strlen(p + more) + 1);
			memcpy(rest, link, strlen(link) + 1);
			p = rest;
			continue;
		}
		if (at(l, found)->kind != NODE_DIR)
			return fail(e, RC_CORRUPT, "a file is the parent of an entry");
		dir = found;
		p += more;
	}
}

/* lstat in the model. The path before this one is often its directory: l->seen. */
static enum rc look_up(struct layer *l, const char *path, uint32_t *node, struct err *e)
{
	const size_t n = strlen(path);
	uint32_t found = LAYER_ROOT;
	size_t from = 0;

	if (l->seen_bytes && n > l->seen_bytes && path[l->seen_bytes] == '/' &&
		memcmp(path, l->seen, l->seen_bytes) == 0) {
		found = l->seen_node;
		from = l->seen_bytes;
	}
	while (from < n) {
		const size_t bytes = strcspn(path + from + 1, "/");
		enum rc rc = RC_OK;
		if (at(l, found)->kind == NODE_SYMLINK)
			return look_through_links(l, path, node, e);
		if (at(l, found)->kind != NODE_DIR)
			return fail(e, RC_CORRUPT, "a file is the parent of an entry");
		if (bytes > LIMIT_NAME_BYTES)
			return fail(e, RC_CORRUPT, "a name of more than %d bytes", LIMIT_NAME_BYTES);
		if ((rc = find(l, found, span_of(path + from + 1, bytes), &found, e)))
			return rc;
		from += bytes + 1;
		if (found == LAYER_NO_NODE)
			break;
	}
	*node = found;
	if (found != LAYER_NO_NODE && at(l, found)->kind == NODE_DIR) {
		memcpy(l->seen, path, n);
		l->seen_bytes = n;
		l->seen_node = found;
	}
	return RC_OK;
}

static enum rc look(void *self, const char *path, enum path_kind *kind, char link[LIMIT_PATH_BYTES], struct err *e)
{
	struct layer *const l = self;
	uint32_t node = LAYER_NO_NODE;
	const uint64_t more = strlen(path) / 32; /* long paths cost more than their look-ups */
	enum rc rc = look_up(l, path, &node, e);

	if (rc)
		return rc;
	l->steps += more;
	if ((rc = pace_on(l->pace, more * PACE_STEP, e)))
		return rc;
	if (node == LAYER_NO_NODE) {
		*kind = PATH_ABSENT;
	} else if (at(l, node)->kind == NODE_SYMLINK) {
		*kind = PATH_LINK;
		memcpy(link, link_of(l, node), strlen(link_of(l, node)) + 1);
	} else {
		*kind = at(l, node)->kind == NODE_DIR ? PATH_DIR : PATH_OTHER;
	}
	return RC_OK;
}

static enum rc resolve(struct layer *l, struct span path, char out[LIMIT_PATH_BYTES], struct err *e)
{
	const struct path_root root = {look, l};
	return path_resolve(&root, path, out, e);
}

/* l->path, made where it is missing. */
static enum rc make_parents(struct layer *l, uint32_t *dir, struct err *e)
{
	uint32_t now = LAYER_ROOT;

	for (const char *p = l->path + 1; *p;) {
		const size_t n = strcspn(p, "/");
		const struct span name = span_of(p, n);
		uint32_t next = LAYER_NO_NODE;
		enum rc rc;

		if (n > LIMIT_NAME_BYTES)
			return fail(e, RC_CORRUPT, "a name of more than %d bytes", LIMIT_NAME_BYTES);
		if ((rc = find(l, now, name, &next, e)))
			return rc;
		if (next == LAYER_NO_NODE && ((rc = add(l, now, name, NODE_DIR, (struct span){0}, &next, e)) ||
						     (rc = tell(l, LAYER_MADE, next, LAYER_NO_NODE, NULL, e))))
			return rc;
		if (at(l, next)->kind != NODE_DIR)
			return fail(e, RC_CORRUPT, "a file is the parent of an entry");
		now = next;
		p += n + (p[n] == '/');
	}
	*dir = now;
	return RC_OK;
}

/* The directory of the current entry, whose name's first `bytes` bytes are its path. */
static enum rc enter(struct layer *l, size_t bytes, uint32_t *dir, struct err *e)
{
	enum rc rc;

	if (!bytes) {
		*dir = LAYER_ROOT;
		memcpy(l->path, "/", 2);
		return RC_OK;
	}
	if (l->dir_known && strlen(l->dir_text) == bytes && memcmp(l->dir_text, l->name, bytes) == 0) {
		*dir = l->dir_node;
		return RC_OK;
	}
	if ((rc = resolve(l, span_of(l->name, bytes), l->path, e)) || (rc = make_parents(l, dir, e)))
		return rc;
	memcpy(l->dir_text, l->name, bytes);
	l->dir_text[bytes] = 0;
	l->dir_node = *dir;
	l->dir_known = true;
	return RC_OK;
}

/* ---- entries ---- */

struct place {
	uint32_t dir;
	struct span name;
	const struct tar_entry *te;
};

static enum rc apply_opaque(struct layer *l, const struct place *p, struct err *e)
{
	enum rc rc = RC_OK;

	if (l->mode == LAYER_DIRECT) {
		at(l, p->dir)->flags |= FLAG_OPAQUE;
		return tell(l, LAYER_OPAQUED, p->dir, LAYER_NO_NODE, p->te, e);
	}
	for (uint32_t n = walk_on(l, p->dir, p->dir, true); !rc && n != LAYER_NO_NODE;) {
		const bool kept = at(l, n)->flags & FLAG_EXPLICIT || was_unpacked(l, node_hash(l, n));
		const uint32_t next = walk_on(l, p->dir, n, kept);
		if (!(rc = count_step(l, e)) && !kept)
			rc = remove_node(l, n, e);
		n = next;
	}
	return rc;
}

static enum rc apply_whiteout(struct layer *l, const struct place *p, struct err *e)
{
	struct span name = p->name;
	uint32_t node = LAYER_NO_NODE;
	enum rc rc;

	(void)span_take(&name, 4); /* it starts with ".wh." */
	if (!name_ok(name))
		return fail(e, RC_CORRUPT, "a whiteout of no name");
	if ((rc = find(l, p->dir, name, &node, e)))
		return rc;
	if (l->mode == LAYER_BASE)
		return node == LAYER_NO_NODE ? RC_OK : remove_node(l, node, e);
	if (node != LAYER_NO_NODE)
		return fail(e, RC_CORRUPT, "a whiteout of what its own layer has");
	if ((rc = add(l, p->dir, name, NODE_WHITEOUT, (struct span){0}, &node, e)))
		return rc;
	at(l, node)->flags |= FLAG_EXPLICIT;
	return tell(l, LAYER_MADE, node, LAYER_NO_NODE, p->te, e);
}

/* lsetxattr refuses these whatever the file system (Linux: include/uapi/linux/limits.h). */
static enum rc check_xattrs(const struct tar_entry *te, struct err *e)
{
	for (size_t i = 0; i < te->xattr_count; i++) {
		const struct tar_xattr *const x = &te->xattrs[i];
		if (span_starts(x->name, "trusted."))
			continue; /* not set */
		if (!x->name.left || x->name.left > LIMIT_NAME_BYTES || x->value.left > LIMIT_XATTR_BYTES)
			return fail(e, RC_CORRUPT, "an attribute without a name, or too long");
	}
	return RC_OK;
}

static enum rc apply_link(struct layer *l, const struct place *p, struct err *e)
{
	const struct span to = p->te->link_name;
	uint32_t dir = LAYER_ROOT, target = LAYER_NO_NODE, node = LAYER_NO_NODE;
	char path[LIMIT_PATH_BYTES];
	size_t split = to.left;
	enum rc rc;

	while (split && to.at[split - 1] != '/')
		split--;
	const struct span base = span_of(to.at + split, to.left - split);
	if ((rc = resolve(l, span_of(to.at, split), path, e)))
		return rc;
	if (path[1] && (rc = look_up(l, path, &dir, e)))
		return rc;
	if (!base.left || span_is(base, "."))
		target = dir;
	else if (name_ok(base) && dir != LAYER_NO_NODE && at(l, dir)->kind == NODE_DIR &&
		(rc = find(l, dir, base, &target, e)))
		return rc;
	if (target == LAYER_NO_NODE || at(l, target)->kind == NODE_DIR)
		return fail(e, RC_CORRUPT, "a hard link to nothing this layer has made, or to a directory");
	const enum layer_node_kind kind = (enum layer_node_kind)at(l, target)->kind;
	const struct span text =
		kind == NODE_SYMLINK ? span_of_string(link_of(l, target)) : (struct span){0};
	if ((rc = add(l, p->dir, p->name, kind, text, &node, e)))
		return rc;
	at(l, node)->inode = at(l, target)->inode;
	at(l, node)->flags |= FLAG_EXPLICIT;
	return tell(l, LAYER_LINKED, node, target, p->te, e);
}

static bool parent_path_is(const struct layer *l, const struct place *p)
{
	const size_t n = (size_t)(p->name.at - (const uint8_t *)l->name);
	char path[LIMIT_PATH_BYTES];

	/* "a/b/" in the name against "a/b" in the tree */
	if (layer_node_path(l, p->dir, path, NULL))
		return false;
	return n ? strlen(path) == n - 1 && memcmp(path, l->name, n - 1) == 0 : !path[0];
}

static enum rc apply_dir(struct layer *l, const struct place *p, uint32_t node, struct err *e)
{
	const enum layer_event event = node == LAYER_NO_NODE ? LAYER_MADE : LAYER_APPLIED;
	enum rc rc;

	if (node == LAYER_NO_NODE && (rc = add(l, p->dir, p->name, NODE_DIR, (struct span){0}, &node, e)))
		return rc;
	at(l, node)->flags |= FLAG_EXPLICIT;
	struct late *const late = chunk_slot(l, (void **)l->lates, l->late_count, sizeof(*late));
	if (!late)
		return l->late_count < LIMIT_LAYER_NODES ? no_memory(e)
							 : fail(e, RC_LIMIT, "a layer with too many directories");
	*late = (struct late){.node = node, .times = layer_times_of(p->te)};
	if (!parent_path_is(l, p) && !(late->name = keep_text(l, span_of_string(l->name), (struct span){0})))
		return no_memory(e);
	l->late_count++;
	return tell(l, event, node, LAYER_NO_NODE, p->te, e);
}

/* The whole content is read whether somebody wants it or not: containerd fails on a broken one too. A hole is one piece, however long. */
static enum rc pass_data(struct layer *l, uint32_t node, struct err *e)
{
	for (;;) {
		struct span piece = {0};
		enum rc rc = tar_data(l->tar, &piece, e);
		if (rc == RC_END)
			return l->wants_data ? l->watch->data_end(l->watch->self, node, e) : RC_OK;
		if (!rc)
			rc = pace_on(l->pace, PACE_STEP + (piece.at ? piece.left : 0), e);
		if (!rc && l->wants_data)
			rc = l->watch->data(l->watch->self, node, piece, e);
		if (rc)
			return rc;
	}
}

static enum rc apply_other(struct layer *l, const struct place *p, enum layer_node_kind kind, struct err *e)
{
	const struct span link = kind == NODE_SYMLINK ? p->te->link_name : (struct span){0};
	uint32_t node = LAYER_NO_NODE;
	enum rc rc;

	if (kind == NODE_SYMLINK && (!link.left || link.left >= LIMIT_PATH_BYTES || memchr(link.at, 0, link.left)))
		return fail(e, RC_CORRUPT, "a symbolic link without a target, or with one too long");
	if ((rc = add(l, p->dir, p->name, kind, link, &node, e)))
		return rc;
	at(l, node)->flags |= FLAG_EXPLICIT;
	rc = tell(l, LAYER_MADE, node, LAYER_NO_NODE, p->te, e);
	return rc || kind != NODE_FILE ? rc : pass_data(l, node, e);
}

static enum rc apply_type(struct layer *l, const struct place *p, uint32_t there, struct err *e)
{
	if (p->te->type != TAR_GLOBAL && check_xattrs(p->te, e))
		return RC_CORRUPT;
	switch (p->te->type) {
	case TAR_FILE:
		return apply_other(l, p, NODE_FILE, e);
	case TAR_HARD_LINK:
		return apply_link(l, p, e);
	case TAR_SYMLINK:
		return apply_other(l, p, NODE_SYMLINK, e);
	case TAR_CHAR:
		return apply_other(l, p, NODE_CHAR, e);
	case TAR_BLOCK:
		return apply_other(l, p, NODE_BLOCK, e);
	case TAR_DIR:
		return apply_dir(l, p, there, e);
	case TAR_FIFO:
		return apply_other(l, p, NODE_FIFO, e);
	case TAR_GLOBAL: /* ignored, but only now, and its name counts as unpacked */
		return remember_unpacked(l, path_hash(l, p->dir, p->name), e);
	case TAR_OTHER:
		break;
	}
	return fail(e, RC_CORRUPT, "an entry of type %u, which containerd refuses", p->te->raw_type);
}

static enum rc apply(struct layer *l, const struct tar_entry *te, struct err *e)
{
	struct place p = {.te = te};
	uint32_t there = LAYER_NO_NODE;
	enum rc rc;

	if ((rc = path_clean(te->name, l->name)))
		return fail(e, rc, "a name that is too long, or with a NUL inside");
	const char *const slash = strrchr(l->name, '/');
	p.name = span_of_string(slash ? slash + 1 : l->name);
	if (!p.name.left || span_is(p.name, ".") || span_is(p.name, ".."))
		return RC_OK; /* fs itself: nothing is applied, nothing remembered */
	if ((rc = enter(l, (size_t)(p.name.at - (const uint8_t *)l->name), &p.dir, e)))
		return rc;
	if (span_is(p.name, ".wh..wh..opq"))
		return apply_opaque(l, &p, e);
	if (span_starts(p.name, ".wh."))
		return apply_whiteout(l, &p, e);
	if (!name_ok(p.name))
		return fail(e, RC_CORRUPT, "a name of more than %d bytes", LIMIT_NAME_BYTES);
	if ((rc = find(l, p.dir, p.name, &there, e)))
		return rc;
	if (there != LAYER_NO_NODE && (te->type != TAR_DIR || at(l, there)->kind != NODE_DIR)) {
		if ((rc = remove_node(l, there, e)))
			return rc;
		there = LAYER_NO_NODE;
	}
	return apply_type(l, &p, there, e);
}

/* ---- the end ---- */

/* Directory names are resolved again, their last component followed too. */
static enum rc settle_times(struct layer *l, struct err *e)
{
	char path[LIMIT_PATH_BYTES];

	for (uint32_t i = 0; i < l->late_count; i++) {
		struct late *const late = &l->lates[i / CHUNK][i % CHUNK];
		uint32_t node = LAYER_ROOT;
		enum rc rc;

		if ((rc = pace_on(l->pace, PACE_STEP, e)))
			return rc;
		if (!late->name && is_alive(l, late->node))
			continue; /* no component of its path is a link */
		if (late->name)
			memcpy(l->name, text_at(l, late->name), strlen(text_at(l, late->name)) + 1);
		else if ((rc = layer_node_path(l, late->node, l->name, e)))
			return rc;
		if ((rc = resolve(l, span_of_string(l->name), path, e)))
			return rc;
		if (path[1] && (rc = look_up(l, path, &node, e)))
			return rc;
		if (node == LAYER_NO_NODE)
			return fail(e, RC_CORRUPT, "a directory that its own layer removes");
		late->elsewhere = late->node != node;
		late->node = node;
	}
	return RC_OK;
}

static enum rc count_inodes(struct layer *l, struct err *e)
{
	/* by node: alive; by inode: counted */
	uint8_t *const marks = arena_get(l->arena, l->node_count);

	if (!marks)
		return no_memory(e);
	for (uint32_t i = 0; i < l->node_count; i++) {
		const struct node *const n = at(l, i);
		if (n->flags & FLAG_DEAD || (i != LAYER_ROOT && !(marks[n->parent] & 1)))
			continue;
		marks[i] |= 1;
		l->whiteouts += n->kind == NODE_WHITEOUT;
		l->inodes += !(marks[n->inode] & 2);
		marks[n->inode] |= 2;
	}
	return RC_OK;
}

enum rc layer_replay(struct layer *l, struct tar *t, const struct layer_watch *w, struct err *e)
{
	enum rc rc = RC_OK;

	l->tar = t;
	l->watch = w;
	while (!rc) {
		struct tar_entry te = {0};
		if (!(rc = pace_on(l->pace, PACE_STEP, e)) && !(rc = tar_next(t, &te, e)))
			rc = apply(l, &te, e);
	}
	if (rc != RC_END)
		return rc;
	if ((rc = settle_times(l, e)))
		return rc;
	const struct arena mark = *l->arena;
	rc = count_inodes(l, e);
	*l->arena = mark;
	return rc;
}

/* Go counts from the year 1, and wraps around: a time far in the future is one far in the past. */
static int64_t since_year_1(const struct timespec *t)
{
	return (int64_t)((uint64_t)t->tv_sec + 62135596800u);
}

static bool is_before(const struct timespec *a, const struct timespec *b)
{
	const int64_t x = since_year_1(a), y = since_year_1(b);
	return x < y || (x == y && a->tv_nsec < b->tv_nsec);
}

struct layer_times layer_times_of(const struct tar_entry *te)
{
	const struct timespec first = {0}, last = {.tv_sec = 9223372036, .tv_nsec = 854775807}; /* 2^63 - 1 nanoseconds */
	struct timespec mtime = {.tv_sec = (time_t)te->mtime_s, .tv_nsec = (long)te->mtime_ns};
	struct timespec atime = {.tv_sec = (time_t)te->atime_s, .tv_nsec = (long)te->atime_ns};

	if (!te->has_atime || is_before(&atime, &mtime))
		atime = mtime;
	if (is_before(&mtime, &first) || is_before(&last, &mtime))
		mtime = first;
	if (is_before(&atime, &first) || is_before(&last, &atime))
		atime = first;
	return (struct layer_times){.access = atime, .modified = mtime};
}

size_t layer_late_time_count(const struct layer *l)
{
	return l->late_count;
}

struct layer_late_time layer_late_time_at(const struct layer *l, size_t i)
{
	const struct late *const late = &l->lates[i / CHUNK][i % CHUNK];

	return (struct layer_late_time){late->node, late->elsewhere, late->times};
}
