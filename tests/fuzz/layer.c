/* SPDX-License-Identifier: MIT */
/* A layer from a compact description, so that what is mutated are paths and kinds and not checksums: the first byte is the
 * mode, then for each entry a kind, a count of path pieces and the pieces, and for links a target of the same form. The
 * replay must end, keep its tree consistent, and give the same tree again. */
#include "layer/layer.h"

#include "../unit/tar_file.h"
#include "steps.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const parts[] = {"a", "b", "c", "..", ".", "", "d", ".wh.a", ".wh..wh..opq", ".wh.", "x", "a", "b", "y",
	".wh.b", "z"};

static void path_from(struct span *s, char *out, size_t cap)
{
	const unsigned count = span_u8(s) % 6;
	size_t used = 0;

	out[0] = 0;
	for (unsigned i = 0; i < count; i++) {
		const uint8_t c = span_u8(s);
		const char *const part = parts[c % 16];
		if (used + strlen(part) + 2 >= cap)
			return;
		if (i || c & 0x80)
			out[used++] = '/';
		memcpy(out + used, part, strlen(part) + 1);
		used += strlen(part);
	}
}

struct tree {
	uint64_t hash;
	enum rc rc;
};

/* Paths through links cost what they are told to, whatever the bytes; that ends by LIMIT_LAYER_STEPS. */
static enum rc go_on(void *self, struct err *e)
{
	uint64_t *const work = self;

	(void)e;
	*work += PACE_WORK;
	return RC_OK;
}

static struct tree replay(const struct archive *a, enum layer_mode mode, struct arena *arena)
{
	struct pieces pieces = {span_of(a->at, a->n), 4096, 0, 0};
	const struct arena mark = *arena;
	struct tree tree = {.hash = 1};
	uint64_t work = 0;
	struct pace pace = {go_on, &work, 0};
	struct layer *l = NULL;
	struct tar *t = NULL;
	struct err e = {0};

	steps_begin();
	if (layer_open(&l, mode, &pace, arena, &e) || tar_open(&t, (struct tar_source){next_piece, &pieces}, arena, &e))
		abort();
	tree.rc = layer_replay(l, t, NULL, &e);
	steps_end(32 * a->n + work + pace.done, 2, 20000);
	if (tree.rc != RC_OK && tree.rc != RC_CORRUPT && tree.rc != RC_LIMIT)
		abort();
	uint64_t alive = 0;
	for (uint32_t i = 0; i < layer_node_count(l); i++) {
		const struct layer_node n = layer_node_at(l, i);
		char path[LIMIT_PATH_BYTES];
		if (i != LAYER_ROOT && n.parent >= i)
			abort();
		if (layer_node_path(l, i, path, &e))
			abort();
		alive += n.alive;
		if (n.alive && i != LAYER_ROOT && layer_child(l, n.parent, n.name) != i)
			abort();
		if (n.alive && layer_kind(l, n.parent == LAYER_NO_NODE ? i : n.parent) != NODE_DIR)
			abort();
		tree.hash = (tree.hash ^ fnv1a(path, strlen(path)) ^ (uint64_t)n.kind << 8 ^ n.inode ^ n.alive) * 31;
	}
	if (!tree.rc && layer_model_inodes(l) > alive)
		abort();
	*arena = mark;
	return tree;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char kinds[] = "0012255367g0";
	static struct arena arena;
	struct archive a = {0};
	struct span s = span_of(data, size);
	struct err e = {0};

	if (!arena.region && arena_open(&arena, &e))
		return 0;
	const enum layer_mode mode = span_u8(&s) & 1 ? LAYER_BASE : LAYER_DIRECT;
	for (unsigned i = 0; i < 200 && s.left; i++) {
		char name[100], link[100];
		const uint8_t kind = span_u8(&s);
		path_from(&s, name, sizeof(name));
		const char type = kinds[kind % 12];
		if (type == '1' || type == '2')
			path_from(&s, link, sizeof(link));
		archive_member(&a, (struct member){.type = type, .name = name,
			.link = type == '1' || type == '2' ? link : NULL, .mtime = 1600000000u + i});
	}
	archive_end(&a);
	const struct tree first = replay(&a, mode, &arena), second = replay(&a, mode, &arena);
	if (first.rc != second.rc || first.hash != second.hash)
		abort();
	free(a.at);
	return 0;
}
