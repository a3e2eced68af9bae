/* Which language a text is in: told by its script, and among Latin letters by the small words of each language. What is
 * short, or mixed, or code, is in no language for sure, and no finding follows from it.
 *
 * Simplified and traditional Chinese are told by characters that only one of them has (quality_han.c). */
#include <string.h>

#include "data/quality_impl.h"

/* In the order of the rule's choices, "question" being 0. */
enum language {
    LANG_NONE,
    LANG_ZH,
    LANG_EN,
    LANG_JA,
    LANG_KO,
    LANG_RU,
    LANG_FR,
    LANG_DE,
    LANG_ES,
    LANG_PT,
    LANG_IT,
    LANG_AR,
    LANG_TH,
    N_LANGS,
    EXPECT_SIMPLIFIED = N_LANGS,
    EXPECT_TRADITIONAL
};

static const char *const language_name[] = {"?",  "zh", "en", "ja", "ko", "ru",         "fr",         "de",
                                            "es", "pt", "it", "ar", "th", "simplified", "traditional"};

/* Words that are frequent in one of these languages and rare or absent in the others. */
static const char *const small_words[N_LANGS] = {
    [LANG_EN] = "the of and to is that it for was with are this have from you not be or which they their has "
                "will can your "
                "an by as at we how what when where why would should about these i my if there been",
    [LANG_FR] = "le les des et est une du dans pour qui sur pas vous avec ce sont au plus il je nous mais ou "
                "cette être "
                "leur ses aux par elle votre peut",
    [LANG_DE] = "der die und das ist nicht ein eine den von zu mit sich auf für dem des im auch werden oder "
                "wird sind wie "
                "aus bei nach zum sie wir ich als haben",
    [LANG_ES] = "el los las y del por una con para su al lo como más pero sus este ya esta entre cuando muy "
                "sin sobre "
                "también hasta hay donde son puede",
    [LANG_PT] = "o os e da do em um uma para com não por mais dos das como mas foi ao ele seu sua ou quando "
                "muito nos já "
                "está também são você pelo",
    [LANG_IT] = "il di che gli della per una sono con non del alla nel più anche come dei delle ma ha al dal "
                "questo questa "
                "essere nella ed può tra",
};

#define WORD_SLOTS 1024
#define PURE 0.92 /* share of its language in a question that is in that one for sure */

typedef struct language_words {
    struct {
        uint32_t token;
        uint16_t bits; /* of languages */
    } slot[WORD_SLOTS];
} language_words;

/* As text_scan_run hashes a word, for letters beyond ASCII too. */
static uint32_t token_of(const char *word, size_t n)
{
    uint32_t hash = 0x811c9dc5u;
    size_t i = 0;

    while (i < n) {
        int32_t cp;

        i += hone_utf8_get(word + i, n - i, &cp);
        hash = (hash ^ (uint32_t)cp) * 0x01000193u;
    }
    return hash | 0x80000000u;
}

int language_open(quality *q, rule *r, hone_error *err)
{
    language_words *w = hone_calloc(1, sizeof *w);
    size_t i;

    (void)q;
    r->state = w;
    if (!w)
        return hone_error_set(err, HONE_ENOMEM, "out of memory");
    for (i = 0; i < N_LANGS; i++) {
        const char *p = small_words[i];

        while (p && *p) {
            size_t n = strcspn(p, " "), at;
            uint32_t token = token_of(p, n);

            for (at = token % WORD_SLOTS; w->slot[at].token && w->slot[at].token != token;)
                at = (at + 1) % WORD_SLOTS;
            w->slot[at].token = token;
            w->slot[at].bits |= (uint16_t)(1u << i);
            p += n + (p[n] == ' ');
        }
    }
    return 0;
}

/* Among texts in Latin letters; LANG_NONE: not sure. A language needs two different... small words in eight. */
static enum language latin_language(const language_words *w, const text_scan *s, uint32_t latin_words)
{
    uint32_t count[N_LANGS] = {0}, i, best = 0, second = 0;
    enum language found = LANG_NONE;

    for (i = 0; i < s->n_tokens; i++) {
        size_t at;
        unsigned bits;

        if (!(s->token[i] >> 31))
            continue;
        for (at = s->token[i] % WORD_SLOTS; w->slot[at].token && w->slot[at].token != s->token[i];)
            at = (at + 1) % WORD_SLOTS;
        for (bits = w->slot[at].token ? w->slot[at].bits : 0; bits; bits &= bits - 1)
            count[__builtin_ctz(bits)]++;
    }
    for (i = 0; i < N_LANGS; i++)
        if (count[i] > best) {
            second = best;
            best = count[i];
            found = (enum language)i;
        } else if (count[i] > second) {
            second = count[i];
        }
    return best >= 2 && 8 * best >= latin_words && best > second + second / 2 ? found : LANG_NONE;
}

