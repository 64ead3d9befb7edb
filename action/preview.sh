#!/usr/bin/env bash
# Waits for the preview database of a pull request and hands its URL to the steps that follow. Needs bash, curl and jq.
#
# Secrets are never arguments of a command (they would be seen in the list of processes) and are masked before anything else is done
# with them. Nothing that the server says is printed as it is: a line of it could be a command to the runner.
set -euo pipefail
umask 077

exec 3>&1 # for what is said by functions whose output is taken
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# escape makes one line of a text, as workflow commands want it.
escape() {
  local text=$1
  text=${text//'%'/'%25'}
  text=${text//$'\r'/'%0D'}
  text=${text//$'\n'/'%0A'}
  printf '%s' "$text"
}

fail() {
  printf '::error title=Mayfly::%s\n' "$(escape "$1")" >&3
  exit 1
}

# say prints one line, of which nothing can be a command.
say() { printf 'mayfly: %s\n' "$(escape "$1")"; }

mask() {
  [ -z "$1" ] || printf '::add-mask::%s\n' "$(escape "$1")"
}

# set_in FILE NAME VALUE appends to GITHUB_ENV or GITHUB_OUTPUT. The delimiter is random: a value cannot end itself early.
set_in() {
  local delimiter
  delimiter="mayfly_$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')"
  case $3 in
    *"$delimiter"*) fail "the value of $2 cannot be written" ;;
  esac
  printf '%s<<%s\n%s\n%s\n' "$2" "$delimiter" "$3" "$delimiter" >>"$1"
}

# seconds_of turns 90s, 15m, 1h or a number into seconds.
seconds_of() {
  local factor=1 number=$1
  case $1 in
    *s) number=${1%s} ;;
    *m) number=${1%m} factor=60 ;;
    *h) number=${1%h} factor=3600 ;;
  esac
  case $number in
    '' | *[!0-9]* | ????????*) fail "timeout: $1 is not a time such as 90s, 15m or 1h" ;;
  esac
  printf '%s' $((10#$number * factor))
}

field() { jq -r "$2 // empty" <"$1" 2>/dev/null || true; }

# request METHOD URL HEADER_FILE ANSWER_FILE MAX_SECONDS [BODY_FILE] sets $status, 000 if there was no answer.
request() {
  local more=()
  if [ $# -ge 6 ]; then
    more=(-H 'Content-Type: application/json' --data-binary "@$6")
  fi
  : >"$4"
  status=$(curl --silent --show-error --proto "$protocols" --connect-timeout 10 --max-time "$5" --max-filesize 1048576 \
    --request "$1" -H "@$3" -H 'User-Agent: mayfly-action' ${more[@]+"${more[@]}"} --output "$4" --write-out '%{http_code}' "$2" 2>"$dir/curl") || status=000
}

# problem is what the server says is wrong, with its hint.
problem() {
  local detail hint
  detail=$(field "$1" .detail)
  hint=$(field "$1" .hint)
  printf '%s' "${detail:-HTTP status $status $(head -c 300 "$dir/curl")}${hint:+ (hint: $hint)}"
}

remaining() { printf '%s' $((deadline - SECONDS)); }

# pause waits before trying again, and gives up at the deadline.
pause() {
  if [ "$(remaining)" -le "$1" ]; then
    fail "$2; gave up after $MAYFLY_TIMEOUT"
  fi
  say "$2; trying again"
  sleep "$1"
}

# identify gets a new identity token: each can be exchanged once.
identify() {
  local separator='?'
  case $ACTIONS_ID_TOKEN_REQUEST_URL in *\?*) separator='&' ;; esac
  printf 'Authorization: bearer %s\n' "$ACTIONS_ID_TOKEN_REQUEST_TOKEN" >"$dir/actions"
  request GET "$ACTIONS_ID_TOKEN_REQUEST_URL${separator}audience=$(jq -rn --arg a "$audience" '$a | @uri')" "$dir/actions" "$dir/identity" 30
  [ "$status" = 200 ] || return 1
  field "$dir/identity" .value | tr -d '\r\n' >"$dir/id_token"
  [ -s "$dir/id_token" ] || return 1
  mask "$(cat "$dir/id_token")"
}

# exchange makes a token of the server of the identity token. It can read the preview of this pull request.
exchange() {
  local token
  while :; do
    if identify; then
      jq -n --rawfile token "$dir/id_token" --arg project "$MAYFLY_PROJECT" --arg number "$MAYFLY_PULL_REQUEST" \
        '{token: $token} + (if $project != "" then {project: $project} else {} end) + (if $number != "" then {pull_request: ($number | tonumber)} else {} end)' \
        >"$dir/body"
      request POST "$base/api/v1/auth/exchange" "$dir/none" "$dir/exchange" 30 "$dir/body"
      case $status in
        200) break ;;
        429 | 500 | 502 | 503 | 504 | 000) pause 5 "the server cannot exchange the token now: $(problem "$dir/exchange")" ;;
        *) fail "no access to a preview: $(problem "$dir/exchange")" ;;
      esac
    else
      pause 5 "GitHub gives no identity token (HTTP status $status)"
    fi
  done
  token=$(field "$dir/exchange" .token)
  mask "$token"
  printf 'Authorization: Bearer %s\n' "$token" >"$dir/bearer"
  preview=$(field "$dir/exchange" .preview)
  project=$(field "$dir/exchange" .project)
  case $preview in
    '' | *[!a-z0-9-]*) fail "the server named no preview" ;;
  esac
}

