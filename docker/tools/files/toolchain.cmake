# What CMake has to know to build for the target of the running build script, which cargo names in `TARGET`.
# Compilers and archivers go by the triple in every image.

set(keyway_target "$ENV{TARGET}")
if(NOT keyway_target)
    message(FATAL_ERROR "this toolchain file is for build scripts: cargo sets TARGET for them")
endif()

set(CMAKE_C_COMPILER "${keyway_target}-cc")
set(CMAKE_CXX_COMPILER "${keyway_target}-c++")
set(CMAKE_ASM_COMPILER "${keyway_target}-cc")
find_program(CMAKE_AR "${keyway_target}-ar")
find_program(CMAKE_RANLIB "${keyway_target}-ranlib")

if(NOT keyway_target STREQUAL "$ENV{HOST}")
    string(REGEX MATCH "^[^-]+" keyway_processor "${keyway_target}")
    string(REGEX REPLACE "^riscv64.*" "riscv64" keyway_processor "${keyway_processor}")
    string(REGEX REPLACE "^powerpc64le$" "ppc64le" keyway_processor "${keyway_processor}")
    if(keyway_target MATCHES "-windows-")
        set(CMAKE_SYSTEM_NAME Windows)
        string(REPLACE "x86_64" "AMD64" keyway_processor "${keyway_processor}")
        string(REPLACE "i686" "X86" keyway_processor "${keyway_processor}")
        string(REPLACE "aarch64" "ARM64" keyway_processor "${keyway_processor}")
        find_program(CMAKE_RC_COMPILER NAMES "${keyway_target}-windres" x86_64-w64-mingw32-windres
                     i686-w64-mingw32-windres)
    elseif(keyway_target MATCHES "-apple-darwin")
        set(CMAKE_SYSTEM_NAME Darwin)
        string(REPLACE "aarch64" "arm64" keyway_processor "${keyway_processor}")
        # There is no SDK to look for, and no program for names in libraries that nobody installs.
        set(CMAKE_OSX_SYSROOT "")
        set(CMAKE_INSTALL_NAME_TOOL /usr/bin/true)
    elseif(keyway_target MATCHES "-freebsd")
        set(CMAKE_SYSTEM_NAME FreeBSD)
        string(REPLACE "x86_64" "amd64" keyway_processor "${keyway_processor}")
    else()
        set(CMAKE_SYSTEM_NAME Linux)
    endif()
    set(CMAKE_SYSTEM_PROCESSOR "${keyway_processor}")
endif()
