/* SPDX-License-Identifier: MIT */
/* Indexes, manifests and configs: what is read of them, what Go's encoding/json refuses, and what is too much. What the work is held
 * against is the count of bytes that were looked at, not a clock. */
#include "format/oci.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/json.h"
#include "test.h"

static struct arena arena;

#define A64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B64 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define LAYER "application/vnd.oci.image.layer.v1.tar"

/* Of what each parse of this file must be: bounded steps, and nothing taken where nothing came of it. */
static enum rc parse(struct span text, struct oci_doc *d)
{
	const size_t before = arena.used;
	uint64_t steps = 0;

	*d = (struct oci_doc){.kind = (enum oci_kind)99};
	const enum rc rc = oci_parse(text, &arena, d, &steps);
	CHECK(steps <= (uint64_t)OCI_STEPS_PER_BYTE * text.left);
	CHECK(rc == RC_OK || (arena.used == before && d->kind == (enum oci_kind)99));
	return rc;
}

static enum rc parse_text(const char *text, struct oci_doc *d)
{
	char *const exact = malloc(strlen(text) + 1); /* so that a read past the end is seen */
	if (!exact)
		abort();
	memcpy(exact, text, strlen(text));
	const enum rc rc = parse(span_of(exact, strlen(text)), d);
	free(exact); /* it is not needed after it */
	return rc;
}

/* A text of pieces, repeated. */
struct text {
	char *at;
	size_t n, cap;
};

static void add(struct text *t, const char *piece, size_t times)
{
	const size_t n = strlen(piece);

	if (t->n + n * times > t->cap) {
		t->cap = (t->n + n * times) * 2;
		t->at = realloc(t->at, t->cap);
		if (!t->at)
			abort();
	}
	for (size_t i = 0; i < times; i++, t->n += n)
		memcpy(t->at + t->n, piece, n);
}

static enum rc parse_and_free(struct text *t, struct oci_doc *d)
{
	const enum rc rc = parse(span_of(t->at, t->n), d);

	free(t->at);
	*t = (struct text){0};
	return rc;
}

static void an_index(void)
{
	struct oci_doc d;

	CHECK(parse_text("{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"size\":7,"
			 "\"digest\":\"sha256:" A64 "\",\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"}},"
			 "{\"digest\":\"sha256:" B64 "\",\"platform\":{\"architecture\":\"unknown\",\"os\":\"unknown\"}},"
			 "{\"digest\":\"md5:" A64 "\"},5,"
			 "{\"mediaType\":\"application/vnd.docker.distribution.manifest.list.v2+json\"}]}", &d) == RC_OK);
	CHECK(d.kind == OCI_INDEX && d.child_count == 5);
	CHECK(d.children[0].type == OCI_TYPE_MANIFEST && d.children[0].size == 7 && d.children[0].digest_known);
	CHECK(d.children[0].digest.bytes[31] == 0xaa && !d.children[0].attestation);
	CHECK(d.children[1].attestation && d.children[1].type == OCI_TYPE_OTHER && d.children[1].digest.bytes[0] == 0xbb);
	CHECK(!d.children[2].digest_known && !d.children[3].digest_known && d.children[4].type == OCI_TYPE_INDEX);
}

