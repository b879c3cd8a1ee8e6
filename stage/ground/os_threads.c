/* SPDX-License-Identifier: MIT */
#include "ground/threads.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Ulrich Drepper, "Futexes Are Tricky", mutex2: nobody asks the kernel but where two meet. */
void lock_take(struct lock *l)
{
	unsigned seen = 0;

	if (!atomic_compare_exchange_strong(&l->held, &seen, 1))
		while (atomic_exchange(&l->held, 2)) /* the kernel lets nobody wait where it is free by now, and a signal ends it */
			(void)syscall(SYS_futex, &l->held, FUTEX_WAIT_PRIVATE, 2, NULL);
}

void lock_give(struct lock *l)
{
	if (atomic_exchange(&l->held, 0) == 2)
		(void)syscall(SYS_futex, &l->held, FUTEX_WAKE_PRIVATE, 1); /* nobody waits any more: nobody is woken */
}

void lock_wait(struct lock *l, int ms)
{
	const unsigned told = l->told; /* under the lock: whoever tells from here on makes it another */
	const struct timespec limit = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	lock_give(l);
	(void)syscall(SYS_futex, &l->told, FUTEX_WAIT_PRIVATE, told, ms < 0 ? NULL : &limit); /* however it ends, the caller looks */
	lock_take(l);
}

void lock_tell(struct lock *l)
{
	l->told++;
	(void)syscall(SYS_futex, &l->told, FUTEX_WAKE_PRIVATE, 1); /* nobody waits: nobody is told */
}

bool thread_begin(pthread_t *thread, void *(*run)(void *self), void *self)
{
	pthread_attr_t attributes;

	if (pthread_attr_init(&attributes))
		return false;
	const bool begun = pthread_attr_setstacksize(&attributes, (size_t)512 << 10) == 0 && /* musl gives 128 KiB */
			   pthread_create(thread, &attributes, run, self) == 0;
	(void)pthread_attr_destroy(&attributes); /* holds nothing on musl or glibc */
	return begun;
}
