/* SPDX-License-Identifier: MIT */
/* A small store with something of everything in it, as containerd lays it out, made in a directory: two images of two namespaces that
 * share a layer, a container's snapshot, a lease, a download. No containerd made it: what it must be is told by the check, which finds
 * nothing. */
#ifndef STORE_FILE_H
#define STORE_FILE_H

#include <zlib.h>

#include "../unit/bolt_file.h"
#include "../unit/tar_file.h"
#include "format/bolt_edit.h"
#include "place.h"
#include "store/store.h"

#define SMALL_PAGE 512
#define SMALL_MTIME 1600000000

/* ---- bytes ---- */

struct made_blob {
	struct archive bytes;
	char name[DIGEST_TEXT_BYTES], diff_id[DIGEST_TEXT_BYTES], chain[DIGEST_TEXT_BYTES];
	struct digest diff, link;
};

static inline struct digest digest_of(const void *at, size_t n)
{
	struct hash h;
	struct digest d;

	hash_begin(&h, DIGEST_SHA256);
	hash_add(&h, at, n);
	hash_end(&h, &d);
	return d;
}

static inline void name_blob(struct made_blob *b)
{
	const struct digest d = digest_of(b->bytes.at, b->bytes.n);
	digest_format(&d, b->name);
}

static inline struct made_blob blob_of_text(const char *format, ...) PRINTF_LIKE(1, 2);
static inline struct made_blob blob_of_text(const char *format, ...)
{
	struct made_blob b = {0};
	char text[4096];
	va_list arguments;

	va_start(arguments, format);
	const int n = vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	archive_add(&b.bytes, text, (size_t)n);
	name_blob(&b);
	return b;
}

/* A gzip stream of one block that is stored as it is. */
static inline struct archive stored_gzip(const struct archive *a)
{
	static const uint8_t head[] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1};
	struct archive out = {0};
	uint8_t number[8];

	if (a->n > 65535)
		abort();
	archive_add(&out, head, sizeof(head));
	le(number, a->n, 2);
	le(number + 2, ~a->n, 2);
	archive_add(&out, number, 4);
	archive_add(&out, a->at, a->n);
	le(number, crc32(0, a->at, (unsigned)a->n), 4);
	le(number + 4, a->n, 4);
	archive_add(&out, number, 8);
	return out;
}

/* parent: NULL for the lowest. */
static inline struct made_blob blob_of_layer(struct archive tar, bool gzip, const struct made_blob *parent)
{
	struct made_blob b = {.bytes = tar};

	b.diff = digest_of(tar.at, tar.n);
	digest_format(&b.diff, b.diff_id);
	oci_chain_id(parent ? &parent->link : NULL, &b.diff, &b.link);
	digest_format(&b.link, b.chain);
	if (gzip)
		b.bytes = stored_gzip(&tar);
	name_blob(&b);
	return b;
}

/* ---- databases ---- */

struct made_database {
	struct arena *a;
	struct file f;
	struct bolt b;
	struct src src;
	struct bolt_edit *t;
};

static inline void database_begin(struct made_database *d, struct arena *a)
{
	struct bolt_fault fault;
	struct err e = {0};

	*d = (struct made_database){.a = a, .f = file_new(SMALL_PAGE)};
	const uint64_t root = add_page(&d->f, 2, NULL, 0), list = d->f.used++;
	le(page_at(&d->f, list), list, 8);
	le(page_at(&d->f, list) + 8, 16, 2);
	set_meta(&d->f, 0, root, list, d->f.used, 2);
	set_meta(&d->f, 1, root, list, d->f.used, 1);
	d->f.n = d->f.used * SMALL_PAGE;
	d->src = src_of_memory(d->f.at, d->f.n);
	if (bolt_open(&d->b, &d->src, a, &fault, &e) || bolt_edit_begin(&d->t, &d->b, a, &e))
		abort();
}

