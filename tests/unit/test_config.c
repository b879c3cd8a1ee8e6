/* SPDX-License-Identifier: MIT */
/* Configurations as people and programs write them, and every truncation of one. */
#include "format/config.h"

#include <stdlib.h>
#include <string.h>

#include "test.h"

static struct arena arena;

static struct config parse(const char *text, enum rc want)
{
	struct config c = {0};
	const enum rc got = config_parse(&c, span_of_string(text), &arena);

	if (got != want)
		printf("# %d, not %d: %s\n", got, want, text);
	CHECK(got == want);
	return c;
}

static bool overlay_is(const char *text, const char *want)
{
	const struct config c = parse(text, RC_OK);
	const bool same = want ? span_is(c.overlay, want) : c.overlay.left == 0;

	if (!same)
		printf("# root_path %.*s: %s\n", (int)c.overlay.left, (const char *)c.overlay.at, text);
	return same;
}

static void versions(void)
{
	CHECK(overlay_is("version = 2\n[plugins.\"io.containerd.snapshotter.v1.overlayfs\"]\n root_path = \"/x\"\n", "/x"));
	CHECK(overlay_is("version = 3\n[plugins]\n  [plugins.'io.containerd.snapshotter.v1.overlayfs']\n    root_path = '/x y'", "/x y"));
	CHECK(overlay_is("version = 4\nplugins.\"io.containerd.snapshotter.v1.overlayfs\".root_path = \"/x\"", "/x"));
	CHECK(overlay_is("version = 4\nplugins = { \"io.containerd.snapshotter.v1.overlayfs\" = { root_path = \"/x\" } }", "/x"));
	CHECK(overlay_is("[plugins.overlayfs]\nroot_path = \"/x\"", "/x"));
	CHECK(overlay_is("version = 1\n[plugins.overlayfs]\nroot_path = \"/x\"", "/x"));
	CHECK(overlay_is("version = 2\n[plugins.overlayfs]\nroot_path = \"/x\"", NULL));
	CHECK(overlay_is("version = 2\n[[plugins.\"io.containerd.snapshotter.v1.overlayfs\"]]\nroot_path = \"/x\"", NULL));
	CHECK(overlay_is("version = 2\n[plugins.\"io.containerd.snapshotter.v1.native\"]\nroot_path = \"/x\"", NULL));
	CHECK(overlay_is("version = 2\n[plugins.\"io.containerd.snapshotter.v1.overlayfs\"]\nroot_path = \"\"", NULL));
	CHECK(parse("version = 3", RC_OK).version == 3);
	CHECK(parse("", RC_OK).version == 1);
}

static void places(void)
{
	const struct config c = parse(
		"version = 3\r\nroot = \"/data/containerd\" # here\nstate='/run/c'\nimports = [ # several\n "
		"\"/etc/x.toml\",\n 'conf.d/*.toml', ]\n"
		"oom_score = -999\ntemp = \"\"\nrequired_plugins = []\n[timeouts]\n  \"io.containerd.timeout.shim.load\" = \"5s\"\n"
		"[proxy_plugins.stargz]\ntype = \"snapshot\"\naddress = \"/run/s.sock\"\n"
		"[proxy_plugins.stargz.exports]\nroot = \"/var/lib/s\"\n"
		"[plugins.\"io.containerd.grpc.v1.cri\".registry]\nroot = \"not this\"\n"
		"a = [[1, 2], [\"root\", {root = \"nor this\"}]]\nb = {c = 1979-05-27 07:32:00, d = [], e = {}}\nf = 1e5\n"
		"g = \"\"\"\nroot = \"x\" \\\n   y\\\\\"\"\"\"\"\nh = '''\nstate = 'z'''\ni = inf\nj = 0xff\nk = true\n",
		RC_OK);

	CHECK(span_is(c.root, "/data/containerd") && span_is(c.state, "/run/c") && c.version == 3);
	CHECK(c.import_count == 2 && span_is(c.imports[0], "/etc/x.toml") && span_is(c.imports[1], "conf.d/*.toml"));
	CHECK(c.proxy_count == 1 && span_is(c.proxies[0].name, "stargz") && span_is(c.proxies[0].type, "snapshot") &&
		span_is(c.proxies[0].root, "/var/lib/s"));
	CHECK(span_is(parse("root = \"/a\\u00e9\\t\\\\\"", RC_OK).root, "/a\xc3\xa9\t\\"));
	CHECK(span_is(parse("root = \"\"\"\\\n  /a\\\n\n b\"\"\"", RC_OK).root, "/ab"));
	CHECK(span_is(parse("root = ''''/a'''''", RC_OK).root, "'/a''"));
	CHECK(span_is(parse("\"root\" = \"/a\"", RC_OK).root, "/a"));
	CHECK(parse("[a]\nroot = \"/a\"", RC_OK).root.left == 0);
	CHECK(parse("a.root = \"/a\"", RC_OK).root.left == 0);
	CHECK(parse("x = {imports = [\"a\"]}\ny.imports = [\"a\"]", RC_OK).import_count == 0);
}

