/* SPDX-License-Identifier: MIT */
/* What is called how in a containerd root (containerd 1.6 to 2.3: plugins/types.go, and the id of each plugin), and our directory
 * in it. */
#ifndef NAMES_H
#define NAMES_H

#define STORE_META_DIR "io.containerd.metadata.v1.bolt"
#define STORE_CONTENT_DIR "io.containerd.content.v1.content"
#define STORE_OVERLAY_DIR "io.containerd.snapshotter.v1.overlayfs"
#define STORE_CRI_DIR "io.containerd.grpc.v1.cri"
#define STORE_INTROSPECTION_DIR "io.containerd.grpc.v1.introspection"
#define STORE_OWN_DIR "containerd-fsck"
#define STORE_NEW_SUFFIX ".containerd-fsck" /* of a database that is being made again, beside it */
#define STORE_RESET "reset" /* in our directory, while a store is being reset */
#define STORE_KUBERNETES "k8s.io"

#endif
