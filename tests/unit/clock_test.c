/* SPDX-License-Identifier: Apache-2.0 */
/* Instants, dates and zones, with the days on which clocks change. */
#include "common/base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const char s_new_york[] = "America/New_York";

static int64_t s_at(const char *text)
{
    int64_t at = 0;
    assert_true(cn_time_parse(text, &at));
    return at;
}

static struct cn_date s_day(const char *text)
{
    struct cn_date date = { 0 };
    assert_true(cn_date_parse(text, &date));
    return date;
}

static int64_t
s_instant(const char *zone, const char *day, int hour, int minute)
{
    struct cn_civil civil = { s_day(day), hour * 60 + minute, 0 };
    int64_t at = 0;
    assert_true(cn_zone_instant(zone, civil, &at));
    return at;
}

static void s_expect(const char *zone, int64_t at, const char *wanted)
{
    char text[CN_TIME_TEXT_MAX * 2];
    assert_true(cn_zone_format(zone, at, text));
    assert_string_equal(text, wanted);
}

static void an_instant_comes_back_from_its_text(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "1970-01-01T00:00:00Z",        "2026-03-07T20:00:00Z",
        "1969-12-31T23:59:59.999999Z", "2024-02-29T12:34:56.000001Z",
        "0001-01-01T00:00:00Z",        "9999-12-31T23:59:59Z",
        "1600-02-29T00:00:00Z",        "2000-12-31T23:59:59Z",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char text[CN_TIME_TEXT_MAX];
        cn_time_format(s_at(texts[i]), text);
        assert_string_equal(text, texts[i]);
    }
    assert_int_equal(s_at("1970-01-01T00:00:00Z"), 0);
    assert_int_equal(s_at("2001-09-09T01:46:40Z"), 1000000000 * CN_SECOND);
    assert_int_equal(s_at("2026-03-07T20:00:00-05:00"),
                     s_at("2026-03-08T01:00:00Z"));
    assert_int_equal(s_at("2026-03-07T20:00:00.5+05:30"),
                     s_at("2026-03-07T14:30:00.500000Z"));
    assert_int_equal(s_at("2026-03-07t20:00:00.123456789z"),
                     s_at("2026-03-07T20:00:00.123456Z"));
    char text[CN_TIME_TEXT_MAX];
    cn_time_format(INT64_MAX, text);
    assert_string_equal(text, "294247-01-10T04:00:54.775807Z");
    cn_time_format(INT64_MIN, text);
    assert_true(strlen(text) < sizeof text);
}

static void what_is_no_instant_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "2026-03-07",
        "2026-03-07T20:00:00",
        "2026-03-07T20:00Z",
        "2026-03-07 20:00:00Z",
        "2026-03-07T24:00:00Z",
        "2026-03-07T20:60:00Z",
        "2026-03-07T20:00:60Z",
        "2026-02-29T20:00:00Z",
        "2026-13-01T20:00:00Z",
        "2026-00-01T20:00:00Z",
        "0000-01-01T20:00:00Z",
        "2026-03-07T20:00:00.Z",
        "2026-03-07T20:00:00.1234567890Z",
        "2026-03-07T20:00:00+24:00",
        "2026-03-07T20:00:00+05:60",
        "2026-03-07T20:00:00+0530",
        "2026-03-07T20:00:00Z ",
        " 2026-03-07T20:00:00Z",
        "+026-03-07T20:00:00Z",
        "9999-12-31T23:59:59-00:01",
        "0001-01-01T00:00:00+00:01",
    };
    int64_t at = 42;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(cn_time_parse(bad[i], &at));
    }
    assert_false(cn_time_parse(NULL, &at));
    assert_int_equal(at, 42);
}

