/* SPDX-License-Identifier: Apache-2.0 */
/* Reading clocks, the proleptic Gregorian calendar, and zones by libical from
 * the system's tzdata. */
#include "common/base/clock.h"

#include <ctype.h>
#include <libical/ical.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char s_weekdays[7][4] = { "Mon", "Tue", "Wed", "Thu",
                                       "Fri", "Sat", "Sun" };
static const char s_months[12][4] = {
    "Jan", "Feb", "Mar", "Apr", "May", "Jun",
    "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"
};

static int64_t s_clock_read(clockid_t clock)
{
    struct timespec now = { 0 };
    (void)clock_gettime(clock, &now);
    return now.tv_sec * CN_SECOND + now.tv_nsec / 1000;
}

int64_t cn_clock_real(void)
{
    return s_clock_read(CLOCK_REALTIME);
}

int64_t cn_clock_monotonic(void)
{
    return s_clock_read(CLOCK_MONOTONIC);
}

/* Calendar. A year begins in March here, so that the leap day is its last. */

static int64_t s_divide_down(int64_t a, int64_t b)
{
    int64_t quotient = a / b;
    return a % b < 0 ? quotient - 1 : quotient;
}

int64_t cn_date_days(struct cn_date date)
{
    int64_t year = date.month > 2 ? date.year : (int64_t)date.year - 1;
    int64_t era = s_divide_down(year, 400);
    int64_t year_of_era = year - era * 400;
    int64_t month = (date.month + 9) % 12;
    int64_t day_of_year = (153 * month + 2) / 5 + date.day - 1;
    int64_t day_of_era =
        year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static struct cn_date s_date_of(int64_t days)
{
    days += 719468;
    int64_t era = s_divide_down(days, 146097);
    int64_t day_of_era = days - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 -
                           day_of_era / 146096) /
                          365;
    int64_t day_of_year =
        day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month = (5 * day_of_year + 2) / 153;
    struct cn_date date = { 0 };
    date.day = (int)(day_of_year - (153 * month + 2) / 5 + 1);
    date.month = (int)(month < 10 ? month + 3 : month - 9);
    date.year = (int)(year_of_era + era * 400 + (date.month <= 2 ? 1 : 0));
    return date;
}

struct cn_date cn_date_add(struct cn_date date, int days)
{
    return s_date_of(cn_date_days(date) + days);
}

int cn_date_compare(struct cn_date a, struct cn_date b)
{
    if (a.year != b.year) {
        return a.year < b.year ? -1 : 1;
    }
    if (a.month != b.month) {
        return a.month < b.month ? -1 : 1;
    }
    return a.day == b.day ? 0 : a.day < b.day ? -1 : 1;
}

static int s_weekday_of(int64_t days)
{
    /* 1970-01-01 was a Thursday. */
    return (int)(days + 3 - s_divide_down(days + 3, 7) * 7);
}

int cn_date_weekday(struct cn_date date)
{
    return s_weekday_of(cn_date_days(date));
}

static struct cn_civil s_civil_of(int64_t seconds)
{
    int64_t days = s_divide_down(seconds, 86400);
    int second_of_day = (int)(seconds - days * 86400);
    struct cn_civil civil = { s_date_of(days), second_of_day / 60,
                              second_of_day % 60 };
    return civil;
}

static int64_t s_seconds_of(struct cn_civil civil)
{
    return cn_date_days(civil.date) * 86400 +
           (int64_t)civil.minute_of_day * 60 + civil.second;
}

/* Text. */

static void s_cut_copy(char *text, size_t size_max, const char *from)
{
    size_t size = strnlen(from, size_max - 1);
    memcpy(text, from, size);
    text[size] = '\0';
}

/* Writes exactly count digits. A list has hundreds of times, and snprintf takes
 * ten times as long. */
static char *s_write_digits(char *at, int number, int count)
{
    for (int i = count - 1; i >= 0; i--) {
        at[i] = (char)('0' + number % 10);
        number /= 10;
    }
    return at + count;
}

