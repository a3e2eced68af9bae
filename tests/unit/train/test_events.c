/* TensorBoard records against bytes that Google's protobuf library and TensorFlow's writer produce, and the files that a
 * run writes. tests/peers/events_parity.py reads such a run with TensorBoard itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "train/events.h"

static void check(hone_buf *event, const char *hex)
{
    hone_buf record = {0};
    size_t i;

    hone_events_record(&record, event->data, event->len);
    assert_int_equal(record.len * 2, strlen(hex));
    for (i = 0; i < record.len; i++) {
        char two[3];

        snprintf(two, sizeof two, "%02x", (unsigned)(uint8_t)record.data[i]);
        assert_memory_equal(two, hex + 2 * i, 2);
    }
    hone_buf_clear(&record);
    hone_buf_clear(event);
}

static void reference_records(void **state)
{
    const hone_event_scalar loss = {"loss", 0.5};
    hone_buf b = {0};

    (void)state;
    hone_events_header(&b, 1, 0);
    hone_events_put_version(&b);
    check(&b, "1800000000000000a37f4b2209000000000000f03f1a0d627261696e2e4576656e743a3286bf577a");
    hone_events_header(&b, 2, 7);
    hone_events_put_scalars(&b, &loss, 1);
    check(&b, "1a00000000000000129bd82d09000000000000004010072a0d0a0b0a046c6f7373150000003fc33fc24a");
    hone_events_header(&b, 6, 100);
    hone_events_put_start(&b);
    check(&b, "0f000000000000006d532b0909000000000000184010643a020801cfaea08e");
}

static void text_record(void **state)
{
    hone_buf b = {0};

    (void)state;
    hone_events_header(&b, 3, 0);
    hone_events_put_text(&b, "args/text_summary", "hi");
    check(
        &b,
        "3800000000000000a3797d570900000000000008402a2d0a2b0a11617267732f746578745f73756d6d617279420c08071204"
        "12020801420268694a080a060a0474657874ec379ed7");
}

static void checksum_of_the_length(void **state)
{
    hone_buf b = {0};
    uint32_t stored;

    (void)state;
    hone_events_record(&b, "123456789", 9); /* crc32c e3069283, masked c78ab0e5 */
    assert_int_equal(b.len, 8 + 4 + 9 + 4);
    memcpy(&stored, b.data + 21, sizeof stored);
    assert_int_equal(stored, 0xc78ab0e5u);
    hone_buf_clear(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_records),
        cmocka_unit_test(text_record),
        cmocka_unit_test(checksum_of_the_length),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
