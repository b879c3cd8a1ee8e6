/* SPDX-License-Identifier: MIT */
/* Bytes that the store has not, looked for in second places that a person named, by the names of files and of archives' members. What
 * hashes to what is lacking becomes one more of the files whose bytes may be those of a blob: where it lies, if it is only looked at;
 * else a copy of it in the content store, which the rest of a repair puts into place as it would any other. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "check/run.h"
#include "ground/os.h"

/* of a directory's names, with the buffers beside them */
#define LISTED_BYTES (LIMIT_JSON_BYTES + OS_READER_BYTES + ((size_t)16 << 20))

/* lines of one search; of more there is their number */
#define SAID_MOST 20

struct lacking {
	struct digest digest;
	bool found;
	struct span member; /* of the archive that is being read: it hashes to this, whatever it is called */
};

struct asking {
	struct survey_run *r;
	const struct survey_fetch *fetch; /* NULL: it is only looked at */
	struct lacking *all;
	size_t count, left;
	/* the file that is being read */
	const char *place, *name; /* name: below the place, "" for an archive that is one */
	struct tar *tar;          /* of an archive; NULL: it is no archive */
	int fd;                   /* of any other */
	bool unnamed;             /* it has members that are not called after what they hash to */
	enum rc end;              /* how it ended */
	uint8_t *buf, *document;  /* OS_READER_BYTES, LIMIT_JSON_BYTES: what is read, and all of it if it is a document */
	struct arena scratch;
	bool found_any;
	size_t said;
	struct err why;           /* and why */
};

bool lacks_bytes(const struct survey_run *r, const struct want *w)
{
	const size_t blob = store_find_blob(r->st, w->digest);

	/* what could not be read is no damage */
	return w->needed && w->digest->kind == DIGEST_SHA256 && (blob == STORE_NONE || r->s->blobs[blob].verdict == BLOB_IS_BAD);
}

/* now: what is not taken for that; NULL: the file itself is of no use. */
static void say(struct asking *a, const struct lacking *now, const char *why, int error)
{
	char text[LIMIT_PATH_BYTES + 600], digest[DIGEST_TEXT_BYTES] = "";

	if (a->said++ >= SAID_MOST)
		return;
	if (now)
		digest_format(&now->digest, digest);
	(void)print_to(text, sizeof(text), "source %s%s%s: %s%s%s%s%s", a->place, *a->name ? "/" : "", a->name, digest,
		now ? " is not taken: " : "", why, error ? ": " : "", error ? error_text(error) : ""); /* a cut text is still a text */
	a->r->o->say(a->r->o->self, text);
}

/* What is in it is not known, or not taken: the first is told if something is missing for it. */
static void leave(struct asking *a, const char *why, int error)
{
	struct survey_run *const r = a->r;

	r->ask_again = true;
	if (r->left_place)
		return;
	r->left_place = *a->name ? arena_printf(r->keep, "%s/%s", a->place, a->name) : a->place;
	r->left_why = arena_printf(r->keep, "%s%s%s", why, error ? ": " : "", error ? error_text(error) : "");
}

/* What one file of a source came to: what stopped us ends all, the rest is said. */
static enum rc ended(struct asking *a)
{
	const enum rc rc = a->end;

	if (rc == RC_STOPPED)
		*a->r->e = a->why;
	else if (rc && rc != RC_END) {
		if (rc == RC_IO || rc == RC_NOMEM)
			leave(a, a->why.text, a->why.sys_errno);
		say(a, NULL, a->why.rc ? a->why.text : "is no regular file, or behind a link", a->why.sys_errno);
	}
	a->why = (struct err){0};
	return rc == RC_STOPPED ? rc : RC_OK;
}

static enum rc next_piece(struct asking *a, uint64_t off, struct span *piece)
{
	size_t got = 0;
	enum rc rc;

	if (a->tar)
		return tar_data(a->tar, piece, &a->why);
	if ((rc = pace_on(&a->r->alone.pace, OS_READER_BYTES, &a->why)) ||
		(rc = os_read(a->fd, off, a->buf, OS_READER_BYTES, &got, &a->why)))
		return rc;
	*piece = span_of(a->buf, got);
	return got ? RC_OK : RC_END;
}

/* It is as good as any file of the store from here on. copy: its name in the content store; NULL: there is none. */
static enum rc add_found(struct asking *a, struct lacking *l, uint64_t size, bool document, const char *copy)
{
	struct survey_run *const r = a->r;
	const size_t index = r->st->spare_count;
	const enum rc rc = room_for_spares(r, index < r->spare_cap ? 1 : 64);
	struct spare *const spare = rc ? NULL : store_add_bytes(r->finder);

