/* SPDX-License-Identifier: MIT */
/* A layer read by one thread, and decompressed by another: the same to the byte, whatever ends it. */
#include "layer/feed.h"

#include "store/store.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

#include "ground/os.h"
#include "tar_file.h"
#include "test.h"

#define MIB ((size_t)1 << 20)
#define MEMBERS 40
#define MEMBER_BYTES (400000u)

static char place[3000];
static uint8_t *data[MEMBERS];
static struct archive archive;
static struct digest diff_id;

static const struct {
	const char *command;
	bool helped; /* worth a second thread */
} kinds[] = {{"gzip -1", true}, {"zstd -q -1", true}, {"zstd -q -3 --long=27", true}, {"cat", false}};
#define KINDS (sizeof(kinds) / sizeof(*kinds))

static struct blob blobs[2 * KINDS]; /* whole, and with a byte that is another */
static struct store st = {.blob_files = blobs, .blob_count = 2 * KINDS, .blob_dirs = {-1, -1, -1}};

static struct digest digest_of_file(const char *path, uint64_t *size)
{
	FILE *const f = fopen(path, "r");
	static uint8_t piece[1 << 16];
	struct digest d;
	struct hash h;

	*size = 0;
	hash_begin(&h, DIGEST_SHA256);
	for (size_t n; (n = fread(piece, 1, sizeof(piece), f)) != 0; *size += n)
		hash_add(&h, piece, n);
	CHECK(fclose(f) == 0);
	hash_end(&h, &d);
	return d;
}

static void make(const char *self)
{
	static char line[4 * sizeof(place)], path[2 * sizeof(place)];
	uint64_t seed = 1;
	struct hash h;

	(void)snprintf(place, sizeof(place), "%s.place", self);
	(void)snprintf(line, sizeof(line), "rm -rf '%s' && mkdir -p '%s/blobs/sha256'", place, place);
	CHECK(system(line) == 0);
	for (unsigned i = 0; i < MEMBERS; i++) {
		char name[32];
		data[i] = malloc(MEMBER_BYTES);
		for (size_t k = 0; k < MEMBER_BYTES; k++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			data[i][k] = (uint8_t)(i % 3 ? seed >> 56 : 'a' + (seed >> 60));
		}
		(void)snprintf(name, sizeof(name), "f%u", i);
		archive_member(&archive, (struct member){.name = name, .data = data[i], .size = MEMBER_BYTES});
	}
	archive_end(&archive);
	hash_begin(&h, DIGEST_SHA256);
	hash_add(&h, archive.at, archive.n);
	hash_end(&h, &diff_id);
	(void)snprintf(path, sizeof(path), "%s/tar", place);
	FILE *const f = fopen(path, "w");
	CHECK(fwrite(archive.at, 1, archive.n, f) == archive.n && fclose(f) == 0);
	for (size_t i = 0; i < 2 * KINDS; i++) {
		char text[DIGEST_TEXT_BYTES];
		uint64_t size = 0;
		(void)snprintf(line, sizeof(line), "%s <'%s/tar' >'%s/new'", kinds[i / 2].command, place, place);
		CHECK(system(line) == 0);
		(void)snprintf(path, sizeof(path), "%s/new", place);
		blobs[i] = (struct blob){.digest = digest_of_file(path, &size), .spare = STORE_NONE};
		blobs[i].size = size;
		blobs[i].digest.bytes[31] ^= (uint8_t)(i % 2); /* a name of its own */
		if (i % 2) {
			const int fd = open(path, O_RDWR | O_CLOEXEC);
			CHECK(fd >= 0 && pwrite(fd, "damaged!", 8, (off_t)(size / 2)) == 8 && close(fd) == 0);
		}
		digest_format(&blobs[i].digest, text);
		(void)snprintf(line, sizeof(line), "mv '%s' '%s/blobs/sha256/%s'", path, place, text + 7);
		CHECK(system(line) == 0);
	}
	(void)snprintf(path, sizeof(path), "%s/blobs", place);
	st.blobs = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(st.blobs >= 0);
}

struct way {
	unsigned entries;   /* to look at before the end */
	bool finish, want;
	unsigned stop_at;   /* entries after which it is stopped; 0: never */
	bool helped;        /* out: the idle processor was taken */
	bool read_on;       /* out: tar had no complaint */
	enum rc rc;         /* out, of feed_finish */
	struct feed_result result;
};

static enum rc ask(void *self, struct err *e)
{
	return *(const atomic_bool *)self ? fail(e, RC_STOPPED, "stopped") : RC_OK;
}

