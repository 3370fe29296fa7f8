# Links a program for the machine that compiles, as build scripts of a standard library are linked, so that
# what zig compiles for that lies in /out/zig/cache.
set -eu
mkdir -p /out/zig/cache
cat > /out/cc <<END
#!/bin/sh
exec zig cc -target x86_64-linux-gnu.2.17 "\$@"
END
chmod +x /out/cc
export ZIG_GLOBAL_CACHE_DIR=/out/zig/cache ZIG_LOCAL_CACHE_DIR=/out/zig/cache
echo 'fn main() {}' > /out/main.rs
rustc --cap-lints allow -Clinker=/out/cc -Cstrip=debuginfo -o /out/main /out/main.rs