	if (!spare)
		return rc ? rc : no_memory(r->e);
	struct spare_state *const state = &r->s->spares[index];
	*state = (struct spare_state){0};
	spare->dir = copy ? store_blob_dir_path(DIGEST_SHA256) : a->place;
	spare->name = copy ? copy : arena_string(r->keep, span_of_string(a->name));
	spare->from = a->tar && *a->name ? arena_printf(r->keep, "%s/%s", a->place, a->name) : a->place;
	spare->size = size;
	if (!copy)
		spare->place = a->tar ? SPARE_IN_ARCHIVE : SPARE_IN_SOURCE;
	state->verdict = SPARE_IS_READ;
	state->known = 1u << DIGEST_SHA256;
	state->document = document;
	const enum rc parsed = document ? parse_document(r, span_of(a->document, (size_t)size), r->keep, &state->doc) : RC_OK;
	state->too_much = parsed == RC_LIMIT;
	r->found[DIGEST_SHA256][index] = l->digest;
	l->found = a->found_any = true;
	a->left--;
	return parsed == RC_NOMEM || !spare->name || !spare->from ? no_memory(r->e) : RC_OK;
}

/* Where it is no disk's fault, which ends all, it may be taken by the next run. */
static enum rc refused(struct asking *a, const struct lacking *l, enum rc rc, const struct err *why)
{
	if (rc != RC_LIMIT) {
		*a->r->e = *why;
		return rc;
	}
	leave(a, why->text, why->sys_errno);
	say(a, l, why->text, why->sys_errno);
	return RC_OK;
}

/* A file, or a member, that is called after what is lacking. What is returned is ours: it ends all. */
static enum rc take_file(struct asking *a, struct lacking *l, uint64_t size)
{
	const struct survey_fetch *const fetch = a->fetch;
	struct span piece = {0};
	const char *copy = NULL;
	struct digest d;
	struct hash h;
	struct err room = {0};
	uint64_t got = 0;
	bool document = false;
	enum rc rc = RC_OK;

	hash_begin(&h, DIGEST_SHA256);
	if (size > LIMIT_LAYER_BYTES) {
		say(a, l, "it is too large", 0);
		return RC_OK;
	}
	if (fetch && (rc = fetch->begin(fetch->self, size, &room)))
		return refused(a, l, rc, &room);
	while (!rc && got <= size && !(a->end = next_piece(a, got, &piece))) {
		if (!got)
			document = size <= LIMIT_JSON_BYTES &&
				   store_may_be_document(span_of(piece.at, (size_t)min_u64(piece.left, STORE_HEAD_BYTES)));
		if (document && got + piece.left <= size)
			memcpy(a->document + got, piece.at, piece.left);
		got += piece.left;
		a->r->bytes += piece.left;
		hash_add(&h, piece.at, piece.left);
		rc = fetch ? fetch->add(fetch->self, piece, &room) : RC_OK;
	}
	if (rc && rc != RC_LIMIT)
		return refused(a, l, rc, &room);
	hash_end(&h, &d);
	const bool whole = !rc && (a->end == RC_OK || a->end == RC_END), good = whole && got == size && digest_equal(&d, &l->digest);
	if (whole)
		a->end = RC_OK;
	const enum rc closed = fetch ? fetch->end(fetch->self, good ? &d : NULL, &copy, &room) : RC_OK;
	if (closed || rc)
		return refused(a, l, closed ? closed : rc, &room);
	if (whole && !good)
		say(a, l, "these are other bytes", 0);
	return good ? add_found(a, l, size, document, copy) : RC_OK;
}

static struct lacking *find_lacking(const struct asking *a, const struct digest *d)
{
	struct lacking *const l = bsearch(d, a->all, a->count, sizeof(*l), digest_order);

	return l && !l->found ? l : NULL;
}

static bool take_end(struct span *name, const char *end)
{
	const size_t n = strlen(end);

	if (name->left < n || memcmp(name->at + name->left - n, end, n) != 0)
		return false;
	*name = span_of(name->at, name->left - n);
	return true;
}

/* "blobs/sha256/<hex>" and its like; "<hex>.json" and "<hex>.tar" in what docker and podman saved before that. */
static struct lacking *find_member(const struct asking *a, struct span name)
{
	struct digest d;

