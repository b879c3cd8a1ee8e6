/* SPDX-License-Identifier: MIT */
/* Metadata of containerd's CRI plugin, whole, cut and hostile; and which records it cannot start with, or never gets rid of. Records
 * that a real CRI client made are what tests/cri reads. */
#include "format/cri.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test.h"

#define CONTAINER_TYPE "github.com/containerd/cri/pkg/store/container/Metadata"
#define SANDBOX_TYPE "github.com/containerd/cri/pkg/store/sandbox/Metadata"

static struct arena arena, scratch;

/* An Any of short texts. */
static struct span any_of(const char *type, const char *json)
{
	uint8_t *const at = arena_get(&arena, 4096);
	size_t n = 0;

	for (int field = 1; field <= 2; field++) {
		const char *const text = field == 1 ? type : json;
		at[n++] = (uint8_t)(field << 3 | 2);
		at[n++] = (uint8_t)(strlen(text) | 0x80);
		at[n++] = (uint8_t)(strlen(text) >> 7);
		at[n - 2] = (uint8_t)((strlen(text) & 0x7f) | 0x80);
		memcpy(at + n, text, strlen(text));
		n += strlen(text);
	}
	return span_of(at, n);
}

static struct cri_metadata read_any_of(struct span any, enum cri_kind kind)
{
	struct cri_metadata m = {0};

	CHECK(cri_read_metadata(any, kind, &arena, scratch, &m) == RC_OK);
	return m;
}

static struct cri_metadata read_json(const char *json)
{
	return read_any_of(any_of(CONTAINER_TYPE, json), CRI_CONTAINER);
}

static void what_containerd_writes(void)
{
	const struct cri_metadata m = read_json(
		"{\"Version\":\"v1\",\"Metadata\":{\"ID\":\"a1\",\"Name\":\"c_pod_ns_uid_0\",\"SandboxID\":\"b2\",\"Config\":"
		"{\"metadata\":{\"name\":\"x\",\"Name\":\"y\"}},\"ImageRef\":\"sha256:1\"}}");
	CHECK(m.reading == CRI_READS && span_is(m.name, "c_pod_ns_uid_0") && span_is(m.sandbox, "b2"));
	const struct span sandbox = any_of(SANDBOX_TYPE,
		"{\"Version\":\"v1\",\"Metadata\":{\"ID\":\"b2\",\"Name\":\"pod_ns_uid_0\",\"SandboxID\":\"no\"}}");
	const struct cri_metadata s = read_any_of(sandbox, CRI_SANDBOX);
	CHECK(s.reading == CRI_READS && span_is(s.name, "pod_ns_uid_0") && !s.sandbox.left);
	CHECK(read_any_of(any_of(SANDBOX_TYPE, "{\"Version\":\"v1\",\"Metadata\":{\"Name\":\"n\"}}"), CRI_STORED).reading == CRI_READS);
}

static void what_it_cannot_load(void)
{
	CHECK(read_json("{\"Version\":\"v1\",\"Metadata\":{\"Name\":\"\"}}").reading == CRI_BROKEN);
	CHECK(read_json("{\"Version\":\"v1\",\"Metadata\":{}}").reading == CRI_BROKEN);
	CHECK(read_json("{\"Version\":\"v1\",\"Metadata\":null}").reading == CRI_BROKEN);
	CHECK(read_json("{\"Version\":\"v1\"}").reading == CRI_BROKEN);
	CHECK(read_json("{}").reading == CRI_BROKEN);
	CHECK(read_json("[]").reading == CRI_BROKEN);
	CHECK(read_json("").reading == CRI_BROKEN);
	CHECK(read_any_of(span_of("", 0), CRI_CONTAINER).reading == CRI_BROKEN);
}

static void what_is_not_known(void)
{
	CHECK(read_json("{\"Version\":\"v2\",\"Metadata\":{}}").reading == CRI_UNKNOWN);
	CHECK(read_any_of(any_of("some/other.Type", "{}"), CRI_CONTAINER).reading == CRI_UNKNOWN);
	CHECK(read_any_of(any_of(SANDBOX_TYPE, "{\"Version\":\"v1\"}"), CRI_CONTAINER).reading == CRI_UNKNOWN);
	CHECK(cri_kind_of(span_of_string("sandbox")) == CRI_SANDBOX && cri_kind_of(span_of_string("container")) == CRI_CONTAINER);
	CHECK(cri_kind_of(span_of_string("Container")) == CRI_OTHER && cri_kind_of(span_of("", 0)) == CRI_OTHER);
}

