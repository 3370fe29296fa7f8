/* A host in C: loads a plugin, calls a method with its input, prints what it returns. It has no gate:
 * it is for plugins that one has passed. */
#include "keyway.h"

#include <stdio.h>
#include <string.h>

#ifdef _WIN32
#include <windows.h>

static void *open_library(const char *path) { return LoadLibraryA(path); }

static void find(void *handle, const char *name, void *function) {
    FARPROC found = GetProcAddress(handle, name);
    memcpy(function, &found, sizeof found);
}

static void close_library(void *handle) { FreeLibrary(handle); }
#else
#include <dlfcn.h>

static void *open_library(const char *path) { return dlopen(path, RTLD_NOW | RTLD_LOCAL); }

/* C has no conversion from an object's address to a function's, so the address is copied. */
static void find(void *handle, const char *name, void *function) {
    void *found = dlsym(handle, name);
    memcpy(function, &found, sizeof found);
}

static void close_library(void *handle) { dlclose(handle); }
#endif

static const keyway_service *get_service(const void *context, keyway_text id, uint32_t version) {
    (void)context;
    (void)id;
    (void)version;
    return 0;
}

static int failed(const char *what, keyway_call_status status, keyway_error_report *report) {
    printf("%s: status %u, code %u: %.*s\n", what, (unsigned)status, (unsigned)report->code,
           (int)report->message.length, (const char *)report->message.pointer);
    if (report->message.free) {
        report->message.free(report->message.pointer, report->message.length,
                             report->message.capacity);
    }
    return 1;
}

int main(int argc, char **argv) {
    const keyway_host host = {sizeof host, 0, {0, 0}, get_service};
    const keyway_call_context context = {sizeof context, {1}, {2}, 1, {0, 0}, 0, 0};
    keyway_slice_of_uint8 none = {0, 0}, input;
    keyway_error_report report;
    keyway_owned_buffer output;
    keyway_instance *instance;
    keyway_call_status status;
    const keyway_library *library;
    void *handle;
    keyway_entry get_library;
    size_t at;

    if (argc != 4) {
        puts("usage: host LIBRARY METHOD INPUT");
        return 2;
    }
    if (!(handle = open_library(argv[1]))) {
        puts("not loaded");
        return 2;
    }
    find(handle, KEYWAY_ENTRY_SYMBOL, &get_library);
    if (!get_library) {
        puts("no entry");
        return 2;
    }
    library = get_library();
    if (!library || library->size < offsetof(keyway_library, pause) ||
        library->contract.length != sizeof(KEYWAY_CONTRACT) - 1 ||
        memcmp(library->contract.pointer, KEYWAY_CONTRACT, sizeof(KEYWAY_CONTRACT) - 1)) {
        puts("another contract");
        return 3;
    }
    if ((status = library->init(&context, &host, &report))) {
        return failed("init", status, &report);
    }
    if ((status = library->create(&context, &host, none, &instance, &report))) {
        return failed("create", status, &report);
    }
    for (at = 0; at < library->methods.length; at++) {
        const keyway_text name = library->methods.pointer[at]->name;
        if (name.length == strlen(argv[2]) && !memcmp(name.pointer, argv[2], name.length)) {
            break;
        }
    }
    input.pointer = (const uint8_t *)argv[3];
    input.length = strlen(argv[3]);
    status = library->invoke(instance, &context, (uint32_t)at, input, &output, &report);
    if (status) {
        return failed("invoke", status, &report);
    }
    printf("%.*s\n", (int)output.length, (const char *)output.pointer);
    if (output.free) {
        output.free(output.pointer, output.length, output.capacity);
    }
    if ((status = library->destroy(instance, &context, &report))) {
        return failed("destroy", status, &report);
    }
    if ((status = library->deinit(&context, &report))) {
        return failed("deinit", status, &report);
    }
    if (library->flags & KEYWAY_LIBRARY_FLAGS_UNLOADABLE) {
        close_library(handle);
    }
    return 0;
}
