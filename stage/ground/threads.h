/* SPDX-License-Identifier: MIT */
/* Threads beside each other: a lock, and waiting for what another does under it. futex(2) and no more: libc's mutexes and conditions
 * are 4 KiB, for kinds that nobody here asks for. */
#ifndef THREADS_H
#define THREADS_H

#include <pthread.h>
#include <stdatomic.h>

#include "ground/base.h"

/* Zeroed it is free. Nothing has to be given back. */
struct lock {
	atomic_uint held; /* 0: free; 2: somebody may wait for it */
	atomic_uint told; /* how often, which goes round */
};

void lock_take(struct lock *l);
void lock_give(struct lock *l);
/* Of whoever holds it: gives it, waits until somebody tells, or for ms milliseconds, and takes it again. It may end for no reason at
 * all: the caller looks again whether what it waits for is so. ms < 0: no end. */
void lock_wait(struct lock *l, int ms);
/* To one that waits: something has changed. What has was changed under the lock. */
void lock_tell(struct lock *l);

/* With a stack for os_list and zlib's tables; false: no memory, or no more threads. pthread_join ends it. */
CHECKED bool thread_begin(pthread_t *thread, void *(*run)(void *self), void *self);

#endif