/* *share: of the language's characters among all letters, a Latin word counting as two characters. */
static enum language text_language(const language_words *w, const text_scan *s, int64_t min, double *share)
{
    const uint32_t *n = s->count;
    uint32_t latin = 0, i, by[N_LANGS] = {0}, all, best = 0;
    enum language found = LANG_NONE;

    for (i = 0; i < s->n_tokens; i++)
        latin += s->token[i] >> 31 && scan_class(s, s->token_at[i]) == CHAR_LATIN;
    if (n[CHAR_KANA] * 8 > n[CHAR_KANA] + n[CHAR_HAN])
        by[LANG_JA] = n[CHAR_KANA] + n[CHAR_HAN];
    else
        by[LANG_ZH] = n[CHAR_HAN];
    by[LANG_KO] = n[CHAR_HANGUL];
    by[LANG_RU] = n[CHAR_CYRILLIC] / 3;
    by[LANG_AR] = n[CHAR_ARABIC] / 3;
    by[LANG_TH] = n[CHAR_THAI] / 2;
    by[LANG_EN] = 2 * latin; /* for now: whichever has Latin letters */
    all = n[CHAR_GREEK] + n[CHAR_HEBREW] + n[CHAR_INDIC] + n[CHAR_LETTER];
    for (i = 0; i < N_LANGS; i++) {
        all += by[i];
        if (by[i] > best) {
            best = by[i];
            found = (enum language)i;
        }
    }
    *share = all ? (double)best / (double)all : 0;
    if (best < min)
        return LANG_NONE;
    return found == LANG_EN ? latin_language(w, s, latin) : found;
}

static int wrong_script(check *c, rule *r)
{
    const text_scan *s = c->text;
    bool simplified = r->p.choice == EXPECT_SIMPLIFIED;
    uint32_t wrong = simplified ? s->traditional : s->simplified,
             right = simplified ? s->simplified : s->traditional;
    unsigned flag = simplified ? CHAR_TRADITIONAL : CHAR_SIMPLIFIED;
    char quote[100];
    uint32_t i = 0;

    if (wrong < r->p.min || (double)wrong < r->p.share * (double)(wrong + right))
        return 0;
    while (i < s->n && !(s->class[i] & flag))
        i++;
    return check_found(c, r, i, i + 1, "%s: %u, %s", simplified ? "traditional" : "simplified", wrong,
                       check_quote(quote, s, i, HONE_MIN(i + 8, s->n)));
}

int language_row(check *c, rule *r)
{
    const language_words *w = r->state;
    enum language is, expected = (enum language)r->p.choice;
    double share, question_share;

    if (r->p.choice >= EXPECT_SIMPLIFIED)
        return wrong_script(c, r);
    if (expected == LANG_NONE && !c->question)
        return 0;
    if (expected == LANG_NONE && c->turns == 1)
        c->first_language = (int)text_language(w, c->question, r->p.min, &question_share);
    is = text_language(w, c->text, r->p.min, &share);
    if (is == LANG_NONE || share < r->p.share || is == expected)
        return 0;
    if (expected == LANG_NONE) {
        if (c->turns > 1 && (int)is == c->first_language) /* it keeps to the language of the conversation */
            return 0;
        expected = text_language(w, c->question, r->p.min, &question_share);
        if (expected == LANG_NONE || expected == is || question_share < PURE)
            return 0; /* a question that holds words of the other language may be about them */
    }
    return check_found(c, r, c->text->first, c->text->last, "%s, not %s", language_name[is],
                       language_name[expected]);
}

int mixed_script_row(check *c, rule *r)
{
    const text_scan *s = c->text;
    uint32_t fewer = HONE_MIN(s->simplified, s->traditional), n = s->simplified + s->traditional, i = 0;
    unsigned flag = s->simplified < s->traditional ? CHAR_SIMPLIFIED : CHAR_TRADITIONAL;
    char quote[100];

    if (fewer < r->p.min || (double)fewer < r->p.share * (double)n)
        return 0;
    while (i < s->n && !(s->class[i] & flag))
        i++;
    return check_found(c, r, i, i + 1, "%u simplified, %u traditional, %s", s->simplified, s->traditional,
                       check_quote(quote, s, i, HONE_MIN(i + 8, s->n)));
}
