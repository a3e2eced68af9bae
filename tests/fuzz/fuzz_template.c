/* Fuzz target: any bytes as a template, rendered with a small conversation. tools/run_long.sh builds it with libFuzzer;
 * tests/unit/text/test_jinja_corpus.c runs its corpus in every test run. */
#include <stdlib.h>

#include "text/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static json_t *messages, *tools;
    hone_template_input in = {
        .max_work = 200000, .max_memory = (size_t)64 << 20, .max_output = (size_t)4 << 20};
    hone_template *t = NULL;
    hone_rendering r = {0};
    hone_error err = {0};

    if (!messages) {
        messages = json_loads(
            "[{\"role\":\"system\",\"content\":\"S \\u00e9\"},{\"role\":\"user\",\"content\":[{\"type\":"
            "\"text\",\"text\":\"T\"}]},{\"role\":\"assistant\",\"content\":\"a<think>b</think>c\","
            "\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{\"x\":1.5,\"y\":[null,true]}}}]}]",
            0, NULL);
        tools =
            json_loads("[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{}}}]", 0, NULL);
    }
    in.messages = messages;
    in.n_messages = json_array_size(messages);
    in.tools = tools;
    in.generation_prompt = size & 1;
    if (hone_template_parse(&t, (const char *)data, size, &err) || hone_template_render(t, &in, &r, &err)) {
        if (!err.code || !err.message[0] || r.text)
            abort(); /* a failure says why and leaves nothing */
    }
    hone_rendering_clear(&r);
    hone_template_free(t);
    return 0;
}