/* "a|b|c", for slashes are in many names. */
static inline struct bolt_path path_of(struct arena *a, const char *text)
{
	struct bolt_path p = {.count = 0};
	char *rest = arena_string(a, span_of_string(text));

	for (char *part; rest && (part = strsep(&rest, "|")) && p.count < BOLT_PATH_MAX;)
		p.part[p.count++] = span_of_string(part);
	return p;
}

static inline void database_put(struct made_database *d, const void *value, size_t n, const char *format, ...) PRINTF_LIKE(4, 5);
static inline void database_put(struct made_database *d, const void *value, size_t n, const char *format, ...)
{
	char text[1024];
	va_list arguments;
	struct err e = {0};

	va_start(arguments, format);
	(void)vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	const struct bolt_path p = path_of(d->a, text);
	if (value ? bolt_edit_put(d->t, &p, arena_copy(d->a, span_of(value, n)), &e) : bolt_edit_make_bucket(d->t, &p, &e))
		abort();
}
#define database_text(d, value, ...) database_put(d, value, strlen(value), __VA_ARGS__)

static inline size_t varint(uint8_t *to, uint64_t value)
{
	size_t n = 0;

	for (value <<= 1; value >= 0x80; value >>= 7)
		to[n++] = (uint8_t)(value | 0x80);
	to[n++] = (uint8_t)value;
	return n;
}

static inline void database_number(struct made_database *d, uint64_t value, const char *path)
{
	uint8_t bytes[10];
	database_put(d, bytes, varint(bytes, value), "%s", path);
}

/* Go's Time.MarshalBinary of 2020-09-13 */
static inline void database_times(struct made_database *d, const char *path)
{
	uint8_t t[15] = {1};
	const uint64_t seconds = 62135596800u + SMALL_MTIME;

	for (unsigned i = 0; i < 8; i++)
		t[1 + i] = (uint8_t)(seconds >> 8 * (7 - i));
	t[13] = t[14] = 0xff;
	database_put(d, t, sizeof(t), "%s|createdat", path);
	database_put(d, t, sizeof(t), "%s|updatedat", path);
}

static inline void database_sequence(struct made_database *d, const char *path, uint64_t value)
{
	const struct bolt_path p = path_of(d->a, path);
	struct err e = {0};

	if (bolt_edit_raise_sequence(d->t, &p, value, &e))
		abort();
}

static inline struct archive database_end(struct made_database *d)
{
	struct bolt_image image;
	struct archive out = {0};
	struct err e = {0};

	if (bolt_edit_make(d->t, &image, &e) || !image.changed)
		abort();
	out.n = out.cap = (size_t)(image.file_bytes > d->f.n ? image.file_bytes : d->f.n);
	out.at = calloc(1, out.n);
	if (!out.at)
		abort();
	memcpy(out.at, d->f.at, d->f.n);
	memcpy(out.at + image.append_at, image.append.at, image.append.left);
	memcpy(out.at + image.meta_at, image.meta_page.at, image.meta_page.left);
	file_free(&d->f);
	return out;
}

/* ---- the records ---- */

static inline void put_content(struct made_database *d, const char *ns, const struct made_blob *b, const char *label, const char *value)
{
	char path[300], deeper[320];

	(void)snprintf(path, sizeof(path), "v1|%s|content|blob|%s", ns, b->name);
	database_times(d, path);
	(void)snprintf(deeper, sizeof(deeper), "%s|size", path);
	database_number(d, b->bytes.n, deeper);
	database_text(d, "library/one", "%s|labels|containerd.io/distribution.source.example.org", path);
	if (label)
		database_text(d, value, "%s|labels|%s", path, label);
}

