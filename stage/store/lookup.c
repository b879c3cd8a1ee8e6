/* SPDX-License-Identifier: MIT */
/* Look-ups in what was read, and paths and descriptors of what is in it. */
#include <dirent.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "ground/os.h"
#include "store/loading.h"

/* ---- look-ups: every array is sorted by its key, within its namespace ---- */

/* order: how the middle compares with what is looked for */
#define FIND(from, n, order)                                                                                           \
	do {                                                                                                           \
		size_t low = (from), high = (from) + (n);                                                              \
		while (low < high) {                                                                                   \
			const size_t middle = low + (high - low) / 2;                                                  \
			const int found = (order);                                                                     \
			if (found == 0)                                                                                \
				return middle;                                                                         \
			if (found < 0)                                                                                 \
				low = middle + 1;                                                                      \
			else                                                                                           \
				high = middle;                                                                         \
		}                                                                                                      \
		return STORE_NONE;                                                                                     \
	} while (0)

size_t store_find_blob(const struct store *st, const struct digest *d)
{
	FIND((size_t)0, st->blob_count, digest_compare(&st->blob_files[middle].digest, d)); /* as their texts do */
}

static int compare_content(const struct content *c, const struct digest *d)
{
	char text[DIGEST_TEXT_BYTES];

	if (c->digest_known)
		return digest_compare(&c->digest, d);
	digest_format(d, text);
	return span_compare(c->text, span_of_string(text));
}

size_t store_find_content(const struct store *st, size_t ns, const struct digest *d)
{
	FIND(st->namespaces[ns].contents.first, st->namespaces[ns].contents.count, compare_content(&st->contents[middle], d));
}

size_t store_find_snapshot(const struct store *st, size_t ns, struct span key)
{
	FIND(st->namespaces[ns].snapshots.first, st->namespaces[ns].snapshots.count, span_compare(st->snapshots[middle].key, key));
}

size_t store_find_foreign(const struct store *st, size_t ns, const struct digest *chain)
{
	FIND(st->namespaces[ns].foreign.first, st->namespaces[ns].foreign.count, digest_compare(&st->foreign[middle].chain, chain));
}

size_t store_find_image(const struct store *st, size_t ns, struct span key)
{
	FIND(st->namespaces[ns].images.first, st->namespaces[ns].images.count, span_compare(st->images[middle].name, key));
}

size_t store_find_backend(const struct store *st, struct span key)
{
	FIND((size_t)0, st->backend_count, span_compare(st->backends[middle].key, key));
}

size_t store_find_namespace(const struct store *st, struct span key)
{
	FIND((size_t)0, st->namespace_count, span_compare(st->namespaces[middle].name, key));
}

struct lease_facts store_lease_facts(const struct store *st, const struct lease *l)
{
	return (struct lease_facts){.expires = l->expires,
		.ours = span_is(l->id, STORE_OWN_LEASE),
		.after_boot = st->boot_proved_new,
		.holds_snapshots = l->snapshots.count};
}

struct backend_facts store_backend_facts(const struct store *st, const struct backend *b)
{
	return (struct backend_facts){
		.it = store_snapshot_facts(st, store_find_namespace(st, b->ns_name), b->user_key, b->kind == SNAPSHOT_COMMITTED),
		.foreign = !b->user_key.left,
		.in_meta = b->snapshot != STORE_NONE,
		.content = IS_NOT_EMPTY,
		.parent_gone = b->parent.left && b->parent_index == STORE_NONE,
		.no_directory = !b->dir_found || !b->dir_is_directory};
}

struct snapshot_facts store_snapshot_facts(const struct store *st, size_t ns, struct span key, bool committed)
{
	struct digest d;

	return (struct snapshot_facts){.committed = committed,
		.chain = digest_parse(key, &d) == RC_OK || store_is_init(st, ns, key),
		.extract = store_is_extract(st, ns, key),
		.kubernetes = ns != STORE_NONE && st->namespaces[ns].kubernetes,
		.after_boot = st->boot_proved_new};
}

bool image_is_named_by_config(const struct image *image)
{
	return span_starts(image->name, "sha256:") && image->name.left == 7 + 64;
}

bool store_is_init(const struct store *st, size_t ns, struct span key)
{
	struct digest id;
	const struct span hex = span_sub(&key, 64);

	return ns != STORE_NONE && span_is(st->namespaces[ns].name, "moby") && !key.bad &&
	       digest_parse_hex(DIGEST_SHA256, hex, &id) == RC_OK && span_is(key, "-init");
}

bool store_is_extract(const struct store *st, size_t ns, struct span key)
{
	const uint8_t *const space = key.left ? memchr(key.at, ' ', key.left) : NULL;
	struct digest d;

	if (!span_starts(key, "extract-") || !space ||
		digest_parse(span_of(space + 1, key.left - (size_t)(space + 1 - key.at)), &d))
		return false;
	const struct namespace *const in = ns == STORE_NONE ? NULL : &st->namespaces[ns];
	return !in || !in->writers || !bsearch(&key, in->writers, in->containers.count, sizeof(key), compare_spans);
}

const char *store_blob_path(const struct digest *d, struct arena *a)
{
	char text[DIGEST_TEXT_BYTES];

	digest_format(d, text);
	return arena_printf(a, STORE_CONTENT_DIR "/blobs/%s/%s", digest_name(d->kind), strchr(text, ':') + 1);
}

bool store_may_be_document(struct span head)
{
	while (head.left && (*head.at == ' ' || *head.at == '\t' || *head.at == '\r' || *head.at == '\n'))
		(void)span_take(&head, 1);
	return head.left && *head.at == '{';
}