static void a_manifest(void)
{
	struct oci_doc d;

	CHECK(parse_text(" {\"config\": {\"mediaType\" :\"application/vnd.oci.image.config.v1+json\",\"digest\":\"sha256:" A64 "\"},\n"
			 "\"layers\":[{\"mediaType\":\"" LAYER "+gzip\",\"digest\":\"sha256:" B64 "\",\"size\":12},"
			 "{\"mediaType\":\"" LAYER "+gzip+encrypted\",\"size\":-1},"
			 "{\"mediaType\":\"application/vnd.docker.image.rootfs.diff.tar.gzip\"},{\"mediaType\":\"application/spdx+json\"},"
			 "{\"mediaType\":\"application\\/vnd.oci.image.\\u006cayer.v1.tar\",\"digest\":\"sha\\u003256:" A64 "\"}]}\r\n\t ",
		      &d) == RC_OK);
	CHECK(d.kind == OCI_MANIFEST && d.config.type == OCI_TYPE_CONFIG && d.config.digest_known && d.child_count == 5);
	CHECK(d.children[0].type == OCI_TYPE_LAYER && d.children[0].size == 12 && oci_is_layer(&d.children[0]));
	CHECK(d.children[1].type == OCI_TYPE_ENCRYPTED_LAYER && d.children[1].size == 0 && oci_is_layer(&d.children[1]));
	CHECK(d.children[2].type == OCI_TYPE_LAYER && d.children[3].type == OCI_TYPE_OTHER && !oci_is_layer(&d.children[3]));
	CHECK(d.children[4].type == OCI_TYPE_LAYER && d.children[4].digest_known);
	CHECK(parse_text("{\"config\":{},\"layers\":[]}", &d) == RC_OK && d.kind == OCI_MANIFEST && !d.child_count);
	CHECK(parse_text("{\"config\":{},\"layers\":{}}", &d) == RC_CORRUPT);
	CHECK(parse_text("{\"config\":[],\"layers\":[]}", &d) == RC_OK && d.kind == OCI_OTHER);
}

static void a_config(void)
{
	struct oci_doc d;

	CHECK(parse_text("{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:" A64 "\",\"sha256:" B64 "\"]},\"config\":{}}",
		      &d) == RC_OK);
	CHECK(d.kind == OCI_CONFIG && d.unpackable && d.diff_id_count == 2 && d.diff_ids[1].bytes[31] == 0xbb);
	CHECK(parse_text("{\"rootfs\":{\"diff_ids\":[]}}", &d) == RC_OK && d.unpackable && !d.diff_id_count);
	CHECK(parse_text("{\"rootfs\":{\"type\":\"\",\"diff_ids\":null}}", &d) == RC_OK && d.unpackable);
	CHECK(parse_text("{\"rootfs\":{\"type\":\"layers+base\",\"diff_ids\":[]}}", &d) == RC_OK && !d.unpackable);
	CHECK(parse_text("{\"rootfs\":{\"diff_ids\":[\"sha512:" A64 B64 "\"]}}", &d) == RC_OK && !d.unpackable);
	CHECK(parse_text("{\"rootfs\":{\"diff_ids\":[7]}}", &d) == RC_OK && !d.unpackable);
}

static void other_kinds(void)
{
	static const char *const texts[] = {"{}", "{\"a\":1}", "{\"fsLayers\":[],\"manifests\":[]}", "{\"manifests\":[],\"layers\":[]}",
		"{\"manifests\":[],\"config\":{}}", "{\"layers\":[]}", "{\"rootfs\":[]}"};
	struct oci_doc d;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		CHECK(parse_text(texts[i], &d) == RC_OK && d.kind == OCI_OTHER);
}

/* As in Go: of one name the last counts, and names are the same however they are cased and escaped. */
static void names(void)
{
	struct oci_doc d;

	CHECK(parse_text("{\"manifests\":[{}],\"manifests\":[{},{}]}", &d) == RC_OK && d.child_count == 2);
	CHECK(parse_text("{\"manifests\":[{}],\"ManiFests\":[]}", &d) == RC_OK && d.kind == OCI_INDEX && !d.child_count);
	CHECK(parse_text("{\"m\\u0061nifests\":[{\"SIZE\":3}]}", &d) == RC_OK && d.child_count == 1 && d.children[0].size == 3);
	CHECK(parse_text("{\"manifests\":[{\"size\":1,\"size\":2}]}", &d) == RC_OK && d.children[0].size == 2);
	CHECK(parse_text("{\"manifests \":[{}]}", &d) == RC_OK && d.kind == OCI_OTHER);
	CHECK(parse_text("{\"manifest\":[{}],\"\":[],\"diff[ids\":[]}", &d) == RC_OK && d.kind == OCI_OTHER);
	CHECK(parse_text("{\"rootfs\":{\"diff\x7fids\":[1]}}", &d) == RC_OK && d.unpackable);
}

