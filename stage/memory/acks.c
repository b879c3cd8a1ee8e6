/* SPDX-License-Identifier: MIT */
#include "memory/acks.h"

#include <string.h>

#include "ground/os.h"
#include "ground/os_write.h"
#include "memory/own.h"

/* bytes; some hundred lines */
#define FILE_BYTES 65536
/* bytes of one, escaped */
#define ID_BYTES 1024

struct span acks_read(int own, struct arena *a)
{
	struct err ignored = {0};
	struct span lines = {0};

	return own < 0 || os_read_small(own, ACKS_NAME, FILE_BYTES, a, &lines, &ignored) ? (struct span){0} : lines;
}

/* Where its line is; NULL: nowhere. */
static const uint8_t *find(struct span lines, const char *id, size_t n)
{
	while (lines.left) {
		const struct span one = span_take_to(&lines, '\n');
		if (span_equal(one, span_of(id, n)))
			return one.at;
	}
	return NULL;
}

bool acks_have(struct span lines, struct span raw)
{
	char text[ID_BYTES];

	if (!lines.left || !raw.left)
		return false;
	const size_t n = escape(text, sizeof(text), raw);
	return n < sizeof(text) && find(lines, text, n);
}

enum rc acks_change(int own, const char *id, bool undo, struct arena scratch, struct err *e)
{
	const size_t n = strlen(id);
	const char *const line = arena_printf(&scratch, "%s\n", id);
	struct span lines = {0};
	auto_fd fd = -1;
	enum rc rc = os_read_small(own, ACKS_NAME, FILE_BYTES, &scratch, &lines, e);

	if ((rc && rc != RC_END) || !line || (lines.left && lines.at[lines.left - 1] != '\n'))
		return fail(e, RC_CORRUPT, STORE_OWN_DIR "/" ACKS_NAME " cannot be read: move it away");
	if (strchr(id, '\n') || n >= ID_BYTES || (!undo && lines.left + n >= FILE_BYTES))
		return fail(e, RC_LIMIT, "that is too long, or there are too many");
	const uint8_t *const at = find(lines, id, n);
	if (!at == undo)
		return RC_END;
	const size_t before = at ? (size_t)(at - lines.at) : lines.left;
	const void *const rest = undo ? (const char *)at + n + 1 : line;
	if ((rc = own_create_beside(own, ACKS_NAME, &fd, e)) || (rc = os_write(fd, 0, lines.at, before, e)) ||
		(rc = os_write(fd, before, rest, undo ? lines.left - before - n - 1 : n + 1, e)))
		return rc;
	return own_put_in_place(own, ACKS_NAME, fd, e);
}
