/* SPDX-License-Identifier: Apache-2.0 */
/* For tests that compare what is sealed: reads lines "<tenant> <context> <hex>"
 * and writes what each holds, as hex. The master keys are in the file named by
 * CAIRN_SEAL_KEY_FILE. */
#include "common/base/env.h"
#include "common/base/id.h"
#include "common/wire/seal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEYS_MAX = 4096, LINE_MAX_BYTES = 1 << 20 };

static char s_line[LINE_MAX_BYTES];

/* "0a" -> 10, in place; false for anything else. */
static bool s_hex_read(char *text, size_t *ret_size)
{
    size_t size = strlen(text) / 2;
    for (size_t i = 0; i < size; i++) {
        const char digits[] = { text[2 * i], text[2 * i + 1], '\0' };
        char *end = NULL;
        unsigned long value = strtoul(digits, &end, 16);
        if (*end != '\0') {
            return false;
        }
        text[i] = (char)value;
    }
    *ret_size = size;
    return true;
}

static bool s_line_open(struct cn_env *env, char *line)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    char *rest = line;
    const char *tenant_text = strsep(&rest, " ");
    const char *context = strsep(&rest, " ");
    char *hex = strsep(&rest, "\n");
    struct cn_uuid tenant;
    struct cn_bytes plain = { 0 };
    struct cn_err err = { 0 };
    size_t size = 0;
    if (arena == NULL || hex == NULL || !cn_uuid_parse(tenant_text, &tenant) ||
        !s_hex_read(hex, &size)) {
        return false;
    }
    const struct cn_bytes sealed = { (const uint8_t *)hex, size };
    if (cn_unseal(env, arena, tenant, context, sealed, &plain, &err) != CN_OK) {
        return false;
    }
    for (size_t i = 0; i < plain.size; i++) {
        printf("%02x", plain.data[i]);
    }
    printf("\n");
    return true;
}

int main(void)
{
    static char keys[KEYS_MAX];
    const char *path = getenv("CAIRN_SEAL_KEY_FILE");
    struct cn_env env = cn_env_real();
    struct cn_err err = { 0 };
    FILE *file = path == NULL ? NULL : fopen(path, "r");
    int status = EXIT_SUCCESS;
    if (file == NULL || fread(keys, 1, sizeof(keys) - 1, file) == 0) {
        (void)fprintf(stderr, "unseal: no CAIRN_SEAL_KEY_FILE\n");
        return EXIT_FAILURE;
    }
    (void)fclose(file);
    env.seal = cn_seal_new(keys, &err);
    if (env.seal == NULL) {
        (void)fprintf(stderr, "unseal: %s\n", err.msg);
        return EXIT_FAILURE;
    }
    while (status == EXIT_SUCCESS &&
           fgets(s_line, sizeof(s_line), stdin) != NULL) {
        if (!s_line_open(&env, s_line)) {
            (void)fprintf(stderr, "unseal: a line does not open\n");
            status = EXIT_FAILURE;
        }
    }
    cn_seal_free(env.seal);
    return status;
}
