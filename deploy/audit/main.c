/* SPDX-License-Identifier: Apache-2.0 */
/* cairn-audit: shows that the audit is what was sealed. See USAGE. */
#include "common/audit/audit_export.h"
#include "common/audit/audit_heads.h"
#include "common/audit/audit_scan.h"
#include "common/audit/audit_verify.h"
#include "common/base/clock.h"
#include "common/base/env.h"
#include "common/db/db.h"
#include "common/loop/fiber.h"
#include "common/loop/loop.h"
#include "common/wire/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char USAGE[] =
    "usage: cairn-audit verify [-t TENANT] [-H HEADS] [-k PUBLIC] SERVICE\n"
    "       cairn-audit verify -f EXPORT [-H HEADS] [-k PUBLIC]\n"
    "       cairn-audit export [-t TENANT] SERVICE >EXPORT\n"
    "       cairn-audit head SERVICE >HEADS\n"
    "       cairn-audit keygen FILE\n"
    "       cairn-audit public FILE\n"
    "\n"
    "verify   recomputes the chains of a service from the database, or from "
    "an\n"
    "         export (-f, - is the standard input), and names the first row "
    "of\n"
    "         each that is not as it was sealed. Exit: 0 all is right, 1 it "
    "is\n"
    "         not, 2 it could not be seen.\n"
    "  -H     heads that were exported before: the chains must reach them\n"
    "  -k     the public key, 64 hex digits or a file with them, that must "
    "have\n"
    "         signed the heads\n"
    "  -t     one tenant (agc_..., or its uuid) instead of all\n"
    "export   writes the sealed rows as JSON lines\n"
    "head     writes the heads of the chains, signed with CAIRN_AUDIT_KEY\n"
    "keygen   makes a signing key in a new file, and prints its public key\n"
    "public   prints the public key of a signing key\n"
    "\n"
    "The database is read as the role <SERVICE>_relay:\n"
    "  CAIRN_DB                 conninfo: host, port, dbname\n"
    "  CAIRN_DB_RELAY_PASSWORD  its password, or ..._FILE names a file\n"
    "  CAIRN_AUDIT_KEY          64 hex digits, or ..._FILE names a file;\n"
    "                           without it heads are not signed\n"
    "Other CAIRN_ settings of a service are passed over.\n";

enum {
    RIGHT = 0,
    WRONG = 1,
    UNSEEN = 2,
    ARENA_MAX = 192 << 20,
    BUDGET_US = 30000000,
    GRACE_US = 1000000,
    ROLE_MAX = 80,
    FILE_NAME_MAX = 128,
    KEY_TEXT_SIZE = 2 * CN_SIGN_SECRET_SIZE + 1
};

struct tool {
    const char *command;
    const char *service;
    const char *export_path;
    const char *heads_path;
    const char *public_text;
    struct cn_uuid tenant;
    struct cn_env env;
    struct cn_arena *arena;
    int status;
};

static int s_complain(const char *what, const char *why)
{
    (void)fprintf(stderr, "cairn-audit: %s: %s\n", what, why);
    return UNSEEN;
}

/* ---- settings ---- */

static const char *s_environment(const char *name)
{
    return getenv(name); /* NOLINT(concurrency-mt-unsafe): one thread */
}

/* A file's first line in the arena; NULL when there is none. */
static const char *s_line_of(struct cn_arena *arena, const char *path)
{
    const char *text = NULL;
    struct cn_err err = { 0 };

    if (cn_audit_file_read(arena, path, &text, &err) != CN_OK) {
        return NULL;
    }
    return cn_arena_strndup(arena, text, strcspn(text, "\r\n"));
}

/* A setting or the file that <name>_FILE names; "" when neither is given. NULL
 * with a complaint when the file cannot be read. */
static const char *s_secret(struct tool *self, const char *name)
{
    char file_name[FILE_NAME_MAX];
    const char *text = s_environment(name);

    if (text != NULL && text[0] != '\0') {
        return text;
    }
    (void)snprintf(file_name, sizeof(file_name), "%s_FILE", name);
    const char *path = s_environment(file_name);
    if (path == NULL || path[0] == '\0') {
        return "";
    }
    text = s_line_of(self->arena, path);
    if (text == NULL) {
        (void)s_complain(file_name, "names a file that cannot be read");
    }
    return text;
}

/* ---- keys ---- */

