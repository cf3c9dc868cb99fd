/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and checking the environment. One run reports all faults. */
#include "common/base/config.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SECRET_SIZE_MAX = 64 << 10, NAME_MAX_SIZE = 128 };

struct cn_config {
    struct cn_option *options; /* a copy */
    size_t count;
    char **texts; /* NULL: not read yet, or a help run */
    long *numbers;
};

struct reader {
    const char *program;
    struct cn_config *config;
    unsigned faults;
};

bool cn_parse_number(const char *text, long min, long max, long *ret_number)
{
    if (text == NULL) {
        return false;
    }
    const char *digits = *text == '-' ? text + 1 : text;
    if (*digits < '0' || *digits > '9') {
        return false;
    }
    char *end = NULL;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (errno != 0 || *end != '\0' || number < min || number > max) {
        return false;
    }
    *ret_number = number;
    return true;
}

static void s_fault(struct reader *reader, const char *name, const char *what)
{
    (void)fprintf(stderr, "%s: %s %s\n", reader->program, name, what);
    reader->faults++;
}

static void s_wipe(char *text)
{
    if (text != NULL) {
        explicit_bzero(text, strlen(text));
        free(text);
    }
}

/* The whole file without one newline at its end; NULL when it cannot be read or
 * is not text. */
static char *s_read_file(const char *path)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return NULL;
    }
    char *text = calloc(1, SECRET_SIZE_MAX + 1);
    size_t size = 0;
    bool whole = false;
    if (text != NULL) {
        (void)setvbuf(file, NULL, _IONBF, 0);
        size = fread(text, 1, SECRET_SIZE_MAX, file);
        whole = ferror(file) == 0 && fgetc(file) == EOF && ferror(file) == 0;
    }
    (void)fclose(file);
    if (text == NULL) {
        return NULL;
    }
    if (!whole || strlen(text) != size) {
        explicit_bzero(text, SECRET_SIZE_MAX);
        free(text);
        return NULL;
    }
    if (size > 0 && text[size - 1] == '\n') {
        text[size - 1] = '\0';
    }
    return text;
}

/* Called only at the start, before there is a second thread. */
static const char *s_environment(const char *name)
{
    return getenv(name); /* NOLINT(concurrency-mt-unsafe) */
}

/* The text of a secret, from its variable or from the file that X_FILE names.
 */
static char *s_read_secret(struct reader *reader,
                           const struct cn_option *option)
{
    char name[NAME_MAX_SIZE];
    (void)snprintf(name, sizeof name, "%.100s_FILE", option->name);
    const char *path = s_environment(name);
    const char *text = s_environment(option->name);
    if (path == NULL) {
        return text == NULL ? NULL : strdup(text);
    }
    if (text != NULL) {
        s_fault(reader, option->name, "is given twice, also by its _FILE");
        return NULL;
    }
    char *read = s_read_file(path);
    if (read == NULL) {
        s_fault(reader, name, "names a file that cannot be read as text");
    }
    return read;
}

static void s_read_number(struct reader *reader,
                          const struct cn_option *option,
                          const char *text,
                          long *ret_number)
{
    if (!cn_parse_number(text, option->min, option->max, ret_number)) {
        char what[96];
        (void)snprintf(what, sizeof what,
                       "must be a whole number from %ld to %ld", option->min,
                       option->max);
        s_fault(reader, option->name, what);
    }
}

static void s_read_option(struct reader *reader, size_t index)
{
    const struct cn_option *option = &reader->config->options[index];
    unsigned faults = reader->faults;
    char *text = NULL;
    if (option->kind == CN_OPTION_SECRET) {
        text = s_read_secret(reader, option);
    } else if (s_environment(option->name) != NULL) {
        text = strdup(s_environment(option->name));
    }
    if (reader->faults != faults) {
        return;
    }
    /* Compose files pass a variable that is not set as an empty one. */
    if (text == NULL || text[0] == '\0') {
        if (option->fallback == NULL) {
            s_fault(reader, option->name, "is missing");
            s_wipe(text);
            return;
        }
        if (text == NULL || option->kind == CN_OPTION_NUMBER) {
            free(text);
            text = strdup(option->fallback);
        }
    }
    if (text == NULL) {
        s_fault(reader, option->name, "finds no memory");
        return;
    }
    reader->config->texts[index] = text;
    if (option->kind == CN_OPTION_NUMBER) {
        s_read_number(reader, option, text, &reader->config->numbers[index]);
    }
    const char *wrong = option->check != NULL ? option->check(text) : NULL;
    if (wrong != NULL) {
        s_fault(reader, option->name, wrong);
    }
}

static bool
s_name_known(const struct cn_config *config, const char *name, size_t size)
{
    for (size_t i = 0; i < config->count; i++) {
        const struct cn_option *option = &config->options[i];
        size_t known = strlen(option->name);
        if (strncmp(name, option->name, known) != 0 || known > size) {
            continue;
        }
        if (known == size ||
            (option->kind == CN_OPTION_SECRET && size == known + 5 &&
             strncmp(name + known, "_FILE", 5) == 0)) {
            return true;
        }
    }
    return false;
}

