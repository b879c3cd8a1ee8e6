/* SPDX-License-Identifier: MIT */
/* Any bytes as an index, manifest or config: they are looked at a few times each at most, whatever they are, what is kept of them is
 * bounded, and nothing is kept of what is refused. Of a document a member is a document, or can be put into one. */
#include "format/oci.h"

#include <string.h>

#include "steps.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum rc parse(struct span text, struct arena *arena, struct oci_doc *d)
{
	const size_t before = arena->used;
	uint64_t looked = 0;
	steps_begin();
	const enum rc rc = oci_parse(text, arena, d, &looked);
	steps_end(text.left, 200, 5000);

	if (rc != RC_OK && rc != RC_CORRUPT && rc != RC_LIMIT)
		abort();
	if (looked > (uint64_t)OCI_STEPS_PER_BYTE * text.left)
		abort();
	if (arena->used - before > (rc == RC_OK ? LIMIT_DESCRIPTORS * sizeof(struct oci_descriptor) + 16 : 0))
		abort();
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = {"manifests", "config", "rootfs", "a"};
	static struct arena arena;
	struct oci_doc d = {0}, again = {0};
	struct err e = {0};

	if (!arena.region && arena_open(&arena, &e))
		return 0;
	const struct arena mark = arena;
	const enum rc rc = parse(span_of(data, size), &arena, &d);
	for (size_t i = 0; rc == RC_OK && i < d.child_count; i++)
		if (d.children[i].type > OCI_TYPE_ENCRYPTED_LAYER || d.children[i].digest.kind >= DIGEST_KINDS)
			abort();
	for (size_t i = 0; rc == RC_OK && d.unpackable && i < d.diff_id_count; i++)
		if (d.diff_ids[i].kind != DIGEST_SHA256)
			abort();
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		static const char head[] = "{\"a\":";
		struct span value = {0};
		const enum rc found = oci_member(span_of(data, size), names[i], &arena, &value);
		if (rc == RC_OK && found != RC_OK && found != RC_END)
			abort();
		const bool raw = found == RC_OK && value.at > data && value.at < data + size; /* else of a string with escapes */
		if (!raw || value.at[-1] == '"' || (value.at[0] != '{' && value.at[0] != '['))
			continue;
		uint8_t *const whole = arena_get(&arena, sizeof(head) + value.left);
		if (!whole)
			abort();
		memcpy(whole, head, sizeof(head) - 1);
		memcpy(whole + sizeof(head) - 1, value.at, value.left);
		whole[sizeof(head) - 1 + value.left] = '}';
		if (parse(span_of(whole, sizeof(head) + value.left), &arena, &again) == RC_CORRUPT)
			abort();
	}
	arena = mark;
	return 0;
}
