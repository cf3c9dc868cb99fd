/* SPDX-License-Identifier: Apache-2.0 */
/* Settings: what is accepted, and one clear line per fault. */
#include "common/base/config.h"
#include "common/process/setting.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static const struct cn_option s_options[] = {
    { .name = "CAIRN_BIND",
      .check = cn_setting_endpoint,
      .what = "Where it listens." },
    { .name = "CAIRN_ZONE", .fallback = "America/Chicago", .what = "A zone." },
    { .name = "CAIRN_COUNT",
      .kind = CN_OPTION_NUMBER,
      .fallback = "4",
      .min = 1,
      .max = 16,
      .what = "How many." },
    { .name = "CAIRN_KEY", .kind = CN_OPTION_SECRET, .what = "A key." },
    { .name = "CAIRN_HOOK_KEY",
      .kind = CN_OPTION_SECRET,
      .fallback = "",
      .what = "Another key." },
};
enum { OPTION_COUNT = sizeof s_options / sizeof s_options[0] };

static char s_told[4096]; /* what the last read printed */

static struct cn_config *s_read_args(int argc, char **argv, bool *ret_done)
{
    int kept[2] = { dup(STDOUT_FILENO), dup(STDERR_FILENO) };
    int capture = memfd_create("told", MFD_CLOEXEC);
    assert_true(capture >= 0 && kept[0] >= 0 && kept[1] >= 0);
    (void)fflush(stdout);
    assert_true(dup2(capture, STDOUT_FILENO) >= 0);
    assert_true(dup2(capture, STDERR_FILENO) >= 0);
    struct cn_config *config = cn_config_read(
        "cairn-test", s_options, OPTION_COUNT, argc, argv, ret_done);
    (void)fflush(stdout);
    assert_true(dup2(kept[0], STDOUT_FILENO) >= 0);
    assert_true(dup2(kept[1], STDERR_FILENO) >= 0);
    ssize_t size = pread(capture, s_told, sizeof s_told - 1, 0);
    assert_true(size >= 0);
    s_told[size] = '\0';
    (void)close(capture);
    (void)close(kept[0]);
    (void)close(kept[1]);
    return config;
}

static struct cn_config *s_read(const char *flag, bool *ret_done)
{
    char program[] = "cairn-test";
    char argument[64] = "";
    if (flag != NULL) {
        (void)snprintf(argument, sizeof argument, "%s", flag);
    }
    char *argv[] = { program, argument, NULL };
    return s_read_args(flag == NULL ? 1 : 2, argv, ret_done);
}

static void s_set(const char *name, const char *value)
{
    assert_int_equal(setenv(name, value, 1), 0);
}

static int s_clean(void **state)
{
    (void)state;
    /* Removes the settings of the person who runs the tests, too. Removing one
     * moves the others. */
    for (size_t at = 0; environ[at] != NULL;) {
        char *name = strndup(environ[at], strcspn(environ[at], "="));
        assert_non_null(name);
        bool ours = strncmp(name, "CAIRN_", 6) == 0;
        at = ours && unsetenv(name) == 0 ? 0 : at + 1;
        free(name);
    }
    s_set("CAIRN_BIND", "tcp://127.0.0.1:7001");
    s_set("CAIRN_KEY", "sesame");
    return 0;
}

static void s_refused_with(const char *line)
{
    bool done = true;
    assert_null(s_read(NULL, &done));
    assert_false(done);
    assert_string_equal(s_told, line);
}

static void given_settings_win_over_fallbacks(void **state)
{
    (void)state;
    bool done = true;
    s_set("CAIRN_COUNT", "16");
    struct cn_config *config = s_read(NULL, &done);
    assert_non_null(config);
    assert_false(done);
    assert_string_equal(s_told, "");
    assert_string_equal(cn_config_text(config, "CAIRN_BIND"),
                        "tcp://127.0.0.1:7001");
    assert_string_equal(cn_config_text(config, "CAIRN_ZONE"),
                        "America/Chicago");
    assert_int_equal(cn_config_number(config, "CAIRN_COUNT"), 16);
    assert_string_equal(cn_config_text(config, "CAIRN_KEY"), "sesame");
    assert_string_equal(cn_config_text(config, "CAIRN_HOOK_KEY"), "");
    cn_config_free(config);
    cn_config_free(NULL);
}

