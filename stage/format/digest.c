/* SPDX-License-Identifier: MIT */
/* Digests as containerd writes them, and running hashes. */
#include "format/digest.h"

#include <string.h>
#include <sys/mman.h>
#include <bearssl_hash.h>

#include "format/sha2.h"

/* ---- digests ---- */

static const struct digest_form {
	char name[7];
	uint8_t bytes;
} forms[DIGEST_KINDS] = {
	[DIGEST_SHA256] = {"sha256", 32},
	[DIGEST_SHA384] = {"sha384", 48},
	[DIGEST_SHA512] = {"sha512", 64},
};

size_t digest_bytes(enum digest_kind kind)
{
	return forms[kind].bytes;
}

const char *digest_name(enum digest_kind kind)
{
	return forms[kind].name;
}

enum rc digest_parse_hex(enum digest_kind kind, struct span hex, struct digest *d)
{
	/* each digit's value, and 1 more; every name and every record of a blob comes by here, several times */
	static const uint8_t values[256] = {['0'] = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, ['a'] = 11, 12, 13, 14, 15, 16};
	struct digest found = {.kind = kind};

	if (hex.bad || hex.left != 2 * forms[kind].bytes)
		return RC_CORRUPT;
	for (size_t i = 0; i < forms[kind].bytes; i++) {
		const unsigned high = values[hex.at[2 * i]], low = values[hex.at[2 * i + 1]];
		if (!high || !low)
			return RC_CORRUPT;
		found.bytes[i] = (uint8_t)((high - 1) << 4 | (low - 1));
	}
	*d = found;
	return RC_OK;
}

enum rc digest_parse(struct span text, struct digest *d)
{
	const uint8_t *const colon = text.left ? memchr(text.at, ':', text.left) : NULL;

	if (text.bad || !colon)
		return RC_CORRUPT;
	const struct span name = span_sub(&text, (size_t)(colon - text.at));
	(void)span_u8(&text); /* the colon */
	for (unsigned kind = 0; kind < DIGEST_KINDS; kind++)
		if (span_is(name, forms[kind].name))
			return digest_parse_hex((enum digest_kind)kind, text, d);
	/* go-digest: algorithm.go; another algorithm is a digest all the same */
	for (size_t i = 0; i < name.left; i++) {
		const uint8_t c = name.at[i];
		const bool joins = c == '+' || c == '.' || c == '_' || c == '-';
		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && !(i && joins))
			return RC_CORRUPT;
	}
	return name.left && text.left ? RC_LIMIT : RC_CORRUPT;
}

void digest_format(const struct digest *d, char text[DIGEST_TEXT_BYTES])
{
	static const char digits[] = "0123456789abcdef";
	const size_t prefix = strlen(forms[d->kind].name);
	char *at = text;

	memcpy(at, forms[d->kind].name, prefix);
	at += prefix;
	*at++ = ':';
	for (size_t i = 0; i < forms[d->kind].bytes; i++) {
		*at++ = digits[d->bytes[i] >> 4];
		*at++ = digits[d->bytes[i] & 15];
	}
	*at = 0;
}

int digest_order(const void *a, const void *b)
{
	return digest_compare(a, b);
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
	return digest_compare(a, b) == 0;
}

int digest_compare(const struct digest *a, const struct digest *b)
{
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	return memcmp(a->bytes, b->bytes, forms[a->kind].bytes);
}

/* ---- hashes ---- */

_Static_assert(sizeof(br_sha256_context) <= sizeof(((struct hash *)0)->state), "a SHA-256 fits");

_Static_assert(sizeof(br_sha384_context) <= sizeof(((struct hash *)0)->state), "a SHA-384 fits");

_Static_assert(sizeof(br_sha512_context) <= sizeof(((struct hash *)0)->state), "a SHA-512 fits");

_Static_assert(_Alignof(br_sha512_context) <= 8, "and lies right");

void hash_begin(struct hash *h, enum digest_kind kind)
{
	const struct sha2_backend *const best = sha2_best();
	const br_hash_class *const class =
		kind == DIGEST_SHA256 ? best->sha256 : kind == DIGEST_SHA384 ? best->sha384 : best->sha512;

	h->kind = kind;
	class->init((const br_hash_class **)(void *)h->state);
}

/* A context begins with its class. */
static const br_hash_class *class_of(const struct hash *h)
{
	return *(const br_hash_class *const *)(const void *)h->state;
}

void hash_add(struct hash *h, const void *at, size_t n)
{
	class_of(h)->update((const br_hash_class **)(void *)h->state, at, n);
}

void hash_add_two(struct hash *a, const void *at_a, struct hash *b, const void *at_b, size_t n)
{
	sha256_update_two((const br_hash_class **)(void *)a->state, at_a, (const br_hash_class **)(void *)b->state, at_b, n);
}

void hash_end(const struct hash *h, struct digest *d)
{
	*d = (struct digest){.kind = h->kind};
	class_of(h)->out((const br_hash_class *const *)(const void *)h->state, d->bytes);
}