static enum rc descend(int *at, const char *path, size_t n, struct err *e)
{
	const char *const end = path + n;

	while (path < end) {
		char part[LIMIT_NAME_BYTES + 1];
		const size_t length = strcspn(path, "/");
		int next = -1;
		if (length >= sizeof(part))
			return fail(e, RC_LIMIT, "name too long");
		memcpy(part, path, length);
		part[length] = 0;
		path += length + 1;
		const enum rc rc = os_open_dir(*at, part, &next, e);
		if (rc)
			return rc;
		os_close(at);
		*at = next;
	}
	return RC_OK;
}

enum rc store_open_below(int dir, const char *path, int *fd, struct err *e)
{
	const char *const last = strrchr(path, '/');
	auto_fd at = -1;
	enum rc rc = os_open_dir(dir, ".", &at, e);

	if (rc == RC_OK && last)
		rc = descend(&at, path, (size_t)(last - path), e);
	return rc ? rc : os_open_file(at, last ? last + 1 : path, fd, e);
}

enum rc store_open_path(const struct store *st, const char *path, int *fd, struct err *e)
{
	static const char overlay[] = STORE_OVERLAY_DIR;
	const size_t n = sizeof(overlay) - 1;
	const bool elsewhere = st->overlay_path && strncmp(path, overlay, n) == 0 && (path[n] == '/' || path[n] == 0);
	auto_fd at = -1;
	enum rc rc = elsewhere && st->overlay.dir < 0 ? RC_END : os_open_dir(elsewhere ? st->overlay.dir : st->dir, ".", &at, e);

	path += elsewhere ? n + (path[n] == '/') : 0;
	if (rc == RC_OK && (rc = descend(&at, path, strlen(path), e)) == RC_OK)
		*fd = take_fd(&at);
	return rc == RC_CORRUPT ? RC_END : rc;
}

enum rc store_open_spare(const struct store *st, size_t spare, int *fd, struct err *e)
{
	const struct spare *const s = &st->spares[spare];
	auto_fd dir = -1;

	if (s->place == SPARE_IN_ARCHIVE)
		return fail(e, RC_STOPPED, "its layer is in an archive: repair takes it out, and compares it");
	const enum rc rc = s->place == SPARE_IN_SOURCE ? os_open_root(s->dir, &dir, e) : store_open_path(st, s->dir, &dir, e);
	return rc ? rc : store_open_below(dir, s->name, fd, e);
}

enum rc store_open_blob(const struct store *st, size_t blob, int *fd, struct err *e)
{
	const struct blob *const b = &st->blob_files[blob];
	const int blobs = st->blob_dirs[b->digest.kind];
	auto_fd dir = -1;
	char text[DIGEST_TEXT_BYTES];
	enum rc rc = RC_OK;

	if (b->spare != STORE_NONE && !b->placed)
		return store_open_spare(st, b->spare, fd, e);
	digest_format(&b->digest, text);
	if (blobs < 0 && (rc = store_open_blob_dir(st, b->digest.kind, &dir, e))) /* it may have been made meanwhile */
		return rc;
	return os_open_file(blobs < 0 ? dir : blobs, strchr(text, ':') + 1, fd, e);
}

size_t *store_add_blobs(struct store *st, const struct blob *at, size_t count)
{
	size_t *const now = arena_array(st->keep, st->blob_count + 1, sizeof(*now));
	struct blob *const all = arena_array(st->keep, st->blob_count + count + 1, sizeof(*all));
	size_t n = 0;

	if (!now || !all)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		char text[DIGEST_TEXT_BYTES];
		digest_format(&at[i].digest, text);
		all[n] = (struct blob){.digest = at[i].digest,
			.text = arena_copy(st->keep, span_of_string(text)),
			.size = at[i].size,
			.mode = 0444,
			.regular = true,
			.spare = at[i].spare};
		if (all[n++].text.bad)
			return NULL;
	}
	for (size_t i = 0; i < st->blob_count; i++)
		all[n++] = st->blob_files[i];
	sort(all, n, sizeof(*all), compare_blobs);
	const struct blob *const old = st->blob_files;
	const size_t old_count = st->blob_count;
	st->blob_files = all;
	st->blob_count = n;
	for (size_t i = 0; i < old_count; i++)
		now[i] = store_find_blob(st, &old[i].digest);
	for (size_t i = 0; i < st->spare_count; i++)
		if (st->spares[i].blob != STORE_NONE)
			st->spares[i].blob = now[st->spares[i].blob];
	link_blobs(st);
	return now;
}

bool store_add_spare(struct store *st, size_t blob)
{
	struct blob *const b = &st->blob_files[blob];
	char text[DIGEST_TEXT_BYTES];
	struct err ignored = {0}; /* that there is no memory is the answer */

	digest_format(&b->digest, text);
	b->spares = (struct range){st->spare_count, 1};
	return add_spare(st, store_blob_dir_path(b->digest.kind), strchr(text, ':') + 1, b->size,
		       (struct place){STORE_NONE, STORE_NONE, blob}, &ignored) == RC_OK;
}

struct spare *store_add_bytes(struct store *st)
{
	struct spare *const fresh = PUSH(st, spares, spare_count);

	if (fresh)
		fresh->ingest = fresh->blob = STORE_NONE;
	return fresh;
}

enum rc store_open_blob_dir(const struct store *st, enum digest_kind kind, int *fd, struct err *e)
{
	if (st->blobs < 0)
		return RC_END;
	const enum rc rc = os_open_dir(st->blobs, digest_name(kind), fd, e);
	return rc == RC_CORRUPT ? RC_END : rc;
}
