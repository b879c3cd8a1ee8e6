/* SPDX-License-Identifier: MIT */
/* The few keys of containerd's configuration that say where its store is: TOML 1.0 (config.toml, versions 1 to 4; containerd 2.3:
 * cmd/containerd/server/config/config.go), and of docker's daemon.json. Bytes in, records out. What it cannot read is no conclusion:
 * whoever gets RC_CORRUPT knows nothing of that file. */
#ifndef CONFIG_H
#define CONFIG_H

#include "ground/base.h"

struct config_proxy {
	struct span name, type, root; /* type: "snapshot", "content", ...; root: exports.root; each may be empty */
};

struct config {
	uint64_t version;           /* 1 if it does not say */
	struct span root, state;    /* as written; empty: not said */
	struct span overlay;        /* root_path of the overlayfs snapshotter */
	struct span *imports;
	size_t import_count;
	struct config_proxy *proxies;
	size_t proxy_count;
	struct span data_root, exec_root; /* of a daemon.json */
};

/* Spans live as long as the arena. RC_CORRUPT: not as the format is, or a key twice; RC_LIMIT: nested too deep; RC_NOMEM. */
CHECKED enum rc config_parse(struct config *c, struct span text, struct arena *a);
CHECKED enum rc config_parse_json(struct config *c, struct span text, struct arena *a);

/* Whether a name fits a pattern of imports, in which a star stands for any bytes but a slash. */
bool config_name_fits(struct span pattern, struct span name);

#endif
