/* SPDX-License-Identifier: MIT */
/* Instructions: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2: SHA256RNDS2, SHA256MSG1, SHA256MSG2;
 * the processor tells of them in CPUID leaf 7, EBX bit 29. Arm Architecture Reference Manual for A-profile: SHA256H, SHA256H2,
 * SHA256SU0, SHA256SU1; Linux tells of them in AT_HWCAP (6.1: arch/arm64/include/uapi/asm/hwcap.h, HWCAP_SHA2). */
#include "sha256.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define BLOCK 64u

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#define INSTRUCTIONS "x86 sha"
#elif defined(__aarch64__)
#include <arm_neon.h>
#include <sys/auxv.h>
#define INSTRUCTIONS "armv8 sha2"
#endif

#ifdef INSTRUCTIONS

static const uint32_t constants[64] = {0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
	0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1,
	0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8,
	0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354,
	0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585,
	0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee,
	0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

#if defined(__x86_64__)

#define WITH_SHA __attribute__((target("sha,sse4.1,ssse3")))

static bool can_sha(void)
{
	unsigned a = 0, b = 0, c = 0, d = 0;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSE4_1) || !(c & bit_SSSE3))
		return false;
	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && b & bit_SHA;
}

WITH_SHA static inline __m128i load(const void *at)
{
	return _mm_loadu_si128((const __m128i *)at);
}

/* One or two streams; of two each step beside the same of the other, for the latency of the rounds is what one stream waits for.
 * The state as the instructions want it: one register holds A B E F, the other C D G H, the first named on top. */
WITH_SHA static inline __attribute__((always_inline)) void digest_streams(uint32_t *const states[], const uint8_t *const from[],
	size_t blocks, const unsigned streams)
{
	const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
	const uint8_t *at[2] = {from[0], from[streams - 1]};
	__m128i abef[2], cdgh[2];

	for (unsigned k = 0; k < streams; k++) {
		const __m128i abcd = _mm_shuffle_epi32(load(states[k]), 0xb1), efgh = _mm_shuffle_epi32(load(states[k] + 4), 0x1b);
		abef[k] = _mm_alignr_epi8(abcd, efgh, 8);
		cdgh[k] = _mm_blend_epi16(efgh, abcd, 0xf0);
	}
	for (; blocks; blocks--) {
		const __m128i abef_before[2] = {abef[0], abef[streams - 1]}, cdgh_before[2] = {cdgh[0], cdgh[streams - 1]};
		__m128i w[2][4];
		for (unsigned k = 0; k < streams; k++) {
			for (unsigned i = 0; i < 4; i++)
				w[k][i] = _mm_shuffle_epi8(load(at[k] + 16u * i), swap);
			at[k] += BLOCK;
		}
#pragma GCC unroll 16
		for (unsigned i = 0; i < 16; i++) { /* four rounds each */
			const __m128i k4 = load(constants + 4u * i);
			const __m128i sum[2] = {_mm_add_epi32(w[0][i % 4], k4), _mm_add_epi32(w[streams - 1][i % 4], k4)};
#pragma GCC unroll 2
			for (unsigned k = 0; k < streams; k++)
				cdgh[k] = _mm_sha256rnds2_epu32(cdgh[k], abef[k], sum[k]);
#pragma GCC unroll 2
			for (unsigned k = 0; k < streams; k++)
				abef[k] = _mm_sha256rnds2_epu32(abef[k], cdgh[k], _mm_shuffle_epi32(sum[k], 0x0e));
			if (i >= 12)
				continue;
#pragma GCC unroll 2
			for (unsigned k = 0; k < streams; k++) {
				const __m128i last = w[k][(i + 3) % 4], seventh = _mm_alignr_epi8(last, w[k][(i + 2) % 4], 4);
				const __m128i half = _mm_add_epi32(_mm_sha256msg1_epu32(w[k][i % 4], w[k][(i + 1) % 4]), seventh);
				w[k][i % 4] = _mm_sha256msg2_epu32(half, last);
			}
		}
		for (unsigned k = 0; k < streams; k++) {
			abef[k] = _mm_add_epi32(abef[k], abef_before[k]);
			cdgh[k] = _mm_add_epi32(cdgh[k], cdgh_before[k]);
		}
	}
	for (unsigned k = 0; k < streams; k++) {
		const __m128i feba = _mm_shuffle_epi32(abef[k], 0x1b), dchg = _mm_shuffle_epi32(cdgh[k], 0xb1);
		_mm_storeu_si128((__m128i *)(void *)states[k], _mm_blend_epi16(feba, dchg, 0xf0));
		_mm_storeu_si128((__m128i *)(void *)(states[k] + 4), _mm_alignr_epi8(dchg, feba, 8));
	}
}
WITH_SHA static void digest_blocks(uint32_t state[8], const uint8_t *at, size_t blocks)
{
	digest_streams(&state, &at, blocks, 1);
}

WITH_SHA static void digest_two(uint32_t *const states[2], const uint8_t *const from[2], size_t blocks)
{
	digest_streams(states, from, blocks, 2);
}
#define TWO_AT_ONCE

#else

#define WITH_SHA __attribute__((target("arch=armv8-a+crypto")))
#define HAS_SHA2 (1ul << 6) /* HWCAP_SHA2: musl's headers come without the kernel's */

static bool can_sha(void)
{
	return getauxval(AT_HWCAP) & HAS_SHA2;
}