static void an_empty_setting_is_one_that_is_not_given(void **state)
{
    (void)state;
    bool done = false;
    s_set("CAIRN_COUNT", "");
    struct cn_config *config = s_read(NULL, &done);
    assert_non_null(config);
    assert_int_equal(cn_config_number(config, "CAIRN_COUNT"), 4);
    cn_config_free(config);
    s_set("CAIRN_BIND", "");
    s_refused_with("cairn-test: CAIRN_BIND is missing\n");
}

static void every_fault_has_its_line(void **state)
{
    (void)state;
    (void)unsetenv("CAIRN_BIND");
    (void)unsetenv("CAIRN_KEY");
    s_set("CAIRN_COUNT", "17");
    s_set("CAIRN_CUONT", "3");
    s_refused_with(
        "cairn-test: CAIRN_CUONT is not a setting of this program\n"
        "cairn-test: CAIRN_BIND is missing\n"
        "cairn-test: CAIRN_COUNT must be a whole number from 1 to 16\n"
        "cairn-test: CAIRN_KEY is missing\n");
}

static void a_setting_of_another_form_is_told_without_its_text(void **state)
{
    (void)state;
    s_set("CAIRN_BIND", "127.0.0.1:7001");
    s_refused_with("cairn-test: CAIRN_BIND must be tcp://host:port\n");
}

static void what_is_printed_holds_no_secret(void **state)
{
    (void)state;
    bool done = false;
    s_set("CAIRN_ZONE", "smtp://user:word@host:25");
    struct cn_config *config = s_read("--print-config", &done);
    assert_non_null(config);
    assert_true(done);
    assert_string_equal(s_told, "CAIRN_BIND=tcp://127.0.0.1:7001\n"
                                "CAIRN_ZONE=smtp://(redacted)@host:25\n"
                                "CAIRN_COUNT=4\n"
                                "CAIRN_KEY=(redacted)\n"
                                "CAIRN_HOOK_KEY=\n");
    cn_config_free(config);
}

/* The good values, NULL, the bad values, NULL. */
static void s_forms(const char *(*check)(const char *text),
                    const char *const *texts)
{
    for (; *texts != NULL; texts++) {
        if (check(*texts) != NULL) {
            fail_msg("refused: %s", *texts);
        }
    }
    for (texts++; *texts != NULL; texts++) {
        if (check(*texts) == NULL) {
            fail_msg("taken: %s", *texts);
        }
    }
}

#define KEY "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
#define FORMS(check, ...)                                                      \
    s_forms(check, (const char *const[]){ __VA_ARGS__, NULL })

static void each_form_takes_what_it_says(void **state)
{
    (void)state;
    FORMS(cn_setting_address, "127.0.0.1:80", "[::1]:0", "host:65535", NULL,
          "host", "host:", "host:65536", "host:http", "");
    FORMS(cn_setting_address_or_none, "", "a:1", NULL, "a");
    FORMS(cn_setting_endpoint, "tcp://*:7001", "tcp://[::]:1", NULL, "a:1",
          "tcp://a", "tcp://:1", "udp://a:1");
    FORMS(cn_setting_endpoints, "", "a=tcp://b:1",
          "a=tcp://b:1,tcp://c:2;d=tcp://e:3", NULL, "a", "a=", "=tcp://b:1",
          "a=tcp://b:1;;d=tcp://e:3", "a=tcp://b:1,,tcp://c:2", "A=tcp://b:1");
    FORMS(cn_setting_peers, "a=" KEY, "a=" KEY ",b-2=" KEY, NULL, "a",
          "a=" KEY "x", "a=" KEY ",,b=" KEY, "a=" KEY ";b=" KEY);
    FORMS(cn_setting_names, "a", "a,b_c", NULL, "A", "a,,b", "a b");
    FORMS(cn_setting_bus_key, KEY, NULL, "", "short", KEY "x");
    FORMS(cn_setting_level, "debug", "error", NULL, "", "loud", "INFO");
    FORMS(cn_setting_url_or_none, "", "https://a", "http://a:80/b", NULL, "a",
          "https://", "https://a/", "ftp://a", "https://a b");
}

static void only_secrets_come_from_files(void **state)
{
    (void)state;
    s_set("CAIRN_BIND_FILE", "/etc/hostname");
    s_refused_with(
        "cairn-test: CAIRN_BIND_FILE is not a setting of this program\n");
}

