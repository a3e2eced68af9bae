/* See base64.h. */
#include "text/base64.h"

static int value_of(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

int hone_base64_decode(hone_buf *out, const char *s, size_t n, hone_error *err)
{
    size_t i, k, data = n;

    while (data && n - data < 2 && s[data - 1] == '=')
        data--;
    if (n % 4)
        return hone_error_set(err, HONE_EFORMAT, "%zu characters are no base64", n);
    for (i = 0; i < data; i += 4) {
        uint32_t word = 0;
        size_t have = HONE_MIN(data - i, (size_t)4);

        for (k = 0; k < have; k++) {
            int v = value_of(s[i + k]);

            if (v < 0)
                return hone_error_set(err, HONE_EFORMAT, "character %zu is no base64", i + k + 1);
            word |= (uint32_t)v << (18 - 6 * k);
        }
        for (k = 0; k + 1 < have; k++)
            hone_buf_putc(out, (char)(word >> (16 - 8 * k)));
    }
    return out->failed ? hone_error_set(err, HONE_ENOMEM, "out of memory for base64") : 0;
}
