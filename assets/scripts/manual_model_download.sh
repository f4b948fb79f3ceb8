#!/bin/sh
# Fetches the default model with larder. A drop-in for the script of this name that apps ship and
# look for among the running processes: so it stays, as the parent, until larder is done.
#
#   manual_model_download.sh [-f] [-h]
#
# LARDER is the program to run (default: larder, from PATH), LARDER_MODEL the model to fetch.
set -u

model=${LARDER_MODEL:-mlx-community/gemma-2-2b-it-4bit}
larder=${LARDER:-larder}
force=

usage() {
    cat <<EOF
Usage: $(basename "$0") [-f] [-h]

Fetches $model into the Hub cache and proves every byte of it.
Running it again goes on where the last run stopped; nothing is wiped.

  -f  fetch again what is here; the old files stay until the new ones are proven
  -h  show this help
EOF
}

while getopts fh option; do
    case $option in
        f) force=--force ;;
        h) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
done
shift $((OPTIND - 1))
if [ $# -gt 0 ]; then
    usage >&2
    exit 2
fi
if ! command -v "$larder" >/dev/null 2>&1; then
    echo "error: $larder is not installed, or not in PATH" >&2
    exit 127
fi

# In the background and waited for, so that a signal to this script reaches larder at once. What comes
# from the terminal (Ctrl-C, hanging up) larder hears itself: told twice, it would not tidy up.
"$larder" pull ${force:+"$force"} "$model" &
child=$!
trap 'kill -TERM "$child" 2>/dev/null' TERM
trap : INT HUP
wait "$child"
code=$?
# A signal ends the first wait before larder has put everything in order.
while kill -0 "$child" 2>/dev/null; do
    wait "$child"
    code=$?
done
exit "$code"
