/* SPDX-License-Identifier: MIT */
/* The one layer that no blob has: what dockerd puts beneath a container's own (moby 28.5: daemon/initlayer/setup_unix.go), empty files and
 * directories to mount on. Whoever replays it has a layer like any other. */
#ifndef INIT_H
#define INIT_H

#include "format/tar.h"

/* Whether so many inodes, fs included, are what dockerd makes there: it leaves out directories that the image has. */
bool init_layer_fits(uint64_t inodes);
CHECKED enum rc init_layer_tar(uint64_t inodes, struct arena *a, struct tar **t, struct err *e);

#endif