static char *s_write_date(char *at, struct cn_date date)
{
    if (date.year < 0 || date.year > 9999) {
        char year[16];
        int size = snprintf(year, sizeof year, "%04d", date.year);
        memcpy(at, year, (size_t)size);
        at += size;
    } else {
        at = s_write_digits(at, date.year, 4);
    }
    *at++ = '-';
    at = s_write_digits(at, date.month, 2);
    *at++ = '-';
    return s_write_digits(at, date.day, 2);
}

void cn_time_format(int64_t at, char text[CN_TIME_TEXT_MAX])
{
    int64_t seconds = s_divide_down(at, CN_SECOND);
    int us = (int)(at % CN_SECOND);
    us += us < 0 ? (int)CN_SECOND : 0;
    struct cn_civil civil = s_civil_of(seconds);
    char *end = s_write_date(text, civil.date);
    *end++ = 'T';
    end = s_write_digits(end, civil.minute_of_day / 60, 2);
    *end++ = ':';
    end = s_write_digits(end, civil.minute_of_day % 60, 2);
    *end++ = ':';
    end = s_write_digits(end, civil.second, 2);
    if (us != 0) {
        *end++ = '.';
        end = s_write_digits(end, us, 6);
    }
    *end++ = 'Z';
    *end = '\0';
}

void cn_time_format_http(int64_t at, char text[CN_TIME_TEXT_MAX])
{
    int64_t seconds = s_divide_down(at, CN_SECOND);
    struct cn_civil civil = s_civil_of(seconds);
    char whole[96];
    (void)snprintf(whole, sizeof whole, "%s, %02d %s %04d %02d:%02d:%02d GMT",
                   s_weekdays[cn_date_weekday(civil.date)], civil.date.day,
                   s_months[civil.date.month - 1], civil.date.year,
                   civil.minute_of_day / 60, civil.minute_of_day % 60,
                   civil.second);
    s_cut_copy(text, CN_TIME_TEXT_MAX, whole);
}

void cn_date_format(struct cn_date date, char text[CN_TIME_TEXT_MAX])
{
    char whole[96];
    (void)snprintf(whole, sizeof whole, "%04d-%02d-%02d", date.year, date.month,
                   date.day);
    s_cut_copy(text, CN_TIME_TEXT_MAX, whole);
}

/* Reads exactly count digits. */
static bool s_digits_read(const char **text, int count, int *ret_number)
{
    int number = 0;
    for (int i = 0; i < count; i++) {
        char c = (*text)[i];
        if (c < '0' || c > '9') {
            return false;
        }
        number = number * 10 + (c - '0');
    }
    *text += count;
    *ret_number = number;
    return true;
}

static bool s_char(const char **text, char upper)
{
    if (toupper((unsigned char)**text) != upper) {
        return false;
    }
    (*text)++;
    return true;
}

static int s_month_days(int year, int month)
{
    static const int days[12] = {
        31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31
    };
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return month == 2 && leap ? 29 : days[month - 1];
}

static bool s_date(const char **text, struct cn_date *ret_date)
{
    struct cn_date date = { 0 };
    if (!s_digits_read(text, 4, &date.year) || !s_char(text, '-') ||
        !s_digits_read(text, 2, &date.month) || !s_char(text, '-') ||
        !s_digits_read(text, 2, &date.day)) {
        return false;
    }
    if (date.year < 1 || date.month < 1 || date.month > 12 || date.day < 1 ||
        date.day > s_month_days(date.year, date.month)) {
        return false;
    }
    *ret_date = date;
    return true;
}

bool cn_date_parse(const char *text, struct cn_date *ret_date)
{
    struct cn_date date = { 0 };
    if (text == NULL || !s_date(&text, &date) || *text != '\0') {
        return false;
    }
    *ret_date = date;
    return true;
}

