/* SPDX-License-Identifier: MIT */
/* SHA-256 (FIPS 180-4) with the processor's own instructions, as BearSSL's br_hash_class (BearSSL 0.6: inc/bearssl_hash.h).
 * Its contexts are br_sha256_context. Every class gives the same bytes; they differ in speed only. */
#ifndef SHA256_H
#define SHA256_H

#include <bearssl_hash.h>
#include <stddef.h>

/* The fastest this processor can run; BearSSL's br_sha256_vtable where there is none of ours. The same for the life of the
 * process; any thread. */
const br_hash_class *sha256_best(void);

/* update() of two contexts, n bytes each: faster than one after the other if both are of sha256_best() and at a multiple of 64 bytes,
 * and the processor can begin an instruction of one stream while it waits for the other's. */
void sha256_update_two(const br_hash_class **a, const void *at_a, const br_hash_class **b, const void *at_b, size_t n);

/* For tests: all this processor can run, BearSSL's first. Fills at most `cap`, returns how many there are. */
struct sha256_backend {
	const char *name; /* "bearssl", "x86 sha", "armv8 sha2" */
	const br_hash_class *hash;
};
size_t sha256_backends(struct sha256_backend *out, size_t cap);

#endif
