/* SPDX-License-Identifier: MIT */
/* Every SHA-2 this processor can run against FIPS 180-4's examples and against BearSSL's: every length, any split. */
#include "format/sha2.h"

#include <stdlib.h>
#include <string.h>

#include "test.h"

#define LENGTHS 1024u
#define BYTES 64u /* of the longest */

static const struct sha2_backend *backends;
static size_t backend_count;

/* All three of each, in one array: those of the backend b from 3 * b on. */
static const br_hash_class *class_of(size_t i)
{
	const struct sha2_backend *const b = &backends[i / 3];

	return i % 3 == 0 ? b->sha256 : i % 3 == 1 ? b->sha384 : b->sha512;
}

static void digest(const br_hash_class *class, const uint8_t *at, size_t n, size_t (*piece)(size_t left), uint8_t out[BYTES])
{
	br_hash_compat_context c;

	memset(out, 0, BYTES);
	class->init(&c.vtable);
	while (n) {
		const size_t some = piece(n);
		c.vtable->update(&c.vtable, at, some);
		at += some;
		n -= some;
	}
	c.vtable->out(&c.vtable, out);
}

static size_t whole(size_t left)
{
	return left;
}

static size_t some_of(size_t left)
{
	const size_t n = (size_t)rand() % 150; /* none, too */

	return n < left ? n : left;
}

static void check_hex(const uint8_t *got, const char *want)
{
	char text[2 * BYTES + 1];

	for (size_t i = 0; i < strlen(want) / 2; i++)
		(void)snprintf(text + 2 * i, 3, "%02x", got[i]);
	CHECK(strcmp(text, want) == 0);
}

/* FIPS 180-4's examples (csrc.nist.gov, SHA256.pdf, SHA384.pdf, SHA512.pdf; the million from SHA_All.pdf) and the empty string */
static void examples(void)
{
	static uint8_t million[1000000];
	static const struct {
		const char *text, *digests[3];
	} of[] = {
		{"",
			{"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
				"38b060a751ac96384cd9327eb1b1e36a21fdb71114be07434c0cc7bf63f6e1da"
				"274edebfe76f65fbd51ad2f14898b95b",
				"cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"
				"47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"}},
		{"abc",
			{"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
				"cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
				"8086072ba1e7cc2358baeca134c825a7",
				"ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
				"2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"}},
		{"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
			{"248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
				"3391fdddfc8dc7393707a65b1b4709397cf8b1d162af05abfe8f450de5f36bc6"
				"b0455a8520bc4e6f5fe95b1fe3c8452b",
				"204a8fc6dda82f0a0ced7beb8e08a41657c16ef468b228a8279be331a703c335"
				"96fd15c13b1b07f9aa1d3bea57789ca031ad85c7a71dd70354ec631238ca3445"}},
		{"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
			{"cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1",
				"09330c33f71147e83d192fc782cd1b4753111b173b3b05d22fa08086e3b0f712"
				"fcc7c71a557e2db966c3e9fa91746039",
				"8e959b75dae313da8cf4f72814fc143f8f7779c6eb9f7fa17299aeadb6889018"
				"501d289e4900f7e4331b99dec4b5433ac7d329eeb6dd26545e96e55b874be909"}}};
	static const char *const of_million[3] = {"cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
		"9d0e1809716474cb086e834e310a4a1ced149e9c00f248527972cec5704c2a5b"
		"07b8b3dc38ecc4ebae97ddd87f3d8985",
		"e718483d0ce769644e2e42c7bc15b4638e1f98b13b2044285632a803afa973eb"
		"de0ff244877ea60a4cb0432ce577c31beb009c5c2c49aa2e4eadb217ad8cc09b"};
	uint8_t got[BYTES];

	memset(million, 'a', sizeof(million));
	for (size_t c = 0; c < 3 * backend_count; c++) {
		for (size_t i = 0; i < sizeof(of) / sizeof(of[0]); i++) {
			digest(class_of(c), (const uint8_t *)of[i].text, strlen(of[i].text), whole, got);
			check_hex(got, of[i].digests[c % 3]);
		}
		digest(class_of(c), million, sizeof(million), whole, got);
		check_hex(got, of_million[c % 3]);
		digest(class_of(c), million, sizeof(million), some_of, got);
		check_hex(got, of_million[c % 3]);
	}
}

static void every_length(void)
{
	for (size_t n = 0; n <= LENGTHS; n++) {
		uint8_t *const at = malloc(n + !n); /* as long as its bytes: a read past them is seen */
		uint8_t want[3][BYTES], got[BYTES];
		for (size_t i = 0; i < n; i++)
			at[i] = (uint8_t)rand();
		for (size_t k = 0; k < 3; k++)
			digest(class_of(k), at, n, whole, want[k]);
		for (size_t c = 0; c < 3 * backend_count; c++) {
			digest(class_of(c), at, n, whole, got);
			CHECK(memcmp(got, want[c % 3], BYTES) == 0);
			for (unsigned turn = 0; turn < 8; turn++) {
				digest(class_of(c), at, n, some_of, got);
				CHECK(memcmp(got, want[c % 3], BYTES) == 0);
			}
		}
		free(at);
	}
}