static bool s_key_print(const char *hex)
{
    uint8_t secret[CN_SIGN_SECRET_SIZE];
    uint8_t public_key[CN_SIGN_PUBLIC_SIZE];
    char text[KEY_TEXT_SIZE];

    if (!cn_unhex(hex, secret, sizeof(secret))) {
        return false;
    }
    cn_sign_public(secret, public_key);
    explicit_bzero(secret, sizeof(secret));
    cn_hex(public_key, sizeof(public_key), text);
    return puts(text) >= 0;
}

/* Never over a file that is there: it may have signed what must stay provable.
 */
static int s_keygen(struct tool *self, const char *path)
{
    uint8_t secret[CN_SIGN_SECRET_SIZE];
    char text[KEY_TEXT_SIZE + 1];

    self->env.random(&self->env, secret, sizeof(secret));
    cn_hex(secret, sizeof(secret), text);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        /* One thread. NOLINTNEXTLINE(concurrency-mt-unsafe) */
        return s_complain(path, strerror(errno));
    }
    bool printed = s_key_print(text);
    text[KEY_TEXT_SIZE - 1] = '\n';
    bool written = write(fd, text, KEY_TEXT_SIZE) == KEY_TEXT_SIZE &&
                   fsync(fd) == 0 && printed;
    explicit_bzero(secret, sizeof(secret));
    explicit_bzero(text, sizeof(text));
    if (close(fd) != 0 || !written) {
        (void)unlink(path);
        return s_complain(path, "the key could not be written");
    }
    return RIGHT;
}

static int s_public(struct tool *self, const char *path)
{
    const char *text = s_line_of(self->arena, path);

    if (text == NULL || !s_key_print(text)) {
        return s_complain(path, "is no signing key of 64 hex digits");
    }
    return RIGHT;
}

/* ---- heads ---- */

static bool s_signed_by_it(struct tool *self,
                           const struct cn_audit_heads *heads)
{
    uint8_t wanted[CN_SIGN_PUBLIC_SIZE];
    const char *text = self->public_text;

    if (!cn_unhex(text, wanted, sizeof(wanted))) {
        text = s_line_of(self->arena, text);
        if (!cn_unhex(text, wanted, sizeof(wanted))) {
            self->status = s_complain("-k", "is no public key");
            return false;
        }
    }
    if (!heads->is_right ||
        memcmp(wanted, heads->public_key, sizeof(wanted)) != 0) {
        (void)printf("%s: bad signature: not by the key that was given\n",
                     self->heads_path);
        self->status = WRONG;
        return false;
    }
    return true;
}

/* Reads them and judges their signature. False with the status set. */
static bool s_heads_read(struct tool *self, struct cn_audit_heads *heads)
{
    const char *text = NULL;
    struct cn_err err = { 0 };
    char key[KEY_TEXT_SIZE];

    if (cn_audit_file_read(self->arena, self->heads_path, &text, &err) !=
        CN_OK) {
        self->status = s_complain(self->heads_path, err.msg);
        return false;
    }
    if (cn_audit_heads_read(self->arena, text, heads, &err) != CN_OK) {
        (void)printf("%s: bad heads: %s\n", self->heads_path, err.msg);
        self->status = WRONG;
        return false;
    }
    if (heads->is_signed && !heads->is_right) {
        (void)printf("%s: bad signature\n", self->heads_path);
        self->status = WRONG;
        return false;
    }
    if (self->public_text != NULL) {
        return s_signed_by_it(self, heads);
    }
    if (heads->is_signed) {
        cn_hex(heads->public_key, sizeof(heads->public_key), key);
        (void)fprintf(stderr,
                      "cairn-audit: the heads are signed by %s; -k says "
                      "whether that is your key\n",
                      key);
    } else {
        (void)fprintf(stderr, "cairn-audit: the heads are not signed\n");
    }
    return true;
}

/* ---- verify ---- */

static void s_fault_print(const char *service, struct cn_audit_fault fault)
{
    char tenant[CN_UUID_TEXT_SIZE];
    char id[CN_UUID_TEXT_SIZE];

    (void)printf("%s:", service);
    if (!cn_uuid_is_nil(fault.tenant_id)) {
        cn_uuid_format(fault.tenant_id, tenant);
        (void)printf(" tenant %s", tenant);
    }
    if (fault.n > 0) {
        (void)printf(" row %lld", (long long)fault.n);
    }
    if (!cn_uuid_is_nil(fault.id)) {
        cn_uuid_format(fault.id, id);
        (void)printf(" id %s", id);
    }
    if (fault.line > 0) {
        (void)printf(" line %zu", fault.line);
    }
    (void)printf(": %s\n", cn_audit_wrong_text(fault.wrong));
}

