/* SPDX-License-Identifier: MIT */
/* Instructions: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2: SHA256RNDS2, SHA256MSG1, SHA256MSG2;
 * the processor tells of them in CPUID leaf 7, EBX bit 29. Arm Architecture Reference Manual for A-profile: SHA256H, SHA256H2,
 * SHA256SU0, SHA256SU1, and from Armv8.2 on SHA512H, SHA512H2, SHA512SU0, SHA512SU1; Linux tells of them in AT_HWCAP (6.1:
 * arch/arm64/include/uapi/asm/hwcap.h, HWCAP_SHA2, HWCAP_SHA512). */
#include "format/sha2.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define BLOCK 64u /* bytes; of SHA-384 and SHA-512 twice that */

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

/* Whole blocks of bytes into a state. */
struct engine {
	size_t block; /* bytes */
	void (*digest)(void *state, const uint8_t *at, size_t blocks);
};

/* What BearSSL's contexts have alike: buf holds the *count % block bytes that are no block yet. */
static void add_bytes(const struct engine *g, void *state, uint8_t *buf, uint64_t *count, const void *data, size_t n)
{
	const size_t held = (size_t)(*count % g->block);
	const uint8_t *at = data;

	*count += n;
	if (held) {
		const size_t some = n < g->block - held ? n : g->block - held;
		if (some)
			memcpy(buf + held, at, some);
		at += some;
		n -= some;
		if (held + some < g->block)
			return;
		g->digest(state, buf, 1);
	}
	if (n >= g->block) {
		g->digest(state, at, n / g->block);
		at += n - n % g->block;
		n %= g->block;
	}
	if (n)
		memcpy(buf, at, n);
}