/* A context is a plain value, goes on after out, and its state moves to another class. */
static void contexts(void)
{
	static const uint8_t bytes[500] = {1, 2, 3};

	for (size_t c = 0; c < 3 * backend_count; c++) {
		const br_hash_class *const class = class_of(c);
		uint8_t want[BYTES], got[BYTES] = {0}, state[BYTES];
		br_hash_compat_context one, two, other;
		digest(class, bytes, 500, whole, want);
		class->init(&one.vtable);
		class->update(&one.vtable, bytes, 200);
		two = one;
		class->out(&one.vtable, got);
		class->update(&one.vtable, bytes + 200, 300);
		class->out(&one.vtable, got);
		CHECK(memcmp(got, want, BYTES) == 0);
		class->update(&two.vtable, bytes + 200, 56);
		const uint64_t count = class->state(&two.vtable, state);
		CHECK(count == 256);
		for (size_t to = c % 3; to < 3 * backend_count; to += 3) {
			class_of(to)->init(&other.vtable);
			class_of(to)->set_state(&other.vtable, state, count);
			CHECK(other.vtable == class_of(to));
			class_of(to)->update(&other.vtable, bytes + 256, 244);
			class_of(to)->out(&other.vtable, got);
			CHECK(memcmp(got, want, BYTES) == 0);
		}
	}
}

/* The length goes into the last block: lengths that nobody would hash here, told with a state, against BearSSL's. */
static void long_lengths(void)
{
	static const uint64_t counts[] = {1u << 29, (1ull << 29) - 128, 1ull << 32, (1ull << 32) + 128, 1ull << 40, 1ull << 61,
		(1ull << 61) + 256, (1ull << 63) + (1ull << 35)};
	static const uint8_t state[BYTES] = {1, 2, 3}, tail[120] = {4, 5, 6};

	for (size_t c = 3; c < 3 * backend_count; c++)
		for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
			for (size_t n = 0; n <= sizeof(tail); n++) {
				uint8_t out[2][BYTES] = {{0}, {0}};
				for (size_t k = 0; k < 2; k++) {
					const br_hash_class *const class = class_of(k ? c : c % 3);
					br_hash_compat_context context;
					class->init(&context.vtable);
					class->set_state(&context.vtable, state, counts[i]);
					class->update(&context.vtable, tail, n);
					class->out(&context.vtable, out[k]);
				}
				CHECK(memcmp(out[0], out[1], BYTES) == 0);
			}
}

/* Two streams at once, of any lengths and any pairs of classes, are the two one after the other. */
static void two_at_once(void)
{
	for (unsigned turn = 0; turn < 4000; turn++) {
		const br_hash_class *const classes[2] = {backends[(size_t)rand() % backend_count].sha256,
			backends[turn % 4 ? backend_count - 1 : (size_t)rand() % backend_count].sha256};
		br_sha256_context pair[2], single[2];
		uint8_t got[32], want[32];
		for (unsigned k = 0; k < 2; k++) {
			classes[k]->init(&pair[k].vtable);
			classes[k]->init(&single[k].vtable);
		}
		for (unsigned step = 0; step < 4; step++) {
			const size_t n = (size_t)rand() % (turn % 2 ? 700 : 8) * (turn % 3 ? 64 : 1);
			uint8_t *const at[2] = {malloc(n + !n), malloc(n + !n)};
			for (size_t i = 0; i < n; i++) {
				at[0][i] = (uint8_t)rand();
				at[1][i] = (uint8_t)rand();
			}
			sha256_update_two(&pair[0].vtable, at[0], &pair[1].vtable, at[1], n);
			for (unsigned k = 0; k < 2; k++) {
				classes[k]->update(&single[k].vtable, at[k], n);
				free(at[k]);
			}
		}
		for (unsigned k = 0; k < 2; k++) {
			classes[k]->out(&pair[k].vtable, got);
			classes[k]->out(&single[k].vtable, want);
			CHECK(memcmp(got, want, 32) == 0);
		}
	}
}

static void classes(void)
{
	CHECK(backend_count && strcmp(backends[0].name, "bearssl") == 0 && sha2_best() == &backends[backend_count - 1]);
	for (size_t b = 0; b < backend_count; b++)
		printf("# sha2: %s%s\n", backends[b].name, &backends[b] == sha2_best() ? ", the one in use" : "");
	for (size_t c = 0; c < 3 * backend_count; c++)
		CHECK(class_of(c)->desc == class_of(c % 3)->desc && class_of(c)->context_size == class_of(c % 3)->context_size);
}

int main(void)
{
	srand(20261124);
	backend_count = sha2_backends(&backends);
	RUN(classes);
	RUN(examples);
	RUN(every_length);
	RUN(contexts);
	RUN(long_lengths);
	RUN(two_at_once);
	return test_failed != 0;
}