static void what_is_none(void)
{
	static const char *const texts[] = {"root", "root =", "root = /a", "root = \"/a", "root = \"/a\n\"", "root = 5",
		"root = \"/a\" x",
		"root = \"/a\"\nroot = \"/b\"", "root = [\"/a\"]\nroot = \"/b\" = 1", "imports = [1]", "imports = [\"a\"",
		"imports = [\"a\" \"b\"]", "[a", "[a]]", "[[a]", "[]", "[a.]", "a..b = 1", ".a = 1", "= 1",
		"a = {b = 1", "a = {b}", "a = }",
		"root = \"\\q\"", "root = \"\\u00\"", "root = \"\\u0000\"", "root = \"\\ud83d\\ude00\"", "root = '''/a", "root = \"\\",
		"version = x",
		"version = 2\nversion = 3", "\"\"\"a\"\"\" = 1", "a = 1 b = 2",
		"root = \"a\x01\"", "a = [1,,2]"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		(void)parse(texts[i], RC_CORRUPT);
}

static void limits(void)
{
	char text[400];

	memset(text, '[', sizeof(text));
	memcpy(text, "a = ", 4);
	text[399] = 0;
	(void)parse(text, RC_LIMIT);
	for (size_t i = 0; i < 399; i++)
		text[i] = i % 2 ? '.' : 'a';
	(void)parse(text, RC_LIMIT);
}

static void json(void)
{
	struct config c = {0};
	static const char good[] = " {\n\t\"data-root\": \"/mnt/docker\", \"features\": {\"containerd-snapshotter\": true, "
				   "\"data-root\": \"no\"},\n"
				   "\"log-opts\": {\"a\\/b\": [\"x\", {\"exec-root\": 1}], \"n\": null}, "
				   " \"exec-root\" : \"/run/d\", \"m\": -1.5e3}\n";

	CHECK(config_parse_json(&c, span_of_string(good), &arena) == RC_OK);
	CHECK(span_is(c.data_root, "/mnt/docker") && span_is(c.exec_root, "/run/d"));
	for (size_t n = 0; n + 2 < sizeof(good); n++)
		CHECK(config_parse_json(&c, span_of(good, n), &arena) == RC_CORRUPT);
	CHECK(config_parse_json(&c, span_of_string("{} x"), &arena) == RC_CORRUPT);
	CHECK(config_parse_json(&c, span_of_string("{'a': 1}"), &arena) == RC_CORRUPT);
	CHECK(config_parse_json(&c, span_of_string("{}"), &arena) == RC_OK);
}

/* In memory of its own, so that a byte too far is seen; and with every byte another one. */
static void truncations_and_changes(void)
{
	static const char text[] = "version = 2\nroot = \"/a\\tb\"\n[plugins.'io.containerd.snapshotter.v1.overlayfs']\n"
				   "root_path = '''\n/x'''\n"
				   "[x]\ny = [{a = \"\"\"q\\\n z\"\"\"}, 'l', 1979-05-27 07:32:00]\n"
				   "[proxy_plugins.p]\ntype = \"snapshot\"\n";

	for (size_t n = 0; n < sizeof(text); n++) {
		const struct arena mark = arena;
		uint8_t *const copy = malloc(n ? n : 1);
		struct config c;
		if (!copy)
			abort();
		memcpy(copy, text, n);
		const enum rc rc = config_parse(&c, span_of(copy, n), &arena);
		CHECK(rc == RC_OK || rc == RC_CORRUPT);
		for (unsigned change = 1; n && change < 256; change++) {
			const struct arena inner = arena;
			copy[n - 1] = (uint8_t)((uint8_t)text[n - 1] ^ change);
			const enum rc changed = config_parse(&c, span_of(copy, n), &arena);
			CHECK(changed == RC_OK || changed == RC_CORRUPT);
			arena = inner;
		}
		free(copy);
		arena = mark;
	}
}

static void patterns(void)
{
	static const struct {
		const char *pattern, *name;
		bool fits;
	} rows[] = {{"*.toml", "a.toml", true}, {"*.toml", ".toml", true}, {"*.toml", "a.tom", false}, {"*", "", true},
		{"a*b*c", "axbxc", true},
		{"a*b*c", "axbx", false}, {"a", "a", true}, {"a", "b", false}, {"*", "a/b", false},
		{"**", "ab", true}, {"", "", true}, {"", "a", false}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		CHECK(config_name_fits(span_of_string(rows[i].pattern), span_of_string(rows[i].name)) == rows[i].fits);
}

int main(void)
{
	struct err e = {0};

	if (arena_open(&arena, &e))
		return 1;
	RUN(versions);
	RUN(places);
	RUN(what_is_none);
	RUN(limits);
	RUN(json);
	RUN(truncations_and_changes);
	RUN(patterns);
	return test_failed != 0;
}
