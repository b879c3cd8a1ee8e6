/* SPDX-License-Identifier: MIT */
#include "layer/init.h"

#include <string.h>

#define BLOCK 512u

/* Files, but for one link, and then the directories that are made where the image has none: most have the last two. What they lie in
 * is made on the way, or is copied from the image. */
static const char names[][17] = {".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/mtab", "dev/pts/",
	"dev/shm/", "proc/", "sys/"};
#define LINK 5
#define OPTIONAL 4
#define NAMES (sizeof(names) / sizeof(names[0]))
#define INODES_MOST (NAMES + 3) /* fs, dev and etc */

struct writer {
	size_t at, end;
	uint8_t block[BLOCK];
};

bool init_layer_fits(uint64_t inodes)
{
	/* all four directories, none, or the two that hardly an image has: which one or which three it is nobody knows */
	return inodes == INODES_MOST || inodes == INODES_MOST - OPTIONAL / 2 || inodes == INODES_MOST - OPTIONAL;
}

static enum rc next_header(void *self, struct span *piece, struct err *e)
{
	struct writer *const w = self;
	uint8_t *const b = w->block;
	unsigned sum = 8 * ' ';

	(void)e;
	if (w->at == w->end)
		return RC_END;
	memset(b, 0, BLOCK);
	memcpy(b, names[w->at], sizeof(names[0]));
	memcpy(b + 100, "0000755", 8);
	b[156] = w->at < LINK ? '0' : w->at == LINK ? '2' : '5';
	if (w->at == LINK)
		memcpy(b + 157, "/proc/mounts", 13);
	memcpy(b + 257, "ustar", 6);
	b[263] = b[264] = (uint8_t)'0';
	for (size_t i = 0; i < BLOCK; i++)
		sum += b[i];
	for (unsigned i = 0; i < 6; i++, sum >>= 3)
		b[148 + 5 - i] = (uint8_t)('0' + (sum & 7));
	w->at++;
	*piece = span_of(b, BLOCK);
	return RC_OK;
}

enum rc init_layer_tar(uint64_t inodes, struct arena *a, struct tar **t, struct err *e)
{
	struct writer *const w = arena_get(a, sizeof(*w));

	if (!w)
		return no_memory(e);
	w->end = NAMES - (size_t)(INODES_MOST - min_u64(inodes, INODES_MOST));
	return tar_open(t, (struct tar_source){next_header, w}, a, e);
}