# commit is what the preview must have: the head of the pull request, not the merge commit that the job runs on.
commit() {
  local sha=$MAYFLY_SHA
  if [ -z "$sha" ] && [ -r "${GITHUB_EVENT_PATH:-}" ]; then
    sha=$(field "$GITHUB_EVENT_PATH" '(.pull_request.head.sha // .after)')
  fi
  sha=${sha:-${GITHUB_SHA:-}}
  case $sha in
    '' | *[!0-9a-f]*) fail "there is no commit to wait for: set the input sha" ;;
  esac
  printf '%s' "$sha"
}

# superseded fails for a commit that is no longer the head: its preview will never come. The server may hear of a new head late, so what
# it says must be the same twice.
superseded() {
  local head
  request GET "$base/api/v1/previews/$preview" "$dir/bearer" "$dir/now" 30
  head=$(field "$dir/now" .pull_request.head_sha)
  if [ "$status" != 200 ] || [ -z "$head" ] || [ "$head" = "$sha" ]; then
    other=''
  elif [ "$head" = "$other" ]; then
    fail "the pull request is at $head now: there will be no preview for $sha"
  else
    other=$head
  fi
}

# settle waits until the preview has the commit.
settle() {
  local poll state
  while :; do
    poll=$(remaining)
    [ "$poll" -gt 0 ] || fail "$preview is not ready for $sha after $MAYFLY_TIMEOUT; see $page, or give the input timeout"
    [ "$poll" -le 60 ] || poll=60
    request GET "$base/api/v1/previews/$preview?wait=ready&sha=$sha&timeout=${poll}s" "$dir/bearer" "$dir/preview" $((poll + 20))
    case $status in
      200) ;;
      504)
        say "$(problem "$dir/preview")"
        superseded
        continue
        ;;
      401)
        exchange # it lives for some minutes only
        continue
        ;;
      404) fail "there is no preview for this pull request: $(problem "$dir/preview")" ;;
      429 | 500 | 502 | 503 | 000)
        pause 5 "the server does not answer as it should: $(problem "$dir/preview")"
        continue
        ;;
      *) fail "$(problem "$dir/preview")" ;;
    esac
    state=$(field "$dir/preview" .state)
    case $state in
      ready | suspended) return ;;
      failed) explain ;;
      *) fail "$preview is $state: there is no database for this commit" ;;
    esac
  done
}

# explain fails with what went wrong with the preview.
explain() {
  local code message hint
  code=$(field "$dir/preview" .failure.code)
  message=$(field "$dir/preview" .failure.message)
  hint=$(field "$dir/preview" .failure.hint)
  case $code in
    migration_failed | migration_invalid) message="the migrations of $sha failed on $preview: $message" ;;
    *) message="$preview could not be made for $sha: $message" ;;
  esac
  fail "$message${hint:+
