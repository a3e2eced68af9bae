/* Every text of a report: see words.h. */
#include "report/words.h"

static const char *const words[N_WORDS][2] = {
#define X(name, english, chinese) [WORD_##name] = {english, chinese},
    REPORT_WORDS(X)
#undef X
};

const char *report_text(hone_language language, report_word word)
{
    return words[word][language == HONE_CHINESE];
}
