/* SPDX-License-Identifier: Apache-2.0 */
/* Checks for struct cn_option. Each returns NULL, or what the text must be, for
 * a line that begins with the setting's name. */
#ifndef CN_SETTING_H
#define CN_SETTING_H

/* "host:port", "[v6]:port". */
const char *cn_setting_address(const char *text);
/* The same, or nothing. */
const char *cn_setting_address_or_none(const char *text);
/* "tcp://host:port". */
const char *cn_setting_endpoint(const char *text);
/* "name=tcp://host:port,...;name=...". */
const char *cn_setting_endpoints(const char *text);
/* "name=key,...", keys of 40 letters Z85. */
const char *cn_setting_peers(const char *text);
/* "name,...". */
const char *cn_setting_names(const char *text);
/* A secret CURVE key. */
const char *cn_setting_bus_key(const char *text);
/* debug, info, warn, error. */
const char *cn_setting_level(const char *text);
/* "http://..." or "https://..." without a slash at its end, or nothing. */
const char *cn_setting_url_or_none(const char *text);

#endif