/* ".5" is 500,000 microseconds; digits past the sixth are cut. */
static bool s_fraction(const char **text, int *ret_us)
{
    int us = 0;
    int count = 0;
    if (**text == '.') {
        (*text)++;
        for (; **text >= '0' && **text <= '9'; (*text)++, count++) {
            if (count == 9) {
                return false;
            }
            us = count < 6 ? us * 10 + (**text - '0') : us;
        }
        if (count == 0) {
            return false;
        }
        for (; count < 6; count++) {
            us *= 10;
        }
    }
    *ret_us = us;
    return true;
}

static bool s_offset(const char **text, int *ret_minutes)
{
    if (s_char(text, 'Z')) {
        *ret_minutes = 0;
        return true;
    }
    bool west = **text == '-';
    if (!west && **text != '+') {
        return false;
    }
    (*text)++;
    int hours = 0;
    int minutes = 0;
    if (!s_digits_read(text, 2, &hours) || !s_char(text, ':') ||
        !s_digits_read(text, 2, &minutes) || hours > 23 || minutes > 59) {
        return false;
    }
    *ret_minutes = (west ? -1 : 1) * (hours * 60 + minutes);
    return true;
}

bool cn_time_parse(const char *text, int64_t *ret_at)
{
    struct cn_civil civil = { 0 };
    int hour = 0;
    int minute = 0;
    int us = 0;
    int offset = 0;
    if (text == NULL || !s_date(&text, &civil.date) || !s_char(&text, 'T') ||
        !s_digits_read(&text, 2, &hour) || !s_char(&text, ':') ||
        !s_digits_read(&text, 2, &minute) || !s_char(&text, ':') ||
        !s_digits_read(&text, 2, &civil.second) || !s_fraction(&text, &us) ||
        !s_offset(&text, &offset) || *text != '\0') {
        return false;
    }
    if (hour > 23 || minute > 59 || civil.second > 59) {
        return false;
    }
    civil.minute_of_day = hour * 60 + minute;
    int64_t seconds = s_seconds_of(civil) - (int64_t)offset * 60;
    if (seconds < s_seconds_of((struct cn_civil){ .date = { 1, 1, 1 } }) ||
        seconds >= s_seconds_of((struct cn_civil){ .date = { 10000, 1, 1 } })) {
        return false; /* in UTC its year has not four digits */
    }
    *ret_at = seconds * CN_SECOND + us;
    return true;
}

/* Zones. libical reads a zone's file at its first use and searches a list at
 * each later one; this table keeps the zones that were found. */

enum { ZONE_NAME_MAX = 48, ZONES_MAX = 512 };

static struct {
    char name[ZONE_NAME_MAX];
    icaltimezone *zone;
} s_zones[ZONES_MAX];
static size_t s_zone_count;

/* libical makes a path below the zone database from the name. */
static bool s_zone_name_valid(const char *name)
{
    static const char *const others[] = { "right/", "posix/", "posixrules",
                                          "localtime", "Factory" };
    size_t size = strnlen(name, ZONE_NAME_MAX);
    if (size == 0 || size == ZONE_NAME_MAX || !isalpha((unsigned char)*name)) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        if (!isalnum((unsigned char)name[i]) &&
            strchr("_+-/", name[i]) == NULL) {
            return false;
        }
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (strncmp(name, others[i], strlen(others[i])) == 0) {
            return false;
        }
    }
    return true;
}

static icaltimezone *s_zone(const char *name)
{
    if (name == NULL || !s_zone_name_valid(name)) {
        return NULL;
    }
    size_t hash = 5381;
    for (const char *c = name; *c != '\0'; c++) {
        hash = hash * 33 + (unsigned char)*c;
    }
    size_t slot = hash % ZONES_MAX;
    while (s_zones[slot].zone != NULL) {
        if (strcmp(s_zones[slot].name, name) == 0) {
            return s_zones[slot].zone;
        }
        slot = (slot + 1) % ZONES_MAX;
    }
    icalerror_set_errors_are_fatal(false);
    icaltimezone *zone = icaltimezone_get_builtin_timezone(name);
    if (zone != NULL && s_zone_count < ZONES_MAX - 1) {
        s_cut_copy(s_zones[slot].name, ZONE_NAME_MAX, name);
        s_zones[slot].zone = zone;
        s_zone_count++;
    }
    return zone;
}

