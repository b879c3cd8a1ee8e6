/* SPDX-License-Identifier: MIT */
/* Every bound of the program, with its unit and its reason. Past a bound the answer is RC_LIMIT, "too big to check",
 * never "clean" and never "damaged". */
#ifndef LIMITS_H
#define LIMITS_H

/* bytes; one path component: NAME_MAX of every Linux file system */
#define LIMIT_NAME_BYTES 255

/* bytes; a path inside a layer. containerd joins it to a root path, and PATH_MAX bounds the result. */
#define LIMIT_PATH_BYTES 4096

/* components of a path inside a layer: every second byte of LIMIT_PATH_BYTES a slash */
#define LIMIT_PATH_DEPTH 2048

/* nodes of a layer's tree, removed ones included: twice a layer of 2,000,000 entries. A node takes 28
 * bytes and its name. */
#define LIMIT_LAYER_NODES (1u << 22)

/* steps of looking up names in one layer's tree, some 80 ns each: a layer of 2,000,000 entries, each in a directory of its
 * own 10 deep, takes some 50,000,000. Archives built to make each entry dear end here after some seconds. */
#define LIMIT_LAYER_STEPS ((uint64_t)1 << 26)

/* bytes of address space an arena may grow to; only what is touched is memory. 1,000,000 entries of a layer model fit. */
#define LIMIT_ARENA_BYTES ((size_t)1 << 30)

/* bytes; what is read of a store, some 260 for a snapshot's record and 430 for a download: 190,000 of the one or 115,000 of the other,
 * where nodes have some thousands at most. Past it the store is too big to check. */
#define LIMIT_STORE_BYTES ((size_t)48 << 20)

/* bytes; that, and what is learnt of it, planned and edited. With the program itself it is 64 MiB. */
#define LIMIT_KEEP_BYTES ((size_t)60 << 20)

/* bytes; step in which an arena makes its reservation usable */
#define LIMIT_ARENA_STEP ((size_t)256 << 10)

/* bytes; an index, manifest or config. containerd reads manifests up to 8 MiB (containerd 2.3: core/images/image.go reads
 * whole blobs); registries refuse above 4 MiB. */
#define LIMIT_JSON_BYTES ((size_t)8 << 20)

/* bytes; our journal. A blob takes some 150 of them, a snapshot 200: a million objects fit. */
#define LIMIT_JOURNAL_BYTES ((size_t)256 << 20)

/* containers inside containers of a JSON document: what Go's encoding/json reads, and so containerd (Go 1.24: encoding/json, scanner.go:
 * maxNestingDepth). Beyond it is no JSON to either. */
#define LIMIT_JSON_DEPTH 10000

/* descriptors of one index or manifest: one for each layer that an image can have (LIMIT_LAYERS). Indexes of the field have some tens. */
#define LIMIT_DESCRIPTORS 4096

/* bytes; what is known of all indexes, manifests and configs of a store, 80 for each descriptor and 68 for each diff ID: some 3,000
 * images of ten layers, or 100,000 descriptors. Beside it a layer of 1,000,000 files still fits into 64 MiB. */
#define LIMIT_DOCUMENTS_BYTES ((size_t)8 << 20)

/* descriptors that are looked at to tell what became of all images, or, for all namespaces, what there is to be compared or wanted: those
 * of an index or manifest as often as there are ways to it, but for the first time, some 2 us each. An image of ten layers, for some
 * twenty platforms, takes 30: so many are a small one, and have as much for themselves as all others. Past it one is not verified, or
 * it is not known what a manifest leads to. */
#define LIMIT_IMAGE_STEPS ((uint64_t)1 << 18)
#define LIMIT_SMALL_IMAGE 64

/* snapshots between one that is named by a chain ID and the next below that is: what docker commits stands on a container's, and that on
 * what dockerd makes for it */
#define LIMIT_BETWEEN 16

/* pairs of a snapshot's parent and a local layer's diff ID that are hashed to see which snapshot the layer is, where no config
 * tells: some 0.5 us each. Past it a snapshot is unchecked. 2,000 parents whose configs are all lost, and as many layers, fit. */
#define LIMIT_CHAIN_PAIRS ((uint64_t)1 << 22)

/* chain IDs of other snapshotters' snapshots that are kept, some 100 bytes each: to tell which images only they have unpacked. Past
 * it any image may be one. */
#define LIMIT_FOREIGN_SNAPSHOTS ((size_t)1 << 18)

/* blobs that one snapshot is tried with beside those that manifests name: one layer as plain tar, gzip and zstd are three */
#define LIMIT_PROOFS 8

/* layers of one image. overlayfs mounts at most 500 lower directories; the rest is headroom. */
#define LIMIT_LAYERS 4096

/* indexes inside indexes. containerd has no bound; one inside another is the most that is found in the wild. */
#define LIMIT_INDEX_DEPTH 32

/* pages from the root of a bolt tree to a leaf, and buckets inside buckets. A tree with the smallest fan-out (2) and 2^48
 * pages is 48 deep; containerd nests 7 buckets. */
#define LIMIT_BOLT_DEPTH 64
#define LIMIT_BUCKET_DEPTH 32

/* bytes; a bolt file we read. 2^40: no meta.db of the field is above 1 GiB. */
#define LIMIT_BOLT_BYTES ((uint64_t)1 << 40)

/* bytes; pax header or GNU long name block: Go's archive/tar refuses above 1 MiB (Go 1.20: archive/tar/common.go) */
#define LIMIT_TAR_SPECIAL_BYTES ((size_t)1 << 20)

/* bytes; what one layer may decompress to. A megabyte of zeros can be made to be more than a disk holds. */
#define LIMIT_LAYER_BYTES ((uint64_t)64 << 30)

/* bytes; the largest window a zstd frame may ask for (zstd --ultra --long=27) */
#define LIMIT_ZSTD_WINDOW_BYTES ((size_t)128 << 20)

/* bytes; all extended attributes of one entry (XATTR_SIZE_MAX, Linux: include/uapi/linux/limits.h) */
#define LIMIT_XATTR_BYTES 65536

/* directories inside a directory that containerd does not know, in which bytes of blobs are looked for: it puts none there at all */
#define LIMIT_STRAY_DEPTH 8

/* documents found in such bytes that lead to others found so: an index, what it may lead to (LIMIT_INDEX_DEPTH), and the rest is
 * headroom */
#define LIMIT_FOUND_ROUNDS 16

/* worker threads */
#define LIMIT_THREADS 64

/* findings listed on the console and in the report of one run for one code; the total is always kept */
#define LIMIT_LISTED_PER_CODE 1000

#endif
