// What the libraries in this folder are made of; README.md has the commands.
#if defined(_WIN32)
#define EXPORT __attribute__((dllexport))
#else
#define EXPORT __attribute__((visibility("default")))
#endif
#if defined(__APPLE__)
#define STAMP "__DATA,__keyway"
#else
#define STAMP ".keyway"
#endif

#if defined(_WIN32)
__attribute__((dllimport)) void __stdcall Sleep(unsigned milliseconds);
#define outside() Sleep(0)
#else
int clock_gettime(int clock, void *time);
#define outside() clock_gettime(0, (char[16]){0})
#endif

EXPORT __attribute__((section(STAMP), used, aligned(16)))
const char keyway_stamp_v1[64] = "a stamp of sixty-four bytes, which inspection only has to find";

EXPORT int keyway_plugin_v1(void) { outside(); return 1; }

#if defined(_WIN32)
int __stdcall DllMain(void *instance, unsigned reason, void *reserved) { return 1; }
#endif