static inline void put_image(struct made_database *d, const char *ns, const char *name, const struct made_blob *target, const char *type)
{
	char path[300], deeper[320];

	(void)snprintf(path, sizeof(path), "v1|%s|images|%s", ns, name);
	database_times(d, path);
	database_text(d, target->name, "%s|target|digest", path);
	database_text(d, type, "%s|target|mediatype", path);
	(void)snprintf(deeper, sizeof(deeper), "%s|target|size", path);
	database_number(d, target->bytes.n, deeper);
}

/* In both databases. parent: the chain of the lower one and its backend key. */
static inline void put_snapshot(struct made_database *meta, struct made_database *overlay, const char *ns, const char *key, unsigned number,
	unsigned id, uint8_t kind, uint64_t inodes, const char *parent, const char *parent_name, unsigned parent_id)
{
	char path[300], name[200], deeper[320];
	const uint8_t id_byte = (uint8_t)id, pair[3] = {(uint8_t)parent_id, 0, (uint8_t)id};
	struct err e = {0};

	(void)snprintf(name, sizeof(name), "%s/%u/%s", ns, number, key);
	(void)snprintf(path, sizeof(path), "v1|%s|snapshots|overlayfs|%s", ns, key);
	database_times(meta, path);
	database_text(meta, name, "%s|name", path);
	if (parent) {
		database_text(meta, parent, "%s|parent", path);
		database_put(meta, "", 0, "v1|%s|snapshots|overlayfs|%s|children|%s", ns, parent, key);
	}
	if (kind == SNAPSHOT_COMMITTED)
		database_text(meta, key, "%s|labels|containerd.io/snapshot.ref", path);
	(void)snprintf(path, sizeof(path), "v1|snapshots|%s", name);
	database_times(overlay, path);
	database_put(overlay, &id_byte, 1, "%s|id", path);
	database_put(overlay, &kind, 1, "%s|kind", path);
	if (parent)
		database_text(overlay, parent_name, "%s|parent", path);
	if (kind != SNAPSHOT_COMMITTED)
		inodes = 0;
	(void)snprintf(deeper, sizeof(deeper), "%s|inodes", path);
	if (inodes)
		database_number(overlay, inodes, deeper);
	(void)snprintf(deeper, sizeof(deeper), "%s|size", path);
	if (inodes)
		database_number(overlay, 4096 * inodes, deeper);
	if (parent) {
		struct bolt_path p = {{SPAN_LITERAL("v1"), SPAN_LITERAL("parents"), arena_copy(overlay->a, span_of(pair, 3))}, 3};
		if (bolt_edit_put(overlay->t, &p, arena_copy(overlay->a, span_of_string(name)), &e))
			abort();
	}
}

/* ---- on the disk ---- */

static inline void put_file(int root, const char *path, const void *at, size_t n)
{
	char copy[300];

	(void)snprintf(copy, sizeof(copy), "%s", path);
	for (char *slash = copy; (slash = strchr(slash, '/')); *slash++ = '/') {
		*slash = 0;
		(void)mkdirat(root, copy, 0700); /* there by now */
	}
	place_write(root, path, at, n);
}

static inline void put_blob(int root, const struct made_blob *b)
{
	char path[200];

	(void)snprintf(path, sizeof(path), STORE_CONTENT_DIR "/blobs/sha256/%s", b->name + 7);
	put_file(root, path, b->bytes.at, b->bytes.n);
	(void)!fchmodat(root, path, 0444, 0);
}