/* Each is what Go's json.Valid says of it, but that a document is an object. */
static void what_go_reads(void)
{
	static const char *const good[] = {"0", "-0", "10.5e-3", "1E+9", "0.0", "true", "false", "null", "\"\"", "\"\\u00fF\\uD800\"",
		"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\xff\x80\x7f\"", "[]", "[ ]", "{}", "{ }", "[[],{}]", "[1 , 2\t]",
		"{\"a\" : [{\"b\":{}}]}", "{\"a\":{},\"a\":[]}"};
	static const char *const bad[] = {"", "01", "-", "1.", ".5", "+1", "1e", "1e+", "0x1", "tru", "nul", "True", "truex", "'a'", "\"",
		"\"\\\"", "\"\\x\"", "\"\\u12g4\"", "\"\\u123\"", "\"a\nb\"", "\"a\tb\"", "\"\x1f\"", "[", "]", "[1", "[1,", "[1,]", "[,1]",
		"[1 2]", "[1}", "{", "}", "{]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{,}", "{a:1}", "{1:1}", "{\"a\" 1}",
		"{\"a\":1 \"b\":2}", "[\"a\":1]", "{\"a\":1:2}", "1 2", "1,", "\v1", "\xc2\xa0"};
	char text[100];
	struct oci_doc d;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		for (int nested = 0; nested < 2; nested++) {
			(void)snprintf(text, sizeof(text), nested ? "{\"x\":[%s]}" : "{\"x\":%s}", good[i]); /* fits */
			CHECK(parse_text(text, &d) == RC_OK);
		}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		for (int nested = 0; nested < 2; nested++) {
			(void)snprintf(text, sizeof(text), nested ? "{\"x\":[0,%s]}" : "{\"x\":%s}", bad[i]); /* fits */
			CHECK(parse_text(text, &d) == RC_CORRUPT);
		}
	static const char *const whole[] = {"", " ", "[]", "1", "\"a\"", "{}{}", "{},", "{}]", "{}x", "\xef\xbb\xbf{}", "{\"a\":1",
		"{\"a\":1}}", "{\"manifests\":[{}]", "{\"manifests\":[{]}"};
	for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++)
		CHECK(parse_text(whole[i], &d) == RC_CORRUPT);
	CHECK(parse(span_of("{}\0", 3), &d) == RC_CORRUPT && parse(span_of("{\"a\0\":1}", 8), &d) == RC_CORRUPT);
}

static void every_truncation(void)
{
	static const char text[] = "{\"config\":{\"digest\":\"sha256:" A64 "\",\"platform\":{\"os\":\"li\\u006eux\"}},"
				   "\"layers\":[{\"size\":1.5e3},{\"a\":[true,false,null,-0.1,{\"b\":[[]]}]}]}";
	struct oci_doc d;

	CHECK(parse_text(text, &d) == RC_OK && d.child_count == 2);
	for (size_t n = 0; n < sizeof(text) - 1; n++) {
		char *const cut = malloc(n + 1);
		if (!cut)
			abort();
		memcpy(cut, text, n);
		CHECK(parse(span_of(cut, n), &d) == RC_CORRUPT);
		free(cut);
	}
}

/* Nested in a document, which is the first container. */
static struct text nested(size_t depth, const char *begin, const char *inner, const char *end)
{
	struct text t = {0};

	add(&t, "{\"a\":", 1);
	add(&t, begin, depth - 1);
	add(&t, inner, 1);
	add(&t, end, depth - 1);
	add(&t, "}", 1);
	return t;
}

