/* An index from names to numbers by open addressing: keys and tensors of a checkpoint. Names are borrowed. */
#ifndef HONE_FORMAT_NAME_INDEX_H
#define HONE_FORMAT_NAME_INDEX_H

#include "base/base.h"

typedef struct hone_name_index {
    struct hone_name_slot {
        const char *name; /* NULL: empty */
        uint32_t len, value;
    } * slot;
    size_t capacity, n;
} hone_name_index; /* zero-initialise; cleared with hone_name_index_clear */

enum { HONE_NAME_ABSENT = -1 };

/* Makes room for n more names, so that hone_name_index_add can not fail for want of memory. */
int hone_name_index_reserve(hone_name_index *x, size_t n, hone_error *err);
/* Returns HONE_OK; HONE_EFORMAT when the name is there already; HONE_ELIMIT when too many names collide, which only a
 * file made to that end brings about. Sets no message: the caller knows the file. Room must be reserved. */
int hone_name_index_add(hone_name_index *x, const char *name, size_t len, uint32_t value);
int64_t hone_name_index_find(const hone_name_index *x, const char *name,
                             size_t len); /* value or HONE_NAME_ABSENT */
void hone_name_index_clear(hone_name_index *x);

#endif
