/* SPDX-License-Identifier: MIT */
/* Digests as containerd writes them, and running hashes; with sha2 the only user of BearSSL's headers. */
#ifndef DIGEST_H
#define DIGEST_H

#include "ground/base.h"

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
int digest_order(const void *a, const void *b); /* the same, for sort and bsearch */

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

#endif
