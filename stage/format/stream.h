/* SPDX-License-Identifier: MIT */
/* Bytes of a blob: plain, gzip or zstd, hashed before and after decompression in one pass. The only user of the headers
 * of zlib and zstd, and with sha256 of BearSSL's. What containerd decompresses, we decompress; what it refuses, we refuse
 * (containerd 2.3.4: pkg/archive/compression/compression.go, and what it calls: unpigz, igzip, Go, klauspost's zstd).
 *
 * Never takes a broken stream for a broken blob: RC_CORRUPT from stream_read says "containerd could not unpack this",
 * and only the digest says whether the blob is what its name promises. */
#ifndef STREAM_H
#define STREAM_H

#include "format/digest.h"

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

/* For the linker, in the place of what the zstd library calls for a frame that it has whole when it has read the header, or that has a
 * dictionary (libzstd 1.5.4: lib/decompress/zstd_decompress.c, ZSTD_decompressStream): neither is given to it. */
size_t stream_never(void);

#endif
