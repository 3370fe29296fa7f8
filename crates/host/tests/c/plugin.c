/* A plugin in C: one shared method, one typed interface, and lines for the host's log. */
#include "keyway.h"

#include <stdlib.h>
#include <string.h>

/* What the test knows of the interfaces' texts. */
#include "texts.h"

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

#define TEXT(literal) {(const uint8_t *)(literal), sizeof(literal) - 1}

/* Characters without a zero at their end. */
#define NONSTRING __attribute__((nonstring))

/* The stamp: arrays of characters have no padding, so a struct of them is the bytes. */
#define RECORD(field, literal)      \
    struct {                        \
        unsigned char tag[4];       \
        unsigned char flags[4];     \
        unsigned char length[4];    \
        char bytes[sizeof(literal) - 1] NONSTRING; \
    } field
#define FILL(tag, literal) \
    {KEYWAY_LE32(tag), KEYWAY_LE32(KEYWAY_STAMP_CRITICAL), KEYWAY_LE32(sizeof(literal) - 1), literal}

typedef struct stamp {
    char magic[8] NONSTRING;
    unsigned char major[4];
    unsigned char total[4];
    RECORD(name, "c-plugin");
    RECORD(version, "0.1.0");
    RECORD(target, TARGET);
    RECORD(kind, "keyway");
    RECORD(contract, KEYWAY_CONTRACT);
    struct {
        unsigned char tag[4];
        unsigned char flags[4];
        unsigned char length[4];
        unsigned char version[4];
        unsigned char id_length[4];
        char id[sizeof(ADDER_ID) - 1] NONSTRING;
        char descriptor[sizeof(ADDER_DESCRIPTOR) - 1] NONSTRING;
    } adder;
} stamp;

EXPORT __attribute__((section(KEYWAY_STAMP_SECTION), used)) const stamp KEYWAY_STAMP = {
    {'K', 'E', 'Y', 'W', 'A', 'Y', '\r', '\n'},
    KEYWAY_LE32(KEYWAY_STAMP_MAJOR),
    KEYWAY_LE32(sizeof(stamp)),
    FILL(KEYWAY_TAG_NAME, "c-plugin"),
    FILL(KEYWAY_TAG_VERSION, "0.1.0"),
    FILL(KEYWAY_TAG_TARGET, TARGET),
    FILL(KEYWAY_TAG_KIND, "keyway"),
    FILL(KEYWAY_TAG_CONTRACT, KEYWAY_CONTRACT),
    {KEYWAY_LE32(KEYWAY_TAG_INTERFACE), KEYWAY_LE32(0),
     KEYWAY_LE32(8 + sizeof(ADDER_ID) - 1 + sizeof(ADDER_DESCRIPTOR) - 1), KEYWAY_LE32(1),
     KEYWAY_LE32(sizeof(ADDER_ID) - 1), ADDER_ID, ADDER_DESCRIPTOR},
};

/* The host's log, as its descriptor says. */
typedef struct reply_unit {
    keyway_call_status status;
} reply_unit;

typedef struct log_table {
    size_t size;
    const void *enabled;
    reply_unit (*write)(keyway_instance *, const keyway_call_context *, keyway_log_level, keyway_text,
                        keyway_text, keyway_slice_of_log_field, keyway_error_report *);
} log_table;

struct keyway_instance {
    const keyway_host *host;
    uint32_t calls;
};

static void say(const keyway_host *host, const char *line) {
    keyway_text id = TEXT(LOG_ID), empty = {0, 0};
    keyway_text message;
    const keyway_service *service = host->get_service(host->context, id, 1);
    keyway_error_report report;
    keyway_log_field field;
    keyway_slice_of_log_field fields;
    fields.pointer = &field;
    fields.length = 1;
    field.name.pointer = (const uint8_t *)"in";
    field.name.length = 2;
    field.value.pointer = (const uint8_t *)"C";
    field.value.length = 1;
    message.pointer = (const uint8_t *)line;
    message.length = strlen(line);
    if (service && ((const log_table *)service->offer->table)->size >= sizeof(log_table)) {
        const log_table *log = (const log_table *)service->offer->table;
        log->write(service->instance, 0, KEYWAY_LOG_LEVEL_INFO, empty, message, fields, &report);
    }
}

static void release(uint8_t *pointer, size_t length, size_t capacity) {
    (void)length;
    (void)capacity;
    free(pointer);
}

