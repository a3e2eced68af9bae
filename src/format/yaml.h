/* YAML as JSON values, each with the line it stands in, for files that people write: rules, tables. */
#ifndef HONE_FORMAT_YAML_H
#define HONE_FORMAT_YAML_H

#include <jansson.h>

#include "base/base.h"

typedef struct hone_yaml hone_yaml;

/* Reads one document. Plain scalars have the types of YAML 1.2's core schema (null, true and false, whole and real
 * numbers; `yes`, `on`, `0o7`, `0x7` are text), quoted ones are text; the keys of a mapping are text and keep their
 * order; an empty document is null. Anchors and aliases work; tags, merge keys and repeated keys are refused by name. At
 * most 16 MiB, 64 levels and 500,000 values, so that aliases can not multiply without end. `name` stands in every
 * message. HONE_EFORMAT, HONE_EUNSUPPORTED, HONE_ELIMIT, HONE_ENOMEM. *out is freed with hone_yaml_free. */
int hone_yaml_parse(hone_yaml **out, const char *text, size_t len, const char *name, hone_error *err);
/* The same for a file. HONE_ENOENT, HONE_EIO besides. */
int hone_yaml_load(hone_yaml **out, const char *path, hone_error *err);
json_t *hone_yaml_root(const hone_yaml *y); /* borrowed; not to be changed */
/* The line (1-based) of a member's key in `object`, of an item of `array`; 0: there is no such one. */
size_t hone_yaml_key_line(const hone_yaml *y, const json_t *object, const char *key);
size_t hone_yaml_item_line(const hone_yaml *y, const json_t *array, size_t index);
void hone_yaml_free(hone_yaml *y); /* NULL is fine */

#endif
