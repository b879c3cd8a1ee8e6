/* SPDX-License-Identifier: MIT */
/* The names in blobs/, ingest/ and the small state directories. */
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "ground/os.h"
#include "store/loading.h"

/* bytes; a file that holds one short text: an ingest's ref or total, the uuid, a CRI status, our boot record */
#define SMALL_FILE_BYTES ((size_t)64 << 10)

enum rc is_empty_dir(int dir, const char *name, struct arena scratch, struct err *e)
{
	auto_fd fd = -1;
	size_t count = 0;
	enum rc rc = os_open_dir(dir, name, &fd, e);

	if (rc == RC_OK)
		rc = os_list(fd, &scratch, NULL, &count, e);
	return rc == RC_CORRUPT || (rc == RC_OK && count) ? RC_END : rc;
}

enum rc holds_nothing(int snapshots, const char *id, struct arena scratch, struct err *e)
{
	auto_fd dir = -1;
	struct stat fs = {0};
	enum rc rc = os_open_dir(snapshots, id, &dir, e);

	if (rc)
		return rc == RC_CORRUPT ? RC_END : rc;
	if ((rc = os_stat(dir, "fs", &fs, e)))
		return rc == RC_END ? RC_OK : rc;
	return is_empty_dir(dir, "fs", scratch, e);
}

static enum rc add_state_file(struct store *st, const char *dir, const char *name, enum state_kind kind, size_t container,
	const char *why, struct err *e)
{
	struct state_file *const f = PUSH(st, state_files, state_file_count);

	if (!f)
		return no_memory(e);
	*f = (struct state_file){dir, name, kind, container, why};
	return RC_OK;
}

enum rc note_unseen(struct store *st, const char *dir, const char *name, enum rc rc, const struct err *why, struct err *e)
{
	if (rc == RC_NOMEM)
		return no_memory(e);
	return rc == RC_OK || rc == RC_END || rc == RC_CORRUPT
		       ? RC_OK
		       : add_state_file(st, dir, name, STATE_UNREADABLE, STORE_NONE,
				 why->sys_errno ? error_text(why->sys_errno) : "it is too big to check", e);
}

#define NO_PLACE ((struct place){STORE_NONE, STORE_NONE, STORE_NONE})

enum rc add_spare(struct store *st, const char *dir, const char *name, uint64_t size, struct place of, struct err *e)
{
	struct spare *const s = PUSH(st, spares, spare_count);
	/* the name that nearly all of them have */
	const char *const kept = strcmp(name, "data") == 0 ? "data" : arena_string(st->keep, span_of_string(name));

	if (!s || !kept)
		return no_memory(e);
	*s = (struct spare){.dir = dir, .name = kept, .size = size, .ingest = of.ingest, .blob = of.blob};
	return RC_OK;
}

struct unlisted {
	const char *path; /* relative to the root */
	unsigned depth;
};

/* No bytes are known to be in it, nor that none are. */
static void note_unseen_bytes(struct store *st, const char *dir, const char *name, const struct err *why)
{
	if (st->unseen_path)
		return;
	st->unseen_path = arena_printf(st->keep, "%s/%s", dir, name);
	if (!st->unseen_path)
		st->unseen_path = STORE_CONTENT_DIR;
	st->unseen_errno = why->sys_errno ? why->sys_errno : EIO;
}

/* What is not there, or no directory, has nothing in it. */
static bool list_place(struct store *st, const char *path, int *dir, struct os_name **names, size_t *count, struct arena *a)
{
	struct err why = {0};
	enum rc rc = store_open_path(st, path, dir, &why);

	if (rc == RC_OK)
		rc = os_list(*dir, a, names, count, &why);
	if (rc && rc != RC_END && rc != RC_CORRUPT)
		note_unseen_bytes(st, path, ".", &why);
	return rc == RC_OK;
}

static enum rc list_spares(struct store *st, struct unlisted at, struct place of, struct arena *todo, void **array, size_t *count,
	struct arena scratch, struct err *e)
{
	struct os_name *names = NULL;
	size_t name_count = 0;
	struct err why = {0}; /* what cannot be looked at is noted, and no reason to end */
	auto_fd dir = -1;
	enum rc rc = RC_OK;

