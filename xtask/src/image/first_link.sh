# Links a program and a library for the target $1, as cargo will do: by default it strips what has no debug
# information, and zig then leaves that out of what it compiles for them, which goes into /out/zig/cache.
# The folder is there before, so that nothing of another target's is copied into it.
set -eu
target=$1
mkdir -p /out/zig/cache
export ZIG_GLOBAL_CACHE_DIR=/out/zig
echo 'fn main() {}' > /out/main.rs
for kind in bin cdylib; do
    rustc --target "$target" --crate-type "$kind" --cap-lints allow -Clinker="$target-cc" \
        -Ctarget-feature=-crt-static -Clink-arg=-dynamic -Cstrip=debuginfo -o /out/"$kind" /out/main.rs
done