/* Other fields are stepped over, and what says more than is there is no Any. */
static void fields(void)
{
	const struct span good = any_of(CONTAINER_TYPE, "{\"Version\":\"v1\",\"Metadata\":{\"Name\":\"n\"}}");
	uint8_t *const more = arena_get(&arena, 4096);
	static const uint8_t before[] = {3 << 3 | 0, 0x96, 1, 4 << 3 | 1, 1, 2, 3, 4, 5, 6, 7, 8,
		5 << 3 | 5, 1, 2, 3, 4, 6 << 3 | 2, 2, 1, 1};

	memcpy(more, before, sizeof(before));
	memcpy(more + sizeof(before), good.at, good.left);
	CHECK(read_any_of(span_of(more, sizeof(before) + good.left), CRI_CONTAINER).reading == CRI_READS);
	for (size_t n = 0; n < good.left; n++) {
		uint8_t *const cut = malloc(n + 1); /* so that a read past the end is seen */
		if (!cut)
			abort();
		memcpy(cut, good.at, n);
		CHECK(read_any_of(span_of(cut, n), CRI_CONTAINER).reading != CRI_READS);
		free(cut);
	}
	static const uint8_t huge[] = {1 << 3 | 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1};
	CHECK(read_any_of(span_of(huge, sizeof(huge)), CRI_CONTAINER).reading == CRI_BROKEN);
	static const uint8_t group[] = {1 << 3 | 3};
	CHECK(read_any_of(span_of(group, sizeof(group)), CRI_CONTAINER).reading == CRI_BROKEN);
}

/* ---- judging ---- */

#define RECORD(k, i, n, s, d, number)                                                                                             \
	{.kind = (k), .id = SPAN_LITERAL(i), .metadata = {CRI_READS, SPAN_LITERAL(n), SPAN_LITERAL(s)}, .directory = (d), .made = (number)}
#define NO_METADATA(k, i, r) {.kind = (k), .id = SPAN_LITERAL(i), .metadata = {.reading = (r)}, .directory = CRI_DIR_THERE}

static struct cri_judgement out[16];

static void judge(const struct cri_record *records, size_t count)
{
	if (cri_judge(records, count, scratch, out))
		abort();
}

static void a_healthy_node(void)
{
	const struct cri_record records[] = {
		RECORD(CRI_CONTAINER, "c1", "a_pod_0", "s1", CRI_DIR_THERE, 3),
		RECORD(CRI_CONTAINER, "c2", "b_pod_0", "s1", CRI_DIR_THERE, 4),
		RECORD(CRI_CONTAINER, "c3", "a_kata_0", "shim", CRI_DIR_THERE, 5),
		NO_METADATA(CRI_CONTAINER, "c4", CRI_UNKNOWN),
		RECORD(CRI_SANDBOX, "s1", "a_pod_0", "", CRI_DIR_UNKNOWN, 2), /* a sandbox may be called as a container is */
		NO_METADATA(CRI_STORED, "s1", CRI_ABSENT),                   /* 1.7's, as it was brought along to 2.x */
		RECORD(CRI_STORED, "shim", "kata_0", "", CRI_DIR_UNKNOWN, 0),
	};
	judge(records, sizeof(records) / sizeof(records[0]));
	for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++)
		CHECK(out[i].verdict == CRI_STAYS);
}

static void a_name_that_is_taken(void)
{
	struct cri_record records[] = {
		RECORD(CRI_CONTAINER, "c1", "n", "s", CRI_DIR_THERE, 9),
		RECORD(CRI_CONTAINER, "c2", "n", "s", CRI_DIR_THERE, 8),
		RECORD(CRI_CONTAINER, "c3", "n", "s", CRI_DIR_THERE, 7),
		RECORD(CRI_SANDBOX, "s", "pod", "", CRI_DIR_UNKNOWN, 1),
	};
	records[1].created_ns = 5; /* a clock that was wrong */
	judge(records, 4);
	CHECK(out[0].verdict == CRI_STAYS && out[1].verdict == CRI_NAME_IS_TAKEN && out[1].other == 0);
	CHECK(out[2].verdict == CRI_NAME_IS_TAKEN && out[2].other == 0 && out[3].verdict == CRI_STAYS);
	records[0].made = 0; /* nothing but the clock */
	records[0].created_ns = 4;
	judge(records, 2);
	CHECK(out[0].verdict == CRI_HAS_NO_SANDBOX && out[1].verdict == CRI_HAS_NO_SANDBOX); /* what goes holds no name */
	judge(records, 4);
	CHECK(out[0].verdict == CRI_NAME_IS_TAKEN && out[0].other == 1 && out[1].verdict == CRI_STAYS);
}