static void every_day_of_two_thousand_years_comes_back(void **state)
{
    (void)state;
    struct cn_date date = s_day("1000-01-01");
    int64_t days = cn_date_days(date);
    int weekday = cn_date_weekday(date);
    while (date.year < 3000) {
        char text[CN_TIME_TEXT_MAX];
        struct cn_date back = { 0 };
        cn_date_format(date, text);
        assert_true(cn_date_parse(text, &back));
        assert_int_equal(cn_date_compare(date, back), 0);
        struct cn_date next = cn_date_add(date, 1);
        assert_int_equal(cn_date_compare(date, next), -1);
        assert_int_equal(cn_date_compare(next, date), 1);
        weekday = (weekday + 1) % 7;
        assert_int_equal(cn_date_weekday(next), weekday);
        assert_int_equal(cn_date_days(next), ++days);
        date = next;
    }
}

static void dates_are_counted_over_months_and_leap_days(void **state)
{
    (void)state;
    assert_int_equal(cn_date_days(s_day("1970-01-01")), 0);
    assert_int_equal(cn_date_days(s_day("2000-03-01")), 11017);
    assert_int_equal(cn_date_weekday(s_day("2026-03-09")), 0);
    assert_int_equal(cn_date_weekday(s_day("2026-11-01")), 6);
    assert_int_equal(cn_date_compare(cn_date_add(s_day("2028-02-28"), 2),
                                     s_day("2028-03-01")),
                     0);
    assert_int_equal(cn_date_compare(cn_date_add(s_day("2026-01-01"), -1),
                                     s_day("2025-12-31")),
                     0);
    assert_int_equal(cn_date_compare(cn_date_add(s_day("2026-01-01"), 59),
                                     s_day("2026-03-01")),
                     0);
    static const char *const bad[] = {
        "",           "2026-1-01",  "2026-02-30",  "2100-02-29",
        "2026-04-31", "2026-01-00", "2026-01-01 ", "20260101"
    };
    struct cn_date date = { 0 };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(cn_date_parse(bad[i], &date));
    }
    assert_false(cn_date_parse(NULL, &date));
}

static void an_http_date_has_its_fixed_form(void **state)
{
    (void)state;
    char text[CN_TIME_TEXT_MAX];
    cn_time_format_http(s_at("1994-11-06T08:49:37.9Z"), text);
    assert_string_equal(text, "Sun, 06 Nov 1994 08:49:37 GMT");
}

static void hours_that_pass_are_counted_across_a_change_of_clocks(void **state)
{
    (void)state;
    int64_t at = s_instant(s_new_york, "2026-03-07", 20, 0);
    assert_int_equal(at, s_at("2026-03-08T01:00:00Z"));
    s_expect(s_new_york, at, "Sat 2026-03-07 20:00 EST");
    s_expect(s_new_york, at + 48 * CN_HOUR, "Mon 2026-03-09 21:00 EDT");
    at = s_instant(s_new_york, "2026-10-31", 9, 30);
    s_expect(s_new_york, at, "Sat 2026-10-31 09:30 EDT");
    s_expect(s_new_york, at + 48 * CN_HOUR, "Mon 2026-11-02 08:30 EST");
}

static void a_time_in_a_gap_moves_forward(void **state)
{
    (void)state;
    int64_t at = s_instant(s_new_york, "2026-03-08", 2, 30);
    s_expect(s_new_york, at, "Sun 2026-03-08 03:30 EDT");
    assert_int_equal(s_instant(s_new_york, "2026-03-08", 1, 59),
                     s_at("2026-03-08T06:59:00Z"));
    assert_int_equal(s_instant(s_new_york, "2026-03-08", 3, 0),
                     s_at("2026-03-08T07:00:00Z"));
}

static void an_ambiguous_time_is_the_first(void **state)
{
    (void)state;
    int64_t at = s_instant(s_new_york, "2026-11-01", 1, 30);
    assert_int_equal(at, s_at("2026-11-01T05:30:00Z"));
    s_expect(s_new_york, at, "Sun 2026-11-01 01:30 EDT");
    s_expect(s_new_york, at + CN_HOUR, "Sun 2026-11-01 01:30 EST");
    assert_int_equal(s_instant(s_new_york, "2026-11-01", 0, 59),
                     s_at("2026-11-01T04:59:00Z"));
    assert_int_equal(s_instant(s_new_york, "2026-11-01", 2, 0),
                     s_at("2026-11-01T07:00:00Z"));
}