/* What a member makes in fs of a snapshot. */
static inline void unpack(int root, unsigned id, const struct member *m, size_t count)
{
	const struct timespec times[2] = {{.tv_sec = SMALL_MTIME}, {.tv_sec = SMALL_MTIME}};
	char path[200], other[200];

	(void)snprintf(path, sizeof(path), STORE_OVERLAY_DIR "/snapshots/%u/x", id);
	put_file(root, path, "", 0);
	(void)unlinkat(root, path, 0);
	(void)snprintf(path, sizeof(path), STORE_OVERLAY_DIR "/snapshots/%u/work", id);
	place_mkdir(root, path, 0711);
	(void)snprintf(path, sizeof(path), STORE_OVERLAY_DIR "/snapshots/%u/fs", id);
	place_mkdir(root, path, 0755);
	for (size_t i = 0; i < count; i++) {
		(void)snprintf(path, sizeof(path), STORE_OVERLAY_DIR "/snapshots/%u/fs/%s", id, m[i].name);
		(void)snprintf(other, sizeof(other), STORE_OVERLAY_DIR "/snapshots/%u/fs/%s", id, m[i].link ? m[i].link : "");
		if (m[i].type == '5')
			place_mkdir(root, path, 0755);
		else if (m[i].type == '2')
			(void)!symlinkat(m[i].link, root, path);
		else if (m[i].type == '1')
			(void)!linkat(root, other, root, path, 0);
		else
			place_write(root, path, m[i].data, m[i].size);
		if (!m[i].type)
			(void)!fchmodat(root, path, 0644, 0);
	}
	for (size_t i = count; i-- > 0;) {
		(void)snprintf(path, sizeof(path), STORE_OVERLAY_DIR "/snapshots/%u/fs/%s", id, m[i].name);
		(void)!utimensat(root, path, times, AT_SYMLINK_NOFOLLOW);
	}
}

