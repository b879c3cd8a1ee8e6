/* SPDX-License-Identifier: MIT */
/* Drives bolt.c and bolt_edit.c on real files for the differential test:
 *
 *   edit check FILE              sound KEYS BUCKETS REACHABLE FREE LEAKED ODD DEPTH | fault KIND PAGE TEXT
 *   edit dump FILE               every element through a cursor, found again through bolt_get
 *   edit apply FILE SCRIPT       one transaction, written in the order bolt_edit.h gives
 *   edit cut FILE SCRIPT SEED    the same, ended by a power cut somewhere before the meta page is whole
 *
 * A script has an operation a line: put PATH VALUE, rem PATH, bkt PATH, seq PATH NUMBER. A path is hex
 * names with slashes between; a value is hex, - for none, or *N:X for N bytes X, X+7, X+14 ... An
 * operation refused is told by its line. */
#include "format/bolt_edit.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const kind_names[] = {
	[BOLT_SOUND] = "sound",
	[BOLT_EMPTY_FILE] = "empty-file",
	[BOLT_SHORT_FILE] = "short-file",
	[BOLT_NO_META] = "no-meta",
	[BOLT_FOREIGN] = "foreign",
	[BOLT_BAD_TREE] = "bad-tree",
	[BOLT_BAD_FREELIST] = "bad-freelist",
	[BOLT_HAZARD] = "hazard",
};

static enum rc file_read_at(const struct src *s, uint64_t off, void *buf, size_t n, struct err *e)
{
	for (size_t done = 0; done < n;) {
		const ssize_t got = pread(s->fd, (uint8_t *)buf + done, n - done, (off_t)(off + done));
		if (got <= 0)
			return fail(e, RC_IO, "read");
		done += (size_t)got;
	}
	return RC_OK;
}

static int stop(const char *what, const struct err *e)
{
	printf("error %s: %s\n", what, e->text);
	return 2;
}

static int tell_fault(const struct bolt_fault *fault)
{
	printf("fault %s %" PRIu64 " %s\n", kind_names[fault->kind], fault->page, fault->text);
	return 1;
}

static void print_hex(struct span s)
{
	for (size_t i = 0; i < s.left; i++)
		printf("%02x", s.at[i]);
}

static void print_value(struct span s)
{
	if (s.left > 40)
		printf("#%zu:%016" PRIx64, s.left, fnv1a(s.at, s.left));
	else
		print_hex(s);
}

/* A bucket on the way down. */
struct place {
	struct bolt_bucket bucket;
	struct bolt_cursor *cursor;
	struct arena arena; /* of this level: what the levels below took is given back with their copies */
	struct span name;
};

/* The item under each key, asked for by name, must be the one the cursor gave; a key beside it must not be
 * there. */
static bool found_again(
	struct bolt *b, const struct bolt_bucket *bucket, const struct bolt_item *item, struct arena scratch)
{
	struct err e = {0};
	struct bolt_item again;

	if (bolt_get(b, bucket, item->key, &scratch, &again, &e) || !span_equal(again.key, item->key) ||
		!span_equal(again.value, item->value) || again.is_bucket != item->is_bucket)
		return false;
	uint8_t *const beside = arena_get(&scratch, item->key.left + 1);
	if (!beside)
		return false;
	memcpy(beside, item->key.at, item->key.left);
	return bolt_get(b, bucket, span_of(beside, item->key.left + 1), &scratch, &again, &e) == RC_END ||
	       again.key.left == item->key.left + 1;
}

