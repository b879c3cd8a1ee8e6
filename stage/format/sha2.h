/* SPDX-License-Identifier: MIT */
/* SHA-256, SHA-384 and SHA-512 (FIPS 180-4) with the processor's own instructions, as BearSSL's br_hash_class (BearSSL 0.6:
 * inc/bearssl_hash.h). Their contexts are BearSSL's. Every class gives the same bytes; they differ in speed only. */
#ifndef SHA2_H
#define SHA2_H

#include <bearssl_hash.h>
#include <stddef.h>

struct sha2_backend {
	const char *name; /* "bearssl", "x86 sha", "armv8 sha2", "armv8.2 sha512" */
	const br_hash_class *sha256, *sha384, *sha512; /* BearSSL's where there is none of ours */
};
/* The fastest this processor can run. The same for the life of the process; any thread. */
const struct sha2_backend *sha2_best(void);

/* update() of two SHA-256 contexts, n bytes each: faster than one after the other if both are of sha2_best() and at a multiple of 64
 * bytes, and the processor can begin an instruction of one stream while it waits for the other's. */
void sha256_update_two(const br_hash_class **a, const void *at_a, const br_hash_class **b, const void *at_b, size_t n);

/* For tests: all this processor can run, BearSSL's first, the best last; returns how many. */
size_t sha2_backends(const struct sha2_backend **out);

#endif
