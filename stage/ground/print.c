/* SPDX-License-Identifier: MIT */
/* Text from a format: what this program uses of printf. libc's own has floating point and wide characters, and is 10 KiB. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ground/base.h"

struct printing {
	char *out;
	size_t cap, n; /* n: of the whole text, more than cap if it is cut */
};

static void put_bytes(struct printing *p, const char *text, size_t n)
{
	if (p->n < p->cap)
		memcpy(p->out + p->n, text, n < p->cap - p->n ? n : p->cap - p->n);
	p->n += n;
}

static void put_number(struct printing *p, unsigned long long value, unsigned base, bool negative, char fill, int width)
{
	char digits[32];
	char *at = digits + sizeof(digits);

	if (negative)
		value = 0 - value;
	do
		*--at = "0123456789abcdef"[value % base];
	while ((value /= base));
	if (negative && fill == ' ')
		*--at = '-';
	else if (negative)
		put_bytes(p, "-", 1);
	for (int n = (int)(digits + sizeof(digits) - at) + (negative && fill == '0'); n < width; n++)
		put_bytes(p, &fill, 1);
	put_bytes(p, at, (size_t)(digits + sizeof(digits) - at));
}

/* The number at *format, or the next argument for a star; 0 if there is none. */
static int take_count(const char **format, int star)
{
	int n = 0;

	if (**format == '*') {
		(*format)++;
		return star;
	}
	for (; **format >= '0' && **format <= '9'; (*format)++)
		n = n * 10 + (**format - '0');
	return n;
}

int print_to_v(char *out, size_t cap, const char *format, va_list arguments)
{
	struct printing p = {out, cap ? cap - 1 : 0, 0};

	for (;; format++) {
		const size_t plain = strcspn(format, "%");
		put_bytes(&p, format, plain);
		if (!format[plain])
			break;
		format += plain + 1;
		const char fill = *format == '0' ? '0' : ' ';
		const int width = take_count(&format, *format == '*' ? va_arg(arguments, int) : 0);
		int most = -1;
		if (*format == '.') {
			format++;
			most = take_count(&format, *format == '*' ? va_arg(arguments, int) : 0);
		}
		/* int, long, long long */
		const unsigned longs = *format == 'z' ? 1 : (unsigned)strspn(format, "l");
		format += *format == 'z' ? 1 : longs;
		if (*format == 's') {
			const char *text = va_arg(arguments, const char *);
			if (!text)
				text = "(null)"; /* as libc has it: a fault of ours that hurts nobody */
			put_bytes(&p, text, most < 0 ? strlen(text) : strnlen(text, (size_t)most));
		} else if (*format == 'c') {
			put_bytes(&p, &(char){(char)va_arg(arguments, int)}, 1);
		} else if (*format == '%') {
			put_bytes(&p, format, 1);
		} else if (*format == 'd') {
			const long long value = longs > 1 ? va_arg(arguments, long long) :
				longs ? va_arg(arguments, long) : va_arg(arguments, int);
			put_number(&p, (unsigned long long)value, 10, value < 0, fill, width);
		} else {
			const unsigned long long value = longs > 1 ? va_arg(arguments, unsigned long long) :
				longs ? va_arg(arguments, unsigned long) : va_arg(arguments, unsigned);
			put_number(&p, value, *format == 'x' ? 16 : *format == 'o' ? 8 : 10, false, fill, width);
		}
	}
	if (cap)
		out[p.n < p.cap ? p.n : p.cap] = 0;
	return (int)p.n;
}

int print_to(char *out, size_t cap, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	const int n = print_to_v(out, cap, format, arguments);
	va_end(arguments);
	return n;
}

/* What this program's calls come to, as musl says it, but for EUCLEAN, which it does not know. Each begins with its number: a table of
 * strings would be pointers; and of libc's 130 most are of networks and terminals. */