static void s_secret_file(const void *data, size_t size)
{
    static int fd = -1;
    if (fd >= 0) {
        (void)close(fd);
    }
    fd = memfd_create("secret", 0);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, size), size);
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    (void)unsetenv("CAIRN_KEY");
    s_set("CAIRN_KEY_FILE", path);
}

static void a_secret_comes_from_its_file_less_one_newline(void **state)
{
    (void)state;
    bool done = false;
    s_secret_file("open\n\n", 6);
    struct cn_config *config = s_read(NULL, &done);
    assert_non_null(config);
    assert_string_equal(cn_config_text(config, "CAIRN_KEY"), "open\n");
    cn_config_free(config);
    s_secret_file("open", 4);
    config = s_read(NULL, &done);
    assert_non_null(config);
    assert_string_equal(cn_config_text(config, "CAIRN_KEY"), "open");
    cn_config_free(config);
}

static void a_secret_file_that_is_none_is_refused(void **state)
{
    (void)state;
    static const char fault[] =
        "cairn-test: CAIRN_KEY_FILE names a file that cannot be read as text\n";
    (void)unsetenv("CAIRN_KEY");
    s_set("CAIRN_KEY_FILE", "/nonexistent");
    s_refused_with(fault);
    s_set("CAIRN_KEY_FILE", "/");
    s_refused_with(fault);
    s_secret_file("a\0b", 3);
    s_refused_with(fault);
    char *large = calloc(1, 70000);
    assert_non_null(large);
    memset(large, 'x', 70000);
    s_secret_file(large, 70000);
    s_refused_with(fault);
    free(large);
    s_secret_file("\n", 1);
    s_refused_with("cairn-test: CAIRN_KEY is missing\n");
    s_set("CAIRN_KEY", "twice");
    s_refused_with("cairn-test: CAIRN_KEY is given twice, also by its _FILE\n");
}

static void the_flags_help_and_check(void **state)
{
    (void)state;
    bool done = false;
    struct cn_config *config = s_read("--check-config", &done);
    assert_non_null(config);
    assert_true(done);
    cn_config_free(config);

    (void)unsetenv("CAIRN_BIND");
    done = false;
    assert_null(s_read("--check-config", &done));
    assert_true(done);
    done = false;
    config = s_read("--help", &done);
    assert_non_null(config);
    assert_true(done);
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        assert_non_null(strstr(s_told, s_options[i].name));
        assert_non_null(strstr(s_told, s_options[i].what));
    }
    assert_null(strstr(s_told, "sesame"));
    cn_config_free(config);
    assert_null(s_read("--hlep", &done));
    assert_non_null(strstr(s_told, "--hlep is not understood; try --help"));
}

static void numbers_are_whole_and_within_bounds(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool good;
        long number;
    } rows[] = {
        { "0", true, 0 },
        { "7", true, 7 },
        { "-7", true, -7 },
        { "100", true, 100 },
        { "101", false, 0 },
        { "-101", false, 0 },
        { "", false, 0 },
        { "-", false, 0 },
        { "+1", false, 0 },
        { " 1", false, 0 },
        { "1 ", false, 0 },
        { "1x", false, 0 },
        { "0x10", false, 0 },
        { "1.0", false, 0 },
        { "007", true, 7 },
        { NULL, false, 0 },
        { "--1", false, 0 },
        { "1e1", false, 0 },
        { "99999999999999999999", false, 0 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        long number = 0;
        assert_int_equal(cn_parse_number(rows[i].text, -100, 100, &number),
                         rows[i].good);
        assert_int_equal(number, rows[i].number);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(given_settings_win_over_fallbacks, s_clean),
        cmocka_unit_test_setup(an_empty_setting_is_one_that_is_not_given,
                               s_clean),
        cmocka_unit_test_setup(every_fault_has_its_line, s_clean),
        cmocka_unit_test_setup(
            a_setting_of_another_form_is_told_without_its_text, s_clean),
        cmocka_unit_test_setup(what_is_printed_holds_no_secret, s_clean),
        cmocka_unit_test(each_form_takes_what_it_says),
        cmocka_unit_test_setup(only_secrets_come_from_files, s_clean),
        cmocka_unit_test_setup(a_secret_comes_from_its_file_less_one_newline,
                               s_clean),
        cmocka_unit_test_setup(a_secret_file_that_is_none_is_refused, s_clean),
        cmocka_unit_test_setup(the_flags_help_and_check, s_clean),
        cmocka_unit_test(numbers_are_whole_and_within_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
