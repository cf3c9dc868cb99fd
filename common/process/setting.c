/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of the settings that several programs have. */
#include "common/process/setting.h"

#include "common/base/log.h"
#include "common/bus/bus.h"
#include "common/loop/listen.h"

#include <stdlib.h>
#include <string.h>

enum { PIECE_MAX = 300, NAME_MAX_SIZE = 31 };

/* Calls right for each piece between separators. False when one is not right,
 * too long or empty. */
static bool
s_each(const char *text, const char *separator, bool (*right)(const char *))
{
    char piece[PIECE_MAX];
    while (text[0] != '\0') {
        size_t size = strcspn(text, separator);
        if (size == 0 || size >= sizeof(piece)) {
            return false;
        }
        memcpy(piece, text, size);
        piece[size] = '\0';
        if (!right(piece)) {
            return false;
        }
        text += size + (text[size] != '\0' ? 1 : 0);
    }
    return true;
}

static bool s_name(const char *text)
{
    static const char LETTERS[] = "abcdefghijklmnopqrstuvwxyz0123456789_-";
    size_t size = strspn(text, LETTERS);
    return size > 0 && size <= NAME_MAX_SIZE && text[size] == '\0';
}

/* The value of "name=value"; NULL when the text or its name is malformed. */
static const char *s_setting_value(const char *text)
{
    const char *equals = strchr(text, '=');
    char name[NAME_MAX_SIZE + 1];
    size_t size = equals == NULL ? 0 : (size_t)(equals - text);
    if (size == 0 || size >= sizeof(name)) {
        return NULL;
    }
    memcpy(name, text, size);
    name[size] = '\0';
    return s_name(name) ? equals + 1 : NULL;
}

const char *cn_setting_address(const char *text)
{
    return cn_listen_valid(text) ? NULL : "must be host:port";
}

const char *cn_setting_address_or_none(const char *text)
{
    return text[0] == '\0' ? NULL : cn_setting_address(text);
}

static bool s_endpoint(const char *text)
{
    static const char SCHEME[] = "tcp://";
    const size_t size = sizeof(SCHEME) - 1;
    return strncmp(text, SCHEME, size) == 0 && text[size] != ':' &&
           cn_listen_valid(text + size);
}

const char *cn_setting_endpoint(const char *text)
{
    return s_endpoint(text) ? NULL : "must be tcp://host:port";
}

static bool s_endpoints_of(const char *text)
{
    const char *value = s_setting_value(text);
    return value != NULL && value[0] != '\0' && s_each(value, ",", s_endpoint);
}

/* Each service's list is copied to the heap: it may be longer than PIECE_MAX.
 */
const char *cn_setting_endpoints(const char *text)
{
    while (text[0] != '\0') {
        size_t size = strcspn(text, ";");
        char *piece = strndup(text, size);
        bool right = piece != NULL && s_endpoints_of(piece);
        free(piece);
        if (!right) {
            return "must be name=tcp://host:port,...;name=...";
        }
        text += size + (text[size] != '\0' ? 1 : 0);
    }
    return NULL;
}

static bool s_peer_read(const char *text)
{
    const char *key = s_setting_value(text);
    char unused[CN_BUS_KEY_SIZE];
    /* A public key has the form of a secret one; no more can be checked. */
    return key != NULL && cn_bus_public_key(key, unused);
}

const char *cn_setting_peers(const char *text)
{
    return s_each(text, ",", s_peer_read)
               ? NULL
               : "must be name=key,... with keys of 40 "
                 "letters (Z85)";
}

const char *cn_setting_names(const char *text)
{
    return s_each(text, ",", s_name) ? NULL : "must be name,...";
}

const char *cn_setting_bus_key(const char *text)
{
    char unused[CN_BUS_KEY_SIZE];
    return cn_bus_public_key(text, unused)
               ? NULL
               : "must be a key of 40 letters (Z85)";
}

const char *cn_setting_level(const char *text)
{
    enum cn_log_level unused = CN_LOG_INFO;
    return cn_log_level_read(text, &unused) ? NULL
                                            : "must be debug, info, warn or "
                                              "error: there is no such level";
}

const char *cn_setting_url_or_none(const char *text)
{
    static const char *const SCHEMES[] = { "http://", "https://" };
    size_t size = strlen(text);
    for (size_t i = 0; i < 2; i++) {
        size_t scheme = strlen(SCHEMES[i]);
        if (strncmp(text, SCHEMES[i], scheme) == 0 && size > scheme &&
            text[size - 1] != '/' && strpbrk(text, " ?#\"\\<>%") == NULL) {
            return NULL;
        }
    }
    return size == 0 ? NULL
                     : "must be http://... or https://... without a slash at "
                       "its end";
}