	if (!list_place(st, at.path, &dir, &names, &name_count, &scratch))
		return RC_OK;
	for (size_t i = 0; rc == RC_OK && i < name_count; i++) {
		struct stat found = {0};
		if ((rc = go_on(st, e)))
			return rc;
		const enum rc seen = os_stat(dir, names[i].name, &found, &why);
		if (seen && seen != RC_END)
			note_unseen_bytes(st, at.path, names[i].name, &why);
		if (seen)
			continue;
		if (S_ISREG(found.st_mode)) {
			rc = add_spare(st, at.path, names[i].name, (uint64_t)found.st_size, of, e);
		} else if (S_ISDIR(found.st_mode) && at.depth < LIMIT_STRAY_DEPTH) {
			struct unlisted *const next = arena_push(todo, array, count, sizeof(*next));
			char *const path = arena_printf(st->keep, "%s/%s", at.path, names[i].name);
			if (!next || !path)
				return no_memory(e);
			*next = (struct unlisted){path, at.depth + 1};
		}
	}
	return rc;
}

/* The files in a directory that is no place of containerd's, and in those below it. */
static enum rc add_spares_below(
	struct store *st, const char *dir, const char *name, struct place of, struct arena scratch, struct err *e)
{
	struct arena todo;
	void *array = NULL;
	size_t count = 0;
	enum rc rc = arena_open(&todo, e);

	if (rc)
		return rc;
	struct unlisted *const first = arena_push(&todo, &array, &count, sizeof(*first));
	char *const path = arena_printf(st->keep, "%s/%s", dir, name);
	if (!first || !path)
		rc = no_memory(e);
	else
		*first = (struct unlisted){path, 1};
	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		const struct unlisted at = ((const struct unlisted *)array)[i];
		rc = list_spares(st, at, of, &todo, &array, &count, scratch, e);
	}
	arena_close(&todo);
	return rc;
}

/* A name where containerd puts no such thing. */
static enum rc add_foreign(struct store *st, const char *dir, const char *name, const struct stat *found, struct place of,
	struct arena scratch, struct err *e)
{
	return S_ISREG(found->st_mode)	 ? add_spare(st, dir, name, (uint64_t)found->st_size, of, e)
	       : S_ISDIR(found->st_mode) ? add_spares_below(st, dir, name, of, scratch, e)
					 : RC_OK;
}

enum rc add_foreigners(
	struct store *st, const char *path, const char (*known)[16], struct arena scratch, struct err *e)
{
	struct os_name *names = NULL;
	size_t count = 0;
	struct err why = {0}; /* as in list_spares */
	auto_fd dir = -1;
	enum rc rc = RC_OK;

	if (!list_place(st, path, &dir, &names, &count, &scratch))
		return RC_OK;
	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		struct stat found = {0};
		size_t k = 0;
		if ((rc = go_on(st, e)))
			return rc;
		while (*known[k] && strcmp(known[k], names[i].name) != 0)
			k++;
		const enum rc seen = *known[k] ? RC_END : os_stat(dir, names[i].name, &found, &why);
		if (seen == RC_OK)
			rc = add_foreign(st, path, names[i].name, &found, NO_PLACE, scratch, e);
		else if (seen != RC_END)
			note_unseen_bytes(st, path, names[i].name, &why);
	}
	return rc;
}

static enum rc blob_room(struct store *st, size_t more, struct err *e)
{
	struct blob *const moved = more ? arena_array(st->keep, st->blob_count + more, sizeof(*moved)) : st->blob_files;

	if (more && !moved)
		return no_memory(e);
	if (more && st->blob_count)
		memcpy(moved, st->blob_files, st->blob_count * sizeof(*moved));
	st->blob_files = moved;
	return RC_OK;
}

const char *store_blob_dir_path(enum digest_kind kind)
{
	static const char paths[DIGEST_KINDS][48] = {[DIGEST_SHA256] = STORE_CONTENT_DIR "/blobs/sha256",
		[DIGEST_SHA384] = STORE_CONTENT_DIR "/blobs/sha384",
		[DIGEST_SHA512] = STORE_CONTENT_DIR "/blobs/sha512"};

	return paths[kind];
}

