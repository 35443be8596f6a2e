/**
 * Hides the local runtime's inspector, which wrangler always opens. It runs code in the Worker for everyone who reaches its
 * port, web pages too, because a browser does not restrict WebSockets to an origin.
 */
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { join } from 'node:path';

/**
 * Moves the inspector to a random port of a random loopback address. There are sixteen million such addresses, so no page
 * finds it. Wrangler works without reaching it.
 *
 * @param folder where to put the script that starts the runtime
 * @returns the environment for wrangler; empty if the system has only one loopback address, like macOS
 */
export async function hideInspector(folder: string): Promise<Record<string, string>> {
  if (process.platform === 'win32' || process.env.MINIFLARE_WORKERD_PATH !== undefined) return {};
  const address = `127.${[1, 2, 3].map(() => randomInt(1, 255)).join('.')}`;
  if (!(await canListen(address))) return {};
  const { default: runtime } = createRequire(import.meta.url)('workerd') as { default: string };
  const path = join(folder, 'workerd');
  writeFileSync(path, scriptOf(runtime, address), { mode: 0o700 });
  return { MINIFLARE_WORKERD_PATH: path };
}

/** Writes a script that starts the runtime with another inspector address than the one that wrangler gives. */
function scriptOf(runtime: string, address: string): string {
  return `#!/bin/sh
left=$#
while [ "$left" -gt 0 ]; do
  case "$1" in
    --inspector-addr=*) set -- "$@" '--inspector-addr=${address}:0' ;;
    *) set -- "$@" "$1" ;;
  esac
  shift
  left=$((left - 1))
done
exec '${runtime.replaceAll("'", `'\\''`)}' "$@"
`;
}

async function canListen(address: string): Promise<boolean> {
  const server = createServer().listen(0, address);
  // Listening fails if the system does not have this address.
  const listens = await once(server, 'listening').then(
    () => true,
    () => false,
  );
  server.close();
  return listens;
}