	if (!take_end(&name, ".json"))
		(void)take_end(&name, ".tar");
	return name.left < 64 || digest_parse_hex(DIGEST_SHA256, span_of(name.at + name.left - 64, 64), &d) ? NULL : find_lacking(a, &d);
}

/* "<a number of docker's>/layer.tar" (moby 24: image/tarexport/save.go). */
static enum rc hash_member(struct asking *a, struct span name)
{
	struct span piece = {0};
	struct digest d;
	struct hash h;

	hash_begin(&h, DIGEST_SHA256);
	while (!(a->end = next_piece(a, 0, &piece)))
		hash_add(&h, piece.at, piece.left);
	if (a->end != RC_END)
		return RC_OK;
	a->end = RC_OK;
	hash_end(&h, &d);
	struct lacking *const l = find_lacking(a, &d);
	if (l && !l->member.left)
		l->member = arena_copy(a->r->keep, name);
	return l && l->member.bad ? no_memory(a->r->e) : RC_OK;
}

enum pass { BY_NAME, HASHED, AS_HASHED, PASSES };

static enum rc take_member(struct asking *a, enum pass pass, const struct tar_entry *entry)
{
	struct span rest = entry->name;
	const bool unnamed = take_end(&rest, "/layer.tar");
	struct lacking *l = pass == BY_NAME ? find_member(a, entry->name) : NULL;

	a->unnamed |= unnamed;
	if (pass == HASHED && unnamed)
		return hash_member(a, entry->name);
	for (size_t i = 0; pass == AS_HASHED && unnamed && !l && i < a->count; i++)
		if (!a->all[i].found && a->all[i].member.left && span_equal(a->all[i].member, entry->name))
			l = &a->all[i];
	return l ? take_file(a, l, entry->size) : RC_OK;
}

static enum rc read_members(struct asking *a, enum pass pass)
{
	const struct feed_options options = {.pace = &a->r->alone.pace, .bytes = &a->r->bytes, .idle = &a->r->idle};
	struct arena scratch = a->scratch;
	struct tar_entry entry = {0};
	struct feed *feed = NULL;
	int fd = os_dup(a->fd); /* one that is none is an error to read */
	enum rc rc = RC_OK;

	if (!(a->end = feed_open(&feed, &fd, LIMIT_LAYER_BYTES, &a->all[0].digest, &options, &scratch, &a->why)))
		a->end = feed_tar(feed, &a->tar, &a->why);
	while (!rc && !a->end && a->left && !(a->end = tar_next(a->tar, &entry, &a->why)))
		if (entry.type == TAR_FILE && entry.stored == entry.size)
			rc = take_member(a, pass, &entry);
	feed_close(feed);
	a->tar = NULL;
	return rc;
}

/* For all that is lacking at once. Members that are not called after their digests are hashed first, and taken the time after. */
static enum rc read_archive(struct asking *a)
{
	enum rc rc = RC_OK;

	a->unnamed = false;
	for (size_t i = 0; i < a->count; i++)
		a->all[i].member = (struct span){0};
	for (enum pass pass = BY_NAME; !rc && a->left && pass < PASSES && (pass == BY_NAME || (a->unnamed && a->end == RC_END)); pass++)
		rc = read_members(a, pass);
	return rc;
}

/* A file that was opened, as a->fd, if a->end is RC_OK. l NULL: it is an archive. */
static enum rc read_file(struct asking *a, struct lacking *l, const char *name)
{
	struct stat st = {0};
	enum rc rc = RC_OK;

	a->name = name;
	if (!a->end && !l)
		rc = read_archive(a);
	else if (!a->end && !(a->end = os_stat_fd(a->fd, &st, &a->why)))
		rc = take_file(a, l, (uint64_t)st.st_size);
	os_close(&a->fd);
	return rc ? rc : ended(a);
}

static enum rc read_directory(struct asking *a, int dir)
{
	/* what is before the digest's digits, one after the other, the last of them nothing */
	static const char below[] = "blobs/sha256/\0" STORE_CONTENT_DIR "/blobs/sha256/\0content/blobs/sha256/\0sha256/\0sha256:\0"
				    "blob/sha256-\0";
	char text[DIGEST_TEXT_BYTES], name[sizeof(STORE_CONTENT_DIR) + DIGEST_TEXT_BYTES + 16];
	struct pace *const pace = &a->r->alone.pace;
	struct arena listed = a->scratch;
	struct os_name *names = NULL;
	size_t count = 0;
	enum rc rc = RC_OK;

