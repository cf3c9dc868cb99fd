/* SPDX-License-Identifier: Apache-2.0 */
/* Instants, civil dates and zones. The only place that reads a clock or
 * touches libical. */
#ifndef CN_CLOCK_H
#define CN_CLOCK_H

#include "common/base/err.h"

#include <stdint.h>

/* Microseconds, the unit of every x_at. */
#define CN_SECOND ((int64_t)1000000)
#define CN_MINUTE (60 * CN_SECOND)
#define CN_HOUR   (60 * CN_MINUTE)
#define CN_DAY    (24 * CN_HOUR)

enum { CN_TIME_TEXT_MAX = 32 };

struct cn_date {
    int year;
    int month; /* 1..12 */
    int day;   /* 1..31 */
};

/* Civil time in some zone. */
struct cn_civil {
    struct cn_date date;
    int minute_of_day; /* 0..1439 */
    int second;
};

/* Microseconds UTC since 1970. Code reaches it through struct cn_env. */
int64_t cn_clock_real(void);
/* Microseconds of a clock that never jumps; for deadlines and durations. */
int64_t cn_clock_monotonic(void);

/* RFC 3339 with Z, fraction only where it is not zero. */
void cn_time_format(int64_t at, char text[CN_TIME_TEXT_MAX]);
/* RFC 3339 with Z or an offset, in the years 1 to 9999 of UTC: what
 * cn_time_format can write. False for any other text. */
CN_CHECKED bool cn_time_parse(const char *text, int64_t *ret_at);
/* HTTP date (RFC 9110 5.6.7), for Last-Modified. */
void cn_time_format_http(int64_t at, char text[CN_TIME_TEXT_MAX]);

/* YYYY-MM-DD of a real day, else false. */
CN_CHECKED bool cn_date_parse(const char *text, struct cn_date *ret_date);
void cn_date_format(struct cn_date date, char text[CN_TIME_TEXT_MAX]);
struct cn_date cn_date_add(struct cn_date date, int days);
int cn_date_compare(struct cn_date a, struct cn_date b);
/* 0 = Monday .. 6 = Sunday (ISO 8601 order). */
int cn_date_weekday(struct cn_date date);
/* Days since 1970-01-01. */
int64_t cn_date_days(struct cn_date date);

/* Is it a zone of the IANA database ("America/Denver")? */
bool cn_zone_valid(const char *zone);
/* The instant of a civil time. A time that a clock change skips moves forward;
 * of a time that comes twice, the first is taken. False for an unknown zone. */
CN_CHECKED bool
cn_zone_instant(const char *zone, struct cn_civil civil, int64_t *ret_at);
CN_CHECKED bool
cn_zone_civil(const char *zone, int64_t at, struct cn_civil *ret_civil);
/* Civil time for people: "Mon 2026-03-09 21:00 EDT". */
CN_CHECKED bool
cn_zone_format(const char *zone, int64_t at, char text[CN_TIME_TEXT_MAX * 2]);

#endif