enum rc read_blobs(struct store *st, struct arena scratch, struct err *e)
{
	for (int kind = 0; st->blobs >= 0 && kind < DIGEST_KINDS; kind++) {
		struct os_name *names = NULL;
		size_t count = 0;
		struct arena local = scratch;
		const char *const path = store_blob_dir_path((enum digest_kind)kind);
		enum rc rc = store_open_blob_dir(st, (enum digest_kind)kind, &st->blob_dirs[kind], e);
		const int dir = st->blob_dirs[kind];
		if (rc == RC_END)
			continue;
		if (rc || (rc = os_list(dir, &local, &names, &count, e)))
			return rc;
		if ((rc = blob_room(st, count, e)))
			return rc;
		for (size_t i = 0; i < count; i++) {
			struct digest d;
			struct stat found = {0};
			char text[DIGEST_TEXT_BYTES];
			struct err why = {0};
			if ((rc = go_on(st, e)))
				return rc;
			rc = os_stat(dir, names[i].name, &found, &why);
			if (rc && rc != RC_END) /* twice: records that are made again without it are made once */
				rc = os_stat(dir, names[i].name, &found, &why);
			if (rc == RC_END)
				continue;
			if (digest_parse_hex((enum digest_kind)kind, span_of_string(names[i].name), &d)) {
				if (rc) {
					note_unseen_bytes(st, path, names[i].name, &why);
					continue;
				}
				const struct place at = {STORE_NONE, st->stray_count, STORE_NONE};
				const size_t first = st->spare_count;
				if ((rc = add_stray(st, path, names[i].name, STRAY_BLOB_NAME, S_ISDIR(found.st_mode), false, e)) ||
					(rc = add_foreign(st, path, names[i].name, &found, at, local, e)))
					return rc;
				st->strays[at.stray].spares = (struct range){first, st->spare_count - first};
				continue;
			}
			struct blob *const b = &st->blob_files[st->blob_count++];
			digest_format(&d, text);
			*b = (struct blob){.digest = d,
				.text = arena_copy(st->keep, span_of_string(text)),
				.size = (uint64_t)found.st_size,
				.inode = found.st_ino,
				.ctime_ns = os_ctime_ns(&found),
				.mode = found.st_mode & 07777,
				.regular = S_ISREG(found.st_mode),
				.sparse = (uint64_t)found.st_blocks * 512 < (uint64_t)found.st_size / 2,
				.unreadable = rc ? why.sys_errno : S_ISLNK(found.st_mode) ? ELOOP : 0,
				.spare = STORE_NONE};
			if (b->text.bad)
				return no_memory(e);
			if (!S_ISDIR(found.st_mode))
				continue;
			const size_t first = st->spare_count;
			rc = add_spares_below(st, path, names[i].name,
				(struct place){STORE_NONE, STORE_NONE, st->blob_count - 1}, local, e);
			if (rc)
				return rc;
			b->spares = (struct range){first, st->spare_count - first};
		}
	}
	return RC_OK;
}

/* The tail after the last '@' or '-' (containerd 2.3: core/remotes/handlers.go). */
bool store_digest_of_ref(struct span ref, struct digest *d)
{
	size_t at = ref.left;

	while (at > 0 && ref.at[at - 1] != '@' && ref.at[at - 1] != '-')
		at--;
	return at > 0 && digest_parse(span_of(ref.at + at, ref.left - at), d) == RC_OK;
}

static void split_ref(struct ingest *in, struct arena *a)
{
	uint64_t number = 0; /* of no use */

	if (!store_split_key(in->ref, &in->ns_name, &number, &in->client_ref))
		return;
	struct digest expected;
	struct digest *const kept = store_digest_of_ref(in->client_ref, &expected) ? arena_get(a, sizeof(*kept)) : NULL;
	if (kept) /* one for which there is no memory ends the reading: see load */
		*kept = expected;
	in->expected = kept;
}

static const char ingest_path[] = STORE_CONTENT_DIR "/ingest";

/* What is there to be read of a download: there may be very many, and each question is a call. */
struct small_files {
	bool ref, total;
};

/* All files of a download, whose path outlives the store: what is called data is not the only one that may be one. */
static enum rc add_ingest_files(
	struct store *st, int dir, const char *path, struct small_files *files, struct arena scratch, struct err *e)
{
	const struct place at = {st->ingest_count - 1, STORE_NONE, STORE_NONE};
	struct ingest *const in = &st->ingests[st->ingest_count - 1];
	struct os_name *names = NULL;
	size_t count = 0;
	struct err why = {0};
	enum rc rc = os_list(dir, &scratch, &names, &count, e);

