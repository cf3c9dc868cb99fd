/* SPDX-License-Identifier: Apache-2.0 */
/* cairn-keys: makes the keys of a local system, and keeps those it finds.
 *   cairn-keys <dir> <name>...   CURVE pairs <dir>/<name>.key and <name>.pub
 *   cairn-keys master <file>     a master key for sealing, "1:<64 hex digits>"
 */
#include "common/base/env.h"
#include "common/bus/bus.h"
#include "common/wire/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_MAX_HERE = 4096, LINE_MAX_HERE = 128 };

static int s_complain(const char *path, const char *what)
{
    (void)fprintf(stderr, "cairn-keys: %s: %s\n", path, what);
    return 1;
}

static bool s_write(int fd, const char *text)
{
    size_t size = strlen(text);

    while (size > 0) {
        ssize_t written = write(fd, text, size);
        if (written < 0) {
            if (errno == EINTR) {
                continue;
            }
            return false;
        }
        text += written;
        size -= (size_t)written;
    }
    return fsync(fd) == 0;
}

/* Under another name first: a file is there whole or not at all. */
static int s_file_make(const char *path, mode_t mode, const char *line)
{
    char draft[PATH_MAX_HERE];

    if (snprintf(draft, sizeof(draft), "%s.new", path) >= (int)sizeof(draft)) {
        return s_complain(path, "the path is too long");
    }
    (void)unlink(draft);
    int fd = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0) {
        return s_complain(draft, strerror(errno));
    }
    bool written = s_write(fd, line);
    if (close(fd) != 0 || !written || rename(draft, path) != 0) {
        (void)unlink(draft);
        return s_complain(path, strerror(errno));
    }
    return 0;
}

/* The first line without its end. False when there is no file, or nothing in
 * it. */
static bool s_file_read(const char *path, char line[LINE_MAX_HERE])
{
    FILE *file = fopen(path, "re");

    if (file == NULL) {
        return false;
    }
    bool found = fgets(line, LINE_MAX_HERE, file) != NULL;
    (void)fclose(file);
    if (found) {
        line[strcspn(line, "\r\n")] = '\0';
    }
    return found && line[0] != '\0';
}

static int s_pair(const char *dir, const char *name)
{
    char secret_path[PATH_MAX_HERE];
    char public_path[PATH_MAX_HERE];
    char public_key[CN_BUS_KEY_SIZE + 1];
    char secret_key[LINE_MAX_HERE];
    char known[LINE_MAX_HERE] = "";

    if (snprintf(secret_path, sizeof(secret_path), "%s/%s.key", dir, name) >=
            (int)sizeof(secret_path) ||
        snprintf(public_path, sizeof(public_path), "%s/%s.pub", dir, name) >=
            (int)sizeof(public_path)) {
        return s_complain(dir, "the path is too long");
    }
    if (s_file_read(secret_path, secret_key)) {
        if (!cn_bus_public_key(secret_key, public_key)) {
            return s_complain(secret_path, "this is no CURVE key");
        }
    } else {
        char made[CN_BUS_KEY_SIZE];
        if (!cn_bus_keypair(public_key, made)) {
            return s_complain(name, "no key could be made");
        }
        (void)snprintf(secret_key, sizeof(secret_key), "%s\n", made);
        explicit_bzero(made, sizeof(made));
        if (s_file_make(secret_path, 0600, secret_key) != 0) {
            return 1;
        }
    }
    explicit_bzero(secret_key, sizeof(secret_key));
    /* Made from the secret, so that the two can never disagree. */
    if (s_file_read(public_path, known) && strcmp(known, public_key) == 0) {
        return 0;
    }
    public_key[CN_BUS_KEY_SIZE - 1] = '\n';
    public_key[CN_BUS_KEY_SIZE] = '\0';
    return s_file_make(public_path, 0644, public_key);
}

static int s_pairs(const char *dir, char *const *names, int count)
{
    if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
        return s_complain(dir, strerror(errno));
    }
    for (int i = 0; i < count; i++) {
        if (names[i][0] == '\0' || names[i][0] == '.' ||
            strchr(names[i], '/') != NULL) {
            return s_complain(names[i], "this is no name");
        }
        if (s_pair(dir, names[i]) != 0) {
            return 1;
        }
    }
    return 0;
}

static int s_master(const char *path)
{
    uint8_t key[CN_SEAL_KEY_SIZE];
    char line[LINE_MAX_HERE];
    struct cn_env env = cn_env_real();

    if (s_file_read(path, line)) {
        explicit_bzero(line, sizeof(line));
        return 0;
    }
    env.random(&env, key, sizeof(key));
    int at = snprintf(line, sizeof(line), "1:");
    for (size_t i = 0; i < sizeof(key); i++) {
        at += snprintf(&line[at], sizeof(line) - (size_t)at, "%02x", key[i]);
    }
    (void)snprintf(&line[at], sizeof(line) - (size_t)at, "\n");
    int status = s_file_make(path, 0600, line);
    explicit_bzero(key, sizeof(key));
    explicit_bzero(line, sizeof(line));
    return status;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "master") == 0) {
        return s_master(argv[2]);
    }
    if (argc >= 3 && strcmp(argv[1], "master") != 0 && argv[1][0] != '-') {
        return s_pairs(argv[1], &argv[2], argc - 2);
    }
    (void)fprintf(stderr, "usage: cairn-keys <dir> <name>...\n"
                          "       cairn-keys master <file>\n");
    return 2;
}
