#!/bin/sh
# Reports a push to the server and ends as it answers. Anything but its "accepted" refuses the push.
#
# Only what the shell has built in is used, since the pusher waits for it. The three pipes are inherited from the
# server through git: nobody else can talk here, and with the server gone they end.
set -u
exec 3>"$CLOWDY_TO_SERVER" 4<"$CLOWDY_TO_HOOK" || exit 1
# Not the options themselves: one with a newline in it could pose as any line.
format=text
index=0
while [ "$index" -lt "${GIT_PUSH_OPTION_COUNT:-0}" ] && [ "$index" -lt 64 ]; do
    eval "option=\$GIT_PUSH_OPTION_$index"
    [ "$option" = format=json ] && format=json
    index=$((index + 1))
done
{
    printf 'pre-receive\nformat %s\nobjects %s\n' "$format" "${GIT_OBJECT_DIRECTORY-}"
    while IFS= read -r line; do
        printf '%s\n' "$line"
    done
    printf '\n'
} >&3 || exit 1
while IFS= read -r line <&4; do
    case $line in
        accepted) exit 0 ;;
        refused) exit 1 ;;
        '> '*) printf '%s\n' "${line#> }" >&2 ;;
    esac
done
exit 1