	if (rc == RC_IO)
		note_unseen_bytes(st, path, ".", e);
	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		struct stat found = {0};
		files->ref |= strcmp(names[i].name, "ref") == 0;
		files->total |= strcmp(names[i].name, "total") == 0;
		if ((rc = go_on(st, e)))
			return rc;
		const enum rc seen = os_stat(dir, names[i].name, &found, &why);
		if (seen && seen != RC_END) {
			note_unseen_bytes(st, path, names[i].name, &why);
			in->unreadable = why.sys_errno ? why.sys_errno : EIO;
		}
		if (seen)
			continue;
		if (S_ISREG(found.st_mode) && strcmp(names[i].name, "data") == 0) {
			in->spare = st->spare_count;
			in->has_data = true;
			in->data_size = (uint64_t)found.st_size;
		}
		rc = add_foreign(st, path, names[i].name, &found, at, scratch, e);
	}
	return rc;
}

const char *name_of_ref(struct span ref, char text[DIGEST_TEXT_BYTES])
{
	struct digest d;
	struct hash h;

	hash_begin(&h, DIGEST_SHA256);
	hash_add(&h, ref.at, ref.left);
	hash_end(&h, &d);
	digest_format(&d, text);
	return text + sizeof("sha256:") - 1;
}

bool store_ref_fits(struct span ref, const char *name)
{
	char text[DIGEST_TEXT_BYTES];

	return ref.left && strcmp(name_of_ref(ref, text), name) == 0;
}

static enum rc read_ingest(struct store *st, const char *path, struct ingest *in, struct arena scratch, struct err *e)
{
	const char *const name = path + sizeof(ingest_path);
	struct small_files files = {0};
	auto_fd dir = -1;
	struct stat found = {0};
	struct span text = {0};
	enum rc rc = os_open_dir(st->ingest_dir, name, &dir, e);

	if (rc == RC_CORRUPT || rc == RC_END) {
		rc = os_stat(st->ingest_dir, name, &found, e);
		if (rc && rc != RC_END)
			note_unseen_bytes(st, ingest_path, name, e);
		if (rc || !S_ISREG(found.st_mode))
			return rc == RC_END ? RC_OK : rc;
		return add_spare(st, ingest_path, name, (uint64_t)found.st_size,
			(struct place){st->ingest_count - 1, STORE_NONE, STORE_NONE}, e);
	}
	if (rc) {
		if (rc == RC_IO)
			note_unseen_bytes(st, ingest_path, name, e);
		return rc;
	}
	in->is_directory = true;
	/* what it is for may be unknown; what is in it is looked at all the same */
	if ((rc = add_ingest_files(st, dir, path, &files, scratch, e)))
		return rc;
	rc = files.ref ? os_read_small(dir, "ref", SMALL_FILE_BYTES, st->keep, &in->ref, e) : RC_END;
	if (rc == RC_LIMIT) { /* longer than we read: not the same as none */
		errno = EFBIG;
		return fail(e, RC_IO, "ingest/%s: ref is too long", name);
	}
	if (rc == RC_IO || rc == RC_NOMEM)
		return rc;
	if (in->ref.left) {
		in->ref_fits = store_ref_fits(in->ref, name);
		if (in->ref_fits)
			split_ref(in, st->keep);
	}
	rc = files.total ? os_read_small(dir, "total", SMALL_FILE_BYTES, st->keep, &text, e) : RC_END;
	if (rc == RC_IO || rc == RC_NOMEM)
		return rc;
	if (rc || parse_decimal(text, &in->total))
		in->total = 0; /* unknown, as containerd takes it */
	return RC_OK;
}

enum rc read_ingests(struct store *st, struct arena scratch, struct err *e)
{
	struct os_name *names = NULL;
	size_t count = 0;
	enum rc rc = st->ingest_dir < 0 ? RC_OK : os_list(st->ingest_dir, &scratch, &names, &count, e);

	st->ingests = arena_array(st->keep, count + 1, sizeof(*st->ingests));
	if (!st->ingests)
		return rc ? rc : no_memory(e);
	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		struct ingest *const in = &st->ingests[st->ingest_count++];
		char *const path = arena_printf(st->keep, "%s/%s", ingest_path, names[i].name);
		if (!path)
			return no_memory(e);
		in->name = span_of_string(path + sizeof(ingest_path));
		in->record = in->spare = STORE_NONE;
		struct err why = {0};
		if ((rc = go_on(st, e)))
			return rc;
		in->spares.first = st->spare_count;
		rc = read_ingest(st, path, in, scratch, &why);
		in->spares.count = st->spare_count - in->spares.first;
		if (rc == RC_IO) {
			in->unreadable = why.sys_errno ? why.sys_errno : EIO;
			rc = RC_OK;
		} else if (rc) {
			*e = why;
		}
	}
	return rc;
}

