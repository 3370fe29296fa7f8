# Runs "$@" after taking away the fingerprints of what cargo has to compile again. KEYWAY_RUN is a word
# for this run; KEYWAY_RUNS says, for each run that may have been the last one here, which names in
# `.fingerprint` are stale since: `WORD NAME…;WORD NAME…;* NAME…`, `*` being any other.
set -ef
last=
[ ! -f /target/keyway-run ] || read -r last </target/keyway-run || :
stale=
IFS=';'
for run in $KEYWAY_RUNS; do
    case $run in
    "$last "* | '* '*)
        stale=${run#* }
        break
        ;;
    esac
done
unset IFS
# One `rm` for all; none in a new folder. Names of triples, profiles and packages have no spaces.
found=
for name in $stale; do
    set +f
    for path in /target/*/.fingerprint/$name /target/*/*/.fingerprint/$name; do
        [ ! -e "$path" ] || found="$found $path"
    done
    set -f
done
[ -z "$found" ] || rm -rf $found
# First this, then cargo: of a run that is killed, nothing is known.
echo "$KEYWAY_RUN" >/target/keyway-run
unset KEYWAY_RUN KEYWAY_RUNS
exec "$@"
