// node script/browser.mjs FROM OUT: unpacks the npm package's Chromium at FROM to OUT/chrome, with
// its libraries and a font of its own, so that it runs where no browser is installed.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import zlib from 'node:zlib';

const [from, target] = process.argv.slice(2).map((name) => path.resolve(name));
const draft = fs.mkdtempSync(`${target}.new-`);
for (const name of ['chromium', 'al2023.tar', 'fonts.tar', 'swiftshader.tar']) {
  const file = path.join(draft, name);
  const packed = fs.createReadStream(path.join(from, `${name}.br`));
  await pipeline(packed, zlib.createBrotliDecompress(), fs.createWriteStream(file));
  if (name.endsWith('.tar')) {
    execFileSync('tar', ['xf', file, '-C', draft]);
    fs.unlinkSync(file);
  }
}
fs.writeFileSync(path.join(draft, 'fonts.conf'), `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>${target}/fonts</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir>${target}/font-cache</cachedir>
</fontconfig>
`);
fs.writeFileSync(path.join(draft, 'chrome'), `#!/bin/sh
export LD_LIBRARY_PATH='${target}/lib' FONTCONFIG_FILE='${target}/fonts.conf'
exec '${target}/chromium' "$@"
`);
for (const name of ['chromium', 'chrome', '.']) fs.chmodSync(path.join(draft, name), 0o755);
fs.renameSync(draft, target);
