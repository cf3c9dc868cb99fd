/* SPDX-License-Identifier: Apache-2.0 */
/* A psql with a pipe at either end. */
#include "tests/lib/psql.h"

#include <assert.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PIECE = 4096, SQL_MAX = 64 << 10 };

/* Printed by psql behind each answer. */
static const char END[] = "CAIRN_END\n";

struct test_psql {
    pid_t pid;
    int to;
    int from;
    char sql[SQL_MAX]; /* that was sent last */
    char *text;        /* the last answer */
    size_t size;
    size_t capacity;
};

static void
s_spawn(struct test_psql *self, const struct test_pg *pg, int in, int out)
{
    posix_spawn_file_actions_t actions;
    char dir[TEST_TEXT_MAX];
    char port[16];
    char database[TEST_TEXT_MAX];
    (void)snprintf(dir, sizeof(dir), "%s", pg->dir);
    (void)snprintf(port, sizeof(port), "%s", pg->port);
    /* Notices would stand in the answers. */
    (void)snprintf(database, sizeof(database),
                   "dbname=%s options='-c client_min_messages=error'",
                   pg->database);
    char name[] = "psql";
    char flags[] = "-XAtq";
    char set[] = "-v";
    char stop[] = "ON_ERROR_STOP=1";
    char host[] = "-h";
    char at[] = "-p";
    char as[] = "-U";
    char user[] = "postgres";
    char *const argv[] = { name, flags, set, stop, host,     dir,
                           at,   port,  as,  user, database, NULL };
    int rc = posix_spawn_file_actions_init(&actions);
    rc |= posix_spawn_file_actions_adddup2(&actions, in, 0);
    rc |= posix_spawn_file_actions_adddup2(&actions, out, 1);
    rc |= posix_spawn_file_actions_adddup2(&actions, out, 2);
    rc |= posix_spawnp(&self->pid, name, &actions, NULL, argv, environ);
    assert(rc == 0);
    (void)posix_spawn_file_actions_destroy(&actions);
}

struct test_psql *test_psql_open(const struct test_pg *pg)
{
    struct test_psql *self = calloc(1, sizeof(*self));
    int in[2];
    int out[2];
    assert(self != NULL);
    /* The child must not keep our ends open: closing one is the end of file. */
    bool made = pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0;
    assert(made);
    s_spawn(self, pg, in[0], out[1]);
    (void)close(in[0]);
    (void)close(out[1]);
    self->to = in[1];
    self->from = out[0];
    self->capacity = PIECE;
    self->text = malloc(self->capacity);
    assert(self->text != NULL);
    return self;
}

void test_psql_close(struct test_psql *self)
{
    int status = 0;
    (void)close(self->to);
    (void)waitpid(self->pid, &status, 0);
    (void)close(self->from);
    free(self->text);
    free(self);
}

static void s_send(struct test_psql *self, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t sent = write(self->to, data, size);
        assert(sent > 0);
        data += sent;
        size -= (size_t)sent;
    }
}

static bool s_ended(const struct test_psql *self)
{
    const size_t size = sizeof(END) - 1;
    return self->size >= size &&
           memcmp(self->text + self->size - size, END, size) == 0 &&
           (self->size == size || self->text[self->size - size - 1] == '\n');
}

static void s_receive(struct test_psql *self)
{
    self->size = 0;
    while (!s_ended(self)) {
        if (self->capacity - self->size < PIECE) {
            self->capacity *= 2;
            self->text = realloc(self->text, self->capacity);
            assert(self->text != NULL);
        }
        ssize_t got = read(self->from, self->text + self->size, PIECE - 1);
        if (got <= 0) {
            (void)fprintf(stderr, "psql: %s\n%.*s\n", self->sql,
                          (int)self->size, self->text);
            abort();
        }
        self->size += (size_t)got;
    }
    self->size -= sizeof(END) - 1;
    self->size -= self->size > 0 ? 1 : 0; /* the last newline */
    self->text[self->size] = '\0';
}

static void s_ask(struct test_psql *self, const char *format, va_list args)
{
    static const char MARK[] = ";\n\\echo CAIRN_END\n";
    int size = vsnprintf(self->sql, sizeof(self->sql), format, args);
    assert(size > 0 && (size_t)size < sizeof(self->sql));
    s_send(self, self->sql, (size_t)size);
    s_send(self, MARK, sizeof(MARK) - 1);
}

void test_psql_send(struct test_psql *self, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    s_ask(self, format, args);
    va_end(args);
}

const char *test_psql_wait(struct test_psql *self)
{
    s_receive(self);
    return self->text;
}

const char *test_psql(struct test_psql *self, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    s_ask(self, format, args);
    va_end(args);
    return test_psql_wait(self);
}

long test_psql_number(struct test_psql *self, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    s_ask(self, format, args);
    va_end(args);
    return strtol(test_psql_wait(self), NULL, 10);
}