static void go(size_t blob, struct way *w, atomic_int *idle)
{
	atomic_bool stop = false;
	const struct pace pace = {.ask = ask, .self = &stop};
	atomic_uint_least64_t bytes = 0;
	const struct feed_options options = {.hash_content = true, .pace = &pace, .bytes = &bytes, .idle = idle};
	struct arena memory = {0};
	struct err e = {0};
	struct feed *f = NULL;
	struct tar *t = NULL;
	struct tar_entry entry;
	struct span piece;
	enum rc rc = RC_OK;

	w->read_on = true;
	CHECK(arena_open(&memory, &e) == RC_OK);
	int fd = -1;
	CHECK(store_open_blob(&st, blob, &fd, &e) == RC_OK);
	CHECK(feed_open(&f, &fd, blobs[blob].size, &blobs[blob].digest, &options, &memory, &e) == RC_OK && fd == -1);
	CHECK(feed_tar(f, &t, &e) == RC_OK);
	for (unsigned i = 0; i < w->entries && rc == RC_OK; i++) {
		const struct arena mark = memory; /* as a layer's does */
		size_t at = 0;
		stop = w->stop_at && i >= w->stop_at;
		rc = tar_next(t, &entry, &e);
		while (rc == RC_OK && (rc = tar_data(t, &piece, &e)) == RC_OK) {
			CHECK(blob % 2 || (at + piece.left <= MEMBER_BYTES && memcmp(data[i] + at, piece.at, piece.left) == 0));
			at += piece.left;
			w->helped |= idle && *idle <= 0;
		}
		CHECK(blob % 2 || stop || (rc == RC_END && at == MEMBER_BYTES));
		w->read_on = rc == RC_END;
		rc = rc == RC_END ? RC_OK : rc;
		CHECK(arena_get(&memory, MIB) != NULL);
		memset(arena_get(&memory, MIB), 0xff, MIB);
		memory = mark;
	}
	e = (struct err){0};
	if (w->finish)
		w->rc = feed_finish(f, w->want, &w->result, &e);
	CHECK(!w->finish || w->rc == (w->stop_at ? RC_STOPPED : RC_OK)); /* there is more than PACE_WORK after it */
	CHECK(!w->stop_at || strcmp(e.text, "stopped") == 0);
	CHECK(!w->finish || w->rc || bytes == blobs[blob].size);
	feed_close(f);
	arena_close(&memory);
}

static void whole(size_t blob, const struct way *w)
{
	CHECK(w->result.blob_good == (blob % 2 == 0));
	if (!w->want)
		return;
	CHECK(w->result.content_known || blob % 2);
	if (w->result.content_known)
		CHECK(digest_equal(&w->result.content, &diff_id) == (blob % 2 == 0) && w->result.content_bytes == archive.n);
}

static void alone_and_helped(void)
{
	for (size_t blob = 0; blob < 2 * KINDS; blob++)
		for (unsigned entries = 0; entries <= MEMBERS; entries += entries == 3 ? MEMBERS - 3 : 3)
			for (unsigned want = 0; want < 2; want++) {
				atomic_int idle = 1, none = 0;
				struct way with = {.entries = entries, .finish = true, .want = want}, without = with, never = with;
				go(blob, &with, &idle);
				go(blob, &without, &none);
				go(blob, &never, NULL);
				whole(blob, &with);
				whole(blob, &without);
				whole(blob, &never);
				CHECK(idle == 1 && none == 0 && !never.helped);
				CHECK(with.helped == (kinds[blob / 2].helped && entries));
				CHECK(with.read_on == without.read_on && with.result.content_known == without.result.content_known);
				CHECK(with.result.content_bytes == without.result.content_bytes);
			}
}

static void closed_in_the_middle(void)
{
	for (unsigned round = 0; round < 20; round++)
		for (size_t blob = 0; blob < 2 * KINDS; blob += 2) {
			atomic_int idle = 1;
			struct way w = {.entries = 1 + round % 5};
			go(blob, &w, &idle);
			CHECK(idle == 1 && w.helped == kinds[blob / 2].helped);
		}
}

static void stopped_in_the_middle(void)
{
	for (unsigned at = 1; at < 6; at++)
		for (size_t blob = 0; blob < 2 * KINDS; blob += 2) {
			atomic_int idle = 1;
			struct way w = {.entries = MEMBERS, .finish = true, .want = true, .stop_at = at};
			go(blob, &w, &idle);
			CHECK(idle == 1);
		}
}

static atomic_int shared_idle = 2;

static void *again_and_again(void *self)
{
	const size_t first = *(const size_t *)self;

	for (size_t i = 0; i < 6; i++) {
		const size_t blob = 2 * ((first + i) % KINDS);
		struct way w = {.entries = i % 2 ? MEMBERS : 2, .finish = true, .want = true};
		go(blob, &w, &shared_idle);
		whole(blob, &w);
	}
	return NULL;
}

/* With fewer idle processors than layers, and one large window among them. */
static void many_at_once(void)
{
	static const size_t first[] = {0, 1, 2, 2};
	pthread_t threads[4];

	for (unsigned i = 0; i < 4; i++)
		CHECK(pthread_create(&threads[i], NULL, again_and_again, (void *)(uintptr_t)&first[i]) == 0);
	for (unsigned i = 0; i < 4; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	CHECK(shared_idle == 2);
}

int main(int count, char **args)
{
	static char line[2 * sizeof(place)];

	(void)count;
	make(args[0]);
	RUN(alone_and_helped);
	RUN(closed_in_the_middle);
	RUN(stopped_in_the_middle);
	RUN(many_at_once);
	for (unsigned i = 0; i < MEMBERS; i++)
		free(data[i]);
	free(archive.at);
	os_close(&st.blobs);
	(void)snprintf(line, sizeof(line), "rm -rf '%s'", place);
	return system(line) || test_failed != 0;
}