int compare_blobs(const void *a, const void *b)
{
	return digest_compare(&((const struct blob *)a)->digest, &((const struct blob *)b)->digest);
}

/* A download's directory, among what a repair was removing: a layer's files are there as well, by the million. */
static bool looks_like_download(int staging, const char *name)
{
	static const char files[][12] = {"data", "ref", "startedat", "updatedat", "total"};
	struct err ignored = {0}; /* what cannot be looked at may be one */
	struct stat found = {0};
	auto_fd dir = -1;
	bool yes = false;
	enum rc rc = os_open_dir(staging, name, &dir, &ignored);

	if (rc)
		return rc != RC_END && rc != RC_CORRUPT;
	for (size_t i = 0; !yes && i < sizeof(files) / sizeof(files[0]); i++) {
		rc = os_stat(dir, files[i], &found, &ignored);
		yes = rc == RC_OK ? S_ISREG(found.st_mode) : rc != RC_END;
	}
	return yes;
}

bool store_is_intent(const char *name)
{
	return strncmp(name, STORE_INTENT, sizeof(STORE_INTENT) - 1) == 0;
}

/* What repairs of ours took out of the content store, and is still there. path: staging, or aside. */
static enum rc read_own_place(struct store *st, const char *path, enum spare_place place, struct arena scratch, struct err *e)
{
	struct os_name *names = NULL;
	size_t count = 0;
	struct err why = {0}; /* as in list_spares */
	auto_fd dir = -1;
	const size_t before = st->spare_count;
	enum rc rc = RC_OK;

	if (!list_place(st, path, &dir, &names, &count, &scratch))
		return RC_OK;
	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		const char *const what = strchr(names[i].name, '-');
		struct stat found = {0};
		if ((rc = go_on(st, e)))
			return rc;
		const enum rc seen = os_stat(dir, names[i].name, &found, &why);
		if (seen && seen != RC_END)
			note_unseen_bytes(st, path, names[i].name, &why);
		if (seen || (place == SPARE_IN_STAGING && store_is_intent(names[i].name) && !found.st_size))
			continue; /* an intent is a name, without bytes */
		if (S_ISREG(found.st_mode) ||
			(place == SPARE_IN_STAGING ? looks_like_download(dir, names[i].name)
						   : what && strncmp(what, "-snapshot-", 10) != 0 &&
							     strncmp(names[i].name, "snapshot-", 9) != 0))
			rc = add_foreign(st, path, names[i].name, &found, NO_PLACE, scratch, e);
	}
	for (size_t i = before; i < st->spare_count; i++)
		st->spares[i].place = place;
	return rc;
}

enum rc read_own(struct store *st, const char *path, struct arena scratch, struct err *e)
{
	struct os_name *names = NULL;
	size_t count = 0;
	auto_fd dir = -1;
	enum rc rc = RC_OK;

	if (!list_place(st, path, &dir, &names, &count, &scratch))
		return RC_OK;
	for (size_t i = 0; rc == RC_OK && i < count; i++) {
		const bool staging = strncmp(names[i].name, "staging", 7) == 0;
		if (!staging && strncmp(names[i].name, "aside", 5) != 0)
			continue;
		char *const place = arena_printf(st->keep, "%s/%s", path, names[i].name);
		rc = place ? read_own_place(st, place, staging ? SPARE_IN_STAGING : SPARE_IN_ASIDE, scratch, e) : no_memory(e);
	}
	return rc;
}

static bool all_zero(struct span s)
{
	for (size_t i = 0; i < s.left; i++)
		if (s.at[i])
			return false;
	return true;
}

void number_cri(struct store *st)
{
	for (size_t i = 0; i < st->cri_count && st->cri[i].kind != CRI_STORED; i++) {
		const struct container *const c = &st->containers[st->cri[i].container];
		const size_t own = span_is(c->snapshotter, "overlayfs") ? store_find_snapshot(st, c->ns, c->snapshot_key) : STORE_NONE;
		if (own != STORE_NONE && st->snapshots[own].backend != STORE_NONE)
			st->cri[i].made = st->backends[st->snapshots[own].backend].id;
	}
}