static int dump(struct bolt *b, struct arena arena)
{
	static struct place stack[LIMIT_BUCKET_DEPTH + 1];
	struct err e = {0};
	struct bolt_item item;
	size_t depth = 1;
	enum rc rc;

	stack[0] = (struct place){.bucket = bolt_root(b), .arena = arena};
	if (bolt_cursor_open(b, &stack[0].bucket, &stack[0].arena, &stack[0].cursor, &e))
		return stop("dump", &e);
	while (depth) {
		struct place *const at = &stack[depth - 1];
		rc = bolt_cursor_next(at->cursor, &item, &e);
		if (rc == RC_END) {
			depth--;
			continue;
		}
		if (rc)
			return stop("dump", &e);
		if (!found_again(b, &at->bucket, &item, at->arena)) {
			printf("not found again: ");
			print_hex(item.key);
			printf("\n");
			return 1;
		}
		for (size_t i = 1; i < depth; i++) {
			print_hex(stack[i].name);
			printf("/");
		}
		print_hex(item.key);
		if (!item.is_bucket) {
			printf(" = ");
			print_value(item.value);
			printf("\n");
			continue;
		}
		if (depth > LIMIT_BUCKET_DEPTH)
			return stop("too deep", &e);
		struct place *const below = &stack[depth++];
		*below = (struct place){.arena = at->arena};
		const struct span name = arena_copy(&below->arena, item.key);
		const struct bolt_item kept = {name, arena_copy(&below->arena, item.value), true};
		below->name = name;
		if (bolt_bucket_of(&kept, &below->bucket))
			return stop("bucket", &e);
		printf(" bucket %" PRIu64 "\n", below->bucket.sequence);
		if (bolt_cursor_open(b, &below->bucket, &below->arena, &below->cursor, &e))
			return stop("dump", &e);
	}
	return 0;
}

static unsigned hex_digit(char c)
{
	return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'a' + 10);
}

static struct span from_hex(struct arena *a, const char *text, size_t n)
{
	uint8_t *const at = arena_get(a, n / 2 + 1);
	for (size_t i = 0; at && i < n / 2; i++)
		at[i] = (uint8_t)(hex_digit(text[2 * i]) << 4 | hex_digit(text[2 * i + 1]));
	return span_of(at, n / 2);
}

static struct span value_of(struct arena *a, const char *text)
{
	if (*text == '-')
		return span_of("", 0);
	if (*text != '*')
		return from_hex(a, text, strlen(text));
	char *end;
	const size_t n = strtoull(text + 1, &end, 10);
	const unsigned first = (unsigned)strtoul(end + 1, NULL, 10);
	uint8_t *const at = arena_get(a, n + 1);
	for (size_t i = 0; at && i < n; i++)
		at[i] = (uint8_t)(first + i * 7);
	return span_of(at, n);
}

static enum rc operation(struct bolt_edit *t, struct arena *a, char *line, struct err *e)
{
	const char *const verb = strtok(line, " \n");
	char *at = strtok(NULL, " \n");
	const char *const rest = strtok(NULL, " \n");
	struct bolt_path path = {0};

	while (at && path.count < BOLT_PATH_MAX) {
		const size_t n = strcspn(at, "/");
		path.part[path.count++] = from_hex(a, at, n);
		at = at[n] ? at + n + 1 : NULL;
	}
	if (!strcmp(verb, "put"))
		return bolt_edit_put(t, &path, value_of(a, rest), e);
	if (!strcmp(verb, "rem"))
		return bolt_edit_remove(t, &path, e);
	if (!strcmp(verb, "bkt"))
		return bolt_edit_make_bucket(t, &path, e);
	return bolt_edit_raise_sequence(t, &path, strtoull(rest, NULL, 10), e);
}