static void zones_without_a_change_and_beyond_america_work(void **state)
{
    (void)state;
    int64_t at = s_at("2026-07-01T12:00:00Z");
    s_expect("America/Phoenix", at, "Wed 2026-07-01 05:00 MST");
    s_expect("Pacific/Honolulu", at, "Wed 2026-07-01 02:00 HST");
    s_expect("America/Anchorage", at, "Wed 2026-07-01 04:00 AKDT");
    s_expect("America/Puerto_Rico", at, "Wed 2026-07-01 08:00 AST");
    s_expect("Pacific/Guam", at, "Wed 2026-07-01 22:00 ChST");
    s_expect("Europe/London", at, "Wed 2026-07-01 13:00 BST");
    s_expect("Australia/Sydney", at, "Wed 2026-07-01 22:00 AEST");
    s_expect("UTC", at, "Wed 2026-07-01 12:00 UTC");
    s_expect("US/Eastern", at, "Wed 2026-07-01 08:00 EDT");
}

/* Every half hour of a year: an instant has one civil time, and that leads
 * back to the instant, except for the second one of an ambiguous pair. */
static void civil_times_lead_back_to_their_instants(void **state)
{
    (void)state;
    static const char *const zones[] = { "America/New_York", "America/Denver",
                                         "Australia/Lord_Howe", "Asia/Kolkata",
                                         "Europe/Dublin" };
    for (size_t i = 0; i < sizeof zones / sizeof zones[0]; i++) {
        int repeats = 0;
        int64_t end = s_at("2027-01-01T00:00:00Z");
        for (int64_t at = s_at("2026-01-01T00:00:00Z"); at < end;
             at += 30 * CN_MINUTE) {
            struct cn_civil civil = { 0 };
            int64_t back = 0;
            assert_true(cn_zone_civil(zones[i], at, &civil));
            assert_true(cn_zone_instant(zones[i], civil, &back));
            if (back != at) {
                assert_true(back < at && back >= at - CN_HOUR);
                repeats++;
            }
        }
        assert_in_range(repeats, 0, 2);
    }
}

static void unknown_zones_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = { "",
                                       "America/Nowhere",
                                       "america/new_york",
                                       "/usr/share/zoneinfo/America/New_York",
                                       "../zoneinfo/America/New_York",
                                       "America/../America/New_York",
                                       "right/America/New_York",
                                       "posix/America/New_York",
                                       "America/New York",
                                       "America",
                                       "zone.tab",
                                       "localtime",
                                       "EST5EDT,M3.2.0,M11.1.0" };
    struct cn_civil civil = { 0 };
    int64_t at = 0;
    char text[CN_TIME_TEXT_MAX * 2];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(cn_zone_valid(bad[i]));
        assert_false(cn_zone_civil(bad[i], 0, &civil));
        assert_false(cn_zone_instant(bad[i], civil, &at));
        assert_false(cn_zone_format(bad[i], 0, text));
    }
    assert_false(cn_zone_valid(NULL));
    assert_true(cn_zone_valid("America/Denver"));
    assert_true(cn_zone_valid("America/Denver"));
}

static void the_clocks_move(void **state)
{
    (void)state;
    int64_t before = cn_clock_monotonic();
    assert_true(cn_clock_monotonic() >= before);
    assert_true(cn_clock_real() > s_at("2024-01-01T00:00:00Z"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_instant_comes_back_from_its_text),
        cmocka_unit_test(what_is_no_instant_is_refused),
        cmocka_unit_test(every_day_of_two_thousand_years_comes_back),
        cmocka_unit_test(dates_are_counted_over_months_and_leap_days),
        cmocka_unit_test(an_http_date_has_its_fixed_form),
        cmocka_unit_test(hours_that_pass_are_counted_across_a_change_of_clocks),
        cmocka_unit_test(a_time_in_a_gap_moves_forward),
        cmocka_unit_test(an_ambiguous_time_is_the_first),
        cmocka_unit_test(zones_without_a_change_and_beyond_america_work),
        cmocka_unit_test(civil_times_lead_back_to_their_instants),
        cmocka_unit_test(unknown_zones_are_refused),
        cmocka_unit_test(the_clocks_move),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
