#!/bin/sh
# Connects git with the server, which judges and moves every ref of a push: git's lines go there, the server's text to
# the pusher, its verdicts to git. Verdicts that do not come to their end refuse every ref.
set -u
exec 3>"$CLOWDY_TO_SERVER" 4<"$CLOWDY_TO_HOOK" 5<"$CLOWDY_TO_PUSHER" 6<&0 || exit 1
printf 'proc-receive\n' >&3 || exit 1
cat <&5 >&2 &
cat <&6 >&3 &
exec cat <&4