static const char errors[] =
	"\1" "Operation not permitted\0" /* EPERM */
	"\2" "No such file or directory\0" /* ENOENT */
	"\3" "No such process\0" /* ESRCH */
	"\4" "Interrupted system call\0" /* EINTR */
	"\5" "I/O error\0" /* EIO */
	"\6" "No such device or address\0" /* ENXIO */
	"\7" "Argument list too long\0" /* E2BIG */
	"\11" "Bad file descriptor\0" /* EBADF */
	"\13" "Resource temporarily unavailable\0" /* EAGAIN */
	"\14" "Out of memory\0" /* ENOMEM */
	"\15" "Permission denied\0" /* EACCES */
	"\20" "Resource busy\0" /* EBUSY */
	"\21" "File exists\0" /* EEXIST */
	"\22" "Cross-device link\0" /* EXDEV */
	"\23" "No such device\0" /* ENODEV */
	"\24" "Not a directory\0" /* ENOTDIR */
	"\25" "Is a directory\0" /* EISDIR */
	"\26" "Invalid argument\0" /* EINVAL */
	"\27" "Too many open files in system\0" /* ENFILE */
	"\30" "No file descriptors available\0" /* EMFILE */
	"\31" "Not a tty\0" /* ENOTTY */
	"\32" "Text file busy\0" /* ETXTBSY */
	"\33" "File too large\0" /* EFBIG */
	"\34" "No space left on device\0" /* ENOSPC */
	"\36" "Read-only file system\0" /* EROFS */
	"\37" "Too many links\0" /* EMLINK */
	"\42" "Result not representable\0" /* ERANGE */
	"\44" "Filename too long\0" /* ENAMETOOLONG */
	"\46" "Function not implemented\0" /* ENOSYS */
	"\47" "Directory not empty\0" /* ENOTEMPTY */
	"\50" "Symbolic link loop\0" /* ELOOP */
	"\75" "No data available\0" /* ENODATA */
	"\112" "Bad message\0" /* EBADMSG */
	"\113" "Value too large for data type\0" /* EOVERFLOW */
	"\137" "Not supported\0" /* EOPNOTSUPP */
	"\151" "No buffer space available\0" /* ENOBUFS */
	"\153" "Socket not connected\0" /* ENOTCONN */
	"\156" "Operation timed out\0" /* ETIMEDOUT */
	"\157" "Connection refused\0" /* ECONNREFUSED */
	"\164" "Stale file handle\0" /* ESTALE */
	"\165" "Structure needs cleaning\0" /* EUCLEAN */
	"\171" "Remote I/O error\0" /* EREMOTEIO */
	"\172" "Quota exceeded\0" /* EDQUOT */
	"\173" "No medium found\0" /* ENOMEDIUM */
	"\175" "Operation canceled\0" /* ECANCELED */
	"\176" "Required key not available\0" /* ENOKEY */;
_Static_assert(ENODATA == 61 && EUCLEAN == 117 && EDQUOT == 122, "the numbers are of this machine");

const char *error_text(int error)
{
	static char others[256][24];
	char *const other = others[error & 255];

	for (const char *at = errors; *at; at += strlen(at) + 1)
		if ((unsigned char)*at == error)
			return at + 1;
	(void)print_to(other, sizeof(others[0]), "error %d", error); /* fits; two threads that do it at once write the same */
	return other;
}

void must_not(const char *file, unsigned line)
{
	char text[320];
	const int n = print_to(text, sizeof(text), "containerd-fsck: a fault of its own: %s:%u\n", file, line);

	if (write(STDERR_FILENO, text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1) < 0)
		errno = 0; /* there is nobody to tell */
	abort();
}

struct time_text time_text(uint64_t seconds)
{
	static const uint8_t lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	unsigned days = (unsigned)(seconds / 86400 % 2932897), of_day = (unsigned)(seconds % 86400), year = 1970, month = 0;
	struct time_text t;

	for (;; month = (month + 1) % 12, year += month == 0) {
		const bool leap = month == 1 && year % 4 == 0 && (year % 100 || year % 400 == 0);
		const unsigned n = lengths[month] + (unsigned)leap;
		if (days < n)
			break;
		days -= n;
	}
	(void)print_to(t.text, sizeof(t.text), "%04u-%02u-%02uT%02u:%02u:%02uZ", year, month + 1, days + 1, of_day / 3600,
		of_day / 60 % 60, of_day % 60); /* fits */
	return t;
}