static int s_verdict(const char *service, const struct cn_audit_verify *verify)
{
    size_t count = cn_audit_verify_fault_count(verify);

    for (size_t i = 0; i < count; i++) {
        s_fault_print(service, cn_audit_verify_fault(verify, i));
    }
    (void)printf("%s: %lld rows, %zu chains, %zu faults\n", service,
                 (long long)cn_audit_verify_row_count(verify),
                 cn_audit_verify_chain_count(verify), count);
    return count == 0 ? RIGHT : WRONG;
}

/* file NULL: from the database. */
static int s_verify_in(struct tool *self,
                       FILE *file,
                       const char *service,
                       struct cn_uuid tenant)
{
    struct cn_audit_heads heads = { 0 };
    struct cn_err err = { 0 };
    enum cn_code rc = CN_OK;

    if (self->heads_path != NULL && !s_heads_read(self, &heads)) {
        return self->status;
    }
    struct cn_audit_verify *verify =
        cn_audit_verify_new(service, cn_uuid_is_nil(tenant));
    if (verify == NULL) {
        return s_complain(service, "out of memory");
    }
    if (self->heads_path != NULL) {
        rc = cn_audit_verify_heads(verify, &heads, tenant, &err);
    }
    if (rc == CN_OK) {
        rc = file != NULL
                 ? cn_audit_export_verify(file, verify, &err)
                 : cn_audit_scan_verify(&self->env, tenant, verify, &err);
    }
    int status =
        rc == CN_OK ? s_verdict(service, verify) : s_complain(service, err.msg);
    cn_audit_verify_free(verify);
    return status;
}

static int s_verify_export(struct tool *self)
{
    char service[CN_AUDIT_SERVICE_MAX];
    struct cn_uuid tenant = { 0 };
    struct cn_err err = { 0 };
    bool standard = strcmp(self->export_path, "-") == 0;
    FILE *file = standard ? stdin : fopen(self->export_path, "re");
    int status = WRONG;

    if (file == NULL) {
        /* One thread. NOLINTNEXTLINE(concurrency-mt-unsafe) */
        return s_complain(self->export_path, strerror(errno));
    }
    if (cn_audit_export_open(file, service, &tenant, &err) != CN_OK) {
        (void)printf("%s: %s\n", self->export_path, err.msg);
    } else {
        status = s_verify_in(self, file, service, tenant);
    }
    if (!standard) {
        (void)fclose(file);
    }
    return status;
}

/* ---- from the database ---- */

static int s_export(struct tool *self)
{
    struct cn_err err = { 0 };
    int64_t count = 0;

    if (cn_audit_export_write(&self->env, self->service, self->tenant, stdout,
                              &count, &err) != CN_OK) {
        return s_complain(self->service, err.msg);
    }
    (void)fprintf(stderr, "cairn-audit: %s: %lld rows\n", self->service,
                  (long long)count);
    return RIGHT;
}

static int s_head(struct tool *self)
{
    struct cn_audit_head *heads = NULL;
    struct cn_err err = { 0 };
    uint8_t secret[CN_SIGN_SECRET_SIZE];
    size_t count = 0;
    const char *key = s_secret(self, "CAIRN_AUDIT_KEY");

    if (key == NULL) {
        return UNSEEN;
    }
    if (key[0] != '\0' && !cn_unhex(key, secret, sizeof(secret))) {
        return s_complain("CAIRN_AUDIT_KEY", "is not of 64 hex digits");
    }
    explicit_bzero(secret, sizeof(secret));
    if (key[0] == '\0') {
        (void)fprintf(stderr, "cairn-audit: without CAIRN_AUDIT_KEY the heads "
                              "are not signed\n");
    }
    if (cn_audit_heads_load(&self->env, self->arena, &heads, &count, &err) !=
        CN_OK) {
        return s_complain(self->service, err.msg);
    }
    const char *text =
        cn_audit_heads_text(self->arena, self->service,
                            self->env.now(&self->env), heads, count, key);
    if (text == NULL || fputs(text, stdout) < 0 || fflush(stdout) != 0) {
        return s_complain(self->service, "the heads cannot be written");
    }
    return RIGHT;
}

/* The fiber: connects, does the command, ends the loop. */
static void s_run(void *arg)
{
    struct tool *self = arg;
    struct cn_err err = { 0 };

    if (cn_db_start(self->env.db, &err) != CN_OK) {
        self->status = s_complain("CAIRN_DB", err.msg);
    } else if (strcmp(self->command, "export") == 0) {
        self->status = s_export(self);
    } else if (strcmp(self->command, "head") == 0) {
        self->status = s_head(self);
    } else {
        self->status = s_verify_in(self, NULL, self->service, self->tenant);
    }
    cn_loop_stop(self->env.loop);
}

