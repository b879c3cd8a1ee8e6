/* SPDX-License-Identifier: MIT */
/* What a bbolt file is made of, for those who read and write one: format/bolt*.c; nobody else includes it. bbolt 1.4.3:
 * internal/common/page.go, meta.go, bucket.go; little-endian. */
#ifndef BOLT_PAGES_H
#define BOLT_PAGES_H

#define MAGIC 0xED0CDAEDu
#define VERSION 2u
#define META_SUM_AT 72u

#define FLAG_BRANCH 1u
#define FLAG_LEAF 2u
#define FLAG_META 4u
#define FLAG_FREELIST 16u

#define HEADER_BYTES 16u
#define ELEMENT_BYTES 16u
#define BUCKET_BYTES 16u
#define COUNT_MAX 65534u /* elements of a page: bbolt's writer stops at 65535 */
#define KEY_MAX 32768u	 /* bytes; bbolt: MaxKeySize, which bucket names escape */

#endif