/* What the attempt to open it means for containerd, which would follow a link. */
static enum cri_directory seen_as(int containers, const char *id, enum rc opened)
{
	struct stat found = {0};
	struct err ignored = {0};

	if (opened == RC_CORRUPT && os_stat(containers, id, &found, &ignored) == RC_OK && !S_ISLNK(found.st_mode))
		return CRI_DIR_GONE;
	return opened == RC_OK ? CRI_DIR_THERE : opened == RC_END ? CRI_DIR_GONE : CRI_DIR_UNKNOWN;
}

enum rc read_state_files(struct store *st, struct arena scratch, struct err *e)
{
	auto_fd introspection = -1, cri = -1, containers = -1;
	size_t known = 0;
	struct span text = {0};
	struct err unseen = {0};
	enum rc rc = os_open_dir(st->dir, STORE_INTROSPECTION_DIR, &introspection, &unseen);

	if (rc) {
		rc = note_unseen(st, STORE_INTROSPECTION_DIR, "uuid", rc, &unseen, e);
	} else {
		struct err why = {0};
		rc = os_read_small(introspection, "uuid", SMALL_FILE_BYTES, &scratch, &text, &why);
		/* any other text may be a form of UUID that Go reads */
		if (rc == RC_OK && (text.left == 0 || memchr(text.at, 0, text.left)))
			rc = add_state_file(st, STORE_INTROSPECTION_DIR, "uuid", STATE_UUID, STORE_NONE,
				text.left ? "holds zero bytes" : "is empty", e);
		else if (rc == RC_IO)
			rc = add_state_file(st, STORE_INTROSPECTION_DIR, "uuid", STATE_UNREADABLE, STORE_NONE,
				error_text(why.sys_errno), e);
	}
	if (rc == RC_NOMEM)
		return rc;
	const size_t ns = store_find_namespace(st, span_of_string(STORE_KUBERNETES));
	if (ns == STORE_NONE)
		return RC_OK;
	unseen = (struct err){0};
	if ((rc = os_open_dir(st->dir, STORE_CRI_DIR, &cri, &unseen)) || (rc = os_open_dir(cri, "containers", &containers, &unseen)))
		return note_unseen(st, STORE_CRI_DIR, "containers", rc, &unseen, e); /* not there: no CRI here */
	const struct range r = st->namespaces[ns].containers;
	for (size_t i = r.first; i < r.first + r.count; i++) {
		auto_fd dir = -1;
		struct arena local = scratch;
		if ((rc = go_on(st, e)))
			return rc;
		if (!name_ok(st->containers[i].id))
			continue;
		const char *const id = arena_string(st->keep, st->containers[i].id);
		if (!id)
			return no_memory(e);
		unseen = (struct err){0};
		rc = os_open_dir(containers, id, &dir, &unseen);
		while (known < st->cri_count && st->cri[known].kind != CRI_STORED && st->cri[known].container < i)
			known++;
		if (known < st->cri_count && st->cri[known].container == i)
			st->cri[known].directory = seen_as(containers, id, rc);
		if (rc) {
			/* not there: a sandbox, or a container that CRI does not know, or cannot load: no file of it can be made up */
			if ((rc = note_unseen(st, STORE_CRI_DIR "/containers", id, rc, &unseen, e)))
				return rc;
			continue;
		}
		struct err why = {0};
		text = (struct span){0};
		rc = os_read_small(dir, "status", SMALL_FILE_BYTES, &local, &text, &why);
		if (rc == RC_NOMEM)
			return no_memory(e);
		if (rc == RC_IO || rc == RC_END || (rc == RC_OK && all_zero(text))) {
			const char *const path = arena_printf(st->keep, STORE_CRI_DIR "/containers/%s", id);
			if (!path)
				return no_memory(e);
			rc = add_state_file(st, path, "status", rc == RC_IO ? STATE_UNREADABLE : STATE_CRI_STATUS, i,
				rc == RC_IO    ? error_text(why.sys_errno)
				: rc == RC_END ? "is missing"
				: text.left    ? "holds only zero bytes"
					       : "is empty",
				e);
			if (rc)
				return rc;
		}
	}
	return RC_OK;
}