static int s_with_database(struct tool *self)
{
    char role[ROLE_MAX];
    struct cn_err err = { 0 };
    const char *conninfo = s_environment("CAIRN_DB");
    const char *password = s_secret(self, "CAIRN_DB_RELAY_PASSWORD");

    if (password == NULL) {
        return UNSEEN;
    }
    if (conninfo == NULL || conninfo[0] == '\0') {
        return s_complain("CAIRN_DB", "is missing");
    }
    (void)snprintf(role, sizeof(role), "%s_relay", self->service);
    struct cn_db_config config = {
        .conninfo = conninfo,
        .schema = self->service,
        .epoch = 1, /* of rows that are written; none is */
        .lanes = { [CN_LANE_RELAY] = { .user = role,
                                       .password = password[0] == '\0'
                                                       ? NULL
                                                       : password,
                                       .connections = 1 } },
    };
    self->status = UNSEEN;
    self->env.loop = cn_loop_new();
    self->env.db =
        self->env.loop == NULL ? NULL : cn_db_new(&self->env, &config);
    if (self->env.db == NULL) {
        cn_loop_free(self->env.loop);
        return s_complain(self->service, "out of memory");
    }
    if (cn_fiber_spawn(self->env.loop, s_run, self,
                       cn_clock_monotonic() + BUDGET_US, &err) == CN_OK) {
        cn_loop_run(self->env.loop, GRACE_US);
    }
    cn_db_free(self->env.db);
    cn_loop_free(self->env.loop);
    return self->status;
}

/* ---- the command line ---- */

static int s_usage(void)
{
    (void)fprintf(stderr, "cairn-audit: not understood; try --help\n");
    return UNSEEN;
}

static bool s_options(struct tool *self, int argc, char **argv)
{
    /* One thread. NOLINTNEXTLINE(concurrency-mt-unsafe) */
    for (int option = 0; (option = getopt(argc, argv, "+t:H:k:f:")) != -1;) {
        switch (option) {
        case 't':
            if (!cn_id_parse(CN_TENANT_PREFIX, optarg, &self->tenant) &&
                !cn_uuid_parse(optarg, &self->tenant)) {
                (void)s_complain("-t", "is no agc_... and no uuid");
                return false;
            }
            break;
        case 'H':
            self->heads_path = optarg;
            break;
        case 'k':
            self->public_text = optarg;
            break;
        case 'f':
            self->export_path = optarg;
            break;
        default:
            return false;
        }
    }
    return true;
}

static bool s_is_name(const char *text)
{
    return text[0] != '\0' &&
           strspn(text, "abcdefghijklmnopqrstuvwxyz_") == strlen(text) &&
           strlen(text) < CN_AUDIT_SERVICE_MAX;
}

static int s_command(struct tool *self, int argc, char **argv)
{
    /* The options follow the command. */
    if (!s_options(self, argc - 1, argv + 1)) {
        return UNSEEN;
    }
    bool verify = strcmp(self->command, "verify") == 0;
    int left = argc - 1 - optind;
    const char *name = left == 1 ? argv[1 + optind] : NULL;
    if (!verify && (self->heads_path != NULL || self->public_text != NULL ||
                    self->export_path != NULL)) {
        return s_usage();
    }
    if (verify && self->export_path != NULL) {
        return left == 0 ? s_verify_export(self) : s_usage();
    }
    if (name == NULL) {
        return s_usage();
    }
    if (strcmp(self->command, "keygen") == 0) {
        return s_keygen(self, name);
    }
    if (strcmp(self->command, "public") == 0) {
        return s_public(self, name);
    }
    if (!verify && strcmp(self->command, "export") != 0 &&
        strcmp(self->command, "head") != 0) {
        return s_usage();
    }
    if (!s_is_name(name)) {
        return s_complain(name, "is no name of a service");
    }
    self->service = name;
    return s_with_database(self);
}

int main(int argc, char **argv)
{
    struct tool tool = { .env = cn_env_real() };

    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        return fputs(USAGE, stdout) < 0 ? UNSEEN : RIGHT;
    }
    if (argc < 2) {
        return s_usage();
    }
    tool.command = argv[1];
    tool.arena = cn_arena_new(ARENA_MAX);
    if (tool.arena == NULL) {
        return s_complain(argv[1], "out of memory");
    }
    int status = s_command(&tool, argc, argv);
    cn_arena_free(tool.arena);
    return status;
}