static keyway_owned_buffer buffer(const uint8_t *bytes, size_t length) {
    /* C passes null for what is empty. */
    keyway_owned_buffer made = {0, 0, 0, 0};
    if (length) {
        made.pointer = malloc(length);
        memcpy(made.pointer, bytes, length);
        made.length = made.capacity = length;
        made.free = release;
    }
    return made;
}

static keyway_call_status fail(keyway_error_report *report, uint32_t code, const char *message) {
    report->code = code;
    report->message = buffer((const uint8_t *)message, strlen(message));
    return KEYWAY_CALL_STATUS_FAILED;
}

typedef struct reply_u32 {
    keyway_call_status status;
    uint32_t value;
} reply_u32;

static reply_u32 add(keyway_instance *instance, const keyway_call_context *context, uint32_t left,
                     uint32_t right, keyway_error_report *report) {
    reply_u32 reply = {KEYWAY_CALL_STATUS_OK, 0};
    (void)context;
    instance->calls++;
    if (left > UINT32_MAX - right) {
        reply.status = fail(report, 7, "too large");
    } else {
        reply.value = left + right;
    }
    return reply;
}

static const struct {
    size_t size;
    reply_u32 (*add)(keyway_instance *, const keyway_call_context *, uint32_t, uint32_t,
                     keyway_error_report *);
} adder_table = {sizeof adder_table, add};

static const keyway_offer adder = {sizeof(keyway_offer),    TEXT(ADDER_ID), 1, 0,
                                   TEXT(ADDER_DESCRIPTOR), {0, 0},         &adder_table, NULL};
static const keyway_offer *const offers[] = {&adder};

static const keyway_offer *get_interface(keyway_text id, uint32_t version) {
    int same = id.length == adder.id.length && !memcmp(id.pointer, adder.id.pointer, id.length);
    return same && version == adder.version ? &adder : 0;
}

static const keyway_method reverse = {sizeof(keyway_method), TEXT("reverse"),
                                      KEYWAY_METHOD_FLAGS_SHARED};
static const keyway_method *const methods[] = {&reverse};

static keyway_call_status init(const keyway_call_context *context, const keyway_host *host,
                               keyway_error_report *report) {
    (void)context;
    (void)report;
    say(host, "init");
    return KEYWAY_CALL_STATUS_OK;
}

static keyway_call_status deinit(const keyway_call_context *context, keyway_error_report *report) {
    (void)context;
    (void)report;
    return KEYWAY_CALL_STATUS_OK;
}

static keyway_call_status create(const keyway_call_context *context, const keyway_host *host,
                                 keyway_slice_of_uint8 config, keyway_instance **instance,
                                 keyway_error_report *report) {
    (void)context;
    if (config.length) {
        return fail(report, 3, "no configuration is known");
    }
    *instance = calloc(1, sizeof **instance);
    (*instance)->host = host;
    return KEYWAY_CALL_STATUS_OK;
}

static keyway_call_status destroy(keyway_instance *instance, const keyway_call_context *context,
                                  keyway_error_report *report) {
    (void)context;
    (void)report;
    say(instance->host, "destroy");
    free(instance);
    return KEYWAY_CALL_STATUS_OK;
}

static keyway_call_status invoke(keyway_instance *instance, const keyway_call_context *context,
                                 uint32_t method, keyway_slice_of_uint8 input,
                                 keyway_owned_buffer *output, keyway_error_report *report) {
    size_t at;
    (void)instance;
    if (method != 0) {
        fail(report, 0, "there is one method");
        return KEYWAY_CALL_STATUS_UNKNOWN_METHOD;
    }
    /* The size says whether the caller's context has what is read. */
    if (context && context->size >= offsetof(keyway_call_context, cancellation) + sizeof(void *) &&
        context->cancellation && context->cancellation->is_cancelled(context->cancellation->context)) {
        fail(report, 0, "given up");
        return KEYWAY_CALL_STATUS_CANCELLED;
    }
    *output = buffer(input.pointer, input.length);
    for (at = 0; at < input.length; at++) {
        output->pointer[at] = input.pointer[input.length - 1 - at];
    }
    return KEYWAY_CALL_STATUS_OK;
}

/* It ends where this plugin ends: what a host knows beyond that, it does not have. */
static const keyway_library library = {
    offsetof(keyway_library, pause), TEXT(KEYWAY_CONTRACT), KEYWAY_LIBRARY_FLAGS_UNLOADABLE,
    {offers, 1}, get_interface, {methods, 1}, init, deinit, create, destroy, invoke, 0, 0, 0, 0};

EXPORT const keyway_library *keyway_plugin_v1(void);
const keyway_library *keyway_plugin_v1(void) { return &library; }