/* What containerd cannot load holds no name; what may be loadable decides nothing. */
static void of_one_name_and_not_loadable(void)
{
	struct cri_record records[] = {
		RECORD(CRI_CONTAINER, "c1", "n", "s", CRI_DIR_THERE, 1),
		RECORD(CRI_CONTAINER, "c2", "n", "s", CRI_DIR_GONE, 2),
		RECORD(CRI_SANDBOX, "s", "pod", "", CRI_DIR_UNKNOWN, 1),
	};
	judge(records, 3);
	CHECK(out[0].verdict == CRI_STAYS && out[1].verdict == CRI_HAS_NO_DIRECTORY);
	records[1].directory = CRI_DIR_UNKNOWN;
	judge(records, 3);
	CHECK(out[0].verdict == CRI_IS_UNCHECKED && out[0].other == 1 && out[1].verdict == CRI_IS_UNCHECKED && out[1].other == 0);
	records[1].metadata.name = span_of_string("another");
	judge(records, 3);
	CHECK(out[0].verdict == CRI_STAYS && out[1].verdict == CRI_STAYS);
}

static void sandboxes(void)
{
	struct cri_record records[] = {
		RECORD(CRI_CONTAINER, "c1", "a", "old", CRI_DIR_THERE, 3),
		RECORD(CRI_CONTAINER, "c2", "b", "new", CRI_DIR_THERE, 6),
		RECORD(CRI_CONTAINER, "c3", "c", "none", CRI_DIR_THERE, 7),
		RECORD(CRI_SANDBOX, "new", "pod", "", CRI_DIR_UNKNOWN, 5),
		RECORD(CRI_SANDBOX, "old", "pod", "", CRI_DIR_UNKNOWN, 2),
		RECORD(CRI_STORED, "new", "pod", "", CRI_DIR_UNKNOWN, 0),
		RECORD(CRI_STORED, "old", "pod", "", CRI_DIR_UNKNOWN, 0),
	};
	judge(records, 7);
	CHECK(out[4].verdict == CRI_NAME_IS_TAKEN && out[4].other == 3 && out[6].verdict == CRI_GOES_WITH);
	CHECK(out[0].verdict == CRI_HAS_NO_SANDBOX && out[0].other == 4);
	CHECK(out[2].verdict == CRI_HAS_NO_SANDBOX && out[2].other == SIZE_MAX);
	CHECK(out[1].verdict == CRI_STAYS && out[3].verdict == CRI_STAYS && out[5].verdict == CRI_STAYS);
	/* with metadata in the bucket sandboxes alone it is loaded from there, and its containers stay */
	records[4].metadata.reading = CRI_ABSENT;
	judge(records, 7);
	CHECK(out[4].verdict == CRI_HAS_NO_METADATA && out[6].verdict == CRI_STAYS && out[0].verdict == CRI_STAYS);
	records[6].metadata.reading = CRI_BROKEN;
	judge(records, 7);
	CHECK(out[4].verdict == CRI_HAS_NO_METADATA && out[6].verdict == CRI_HAS_NO_METADATA && out[0].verdict == CRI_HAS_NO_SANDBOX);
}

int main(void)
{
	struct err e = {0};

	if (arena_open(&arena, &e) || arena_open(&scratch, &e))
		return 1;
	RUN(what_containerd_writes);
	RUN(what_it_cannot_load);
	RUN(what_is_not_known);
	RUN(fields);
	RUN(a_healthy_node);
	RUN(a_name_that_is_taken);
	RUN(of_one_name_and_not_loadable);
	RUN(sandboxes);
	arena_close(&scratch);
	arena_close(&arena);
	return test_failed != 0;
}
