/* SPDX-License-Identifier: MIT */
/* Every SHA-256 this processor can run against FIPS 180-4's examples and against BearSSL's: every length, any split. */
#include "sha256.h"

#include <stdlib.h>
#include <string.h>

#include "test.h"

#define LENGTHS 1024u

static struct sha256_backend backends[4];
static size_t backend_count;

static void digest(const br_hash_class *class, const uint8_t *at, size_t n, size_t (*piece)(size_t left), uint8_t out[32])
{
	br_sha256_context c;

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

static void check_hex(const uint8_t got[32], const char *want)
{
	char text[65];

	for (unsigned i = 0; i < 32; i++)
		(void)snprintf(text + 2 * i, 3, "%02x", got[i]);
	CHECK(strcmp(text, want) == 0);
}

/* FIPS 180-4's examples (csrc.nist.gov, SHA256.pdf; the million from SHA_All.pdf) and the empty string */
static void examples(void)
{
	static uint8_t million[1000000];
	static const struct {
		const char *text, *digest;
	} of[] = {{"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
		{"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
			"248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"}};
	uint8_t got[32];

	memset(million, 'a', sizeof(million));
	for (size_t b = 0; b < backend_count; b++) {
		for (size_t i = 0; i < sizeof(of) / sizeof(of[0]); i++) {
			digest(backends[b].hash, (const uint8_t *)of[i].text, strlen(of[i].text), whole, got);
			check_hex(got, of[i].digest);
		}
		digest(backends[b].hash, million, sizeof(million), whole, got);
		check_hex(got, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
		digest(backends[b].hash, million, sizeof(million), some_of, got);
		check_hex(got, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
	}
}

static void every_length(void)
{
	for (size_t n = 0; n <= LENGTHS; n++) {
		uint8_t *const at = malloc(n + !n); /* as long as its bytes: a read past them is seen */
		uint8_t want[32], got[32];
		for (size_t i = 0; i < n; i++)
			at[i] = (uint8_t)rand();
		digest(backends[0].hash, at, n, whole, want);
		for (size_t b = 0; b < backend_count; b++) {
			digest(backends[b].hash, at, n, whole, got);
			CHECK(memcmp(got, want, 32) == 0);
			for (unsigned turn = 0; turn < 8; turn++) {
				digest(backends[b].hash, at, n, some_of, got);
				CHECK(memcmp(got, want, 32) == 0);
			}
		}
		free(at);
	}
}

/* A context is a plain value, goes on after out, and its state moves to another class. */
static void contexts(void)
{
	static const uint8_t bytes[300] = {1, 2, 3};

	for (size_t b = 0; b < backend_count; b++) {
		const br_hash_class *const class = backends[b].hash;
		uint8_t want[32], got[32], state[32];
		br_sha256_context one, two, other;
		digest(class, bytes, 300, whole, want);
		class->init(&one.vtable);
		class->update(&one.vtable, bytes, 100);
		two = one;
		class->out(&one.vtable, got);
		class->update(&one.vtable, bytes + 100, 200);
		class->out(&one.vtable, got);
		CHECK(memcmp(got, want, 32) == 0);
		class->update(&two.vtable, bytes + 100, 28);
		const uint64_t count = class->state(&two.vtable, state);
		CHECK(count == 128);
		for (size_t to = 0; to < backend_count; to++) {
			backends[to].hash->init(&other.vtable);
			backends[to].hash->set_state(&other.vtable, state, count);
			CHECK(other.vtable == backends[to].hash);
			backends[to].hash->update(&other.vtable, bytes + 128, 172);
			backends[to].hash->out(&other.vtable, got);
			CHECK(memcmp(got, want, 32) == 0);
		}
	}
}

/* Two streams at once, of any lengths and any pairs of classes, are the two one after the other. */
static void two_at_once(void)
{
	for (unsigned turn = 0; turn < 4000; turn++) {
		const br_hash_class *const classes[2] = {backends[(size_t)rand() % backend_count].hash,
			backends[turn % 4 ? backend_count - 1 : (size_t)rand() % backend_count].hash};
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
	CHECK(backend_count && strcmp(backends[0].name, "bearssl") == 0);
	for (size_t b = 0; b < backend_count; b++) {
		printf("# sha256: %s%s\n", backends[b].name, backends[b].hash == sha256_best() ? ", the one in use" : "");
		CHECK(backends[b].hash->desc == br_sha256_vtable.desc && backends[b].hash->context_size == sizeof(br_sha256_context));
	}
}

int main(void)
{
	srand(20261124);
	backend_count = sha256_backends(backends, sizeof(backends) / sizeof(backends[0]));
	RUN(classes);
	RUN(examples);
	RUN(every_length);
	RUN(contexts);
	RUN(two_at_once);
	return test_failed != 0;
}