static void depth(void)
{
	struct oci_doc d;

	for (size_t n = LIMIT_JSON_DEPTH - 1; n <= LIMIT_JSON_DEPTH + 1; n++) {
		const enum rc want = n <= LIMIT_JSON_DEPTH ? RC_OK : RC_CORRUPT;
		struct text lists = nested(n, "[", "", "]"), objects = nested(n, "{\"a\":", "1", "}");
		CHECK(parse_and_free(&lists, &d) == want && parse_and_free(&objects, &d) == want);
	}
	/* the kind of each container is known when it is closed, however deep */
	struct text mixed = {0}, crossed = {0};
	for (int right = 0; right < 2; right++) {
		struct text *const t = right ? &mixed : &crossed;
		add(t, "{\"a\":", 1);
		add(t, "[{\"a\":", 4999);
		add(t, "1", 1);
		add(t, right ? "}]" : "]}", 4999);
		add(t, "}", 1);
	}
	CHECK(parse_and_free(&mixed, &d) == RC_OK && parse_and_free(&crossed, &d) == RC_CORRUPT);
	/* a descriptor is the third container of a document already, and walked into one by one */
	for (size_t n = LIMIT_JSON_DEPTH - 3; n <= LIMIT_JSON_DEPTH - 2; n++) {
		struct text t = {0};
		add(&t, "{\"manifests\":[{\"platform\":", 1);
		add(&t, "[", n);
		add(&t, "]", n);
		add(&t, "}]}", 1);
		CHECK(parse_and_free(&t, &d) == (n == LIMIT_JSON_DEPTH - 3 ? RC_OK : RC_CORRUPT));
	}
}

/* As deep as can be, over and over: a reader that goes up from where it is at each bracket would take minutes. parse() counts. */
static void deep_and_long(void)
{
	static const char *const begins[] = {"{\"a\":[0", "{\"manifests\":[0", "{\"manifests\":[{\"platform\":[0"};
	static const char *const ends[] = {"]}", "]}", "]}]}"};
	struct oci_doc d;

	for (size_t i = 0; i < 3; i++) {
		struct text t = {0};
		add(&t, begins[i], 1);
		for (size_t k = 0; k < 400; k++) {
			add(&t, ",", 1);
			add(&t, "[", LIMIT_JSON_DEPTH - 5);
			add(&t, "]", LIMIT_JSON_DEPTH - 5);
		}
		add(&t, ends[i], 1);
		CHECK(t.n < LIMIT_JSON_BYTES && parse_and_free(&t, &d) == RC_OK);
	}
	/* what is too deep is known when it is */
	struct text t = nested(1000001, "[", "", "]");
	uint64_t steps = 0;
	CHECK(oci_parse(span_of(t.at, t.n), &arena, &d, &steps) == RC_CORRUPT && steps < LIMIT_JSON_DEPTH + 10);
	t.n = 1000000; /* nothing is closed */
	CHECK(parse_and_free(&t, &d) == RC_CORRUPT);
}

/* Members and elements beyond number that nobody asks for: no memory is needed for them. */
static void wide(void)
{
	struct oci_doc d;
	struct text t = {0};
	const size_t before = arena.used;

	add(&t, "{\"history\":[0", 1);
	add(&t, ",{}", 1000000);
	add(&t, "]", 1);
	add(&t, ",\"a\":0", 500000);
	add(&t, ",\"rootfs\":{\"diff_ids\":[\"sha256:" A64 "\"]}}", 1);
	CHECK(parse_and_free(&t, &d) == RC_OK && d.kind == OCI_CONFIG && d.diff_id_count == 1 && arena.used - before < 100);
	/* one long name or text is no more than its bytes, however often it is compared */
	add(&t, "{\"", 1);
	add(&t, "\\u0061", 1000000);
	add(&t, "\":1,\"manifests\":[{\"digest\":\"", 1);
	add(&t, "\\u0061", 100000);
	add(&t, "\"}]}", 1);
	CHECK(parse_and_free(&t, &d) == RC_OK && d.child_count == 1 && !d.children[0].digest_known);
	add(&t, "{\"a\":\"", 1);
	add(&t, "x", LIMIT_JSON_BYTES - 8);
	add(&t, "\"}", 1);
	CHECK(t.n == LIMIT_JSON_BYTES && parse(span_of(t.at, t.n), &d) == RC_OK);
	add(&t, " ", 1);
	CHECK(parse_and_free(&t, &d) == RC_LIMIT);
}