hint: $hint}
report: $page"
}

# hand_over masks the password in every form in which it is in what is handed over, and then sets it.
hand_over() {
  local url password encoded
  request GET "$base/api/v1/previews/$preview/credentials" "$dir/bearer" "$dir/credentials" 60
  [ "$status" = 200 ] || fail "no credentials for $preview: $(problem "$dir/credentials")"
  password=$(field "$dir/credentials" .password)
  url=$(field "$dir/credentials" .url)
  encoded=$(field "$dir/credentials" '(.url | capture("^[a-z]+://[^:/@]*:(?<p>[^@/]*)@").p)')
  if [ -z "$password" ] || [ -z "$url" ]; then
    fail "the server gave no password for $preview"
  fi
  mask "$password"
  mask "$(field "$dir/credentials" '(.password | @uri)')"
  mask "$encoded"
  mask "$url"

  set_in "$GITHUB_OUTPUT" preview "$preview"
  set_in "$GITHUB_OUTPUT" project "$project"
  set_in "$GITHUB_OUTPUT" sha "$sha"
  set_in "$GITHUB_OUTPUT" page "$page"
  set_in "$GITHUB_OUTPUT" database-url "$url"
  set_in "$GITHUB_OUTPUT" password "$password"
  local name
  for name in host port database user; do
    set_in "$GITHUB_OUTPUT" "$name" "$(field "$dir/credentials" ".$name")"
  done
  [ "$MAYFLY_EXPORT" = true ] || return 0
  set_in "$GITHUB_ENV" DATABASE_URL "$url"
  set_in "$GITHUB_ENV" PGPASSWORD "$password"
  set_in "$GITHUB_ENV" PGHOST "$(field "$dir/credentials" .host)"
  set_in "$GITHUB_ENV" PGPORT "$(field "$dir/credentials" .port)"
  set_in "$GITHUB_ENV" PGDATABASE "$(field "$dir/credentials" .database)"
  set_in "$GITHUB_ENV" PGUSER "$(field "$dir/credentials" .user)"
  set_in "$GITHUB_ENV" PGSSLMODE "$(field "$dir/credentials" .sslmode)"
}

MAYFLY_URL=${MAYFLY_URL:-} MAYFLY_AUDIENCE=${MAYFLY_AUDIENCE:-} MAYFLY_PROJECT=${MAYFLY_PROJECT:-}
MAYFLY_PULL_REQUEST=${MAYFLY_PULL_REQUEST:-} MAYFLY_SHA=${MAYFLY_SHA:-} MAYFLY_TIMEOUT=${MAYFLY_TIMEOUT:-15m} MAYFLY_EXPORT=${MAYFLY_EXPORT:-true}
for tool in curl jq; do
  command -v "$tool" >/dev/null || fail "$tool is not installed on this runner"
done
base=${MAYFLY_URL%/}
audience=${MAYFLY_AUDIENCE:-$base}
protocols='=https'
case $base in
  https://*) ;;
  http://127.0.0.1:* | http://localhost:*) protocols='=http,https' ;;
  *) fail "url: it must begin with https://, because what comes back is a password" ;;
esac
case $MAYFLY_PULL_REQUEST in
  *[!0-9]* | 0*) fail "pull-request: it is a number" ;;
esac
if [ -z "${ACTIONS_ID_TOKEN_REQUEST_URL:-}" ] || [ -z "${ACTIONS_ID_TOKEN_REQUEST_TOKEN:-}" ]; then
  fail "this job may not have an identity token. Add to the workflow, or to the job:
permissions:
  id-token: write
  contents: read
Pull requests from forks never have one."
fi
limit=$(seconds_of "$MAYFLY_TIMEOUT")
deadline=$((SECONDS + limit))
: >"$dir/none"
other=''
sha=$(commit)
exchange
page="$base/previews/$preview"
say "waiting for $preview at $sha"
settle
hand_over
say "$preview is ready at $sha"
