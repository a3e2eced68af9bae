/* Numbers as text, independent of the program's locale (which, for messages in Chinese, is not "C"). */
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "config/keys.h"

/* Switches this thread to the C locale for numbers; *old gets what restores it. */
static int enter_c_locale(locale_t *c, locale_t *old, hone_error *err)
{
    *c = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
    if (!*c)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    *old = uselocale(*c);
    return 0;
}

static void leave_c_locale(locale_t c, locale_t old)
{
    uselocale(old);
    freelocale(c);
}

int config_number_parse(double *out, const char *text, hone_error *err)
{
    locale_t c = (locale_t)0, old = (locale_t)0;
    int rc = enter_c_locale(&c, &old, err);

    if (rc)
        return rc;
    *out = strtod(text, NULL);
    leave_c_locale(c, old);
    return 0;
}

int config_number_format(char out[32], double value, hone_error *err)
{
    locale_t c = (locale_t)0, old = (locale_t)0;
    int digits, rc = enter_c_locale(&c, &old, err);

    if (rc)
        return rc;
    for (digits = 1; digits <= 17; digits++) {
        double back;

        snprintf(out, 32, "%.*g", digits, value);
        back = strtod(out, NULL);
        if (!memcmp(&back, &value, sizeof back))
            break;
    }
    leave_c_locale(c, old);
    return 0;
}