static void put_be32(uint8_t *at, uint32_t value)
{
	for (unsigned i = 0; i < 4; i++)
		at[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* The last blocks: what is held, a bit, and the length in bits, for which an eighth of a block is left. */
static void end_bytes(const struct engine *g, void *state, const uint8_t *buf, uint64_t count)
{
	const size_t held = (size_t)(count % g->block), padded = held < g->block - g->block / 8 ? g->block : 2 * g->block;
	uint8_t tail[4 * BLOCK] = {0};

	memcpy(tail, buf, held);
	tail[held] = 0x80;
	if (g->block > BLOCK) /* SHA-256 has no such bits, and no place for them */
		put_be32(tail + padded - 12, (uint32_t)(count >> 61));
	put_be32(tail + padded - 8, (uint32_t)(count >> 29));
	put_be32(tail + padded - 4, (uint32_t)(count << 3));
	g->digest(state, tail, padded / g->block);
}

static void digest_256(void *state, const uint8_t *at, size_t blocks)
{
	digest_blocks(state, at, blocks);
}

static const struct engine engine_256 = {BLOCK, digest_256};
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

	add_bytes(&engine_256, c->val, c->buf, &c->count, data, n);
}

static void end(const br_hash_class *const *of, void *out)
{
	const br_sha256_context *const c = (const br_sha256_context *)(const void *)of;
	uint32_t state[8];

	memcpy(state, c->val, sizeof(state));
	end_bytes(&engine_256, state, c->buf, c->count);
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

#ifdef __aarch64__

#define WITH_SHA512 __attribute__((target("arch=armv8.2-a+sha3"))) /* by that name gcc knows them */
#define HAS_SHA512 (1ul << 21)                                     /* HWCAP_SHA512 */
#define INSTRUCTIONS_512 "armv8.2 sha512"

static const uint64_t constants_512[80] = {
	0x428a2f98d728ae22, 0x7137449123ef65cd, 0xb5c0fbcfec4d3b2f, 0xe9b5dba58189dbbc, 0x3956c25bf348b538,
	0x59f111f1b605d019, 0x923f82a4af194f9b, 0xab1c5ed5da6d8118, 0xd807aa98a3030242, 0x12835b0145706fbe,
	0x243185be4ee4b28c, 0x550c7dc3d5ffb4e2, 0x72be5d74f27b896f, 0x80deb1fe3b1696b1, 0x9bdc06a725c71235,
	0xc19bf174cf692694, 0xe49b69c19ef14ad2, 0xefbe4786384f25e3, 0x0fc19dc68b8cd5b5, 0x240ca1cc77ac9c65,
	0x2de92c6f592b0275, 0x4a7484aa6ea6e483, 0x5cb0a9dcbd41fbd4, 0x76f988da831153b5, 0x983e5152ee66dfab,
	0xa831c66d2db43210, 0xb00327c898fb213f, 0xbf597fc7beef0ee4, 0xc6e00bf33da88fc2, 0xd5a79147930aa725,
	0x06ca6351e003826f, 0x142929670a0e6e70, 0x27b70a8546d22ffc, 0x2e1b21385c26c926, 0x4d2c6dfc5ac42aed,
	0x53380d139d95b3df, 0x650a73548baf63de, 0x766a0abb3c77b2a8, 0x81c2c92e47edaee6, 0x92722c851482353b,
	0xa2bfe8a14cf10364, 0xa81a664bbc423001, 0xc24b8b70d0f89791, 0xc76c51a30654be30, 0xd192e819d6ef5218,
	0xd69906245565a910, 0xf40e35855771202a, 0x106aa07032bbd1b8, 0x19a4c116b8d2d0c8, 0x1e376c085141ab53,
	0x2748774cdf8eeb99, 0x34b0bcb5e19b48a8, 0x391c0cb3c5c95a63, 0x4ed8aa4ae3418acb, 0x5b9cca4f7763e373,
	0x682e6ff3d6b2b8a3, 0x748f82ee5defb2fc, 0x78a5636f43172f60, 0x84c87814a1f0ab72, 0x8cc702081a6439ec,
	0x90befffa23631e28, 0xa4506cebde82bde9, 0xbef9a3f7b2c67915, 0xc67178f2e372532b, 0xca273eceea26619c,
	0xd186b8c721c0c207, 0xeada7dd6cde0eb1e, 0xf57d4f7fee6ed178, 0x06f067aa72176fba, 0x0a637dc5a2c898a6,
	0x113f9804bef90dae, 0x1b710b35131c471b, 0x28db77f523047d84, 0x32caab7b40c72493, 0x3c9ebe0a15c9bebc,
	0x431d67c49c100d4c, 0x4cc5d4becb3e42b6, 0x597f299cfc657e2a, 0x5fcb6fab3ad6faec, 0x6c44198c4a475817};

WITH_SHA512 static void digest_512(void *values, const uint8_t *at, size_t blocks)
{
	uint64_t *const state = values;
	uint64x2_t ab = vld1q_u64(state), cd = vld1q_u64(state + 2), ef = vld1q_u64(state + 4), gh = vld1q_u64(state + 6);

	for (; blocks; blocks--, at += 2 * BLOCK) {
		const uint64x2_t before[4] = {ab, cd, ef, gh};
		uint64x2_t w[8];
		for (unsigned i = 0; i < 8; i++)
			w[i] = vreinterpretq_u64_u8(vrev64q_u8(vld1q_u8(at + 16u * i)));
#pragma GCC unroll 40
		for (unsigned i = 0; i < 40; i++) { /* two rounds each */
			const uint64x2_t sum = vaddq_u64(w[i % 8], vld1q_u64(constants_512 + 2u * i));
			const uint64x2_t first = vsha512hq_u64(
				vaddq_u64(gh, vextq_u64(sum, sum, 1)), vextq_u64(ef, gh, 1), vextq_u64(cd, ef, 1));
			gh = ef;
			ef = vaddq_u64(cd, first);
			const uint64x2_t ab_now = vsha512h2q_u64(first, cd, ab);
			cd = ab;
			ab = ab_now;
			if (i < 32)
				w[i % 8] = vsha512su1q_u64(vsha512su0q_u64(w[i % 8], w[(i + 1) % 8]), w[(i + 7) % 8],
					vextq_u64(w[(i + 4) % 8], w[(i + 5) % 8], 1));
		}
		ab = vaddq_u64(ab, before[0]);
		cd = vaddq_u64(cd, before[1]);
		ef = vaddq_u64(ef, before[2]);
		gh = vaddq_u64(gh, before[3]);
	}
	vst1q_u64(state, ab);
	vst1q_u64(state + 2, cd);
	vst1q_u64(state + 4, ef);
	vst1q_u64(state + 6, gh);
}

/* SHA-384 is SHA-512 with another beginning, cut short. */
static const struct engine engine_512 = {2 * BLOCK, digest_512};
static const br_hash_class with_instructions_384, with_instructions_512;

static void begin_384(const br_hash_class **of)
{
	br_sha384_context *const c = (br_sha384_context *)(void *)of;

	br_sha384_init(c);
	c->vtable = &with_instructions_384;
}

static void begin_512(const br_hash_class **of)
{
	br_sha512_context *const c = (br_sha512_context *)(void *)of;

	br_sha512_init(c);
	c->vtable = &with_instructions_512;
}

static void add_512(const br_hash_class **of, const void *data, size_t n)
{
	br_sha512_context *const c = (br_sha512_context *)(void *)of;

	add_bytes(&engine_512, c->val, c->buf, &c->count, data, n);
}

static void end_512(const br_hash_class *const *of, void *out)
{
	const br_sha512_context *const c = (const br_sha512_context *)(const void *)of;
	const size_t words = c->vtable == &with_instructions_384 ? 6 : 8;
	uint64_t state[8];

	memcpy(state, c->val, sizeof(state));
	end_bytes(&engine_512, state, c->buf, c->count);
	for (unsigned i = 0; i < words; i++) {
		put_be32((uint8_t *)out + 8 * i, (uint32_t)(state[i] >> 32));
		put_be32((uint8_t *)out + 8 * i + 4, (uint32_t)state[i]);
	}
}

static uint64_t get_state_512(const br_hash_class *const *of, void *out)
{
	return br_sha512_state((const br_sha512_context *)(const void *)of, out);
}

static void set_state_512(const br_hash_class **of, const void *state, uint64_t count)
{
	br_sha512_set_state((br_sha512_context *)(void *)of, state, count);
}

#define DESCRIPTION_512(id, bytes)                                                                                               \
	(BR_HASHDESC_ID(id) | BR_HASHDESC_OUT(bytes) | BR_HASHDESC_STATE(64) | BR_HASHDESC_LBLEN(7) | BR_HASHDESC_MD_PADDING |    \
		BR_HASHDESC_MD_PADDING_BE | BR_HASHDESC_MD_PADDING_128)
static const br_hash_class with_instructions_384 = {sizeof(br_sha384_context), DESCRIPTION_512(br_sha384_ID, 48), begin_384, add_512,
	end_512, get_state_512, set_state_512};
static const br_hash_class with_instructions_512 = {sizeof(br_sha512_context), DESCRIPTION_512(br_sha512_ID, 64), begin_512, add_512,
	end_512, get_state_512, set_state_512};

#endif

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

static const struct sha2_backend all[] = {{"bearssl", &br_sha256_vtable, &br_sha384_vtable, &br_sha512_vtable},
#ifdef INSTRUCTIONS
	{INSTRUCTIONS, &with_instructions, &br_sha384_vtable, &br_sha512_vtable},
#endif
#ifdef INSTRUCTIONS_512
	{INSTRUCTIONS_512, &with_instructions, &with_instructions_384, &with_instructions_512},
#endif
};

static bool can_run(size_t backend)
{
#ifdef INSTRUCTIONS
	if (backend && !can_sha())
		return false;
#endif
#ifdef INSTRUCTIONS_512
	if (backend == 2 && !(getauxval(AT_HWCAP) & HAS_SHA512))
		return false;
#endif
	return backend < sizeof(all) / sizeof(all[0]);
}

size_t sha2_backends(const struct sha2_backend **out)
{
	size_t n = 1;

	while (can_run(n))
		n++;
	*out = all;
	return n;
}

const struct sha2_backend *sha2_best(void)
{
	static _Atomic(const struct sha2_backend *) best; /* asked once: in a virtual machine CPUID costs microseconds */
	const struct sha2_backend *found = atomic_load_explicit(&best, memory_order_relaxed);

	if (!found) {
		const size_t n = sha2_backends(&found);
		found += n - 1;
		atomic_store_explicit(&best, found, memory_order_relaxed);
	}
	return found;
}