bool cn_zone_valid(const char *zone)
{
    return s_zone(zone) != NULL;
}

/* Seconds east of UTC at an instant. */
static int64_t s_zone_offset(icaltimezone *zone, int64_t seconds, int *ret_dst)
{
    struct cn_civil civil = s_civil_of(seconds);
    struct icaltimetype utc = icaltime_null_time();
    utc.year = civil.date.year;
    utc.month = civil.date.month;
    utc.day = civil.date.day;
    utc.hour = civil.minute_of_day / 60;
    utc.minute = civil.minute_of_day % 60;
    utc.second = civil.second;
    utc.zone = icaltimezone_get_utc_timezone();
    return icaltimezone_get_utc_offset_of_utc_time(zone, &utc, ret_dst);
}

bool cn_zone_instant(const char *zone_name,
                     struct cn_civil civil,
                     int64_t *ret_at)
{
    icaltimezone *zone = s_zone(zone_name);
    if (zone == NULL) {
        return false;
    }
    int64_t seconds = s_seconds_of(civil);
    int64_t before = s_zone_offset(zone, seconds - 86400, NULL);
    int64_t after = s_zone_offset(zone, seconds + 86400, NULL);
    int64_t at = seconds - before;
    /* With the offset before the change, a time that comes twice is its first
     * occurrence, and a skipped time lies as far after the end of the gap as it
     * was after its start. */
    if (before != after && s_zone_offset(zone, at, NULL) != before &&
        s_zone_offset(zone, seconds - after, NULL) == after) {
        at = seconds - after;
    }
    *ret_at = at * CN_SECOND;
    return true;
}

bool cn_zone_civil(const char *zone_name,
                   int64_t at,
                   struct cn_civil *ret_civil)
{
    icaltimezone *zone = s_zone(zone_name);
    if (zone == NULL) {
        return false;
    }
    int64_t seconds = s_divide_down(at, CN_SECOND);
    *ret_civil = s_civil_of(seconds + s_zone_offset(zone, seconds, NULL));
    return true;
}

/* libical knows the names of a zone as "EST/EDT". */
static void s_zone_word(icaltimezone *zone, bool dst, char *word, size_t size)
{
    const char *names = icaltimezone_get_tznames(zone);
    if (names == NULL) {
        names = "UTC";
    }
    const char *slash = strchr(names, '/');
    if (slash == NULL) {
        s_cut_copy(word, size, names);
    } else if (dst) {
        s_cut_copy(word, size, slash + 1);
    } else {
        size_t part = (size_t)(slash - names) + 1;
        s_cut_copy(word, part < size ? part : size, names);
    }
}

bool cn_zone_format(const char *zone_name,
                    int64_t at,
                    char text[CN_TIME_TEXT_MAX * 2])
{
    icaltimezone *zone = s_zone(zone_name);
    if (zone == NULL) {
        return false;
    }
    int dst = 0;
    int64_t seconds = s_divide_down(at, CN_SECOND);
    int64_t offset = s_zone_offset(zone, seconds, &dst);
    struct cn_civil civil = s_civil_of(seconds + offset);
    char word[16];
    s_zone_word(zone, dst != 0, word, sizeof word);
    char whole[128];
    (void)snprintf(whole, sizeof whole, "%s %04d-%02d-%02d %02d:%02d %s",
                   s_weekdays[cn_date_weekday(civil.date)], civil.date.year,
                   civil.date.month, civil.date.day, civil.minute_of_day / 60,
                   civil.minute_of_day % 60, word);
    s_cut_copy(text, (size_t)CN_TIME_TEXT_MAX * 2, whole);
    return true;
}