static inline void small_store(int root, struct arena a)
{
	static const struct member layers[3][7] = {
		{{.type = '5', .name = "bin"}, {.name = "bin/tool", .data = "the tool\n", .size = 9},
			{.type = '1', .name = "bin/same", .link = "bin/tool"}, {.type = '2', .name = "sh", .link = "bin/tool"},
			{.type = '5', .name = "etc"}, {.name = "etc/passwd", .data = "root:x:0:0\n", .size = 11}, {.name = "empty"}},
		{{.type = '5', .name = "srv"}, {.name = "srv/data", .data = "data of the second layer\n", .size = 25},
			{.name = "srv/more", .data = "more of it\n", .size = 11}},
		{{.name = "other", .data = "of another image\n", .size = 17}}};
	static const size_t counts[3] = {7, 3, 1};
	struct made_blob layer[3], config[2], manifest[2];
	struct made_database meta, overlay;
	struct archive tar[3] = {{0}};

	for (unsigned i = 0; i < 3; i++) {
		for (size_t k = 0; k < counts[i]; k++)
			archive_member(&tar[i], layers[i][k]);
		archive_end(&tar[i]);
		layer[i] = blob_of_layer(tar[i], i == 1, i ? &layer[0] : NULL);
		put_blob(root, &layer[i]);
		unpack(root, i + 1, layers[i], counts[i]);
	}
	for (unsigned i = 0; i < 2; i++) {
		const struct made_blob *const top = &layer[1 + i];
		config[i] = blob_of_text("{\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":["
			"\"%s\",\"%s\"]}}",
			layer[0].diff_id, top->diff_id);
		manifest[i] = blob_of_text("{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"config\":{"
			"\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"%s\",\"size\":%zu},\"layers\":["
			"{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"%s\",\"size\":%zu},"
			"{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar%s\",\"digest\":\"%s\",\"size\":%zu}]}",
			config[i].name, config[i].bytes.n, layer[0].name, layer[0].bytes.n, i ? "" : "+gzip", top->name, top->bytes.n);
		put_blob(root, &config[i]);
		put_blob(root, &manifest[i]);
	}
	database_begin(&meta, &a);
	database_begin(&overlay, &a);
	database_number(&meta, 3, "v1|version");
	for (unsigned i = 0; i < 2; i++) {
		const char *const ns = i ? STORE_KUBERNETES : "default";
		const struct made_blob *const top = &layer[1 + i];
		put_image(&meta, ns, i ? "example.org/two:1" : "example.org/one:1", &manifest[i],
			"application/vnd.oci.image.manifest.v1+json");
		put_content(&meta, ns, &manifest[i], "containerd.io/gc.ref.content.config", config[i].name);
		database_text(&meta, layer[0].name, "v1|%s|content|blob|%s|labels|containerd.io/gc.ref.content.l.0", ns, manifest[i].name);
		database_text(&meta, top->name, "v1|%s|content|blob|%s|labels|containerd.io/gc.ref.content.l.1", ns, manifest[i].name);
		put_content(&meta, ns, &config[i], "containerd.io/gc.ref.snapshot.overlayfs", top->chain);
		put_content(&meta, ns, &layer[0], "containerd.io/uncompressed", layer[0].diff_id);
		put_content(&meta, ns, top, "containerd.io/uncompressed", top->diff_id);
	}
	char base[200], second[200];
	(void)snprintf(base, sizeof(base), "default/2/%s", layer[0].chain);
	(void)snprintf(second, sizeof(second), "default/4/%s", layer[1].chain);
	put_snapshot(&meta, &overlay, "default", layer[0].chain, 2, 1, SNAPSHOT_COMMITTED, 7, NULL, NULL, 0);
	put_snapshot(&meta, &overlay, "default", layer[1].chain, 4, 2, SNAPSHOT_COMMITTED, 4, layer[0].chain, base, 1);
	put_snapshot(&meta, &overlay, "default", "box", 5, 4, SNAPSHOT_ACTIVE, 0, layer[1].chain, second, 2);
	/* of the other namespace, another copy of the base would be another snapshot: it has one of its own */
	put_snapshot(&meta, &overlay, STORE_KUBERNETES, layer[0].chain, 2, 5, SNAPSHOT_COMMITTED, 7, NULL, NULL, 0);
	(void)snprintf(base, sizeof(base), STORE_KUBERNETES "/2/%s", layer[0].chain);
	put_snapshot(&meta, &overlay, STORE_KUBERNETES, layer[2].chain, 4, 3, SNAPSHOT_COMMITTED, 2, layer[0].chain, base, 5);
	unpack(root, 5, layers[0], counts[0]);
	unpack(root, 4, layers[2], 1);
	database_sequence(&meta, "v1|default|snapshots|overlayfs", 5);
	database_sequence(&meta, "v1|" STORE_KUBERNETES "|snapshots|overlayfs", 4);
	database_sequence(&overlay, "v1|snapshots", 5);
	database_times(&meta, "v1|default|containers|box");
	database_text(&meta, "example.org/one:1", "v1|default|containers|box|image");
	database_text(&meta, "overlayfs", "v1|default|containers|box|snapshotter");
	database_text(&meta, "box", "v1|default|containers|box|snapshotKey");
	database_text(&meta, "io.containerd.runc.v2", "v1|default|containers|box|runtime|name");
	database_times(&meta, "v1|default|leases|kept");
	database_put(&meta, "", 0, "v1|default|leases|kept|content|%s", layer[1].name);
	const struct archive files[] = {database_end(&meta), database_end(&overlay)};
	put_file(root, STORE_META_DIR "/meta.db", files[0].at, files[0].n);
	put_file(root, STORE_OVERLAY_DIR "/metadata.db", files[1].at, files[1].n);
	put_file(root, STORE_INTROSPECTION_DIR "/uuid", "01234567-89ab-cdef-0123-456789abcdef", 36);
	put_file(root, STORE_CONTENT_DIR "/ingest/x", "", 0);
	(void)unlinkat(root, STORE_CONTENT_DIR "/ingest/x", 0);
	for (unsigned i = 0; i < 2; i++)
		free(files[i].at);
	for (unsigned i = 0; i < 3; i++) {
		if (layer[i].bytes.at != tar[i].at)
			free(layer[i].bytes.at);
		free(tar[i].at);
	}
	for (unsigned i = 0; i < 2; i++) {
		free(config[i].bytes.at);
		free(manifest[i].bytes.at);
	}
}

#endif
