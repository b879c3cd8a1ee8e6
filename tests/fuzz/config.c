/* SPDX-License-Identifier: MIT */
/* Any bytes as a configuration, and as a daemon.json; no path that is read of them has a zero byte. */
#include "format/config.h"

#include "steps.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void touch(struct span s)
{
	for (size_t i = 0; i < s.left; i++)
		if (s.at[i] == 0)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct arena arena;
	struct err e = {0};
	struct config c = {0};

	if (!arena.region && arena_open(&arena, &e))
		return 0;
	const struct arena mark = arena;
	for (unsigned json = 0; json < 2; json++) {
		const struct span text = span_of(data, size);
		steps_begin();
		const enum rc rc = json ? config_parse_json(&c, text, &arena) : config_parse(&c, text, &arena);
		steps_end(size, 200, 5000);
		if (rc != RC_OK && rc != RC_CORRUPT && rc != RC_LIMIT && rc != RC_NOMEM)
			abort();
		for (size_t i = 0; rc == RC_OK && i < c.import_count; i++)
			touch(c.imports[i]);
		if (rc == RC_OK) {
			touch(c.root);
			touch(c.state);
			touch(c.overlay);
		}
		arena = mark;
	}
	return 0;
}
