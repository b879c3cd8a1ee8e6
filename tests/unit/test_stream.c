/* SPDX-License-Identifier: MIT */
/* Digests against sha*sum, gzip and zstd against what the tools of those names write, and the frames they never write. */
#include "format/stream.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"

#define MIB ((size_t)1 << 20)

/* ---- helpers: byte strings that are exactly as long as their memory, so that reading past them is seen ---- */

struct bytes {
	uint8_t *at;
	size_t n;
};

static struct bytes bytes_of(const void *at, size_t n)
{
	const struct bytes b = {malloc(n + !n), n};
	if (n)
		memcpy(b.at, at, n);
	return b;
}

/* Gives both back. */
static struct bytes joined(struct bytes a, struct bytes b)
{
	struct bytes both = {malloc(a.n + b.n + !(a.n + b.n)), a.n + b.n};

	memcpy(both.at, a.at, a.n);
	memcpy(both.at + a.n, b.at, b.n);
	free(a.at);
	free(b.at);
	return both;
}

static bool same(struct bytes a, struct bytes b)
{
	return a.n == b.n && memcmp(a.at, b.at, a.n) == 0;
}

static uint32_t next_random(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*seed >> 33);
}

/* Text-like: compresses, and not to nothing. */
static struct bytes some_text(size_t n, uint64_t seed)
{
	const struct bytes b = {malloc(n + !n), n};
	for (size_t i = 0; i < n; i++)
		b.at[i] = next_random(&seed) % 5 ? (uint8_t)("etaoin shrdlu\n\0xy"[next_random(&seed) % 16])
			: (uint8_t)(i && i > 40 ? b.at[i - 40] : 'q');
	return b;
}

static struct bytes some_noise(size_t n, uint64_t seed)
{
	const struct bytes b = {malloc(n + !n), n};
	for (size_t i = 0; i < n; i++)
		b.at[i] = (uint8_t)next_random(&seed);
	return b;
}

/* What a shell command makes of the input. */
static struct bytes filtered(const char *command, struct bytes input)
{
	char name[] = "/tmp/test_stream.XXXXXX", line[200];
	struct bytes out = {malloc(1), 0};
	const int fd = mkstemp(name);
	FILE *const file = fdopen(fd, "w");

	CHECK(fwrite(input.at, 1, input.n, file) == input.n && fclose(file) == 0);
	(void)snprintf(line, sizeof(line), "%s <%s", command, name);
	FILE *const pipe = popen(line, "r");
	static uint8_t piece[1 << 20];
	for (size_t n; (n = fread(piece, 1, sizeof(piece), pipe)) != 0;)
		out = joined(out, bytes_of(piece, n));
	CHECK(pclose(pipe) == 0);
	(void)unlink(name);
	return out;
}

/* ---- a source that gives pieces of random sizes and takes each back at the next call ---- */

struct feeder {
	struct bytes all;
	size_t off, most, fail_at;
	uint64_t seed;
	uint8_t *given;
};

static enum rc feeder_next(void *self, struct span *piece, struct err *e)
{
	struct feeder *const f = self;
	const size_t left = f->all.n - f->off;

	free(f->given);
	f->given = NULL;
	if (f->off >= f->fail_at) {
		errno = EIO;
		return fail(e, RC_IO, "the disk says no");
	}
	if (!left)
		return RC_END;
	const size_t n = (size_t)min_u64(left, 1 + next_random(&f->seed) % f->most);
	f->given = bytes_of(f->all.at + f->off, n).at;
	f->off += n;
	*piece = span_of(f->given, n);
	return RC_OK;
}

struct outcome {
	enum rc rc;
	enum stream_kind kind;
	struct bytes content;
	struct err err;
};

static struct arena memory;

static struct digest digest_of(enum digest_kind kind, struct bytes b)
{
	struct hash h;
	struct digest d;

	hash_begin(&h, kind);
	hash_add(&h, b.at, b.n);
	hash_end(&h, &d);
	return d;
}

/* Reads a blob through a stream, in pieces of up to most bytes, and checks everything that holds for any blob. */
static struct outcome unpack_in(struct arena scratch, struct bytes blob, size_t most, uint64_t seed)
{
	struct feeder f = {.all = blob, .most = most, .fail_at = SIZE_MAX, .seed = seed};
	struct outcome o = {.content = {malloc(1), 0}};
	struct stream *s = NULL;
	const enum digest_kind name = (enum digest_kind)(seed % DIGEST_KINDS);
	struct span piece = {0};
	struct digest d;
	uint64_t size = 0;
	size_t room = 1;