/* A misspelt setting must not silently leave the default in force. */
static void s_refuse_unknown(struct reader *reader)
{
    for (char **entry = environ; entry != NULL && *entry != NULL; entry++) {
        size_t size = strcspn(*entry, "=");
        if (strncmp(*entry, "CAIRN_", 6) == 0 &&
            !s_name_known(reader->config, *entry, size)) {
            char name[NAME_MAX_SIZE];
            (void)snprintf(name, sizeof name, "%.*s",
                           (int)(size < 100 ? size : 100), *entry);
            s_fault(reader, name, "is not a setting of this program");
        }
    }
}

static void
s_help(const char *program, const struct cn_option *options, size_t count)
{
    (void)printf("Usage: %s [--help | --version | --check-config | "
                 "--print-config | --healthcheck]\n"
                 "Settings are read from the environment; a secret also from "
                 "the file that <name>_FILE names.\n\n",
                 program);
    for (size_t i = 0; i < count; i++) {
        const struct cn_option *option = &options[i];
        (void)printf("%s\n    %s\n    ", option->name, option->what);
        if (option->kind == CN_OPTION_NUMBER) {
            (void)printf("A number from %ld to %ld. ", option->min,
                         option->max);
        }
        if (option->fallback == NULL) {
            (void)printf("Must be given.\n");
        } else if (option->fallback[0] == '\0') {
            (void)printf("Optional.\n");
        } else {
            (void)printf("Default: %s\n", option->fallback);
        }
    }
}

/* An address may hold a user and a password. */
static void s_print_text(const char *text)
{
    const char *scheme = strstr(text, "://");
    const char *user = scheme != NULL ? scheme + 3 : text;
    const char *host = scheme != NULL ? strrchr(user, '@') : NULL;
    if (host == NULL) {
        (void)printf("%s\n", text);
    } else {
        (void)printf("%.*s(redacted)%s\n", (int)(user - text), text, host);
    }
}

/* The settings in force, one per line. */
static void s_print(const struct cn_config *self)
{
    for (size_t i = 0; i < self->count; i++) {
        const struct cn_option *option = &self->options[i];
        const char *text = self->texts[i];
        (void)printf("%s=", option->name);
        if (option->kind == CN_OPTION_SECRET && text[0] != '\0') {
            (void)printf("(redacted)\n");
        } else {
            s_print_text(text);
        }
    }
}

static struct cn_config *s_new(const struct cn_option *options, size_t count)
{
    struct cn_config *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return NULL;
    }
    self->count = count;
    self->options = calloc(count + 1, sizeof *self->options);
    self->texts = calloc(count + 1, sizeof *self->texts);
    self->numbers = calloc(count + 1, sizeof *self->numbers);
    if (self->options == NULL || self->texts == NULL || self->numbers == NULL) {
        cn_config_free(self);
        return NULL;
    }
    memcpy(self->options, options, count * sizeof *options);
    return self;
}

struct cn_config *cn_config_read(const char *program,
                                 const struct cn_option *options,
                                 size_t count,
                                 int argc,
                                 char **argv,
                                 bool *ret_done)
{
    struct reader reader = { .program = program };
    reader.config = s_new(options, count);
    if (reader.config == NULL) {
        (void)fprintf(stderr, "%s: out of memory\n", program);
        return NULL;
    }
    bool print = argc == 2 && strcmp(argv[1], "--print-config") == 0;
    bool check = print || (argc == 2 && strcmp(argv[1], "--check-config") == 0);
    *ret_done = check;
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        s_help(program, options, count);
        *ret_done = true;
        return reader.config;
    }
    if (argc > 1 && !check) {
        s_fault(&reader, argv[1], "is not understood; try --help");
    }
    s_refuse_unknown(&reader);
    for (size_t i = 0; i < count; i++) {
        s_read_option(&reader, i);
    }
    if (reader.faults > 0) {
        cn_config_free(reader.config);
        return NULL;
    }
    if (print) {
        s_print(reader.config);
    }
    return reader.config;
}

void cn_config_free(struct cn_config *self)
{
    if (self == NULL) {
        return;
    }
    for (size_t i = 0; self->texts != NULL && i < self->count; i++) {
        s_wipe(self->texts[i]);
    }
    free(self->options);
    free(self->texts);
    free(self->numbers);
    free(self);
}

static size_t s_name_find(const struct cn_config *self, const char *name)
{
    size_t i = 0;
    while (i < self->count && strcmp(self->options[i].name, name) != 0) {
        i++;
    }
    assert(i < self->count && self->texts[i] != NULL);
    return i;
}

const char *cn_config_text(const struct cn_config *self, const char *name)
{
    return self->texts[s_name_find(self, name)];
}

long cn_config_number(const struct cn_config *self, const char *name)
{
    size_t i = s_name_find(self, name);
    assert(self->options[i].kind == CN_OPTION_NUMBER);
    return self->numbers[i];
}