WITH_SHA static void digest_blocks(uint32_t state[8], const uint8_t *at, size_t blocks)
{
	uint32x4_t abcd = vld1q_u32(state), efgh = vld1q_u32(state + 4);

	for (; blocks; blocks--, at += BLOCK) {
		const uint32x4_t abcd_before = abcd, efgh_before = efgh;
		uint32x4_t w[4];
		for (unsigned i = 0; i < 4; i++)
			w[i] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(at + 16u * i)));
#pragma GCC unroll 16
		for (unsigned i = 0; i < 16; i++) { /* four rounds each */
			const uint32x4_t sum = vaddq_u32(w[i % 4], vld1q_u32(constants + 4u * i)), abcd_now = abcd;
			abcd = vsha256hq_u32(abcd, efgh, sum);
			efgh = vsha256h2q_u32(efgh, abcd_now, sum);
			if (i < 12)
				w[i % 4] = vsha256su1q_u32(vsha256su0q_u32(w[i % 4], w[(i + 1) % 4]), w[(i + 2) % 4], w[(i + 3) % 4]);
		}
		abcd = vaddq_u32(abcd, abcd_before);
		efgh = vaddq_u32(efgh, efgh_before);
	}
	vst1q_u32(state, abcd);
	vst1q_u32(state + 4, efgh);
}

#endif

static const br_hash_class with_instructions;

static void begin(const br_hash_class **of)
{
	br_sha256_context *const c = (br_sha256_context *)(void *)of;

	br_sha256_init(c);
	c->vtable = &with_instructions;
}

static void add(const br_hash_class **of, const void *data, size_t n)
{
	br_sha256_context *const c = (br_sha256_context *)(void *)of;
	const size_t held = (size_t)(c->count % BLOCK);
	const uint8_t *at = data;

	c->count += n;
	if (held) {
		const size_t some = n < BLOCK - held ? n : BLOCK - held;
		if (some)
			memcpy(c->buf + held, at, some);
		at += some;
		n -= some;
		if (held + some < BLOCK)
			return;
		digest_blocks(c->val, c->buf, 1);
	}
	if (n >= BLOCK) {
		digest_blocks(c->val, at, n / BLOCK);
		at += n - n % BLOCK;
		n %= BLOCK;
	}
	if (n)
		memcpy(c->buf, at, n);
}

static void put_be32(uint8_t *at, uint32_t value)
{
	for (unsigned i = 0; i < 4; i++)
		at[i] = (uint8_t)(value >> (24 - 8 * i));
}

static void end(const br_hash_class *const *of, void *out)
{
	const br_sha256_context *const c = (const br_sha256_context *)(const void *)of;
	const size_t held = (size_t)(c->count % BLOCK), padded = held < BLOCK - 8 ? BLOCK : 2 * BLOCK;
	uint8_t tail[2 * BLOCK] = {0};
	uint32_t state[8];

	memcpy(state, c->val, sizeof(state));
	memcpy(tail, c->buf, held);
	tail[held] = 0x80;
	put_be32(tail + padded - 8, (uint32_t)(c->count >> 29)); /* bits */
	put_be32(tail + padded - 4, (uint32_t)(c->count << 3));
	digest_blocks(state, tail, padded / BLOCK);
	for (unsigned i = 0; i < 8; i++)
		put_be32((uint8_t *)out + 4 * i, state[i]);
}

static uint64_t get_state(const br_hash_class *const *of, void *out)
{
	return br_sha256_state((const br_sha256_context *)(const void *)of, out);
}

static void set_state(const br_hash_class **of, const void *state, uint64_t count)
{
	br_sha256_set_state((br_sha256_context *)(void *)of, state, count);
}

static const br_hash_class with_instructions = {sizeof(br_sha256_context),
	BR_HASHDESC_ID(br_sha256_ID) | BR_HASHDESC_OUT(32) | BR_HASHDESC_STATE(32) | BR_HASHDESC_LBLEN(6) |
		BR_HASHDESC_MD_PADDING | BR_HASHDESC_MD_PADDING_BE,
	begin, add, end, get_state, set_state};

#endif

void sha256_update_two(const br_hash_class **a, const void *at_a, const br_hash_class **b, const void *at_b, size_t n)
{
	size_t done = 0;
#ifdef TWO_AT_ONCE
	br_sha256_context *const c[2] = {(br_sha256_context *)(void *)a, (br_sha256_context *)(void *)b};

	if (*a == &with_instructions && *b == &with_instructions && c[0]->count % BLOCK == 0 && c[1]->count % BLOCK == 0) {
		done = n - n % BLOCK;
		digest_two((uint32_t *const[2]){c[0]->val, c[1]->val}, (const uint8_t *const[2]){at_a, at_b}, done / BLOCK);
		c[0]->count += done;
		c[1]->count += done;
	}
#endif
	(*a)->update(a, (const uint8_t *)at_a + done, n - done);
	(*b)->update(b, (const uint8_t *)at_b + done, n - done);
}

size_t sha256_backends(struct sha256_backend *out, size_t cap)
{
	size_t n = 0;

	if (n++ < cap)
		out[n - 1] = (struct sha256_backend){"bearssl", &br_sha256_vtable};
#ifdef INSTRUCTIONS
	if (can_sha() && n++ < cap)
		out[n - 1] = (struct sha256_backend){INSTRUCTIONS, &with_instructions};
#endif
	return n;
}

const br_hash_class *sha256_best(void)
{
	static _Atomic(const br_hash_class *) best; /* asked once: in a virtual machine CPUID costs microseconds */
	const br_hash_class *found = atomic_load_explicit(&best, memory_order_relaxed);

	if (!found) {
		struct sha256_backend all[2];
		found = all[sha256_backends(all, 2) - 1].hash;
		atomic_store_explicit(&best, found, memory_order_relaxed);
	}
	return found;
}