static void too_many(void)
{
	static const struct {
		const char *begin, *one, *end;
		size_t most;
	} kinds[] = {{"{\"manifests\":[0", ",{}", "]}", LIMIT_DESCRIPTORS},
		{"{\"config\":{},\"layers\":[0", ",{}", "]}", LIMIT_DESCRIPTORS},
		{"{\"rootfs\":{\"diff_ids\":[0", ",0", "]}}", LIMIT_LAYERS}};
	const struct arena mark = arena;
	struct oci_doc d;

	for (size_t i = 0; i < 3; i++)
		for (size_t n = kinds[i].most; n <= kinds[i].most + 1; n++) {
			struct text t = {0};
			add(&t, kinds[i].begin, 1);
			add(&t, kinds[i].one, n - 1);
			add(&t, kinds[i].end, 1);
			CHECK(parse_and_free(&t, &d) == (n == kinds[i].most ? RC_OK : RC_LIMIT));
			CHECK(n > kinds[i].most || d.child_count + d.diff_id_count == n);
			arena = mark;
		}
	/* in an arena of its own: its peak is that of this document */
	struct arena fresh = {0};
	struct err e = {0};
	struct text t = {0};
	if (arena_open(&fresh, &e))
		abort();
	add(&t, "{\"manifests\":[{}", 1);
	add(&t, ",{}", 999999);
	add(&t, "]}", 1);
	const size_t before = arena_peak(&fresh);
	CHECK(oci_parse(span_of(t.at, t.n), &fresh, &d, NULL) == RC_LIMIT && arena_peak(&fresh) == before);
	t.n--; /* what is broken is no document, however many it names */
	CHECK(oci_parse(span_of(t.at, t.n), &fresh, &d, NULL) == RC_CORRUPT);
	free(t.at);
	arena_close(&fresh);
	CHECK(sizeof(struct oci_descriptor) == 80 && sizeof(struct digest) == 68); /* as limits.h says */
}

static void one_member(void)
{
	const struct span text = span_of_string("{\"a\":1,\"b\":\"x\\ty\",\"o\":{\"a\":[2]},\"e\":\"\",\"a\":3}");
	struct span v = {0};

	CHECK(oci_member(text, "a", &arena, &v) == RC_OK && span_is(v, "3"));
	CHECK(oci_member(text, "b", &arena, &v) == RC_OK && span_is(v, "x\ty"));
	CHECK(oci_member(text, "o", &arena, &v) == RC_OK && span_is(v, "{\"a\":[2]}"));
	CHECK(oci_member(text, "e", &arena, &v) == RC_OK && v.left == 0 && !v.bad);
	CHECK(oci_member(text, "c", &arena, &v) == RC_END);
	CHECK(oci_member(span_of_string("{\"a\":1"), "a", &arena, &v) == RC_CORRUPT);
	CHECK(oci_member(span_of_string("[]"), "a", &arena, &v) == RC_CORRUPT);
}

static void chains(void)
{
	struct digest a, b, chain;

	CHECK(digest_parse(span_of_string("sha256:" A64), &a) == RC_OK && digest_parse(span_of_string("sha256:" B64), &b) == RC_OK);
	oci_chain_id(NULL, &a, &chain);
	CHECK(digest_equal(&chain, &a));
	struct hash h;
	struct digest want;
	hash_begin(&h, DIGEST_SHA256);
	hash_add(&h, "sha256:" A64 " sha256:" B64, 7 + 64 + 1 + 7 + 64);
	hash_end(&h, &want);
	oci_chain_id(&a, &b, &chain);
	CHECK(digest_equal(&chain, &want));
}

int main(void)
{
	struct err e = {0};

	if (arena_open(&arena, &e))
		return 1;
	RUN(an_index);
	RUN(a_manifest);
	RUN(a_config);
	RUN(other_kinds);
	RUN(names);
	RUN(what_go_reads);
	RUN(every_truncation);
	RUN(depth);
	RUN(deep_and_long);
	RUN(wide);
	RUN(too_many);
	RUN(one_member);
	RUN(chains);
	arena_close(&arena);
	return test_failed != 0;
}