	o.rc = stream_open(&s, (struct stream_source){feeder_next, &f}, name, true, &scratch, &o.err);
	CHECK(o.rc == RC_OK);
	if (o.rc != RC_OK)
		return o;
	o.kind = stream_kind(s);
	while ((o.rc = stream_read(s, &piece, &o.err)) == RC_OK) {
		CHECK(piece.left > 0 && !piece.bad);
		if (o.content.n + piece.left > room)
			o.content.at = realloc(o.content.at, room = 2 * (o.content.n + piece.left));
		memcpy(o.content.at + o.content.n, piece.at, piece.left);
		o.content.n += piece.left;
	}
	CHECK(stream_read(s, &piece, NULL) == o.rc);
	CHECK(o.rc == RC_END ? o.err.rc == RC_OK : o.err.rc == o.rc && o.err.text[0]);
	struct err none = {0};
	CHECK(stream_drain(s, &none) == RC_OK && none.rc == RC_OK);
	stream_blob_digest(s, &d, &size);
	const struct digest want = digest_of(name, blob);
	CHECK(size == blob.n && digest_equal(&d, &want));
	stream_content_digest(s, &d, &size);
	const struct digest content = digest_of(DIGEST_SHA256, o.content);
	CHECK(size == o.content.n && digest_equal(&d, &content));
	stream_close(s);
	free(f.given);
	return o;
}

static struct outcome unpack(struct bytes blob, size_t most)
{
	return unpack_in(memory, blob, most, blob.n + most);
}

static enum rc verdict(struct bytes blob)
{
	const struct outcome o = unpack(blob, 4096);
	free(o.content.at);
	return o.rc;
}

/* blob unpacks to content, whatever the pieces it comes in. */
static void check_unpacks(struct bytes blob, enum stream_kind kind, struct bytes content)
{
	static const size_t most[] = {1, 2, 7, 100, 4096, 1 << 20};

	for (size_t i = content.n > 100000 ? 3 : 0; i < sizeof(most) / sizeof(*most); i += content.n > 100000 ? 2 : 1) {
		const struct outcome o = unpack(blob, most[i]);
		CHECK(o.rc == RC_END && o.kind == kind);
		CHECK(same(o.content, content));
		free(o.content.at);
	}
}

/* From least bytes on, no part of a blob is a whole one; of what it yields, each byte is right. */
static void check_no_part_is_whole(struct bytes blob, size_t least, struct bytes content)
{
	for (size_t n = least; n < blob.n; n++) {
		const struct bytes part = bytes_of(blob.at, n);
		const struct outcome o = unpack(part, 1 + n % 61);
		CHECK(o.rc == RC_CORRUPT);
		CHECK(o.content.n <= content.n && memcmp(o.content.at, content.at, o.content.n) == 0);
		free(o.content.at);
		free(part.at);
	}
}

/* A changed byte is an error, or changes nothing that is unpacked. */
static void check_no_change_passes(struct bytes blob, size_t from, struct bytes content)
{
	for (size_t i = from; i < blob.n; i++)
		for (unsigned bit = 1; bit < 256; bit = bit == 128 ? 255 : bit << 1) {
			const struct bytes changed = bytes_of(blob.at, blob.n);
			changed.at[i] ^= (uint8_t)bit;
			const struct outcome o = unpack(changed, 300);
			CHECK(o.rc != RC_OK && (o.rc != RC_END || same(o.content, content)));
			free(o.content.at);
			free(changed.at);
			if (bit == 255)
				break;
		}
}

/* ---- digests ---- */

