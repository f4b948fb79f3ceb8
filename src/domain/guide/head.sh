
set -eu
LC_ALL=C
export LC_ALL

folder=${1:-$folder}
larder=${LARDER:-larder}

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "$*"
    exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

# The SHA-256 of what comes in.
sha256() {
    if has sha256sum; then
        sha256sum
    elif has shasum; then
        shasum -a 256
    else
        openssl dgst -sha256 -r
    fi | cut -c 1-64
}

# The SHA-1 of what comes in.
sha1() {
    if has sha1sum; then
        sha1sum
    elif has shasum; then
        shasum -a 1
    else
        openssl dgst -sha1 -r
    fi | cut -c 1-40
}

# The length of a file.
bytes_of() { wc -c <"$1" | tr -d ' '; }

# Whether FILE is the content: is_right FILE BYTES KIND HASH
is_right() {
    [ -f "$1" ] || return 1
    [ "$(bytes_of "$1")" = "$2" ] || return 1
    case $3 in
    sha256) [ "$(sha256 <"$1")" = "$4" ] ;;
    # As git names it: the length comes before the content.
    git-sha1) [ "$({ printf 'blob %s\000' "$2" && cat "$1"; } | sha1)" = "$4" ] ;;
    *) return 1 ;;
    esac
}

# curl, with the token where one is needed; it is in no list of processes, and curl does not show it
# to the hosts that the Hub redirects to.
get() {
    if [ "$needs_token" = yes ] && [ -n "${HF_TOKEN:-}" ]; then
        printf 'header = "Authorization: Bearer %s"\n' "$HF_TOKEN" | curl --config - "$@"
    else
        curl "$@"
    fi
}

# fetch BYTES KIND HASH FILE URL
fetch() {
    if is_right "$4" "$1" "$2" "$3"; then
        say "here already: $4"
        return
    fi
    case ${4#./} in
    */*) mkdir -p "${4%/*}" ;;
    esac
    part=$4.part
    try=0
    while :; do
        try=$((try + 1))
        status=0
        if [ -f "$part" ] && [ "$(bytes_of "$part")" -gt "$1" ]; then
            rm -f "$part"
        fi
        if [ ! -f "$part" ] || [ "$(bytes_of "$part")" != "$1" ]; then
            say "fetching $4 ($1 bytes), try $try"
            get --fail --location --globoff --connect-timeout 30 \
                --speed-limit 1 --speed-time 60 \
                --continue-at - --output "$part" "$5" || status=$?
        fi
        if [ "$status" = 0 ] && is_right "$part" "$1" "$2" "$3"; then
            mv -f "$part" "$4"
            return
        fi
        if [ "$status" = 0 ] || [ "$status" = 33 ]; then
            # Whole and wrong, or the server cannot go on: from the beginning.
            say "$4 is not what the Hub promised; what came is thrown away"
            rm -f "$part"
        fi
        [ "$try" -lt "${TRIES:-5}" ] || break
        sleep "${REST:-3}"
    done
    [ "$status" != 22 ] || [ "$needs_token" = no ] ||
        say "the Hub refused: accept the terms at $page, and set HF_TOKEN to a token from $tokens"
    fail "$4 could not be fetched; run this again: it goes on with what is there"
}

has curl || fail 'there is no curl here'
has sha256sum || has shasum || has openssl || fail 'there is no sha256sum, shasum or openssl here'
if [ "$needs_token" = yes ] && [ -z "${HF_TOKEN:-}" ]; then
    fail "this repo needs a token: accept the terms at $page, then set HF_TOKEN to a token from $tokens"
fi
case ${HF_TOKEN:-} in
*[!A-Za-z0-9_.-]*) fail 'HF_TOKEN holds characters that no token has' ;;
esac
mkdir -p -- "$folder"
# With CDPATH, cd may go to a folder of that name elsewhere.
CDPATH='' cd -- "$folder"
say "$total bytes are to be fetched into $folder"