	for (size_t i = 0; i < a->count; i++) {
		bool more = true;
		digest_format(&a->all[i].digest, text);
		for (const char *before = below; more && !rc && !a->all[i].found; before += strlen(before) + 1) {
			more = *before;
			(void)print_to(name, sizeof(name), "%s%s", before, strchr(text, ':') + 1); /* fits */
			a->end = store_open_below(dir, name, &a->fd, &a->why);
			rc = read_file(a, &a->all[i], name);
			rc = rc ? rc : pace_on(pace, 4 * PACE_CALL, a->r->e);
		}
	}
	a->name = "";
	if (rc || !a->left)
		return rc;
	arena_bound(&a->scratch, LISTED_BYTES);
	a->end = os_list(dir, &a->scratch, &names, &count, &a->why);
	arena_bound(&a->scratch, LIMIT_ARENA_BYTES);
	rc = ended(a);
	for (size_t i = 0; !rc && a->left && i < count; i++) {
		if (text_find(names[i].name, ".tar") || text_find(names[i].name, ".tgz")) {
			a->end = os_open_file(dir, names[i].name, &a->fd, &a->why);
			rc = read_file(a, NULL, names[i].name);
		}
		rc = rc ? rc : pace_on(pace, PACE_CALL, a->r->e);
	}
	a->scratch = listed;
	return rc;
}

/* Links to a place are whoever's who named it. */
static enum rc read_place(struct asking *a, const char *place)
{
	auto_fd dir = -1;

	a->place = place;
	a->name = "";
	if (!(a->end = os_open_root(place, &dir, &a->why)))
		return read_directory(a, dir);
	if (a->why.sys_errno == ENOTDIR) {
		a->why = (struct err){0};
		a->end = os_open_file(-1, place, &a->fd, &a->why);
	}
	if (a->end == RC_END)
		say(a, NULL, "is not there", 0);
	return read_file(a, NULL, "");
}

/* What is lacking, each once, and what that hashes to. */
static uint64_t list_lacking(struct asking *a)
{
	struct survey *const s = a->r->s;

	for (size_t i = 0; i < s->want_count; i++) {
		struct want *const w = &s->wants[i];
		if (!lacks_bytes(a->r, w) || spare_of(a->r, w->digest) != STORE_NONE)
			continue;
		w->seen = false;
		if (!a->count || !digest_equal(&a->all[a->count - 1].digest, w->digest))
			a->all[a->count++].digest = *w->digest;
	}
	a->left = a->count;
	return fnv1a(a->all, a->count * sizeof(*a->all));
}

enum rc ask_sources(struct survey_run *r)
{
	struct asking a = {.r = r, .fetch = r->o->fetch, .fd = -1};
	enum rc rc = RC_OK;

	if (!r->o->source_count)
		return RC_OK;
	if (arena_open(&a.scratch, r->e))
		return no_memory(r->e);
	a.all = arena_array(&a.scratch, r->s->want_count + 1, sizeof(*a.all));
	a.document = arena_get(&a.scratch, LIMIT_JSON_BYTES); /* which is no memory before it is used */
	a.buf = arena_get(&a.scratch, OS_READER_BYTES);
	if (!a.all || !a.document || !a.buf)
		rc = no_memory(r->e);
	const uint64_t sum = rc ? 0 : list_lacking(&a);
	if (a.count && sum != r->asked_for) {
		r->asked_for = sum;
		r->ask_again = false;
		r->left_place = NULL;
		r->what = "reading sources";
		for (size_t i = 0; rc == RC_OK && a.left && i < r->o->source_count; i++) {
			tell_progress(r);
			rc = read_place(&a, r->o->sources[i]);
		}
		/* what they have not they are not asked for again */
		size_t left = 0;
		for (size_t i = 0; i < a.count; i++)
			if (!a.all[i].found)
				a.all[left++] = (struct lacking){.digest = a.all[i].digest};
		r->asked_for = fnv1a(a.all, left * sizeof(*a.all));
	}
	arena_close(&a.scratch);
	if (a.said > SAID_MOST) {
		char text[64];
		(void)print_to(text, sizeof(text), "sources: %zu more are not taken", a.said - SAID_MOST); /* fits */
		r->o->say(r->o->self, text);
	}
	if (rc == RC_STOPPED) { /* what was not asked for may be there */
		*r->e = (struct err){0};
		leave(&a, "there was no time to look there", 0);
		rc = RC_OK;
	}
	return rc || !a.found_any ? rc : hash_spares(r, DIGEST_SHA256);
}