static void digests_are_parsed_strictly(void)
{
	static const char hex[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
	char text[DIGEST_TEXT_BYTES], wide[150];
	struct digest d, other;

	(void)snprintf(text, sizeof(text), "sha256:%s", hex);
	CHECK(digest_parse(span_of_string(text), &d) == RC_OK && d.kind == DIGEST_SHA256);
	CHECK(d.bytes[0] == 0xba && d.bytes[31] == 0xad && d.bytes[32] == 0);
	CHECK(digest_parse_hex(DIGEST_SHA256, span_of_string(hex), &other) == RC_OK && digest_equal(&d, &other));
	digest_format(&d, text);
	CHECK(strncmp(text, "sha256:", 7) == 0 && strcmp(text + 7, hex) == 0);
	other.bytes[31]++;
	CHECK(!digest_equal(&d, &other) && digest_compare(&d, &other) < 0 && digest_compare(&other, &d) > 0);
	other.kind = DIGEST_SHA384;
	CHECK(!digest_equal(&d, &other) && digest_compare(&d, &other) < 0);

	static const char *const wrong[] = {"", ":", "sha256", "sha256:", "sha256:ba78", "SHA256:00", "md5:", ":00",
		"sha256/00:00", "sha 256:00", "-x:00", "sha512:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
		"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015aD",
		"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015adaa",
		"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015a "};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
		CHECK(digest_parse(span_of_string(wrong[i]), &other) == RC_CORRUPT);
	CHECK(digest_parse((struct span){0}, &other) == RC_CORRUPT);
	CHECK(digest_parse(SPAN_LITERAL("blake3:00"), &other) == RC_LIMIT);
	CHECK(digest_parse(SPAN_LITERAL("sha256+b64:QUJD"), &other) == RC_LIMIT);
	CHECK(other.kind == DIGEST_SHA384); /* untouched */

	/* every byte there is, in the place of each half */
	for (unsigned i = 0; i < 512; i++) {
		static const char digits[] = "0123456789abcdef";
		uint8_t some[64];
		memcpy(some, hex, sizeof(some));
		some[62 + i / 256] = (uint8_t)i;
		const char *const digit = i % 256 ? strchr(digits, (int)(i % 256)) : NULL;
		const enum rc rc = digest_parse_hex(DIGEST_SHA256, span_of(some, sizeof(some)), &other);
		CHECK(rc == (digit ? RC_OK : RC_CORRUPT));
		CHECK(!digit || other.bytes[31] == (i < 256 ? (digit - digits) << 4 | 0xd : 0xa0 | (digit - digits)));
	}

	for (unsigned kind = 0; kind < DIGEST_KINDS; kind++) {
		const enum digest_kind k = (enum digest_kind)kind;
		(void)snprintf(wide, sizeof(wide), "%s:%0*d", digest_name(k), (int)(2 * digest_bytes(k)), 0);
		CHECK(digest_parse(span_of_string(wide), &d) == RC_OK && d.kind == k);
		digest_format(&d, text);
		CHECK(strcmp(text, wide) == 0);
	}
}

static bool hashes_to(enum digest_kind kind, const char *message, const char *hex)
{
	const struct digest d = digest_of(kind, (struct bytes){(uint8_t *)(uintptr_t)message, strlen(message)});
	char text[DIGEST_TEXT_BYTES];

	digest_format(&d, text);
	return strcmp(strchr(text, ':') + 1, hex) == 0;
}

/* NIST: Secure Hash Standard, examples with intermediate values; FIPS 180-2 appendices for the million. */
static void hashes_match_the_standard(void)
{
	static const char two[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
	static const char four[] = "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
		"hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu";

	CHECK(hashes_to(DIGEST_SHA256, "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
	CHECK(hashes_to(DIGEST_SHA256, "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
	CHECK(hashes_to(DIGEST_SHA256, two, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"));
	CHECK(hashes_to(DIGEST_SHA384, "abc", "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
		"8086072ba1e7cc2358baeca134c825a7"));
	CHECK(hashes_to(DIGEST_SHA384, four, "09330c33f71147e83d192fc782cd1b4753111b173b3b05d22fa08086e3b0f712"
		"fcc7c71a557e2db966c3e9fa91746039"));
	CHECK(hashes_to(DIGEST_SHA512, "abc", "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
		"2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"));
	CHECK(hashes_to(DIGEST_SHA512, four, "8e959b75dae313da8cf4f72814fc143f8f7779c6eb9f7fa17299aeadb6889018"
		"501d289e4900f7e4331b99dec4b5433ac7d329eeb6dd26545e96e55b874be909"));

	char *const million = malloc(1000001);
	memset(million, 'a', 1000000);
	million[1000000] = 0;
	CHECK(hashes_to(DIGEST_SHA256, million, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"));
	CHECK(hashes_to(DIGEST_SHA384, million, "9d0e1809716474cb086e834e310a4a1ced149e9c00f248527972cec5704c2a5b"
		"07b8b3dc38ecc4ebae97ddd87f3d8985"));
	CHECK(hashes_to(DIGEST_SHA512, million, "e718483d0ce769644e2e42c7bc15b4638e1f98b13b2044285632a803afa973eb"
		"de0ff244877ea60a4cb0432ce577c31beb009c5c2c49aa2e4eadb217ad8cc09b"));
	free(million);
}

/* Every length from 0 to 1024, in random pieces and through copies made on the way, as coreutils hash it. */
static void hashes_match_coreutils(void)
{
	char dir[] = "/tmp/test_stream.XXXXXX", line[300], path[64];
	const struct bytes all = some_noise(1024, 42);

	CHECK(mkdtemp(dir) != NULL);
	for (size_t n = 0; n <= all.n; n++) {
		(void)snprintf(path, sizeof(path), "%s/%04zu", dir, n);
		FILE *const file = fopen(path, "w");
		CHECK(file && fwrite(all.at, 1, n, file) == n && fclose(file) == 0);
	}
	for (unsigned kind = 0; kind < DIGEST_KINDS; kind++) {
		(void)snprintf(line, sizeof(line), "cd %s && %ssum *", dir, digest_name((enum digest_kind)kind));
		FILE *const pipe = popen(line, "r");
		uint64_t seed = kind;
		size_t count = 0;
		while (fgets(line, sizeof(line), pipe)) {
			struct hash h, branch;
			struct digest d;
			char text[DIGEST_TEXT_BYTES];
			hash_begin(&h, (enum digest_kind)kind);
			for (size_t off = 0; off < count;) {
				const size_t n = (size_t)min_u64(1 + next_random(&seed) % 200, count - off);
				hash_add(&h, all.at + off, n);
				off += n;
				branch = h;
				h = branch;
				hash_add(&branch, "x", 1); /* of no effect on the other */
			}
			hash_end(&h, &d);
			hash_end(&h, &d);
			digest_format(&d, text);
			CHECK(strncmp(strchr(text, ':') + 1, line, 2 * digest_bytes(d.kind)) == 0);
			count++;
		}
		CHECK(pclose(pipe) == 0 && count == 1025);
	}
	for (size_t n = 0; n <= all.n; n++) {
		(void)snprintf(path, sizeof(path), "%s/%04zu", dir, n);
		(void)unlink(path);
	}
	(void)rmdir(dir);
	free(all.at);
}

/* ---- kinds ---- */

static void kinds_are_told_by_the_first_bytes(void)
{
	static const struct {
		const char *bytes;
		size_t n;
		enum stream_kind kind;
	} heads[] = {
		{"", 0, STREAM_PLAIN},
		{"\x1f\x8b", 2, STREAM_PLAIN},
		{"\x1f\x8b\x07", 3, STREAM_PLAIN},
		{"\x1f\x8b\x08", 3, STREAM_GZIP},
		{"\x28\xb5\x2f", 3, STREAM_PLAIN},
		{"\x28\xb5\x2f\xfd", 4, STREAM_ZSTD},
		{"\x50\x2a\x4d\x18\0\0\0", 7, STREAM_PLAIN}, /* containerd wants the size too */
		{"\x50\x2a\x4d\x18\0\0\0\0", 8, STREAM_ZSTD},
		{"\x5f\x2a\x4d\x18\0\0\0\0", 8, STREAM_ZSTD},
		{"\x60\x2a\x4d\x18\0\0\0\0", 8, STREAM_PLAIN},
		{"BZh91AY&SY", 10, STREAM_PLAIN},
		{"\xfd" "7zXZ\0", 6, STREAM_PLAIN},
	};
	for (size_t i = 0; i < sizeof(heads) / sizeof(*heads); i++)
		for (size_t most = 1; most < 10; most += 8) {
			const struct bytes blob = bytes_of(heads[i].bytes, heads[i].n);
			const struct outcome o = unpack(blob, most);
			CHECK(o.kind == heads[i].kind);
			CHECK(heads[i].kind != STREAM_PLAIN || (o.rc == RC_END && same(o.content, blob)));
			free(o.content.at);
			free(blob.at);
		}
}

static void plain_bytes_pass(void)
{
	for (size_t n = 0; n < 40; n++) {
		const struct bytes b = some_text(n, n);
		check_unpacks(b, STREAM_PLAIN, b);
		free(b.at);
	}
	const struct bytes b = some_noise(300000, 1);
	b.at[0] = 0;
	check_unpacks(b, STREAM_PLAIN, b);
	free(b.at);
}

/* ---- gzip ---- */

static void gzip_of_every_level(void)
{
	static const char *const commands[] = {"gzip -1 -n", "gzip -6", "gzip -9 -n"};

	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
		static const size_t sizes[] = {0, 1, 1000, 131071, 131072, 131073, 1000000};
		for (size_t k = 0; k < sizeof(sizes) / sizeof(*sizes); k++) {
			const struct bytes content = k % 2 ? some_noise(sizes[k], k) : some_text(sizes[k], k);
			const struct bytes blob = filtered(commands[i], content);
			check_unpacks(blob, STREAM_GZIP, content);
			free(blob.at);
			free(content.at);
		}
	}
}

static void gzip_bombs_stream_through(void)
{
	const struct bytes content = {calloc(1, 8 * MIB), 8 * MIB};
	const struct bytes blob = filtered("gzip -9", content);

	check_unpacks(blob, STREAM_GZIP, content);
	CHECK(blob.n < 30000);
	free(blob.at);
	free(content.at);
}

static struct bytes gzip_with_header_fields(struct bytes content)
{
	/* FEXTRA "AB" + 2 bytes, FNAME, FCOMMENT, FHCRC: flags 0x1e; the CRC is that of the 27 bytes before it */
	static const char python[] = "python3 -c 'import sys,zlib,struct as s;d=sys.stdin.buffer.read();"
		"h=b\"\\x1f\\x8b\\x08\\x1e\"+bytes(6)+s.pack(\"<H\",6)+b\"AB\"+s.pack(\"<H\",2)+b\"xy\"+b\"name\\0\"+b\"c\\0\";"
		"h+=s.pack(\"<H\",zlib.crc32(h)&65535);c=zlib.compressobj(9,8,-15);";
	static const char end[] = "sys.stdout.buffer.write(h+c.compress(d)+c.flush()+s.pack(\"<II\",zlib.crc32(d),len(d)))'";
	char command[1000], name[] = "/tmp/test_stream.XXXXXX", run[64];
	const int fd = mkstemp(name);

	(void)snprintf(command, sizeof(command), "%s%s\n", python, end);
	CHECK(write(fd, command, strlen(command)) == (ssize_t)strlen(command) && close(fd) == 0);
	(void)snprintf(run, sizeof(run), "sh %s", name);
	const struct bytes blob = filtered(run, content);
	(void)unlink(name);
	return blob;
}

static void gzip_header_fields_are_read_past(void)
{
	const struct bytes content = some_text(700, 3);
	const struct bytes blob = gzip_with_header_fields(content);

	check_unpacks(blob, STREAM_GZIP, content);
	check_no_part_is_whole(blob, 3, content);
	check_no_change_passes(blob, 3, content);
	free(blob.at);
	free(content.at);
}

static void gzip_members_are_one_content(void)
{
	const struct bytes one = some_text(500, 5), two = some_text(80000, 6), none = {malloc(1), 0};
	struct bytes blob = filtered("gzip -9n", one), content = bytes_of(one.at, one.n);

	blob = joined(blob, filtered("gzip -9n", none)); /* as the footer of eStargz */
	blob = joined(blob, filtered("gzip -1n", two));
	blob = joined(blob, filtered("gzip -1n", none));
	content = joined(content, bytes_of(two.at, two.n));
	check_unpacks(blob, STREAM_GZIP, content);
	free(blob.at);
	free(content.at);
	free(one.at);
	free(two.at);
	free(none.at);
}

/* What unpigz and igzip ignore after a member, we ignore; a member that begins must end. */
static void gzip_tails(void)
{
	const struct bytes content = some_text(300, 7);
	static const struct {
		const char *bytes;
		size_t n;
		enum rc rc;
	} tails[] = {
		{"\0", 1, RC_END}, {"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20, RC_END}, {"garbage", 7, RC_END},
		{"\x1f", 1, RC_END}, {"\x1f\x8b", 2, RC_END}, {"\x1f\x8b\x09", 3, RC_END}, {"\x1f\x8b\x08", 3, RC_CORRUPT},
		{"\x1f\x8b\x08\0\0\0\0\0", 8, RC_CORRUPT}, {"\x1f\x8b\x08\0\0\0\0\0\0\xff", 10, RC_CORRUPT},
		{"\x1f\x8b\x08\0\0\0\0\0\0\xff\x03\0\0\0\0\0\0\0\0\0", 20, RC_END},
		{"\x1f\x8b\x08\0\0\0\0\0\0\xff\x03\0\0\0\0\0\0\0\0\x01", 20, RC_CORRUPT}, /* length */
		{"\x1f\x8b\x08\0\0\0\0\0\0\xff\x03\0\x01\0\0\0\0\0\0\0", 20, RC_CORRUPT}, /* CRC */
		{"\x1f\x8b\x08\xe0\0\0\0\0\0\xff\x03\0\0\0\0\0\0\0\0\0", 20, RC_CORRUPT}, /* flags of no meaning */
	};
	for (size_t i = 0; i < sizeof(tails) / sizeof(*tails); i++)
		for (size_t most = 1; most < 600; most += 97) {
			const struct bytes blob =
				joined(filtered("gzip -n", content), bytes_of(tails[i].bytes, tails[i].n));
			const struct outcome o = unpack(blob, most);
			CHECK(o.rc == tails[i].rc && same(o.content, content));
			free(o.content.at);
			free(blob.at);
		}
	free(content.at);
}

static void gzip_damage_is_seen(void)
{
	const struct bytes content = some_text(900, 8);
	const struct bytes blob = filtered("gzip -n", content);

	check_no_part_is_whole(blob, 3, content);
	check_no_change_passes(blob, 3, content); /* without the magic it is plain */
	free(blob.at);
	free(content.at);
}

/* ---- zstd ---- */

static void zstd_of_every_level(void)
{
	static const char *const commands[] = {"zstd -qc -1", "zstd -qc -3 --no-check", "zstd -qc -19", "zstd -qc --ultra -22",
		"zstd -qc --fast=5", "zstd -qc -3 --long=27"};
	static const size_t sizes[] = {0, 1, 1000, 131071, 131072, 131073, 1000000};

	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		for (size_t k = 0; k < sizeof(sizes) / sizeof(*sizes); k++) {
			if (strstr(commands[i], "-22") && k % 4 != 2)
				continue; /* zstd takes a second to clear its tables */
			const struct bytes content = k % 2 ? some_noise(sizes[k], k) : some_text(sizes[k], k);
			const struct bytes blob = filtered(commands[i], content);
			check_unpacks(blob, STREAM_ZSTD, content);
			free(blob.at);
			free(content.at);
		}
}

/* A frame of one raw block that asks for a window: descriptor 8 * (log - 10) + eighths. */
static struct bytes raw_frame(uint8_t window, struct bytes content)
{
	const uint32_t block = (uint32_t)content.n << 3 | 1;
	const uint8_t head[] = {0x28, 0xb5, 0x2f, 0xfd, 0, window, (uint8_t)block, (uint8_t)(block >> 8),
		(uint8_t)(block >> 16)};
	return joined(bytes_of(head, sizeof(head)), bytes_of(content.at, content.n));
}

static struct bytes skippable(uint8_t nibble, size_t n)
{
	const uint8_t head[] = {(uint8_t)(0x50 | nibble), 0x2a, 0x4d, 0x18, (uint8_t)n, (uint8_t)(n >> 8), 0, 0};
	return joined(bytes_of(head, sizeof(head)), some_noise(n, n));
}

static void zstd_frames_are_one_content(void)
{
	const struct bytes one = some_text(500, 5), two = some_text(80000, 6), none = {malloc(1), 0};
	struct bytes content = bytes_of(one.at, one.n);
	struct bytes blob = joined(skippable(0, 0), filtered("zstd -qc -19", one));

	blob = joined(blob, skippable(7, 1000));
	blob = joined(blob, filtered("zstd -qc", none));
	blob = joined(blob, filtered("zstd -qc --no-check", two));
	blob = joined(blob, skippable(15, 1));
	content = joined(content, bytes_of(two.at, two.n));
	check_unpacks(blob, STREAM_ZSTD, content);

	struct bytes only = skippable(3, 40);
	check_unpacks(only, STREAM_ZSTD, none);
	check_no_part_is_whole(only, 8, none);
	only = joined(only, skippable(4, 0));
	check_unpacks(only, STREAM_ZSTD, none);
	free(only.at);
	free(blob.at);
	free(content.at);
	free(one.at);
	free(two.at);
	free(none.at);
}

static void zstd_tails_are_errors(void)
{
	const struct bytes content = some_text(300, 7), whole = filtered("zstd -qc", content);
	static const struct {
		const char *bytes;
		size_t n;
	} tails[] = {{"\0", 1}, {"\0\0\0", 3}, {"\0\0\0\0", 4}, {"\x28", 1}, {"\x28\xb5\x2f", 3}, {"\x28\xb5\x2f\xfd", 4},
		{"garbage, and more of it", 23}, {"\x50\x2a\x4d", 3}, {"\x50\x2a\x4d\x18\x01\0\0\0", 8},
		{"\x28\xb5\x2f\xfd\x08\x00\x01\0\0", 9} /* reserved bit */};

	for (size_t i = 0; i < sizeof(tails) / sizeof(*tails); i++)
		for (size_t most = 1; most < 600; most += 97) {
			const struct bytes blob =
				joined(bytes_of(whole.at, whole.n), bytes_of(tails[i].bytes, tails[i].n));
			const struct outcome o = unpack(blob, most);
			CHECK(o.rc == RC_CORRUPT && same(o.content, content));
			free(o.content.at);
			free(blob.at);
		}
	free(whole.at);
	free(content.at);
}

static void zstd_damage_is_seen(void)
{
	const struct bytes content = some_text(900, 8);
	const struct bytes blob = filtered("zstd -qc --check -19", content);

	check_no_part_is_whole(blob, 4, content);
	check_no_change_passes(blob, 4, content);
	const struct bytes unchecked = filtered("zstd -qc --no-check -19", content);
	check_no_part_is_whole(unchecked, 4, content);
	free(unchecked.at);
	free(blob.at);
	free(content.at);
}

static void zstd_windows(void)
{
	const struct bytes content = some_text(1000, 9);
	static const struct {
		uint8_t window;
		enum rc rc;
	} windows[] = {
		{0x00, RC_END},       /* 1 KiB */
		{13 << 3, RC_END},    /* 8 MiB */
		{13 << 3 | 1, RC_END}, /* 9 MiB: mapped */
		{15 << 3, RC_END},    /* 32 MiB */
		{17 << 3, RC_END},    /* 128 MiB */
		{17 << 3 | 1, RC_LIMIT}, /* 144 MiB */
		{19 << 3 | 1, RC_LIMIT}, /* 576 MiB */
		{0xff, RC_LIMIT},
	};
	for (size_t i = 0; i < sizeof(windows) / sizeof(*windows); i++) {
		const struct bytes frame = raw_frame(windows[i].window, content);
		CHECK(verdict(frame) == windows[i].rc);
		if (windows[i].rc == RC_END) {
			check_unpacks(frame, STREAM_ZSTD, content);
			check_no_part_is_whole(frame, 4, content);
		}
		free(frame.at);
	}

	/* small, large, larger, small, large: one content */
	static const uint8_t mixed[] = {0, 14 << 3, 16 << 3, 0x10, 14 << 3, 0};
	struct bytes blob = {malloc(1), 0}, all = {malloc(1), 0};
	for (size_t i = 0; i < sizeof(mixed); i++) {
		blob = joined(blob, raw_frame(mixed[i], content));
		all = joined(all, bytes_of(content.at, content.n));
	}
	check_unpacks(blob, STREAM_ZSTD, all);
	free(blob.at);
	free(all.at);

	/* a dictionary; a frame of one segment whose content is the window: 200 MiB, said in 4 bytes */
	const struct bytes dictionary = bytes_of("\x28\xb5\x2f\xfd\x01\x00\x2a\x09\0\0x", 11);
	const struct bytes segment = bytes_of("\x28\xb5\x2f\xfd\xa0\0\0\x80\x0c\x09\0\0x", 13);
	CHECK(verdict(dictionary) == RC_LIMIT && verdict(segment) == RC_LIMIT);
	free(dictionary.at);
	free(segment.at);
	free(content.at);
}

/* References that reach far back: 20 MiB that say the same twice, in a window of 32 MiB. */
static void zstd_far_references(void)
{
	const struct bytes half = some_noise(10 * MIB, 11);
	const struct bytes content = joined(bytes_of(half.at, half.n), half);
	const struct bytes blob = filtered("zstd -qc -3 --long=25 --no-check", content);
	const struct bytes streamed = filtered("cat | zstd -qc -1 --long=27", content); /* of unknown length */

	CHECK(blob.n < 11 * MIB && streamed.n < 11 * MIB);
	const struct outcome o = unpack(blob, 100000), p = unpack(streamed, 65536);
	CHECK(o.rc == RC_END && same(o.content, content));
	CHECK(p.rc == RC_END && same(p.content, content));
	free(o.content.at);
	free(p.content.at);
	free(streamed.at);
	free(blob.at);
	free(content.at);
}

/* The stream is left in the middle of a frame with a mapped window; the next one must get it. */
static void a_large_window_is_given_back(void)
{
	const struct bytes content = some_text(100000, 12);
	const struct bytes blob = raw_frame(16 << 3, content);

	for (unsigned way = 0; way < 6; way++) {
		struct arena scratch = memory;
		struct feeder f = {.all = blob, .most = 10000, .fail_at = way == 3 ? 50000 : SIZE_MAX};
		struct err e = {0};
		struct span piece;
		struct stream *s = NULL;
		CHECK(stream_open(&s, (struct stream_source){feeder_next, &f}, DIGEST_SHA512, false, &scratch, &e) == RC_OK);
		CHECK(stream_read(s, &piece, &e) == RC_OK);
		enum rc rc = RC_OK;
		while (way >= 2 && rc == RC_OK)
			rc = stream_read(s, &piece, &e);
		CHECK(way < 2 || rc == (way == 3 ? RC_IO : RC_END));
		if (way == 1)
			CHECK(stream_drain(s, &e) == RC_OK && stream_read(s, &piece, &e) == RC_CORRUPT);
		if (way == 0 || way == 4)
			stream_close(s);
		if (way == 5)
			stream_close(NULL);
		free(f.given);
		CHECK(verdict(blob) == RC_END); /* hangs where it was not given back */
	}
	free(blob.at);
	free(content.at);
}

static struct bytes shared_blob, shared_content;

static void *unpack_often(void *self)
{
	bool *const right = self;
	struct arena a = {0};
	struct err e = {0};

	*right = arena_open(&a, &e) == RC_OK;
	for (unsigned i = 0; i < 20 && *right; i++) {
		const struct outcome o = unpack_in(a, shared_blob, 5000, i);
		*right = o.rc == RC_END && same(o.content, shared_content);
		free(o.content.at);
	}
	arena_close(&a);
	return NULL;
}

static void threads_share_the_large_window(void)
{
	pthread_t threads[4];
	bool right[4] = {false};

	shared_content = some_text(60000, 13);
	shared_blob = raw_frame(17 << 3, shared_content);
	for (size_t i = 0; i < 4; i++)
		CHECK(pthread_create(&threads[i], NULL, unpack_often, &right[i]) == 0);
	for (size_t i = 0; i < 4; i++)
		CHECK(pthread_join(threads[i], NULL) == 0 && right[i]);
	free(shared_blob.at);
	free(shared_content.at);
}

/* ---- the source ---- */

static void a_failed_read_is_no_verdict(void)
{
	const struct bytes content = some_text(5000, 14);
	const struct bytes blobs[] = {bytes_of(content.at, content.n), filtered("gzip", content), filtered("zstd -qc", content)};

	for (size_t b = 0; b < 3; b++)
		for (size_t fail_at = 0; fail_at < blobs[b].n; fail_at += 1 + fail_at / 3) {
			struct arena scratch = memory;
			struct feeder f = {.all = blobs[b], .most = 50, .fail_at = fail_at, .seed = fail_at};
			struct err e = {0}, again = {0}, drained = {0};
			struct span piece;
			struct stream *s = NULL;
			enum rc rc =
				stream_open(&s, (struct stream_source){feeder_next, &f}, DIGEST_SHA256, true, &scratch, &e);
			while (rc == RC_OK)
				rc = stream_read(s, &piece, &e);
			CHECK(rc == RC_IO && e.rc == RC_IO && e.sys_errno == EIO && strcmp(e.text, "the disk says no") == 0);
			if (s) {
				CHECK(stream_read(s, &piece, &again) == RC_IO && again.sys_errno == EIO);
				CHECK(stream_drain(s, &drained) == RC_IO && drained.sys_errno == EIO);
			}
			stream_close(s);
			free(f.given);
		}
	for (size_t b = 0; b < 3; b++)
		free(blobs[b].at);
	free(content.at);
}

/* A blob can be hashed without a look at what is in it, with the hash that its name needs. */
static void draining_hashes_all(void)
{
	const struct bytes content = some_text(200000, 15);
	const struct bytes blob = filtered("gzip", content);

	for (unsigned kind = 0; kind < DIGEST_KINDS; kind++)
		for (unsigned reads = 0; reads < 2; reads++) {
			struct arena scratch = memory;
			struct feeder f = {.all = blob, .most = 5000, .fail_at = SIZE_MAX};
			struct err e = {0};
			struct span piece;
			struct stream *s = NULL;
			struct digest d;
			uint64_t size = 0;
			CHECK(stream_open(&s, (struct stream_source){feeder_next, &f}, (enum digest_kind)kind, true, &scratch,
				&e) == RC_OK);
			CHECK(!reads || stream_read(s, &piece, &e) == RC_OK);
			CHECK(stream_drain(s, &e) == RC_OK && stream_drain(s, &e) == RC_OK && e.rc == RC_OK);
			stream_blob_digest(s, &d, &size);
			const struct digest want = digest_of((enum digest_kind)kind, blob);
			CHECK(size == blob.n && digest_equal(&d, &want));
			CHECK(stream_read(s, &piece, &e) == RC_CORRUPT);
			stream_close(s);
			free(f.given);
		}
	free(blob.at);
	free(content.at);
}

static void a_mark_in_the_arena_does_not_touch_a_stream(void)
{
	const struct bytes content = some_text(300000, 16);
	static const char *const commands[] = {"gzip", "zstd -qc"};

	for (size_t i = 0; i < 2; i++) {
		const struct bytes blob = filtered(commands[i], content);
		struct arena scratch = memory;
		struct feeder f = {.all = blob, .most = 5000, .fail_at = SIZE_MAX};
		struct err e = {0};
		struct span piece;
		struct stream *s = NULL;
		size_t off = 0;
		enum rc rc;
		CHECK(stream_open(&s, (struct stream_source){feeder_next, &f}, DIGEST_SHA256, false, &scratch, &e) == RC_OK);
		const struct arena mark = scratch;
		while ((rc = stream_read(s, &piece, &e)) == RC_OK) {
			CHECK(off + piece.left <= content.n && memcmp(piece.at, content.at + off, piece.left) == 0);
			off += piece.left;
			scratch = mark;
			memset(arena_get(&scratch, 1 << 20), 0xee, 1 << 20);
		}
		CHECK(rc == RC_END && off == content.n);
		stream_close(s);
		free(f.given);
		free(blob.at);
	}
	free(content.at);
}

static void without_memory_it_says_so(void)
{
	const struct bytes gzip = bytes_of("\x1f\x8b\x08\0\0\0\0\0\0\xff\x03\0\0\0\0\0\0\0\0\0", 20);
	const struct bytes zstd = raw_frame(0, gzip);

	for (size_t left = 0; left < 200000; left += 997)
		for (unsigned k = 0; k < 2; k++) {
			struct arena scratch = memory;
			struct feeder f = {.all = k ? zstd : gzip, .most = 5000, .fail_at = SIZE_MAX};
			struct err e = {0};
			struct stream *s = NULL;
			scratch.used = (uint32_t)((LIMIT_ARENA_BYTES - left) / 16 * 16);
			const enum rc rc =
				stream_open(&s, (struct stream_source){feeder_next, &f}, DIGEST_SHA256, true, &scratch, &e);
			CHECK(rc == RC_NOMEM ? e.rc == RC_NOMEM && !s : rc == RC_OK && !k && left > 190000);
			stream_close(s);
			free(f.given);
		}
	free(gzip.at);
	free(zstd.at);
}

int main(void)
{
	struct err e = {0};

	if (arena_open(&memory, &e) != RC_OK)
		return 1;
	RUN(digests_are_parsed_strictly);
	RUN(hashes_match_the_standard);
	RUN(hashes_match_coreutils);
	RUN(kinds_are_told_by_the_first_bytes);
	RUN(plain_bytes_pass);
	RUN(gzip_of_every_level);
	RUN(gzip_bombs_stream_through);
	RUN(gzip_header_fields_are_read_past);
	RUN(gzip_members_are_one_content);
	RUN(gzip_tails);
	RUN(gzip_damage_is_seen);
	RUN(zstd_of_every_level);
	RUN(zstd_frames_are_one_content);
	RUN(zstd_tails_are_errors);
	RUN(zstd_damage_is_seen);
	RUN(zstd_windows);
	RUN(zstd_far_references);
	RUN(a_large_window_is_given_back);
	RUN(threads_share_the_large_window);
	RUN(a_failed_read_is_no_verdict);
	RUN(draining_hashes_all);
	RUN(a_mark_in_the_arena_does_not_touch_a_stream);
	RUN(without_memory_it_says_so);
	arena_close(&memory);
	return test_failed != 0;
}