static bool write_all(int fd, uint64_t off, const uint8_t *at, size_t n)
{
	while (n) {
		const ssize_t done = pwrite(fd, at, n, (off_t)off);
		if (done <= 0)
			return false;
		at += done;
		off += (uint64_t)done;
		n -= (size_t)done;
	}
	return true;
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* What a power cut may leave: the file grown or not, any of the new pages, and of the meta page at most
 * its first bytes short of the checksum's last. */
static bool write_cut(int fd, const struct bolt *b, const struct bolt_image *image, uint64_t seed)
{
	uint64_t state = seed * 0x9e3779b97f4a7c15u | 1;
	const unsigned kind = (unsigned)(next_random(&state) % 4);
	const size_t page = b->page_size;

	if (kind == 0)
		return true;
	if (image->file_bytes > b->src.size && ftruncate(fd, (off_t)image->file_bytes))
		return false;
	for (size_t at = 0; at < image->append.left; at += page)
		if ((kind == 3 || next_random(&state) % 2) &&
			!write_all(fd, image->append_at + at, image->append.at + at, page))
			return false;
	if (kind < 3)
		return true;
	/* the last byte that differs is not written */
	uint8_t old[80];
	if (pread(fd, old, sizeof(old), (off_t)image->meta_at) != (ssize_t)sizeof(old))
		return false;
	size_t last = sizeof(old);
	while (last > 64 && old[last - 1] == image->meta_page.at[last - 1])
		last--;
	return write_all(fd, image->meta_at, image->meta_page.at, next_random(&state) % last);
}

static bool write_whole(int fd, const struct bolt *b, const struct bolt_image *image)
{
	if (image->file_bytes > b->src.size && ftruncate(fd, (off_t)image->file_bytes))
		return false;
	return write_all(fd, image->append_at, image->append.at, image->append.left) &&
	       write_all(fd, image->meta_at, image->meta_page.at, image->meta_page.left);
}

static int apply(struct bolt *b, struct arena *a, const char *script, const char *seed)
{
	static char line[1 << 21];
	struct bolt_image image;
	struct bolt_edit *t;
	struct err e = {0};
	enum rc rc;

	FILE *const f = fopen(script, "r");
	if (!f || bolt_edit_begin(&t, b, a, &e))
		return stop("begin", &e);
	for (unsigned number = 1; fgets(line, sizeof(line), f); number++) {
		rc = operation(t, a, line, &e);
		if (rc && rc != RC_END && rc != RC_CORRUPT)
			return stop("operation", &e);
		if (rc)
			printf("refused %u\n", number);
		e = (struct err){0};
	}
	(void)fclose(f); /* it was only read */
	if (bolt_edit_make(t, &image, &e))
		return stop("make", &e);
	if (!image.changed) {
		printf("unchanged\n");
		return 0;
	}
	printf("changed %zu\n", image.append.left);
	if (!(seed ? write_cut(b->src.fd, b, &image, strtoull(seed, NULL, 10))
		   : write_whole(b->src.fd, b, &image)))
		return stop("write", &e);
	return 0;
}

int main(int argc, char **argv)
{
	struct bolt_fault fault;
	struct bolt_stats s;
	struct arena arena;
	struct err e = {0};
	struct stat st;
	struct bolt b;

	if (argc < 3 || (argv[1][0] != 'd' && argc < (argv[1][1] == 'h' ? 3 : argv[1][0] == 'a' ? 4 : 5)))
		return 16;
	const int fd = open(argv[2], argv[1][0] == 'a' || !strcmp(argv[1], "cut") ? O_RDWR : O_RDONLY);
	if (fd < 0 || fstat(fd, &st) || arena_open(&arena, &e))
		return stop("open", &e);
	const struct src src = {.size = (uint64_t)st.st_size, .read_at = file_read_at, .fd = fd};
	enum rc rc = bolt_open(&b, &src, &arena, &fault, &e);
	if (!rc)
		rc = bolt_check(&b, arena, &s, &fault, &e);
	if (rc == RC_CORRUPT)
		return tell_fault(&fault);
	if (rc)
		return stop("check", &e);
	if (!strcmp(argv[1], "dump"))
		return dump(&b, arena);
	if (strcmp(argv[1], "check") != 0)
		return apply(&b, &arena, argv[3], argv[4]);
	printf("sound %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %u\n", s.keys,
		s.buckets, s.pages_reachable, s.pages_free, s.pages_leaked, s.pages_odd, s.depth_max);
	return 0;
}
