/* SPDX-License-Identifier: MIT */
/* Bytes of a blob: plain, gzip or zstd, hashed before and after decompression in one pass. The only user of the headers
 * of zlib and zstd, and with sha256 of BearSSL's. What containerd decompresses, we decompress; what it refuses, we refuse
 * (layer-format.md 5).
 *
 * Never takes a broken stream for a broken blob: RC_CORRUPT from stream_read says "containerd could not unpack this",
 * and only the digest says whether the blob is what its name promises. */
#ifndef STREAM_H
#define STREAM_H

#include "base.h"

enum digest_kind { DIGEST_SHA256, DIGEST_SHA384, DIGEST_SHA512, DIGEST_KINDS };

#define DIGEST_MAX_BYTES 64
#define DIGEST_TEXT_BYTES (7 + 2 * DIGEST_MAX_BYTES + 1) /* "sha512:", hex, NUL */

struct digest {
	enum digest_kind kind;
	uint8_t bytes[DIGEST_MAX_BYTES]; /* digest_bytes(kind) of them, the rest zero */
};

size_t digest_bytes(enum digest_kind kind);
const char *digest_name(enum digest_kind kind); /* "sha256" */
/* "sha256:<lower-case hex>", nothing else. RC_CORRUPT: no digest; RC_LIMIT: an algorithm we do not know. */
CHECKED enum rc digest_parse(struct span text, struct digest *d);
/* hex must be exactly as long as the kind wants. */
CHECKED enum rc digest_parse_hex(enum digest_kind kind, struct span hex, struct digest *d);
void digest_format(const struct digest *d, char text[DIGEST_TEXT_BYTES]);
bool digest_equal(const struct digest *a, const struct digest *b);
int digest_compare(const struct digest *a, const struct digest *b);

/* A running hash; a plain value that may be copied to branch off. */
struct hash {
	enum digest_kind kind;
	_Alignas(8) uint8_t state[232];
};
void hash_begin(struct hash *h, enum digest_kind kind);
void hash_add(struct hash *h, const void *at, size_t n);
/* hash_add of n bytes to each; what both have so far had better be a multiple of 64 bytes, and SHA-256. */
void hash_add_two(struct hash *a, const void *at_a, struct hash *b, const void *at_b, size_t n);
void hash_end(const struct hash *h, struct digest *d);

enum stream_kind { STREAM_PLAIN, STREAM_GZIP, STREAM_ZSTD };

/* What feeds a stream: the blob's bytes in order, in pieces of any size > 0. RC_END after the last. */
struct stream_source {
	enum rc (*next)(void *self, struct span *piece, struct err *e);
	void *self;
};

struct stream;

/* Memory comes from the arena and is given back with it, but for a zstd window above 8 MiB, which is mapped when a frame
 * asks for it and given back at the stream's end, its failure, stream_drain or stream_close. There is one such mapping at a
 * time: other threads wait for it, so a thread must not read a second stream while one it has begun is not closed.
 * blob_kind: which hash the blob's name needs. The kind of compression is detected from the first bytes as containerd does
 * (never from a media type): the source is asked for them here, and its failure is returned. */
CHECKED enum rc stream_open(struct stream **s, struct stream_source source, enum digest_kind blob_kind,
	bool hash_content, struct arena *a, struct err *e);
enum stream_kind stream_kind(const struct stream *s);
/* The next decompressed bytes, valid until the next call; without hash_content gzip's own sum of them is not asked, since the
 * blob's digest says more. RC_END: the content is complete. RC_CORRUPT: the compressed form
 * is broken, *e says how. RC_LIMIT: a window above LIMIT_ZSTD_WINDOW_BYTES or a dictionary we do not have. Anything but
 * RC_OK is final and said again by every later call. */
CHECKED enum rc stream_read(struct stream *s, struct span *piece, struct err *e);
/* Reads the source to its end without decompressing (after stream_read failed, ended, or instead of it), so that the
 * blob's digest is complete. Only the source can make it fail. */
CHECKED enum rc stream_drain(struct stream *s, struct err *e);
/* After stream_drain, or after RC_END and stream_drain. */
void stream_blob_digest(const struct stream *s, struct digest *d, uint64_t *size_bytes);
/* After RC_END of stream_read, with hash_content: the diff ID (sha256 of the decompressed bytes). */
void stream_content_digest(const struct stream *s, struct digest *d, uint64_t *size_bytes);
/* Accepts NULL. */
void stream_close(struct stream *s);

#endif
