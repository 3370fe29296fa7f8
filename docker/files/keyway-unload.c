/* Linked first into every ELF library: what gcc's crtbeginS.o does and zig has no object for.
 *
 * A destructor of a static object, and what `atexit` is given, are registered with the C library, under
 * the address of the library's own `__dso_handle`. Whoever unloads the library has to say so: without the
 * call below they stay registered, and run when the process exits, in memory that is gone. Of the entries
 * of .fini_array the last runs first, so the one of the first object is the end: what other objects do
 * when they are unloaded comes before.
 */
#ifdef __linux__
#include <features.h>
#endif

#define HIDDEN __attribute__((visibility("hidden")))

void __cxa_finalize(void *library);
int __cxa_atexit(void (*function)(void *), void *argument, void *library);

/* Its value is its address, as in crtbeginS.o: glibc's own static code passes the value. The linker would
 * define the symbol as the start of the file, whose first bytes are then taken for the handle. */
HIDDEN void *const __dso_handle = (void *)&__dso_handle;

__attribute__((destructor)) static void unload(void) { __cxa_finalize(__dso_handle); }

/* The C libraries' own `atexit` and `pthread_atfork`, where they are not static, can't know which library
 * calls them: of what was registered so nothing is taken back. A library may bring its own. */
__attribute__((weak)) HIDDEN int atexit(void (*function)(void)) {
    return __cxa_atexit((void (*)(void *))function, 0, __dso_handle);
}

#ifdef __GLIBC__
int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *library);

__attribute__((weak)) HIDDEN int pthread_atfork(void (*prepare)(void), void (*parent)(void),
                                                void (*child)(void)) {
    return __register_atfork(prepare, parent, child, __dso_handle);
}
#endif
